//! Why an increment was not taken. Each is a sentence for the operator; the answer is always a full read.

use super::Anchor;
use crate::replay::Miss;
use crate::types::Zxid;
use std::path::PathBuf;
use thiserror::Error;

/// What stood in the way.
#[derive(Debug, Error)]
pub enum IncrementError<E> {
    /// The logs do not prove the step from the base: read in full.
    #[error("a full read is needed: {0}")]
    NeedFull(Doubt),
    /// The base could not be read.
    #[error("cannot read the state that the log continues")]
    Base(#[source] E),
}

impl<E> From<Doubt> for IncrementError<E> {
    fn from(doubt: Doubt) -> Self {
        Self::NeedFull(doubt)
    }
}

/// Why the logs do not prove the step.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Doubt {
    /// The record the base ended with is not there.
    #[error("the logs no longer have transaction {}, with which the last snapshot ended", anchor.zxid)]
    AnchorMissing {
        /// The record.
        anchor: Anchor,
    },
    /// Another record with that zxid is there.
    #[error("transaction {} in the logs is not the one with which the last snapshot ended: another member's or a restored history", anchor.zxid)]
    OtherHistory {
        /// The record.
        anchor: Anchor,
    },
    /// The server asked is not as far as the base.
    #[error("the server is at {server}, behind the last snapshot at {base}")]
    ServerBehind {
        /// What it said.
        server: Zxid,
        /// The base.
        base: Zxid,
    },
    /// An older state than the base was asked for.
    #[error("the state at {asked} is older than the last snapshot at {base}")]
    BeforeBase {
        /// Asked for.
        asked: Zxid,
        /// The base.
        base: Zxid,
    },
    /// The logs end before the state asked for.
    #[error("the logs end at {end}, before {asked}")]
    NotReached {
        /// Asked for.
        asked: Zxid,
        /// The last transaction there is.
        end: Zxid,
    },
    /// A file or record cannot be read, or transactions are missing.
    #[error("{0}")]
    Unreadable(String),
    /// A transaction does not continue the state before it.
    #[error("the logs do not continue the last snapshot: {0}")]
    Miss(Miss),
    /// The log has digests and the base none to start from.
    #[error("the last snapshot has no digest to continue")]
    NoBaseDigest,
    /// The server's digest is another than the tree's.
    #[error("the server's digest at {zxid} is not that of the tree")]
    DigestMismatch {
        /// The transaction.
        zxid: Zxid,
    },
    /// Nothing proves that the new epoch continues the old one.
    #[error("nothing shows that no transaction is missing between {before} and {first}")]
    EpochUnproven {
        /// The last transaction before it.
        before: Zxid,
        /// The first of the new epoch.
        first: Zxid,
    },
    /// A session ended without its nodes being listed.
    #[error("transaction {zxid} ends session {session:#x} without listing its nodes, as servers before 3.6 do")]
    SessionNodes {
        /// The transaction.
        zxid: Zxid,
        /// The session.
        session: i64,
    },
    /// A snapshot file shows a history that the logs do not have.
    #[error("{} is not a point of the history that the logs tell", path.display())]
    NotJoined {
        /// The file.
        path: PathBuf,
    },
    /// Files kept changing.
    #[error("the logs kept changing while they were read")]
    Moving,
}
