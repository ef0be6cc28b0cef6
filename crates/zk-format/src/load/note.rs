//! What was met on the way to a state and did not prevent it.

use super::TornEnd;
use crate::replay::Miss;
use crate::types::Zxid;
use std::fmt;
use std::path::PathBuf;

/// Something an operator should hear of. Each shows itself as one sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// The newest snapshot file ends early on a directory in use: it is being written.
    SnapshotInProgress {
        /// The file.
        path: PathBuf,
    },
    /// A snapshot file that cannot be read; an older one was taken.
    BrokenSnapshot {
        /// What is wrong, with the file's name.
        problem: String,
    },
    /// The file was still being written at a transaction that the logs, or the limit asked for, do not reach.
    NotReached {
        /// The zxid in the file's name.
        snapshot: Zxid,
        /// Where its writing ended at the latest.
        end: Zxid,
        /// Where the logs end.
        reached: Zxid,
    },
    /// Nothing tells where the writing of the file ended.
    Unsettled {
        /// The zxid in the file's name.
        snapshot: Zxid,
    },
    /// A log that ends in a record that is not whole.
    Torn(TornEnd),
    /// The server's digest is another than the tree's.
    DigestMismatch {
        /// At this transaction.
        zxid: Zxid,
        /// Whether every transaction still continued the state before it.
        replay_holds: bool,
    },
    /// A mismatch exactly where the file was finished, as a race in the server makes it; no digest followed.
    DigestRace {
        /// At this transaction.
        zxid: Zxid,
    },
    /// The server computes digests of paths with `?` for characters beyond ASCII.
    AsciiDigest,
    /// A transaction did not continue the state before it.
    Miss(Miss),
    /// Nothing shows that no transaction is missing where an epoch began.
    EpochUnproven {
        /// The last transaction before it.
        before: Zxid,
        /// The first of the new epoch.
        first: Zxid,
    },
    /// Transactions while the file was written are gone from the logs; the nodes are proven without them, the sessions
    /// are not.
    SessionsIncomplete {
        /// The zxid in the file's name.
        snapshot: Zxid,
    },
    /// A session ended without its nodes being listed, as servers before 3.6 do, where the file may still have been
    /// being written. If it was, parents of that session's nodes may show an older pzxid, as they do on the server
    /// once it restarts.
    UnlistedClose {
        /// The transaction.
        zxid: Zxid,
    },
    /// The file came without its log, and its own digest does not show it to be the state at one zxid.
    Alone {
        /// The zxid in the file's name.
        snapshot: Zxid,
        /// Where its writing ended, as far as it says.
        end: Zxid,
        /// Whether it has a digest at all.
        digest: bool,
    },
    /// There was no snapshot file; the logs start at the beginning.
    LogOnly,
    /// The server was asked for its zxid and did not answer.
    ServerSilent,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnapshotInProgress { path } => {
                write!(f, "{} is still being written; an older snapshot file was taken", path.display())
            }
            Self::BrokenSnapshot { problem } => write!(f, "fell back past a broken file: {problem}"),
            Self::NotReached { snapshot, end, reached } => write!(
                f,
                "snapshot file {snapshot} was written until {end}, the transactions taken end at {reached}: not one state"
            ),
            Self::Unsettled { snapshot } => {
                write!(
                    f,
                    "no log goes with snapshot file {snapshot}: whole if no server ran while it was written, as after a restore; otherwise its nodes may be of different moments"
                )
            }
            Self::Torn(TornEnd { path, offset, problem }) => {
                write!(f, "{} ends at byte {offset} in an unfinished record ({problem})", path.display())
            }
            Self::DigestMismatch { zxid, replay_holds: true } => {
                write!(f, "digest: mismatch at {zxid}, though every transaction continues the state before it")
            }
            Self::DigestMismatch { zxid, replay_holds: false } => write!(f, "digest: mismatch at {zxid}"),
            Self::DigestRace { zxid } => {
                write!(f, "digest: mismatch at {zxid}, where the file was finished; no later digest settles it")
            }
            Self::AsciiDigest => {
                f.write_str("the server runs without a UTF-8 locale: its digests read '?' for other characters")
            }
            Self::Miss(miss) => write!(f, "replay: {miss}"),
            Self::EpochUnproven { before, first } => {
                write!(f, "nothing shows that no transaction is missing between {before} and {first}")
            }
            Self::SessionsIncomplete { snapshot } => {
                write!(
                    f,
                    "the log of the time when snapshot file {snapshot} was written is gone: sessions may be missing"
                )
            }
            Self::UnlistedClose { zxid } => write!(
                f,
                "session closed at {zxid} while the snapshot file may have been written: servers before 3.6 do not log which ephemeral nodes that removed, so their parents may show an older pzxid, as after a restart of the server"
            ),
            Self::Alone { snapshot, end, digest: true } => write!(
                f,
                "transactions were applied while the server wrote this, from {snapshot} to {end}, and no log settles them: not one state"
            ),
            Self::Alone { snapshot, end, digest: false } => write!(
                f,
                "no digest and no log show whether what the server wrote from {snapshot} to {end} is one state (zookeeper.digest.enabled)"
            ),
            Self::LogOnly => f.write_str("no snapshot file: the state was built from the logs alone"),
            Self::ServerSilent => f.write_str("the server did not say how far it is"),
        }
    }
}
