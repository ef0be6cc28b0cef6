//! Where chunks begin: decided by keys and sizes alone, so that everyone cuts the same records alike.
//!
//! A chunk begins before a record whose hash is the largest among all records that start within 32 KiB of it
//! on either side (of equal hashes the earlier record's counts as larger). Whether that holds depends on nothing further
//! away: ranges can be cut in parallel, a change moves only the boundaries next to it, and two writers that
//! never met find the same ones. On average a segment is 64 KiB. One over 256 KiB is split at its largest
//! hash until no part is, or a part is one record.

use std::ops::Range;

use rayon::prelude::*;

use crate::ids::IdentityKeys;
use crate::record::{RecordLens, SortedRecords};

/// What a boundary is chosen among: items with a hash and a size.
pub trait CutItems: Sync {
    /// How many items there are.
    fn count(&self) -> usize;
    /// Size of an item, bytes.
    fn size(&self, i: usize) -> u64;
    /// Pseudo-random number that belongs to the item's content.
    fn hash(&self, i: usize, scratch: &mut Vec<u8>) -> u64;
}

/// The two lengths of a cutting rule, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutRule {
    /// An item is compared with those that start at most this far from it.
    pub window: u64,
    /// A segment larger than this is split.
    pub max_segment: u64,
}

/// The rule for chunks of records.
pub const CHUNK_RULE: CutRule = CutRule { window: 32 << 10, max_segment: 256 << 10 };

/// Bytes a record counts for beside its key, value and long ACL: about the size of its stat.
const RECORD_OVERHEAD: u64 = 60;
/// ACL lists are stored once per chunk, so they count only where they are long enough to matter alone.
const FREE_ACL: usize = 1024;

/// The size a record counts for: 60 + key + inline value, and what an ACL list has above 1 KiB.
pub fn record_size(lens: RecordLens) -> u64 {
    let bytes = lens.key.saturating_add(lens.inline_value).saturating_add(lens.acl.saturating_sub(FREE_ACL));
    RECORD_OVERHEAD.saturating_add(bytes as u64)
}

/// Records seen as items to cut.
struct RecordItems<'a, R: ?Sized> {
    records: &'a R,
    keys: &'a IdentityKeys,
}

impl<R: SortedRecords + ?Sized> CutItems for RecordItems<'_, R> {
    fn count(&self) -> usize {
        self.records.len()
    }

    fn size(&self, i: usize) -> u64 {
        record_size(self.records.lens(i))
    }

    fn hash(&self, i: usize, scratch: &mut Vec<u8>) -> u64 {
        self.records.key_into(i, scratch);
        self.keys.boundary_hash(scratch)
    }
}

/// The chunks of a whole list of records, as ranges of positions in order. Uses every core.
pub fn chunk_ranges<R: SortedRecords + ?Sized>(records: &R, keys: &IdentityKeys) -> Vec<Range<usize>> {
    segments(&RecordItems { records, keys }, CHUNK_RULE)
}

/// Positions in `range` before which the rule cuts, 0 never among them, oversized segments not yet split.
pub fn record_cuts<R: SortedRecords + ?Sized>(records: &R, keys: &IdentityKeys, range: Range<usize>) -> Vec<usize> {
    natural_cuts(&RecordItems { records, keys }, CHUNK_RULE, range)
}

/// Splits one segment of records where it is too large.
pub fn split_records<R: SortedRecords + ?Sized>(
    records: &R,
    keys: &IdentityKeys,
    segment: Range<usize>,
) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    split_segment(&RecordItems { records, keys }, CHUNK_RULE, segment, &mut out);
    out
}

/// Items one thread looks at in one go.
const BATCH: usize = 32 << 10;

/// All segments of `items`, in order; none where there are no items.
pub fn segments<I: CutItems>(items: &I, rule: CutRule) -> Vec<Range<usize>> {
    let len = items.count();
    let batches = len.div_ceil(BATCH);
    let cuts: Vec<Vec<usize>> = (0..batches)
        .into_par_iter()
        .map(|batch| {
            let start = batch.saturating_mul(BATCH);
            natural_cuts(items, rule, start..start.saturating_add(BATCH).min(len))
        })
        .collect();
    let mut out = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().flatten().chain((len > 0).then_some(len)) {
        split_segment(items, rule, start..end, &mut out);
        start = end;
    }
    out
}

/// Positions in `range` before which the rule cuts; 0 is never among them.
///
/// Items outside the range are looked at as far as the window reaches, so that the cuts of adjacent ranges
/// together are the cuts of their union.
fn natural_cuts<I: CutItems>(items: &I, rule: CutRule, range: Range<usize>) -> Vec<usize> {
    let mut cuts = Vec::new();
    let first = reach_back(items, rule.window, range.start);
    let mut scratch = Vec::new();
    // Items whose successors so far all have smaller hashes (or equal ones: the earlier wins): hashes fall from
    // bottom to top. `left` says that nothing within the window before the item is as large.
    let mut open: Vec<Open> = Vec::new();
    let mut offset = 0u64;
    let mut beyond = None;
    for i in first..items.count() {
        if i >= range.end {
            // Past the range, only what starts within the window of its last item matters.
            let limit =
                *beyond.get_or_insert(offset.saturating_sub(previous_size(items, i)).saturating_add(rule.window));
            if offset > limit {
                break;
            }
        }
        let hash = items.hash(i, &mut scratch);
        while let Some(top) = open.pop_if(|top| top.hash < hash) {
            if top.left && offset.saturating_sub(top.offset) > rule.window {
                cuts.push(top.position);
            }
        }
        let left = open.last().is_none_or(|top| offset.saturating_sub(top.offset) > rule.window);
        open.push(Open { position: i, offset, hash, left });
        offset = offset.saturating_add(items.size(i));
    }
    cuts.extend(open.into_iter().filter(|item| item.left).map(|item| item.position));
    cuts.retain(|cut| *cut > 0 && range.contains(cut));
    cuts.sort_unstable();
    cuts
}

struct Open {
    position: usize,
    offset: u64,
    hash: u64,
    left: bool,
}

fn previous_size<I: CutItems>(items: &I, i: usize) -> u64 {
    i.checked_sub(1).map_or(0, |previous| items.size(previous))
}

/// The first item that starts at most `window` before item `start`.
fn reach_back<I: CutItems>(items: &I, window: u64, start: usize) -> usize {
    let mut first = start;
    let mut distance = 0u64;
    while let Some(previous) = first.checked_sub(1) {
        distance = distance.saturating_add(items.size(previous));
        if distance > window {
            break;
        }
        first = previous;
    }
    first
}

/// Appends the parts of a segment: itself, or where it is too large the parts before and from its largest hash.
fn split_segment<I: CutItems>(items: &I, rule: CutRule, segment: Range<usize>, out: &mut Vec<Range<usize>>) {
    let mut waiting = vec![segment];
    let mut scratch = Vec::new();
    while let Some(part) = waiting.pop() {
        let bytes = part.clone().fold(0u64, |sum, i| sum.saturating_add(items.size(i)));
        // The part's first record is where it begins already: the cut is sought among the others.
        let inner = part.start.saturating_add(1)..part.end;
        let at = (bytes > rule.max_segment)
            .then(|| inner.max_by_key(|&i| (items.hash(i, &mut scratch), std::cmp::Reverse(i))))
            .flatten();
        match at {
            Some(at) => {
                waiting.push(at..part.end);
                waiting.push(part.start..at);
            }
            None => out.push(part),
        }
    }
}

#[cfg(test)]
#[path = "cut/tests.rs"]
mod tests;
