//! Why a directory did not yield a state.

use super::ChainError;
use crate::data_dir::DataDirError;
use crate::file_snap::SnapError;
use crate::file_txn_log::LogError;
use crate::txn::TxnError;
use crate::types::Zxid;
use std::path::PathBuf;
use thiserror::Error;

/// See the module's head. Every text says what to do next where something can be done.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The directories themselves.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// The logs do not make one history.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A record is whole but makes no sense.
    #[error("{}: {source}", path.display())]
    Txn {
        /// The log.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: TxnError,
    },
    /// A snapshot file could not be read for a reason that says nothing about the file.
    #[error(transparent)]
    Snapshot(SnapError),
    /// No snapshot file can be read.
    #[error("none of the {count} snapshot files can be read; the newest: {newest}")]
    NoSnapshot {
        /// How many were tried.
        count: usize,
        /// What is wrong with the newest.
        newest: String,
    },
    /// There is no snapshot file, and the logs do not start at the beginning.
    #[error(
        "there is no snapshot file and the logs alone do not make a state: {why}; take a directory with its snapshot files"
    )]
    LogOnly {
        /// What does not fit.
        why: String,
    },
    /// The state asked for is older than what is there.
    #[error("no snapshot file reaches back to {asked}; the oldest here is {oldest}")]
    TooEarly {
        /// Asked for.
        asked: Zxid,
        /// Oldest snapshot file.
        oldest: Zxid,
    },
    /// The state asked for has not happened here.
    #[error("the state at {asked} was asked for, but the transactions here end at {end}")]
    TooLate {
        /// Asked for.
        asked: Zxid,
        /// The last transaction there is.
        end: Zxid,
    },
    /// A newer snapshot file shows a history that the logs do not have.
    #[error("{} is newer than the snapshot file that can be used ({used}), and the logs do not lead to it: the member was given a state by another, or logs are missing; back up another member", path.display())]
    NotJoined {
        /// The newer file.
        path: PathBuf,
        /// The zxid of the file that would be used.
        used: Zxid,
    },
    /// The server that was asked is behind its own files.
    #[error(
        "the server asked is at {server}, behind the snapshot file {snapshot} of this directory: is it another server's?"
    )]
    ServerBehind {
        /// What it said.
        server: Zxid,
        /// The file's zxid.
        snapshot: Zxid,
    },
    /// A session ended and nothing tells which nodes went with it.
    #[error("transaction {zxid} ends session {session:#x}, and its nodes cannot be found")]
    SessionNodes {
        /// The transaction.
        zxid: Zxid,
        /// The session.
        session: i64,
    },
    /// Files kept changing.
    #[error("{} kept changing while it was read; try again", path.display())]
    Unstable {
        /// What changed.
        path: PathBuf,
    },
}

impl LoadError {
    /// Whether a second look may find the directory in order.
    pub(super) const fn may_be_motion(&self) -> bool {
        matches!(
            self,
            Self::Chain(ChainError::Log(LogError::Corrupt { .. } | LogError::NotALog { .. }) | ChainError::Gap { .. })
                | Self::NoSnapshot { .. }
                | Self::NotJoined { .. }
                | Self::Txn { .. }
        )
    }
}
