//! The tables of a snapshot without what is lost: chunks that are left stay as they are, only nodes above them are new.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::salvage::{Examiner, Left, Lost};
use crate::blobs::{BlobSink, BlobSource, Layered, MemoryBlobs};
use crate::ids::{BlobId, IdentityKeys};
use crate::manifest::Manifest;
use crate::record::{Change, Record, RecordFlags, RecordRef, RecordStat, Value, ValueRef, session_of};
use crate::stack::Stack;
use crate::state_digest::{DigestSum, StateDigest};
use crate::table::{
    KeyRange, RefsEntry, TableBuilder, TableError, TableKind, TableRoot, TableSpan, build_table, read_chunk,
};

/// What a rewritten snapshot holds.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) tables: Vec<TableRoot>,
    pub(super) digest: StateDigest,
    pub(super) nodes: u64,
    pub(super) sessions: u64,
    pub(super) raw_bytes: u64,
    /// Values and parents that were lost.
    pub(super) lost: Vec<Lost>,
}

/// Writes new nodes for tables that have lost something, and one run on top: lost values become null, marked unreadable, and
/// parents that are lost become empty records, so that what lies below them can be restored.
pub(super) fn rewrite<K: BlobSink + ?Sized, S: BlobSource>(
    examiner: &Examiner,
    manifest: &Manifest,
    left: &[Arc<Left>],
    keys: &IdentityKeys,
    sink: &K,
    source: &S,
    raw_bytes: &dyn Fn(&RecordRef<'_>) -> u64,
) -> Result<Rewritten, TableError> {
    let mut tables = Vec::with_capacity(left.len().saturating_add(1));
    for (table, left) in manifest.body.stack.iter().zip(left) {
        tables.push(if left.is_whole() {
            table.root.clone()
        } else {
            without(examiner, &table.root, left, keys, sink)?
        });
    }
    let lost_values: HashSet<BlobId> = left.iter().flat_map(|left| left.lost_values.iter().copied()).collect();
    let stack = Stack::new(tables.clone(), source, keys);
    let (changes, lost) = patches(&stack, &lost_values)?;
    // What was just put cannot be read back before it is uploaded.
    let memory = MemoryBlobs::new();
    if !changes.is_empty() {
        let fields = &manifest.body.fields;
        let span =
            TableSpan { kind: TableKind::Run { tier: 0 }, zxid_low: fields.zxid_low, zxid_high: fields.zxid_high };
        tables.push(build_table(changes.as_slice(), keys, &memory, span)?.root);
        let mut put = Ok(());
        memory.for_each(|blob| {
            if put.is_ok() {
                put = sink.put(blob);
            }
        });
        put?;
    }
    let stack = Stack::new(tables.clone(), Layered { first: &memory, then: source }, keys);
    let mut sum = DigestSum::new(keys);
    let mut done = Rewritten { tables, digest: StateDigest::ZERO, nodes: 0, sessions: 0, raw_bytes: 0, lost };
    stack.for_each(&KeyRange::all(), |record| {
        sum.add(record);
        if session_of(record.key).is_some() {
            done.sessions = done.sessions.saturating_add(1);
        } else {
            done.nodes = done.nodes.saturating_add(1);
            done.raw_bytes = done.raw_bytes.saturating_add(raw_bytes(record));
        }
    })?;
    done.digest = sum.take();
    Ok(done)
}

/// A table of the chunks that are left.
fn without<K: BlobSink + ?Sized>(
    examiner: &Examiner,
    root: &TableRoot,
    left: &Left,
    keys: &IdentityKeys,
    sink: &K,
) -> Result<TableRoot, TableError> {
    let span = TableSpan { kind: root.kind, zxid_low: root.zxid_low, zxid_high: root.zxid_high };
    let mut builder = TableBuilder::new(keys, sink, span);
    let mut first_key = Vec::new();
    for (at, leaf) in left.leaves.iter().enumerate() {
        if at == 0 {
            first_key = read_chunk(&examiner.reader, leaf)?.key(0).to_vec();
        }
        let values = examiner.values_of(leaf)?;
        builder.keep(leaf, values.into_iter().filter(|RefsEntry { id, .. }| !left.lost_values.contains(id)));
    }
    Ok(builder.finish(first_key)?.root)
}

/// Records to put over what is left, by key, and what they stand for.
fn patches<S: BlobSource>(
    stack: &Stack<'_, S>,
    lost_values: &HashSet<BlobId>,
) -> Result<(Vec<Change>, Vec<Lost>), TableError> {
    let mut changes: BTreeMap<Vec<u8>, Record> = BTreeMap::new();
    let mut lost = Vec::new();
    // Halves of hashes: a pair that agrees would leave one parent out, which the restore reports.
    let mut seen: HashSet<u128> = HashSet::new();
    let mut orphaned: Vec<(Vec<u8>, i32)> = Vec::new();
    let (mut last_parent, mut is_orphan): (Vec<u8>, bool) = (Vec::new(), false);
    stack.for_each(&KeyRange::all(), |record| {
        if session_of(record.key).is_some() {
            return;
        }
        seen.insert(half_hash(record.key));
        if let ValueRef::Blob { id, .. } = record.value
            && lost_values.contains(&id)
        {
            let mut patched = record.to_owned();
            patched.value = Value::Null;
            patched.flags |= RecordFlags::VALUE_UNREADABLE;
            lost.push(Lost::Value { key: record.key.to_vec() });
            changes.insert(record.key.to_vec(), patched);
        }
        // Children of one parent follow each other, and parents come before them.
        let Some(parent) = parent_key(record.key) else { return };
        if parent != last_parent {
            is_orphan = !seen.contains(&half_hash(&parent));
            if is_orphan {
                orphaned.push((parent.clone(), 0));
            }
            last_parent = parent;
        }
        if is_orphan && let Some((_, counter)) = orphaned.last_mut() {
            *counter = counter.saturating_add(1).max(after_sequence_number(record.key));
        }
    })?;
    for (parent, counter) in orphaned {
        let mut missing = vec![parent];
        let acl = loop {
            let Some(lowest) = missing.last() else { break Box::default() };
            let Some(above) = parent_key(lowest) else { break Box::default() };
            if let Some(stand_in) = changes.get(&above) {
                break stand_in.acl.clone();
            }
            if seen.contains(&half_hash(&above))
                && let Some(record) = stack.get(&above)?
            {
                break record.acl;
            }
            missing.push(above);
        };
        for (at, key) in missing.into_iter().enumerate() {
            lost.push(Lost::Parent { key: key.clone() });
            changes.insert(key.clone(), stand_in(key, acl.clone(), if at == 0 { counter } else { 1 }));
        }
    }
    Ok((changes.into_values().map(Change::Put).collect(), lost))
}

/// The number after the ten digits that a sequential znode's name ends in; 0 for other names.
fn after_sequence_number(key: &[u8]) -> i32 {
    let digits = key.last_chunk::<10>().filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<i32>().ok());
    number.map_or(0, |number| number.saturating_add(1))
}

/// An empty record with the ACL of what lies above it. `counter` is what the next sequential child gets: more than any that is
/// left.
fn stand_in(key: Vec<u8>, acl: Box<[u8]>, counter: i32) -> Record {
    let mut flags = RecordFlags::VALUE_UNREADABLE | RecordFlags::INCOMPLETE | RecordFlags::KIND_UNKNOWN;
    if acl.is_empty() {
        flags |= RecordFlags::ACL_UNKNOWN;
    }
    let stat = RecordStat { cversion: counter, ..RecordStat::default() };
    Record { key: key.into(), stat, flags, acl, value: Value::Null }
}

fn half_hash(key: &[u8]) -> u128 {
    let hash = blake3::hash(key);
    hash.as_bytes().first_chunk().copied().map_or(0, u128::from_le_bytes)
}

/// The key of a znode's parent; `None` for the root and for what is no znode. A key is the parent's path with 0x01 for each
/// slash, 0x00, and the name.
pub(super) fn parent_key(key: &[u8]) -> Option<Vec<u8>> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let parent = key.get(..end)?;
    let slash = parent.iter().rposition(|byte| *byte == 1)?;
    let (above, name) = (parent.get(..slash.max(1))?, parent.get(slash.checked_add(1)?..)?);
    if parent.len() == 1 {
        return Some(Vec::new());
    }
    Some([above, &[0], name].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_as_the_engine_makes_keys() {
        for (path, parent) in
            [("/a", ""), ("/a/b", "/a"), ("/a/b/c", "/a/b"), ("/zookeeper/quota/x", "/zookeeper/quota")]
        {
            let key = |path: &str| zk_format::key::encode(path.as_bytes());
            assert_eq!(parent_key(&key(path)), Some(key(parent)), "{path}");
        }
        assert_eq!(parent_key(b""), None);
        assert_eq!(parent_key(&crate::record::session_key(5)), None);
    }
}
