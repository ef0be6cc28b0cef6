//! Transactions as a log record carries them: header, body, and from 3.6 the digest of the tree after it.
//!
//! A [`Txn`] borrows from the record's payload; nothing is copied. What the bytes do not say by themselves is
//! decided by length alone, so it never depends on the server's version: a create without `parentCVersion`
//! (before 3.4), a closeSession without its paths (3.4, 3.5, or switched off), a digest after the body or none.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod body;
mod write;

pub use body::{Body, Create, CreateKind, Part};
pub use write::encode;

use crate::jute::{JuteError, Reader};
use crate::types::Zxid;
use thiserror::Error;

/// Bytes of a transaction's header.
pub const HEADER_BYTES: usize = 32;
/// The digest algorithm of [`TxnDigest`] that [`crate::digest`] computes.
pub const DIGEST_VERSION: i32 = 2;

/// Why a record's payload is not a transaction. Offsets are those of the log file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TxnError {
    /// The bytes do not hold the values that the type calls for.
    #[error("transaction {zxid} of type {kind}: {source}")]
    Malformed {
        /// The transaction, 0 where its header is cut off.
        zxid: Zxid,
        /// Its type, 0 where its header is cut off.
        kind: i32,
        /// What is wrong, and where.
        source: JuteError,
    },
    /// A type no known server writes.
    #[error("transaction {zxid} at byte {offset} has the unknown type {kind}; it was written by a newer server")]
    UnknownType {
        /// The transaction.
        zxid: Zxid,
        /// Where its payload starts.
        offset: u64,
        /// Its type.
        kind: i32,
    },
    /// A path that is null or does not start with a slash.
    #[error("transaction {zxid} of type {kind} at byte {offset} names no valid path")]
    BadPath {
        /// The transaction.
        zxid: Zxid,
        /// Its type.
        kind: i32,
        /// Where its payload starts.
        offset: u64,
    },
}

/// Header of a transaction (`TxnHeader`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnHeader {
    /// Session of the client that asked for it.
    pub session: i64,
    /// The client's own number for it.
    pub cxid: i32,
    /// Its place in the history.
    pub zxid: Zxid,
    /// The leader's clock, milliseconds since 1970.
    pub time_ms: i64,
    /// Type, see [`Body`].
    pub kind: i32,
}

impl TxnHeader {
    /// Reads the 32 bytes every payload starts with.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, JuteError> {
        Ok(Self {
            session: reader.i64()?,
            cxid: reader.i32()?,
            zxid: Zxid(reader.i64()?),
            time_ms: reader.i64()?,
            kind: reader.i32()?,
        })
    }
}

/// The leader's digest of the whole tree after a transaction (`TxnDigest`, 3.6+).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    /// Algorithm; only [`DIGEST_VERSION`] can be checked.
    pub version: i32,
    /// The sum over all nodes.
    pub digest: i64,
}

/// One transaction, borrowed from its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Txn<'a> {
    /// Who, when, which.
    pub header: TxnHeader,
    /// What.
    pub body: Body<'a>,
    /// The tree after it, where the server says so.
    pub digest: Option<TxnDigest>,
}

impl<'a> Txn<'a> {
    /// Reads a record's payload, which starts at `offset` of its file.
    pub fn decode(payload: &'a [u8], offset: u64) -> Result<Self, TxnError> {
        let mut reader = Reader::at(payload, offset);
        let header = TxnHeader::read(&mut reader).map_err(|source| TxnError::Malformed {
            zxid: Zxid::default(),
            kind: 0,
            source,
        })?;
        let body = Body::read(&mut reader, &header, offset)?;
        let digest = read_digest(&mut reader).map_err(|source| TxnError::Malformed {
            zxid: header.zxid,
            kind: header.kind,
            source,
        })?;
        Ok(Self { header, body, digest })
    }
}

fn read_digest(reader: &mut Reader<'_>) -> Result<Option<TxnDigest>, JuteError> {
    if reader.remaining() == 0 {
        return Ok(None);
    }
    let digest = TxnDigest { version: reader.i32()?, digest: reader.i64()? };
    reader.finish()?;
    Ok(Some(digest))
}

#[cfg(test)]
mod tests;
