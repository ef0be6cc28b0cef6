//! What a new state changes of the parent's: the increment of a full read.
//!
//! For each chunk of the parent's base the new records between its fences are encoded and named. The same id means
//! the same records: the stored chunk is neither fetched nor decoded. Only where ids differ, or where a
//! run has entries, are the parent's records read and joined with the new ones.

use std::ops::Range;

use rayon::prelude::*;

use super::{Scan, Stack, StretchReader};
use crate::blobs::BlobSource;
use crate::chunk::{ChunkEncoder, ChunkError};
use crate::ids::BlobKind;
use crate::record::{RecordLens, RecordRef, SortedRecords};
use crate::state_digest::{RecordHasher, StateDigest};
use crate::table::{KeyRange, TableError};

/// One change, by position in the new records where it is a put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeEntry {
    /// The record at this position is new or differs.
    Put(usize),
    /// The record under this key is gone.
    Delete(Box<[u8]>),
}

/// The changes that lead from one state to another, in key order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangeSet {
    /// The changes.
    pub entries: Vec<ChangeEntry>,
    /// Records that were not there.
    pub created: u64,
    /// Records that differ.
    pub updated: u64,
    /// Records that are gone.
    pub deleted: u64,
    /// What to add to the digest of the old state to get that of the new.
    pub digest_delta: StateDigest,
    /// Chunks of the parent that had to be read.
    pub chunks_read: u64,
}

/// What the engine is told of each change: the record before and after, one of them absent where it was created or
/// deleted.
pub type Compared<'v> = dyn Fn(Option<RecordRef<'_>>, Option<RecordRef<'_>>) + Sync + 'v;

impl<S: BlobSource> Stack<'_, S> {
    /// The changes that lead from this stack's state to `records`, which is a whole state. `visit` sees every change, on
    /// several threads and in no order across them.
    pub fn changes_to<R: SortedRecords + ?Sized>(
        &self,
        records: &R,
        visit: &Compared<'_>,
    ) -> Result<ChangeSet, TableError> {
        let scan = self.scan(&KeyRange::all())?;
        let comparison = Comparison { stack: self, scan: &scan, records, visit };
        // Several parts per core: where changes cluster, parts cost very different times.
        let parts = scan.parts(rayon::current_num_threads() * 16);
        let found: Vec<ChangeSet> =
            parts.into_par_iter().map(|part| comparison.part(part)).collect::<Result<_, _>>()?;
        Ok(found.into_iter().fold(ChangeSet::default(), ChangeSet::then))
    }
}

impl ChangeSet {
    /// This set, and one of greater keys.
    fn then(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        Self {
            entries: self.entries,
            created: self.created + other.created,
            updated: self.updated + other.updated,
            deleted: self.deleted + other.deleted,
            digest_delta: self.digest_delta.plus(other.digest_delta),
            chunks_read: self.chunks_read + other.chunks_read,
        }
    }
}

struct Comparison<'c, 's, S, R: ?Sized> {
    stack: &'c Stack<'s, S>,
    scan: &'c Scan,
    records: &'c R,
    visit: &'c Compared<'c>,
}

impl<S: BlobSource, R: SortedRecords + ?Sized> Comparison<'_, '_, S, R> {
    fn part(&self, stretches: Range<usize>) -> Result<ChangeSet, TableError> {
        let mut reader = self.scan.reader(self.stack.source());
        let mut encoder = ChunkEncoder::new(self.stack.keys());
        let mut hasher = RecordHasher::new(self.stack.keys());
        let mut changes = ChangeSet::default();
        let mut start = match stretches.clone().next().and_then(|first| self.scan.stretches()[first].after.as_ref()) {
            Some(after) => self.position_after(after, 0),
            None => 0,
        };
        for i in stretches {
            let stretch = &self.scan.stretches()[i];
            let end = match &stretch.upto {
                Some(upto) => self.position_after(upto, start),
                None => self.records.len(),
            };
            let untouched = !reader.has_run_entries(i)?;
            if !(untouched && self.is_base_chunk(i, start..end, &mut encoder)?) {
                self.join(i, start..end, &mut reader, &mut hasher, &mut changes)?;
            }
            start = end;
        }
        Ok(changes)
    }

    /// Whether the new records in these positions are exactly the base chunk of stretch `i`.
    fn is_base_chunk(&self, i: usize, range: Range<usize>, encoder: &mut ChunkEncoder<'_>) -> Result<bool, TableError> {
        let [leaf] = &self.scan.base_leaves()[self.scan.stretches()[i].base.clone()] else {
            return Ok(range.is_empty());
        };
        // Another number of records cannot be the same chunk; it may also be too much for one.
        if range.len() as u64 != leaf.records {
            return Ok(false);
        }
        let chunk = match encoder.encode(self.records, range) {
            Ok(chunk) => chunk,
            // As many records, but far larger ones.
            Err(ChunkError::TooLarge { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        Ok(chunk.bytes.len() as u64 == leaf.chunk_bytes
            && self.stack.keys().blob_id(BlobKind::Leaf, chunk.bytes) == leaf.id)
    }

    /// Joins the parent's records of stretch `i` with the new ones.
    fn join(
        &self,
        i: usize,
        range: Range<usize>,
        reader: &mut StretchReader<'_, S>,
        hasher: &mut RecordHasher<'_>,
        changes: &mut ChangeSet,
    ) -> Result<(), TableError> {
        let mut at = range.start;
        let mut scratch = Vec::new();
        changes.chunks_read += self.scan.stretches()[i].base.len() as u64;
        reader.read(i, &mut |old| {
            let mut order = std::cmp::Ordering::Greater;
            while at < range.end {
                order = self.records.compare_key(at, old.key, &mut scratch);
                if order.is_ge() {
                    break;
                }
                self.created(at, &mut scratch, hasher, changes);
                at += 1;
            }
            if at < range.end && order.is_eq() {
                let new = self.records.record(at, &mut scratch);
                let stored = RecordRef { value: new.value.stored(self.stack.keys()), ..new };
                if stored != *old {
                    (self.visit)(Some(*old), Some(new));
                    changes.updated += 1;
                    changes.digest_delta = changes.digest_delta.minus(hasher.hash(old)).plus(hasher.hash(&stored));
                    changes.entries.push(ChangeEntry::Put(at));
                }
                at += 1;
            } else {
                (self.visit)(Some(*old), None);
                changes.deleted += 1;
                changes.digest_delta = changes.digest_delta.minus(hasher.hash(old));
                changes.entries.push(ChangeEntry::Delete(old.key.into()));
            }
        })?;
        for at in at..range.end {
            self.created(at, &mut scratch, hasher, changes);
        }
        Ok(())
    }

    fn created(&self, at: usize, scratch: &mut Vec<u8>, hasher: &mut RecordHasher<'_>, changes: &mut ChangeSet) {
        let new = self.records.record(at, scratch);
        (self.visit)(None, Some(new));
        changes.created += 1;
        changes.digest_delta = changes.digest_delta.plus(hasher.hash(&new));
        changes.entries.push(ChangeEntry::Put(at));
    }

    /// Position of the first new record whose key is greater, not before `from`. Looks near `from` first.
    fn position_after(&self, key: &[u8], from: usize) -> usize {
        let mut scratch = Vec::new();
        let mut greater = |i: usize| self.records.compare_key(i, key, &mut scratch).is_gt();
        let len = self.records.len();
        let (mut low, mut step) = (from, 256usize);
        let mut high = loop {
            let probe = low.saturating_add(step);
            if probe >= len {
                break len;
            }
            if greater(probe) {
                break probe;
            }
            low = probe;
            step = step.saturating_mul(2);
        };
        while low < high {
            let middle = low.midpoint(high);
            if greater(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// A change set with the records it refers to, as the entries of a run.
#[derive(Debug)]
pub struct RunRecords<'a, R: ?Sized> {
    records: &'a R,
    entries: &'a [ChangeEntry],
}

impl<'a, R: SortedRecords + ?Sized> RunRecords<'a, R> {
    /// The entries of a run that makes these changes.
    pub fn new(records: &'a R, changes: &'a ChangeSet) -> Self {
        Self { records, entries: &changes.entries }
    }
}

impl<R: SortedRecords + ?Sized> SortedRecords for RunRecords<'_, R> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn lens(&self, i: usize) -> RecordLens {
        match &self.entries[i] {
            ChangeEntry::Put(at) => self.records.lens(*at),
            ChangeEntry::Delete(key) => RecordLens { key: key.len(), ..RecordLens::default() },
        }
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        match &self.entries[i] {
            ChangeEntry::Put(at) => self.records.key_into(*at, key),
            ChangeEntry::Delete(gone) => {
                key.clear();
                key.extend_from_slice(gone);
            }
        }
    }

    fn record<'r>(&'r self, i: usize, key: &'r mut Vec<u8>) -> RecordRef<'r> {
        match &self.entries[i] {
            ChangeEntry::Put(at) => self.records.record(*at, key),
            ChangeEntry::Delete(gone) => RecordRef::tombstone(gone),
        }
    }

    fn is_tombstone(&self, i: usize) -> bool {
        matches!(self.entries[i], ChangeEntry::Delete(_))
    }
}
