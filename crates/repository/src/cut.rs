//! Where chunks begin: decided by keys and sizes alone, so that everyone cuts the same records alike.
//!
//! A chunk begins before a record whose hash is the largest among all records that start within 32 KiB of it
//! on either side (of equal hashes the earlier record's counts as larger). Whether that holds depends on nothing further
//! away: ranges can be cut in parallel, a change moves only the boundaries next to it, and two writers that
//! never met find the same ones. On average a segment is 64 KiB. One over 256 KiB is split at its largest
//! hash until no part is, or a part is one record.

use std::ops::Range;

use rayon::prelude::*;

use crate::ids::{IdentityKeys, first_u64};
use crate::many_hashes::pad;
use crate::record::{RecordLens, SortedRecords};

/// What a boundary is chosen among: items with a hash and a size.
pub trait CutItems: Sync {
    /// How many items there are.
    fn count(&self) -> usize;
    /// Size of an item, bytes.
    fn size(&self, i: usize) -> u64;
    /// Pseudo-random number that belongs to the item's content.
    fn hash(&self, i: usize, scratch: &mut Vec<u8>) -> u64;
    /// Appends sizes and hashes of the items of a range.
    fn measure(&self, range: Range<usize>, out: &mut Vec<Measured>) {
        let mut scratch = Vec::new();
        out.extend(range.map(|i| Measured { size: self.size(i), hash: self.hash(i, &mut scratch) }));
    }
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
/// What the rule looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// See [`CutItems::size`].
    pub size: u64,
    /// See [`CutItems::hash`].
    pub hash: u64,
}

/// Items measured some at a time, in one way through memory.
struct MeasuredAhead<'a, I> {
    items: &'a I,
    from: usize,
    ahead: Vec<Measured>,
}

/// Items measured in one go.
const AHEAD: usize = 1024;
/// The same beyond a range, where few matter.
const AHEAD_BEYOND: usize = 64;

impl<I: CutItems> MeasuredAhead<'_, I> {
    /// Places only rise.
    fn at(&mut self, i: usize, range_end: usize) -> Measured {
        if i >= self.from.saturating_add(self.ahead.len()) {
            let end =
                if i < range_end { i.saturating_add(AHEAD).min(range_end) } else { i.saturating_add(AHEAD_BEYOND) };
            self.ahead.clear();
            self.items.measure(i..end.min(self.items.count()), &mut self.ahead);
            self.from = i;
        }
        self.ahead.get(i.saturating_sub(self.from)).copied().unwrap_or(Measured { size: 0, hash: 0 })
    }
}

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

    fn measure(&self, range: Range<usize>, out: &mut Vec<Measured>) {
        let mut hashes = self.keys.boundary_hashes();
        let mut form = Vec::new();
        let start = out.len();
        out.resize(start.saturating_add(range.len()), Measured { size: 0, hash: 0 });
        for (at, i) in (start..).zip(range) {
            let size = record_size(self.records.measure(i, &mut form));
            pad(&mut form);
            if let Some(measured) = out.get_mut(at) {
                measured.size = size;
            }
            hashes.push(&form, at, &mut |at, hash| set_hash(out, at, &hash));
        }
        hashes.finish(&mut |at, hash| set_hash(out, at, &hash));
    }
}

/// The chunks of a whole list of records, as ranges of positions in order. Uses every core.
pub fn chunk_ranges<R: SortedRecords + ?Sized>(records: &R, keys: &IdentityKeys) -> Vec<Range<usize>> {
    segments(&RecordItems { records, keys }, CHUNK_RULE)
}

/// Positions in `range` before which the rule cuts, 0 never among them, oversized segments not yet split.
pub fn record_cuts<R: SortedRecords + ?Sized>(records: &R, keys: &IdentityKeys, range: Range<usize>) -> Vec<usize> {
    natural_cuts(&RecordItems { records, keys }, CHUNK_RULE, range).positions()
}

/// Splits one segment of records where it is too large.
pub fn split_records<R: SortedRecords + ?Sized>(
    records: &R,
    keys: &IdentityKeys,
    segment: Range<usize>,
) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let items = RecordItems { records, keys };
    let bytes = bytes_of(&items, segment.clone());
    split_segment(&items, CHUNK_RULE, segment, bytes, &mut out);
    out
}

/// Items one thread looks at in one go.
const BATCH: usize = 32 << 10;

/// All segments of `items`, in order; none where there are no items.
pub fn segments<I: CutItems>(items: &I, rule: CutRule) -> Vec<Range<usize>> {
    let len = items.count();
    let batches = len.div_ceil(BATCH);
    let batches: Vec<Cuts> = (0..batches)
        .into_par_iter()
        .map(|batch| {
            let start = batch.saturating_mul(BATCH);
            natural_cuts(items, rule, start..start.saturating_add(BATCH).min(len))
        })
        .collect();
    let mut out = Vec::new();
    // Where the open segment begins, and the bytes of all batches before its end.
    let (mut start, mut from, mut before) = (0, 0_u64, 0_u64);
    for batch in batches {
        for cut in batch.cuts {
            let offset = before.saturating_add(cut.offset);
            split_segment(items, rule, start..cut.position, offset.saturating_sub(from), &mut out);
            (start, from) = (cut.position, offset);
        }
        before = before.saturating_add(batch.bytes);
    }
    if len > 0 {
        split_segment(items, rule, start..len, before.saturating_sub(from), &mut out);
    }
    out
}

/// Positions in `range` before which the rule cuts; 0 is never among them.
///
/// Items outside the range are looked at as far as the window reaches, so that the cuts of adjacent ranges
/// together are the cuts of their union.
fn natural_cuts<I: CutItems>(items: &I, rule: CutRule, range: Range<usize>) -> Cuts {
    let mut cuts: Vec<Cut> = Vec::new();
    let first = reach_back(items, rule.window, range.start);
    // Items whose successors so far all have smaller hashes (or equal ones: the earlier wins): hashes fall from
    // bottom to top. `left` says that nothing within the window before the item is as large.
    let mut open: Vec<Open> = Vec::new();
    let mut offset = 0u64;
    let mut beyond = None;
    let (mut range_start, mut range_end) = (0, None);
    let mut measured = MeasuredAhead { items, from: first, ahead: Vec::new() };
    for i in first..items.count() {
        if i == range.start {
            range_start = offset;
        }
        if i >= range.end {
            range_end.get_or_insert(offset);
            // Past the range, only what starts within the window of its last item matters.
            let limit =
                *beyond.get_or_insert(offset.saturating_sub(previous_size(items, i)).saturating_add(rule.window));
            if offset > limit {
                break;
            }
        }
        let Measured { size, hash } = measured.at(i, range.end);
        while let Some(top) = open.pop_if(|top| top.hash < hash) {
            if top.left && offset.saturating_sub(top.offset) > rule.window {
                cuts.push(Cut { position: top.position, offset: top.offset });
            }
        }
        let left = open.last().is_none_or(|top| offset.saturating_sub(top.offset) > rule.window);
        open.push(Open { position: i, offset, hash, left });
        offset = offset.saturating_add(size);
    }
    let left_open = open.into_iter().filter(|item| item.left);
    cuts.extend(left_open.map(|item| Cut { position: item.position, offset: item.offset }));
    cuts.retain(|cut| cut.position > 0 && range.contains(&cut.position));
    cuts.sort_unstable_by_key(|cut| cut.position);
    for cut in &mut cuts {
        cut.offset = cut.offset.saturating_sub(range_start);
    }
    Cuts { cuts, bytes: range_end.unwrap_or(offset).saturating_sub(range_start) }
}

/// Where the rule cuts in a range, and the bytes of all its items.
struct Cuts {
    cuts: Vec<Cut>,
    bytes: u64,
}

impl Cuts {
    fn positions(self) -> Vec<usize> {
        self.cuts.into_iter().map(|cut| cut.position).collect()
    }
}

/// Before `position`, whose item begins `offset` bytes into the range.
struct Cut {
    position: usize,
    offset: u64,
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
fn split_segment<I: CutItems>(
    items: &I,
    rule: CutRule,
    segment: Range<usize>,
    bytes: u64,
    out: &mut Vec<Range<usize>>,
) {
    if bytes <= rule.max_segment {
        out.push(segment);
        return;
    }
    let mut waiting = vec![segment];
    let mut scratch = Vec::new();
    while let Some(part) = waiting.pop() {
        let bytes = bytes_of(items, part.clone());
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

fn bytes_of<I: CutItems>(items: &I, part: Range<usize>) -> u64 {
    part.fold(0, |sum, i| sum.saturating_add(items.size(i)))
}

fn set_hash(measured: &mut [Measured], at: usize, hash: &[u8; 32]) {
    if let Some(measured) = measured.get_mut(at) {
        measured.hash = first_u64(hash);
    }
}

#[cfg(test)]
#[path = "cut/tests.rs"]
mod tests;
