//! Writing tables: chunks encoded, named and handed on by all cores, then the nodes above them.

use std::ops::Range;

use rayon::prelude::*;

use super::fence::{lower_fence, upper_fence};
use super::node::{MAX_HEIGHT, Node, NodeEntry, REFS_PER_LIST, RefsEntry, node_ranges};
use super::read::Leaf;
use super::{TableError, TableKind, TableRoot};
use crate::blobs::{BlobSink, PlainBlob};
use crate::chunk::ChunkEncoder;
use crate::codec;
use crate::cut::{CHUNK_RULE, chunk_ranges, record_size};
use crate::ids::{BlobId, BlobKind, IdentityKeys};
use crate::record::{SortedRecords, ValueRef};
use crate::state_digest::{DigestSum, StateDigest};

/// What a table is besides its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableSpan {
    /// Base or run.
    pub kind: TableKind,
    /// Highest zxid of the state before the table's changes; 0 for a base.
    pub zxid_low: i64,
    /// Highest zxid of the state it leads to.
    pub zxid_high: i64,
}

/// A table that was written.
#[derive(Clone, Debug)]
pub struct BuiltTable {
    /// What the manifest keeps of it.
    pub root: TableRoot,
    /// Every blob it consists of or refers to, whether this backup wrote it or not: chunks, nodes, values, lists.
    pub blobs: Vec<(BlobId, BlobKind)>,
    /// Digest of its records, computed on the way for a base; `None` for a run.
    pub digest: Option<StateDigest>,
}

/// Writes a table of these records. Every blob goes to the sink, large values included, on the thread that made it.
///
/// A base must not contain tombstones. A run up to 256 KiB is one chunk; anything else is cut by the rule.
pub fn build_table<R, S>(records: &R, keys: &IdentityKeys, sink: &S, span: TableSpan) -> Result<BuiltTable, TableError>
where
    R: SortedRecords + ?Sized,
    S: BlobSink + ?Sized,
{
    let ranges = match span.kind {
        TableKind::Run { .. } if fits_one_chunk(records) => {
            if records.is_empty() {
                Vec::new()
            } else {
                std::iter::once(0..records.len()).collect()
            }
        }
        _ => chunk_ranges(records, keys),
    };
    let mut builder = TableBuilder::new(keys, sink, span);
    builder.append(records, ranges)?;
    builder.finish(records_first_key(records))
}

fn fits_one_chunk<R: SortedRecords + ?Sized>(records: &R) -> bool {
    let mut bytes = 0u64;
    (0..records.len()).all(|i| {
        bytes = bytes.saturating_add(record_size(records.lens(i)));
        bytes <= CHUNK_RULE.max_segment
    })
}

fn records_first_key<R: SortedRecords + ?Sized>(records: &R) -> Vec<u8> {
    let mut key = Vec::new();
    if !records.is_empty() {
        records.key_into(0, &mut key);
    }
    key
}

/// Writes a table piece by piece, where its records do not all exist at once.
pub struct TableBuilder<'a, S: ?Sized> {
    keys: &'a IdentityKeys,
    sink: &'a S,
    span: TableSpan,
    leaves: Vec<NodeEntry>,
    values: Vec<RefsEntry>,
    digest: StateDigest,
}

struct WrittenLeaf {
    entry: NodeEntry,
    values: Vec<RefsEntry>,
    digest: StateDigest,
}

impl<'a, S: BlobSink + ?Sized> TableBuilder<'a, S> {
    /// A table without records so far.
    pub fn new(keys: &'a IdentityKeys, sink: &'a S, span: TableSpan) -> Self {
        Self { keys, sink, span, leaves: Vec::new(), values: Vec::new(), digest: StateDigest::ZERO }
    }

    /// Appends chunks: `ranges` of `records`, in order, all after what was appended before.
    pub fn append<R: SortedRecords + ?Sized>(
        &mut self,
        records: &R,
        ranges: Vec<Range<usize>>,
    ) -> Result<(), TableError> {
        let written: Vec<WrittenLeaf> = ranges
            .into_par_iter()
            .map_init(|| ChunkEncoder::new(self.keys), |encoder, range| self.write_leaf(records, range, encoder))
            .collect::<Result<_, _>>()?;
        for leaf in written {
            self.leaves.push(leaf.entry);
            self.values.extend(leaf.values);
            self.digest = self.digest.plus(leaf.digest);
        }
        Ok(())
    }

    fn write_leaf<R: SortedRecords + ?Sized>(
        &self,
        records: &R,
        range: Range<usize>,
        encoder: &mut ChunkEncoder<'_>,
    ) -> Result<WrittenLeaf, TableError> {
        let mut digest = StateDigest::ZERO;
        let chunk = if self.span.kind == TableKind::Base {
            let mut sum = DigestSum::new(self.keys);
            let chunk = encoder.encode_seen(records, range, |record| sum.add(record))?;
            digest = sum.take();
            chunk
        } else {
            encoder.encode(records, range)?
        };
        let id = self.keys.blob_id(BlobKind::Leaf, chunk.bytes);
        self.sink.put(PlainBlob { id, kind: BlobKind::Leaf, bytes: chunk.bytes })?;
        let mut key = Vec::new();
        for value in chunk.out_of_line {
            if let ValueRef::Bytes(bytes) = records.record(value.position, &mut key).value {
                self.sink.put(PlainBlob { id: value.id, kind: BlobKind::Value, bytes })?;
            }
        }
        let entry = NodeEntry {
            last_key: chunk.last_key.to_vec(),
            id,
            records: chunk.records,
            tombstones: chunk.tombstones,
            chunk_bytes: chunk.bytes.len() as u64,
            highest_mzxid: chunk.highest_mzxid,
        };
        let values = chunk.out_of_line.iter().map(|value| RefsEntry { id: value.id, len: value.len }).collect();
        Ok(WrittenLeaf { entry, values, digest })
    }

    /// Takes over a chunk of another table as it is; `values` are those that it names.
    pub(crate) fn keep(&mut self, leaf: &Leaf, values: impl IntoIterator<Item = RefsEntry>) {
        self.leaves.push(NodeEntry {
            last_key: leaf.last_key.to_vec(),
            id: leaf.id,
            records: leaf.records,
            tombstones: leaf.tombstones,
            chunk_bytes: leaf.chunk_bytes,
            highest_mzxid: leaf.highest_mzxid,
        });
        self.values.extend(values);
    }

    /// Writes the nodes and value lists. `first_key` is the smallest key of the table.
    pub fn finish(mut self, first_key: Vec<u8>) -> Result<BuiltTable, TableError> {
        let mut blobs: Vec<(BlobId, BlobKind)> = self.leaves.iter().map(|leaf| (leaf.id, BlobKind::Leaf)).collect();
        self.values.sort_unstable();
        self.values.dedup();
        let mut refs = Vec::new();
        for list in self.values.chunks(REFS_PER_LIST) {
            let bytes = codec::encode_body("a value list", &list)?;
            refs.push(self.put(BlobKind::Refs, &bytes)?);
        }
        blobs.extend(refs.iter().map(|id| (*id, BlobKind::Refs)));
        blobs.extend(self.values.iter().map(|value| (value.id, BlobKind::Value)));

        let chunks = self.leaves.len() as u64;
        let mut level = std::mem::take(&mut self.leaves);
        let mut height = 0u8;
        while level.len() > 1 {
            height += 1;
            if height > MAX_HEIGHT {
                return Err(codec::CodecError::Encode { what: "a table", detail: "it is too high".to_owned() }.into());
            }
            let mut above = Vec::new();
            for range in node_ranges(&level) {
                let node = Node { level: height, children: level[range].to_vec() };
                let bytes = node.encode()?;
                let id = self.put(BlobKind::Node, &bytes)?;
                blobs.push((id, BlobKind::Node));
                above.push(node.entry(id));
            }
            level = above;
        }
        let top = level.pop();
        let (mut first_key, mut last_key) =
            (first_key, top.as_ref().map(|top| top.last_key.clone()).unwrap_or_default());
        if matches!(self.span.kind, TableKind::Run { .. }) && height == 0 {
            lower_fence(&mut first_key);
            upper_fence(&mut last_key);
        }
        let root = TableRoot {
            kind: self.span.kind,
            root: top.as_ref().map(|top| top.id),
            height,
            zxid_low: self.span.zxid_low,
            zxid_high: self.span.zxid_high,
            records: top.as_ref().map_or(0, |top| top.records),
            tombstones: top.as_ref().map_or(0, |top| top.tombstones),
            chunks,
            chunk_bytes: top.as_ref().map_or(0, |top| top.chunk_bytes),
            value_blobs: self.values.len() as u64,
            value_bytes: self.values.iter().map(|value| value.len).fold(0, u64::saturating_add),
            first_key,
            last_key,
            refs,
        };
        let digest = (self.span.kind == TableKind::Base).then_some(self.digest);
        Ok(BuiltTable { root, blobs, digest })
    }

    fn put(&self, kind: BlobKind, bytes: &[u8]) -> Result<BlobId, TableError> {
        let id = self.keys.blob_id(kind, bytes);
        self.sink.put(PlainBlob { id, kind, bytes })?;
        Ok(id)
    }
}
