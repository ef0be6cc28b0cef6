//! Chunks: the columnar form of a stretch of records. `docs/format.md` §6 gives the bytes.
//!
//! The same records make the same bytes, whoever writes them and in whichever table: nothing in a chunk refers to
//! anything outside it but large values, which it names by content. So equal stretches have equal ids, and a
//! stretch is compared with a stored one by encoding it and comparing ids, without reading the stored one.

mod decode;
mod encode;
mod varint;

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;

use crate::ids::BlobId;
use crate::record::{RecordFlags, RecordLens, RecordRef, RecordStat, SortedRecords, ValueRef, lens_of};

pub use encode::{ChunkEncoder, EncodedChunk, OutOfLine};

/// Largest plaintext of a chunk, bytes.
pub const MAX_CHUNK: usize = 16 << 20;

/// Version of the layout: the first byte of a chunk.
const VERSION: u8 = 1;

/// The integer columns after the keys, in stored order. `reference` is the column that predictor 0 subtracts.
const STAT_COLUMNS: usize = 9;
const NO_REFERENCE: usize = usize::MAX;
const REFERENCE: [usize; STAT_COLUMNS] =
    [NO_REFERENCE, 0, 0, NO_REFERENCE, 3, NO_REFERENCE, NO_REFERENCE, NO_REFERENCE, NO_REFERENCE];

/// All columns, whose lengths the header lists.
const COLUMNS: usize = 4 + STAT_COLUMNS + 6;

/// Columns of a stat in stored order.
fn stat_columns(stat: &RecordStat) -> [i64; STAT_COLUMNS] {
    [
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.ctime,
        stat.mtime,
        stat.version.into(),
        stat.cversion.into(),
        stat.aversion.into(),
        stat.ephemeral_owner,
    ]
}

/// Why records do not make a chunk, or bytes are not one.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Keys must rise.
    #[error("record {position} and the one before it are out of key order")]
    Unsorted {
        /// Position of the later record in its source or chunk.
        position: usize,
    },
    /// A part of a record is longer than the format allows.
    #[error("the {part} of record {position} is {len} bytes, more than the {limit} a repository can hold")]
    TooLong {
        /// `key`, `ACL` or `value`.
        part: &'static str,
        /// Position of the record.
        position: usize,
        /// Its length, bytes.
        len: u64,
        /// The bound, bytes.
        limit: u64,
    },
    /// The whole is longer than the format allows.
    #[error("a chunk of {len} bytes is more than the {limit} the format allows")]
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The bound, bytes.
        limit: usize,
    },
    /// Written by a newer program.
    #[error("the chunk has layout version {found}; this zooark reads version {VERSION}: use a newer one")]
    NewerVersion {
        /// Version found.
        found: u8,
    },
    /// The bytes contradict themselves.
    #[error("the chunk does not decode: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

/// A decoded chunk: records by position, found by key, without an allocation per record.
#[derive(Debug)]
pub struct Chunk {
    raw: Bytes,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    /// Position among the puts of each entry; [`TOMBSTONE`] for tombstones. Empty where there are none.
    slots: Vec<u32>,
    stats: Vec<RecordStat>,
    flags: Vec<u32>,
    acl_index: Vec<u32>,
    acls: Vec<Range<usize>>,
    values: Vec<Slot>,
}

const TOMBSTONE: u32 = u32::MAX;

/// Where a value is.
#[derive(Clone, Debug)]
enum Slot {
    Null,
    Inline(Range<usize>),
    Blob { id: BlobId, len: u64 },
}

impl Chunk {
    /// Decodes the plaintext of a chunk and checks everything in it, key order included.
    pub fn decode(raw: Bytes) -> Result<Self, ChunkError> {
        decode::decode(raw)
    }

    /// Entries, tombstones included.
    pub fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.key_ends.is_empty()
    }

    /// The key of entry `i`. Panics past the end, as a slice does.
    #[inline]
    pub fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.key_ends[i - 1] as usize };
        &self.keys[start..self.key_ends[i] as usize]
    }

    /// The record of entry `i`; `None` for a tombstone. Panics past the end, as a slice does.
    #[inline]
    pub fn get(&self, i: usize) -> Option<RecordRef<'_>> {
        let key = self.key(i);
        let slot = if self.slots.is_empty() { i } else { self.slots[i] as usize };
        if slot == TOMBSTONE as usize {
            return None;
        }
        let value = match &self.values[slot] {
            Slot::Null => ValueRef::Null,
            Slot::Inline(range) => ValueRef::Bytes(&self.raw[range.clone()]),
            Slot::Blob { id, len } => ValueRef::Blob { id: *id, len: *len },
        };
        let acl = &self.raw[self.acls[self.acl_index[slot] as usize].clone()];
        Some(RecordRef { key, stat: self.stats[slot], flags: RecordFlags(self.flags[slot]), acl, value })
    }

    /// Position of a key: `Ok` where it is, `Err` where it would be.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Bytes of memory it holds, about.
    pub fn memory(&self) -> usize {
        self.raw.len()
            + self.keys.len()
            + self.len() * 4
            + self.stats.len() * (size_of::<RecordStat>() + 8 + size_of::<Slot>())
    }
}

impl SortedRecords for Chunk {
    fn len(&self) -> usize {
        Chunk::len(self)
    }

    fn lens(&self, i: usize) -> RecordLens {
        let gone = RecordLens { key: self.key(i).len(), ..RecordLens::default() };
        self.get(i).map_or(gone, |record| lens_of(&record))
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.key(i));
    }

    fn record<'a>(&'a self, i: usize, _: &'a mut Vec<u8>) -> RecordRef<'a> {
        self.get(i).unwrap_or_else(|| RecordRef::tombstone(self.key(i)))
    }

    fn is_tombstone(&self, i: usize) -> bool {
        self.slots.get(i) == Some(&TOMBSTONE)
    }

    fn compare_key(&self, i: usize, key: &[u8], _: &mut Vec<u8>) -> Ordering {
        self.key(i).cmp(key)
    }
}

#[cfg(test)]
mod tests;
