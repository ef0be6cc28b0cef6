//! Reading tables: from a root to the chunks of a key range, every blob held against the one that names it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::sync::Arc;

use bytes::Bytes;

use super::node::{MAX_HEIGHT, MAX_NODE, MAX_REFS, Node, NodeEntry, RefsEntry};
use super::{TableError, TableKind, TableRoot};
use crate::blobs::BlobSource;
use crate::chunk::Chunk;
use crate::codec;
use crate::ids::{BlobId, BlobKind};
use crate::record::Value;

/// A range of keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyRange {
    /// Smallest key in it.
    pub start: Vec<u8>,
    /// Smallest key beyond it; `None` where it has no end.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// One key.
    pub fn only(key: &[u8]) -> Self {
        let mut end = key.to_vec();
        end.push(0);
        Self { start: key.to_vec(), end: Some(end) }
    }

    /// Every key that begins with these bytes.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        // The successor of a prefix: its last byte that can rise, raised, and nothing after it.
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(byte) => {
                *byte = byte.saturating_add(1);
                Some(end)
            }
            None => None,
        };
        Self { start: prefix.to_vec(), end }
    }

    /// Whether the key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.is_before_end(key)
    }

    /// Whether the key lies before its end.
    pub fn is_before_end(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// Whether some key above `after` (any key where `None`) and up to `last` can lie in it.
    fn overlaps(&self, after: Option<&[u8]>, last: &[u8]) -> bool {
        let begins_before_end = match (after, &self.end) {
            // Keys above `after` begin with `after` + 0x00.
            (Some(after), Some(end)) => after < end.as_slice() && !is_successor(after, end),
            (None, Some(end)) => !end.is_empty(),
            (_, None) => true,
        };
        last >= self.start.as_slice() && begins_before_end
    }
}

fn is_successor(key: &[u8], next: &[u8]) -> bool {
    next.split_last().is_some_and(|(last, rest)| *last == 0 && rest == key)
}

/// A chunk of a table, not yet read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Its id.
    pub id: BlobId,
    /// Largest key of the chunk before it: all its keys are greater. `None` for the table's first.
    pub after: Option<Arc<[u8]>>,
    /// Its largest key; where `fenced`, a key that none of its keys is above.
    pub last_key: Arc<[u8]>,
    /// Whether it is a whole run, whose root has fences instead of keys.
    pub fenced: bool,
    /// Records, tombstones not counted.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Plaintext bytes.
    pub chunk_bytes: u64,
    /// Highest mzxid of its records.
    pub highest_mzxid: i64,
}

/// The chunks of a table that can hold keys of the range, in key order. Reads only the nodes above them. `visit` is told
/// the id of every node that was read.
pub fn read_leaves<S: BlobSource + ?Sized>(
    source: &S,
    root: &TableRoot,
    range: &KeyRange,
    visit: &mut dyn FnMut(BlobId),
) -> Result<Vec<Leaf>, TableError> {
    let Some(id) = root.root else { return Ok(Vec::new()) };
    let kind = root.root_kind();
    let inconsistent = |what| TableError::Inconsistent { id, kind, what };
    if root.height > MAX_HEIGHT {
        return Err(inconsistent("it is too high"));
    }
    let mut leaves = Vec::new();
    let fenced = root.height == 0 && matches!(root.kind, TableKind::Run { .. });
    let mut walk = Walk { source, range, leaves: &mut leaves, visit, fenced, lost: None };
    if range.overlaps(None, &root.last_key) {
        walk.down(&top_entry(root, id), root.height, None, true)?;
    }
    Ok(leaves)
}

fn top_entry(root: &TableRoot, id: BlobId) -> NodeEntry {
    NodeEntry {
        last_key: root.last_key.clone(),
        id,
        records: root.records,
        tombstones: root.tombstones,
        chunk_bytes: root.chunk_bytes,
        highest_mzxid: i64::MAX,
    }
}

/// The part of a table below a blob that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostPart {
    /// The blob.
    pub id: BlobId,
    /// A node or a chunk.
    pub kind: BlobKind,
    /// All lost keys are greater; `None` at the table's beginning.
    pub after: Option<Arc<[u8]>>,
    /// No lost key is greater.
    pub last_key: Arc<[u8]>,
    /// Records in it, tombstones not counted.
    pub records: u64,
    /// Tombstones in it.
    pub tombstones: u64,
    /// Why it cannot be read.
    pub reason: String,
}

/// As [`read_leaves`] of every key, but what lies below nodes that cannot be read is told to `lost` and left out. `visit` is
/// told the nodes that could be read. Fails only where the store does.
pub fn read_leaves_left<S: BlobSource + ?Sized>(
    source: &S,
    root: &TableRoot,
    visit: &mut dyn FnMut(BlobId),
    lost: &mut dyn FnMut(LostPart),
) -> Result<Vec<Leaf>, TableError> {
    let Some(id) = root.root else { return Ok(Vec::new()) };
    let mut leaves = Vec::new();
    let fenced = root.height == 0 && matches!(root.kind, TableKind::Run { .. });
    let top = top_entry(root, id);
    if root.height > MAX_HEIGHT {
        let error = TableError::Inconsistent { id, kind: root.root_kind(), what: "it is too high" };
        lost(lost_part(&top, root.root_kind(), None, &error));
        return Ok(leaves);
    }
    let range = KeyRange::all();
    let mut walk = Walk { source, range: &range, leaves: &mut leaves, visit, fenced, lost: Some(lost) };
    walk.down(&top, root.height, None, true)?;
    Ok(leaves)
}

fn lost_part(entry: &NodeEntry, kind: BlobKind, after: Option<Arc<[u8]>>, error: &TableError) -> LostPart {
    LostPart {
        id: entry.id,
        kind,
        after,
        last_key: entry.last_key.as_slice().into(),
        records: entry.records,
        tombstones: entry.tombstones,
        reason: error.to_string(),
    }
}

/// Visits the id of every blob of a table, its chunks and values not read. Holds one node a level in memory.
pub fn visit_blobs<S: BlobSource + ?Sized>(
    source: &S,
    root: &TableRoot,
    visit: &mut dyn FnMut(BlobId, BlobKind),
) -> Result<(), TableError> {
    for id in &root.refs {
        visit(*id, BlobKind::Refs);
    }
    for value in read_refs(source, root)? {
        visit(value.id, BlobKind::Value);
    }
    let Some(id) = root.root else { return Ok(()) };
    if root.height > MAX_HEIGHT {
        return Err(TableError::Inconsistent { id, kind: root.root_kind(), what: "it is too high" });
    }
    visit_below(source, id, root.height, visit)
}

fn visit_below<S: BlobSource + ?Sized>(
    source: &S,
    id: BlobId,
    level: u8,
    visit: &mut dyn FnMut(BlobId, BlobKind),
) -> Result<(), TableError> {
    let Some(below) = level.checked_sub(1) else {
        visit(id, BlobKind::Leaf);
        return Ok(());
    };
    visit(id, BlobKind::Node);
    let node = read_node(source, &id)?;
    if node.level != level {
        return Err(TableError::Inconsistent { id, kind: BlobKind::Node, what: "its level" });
    }
    if below > 0 {
        let wanted: Vec<_> = node.children.iter().map(|child| (child.id, BlobKind::Node)).collect();
        source.prefetch(&wanted);
    }
    node.children.iter().try_for_each(|child| visit_below(source, child.id, below, visit))
}

struct Walk<'a, S: ?Sized> {
    source: &'a S,
    range: &'a KeyRange,
    leaves: &'a mut Vec<Leaf>,
    visit: &'a mut dyn FnMut(BlobId),
    fenced: bool,
    /// Told of what cannot be read, which is then left out; without it that is an error.
    lost: Option<&'a mut dyn FnMut(LostPart)>,
}

impl<S: BlobSource + ?Sized> Walk<'_, S> {
    /// Reads what lies below an entry that overlaps the range.
    fn down(&mut self, entry: &NodeEntry, level: u8, after: Option<Arc<[u8]>>, top: bool) -> Result<(), TableError> {
        if level == 0 {
            self.leaves.push(Leaf {
                id: entry.id,
                after,
                last_key: entry.last_key.as_slice().into(),
                fenced: self.fenced,
                records: entry.records,
                tombstones: entry.tombstones,
                chunk_bytes: entry.chunk_bytes,
                highest_mzxid: entry.highest_mzxid,
            });
            return Ok(());
        }
        let read = read_node(self.source, &entry.id)
            .and_then(|node| check_node(&node, entry, level, after.as_deref(), top).map(|()| node));
        let node = match (read, &mut self.lost) {
            (Err(error), Some(lost)) if error.is_loss() => {
                lost(lost_part(entry, BlobKind::Node, after, &error));
                return Ok(());
            }
            (read, _) => read?,
        };
        (self.visit)(entry.id);
        let below = level.saturating_sub(1);
        let mut children: Vec<(&NodeEntry, Option<Arc<[u8]>>)> = Vec::new();
        let mut last = after;
        for child in &node.children {
            let after = last.replace(child.last_key.as_slice().into());
            if self.range.overlaps(after.as_deref(), &child.last_key) {
                children.push((child, after));
            }
        }
        // One alone is read at once.
        if below > 0 && children.len() > 1 {
            let wanted: Vec<_> = children.iter().map(|(child, _)| (child.id, BlobKind::Node)).collect();
            self.source.prefetch(&wanted);
        }
        children.into_iter().try_for_each(|(child, after)| self.down(child, below, after, false))
    }
}

fn read_node<S: BlobSource + ?Sized>(source: &S, id: &BlobId) -> Result<Node, TableError> {
    let bytes = source.get(id, BlobKind::Node)?;
    codec::decode_body::<Node, MAX_NODE>("a table node", &bytes).map_err(|source| TableError::Body {
        id: *id,
        kind: BlobKind::Node,
        source,
    })
}

fn check_node(node: &Node, entry: &NodeEntry, level: u8, after: Option<&[u8]>, top: bool) -> Result<(), TableError> {
    let wrong = |what| Err(TableError::Inconsistent { id: entry.id, kind: BlobKind::Node, what });
    if node.level != level {
        return wrong("its level");
    }
    if node.children.is_empty() {
        return wrong("it has no children");
    }
    let mut keys = after.into_iter().chain(node.children.iter().map(|child| child.last_key.as_slice()));
    if !keys.by_ref().is_sorted_by(|a, b| a < b) {
        return wrong("the order of its keys");
    }
    let sums = node.entry(entry.id);
    // A root does not carry the highest mzxid.
    let expected =
        NodeEntry { highest_mzxid: if top { sums.highest_mzxid } else { entry.highest_mzxid }, ..entry.clone() };
    if sums == expected { Ok(()) } else { wrong("its last key or its sums") }
}

/// Reads a chunk and holds it against what its table says of it.
pub fn read_chunk<S: BlobSource + ?Sized>(source: &S, leaf: &Leaf) -> Result<Chunk, TableError> {
    let id = leaf.id;
    let chunk = Chunk::decode(source.get(&id, BlobKind::Leaf)?).map_err(|source| TableError::Chunk { id, source })?;
    let wrong = |what| Err(TableError::Inconsistent { id, kind: BlobKind::Leaf, what });
    if chunk.len() as u64 != leaf.records.saturating_add(leaf.tombstones) {
        return wrong("its number of records");
    }
    let Some(last) = chunk.len().checked_sub(1) else { return wrong("it is empty") };
    let beyond = if leaf.fenced { chunk.key(last) > &*leaf.last_key } else { chunk.key(last) != &*leaf.last_key };
    if beyond {
        return wrong("its last key");
    }
    if leaf.after.as_ref().is_some_and(|after| chunk.key(0) <= &**after) {
        return wrong("its first key");
    }
    Ok(chunk)
}

/// Reads the lists of values stored as blobs of their own.
pub fn read_refs<S: BlobSource + ?Sized>(source: &S, root: &TableRoot) -> Result<Vec<RefsEntry>, TableError> {
    let mut all = Vec::new();
    for id in &root.refs {
        let bytes = source.get(id, BlobKind::Refs)?;
        let list: Vec<RefsEntry> = codec::decode_body::<_, MAX_REFS>("a value list", &bytes)
            .map_err(|source| TableError::Body { id: *id, kind: BlobKind::Refs, source })?;
        all.extend(list);
    }
    Ok(all)
}

/// The bytes of a value, read from its blob where it has one.
pub fn read_value<S: BlobSource + ?Sized>(source: &S, value: &Value) -> Result<Option<Bytes>, TableError> {
    match value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(Bytes::copy_from_slice(bytes))),
        Value::Blob { id, len } => {
            let bytes = source.get(id, BlobKind::Value)?;
            if bytes.len() as u64 == *len {
                Ok(Some(bytes))
            } else {
                Err(TableError::Inconsistent { id: *id, kind: BlobKind::Value, what: "its length" })
            }
        }
    }
}
