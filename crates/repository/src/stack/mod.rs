//! A stack of tables read as one: a base, and runs over it, newest last. For equal keys the newest table wins; a
//! tombstone hides what lies below it.
//!
//! Everything is read in stretches between two keys where a chunk of the base ends ([`Scan`]): stretches are
//! independent, so any number of threads can share a scan, and a stretch that cannot matter is not read at all.

mod changes;
mod diff;
mod entries;
mod scan;

use std::collections::HashSet;
use std::sync::Arc;

use crate::blobs::{BlobSource, NodeMemory, Remembering};
use crate::chunk::Chunk;
use crate::ids::{BlobId, BlobKind, IdentityKeys};
use crate::record::{Record, RecordRef};
use crate::table::{KeyRange, Leaf, TableError, TableRoot, read_chunk, read_leaves, read_refs};

pub use changes::{ChangeEntry, ChangeSet, Compared, RunRecords};
pub use diff::diff;
pub(crate) use entries::Entries;
pub(crate) use scan::{Input, merge};
pub use scan::{Scan, Stretch, StretchReader};

/// Tables in a stack, at most.
pub const MAX_TABLES: usize = 128;

/// A stack of tables and where their blobs are read.
#[derive(Debug)]
pub struct Stack<'a, S> {
    tables: Vec<Arc<TableRoot>>,
    source: S,
    keys: &'a IdentityKeys,
    nodes: NodeMemory,
}

impl<'a, S: BlobSource> Stack<'a, S> {
    /// A stack of these tables, the base first, newest last. No table at all is the empty state.
    pub fn new(tables: Vec<TableRoot>, source: S, keys: &'a IdentityKeys) -> Self {
        Self { tables: tables.into_iter().map(Arc::new).collect(), source, keys, nodes: NodeMemory::default() }
    }

    /// Its tables, the base first.
    pub fn tables(&self) -> &[Arc<TableRoot>] {
        &self.tables
    }

    /// Where its blobs are read.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The keys its blobs are named with.
    pub fn keys(&self) -> &'a IdentityKeys {
        self.keys
    }

    fn remembering(&self) -> Remembering<'_, S> {
        Remembering { source: &self.source, nodes: &self.nodes }
    }

    /// The record under a key. Reads at most one path of the base and one of each run whose fences hold the key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>, TableError> {
        let range = KeyRange::only(key);
        let source = self.remembering();
        for table in self.tables.iter().rev() {
            if key < table.first_key.as_slice() || key > table.last_key.as_slice() {
                continue;
            }
            for leaf in read_leaves(&source, table, &range, &mut |_| {})? {
                let chunk = read_chunk(&source, &leaf)?;
                if let Ok(i) = chunk.search(key) {
                    return Ok(chunk.get(i).map(|record| record.to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// The records under many keys, which must rise: each chunk is read once however many keys lie in it.
    pub fn get_sorted<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        mut found: impl FnMut(&'k [u8], Option<RecordRef<'_>>),
    ) -> Result<(), TableError> {
        let source = self.remembering();
        let mut cursors: Vec<Lookup> = self.tables.iter().rev().map(|_| Lookup::default()).collect();
        for key in keys {
            let mut hit = None;
            for (table, cursor) in self.tables.iter().rev().zip(&mut cursors) {
                if key < table.first_key.as_slice() || key > table.last_key.as_slice() {
                    continue;
                }
                if !cursor.covers(key) {
                    cursor.seek(&source, table, key)?;
                }
                if let Some((chunk, i)) = cursor.find(key) {
                    hit = Some((chunk, i));
                    break;
                }
            }
            found(key, hit.as_ref().and_then(|(chunk, i)| chunk.get(*i)));
        }
        Ok(())
    }

    /// Calls `visit` with every record of a range, in key order.
    pub fn for_each(&self, range: &KeyRange, mut visit: impl FnMut(&RecordRef<'_>)) -> Result<(), TableError> {
        let scan = self.scan(range)?;
        let mut reader = scan.reader(&self.source);
        for i in 0..scan.stretches().len() {
            reader.read(i, &mut visit)?;
        }
        Ok(())
    }

    /// Prepares to read a range of keys in stretches. Reads nodes, no chunks.
    pub fn scan(&self, range: &KeyRange) -> Result<Scan, TableError> {
        let leaves = self
            .tables
            .iter()
            .map(|table| read_leaves(&self.source, table, range, &mut |_| {}))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Scan::new(leaves, range.clone()))
    }

    /// Every blob of the stack: chunks, nodes, values and lists. Reads nodes and lists, no chunks.
    pub fn blobs(&self) -> Result<HashSet<(BlobId, BlobKind)>, TableError> {
        let mut all = HashSet::new();
        for table in &self.tables {
            let mut nodes = Vec::new();
            let leaves = read_leaves(&self.source, table, &KeyRange::all(), &mut |id| nodes.push(id))?;
            all.extend(nodes.into_iter().map(|id| (id, BlobKind::Node)));
            all.extend(leaves.iter().map(|leaf| (leaf.id, BlobKind::Leaf)));
            all.extend(table.refs.iter().map(|id| (*id, BlobKind::Refs)));
            all.extend(read_refs(&self.source, table)?.iter().map(|value| (value.id, BlobKind::Value)));
        }
        Ok(all)
    }
}

/// The chunk of one table that the last key was looked up in.
#[derive(Default)]
struct Lookup {
    leaf: Option<(Leaf, Arc<Chunk>)>,
}

impl Lookup {
    fn covers(&self, key: &[u8]) -> bool {
        self.leaf
            .as_ref()
            .is_some_and(|(leaf, _)| key <= &*leaf.last_key && leaf.after.as_ref().is_none_or(|after| key > &**after))
    }

    fn seek<S: BlobSource>(&mut self, source: &S, table: &TableRoot, key: &[u8]) -> Result<(), TableError> {
        self.leaf = match read_leaves(source, table, &KeyRange::only(key), &mut |_| {})?.pop() {
            Some(leaf) => {
                let chunk = Arc::new(read_chunk(source, &leaf)?);
                Some((leaf, chunk))
            }
            None => None,
        };
        Ok(())
    }

    fn find(&self, key: &[u8]) -> Option<(Arc<Chunk>, usize)> {
        let (_, chunk) = self.leaf.as_ref()?;
        Some((Arc::clone(chunk), chunk.search(key).ok()?))
    }
}

#[cfg(test)]
mod tests;
