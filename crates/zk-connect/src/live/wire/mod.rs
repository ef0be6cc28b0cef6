//! The client protocol's messages as bytes: requests written, answers read, nothing sent.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod handshake;
mod multi;
mod stat;

pub use handshake::{ConnectAnswer, ConnectRequest};
pub use multi::{Op, OpResult, decode_multi, encode_multi};
pub use stat::NodeStat;

use zk_format::AclList;
use zk_format::jute::{JuteError, Reader, Writer};

/// Opcodes (`ZooDefs.OpCode`).
pub mod op {
    #![allow(missing_docs, reason = "the names are the server's own")]
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CLOSE: i32 = -11;
    pub const ERROR: i32 = -1;
}

/// Transaction numbers with a meaning of their own (`ClientCnxn`).
pub mod xid {
    #![allow(missing_docs, reason = "named for what they announce")]
    pub const WATCH: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

/// The kind of a node to create, with the opcode and flags that each has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CreateMode {
    /// Stays.
    Persistent,
    /// Stays; the server appends a counter to its name.
    PersistentSequential,
    /// Goes with the session.
    Ephemeral,
    /// Goes with the session; the server appends a counter.
    EphemeralSequential,
    /// Goes once its last child went (3.5.1 and later).
    Container,
    /// Goes when idle and childless for so many milliseconds (3.5.3 and later, extended types enabled).
    Ttl(i64),
    /// The same, with a counter.
    TtlSequential(i64),
}

impl CreateMode {
    /// `CreateMode.toFlag`.
    pub const fn flags(self) -> i32 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral => 1,
            Self::PersistentSequential => 2,
            Self::EphemeralSequential => 3,
            Self::Container => 4,
            Self::Ttl(_) => 5,
            Self::TtlSequential(_) => 6,
        }
    }

    /// The opcode: `plain` where the answer's stat is not wanted, as 3.4 knows no other.
    pub const fn opcode(self, plain: bool) -> i32 {
        match self {
            Self::Container => op::CREATE_CONTAINER,
            Self::Ttl(_) | Self::TtlSequential(_) => op::CREATE_TTL,
            _ if plain => op::CREATE,
            _ => op::CREATE2,
        }
    }

    const fn ttl(self) -> Option<i64> {
        match self {
            Self::Ttl(ttl) | Self::TtlSequential(ttl) => Some(ttl),
            _ => None,
        }
    }
}

/// Writes the body of a create of any mode.
pub fn write_create(to: &mut Writer, path: &[u8], data: Option<&[u8]>, acl: &AclList, mode: CreateMode) {
    to.ustring(Some(path)).buffer(data).raw(&acl.0).i32(mode.flags());
    if let Some(ttl) = mode.ttl() {
        to.i64(ttl);
    }
}

/// Reads a vector of strings.
pub fn read_strings(from: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, JuteError> {
    let count = from.vector(4)?.unwrap_or(0);
    let mut strings = Vec::with_capacity(count);
    for _ in 0..count {
        strings.push(from.ustring()?.unwrap_or_default().to_vec());
    }
    Ok(strings)
}

/// What starts every answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHeader {
    /// The request's number, or one of [`xid`].
    pub xid: i32,
    /// The last transaction that the server had applied when it answered.
    pub zxid: i64,
    /// 0 or an error code.
    pub code: i32,
}

impl AnswerHeader {
    /// Bytes of it.
    pub const BYTES: usize = 16;

    /// Takes it from the front of a frame.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, JuteError> {
        Ok(Self { xid: from.i32()?, zxid: from.i64()?, code: from.i32()? })
    }
}

/// What a watch told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// What happened to the node.
    pub kind: EventKind,
    /// The path; as the client that asked for the watch writes paths.
    pub path: Vec<u8>,
}

/// `Watcher.Event.EventType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Of the session, not of a node.
    Session,
    /// Created.
    Created,
    /// Deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
    /// A child came or went.
    ChildrenChanged,
    /// A type that this version does not know.
    Other(i32),
}

impl WatchEvent {
    /// Reads the body of a notification.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, JuteError> {
        let kind = match from.i32()? {
            -1 => EventKind::Session,
            1 => EventKind::Created,
            2 => EventKind::Deleted,
            3 => EventKind::DataChanged,
            4 => EventKind::ChildrenChanged,
            other => EventKind::Other(other),
        };
        from.i32()?;
        Ok(Self { kind, path: from.ustring()?.unwrap_or_default().to_vec() })
    }
}
