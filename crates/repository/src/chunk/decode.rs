//! Chunk bytes to records. The bytes were authenticated and match their id, but whoever wrote them may have
//! erred: everything is checked, nothing is allocated beyond what the bytes can hold, nothing panics.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::ops::Range;

use bytes::Bytes;

use super::{COLUMNS, Chunk, ChunkError, MAX_CHUNK, Slot, TOMBSTONE, VERSION, varint};
use crate::ids::BlobId;
use crate::record::{MAX_ACL, MAX_INLINE_VALUE, MAX_KEY, MAX_VALUE, RecordStat};

type Result<T> = std::result::Result<T, ChunkError>;

/// All keys of a chunk together, bytes: front coding could otherwise describe far more than a chunk's size.
const MAX_KEYS: usize = MAX_CHUNK;

const fn malformed(what: &'static str) -> ChunkError {
    ChunkError::Malformed { what }
}

fn number(input: &mut &[u8], what: &'static str) -> Result<u64> {
    varint::take(input).ok_or(malformed(what))
}

fn size(input: &mut &[u8], what: &'static str) -> Result<usize> {
    usize::try_from(number(input, what)?).map_err(|_| malformed(what))
}

fn take<'a>(input: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(len).ok_or(malformed(what))?;
    *input = rest;
    Ok(taken)
}

fn finished(input: &[u8], what: &'static str) -> Result<()> {
    if input.is_empty() { Ok(()) } else { Err(malformed(what)) }
}

/// Columns in stored order, taken one by one, with their position in the chunk.
struct Columns<'a> {
    lens: std::array::IntoIter<usize, COLUMNS>,
    body: &'a [u8],
    position: usize,
}

impl<'a> Columns<'a> {
    fn next(&mut self) -> Result<(&'a [u8], usize)> {
        let len = self.lens.next().unwrap_or(0);
        let column = take(&mut self.body, len, "a column is longer than the chunk")?;
        let position = self.position;
        self.position = position.saturating_add(len);
        Ok((column, position))
    }
}

pub(super) fn decode(raw: Bytes) -> Result<Chunk> {
    if raw.len() > MAX_CHUNK {
        return Err(ChunkError::TooLarge { len: raw.len(), limit: MAX_CHUNK });
    }
    let mut input: &[u8] = &raw;
    let version = *take(&mut input, 1, "it is empty")?.first().unwrap_or(&0);
    if version != VERSION {
        return Err(ChunkError::NewerVersion { found: version });
    }
    let entries = size(&mut input, "number of entries")?;
    let tombstones = size(&mut input, "number of tombstones")?;
    let puts = entries.checked_sub(tombstones).ok_or(malformed("more tombstones than entries"))?;
    // An entry takes at least two bytes (its key's lengths), so this bounds every allocation below.
    if entries > raw.len() / 2 {
        return Err(malformed("more entries than its bytes can hold"));
    }
    let mut lens = [0usize; COLUMNS];
    for len in &mut lens {
        *len = size(&mut input, "column length")?;
    }
    let position = raw.len().saturating_sub(input.len());
    let mut columns = Columns { lens: lens.into_iter(), body: input, position };

    let slots = slots(columns.next()?.0, entries, tombstones)?;
    let (shared, suffix_lens, suffixes) = (columns.next()?.0, columns.next()?.0, columns.next()?.0);
    let (keys, key_ends) = keys(shared, suffix_lens, suffixes, entries)?;
    let stats = stats(&mut columns, puts)?;
    let (mut flags, mut acl_index) = (vec![0; puts], vec![0; puts]);
    integers(columns.next()?.0, &mut flags, |_| 0, narrow)?;
    integers(columns.next()?.0, &mut acl_index, |_| 0, narrow)?;
    let (lists, at) = columns.next()?;
    let acls = acls(lists, at)?;
    if acl_index.iter().any(|index| *index as usize >= acls.len()) {
        return Err(malformed("an ACL index has no list"));
    }
    let (value_lens, blobs, (bytes, at)) = (columns.next()?.0, columns.next()?.0, columns.next()?);
    let values = values(value_lens, blobs, bytes.len(), at, puts)?;
    finished(columns.body, "bytes after the last column")?;
    Ok(Chunk { raw, keys, key_ends, slots, stats, flags, acl_index, acls, values })
}

fn slots(bitmap: &[u8], entries: usize, tombstones: usize) -> Result<Vec<u32>> {
    const WRONG: ChunkError = malformed("the tombstones do not match their number");
    if tombstones == 0 {
        return finished(bitmap, "a tombstone bitmap without tombstones").map(|()| Vec::new());
    }
    if bitmap.len() != entries.div_ceil(8) {
        return Err(WRONG);
    }
    let mut slots = Vec::with_capacity(entries);
    let mut next = 0u32;
    for (byte, bit) in bitmap.iter().flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let gone = byte >> bit & 1 == 1;
        match (slots.len() < entries, gone) {
            (true, true) => slots.push(TOMBSTONE),
            (true, false) => {
                slots.push(next);
                next = next.saturating_add(1);
            }
            (false, true) => return Err(WRONG),
            (false, false) => {}
        }
    }
    if (next as usize).saturating_add(tombstones) == entries { Ok(slots) } else { Err(WRONG) }
}

fn keys(mut shared: &[u8], mut lens: &[u8], mut suffixes: &[u8], entries: usize) -> Result<(Vec<u8>, Vec<u32>)> {
    let mut parts = Vec::with_capacity(entries);
    let (mut total, mut previous) = (0usize, 0);
    for _ in 0..entries {
        let shared = size(&mut shared, "shared key length")?;
        let len = size(&mut lens, "key suffix length")?;
        if shared > previous || shared.saturating_add(len) > MAX_KEY {
            return Err(malformed("key length"));
        }
        previous = shared.saturating_add(len);
        total = total.saturating_add(previous);
        if total > MAX_KEYS {
            return Err(malformed("its keys are too long together"));
        }
        parts.push((shared, len));
    }
    let mut keys = Vec::with_capacity(total);
    let mut ends = Vec::with_capacity(entries);
    let mut previous: Range<usize> = 0..0;
    for (i, (shared, len)) in parts.into_iter().enumerate() {
        let suffix = take(&mut suffixes, len, "key suffix")?;
        let start = keys.len();
        let shared_end = previous.start.saturating_add(shared);
        // Keys rise exactly if the suffix is greater than what it replaces, which its first byte mostly tells.
        let replaced: &[u8] = keys.get(shared_end..previous.end).unwrap_or_default();
        let rises = match (suffix.first(), replaced.first()) {
            (Some(new), Some(old)) if new != old => new > old,
            _ => suffix > replaced,
        };
        if i > 0 && !rises {
            return Err(ChunkError::Unsorted { position: i });
        }
        keys.extend_from_within(previous.start..shared_end);
        keys.extend_from_slice(suffix);
        previous = start..keys.len();
        ends.push(u32::try_from(keys.len()).map_err(|_| malformed("key length"))?);
    }
    finished(shared, "bytes after the shared key lengths")?;
    finished(lens, "bytes after the key suffix lengths")?;
    finished(suffixes, "bytes after the key suffixes")?;
    Ok((keys, ends))
}

/// Takes a column of integers: one for each item, given to `put`. `reference` tells what predictor 0 subtracted.
fn integers<T>(
    column: &[u8],
    items: &mut [T],
    reference: impl Fn(&T) -> i64,
    put: impl Fn(&mut T, i64) -> Option<()>,
) -> Result<()> {
    const RANGE: ChunkError = malformed("an integer is out of range");
    let Some((predictor, mut rest)) = column.split_first() else {
        return items.iter_mut().try_for_each(|item| put(item, reference(item)).ok_or(RANGE));
    };
    let mut residue = || Ok::<_, ChunkError>(varint::unzigzag(number(&mut rest, "an integer")?));
    match predictor {
        0 => {
            for item in items {
                let value = reference(item).wrapping_add(residue()?);
                put(item, value).ok_or(RANGE)?;
            }
        }
        1 => {
            let mut value = 0i64;
            for item in items {
                value = value.wrapping_add(residue()?);
                put(item, value).ok_or(RANGE)?;
            }
        }
        _ if items.is_empty() => {}
        _ => return Err(malformed("unknown predictor")),
    }
    finished(rest, "bytes after an integer column")
}

/// For [`integers`]: a number where it fits.
fn narrow<T: TryFrom<i64>>(place: &mut T, number: i64) -> Option<()> {
    *place = T::try_from(number).ok()?;
    Some(())
}

/// The columns of the stats, in stored order: [`super::REFERENCE`] says which refers to which.
fn stats(columns: &mut Columns<'_>, puts: usize) -> Result<Vec<RecordStat>> {
    let mut all = vec![RecordStat::default(); puts];
    let stats = &mut all[..];
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.czxid, number))?;
    integers(columns.next()?.0, stats, |stat| stat.czxid, |stat, number| narrow(&mut stat.mzxid, number))?;
    integers(columns.next()?.0, stats, |stat| stat.czxid, |stat, number| narrow(&mut stat.pzxid, number))?;
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.ctime, number))?;
    integers(columns.next()?.0, stats, |stat| stat.ctime, |stat, number| narrow(&mut stat.mtime, number))?;
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.version, number))?;
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.cversion, number))?;
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.aversion, number))?;
    integers(columns.next()?.0, stats, |_| 0, |stat, number| narrow(&mut stat.ephemeral_owner, number))?;
    Ok(all)
}

fn acls(mut lists: &[u8], position: usize) -> Result<Vec<Range<usize>>> {
    let end = position.saturating_add(lists.len());
    let count = size(&mut lists, "number of ACL lists")?;
    if count > lists.len() {
        return Err(malformed("more ACL lists than bytes"));
    }
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let len = size(&mut lists, "ACL length")?;
        if len > MAX_ACL {
            return Err(malformed("ACL length"));
        }
        let start = end.saturating_sub(lists.len());
        take(&mut lists, len, "ACL list")?;
        out.push(start..start.saturating_add(len));
    }
    finished(lists, "bytes after the ACL lists")?;
    Ok(out)
}

fn values(mut lens: &[u8], mut blobs: &[u8], bytes: usize, position: usize, count: usize) -> Result<Vec<Slot>> {
    let mut out = Vec::with_capacity(count);
    let (mut at, end) = (position, position.saturating_add(bytes));
    for _ in 0..count {
        out.push(match size(&mut lens, "value length")? {
            0 => Slot::Null,
            1 => {
                let id = take(&mut blobs, 32, "value id")?.try_into().map_err(|_| malformed("value id"))?;
                let len = number(&mut blobs, "length of a value blob")?;
                if len <= MAX_INLINE_VALUE as u64 || len > MAX_VALUE as u64 {
                    return Err(malformed("length of a value blob"));
                }
                Slot::Blob { id: BlobId(id), len }
            }
            tagged => {
                let len = tagged.saturating_sub(2);
                let start = at;
                at = at.saturating_add(len);
                if len > MAX_INLINE_VALUE || at > end {
                    return Err(malformed("value length"));
                }
                Slot::Inline(start..at)
            }
        });
    }
    finished(lens, "bytes after the value lengths")?;
    finished(blobs, "bytes after the value ids")?;
    if at == end { Ok(out) } else { Err(malformed("bytes after the values")) }
}
