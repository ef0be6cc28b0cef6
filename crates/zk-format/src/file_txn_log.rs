//! One file of a server's transaction log, `version-2/log.<hex zxid of its first record>`.
//!
//! ```text
//! header   i32 "ZKLG" | i32 version 2 | i64 dbid
//! record   i64 adler32(payload) | i32 length | payload | byte 'B'        FileTxnLog sums the payload only
//! padding  zeros, to the next multiple of 64 MiB
//! ```
//! A file ends at the first record that is zero or not whole. That is an everyday sight: the server is writing it, or
//! was killed while it did. It is damage only if whole records lie behind the bad one; [`LogReader`] looks for them
//! before it calls a file ended, so that a flipped bit never passes for the end of history.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod reader;
mod scan;
mod writer;

pub use reader::{LogReader, Record};
pub use writer::LogWriter;

use crate::types::Zxid;
use std::path::PathBuf;
use std::{fmt, io};
use thiserror::Error;

/// `ZKLG`.
pub const MAGIC: [u8; 4] = *b"ZKLG";
/// The one version there is.
pub const VERSION: i32 = 2;
/// Bytes of a file's header: where its first record starts.
pub const HEADER_BYTES: u64 = 16;
/// Checksum and length, before a record's payload.
pub const PREFIX_BYTES: usize = 12;
/// `B`, the byte after a record's payload.
pub const END_OF_RECORD: u8 = b'B';
/// The longest payload accepted. A server refuses one over `jute.maxbuffer` (1 MiB unless configured).
pub const PAYLOAD_LIMIT_BYTES: u32 = 256 << 20;

/// Why a log file could not be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The system refused.
    #[error("cannot read the transaction log {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a transaction log: it starts with {found:02x?} where \"ZKLG\" version 2 is expected", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// A bad record with whole ones behind it.
    #[error("{} is damaged at byte {offset}: {problem}, yet a whole record follows at byte {next_offset} (zxid {next_zxid}); take a directory of another member, or ask for a state before it with --to-zxid", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the bad record starts.
        offset: u64,
        /// What is wrong with it.
        problem: BadRecord,
        /// Where the next whole record starts.
        next_offset: u64,
        /// Its transaction.
        next_zxid: Zxid,
    },
}

/// What is wrong with the bytes where a record should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRecord {
    /// A length that is negative, shorter than a transaction's header, or over the limit.
    Length(i32),
    /// The file ends inside it.
    Short,
    /// The payload's checksum is another.
    Checksum {
        /// As written before the payload.
        written: i64,
        /// As the payload has it.
        computed: u32,
    },
    /// No `B` behind the payload.
    Mark(u8),
    /// Zeros where a record should be.
    Zero,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a record of {length} bytes"),
            Self::Short => write!(f, "the file ends inside a record"),
            Self::Checksum { written, computed } => {
                write!(f, "the record's checksum is {computed:#x} where {written:#x} is written")
            }
            Self::Mark(byte) => write!(f, "the record ends in {byte:#04x} where 'B' is expected"),
            Self::Zero => write!(f, "zeros where a record should be"),
        }
    }
}

/// How a file ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogEnd {
    /// After a whole record: nothing or only zeros follow.
    Clean,
    /// In a record that is not whole; nothing whole is behind it.
    Torn {
        /// Where that record starts.
        offset: u64,
        /// What is wrong with it.
        problem: BadRecord,
    },
}

/// The zxid of the first record that a file's name states, or `None` where it is not a log's name.
pub fn parse_name(name: &str) -> Option<Zxid> {
    let hex = name.strip_prefix("log.")?;
    if hex.is_empty() || hex.len() > 16 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(hex, 16).ok().map(|zxid| Zxid(zxid.cast_signed()))
}

/// The name of the file whose first record has this zxid.
pub fn name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

#[cfg(test)]
mod tests;
