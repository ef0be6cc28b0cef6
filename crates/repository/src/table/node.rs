//! Nodes and value lists: what lies above the chunks of a table.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::TableError;
use crate::codec;
use crate::cut::{CutItems, CutRule, segments};
use crate::ids::{BlobId, first_u64};

/// Largest plaintext of a node, bytes.
pub const MAX_NODE: usize = 16 << 20;
/// Largest plaintext of a value list, bytes.
pub const MAX_REFS: usize = 16 << 20;
/// Values in one list.
pub(super) const REFS_PER_LIST: usize = 64 << 10;
/// Levels of nodes above the chunks. Every level at least halves their number.
pub(super) const MAX_HEIGHT: u8 = 64;

/// Nodes aim at 8 KiB.
const NODE_RULE: CutRule = CutRule { window: 4 << 10, max_segment: 32 << 10 };
/// Bytes an entry counts for beside its key.
const ENTRY_OVERHEAD: u64 = 60;

/// One level of a table's tree, or a part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// 1 where the children are chunks, else one more than theirs.
    pub level: u8,
    /// Children in key order.
    pub children: Vec<NodeEntry>,
}

/// What a node says of a child.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Largest key below the child.
    pub last_key: Vec<u8>,
    /// Id of the chunk or node.
    pub id: BlobId,
    /// Records below it, tombstones not counted.
    pub records: u64,
    /// Tombstones below it.
    pub tombstones: u64,
    /// Plaintext bytes of the chunks below it.
    pub chunk_bytes: u64,
    /// Highest mzxid below it; `i64::MIN` where there is no record.
    pub highest_mzxid: i64,
}

/// One value of a value list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RefsEntry {
    /// Id of the value.
    pub id: BlobId,
    /// Its length, bytes.
    pub len: u64,
}

impl Node {
    /// The entry for a node of these children.
    pub(super) fn entry(&self, id: BlobId) -> NodeEntry {
        let sum = |field: fn(&NodeEntry) -> u64| self.children.iter().map(field).fold(0, u64::saturating_add);
        NodeEntry {
            last_key: self.children.last().map(|child| child.last_key.clone()).unwrap_or_default(),
            id,
            records: sum(|child| child.records),
            tombstones: sum(|child| child.tombstones),
            chunk_bytes: sum(|child| child.chunk_bytes),
            highest_mzxid: self.children.iter().map(|child| child.highest_mzxid).max().unwrap_or(i64::MIN),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, TableError> {
        Ok(codec::encode_body("a table node", self)?)
    }
}

struct Entries<'a>(&'a [NodeEntry]);

impl CutItems for Entries<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn size(&self, i: usize) -> u64 {
        self.0.get(i).map_or(0, |entry| ENTRY_OVERHEAD.saturating_add(entry.last_key.len() as u64))
    }

    fn hash(&self, i: usize, _: &mut Vec<u8>) -> u64 {
        // Ids are keyed hashes already.
        self.0.get(i).map_or(0, |entry| first_u64(&entry.id.0))
    }
}

/// Which entries of a level share a node. At least two do, so that every level is smaller than the one below.
pub(super) fn node_ranges(entries: &[NodeEntry]) -> Vec<Range<usize>> {
    let items = Entries(entries);
    let bytes = (0..entries.len()).fold(0u64, |sum, i| sum.saturating_add(items.size(i)));
    if bytes <= NODE_RULE.max_segment {
        return std::iter::once(0..entries.len()).collect();
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for segment in segments(&items, NODE_RULE) {
        match ranges.last_mut() {
            // One entry alone goes with its successor.
            Some(last) if last.len() < 2 => last.end = segment.end,
            _ => ranges.push(segment),
        }
    }
    if ranges.len() > 1 && ranges.last().is_some_and(|last| last.len() < 2) {
        let end = ranges.pop().map_or(0, |last| last.end);
        if let Some(last) = ranges.last_mut() {
            last.end = end;
        }
    }
    ranges
}
