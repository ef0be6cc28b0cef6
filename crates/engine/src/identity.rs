//! Which ensemble a tree belongs to: enough to notice a backup of the wrong, a wiped or a rolled-back one.
//!
//! Two kinds of sign: ids that applications give their cluster in well-known nodes, and the oldest nodes of
//! the top two levels, which hardly ever change while an ensemble lives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zk_format::{NodeRef, path};

use crate::state::StateRecords;

/// How many of the oldest nodes are remembered.
const OLDEST: usize = 16;
/// An id is a few dozen bytes; anything larger is not one.
const MAX_ID: usize = 1024;

/// Where applications keep the id of their cluster, below the root or below one first-level node.
pub(crate) const WELL_KNOWN: [&str; 3] = ["/cluster/id", "/ledgers/INSTANCEID", "/hbaseid"];

/// The signs of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Well-known ids: path and content.
    pub ids: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The oldest nodes of the top two levels: path and czxid.
    pub oldest: Vec<(Vec<u8>, i64)>,
}

impl Identity {
    /// Takes the signs of a tree, looking at no more of it than its first levels.
    pub fn of_records(records: &StateRecords<'_>) -> Self {
        let first: Vec<NodeRef<'_>> = records.children(b"").collect();
        let second = first.iter().flat_map(|node| records.children(node.path));
        let well_known = first.iter().flat_map(|node| {
            WELL_KNOWN.iter().filter_map(|known| records.find(&[node.path, known.as_bytes()].concat()))
        });
        Self::of(first.iter().copied().chain(second).chain(well_known))
    }

    /// Takes the signs from nodes given in any order; only those of the first three levels matter.
    pub fn of<'a>(nodes: impl Iterator<Item = NodeRef<'a>>) -> Self {
        let mut identity = Self::default();
        nodes.for_each(|node| identity.add(&node));
        identity.finished()
    }

    /// Looks at one node more. [`Identity::finished`] ends it.
    pub fn add(&mut self, node: &NodeRef<'_>) {
        let depth = depth(node.path);
        if (1..=2).contains(&depth) && !path::is_reserved(node.path) && !node.stat.kind().is_ephemeral() {
            self.oldest.push((node.path.to_vec(), node.stat.czxid.0));
            if self.oldest.len() >= 4 * OLDEST {
                self.trim();
            }
        }
        if let Some(data) = node.data.filter(|data| !data.is_empty() && data.len() <= MAX_ID)
            && is_well_known(node.path)
        {
            self.ids.insert(node.path.to_vec(), data.to_vec());
        }
    }

    /// The signs of all that was added.
    #[must_use]
    pub fn finished(mut self) -> Self {
        self.trim();
        self
    }

    fn trim(&mut self) {
        self.oldest.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        self.oldest.truncate(OLDEST);
    }

    /// Why a tree cannot be of the ensemble that had these signs; `czxid_now` finds a node in it.
    pub fn contradiction(&self, now: &Self, czxid_now: impl Fn(&[u8]) -> Option<i64>) -> Option<String> {
        for (path, before) in &self.ids {
            if let Some(after) = now.ids.get(path).filter(|after| *after != before) {
                return Some(format!(
                    "{} says {:?}, the parent snapshot's said {:?}",
                    path::display(path),
                    String::from_utf8_lossy(after),
                    String::from_utf8_lossy(before)
                ));
            }
        }
        let same = self.oldest.iter().filter(|(path, czxid)| czxid_now(path) == Some(*czxid)).count();
        (same * 2 < self.oldest.len()).then(|| {
            format!(
                "only {same} of the {} oldest nodes of the top two levels are still the same by path and czxid",
                self.oldest.len()
            )
        })
    }
}

/// Levels below the root.
pub fn depth(path: &[u8]) -> usize {
    path.iter().map(|byte| usize::from(*byte == b'/')).sum()
}

fn is_well_known(path: &[u8]) -> bool {
    let below_first =
        path.get(1..).and_then(|rest| rest.iter().position(|byte| *byte == b'/')).and_then(|at| path.get(at + 1..));
    WELL_KNOWN.iter().any(|known| path == known.as_bytes() || below_first == Some(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_format::{Stat, Zxid};

    fn node<'a>(path: &'a str, czxid: i64, data: &'a [u8]) -> NodeRef<'a> {
        let stat = Stat { czxid: Zxid(czxid), ..Stat::default() };
        NodeRef { path: path.as_bytes(), data: Some(data), acl: None, stat }
    }

    fn kafka(id: &'static [u8], first: i64) -> Vec<NodeRef<'static>> {
        vec![
            node("", 0, b""),
            node("/brokers", first, b""),
            node("/brokers/ids", first + 1, b""),
            node("/cluster", first + 2, b""),
            node("/cluster/id", first + 3, id),
            node("/zookeeper", 0, b""),
        ]
    }

    fn found(nodes: &[NodeRef<'_>], path: &[u8]) -> Option<i64> {
        nodes.iter().find(|node| node.path == path).map(|node| node.stat.czxid.0)
    }

    #[test]
    fn the_same_ensemble_agrees_with_itself() {
        let nodes = kafka(b"{\"id\":\"a\"}", 5);
        let identity = Identity::of(nodes.iter().copied());
        assert_eq!((identity.ids.len(), identity.oldest.len()), (1, 4));
        assert_eq!(identity.contradiction(&identity, |path| found(&nodes, path)), None);
    }

    #[test]
    fn another_id_or_other_old_nodes_contradict() {
        let before = Identity::of(kafka(b"{\"id\":\"a\"}", 5).into_iter());
        let other = kafka(b"{\"id\":\"b\"}", 5);
        let said = before.contradiction(&Identity::of(other.iter().copied()), |path| found(&other, path));
        assert!(said.unwrap().contains("/cluster/id"));
        let anew = kafka(b"{\"id\":\"a\"}", 900);
        let said = before.contradiction(&Identity::of(anew.iter().copied()), |path| found(&anew, path));
        assert!(said.unwrap().starts_with("only 0 of the 4"));
    }

    #[test]
    fn ids_below_a_chroot_count_and_an_empty_tree_contradicts_nothing() {
        assert!(
            is_well_known(b"/kafka/cluster/id") && is_well_known(b"/cluster/id") && is_well_known(b"/hbase/hbaseid")
        );
        assert!(!is_well_known(b"/a/b/cluster/id") && !is_well_known(b"/"));
        assert_eq!(Identity::default().contradiction(&Identity::default(), |_| None), None);
    }
}
