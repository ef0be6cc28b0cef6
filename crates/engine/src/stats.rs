//! Where the bytes are: of a tree by prefix, and of the repository.

use std::collections::BTreeMap;
use std::collections::HashSet;

use repository::Snapshot;
use serde::Serialize;

use crate::error::EngineError;
use crate::identity::depth;
use crate::monitor::{Monitor, Phase, Unit};
use crate::tree::SnapshotTree;
use crate::znode::Kind;

/// Sizes of one subtree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrefixStats {
    /// The subtree's root.
    pub path: String,
    /// Nodes in it.
    pub nodes: u64,
    /// Bytes of paths.
    pub path_bytes: u64,
    /// Bytes of data.
    pub data_bytes: u64,
    /// The largest value.
    pub largest_bytes: u64,
    /// Ephemeral nodes.
    pub ephemerals: u64,
    /// Container nodes.
    pub containers: u64,
    /// TTL nodes.
    pub ttls: u64,
}

/// Sizes of a snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct TreeStats {
    /// Everything.
    pub total: PrefixStats,
    /// Subtrees at the depth asked for, most bytes first.
    pub prefixes: Vec<PrefixStats>,
    /// Sessions.
    pub sessions: u64,
    /// Tables a reader merges.
    pub tables: u64,
    /// Bytes of those tables before compression.
    pub table_bytes: u64,
    /// What this backup added to the repository.
    pub added_bytes: u64,
}

/// Sizes of a repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RepositoryStats {
    /// Snapshots.
    pub snapshots: u64,
    /// Clusters.
    pub clusters: u64,
    /// Lineages: clusters and filters.
    pub lineages: u64,
    /// Packs that snapshots need.
    pub packs: u64,
    /// Bytes that the listed snapshots added when they were taken.
    pub added_bytes: u64,
    /// Bytes of all trees, as if each were stored whole.
    pub raw_bytes: u64,
}

impl PrefixStats {
    fn add(&mut self, path: usize, data: u64, kind: Kind) {
        self.nodes += 1;
        self.path_bytes += path as u64;
        self.data_bytes += data;
        self.largest_bytes = self.largest_bytes.max(data);
        match kind {
            Kind::Ephemeral => self.ephemerals += 1,
            Kind::Container => self.containers += 1,
            Kind::Ttl => self.ttls += 1,
            Kind::Persistent | Kind::Unknown => {}
        }
    }

    /// Bytes of paths and data.
    pub const fn bytes(&self) -> u64 {
        self.path_bytes + self.data_bytes
    }
}

/// Sizes of a tree, by subtrees whose roots are `depth_asked` levels deep, the `top` largest of them.
pub fn tree(
    tree: &SnapshotTree<'_>,
    depth_asked: usize,
    top: usize,
    monitor: &dyn Monitor,
) -> Result<TreeStats, EngineError> {
    let fields = &tree.manifest().body.fields;
    let mut total = PrefixStats { path: "/".to_owned(), ..PrefixStats::default() };
    let mut prefixes: BTreeMap<Vec<u8>, PrefixStats> = BTreeMap::new();
    monitor.begin(Phase::Fetching, Unit::Nodes, Some(fields.nodes));
    tree.in_order(
        |piece| {
            let mut seen = Vec::new();
            piece.read(&mut |record| {
                if let Some(node) = piece.tree().made(record)? {
                    let data = node.data.map_or(0, |data| data.len() as u64);
                    let owner = node.stat.kind();
                    seen.push((prefix(&node.path, depth_asked), node.path.len(), data, owner, node.kind_known));
                }
                Ok(())
            })?;
            Ok(seen)
        },
        |seen| {
            monitor.check()?;
            monitor.advance(Phase::Fetching, seen.len() as u64);
            for (prefix, path, data, owner, known) in seen {
                let kind = Kind::of(owner, known);
                total.add(path, data, kind);
                if let Some(prefix) = prefix {
                    prefixes.entry(prefix).or_default().add(path, data, kind);
                }
            }
            Ok(())
        },
    )?;
    monitor.end(Phase::Fetching);
    let mut prefixes: Vec<PrefixStats> = prefixes
        .into_iter()
        .map(|(path, stats)| PrefixStats { path: zk_format::path::display(&path).to_string(), ..stats })
        .collect();
    prefixes.sort_by(|a, b| b.bytes().cmp(&a.bytes()).then_with(|| a.path.cmp(&b.path)));
    prefixes.truncate(top);
    let tables = tree.stack().tables();
    Ok(TreeStats {
        total,
        prefixes,
        sessions: fields.sessions,
        tables: tables.len() as u64,
        table_bytes: tables.iter().map(|table| table.chunk_bytes + table.value_bytes).sum(),
        added_bytes: fields.counters.added_bytes,
    })
}

/// The first `levels` names of a path that has at least as many.
fn prefix(path: &[u8], levels: usize) -> Option<Vec<u8>> {
    if levels == 0 || depth(path) < levels {
        return None;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut slashes = slashes;
    let end = slashes.nth(levels).unwrap_or(path.len());
    path.get(..end).map(<[u8]>::to_vec)
}

/// Sizes of a repository, from its snapshots.
pub fn repository(snapshots: &[Snapshot]) -> RepositoryStats {
    let mut stats = RepositoryStats { snapshots: snapshots.len() as u64, ..RepositoryStats::default() };
    let (mut clusters, mut lineages, mut packs) = (HashSet::new(), HashSet::new(), HashSet::new());
    for snapshot in snapshots {
        let fields = &snapshot.manifest.body.fields;
        clusters.insert(fields.cluster.as_str());
        lineages.insert(snapshot.manifest.lineage);
        packs.extend(snapshot.manifest.packs());
        stats.added_bytes += fields.counters.added_bytes;
        stats.raw_bytes += fields.raw_bytes;
    }
    stats.clusters = clusters.len() as u64;
    stats.lineages = lineages.len() as u64;
    stats.packs = packs.len() as u64;
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_names() {
        assert_eq!(prefix(b"/a/bc/d", 2), Some(b"/a/bc".to_vec()));
        assert_eq!(prefix(b"/a/bc", 2), Some(b"/a/bc".to_vec()));
        assert_eq!(prefix(b"/a", 2), None);
        assert_eq!(prefix(b"", 1), None);
        assert_eq!(prefix(b"/a", 0), None);
    }
}
