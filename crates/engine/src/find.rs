//! Where nodes occur across snapshots, by path pattern and value.
//!
//! The first snapshot is walked; of each next one only what differs from the one before is read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use regex::bytes::Regex;
use repository::stack;
use repository::table::KeyRange;
use repository::{RecordRef, Snapshot};

use crate::error::EngineError;
use crate::filter::Filter;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::tree::SnapshotTree;
use crate::znode::Znode;

/// What to look for.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Paths; what lies below a match is none itself.
    pub paths: Filter,
    /// Values that contain a match.
    pub value: Option<Regex>,
}

/// A node that was found, and the unbroken row of snapshots that have it.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// As in the first of them.
    pub node: Znode,
    /// The first snapshot of the row.
    pub first: Snapshot,
    /// The last one.
    pub last: Snapshot,
    /// How many there are.
    pub snapshots: u64,
}

impl Pattern {
    fn matches(&self, node: &Znode) -> bool {
        self.paths.names(&node.path)
            && self.value.as_ref().is_none_or(|value| node.data.as_ref().is_some_and(|data| value.is_match(data)))
    }
}

/// Looks through the snapshots, given oldest first; calls `visit` once per row, when it ends.
pub fn run(
    repo: &Repo,
    snapshots: &[Snapshot],
    pattern: &Pattern,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(Occurrence) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    monitor.begin(Phase::Searching, Unit::Snapshots, Some(snapshots.len() as u64));
    let mut found: BTreeMap<Vec<u8>, Occurrence> = BTreeMap::new();
    let mut before: Option<&Snapshot> = None;
    for snapshot in snapshots {
        monitor.check()?;
        let tree = repo.tree(&snapshot.manifest)?;
        let mut gone = Vec::new();
        let mut come = Vec::new();
        match before {
            None => tree.walk(&[], &mut |node| {
                if pattern.matches(&node) {
                    come.push(node);
                }
                ControlFlow::Continue(())
            })?,
            Some(before) => changed(&repo.tree(&before.manifest)?, &tree, pattern, &mut gone, &mut come)?,
        }
        for path in gone {
            if let Some(over) = found.remove(&path) {
                visit(over)?;
            }
        }
        for node in come {
            let occurrence = Occurrence { node, first: snapshot.clone(), last: snapshot.clone(), snapshots: 0 };
            found.entry(occurrence.node.path.clone()).or_insert(occurrence);
        }
        for occurrence in found.values_mut() {
            occurrence.snapshots += 1;
            occurrence.last = snapshot.clone();
        }
        before = Some(snapshot);
        monitor.advance(Phase::Searching, 1);
    }
    monitor.end(Phase::Searching);
    found.into_values().try_for_each(visit)
}

/// Nodes that match no longer, and nodes that match now.
fn changed(
    before: &SnapshotTree<'_>,
    after: &SnapshotTree<'_>,
    pattern: &Pattern,
    gone: &mut Vec<Vec<u8>>,
    come: &mut Vec<Znode>,
) -> Result<(), EngineError> {
    let mut failed = Ok(());
    stack::diff(before.stack(), after.stack(), &KeyRange::all(), |old, new| {
        if failed.is_err() {
            return;
        }
        failed = one(before, after, old, new, pattern).map(|(old, new)| match (old, new) {
            (Some(old), None) => gone.push(old.path),
            (_, Some(new)) => come.push(new),
            (None, None) => {}
        });
    })?;
    failed
}

/// Both sides of one difference, as far as they match.
fn one(
    before: &SnapshotTree<'_>,
    after: &SnapshotTree<'_>,
    old: Option<RecordRef<'_>>,
    new: Option<RecordRef<'_>>,
    pattern: &Pattern,
) -> Result<(Option<Znode>, Option<Znode>), EngineError> {
    let old = old.map_or(Ok(None), |record| before.made(&record))?;
    let new = new.map_or(Ok(None), |record| after.made(&record))?;
    Ok((old.filter(|node| pattern.matches(node)), new.filter(|node| pattern.matches(node))))
}
