//! Reads a log file front to back, from its start or from a record whose place is remembered.

use super::{
    BadRecord, END_OF_RECORD, HEADER_BYTES, LogEnd, LogError, MAGIC, PAYLOAD_LIMIT_BYTES, PREFIX_BYTES, VERSION, scan,
};
use crate::txn;
use crate::types::Zxid;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes asked of the system at once.
const READ_BYTES: usize = 256 << 10;

/// One whole record, borrowed from the reader until the next is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it starts in its file: at the checksum.
    pub offset: u64,
    /// Where the next one starts.
    pub end: u64,
    /// Its transaction, from the payload's header.
    pub zxid: Zxid,
    /// Adler-32 of the payload, checked.
    pub adler: u32,
    /// Header, body and digest of the transaction; [`crate::txn::Txn::decode`] reads them.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// The leader's clock at the transaction, milliseconds since 1970, from the payload's header.
    pub fn time_ms(&self) -> i64 {
        self.payload.get(20..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |field| i64::from_be_bytes(*field))
    }

    /// Where the payload starts in its file.
    pub const fn payload_offset(&self) -> u64 {
        self.offset.saturating_add(PREFIX_BYTES as u64)
    }
}

/// Reads the records of one file.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
    /// Bytes of the file from `offset` on; the next record starts at `at` in it.
    buffer: Vec<u8>,
    at: usize,
    offset: u64,
    ended: Option<LogEnd>,
    /// Where a bad record was read a second time.
    read_again: Option<u64>,
}

impl LogReader {
    /// Opens a file and checks its header. A file too short for one is empty, as a server leaves it when it is killed
    /// right after making it: such a reader has no records.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let file = File::open(path).map_err(|source| LogError::Io { path: path.to_owned(), source })?;
        let mut reader =
            Self { path: path.to_owned(), file, buffer: Vec::new(), at: 0, offset: 0, ended: None, read_again: None };
        let have = reader.fill(usize::try_from(HEADER_BYTES).unwrap_or(16))?;
        let head = reader.buffer.get(..have.min(16)).unwrap_or_default();
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&VERSION.to_be_bytes());
        let common = head.len().min(expected.len());
        let zeros = head.iter().all(|&byte| byte == 0);
        if head.get(..common) != expected.get(..common) && !zeros {
            return Err(LogError::NotALog {
                path: path.to_owned(),
                found: head.get(..common).unwrap_or_default().to_vec(),
            });
        }
        if have < 16 || zeros {
            reader.ended = Some(if head.is_empty() {
                LogEnd::Clean
            } else {
                LogEnd::Torn { offset: 0, problem: BadRecord::Short }
            });
            return Ok(reader);
        }
        reader.at = 16;
        Ok(reader)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file ended, once [`LogReader::next`] has returned `None`.
    pub const fn end(&self) -> Option<LogEnd> {
        self.ended
    }

    /// Where the next record starts.
    pub const fn position(&self) -> u64 {
        self.offset.saturating_add(self.at as u64)
    }

    /// Continues at a byte offset remembered from an earlier read, where a record must start. Whoever jumps checks
    /// the record found there: a file may have been cut and written again since.
    pub fn seek(&mut self, offset: u64) -> Result<(), LogError> {
        let offset = offset.max(HEADER_BYTES);
        self.file.seek(SeekFrom::Start(offset)).map_err(|source| self.io(source))?;
        self.buffer.clear();
        (self.at, self.offset, self.ended) = (0, offset, None);
        Ok(())
    }

    /// The next whole record; `None` where the file ends, and [`LogReader::end`] then says how.
    #[expect(clippy::should_implement_trait, reason = "a record borrows from the reader, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, LogError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let have = self.fill(PREFIX_BYTES)?;
        let bytes = self.rest();
        if bytes.iter().take(PREFIX_BYTES).all(|&byte| byte == 0) {
            return self.finish_zero(have);
        }
        let (Some(written), Some(length)) = (scan::written_adler(bytes), scan::length(bytes)) else {
            return self.finish(BadRecord::Short);
        };
        if !scan::is_length(length) {
            return self.finish(BadRecord::Length(length));
        }
        let length = usize::try_from(length).unwrap_or(0);
        let whole = PREFIX_BYTES.saturating_add(length).saturating_add(1);
        if self.fill(whole)? < whole {
            return self.finish(BadRecord::Short);
        }
        let start = PREFIX_BYTES;
        let payload_end = start.saturating_add(length);
        let bytes = self.rest();
        let payload = bytes.get(start..payload_end).unwrap_or_default();
        let computed = simd_adler32::adler32(&payload);
        if written != i64::from(computed) {
            return self.finish(BadRecord::Checksum { written, computed });
        }
        let mark = bytes.get(payload_end).copied().unwrap_or_default();
        if mark != END_OF_RECORD {
            return self.finish(BadRecord::Mark(mark));
        }
        let Some(zxid) = scan::zxid(payload) else { return self.finish(BadRecord::Short) };
        let at = self.at;
        let offset = self.position();
        self.at = at.saturating_add(whole);
        let end = self.position();
        let from = at.saturating_add(start);
        let payload = self.buffer.get(from..from.saturating_add(length)).unwrap_or_default();
        Ok(Some(Record { offset, end, zxid, adler: computed, payload }))
    }

    fn finish_zero(&mut self, have: usize) -> Result<Option<Record<'_>>, LogError> {
        if have == 0 {
            self.ended = Some(LogEnd::Clean);
            return Ok(None);
        }
        // A page that was lost reads as zeros: only zeros to the end are padding.
        let offset = self.position();
        self.ended = Some(LogEnd::Clean);
        self.look_behind(offset, BadRecord::Zero)
    }

    fn finish(&mut self, problem: BadRecord) -> Result<Option<Record<'_>>, LogError> {
        let offset = self.position();
        self.ended = Some(LogEnd::Torn { offset, problem });
        self.look_behind(offset, problem)
    }

    /// Looks for a whole record behind a bad one at `offset`.
    fn look_behind(&mut self, offset: u64, problem: BadRecord) -> Result<Option<Record<'_>>, LogError> {
        let found = scan::find_record(&mut self.file, offset.saturating_add(1)).map_err(|source| self.io(source))?;
        match found {
            None => Ok(None),
            // A server may have written the record, and the one behind it, between the two looks; it writes in order,
            // so that the first is whole now. Damage looks the same twice.
            Some(_) if self.read_again != Some(offset) => {
                self.read_again = Some(offset);
                self.seek(offset)?;
                self.next()
            }
            Some((next_offset, next_zxid)) => {
                Err(LogError::Corrupt { path: self.path.clone(), offset, problem, next_offset, next_zxid })
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Has at least `wanted` bytes from the next record on in the buffer, or all there are; says how many.
    fn fill(&mut self, wanted: usize) -> Result<usize, LogError> {
        let have = self.buffer.len().saturating_sub(self.at);
        if have >= wanted {
            return Ok(have);
        }
        self.buffer.drain(..self.at);
        self.offset = self.offset.saturating_add(self.at as u64);
        self.at = 0;
        // What is not there is never allocated: `take` stops at the end of the file.
        while self.buffer.len() < wanted {
            let missing = wanted.saturating_sub(self.buffer.len()).max(READ_BYTES);
            let step = missing.min(8 << 20);
            let read =
                (&self.file).take(step as u64).read_to_end(&mut self.buffer).map_err(|source| self.io(source))?;
            if read == 0 {
                break;
            }
        }
        Ok(self.buffer.len())
    }

    fn io(&self, source: io::Error) -> LogError {
        LogError::Io { path: self.path.clone(), source }
    }
}

const _: () = assert!(PAYLOAD_LIMIT_BYTES as usize > txn::HEADER_BYTES);
