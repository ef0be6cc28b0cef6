//! Records to chunk bytes.

use std::ops::Range;

use super::{ChunkError, MAX_CHUNK, NO_REFERENCE, REFERENCE, STAT_COLUMNS, VERSION, stat_columns, varint};
use crate::ids::{BlobId, IdentityKeys};
use crate::record::{MAX_ACL, MAX_KEY, MAX_VALUE, RecordRef, SortedRecords, ValueRef};

/// A value of the chunk that is a blob of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfLine {
    /// Position of its record in the source.
    pub position: usize,
    /// Id of the blob.
    pub id: BlobId,
    /// Length, bytes.
    pub len: u64,
}

/// A chunk just encoded, in the encoder's buffers.
#[derive(Clone, Copy, Debug)]
pub struct EncodedChunk<'a> {
    /// The plaintext.
    pub bytes: &'a [u8],
    /// Records, tombstones not counted.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Highest mzxid of its records; `i64::MIN` where it has none.
    pub highest_mzxid: i64,
    /// Its values that are blobs of their own.
    pub out_of_line: &'a [OutOfLine],
    /// Key of its last entry.
    pub last_key: &'a [u8],
}

/// Encodes chunks one after another with buffers that are used again.
#[derive(Debug)]
pub struct ChunkEncoder<'k> {
    keys: &'k IdentityKeys,
    out: Vec<u8>,
    key: Vec<u8>,
    previous_key: Vec<u8>,
    out_of_line: Vec<OutOfLine>,
    columns: Columns,
}

#[derive(Debug, Default)]
struct Columns {
    tombstones: Vec<u8>,
    shared: Vec<u8>,
    suffix_lens: Vec<u8>,
    suffixes: Vec<u8>,
    stats: [Vec<i64>; STAT_COLUMNS],
    flags: Vec<i64>,
    acl_index: Vec<i64>,
    value_lens: Vec<u8>,
    blobs: Vec<u8>,
    values: Vec<u8>,
}

impl Columns {
    fn clear(&mut self) {
        for bytes in [
            &mut self.tombstones,
            &mut self.shared,
            &mut self.suffix_lens,
            &mut self.suffixes,
            &mut self.value_lens,
            &mut self.blobs,
            &mut self.values,
        ] {
            bytes.clear();
        }
        for column in &mut self.stats {
            column.clear();
        }
        self.flags.clear();
        self.acl_index.clear();
    }
}

impl<'k> ChunkEncoder<'k> {
    /// An encoder with a repository's keys: large values are named by them.
    pub fn new(keys: &'k IdentityKeys) -> Self {
        Self {
            keys,
            out: Vec::new(),
            key: Vec::new(),
            previous_key: Vec::new(),
            out_of_line: Vec::new(),
            columns: Columns::default(),
        }
    }

    /// Encodes the records of `range`.
    pub fn encode<R: SortedRecords + ?Sized>(
        &mut self,
        records: &R,
        range: Range<usize>,
    ) -> Result<EncodedChunk<'_>, ChunkError> {
        self.encode_seen(records, range, |_| {})
    }

    /// Encodes, and shows each record that is not a tombstone as it is stored: what else has to be known of every
    /// record costs no second way to memory.
    pub fn encode_seen<R: SortedRecords + ?Sized>(
        &mut self,
        records: &R,
        range: Range<usize>,
        mut seen: impl FnMut(&RecordRef<'_>),
    ) -> Result<EncodedChunk<'_>, ChunkError> {
        self.columns.clear();
        self.out_of_line.clear();
        self.previous_key.clear();
        let mut acls: Vec<&[u8]> = Vec::new();
        let mut acl_bytes: Vec<u8> = Vec::new();
        let mut acl_ranges: Vec<Range<usize>> = Vec::new();
        let (mut tombstones, mut highest_mzxid, start) = (0u64, i64::MIN, range.start);
        let mut last_acl = usize::MAX;
        for i in range.clone() {
            let columns = &mut self.columns;
            let entry = i - start;
            let record = records.record(i, &mut self.key);
            check_len("key", i, record.key.len() as u64, MAX_KEY)?;
            let shared = common_prefix(record.key, &self.previous_key);
            if i > start && record.key <= self.previous_key.as_slice() {
                return Err(ChunkError::Unsorted { position: i });
            }
            let suffix = &record.key[shared..];
            varint::put(&mut columns.shared, shared as u64);
            varint::put(&mut columns.suffix_lens, suffix.len() as u64);
            columns.suffixes.extend_from_slice(suffix);
            self.previous_key.truncate(shared);
            self.previous_key.extend_from_slice(suffix);
            if records.is_tombstone(i) {
                tombstones += 1;
                columns.tombstones.resize(entry / 8 + 1, 0);
                columns.tombstones[entry / 8] |= 1 << (entry % 8);
                continue;
            }
            for (column, number) in columns.stats.iter_mut().zip(stat_columns(&record.stat)) {
                column.push(number);
            }
            highest_mzxid = highest_mzxid.max(record.stat.mzxid);
            columns.flags.push(record.flags.0.into());
            check_len("ACL", i, record.acl.len() as u64, MAX_ACL)?;
            if acl_ranges.get(last_acl).is_none_or(|known| acl_bytes[known.clone()] != *record.acl) {
                let found = acl_ranges.iter().position(|known| acl_bytes[known.clone()] == *record.acl);
                last_acl = found.unwrap_or_else(|| {
                    let begin = acl_bytes.len();
                    acl_bytes.extend_from_slice(record.acl);
                    acl_ranges.push(begin..acl_bytes.len());
                    acl_ranges.len() - 1
                });
            }
            columns.acl_index.push(i64::try_from(last_acl).unwrap_or(i64::MAX));
            check_len("value", i, record.value.len().unwrap_or(0), MAX_VALUE)?;
            let value = record.value.stored(self.keys);
            seen(&RecordRef { value, ..record });
            match value {
                ValueRef::Null => varint::put(&mut columns.value_lens, 0),
                ValueRef::Bytes(bytes) => {
                    varint::put(&mut columns.value_lens, bytes.len() as u64 + 2);
                    columns.values.extend_from_slice(bytes);
                }
                ValueRef::Blob { id, len } => {
                    varint::put(&mut columns.value_lens, 1);
                    columns.blobs.extend_from_slice(&id.0);
                    varint::put(&mut columns.blobs, len);
                    self.out_of_line.push(OutOfLine { position: i, id, len });
                }
            }
        }
        acls.extend(acl_ranges.iter().map(|known| &acl_bytes[known.clone()]));
        let entries = range.len() as u64;
        if tombstones > 0 {
            self.columns.tombstones.resize(range.len().div_ceil(8), 0);
        }
        write(&mut self.out, &mut self.columns, acls, entries, tombstones);
        if self.out.len() > MAX_CHUNK {
            return Err(ChunkError::TooLarge { len: self.out.len(), limit: MAX_CHUNK });
        }
        Ok(EncodedChunk {
            bytes: &self.out,
            records: entries - tombstones,
            tombstones,
            highest_mzxid,
            out_of_line: &self.out_of_line,
            last_key: &self.previous_key,
        })
    }
}

fn check_len(part: &'static str, position: usize, len: u64, limit: usize) -> Result<(), ChunkError> {
    let limit = limit as u64;
    if len > limit { Err(ChunkError::TooLong { part, position, len, limit }) } else { Ok(()) }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Eight bytes at a time: keys of neighbours share most of their length.
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).take_while(|(x, y)| x == y).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(x, y)| x == y).count()
}

/// Writes header and columns.
fn write(out: &mut Vec<u8>, columns: &mut Columns, acls: Vec<&[u8]>, entries: u64, tombstones: u64) {
    // Sorted by their bytes, so that the order in which records mention them leaves no trace.
    let mut order: Vec<(usize, &[u8])> = acls.into_iter().enumerate().collect();
    order.sort_unstable_by_key(|(_, acl)| *acl);
    let mut rank = vec![0i64; order.len()];
    let mut lists = Vec::new();
    varint::put(&mut lists, order.len() as u64);
    for (sorted, (seen, acl)) in order.into_iter().enumerate() {
        rank[seen] = i64::try_from(sorted).unwrap_or(i64::MAX);
        varint::put(&mut lists, acl.len() as u64);
        lists.extend_from_slice(acl);
    }
    for index in &mut columns.acl_index {
        *index = usize::try_from(*index).ok().and_then(|seen| rank.get(seen)).copied().unwrap_or_default();
    }

    let mut integers = Vec::with_capacity(columns.flags.len() * 24);
    let mut ends = [0usize; STAT_COLUMNS + 2];
    for column in 0..STAT_COLUMNS {
        let reference = REFERENCE[column];
        let reference = (reference != NO_REFERENCE).then(|| columns.stats[reference].as_slice());
        put_integers(&mut integers, &columns.stats[column], reference);
        ends[column] = integers.len();
    }
    put_integers(&mut integers, &columns.flags, None);
    ends[STAT_COLUMNS] = integers.len();
    put_integers(&mut integers, &columns.acl_index, None);
    ends[STAT_COLUMNS + 1] = integers.len();

    out.clear();
    out.push(VERSION);
    varint::put(out, entries);
    varint::put(out, tombstones);
    let before = [&columns.tombstones, &columns.shared, &columns.suffix_lens, &columns.suffixes];
    let after = [&lists, &columns.value_lens, &columns.blobs, &columns.values];
    for column in before {
        varint::put(out, column.len() as u64);
    }
    let mut start = 0;
    for end in ends {
        varint::put(out, (end - start) as u64);
        start = end;
    }
    for column in after {
        varint::put(out, column.len() as u64);
    }
    for column in before.into_iter().chain([&integers]).chain(after) {
        out.extend_from_slice(column);
    }
}

/// An integer column: nothing where all residues are zero under predictor 0, else the predictor and the residues.
/// Predictor 0 subtracts the reference column (or nothing), 1 the value before. The shorter wins, 0 if equal.
fn put_integers(out: &mut Vec<u8>, column: &[i64], reference: Option<&[i64]>) {
    let (mut any, mut by_reference, mut by_previous, mut previous) = (0u64, 0u32, 0u32, 0i64);
    let residue = |i: usize, number: i64| match reference {
        Some(reference) => number.wrapping_sub(reference[i]),
        None => number,
    };
    for (i, &number) in column.iter().enumerate() {
        let plain = varint::zigzag(residue(i, number));
        any |= plain;
        by_reference += varint::len(plain);
        by_previous += varint::len(varint::zigzag(number.wrapping_sub(previous)));
        previous = number;
    }
    if any == 0 {
        return;
    }
    if by_reference <= by_previous {
        out.push(0);
        for (i, &number) in column.iter().enumerate() {
            varint::put(out, varint::zigzag(residue(i, number)));
        }
    } else {
        out.push(1);
        previous = 0;
        for &number in column {
            varint::put(out, varint::zigzag(number.wrapping_sub(previous)));
            previous = number;
        }
    }
}
