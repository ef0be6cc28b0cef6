//! The state that was loaded and how sure it is.

use super::{Anchor, LogPlace, Note};
use crate::file_snap::Session;
use crate::replay::MergedTree;
use crate::types::Zxid;
use std::fmt;

/// Whether the tree is the state at one zxid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// It is the state right after [`Loaded::zxid_high`].
    Exact,
    /// Parts of it may be from different moments between [`Loaded::zxid_low`] and [`Loaded::zxid_high`].
    Fuzzy,
}

/// What shows that the state is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The server's own digest of the whole tree.
    Digest,
    /// Every transaction continued the state before it: versions, parents, what was there and what was not.
    Replay,
    /// Nothing beyond the rules by which it was read.
    None,
}

/// Whether the newest transactions are known to be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// The server said how far it was, and nothing beyond that is in the state.
    Confirmed,
    /// The log was read to its end: its last transactions may be proposals that a quorum never accepted.
    Unconfirmed,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Fuzzy => "fuzzy",
        })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digest => "digest",
            Self::Replay => "replay",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Confirmed => "confirmed",
            Self::Unconfirmed => "unconfirmed",
        })
    }
}

/// One state of a server's tree.
#[derive(Debug)]
pub struct Loaded {
    /// The nodes.
    pub tree: MergedTree,
    /// The client sessions that were open, by id. An exact state proven by the file's own digest can lack those opened
    /// while the file was written, if the log of that time is gone.
    pub sessions: Vec<Session>,
    /// Equal to `zxid_high` where exact; else the zxid of the file's name.
    pub zxid_low: Zxid,
    /// The last transaction in it.
    pub zxid_high: Zxid,
    /// Whether it is one state.
    pub consistency: Consistency,
    /// What shows it.
    pub proof: Proof,
    /// Whether its last transactions are committed.
    pub tail: Tail,
    /// The record of `zxid_high`, where the logs have it: what an increment continues from.
    pub anchor: Option<Anchor>,
    /// Where that record lies.
    pub place: Option<LogPlace>,
    /// The tree's digest as the server computes it (version 2). Meaningful where exact.
    pub digest: i64,
    /// The server's clock at the last transaction, milliseconds since 1970; where the logs lack it, the newest time in
    /// the nodes.
    pub state_time_ms: i64,
    /// Nodes whose ACL list neither the file nor the log has. Such a state must not pass for whole.
    pub unresolved_acls: Vec<Vec<u8>>,
    /// Transactions replayed.
    pub transactions: u64,
    /// What an operator should hear of.
    pub notes: Vec<Note>,
}
