//! The records of a state that was scanned, on the disk in the order of their keys: any of them can be read, as often
//! as wished, and few of them are in memory at a time.
//!
//! The file has no name, as the spool's. A record is a head of fixed size and then key, ACL and value; where each begins
//! is known by eight bytes in memory. What reads records cannot fail half-way, so a failure to read is kept and told by
//! [`Kept::sound`], which whoever read them has to ask before believing anything.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use repository::record::MAX_INLINE_VALUE;
use repository::{RecordFlags, RecordLens, RecordRef, RecordStat, SortedRecords, ValueRef};
use zk_format::jute::{JuteError, Reader, Writer};
use zk_format::key;

use super::spool::{STAT_BYTES, read_stat, write_stat};
use crate::convert::{record_stat, zk_stat};

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes that are read at a time.
const BLOCK: usize = 16 << 10;
/// Blocks in memory: so many sets of so many. Threads that read at several places at once do not take each other's.
const SETS: usize = 32;
const WAYS: usize = 4;
/// Lengths of key, ACL and value (−1 for null), flags, the stat.
const HEAD: usize = 4 * 4 + STAT_BYTES;

/// Records being written down, in the order of their keys.
#[derive(Debug)]
pub struct Keeping {
    file: BufWriter<File>,
    places: Vec<u64>,
    at: u64,
}

impl Keeping {
    /// None written yet.
    pub fn new() -> io::Result<Self> {
        let file = BufWriter::with_capacity(WRITE_BYTES, tempfile::tempfile()?);
        Ok(Self { file, places: Vec::new(), at: 0 })
    }

    /// Adds the record that comes next.
    pub fn add(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        let value = match record.value {
            ValueRef::Bytes(bytes) => Some(bytes),
            ValueRef::Null => None,
            ValueRef::Blob { .. } => return Err(io::Error::other("a value that was scanned is at hand")),
        };
        let length = |bytes: &[u8]| i32::try_from(bytes.len()).map_err(io::Error::other);
        let mut head = Writer::new();
        head.i32(length(record.key)?).i32(length(record.acl)?);
        head.i32(value.map_or(Ok(-1), length)?).i32(record.flags.0.cast_signed());
        write_stat(&zk_stat(&record.stat), &mut head);
        self.places.push(self.at);
        for part in [head.bytes(), record.key, record.acl, value.unwrap_or_default()] {
            self.file.write_all(part)?;
            self.at += part.len() as u64;
        }
        Ok(())
    }

    /// The records, to be read.
    pub fn finish(mut self) -> io::Result<Kept> {
        self.places.push(self.at);
        self.places.shrink_to_fit();
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let blocks = (0..SETS).map(|_| Mutex::default()).collect();
        Ok(Kept { file, places: self.places, blocks, failed: Mutex::default() })
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Kept {
    file: File,
    /// Where each record begins, and the end of the last.
    places: Vec<u64>,
    blocks: Vec<Mutex<Vec<Block>>>,
    failed: Mutex<Option<io::Error>>,
}

/// A part of the file.
#[derive(Debug)]
struct Block {
    number: u64,
    bytes: Vec<u8>,
}

/// What a record begins with.
struct Head {
    key: usize,
    acl: usize,
    /// `None` for null.
    value: Option<usize>,
    flags: RecordFlags,
    stat: RecordStat,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, JuteError> {
        let mut from = Reader::new(bytes);
        let mut length = || Ok::<_, JuteError>(usize::try_from(from.i32()?).ok());
        let (key, acl, value) = (length()?.unwrap_or(0), length()?.unwrap_or(0), length()?);
        let flags = RecordFlags(from.i32()?.cast_unsigned());
        let stat = record_stat(&read_stat(&mut from)?);
        Ok(Self { key, acl, value, flags, stat })
    }

    fn lens(&self) -> RecordLens {
        let inline_value = self.value.filter(|length| *length <= MAX_INLINE_VALUE).unwrap_or(0);
        RecordLens { key: self.key, inline_value, acl: self.acl }
    }
}

impl Kept {
    /// Whether everything that was asked for could be read.
    pub fn sound(&self) -> io::Result<()> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map_or(Ok(()), |error| Err(io::Error::new(error.kind(), error.to_string())))
    }

    /// The creating transaction of the node with this path.
    pub fn czxid(&self, path: &[u8]) -> Option<i64> {
        let wanted = key::encode(path);
        let mut buffer = Vec::new();
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.compare_key(middle, &wanted, &mut buffer).is_lt() { low = middle + 1 } else { high = middle }
        }
        (low < self.len())
            .then(|| self.record(low, &mut buffer))
            .filter(|found| found.key == wanted)
            .map(|found| found.stat.czxid)
    }

    fn head(&self, index: usize) -> io::Result<(Head, u64)> {
        let at = *self.places.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = [0; HEAD];
        self.read(at, &mut bytes)?;
        let head = Head::read(&bytes).map_err(io::Error::other)?;
        Ok((head, at + HEAD as u64))
    }

    fn read_key(&self, index: usize, key: &mut Vec<u8>) -> io::Result<Head> {
        let (head, at) = self.head(index)?;
        key.resize(head.key, 0);
        self.read(at, key)?;
        Ok(head)
    }

    fn read_record(&self, index: usize, body: &mut Vec<u8>) -> io::Result<Head> {
        let (head, at) = self.head(index)?;
        body.resize(head.key + head.acl + head.value.unwrap_or(0), 0);
        self.read(at, body)?;
        Ok(head)
    }

    fn read(&self, mut at: u64, mut to: &mut [u8]) -> io::Result<()> {
        if to.len() >= BLOCK {
            return self.file.read_exact_at(to, at);
        }
        while !to.is_empty() {
            let number = at / BLOCK as u64;
            let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let mut set = self.set(number)?;
            let block = self.block(&mut set, number)?;
            let have = block.bytes.get(within..).unwrap_or_default();
            let count = have.len().min(to.len());
            let (now, later) = std::mem::take(&mut to).split_at_mut(count);
            match have.get(..count) {
                Some(have) if count > 0 => now.copy_from_slice(have),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            to = later;
            at += count as u64;
        }
        Ok(())
    }

    fn set(&self, number: u64) -> io::Result<MutexGuard<'_, Vec<Block>>> {
        let set = usize::try_from(number % SETS as u64).ok().and_then(|set| self.blocks.get(set));
        let set = set.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The block, which is the last of its set then: the first is that which was not needed for the longest time.
    fn block<'s>(&self, set: &'s mut Vec<Block>, number: u64) -> io::Result<&'s Block> {
        if let Some(found) = set.iter().position(|block| block.number == number) {
            if found + 1 < set.len() {
                let block = set.remove(found);
                set.push(block);
            }
        } else {
            let bytes = if set.len() < WAYS { Vec::new() } else { set.remove(0).bytes };
            set.push(self.fill(bytes, number)?);
        }
        set.last().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn fill(&self, mut bytes: Vec<u8>, number: u64) -> io::Result<Block> {
        let start = number * BLOCK as u64;
        let end = self.places.last().copied().unwrap_or(0);
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(BLOCK).min(BLOCK);
        bytes.resize(length, 0);
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(Block { number, bytes })
    }

    /// What was read, or nothing: the failure is told by [`Kept::sound`].
    fn or_fail<T>(&self, outcome: io::Result<T>) -> Option<T> {
        outcome
            .map_err(|error| {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            })
            .ok()
    }
}

impl SortedRecords for Kept {
    fn len(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    fn lens(&self, place: usize) -> RecordLens {
        self.or_fail(self.head(place)).map(|(head, _)| head.lens()).unwrap_or_default()
    }

    fn key_into(&self, place: usize, buffer: &mut Vec<u8>) {
        self.measure(place, buffer);
    }

    fn measure(&self, place: usize, key: &mut Vec<u8>) -> RecordLens {
        let head = self.or_fail(self.read_key(place, key));
        head.map(|head| head.lens()).unwrap_or_default()
    }

    fn record<'s>(&'s self, place: usize, buffer: &'s mut Vec<u8>) -> RecordRef<'s> {
        let head = self.or_fail(self.read_record(place, buffer));
        let parts = head.and_then(|head| {
            let (key, rest) = buffer.split_at_checked(head.key)?;
            let (acl, value) = rest.split_at_checked(head.acl)?;
            let value = head.value.map_or(ValueRef::Null, |_| ValueRef::Bytes(value));
            Some(RecordRef { key, stat: head.stat, flags: head.flags, acl, value })
        });
        let none = RecordRef {
            key: &[],
            stat: RecordStat::default(),
            flags: RecordFlags::default(),
            acl: &[],
            value: ValueRef::Null,
        };
        parts.unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;
    use repository::Record;
    use repository::record::Value;

    use super::*;

    /// Some records, among them one with null, one with nothing, and values smaller and larger than a block.
    fn records() -> Vec<Record> {
        let lengths = [0, 1, 100, BLOCK - 1, BLOCK, 3 * BLOCK, MAX_INLINE_VALUE, MAX_INLINE_VALUE + 1];
        let record = |number: usize| {
            let length = lengths[number % lengths.len()];
            let stat = RecordStat {
                czxid: number.try_into().unwrap(),
                mzxid: -1,
                version: -7,
                ephemeral_owner: i64::MIN,
                ..RecordStat::default()
            };
            let value = if number % 9 == 4 {
                Value::Null
            } else {
                Value::Bytes(vec![(number % 251).try_into().unwrap(); length].into())
            };
            let acl = vec![7; number % 40].into();
            Record {
                key: key::encode(format!("/n/{number:05}").as_bytes()).into(),
                stat,
                flags: RecordFlags(5),
                acl,
                value,
            }
        };
        (0..2_000).map(record).collect()
    }

    fn kept(records: &[Record]) -> Kept {
        let mut keeping = Keeping::new().unwrap();
        for record in records {
            keeping.add(&record.as_ref()).unwrap();
        }
        keeping.finish().unwrap()
    }

    #[test]
    fn every_record_is_read_as_it_was_written_from_several_threads_at_once() {
        let records = records();
        let kept = kept(&records);
        assert_eq!(kept.len(), records.len());
        (0..8).into_par_iter().for_each(|thread| {
            let mut buffer = Vec::new();
            for step in 0..records.len() {
                let place = (step * (2 * thread + 1) + thread * 251) % records.len();
                let record = records[place].as_ref();
                assert_eq!(kept.measure(place, &mut buffer), repository::record::lens_of(&record));
                assert_eq!(buffer, record.key);
                assert_eq!(kept.lens(place), repository::record::lens_of(&record));
                assert_eq!(kept.record(place, &mut buffer), record);
            }
        });
        kept.sound().unwrap();
        let held: usize = kept.blocks.iter().map(|set| set.lock().unwrap().len()).sum();
        assert_eq!(held, SETS * WAYS, "all blocks are in use and no more");
        assert_eq!(kept.czxid(b"/n/00777"), Some(777));
        assert_eq!((kept.czxid(b"/n/007770"), kept.czxid(b"/z")), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_told_afterwards() {
        let records = records();
        let kept = kept(&records);
        let mut buffer = Vec::new();
        kept.file.set_len(kept.places[1_000]).unwrap();
        assert_eq!(kept.record(10, &mut buffer), records[10].as_ref());
        kept.sound().unwrap();
        assert_eq!(kept.record(1_900, &mut buffer).key, b"");
        assert_eq!(kept.sound().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(kept.record(10, &mut buffer), records[10].as_ref());
        assert!(kept.sound().is_err(), "once is enough");
    }
}
