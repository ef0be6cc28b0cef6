//! Znodes to records and back.
//!
//! A record's key is the path's key ([`zk_format::key`]), its ACL the list's jute bytes, its value the data.
//! `zookeeper_stats` nodes are stored with null data: the server recounts them without a transaction.
//! Sessions are records of their own: the time-out as four bytes.

use std::borrow::Cow;

use repository::record::{lens_of, session_key, session_of};
use repository::{Record, RecordFlags, RecordLens, RecordRef, RecordStat, SortedRecords, Value, ValueRef};
use zk_format::{AclList, Node, NodeRef, Stat, Zxid, key, path};

use crate::znode::Znode;

/// A stat as stored.
pub const fn record_stat(stat: &Stat) -> RecordStat {
    RecordStat {
        czxid: stat.czxid.0,
        mzxid: stat.mzxid.0,
        pzxid: stat.pzxid.0,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
    }
}

/// A stored stat as `ZooKeeper`'s.
pub const fn zk_stat(stat: &RecordStat) -> Stat {
    Stat {
        czxid: Zxid(stat.czxid),
        mzxid: Zxid(stat.mzxid),
        pzxid: Zxid(stat.pzxid),
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
    }
}

/// The record of a node, with its key in the given buffer's bytes.
pub fn record_ref<'a>(key: &'a [u8], node: &NodeRef<'a>) -> RecordRef<'a> {
    let (acl, flags) = match node.acl {
        Some(list) => (&*list.0, RecordFlags::default()),
        None => (&[][..], RecordFlags::ACL_UNKNOWN),
    };
    let value = if is_quota_stats(node.path) { ValueRef::Null } else { node.data.into() };
    RecordRef { key, stat: record_stat(&node.stat), flags, acl, value }
}

/// The owned record of a node.
pub fn record(path: &[u8], node: &Node) -> Record {
    let key = key::encode(path);
    let borrowed = NodeRef { path, data: node.data.as_deref(), acl: node.acl.as_ref(), stat: node.stat };
    record_ref(&key, &borrowed).to_owned()
}

/// Whether the node holds counters that the server keeps without transactions.
pub fn is_quota_stats(node: &[u8]) -> bool {
    node.starts_with(path::QUOTA) && key::split(node).is_some_and(|(_, name)| name == path::QUOTA_STATS)
}

/// The record of a session.
pub fn session_record(id: i64, timeout_ms: i32) -> Record {
    Record {
        key: session_key(id).into(),
        stat: RecordStat::default(),
        flags: RecordFlags::default(),
        acl: Box::default(),
        value: Value::Bytes(timeout_ms.to_be_bytes().into()),
    }
}

/// What a record is.
#[derive(Debug)]
pub enum Stored<'a> {
    /// A znode at this path.
    Node(Cow<'a, [u8]>),
    /// A session: id and time-out in milliseconds.
    Session(i64, i32),
    /// Neither: the key is not one that this version writes.
    Unknown,
}

/// Reads a record's key (and a session's value).
pub fn stored<'a>(key: &[u8], value: ValueRef<'_>) -> Stored<'a> {
    if let Some(session) = session_of(key) {
        let timeout = match value {
            ValueRef::Bytes(bytes) => bytes.try_into().ok().map(i32::from_be_bytes),
            _ => None,
        };
        return timeout.map_or(Stored::Unknown, |timeout| Stored::Session(session, timeout));
    }
    key::decode(key).map_or(Stored::Unknown, |path| Stored::Node(Cow::Owned(path)))
}

/// A znode from its record, its value already fetched.
pub fn znode(path: Vec<u8>, record: &RecordRef<'_>, data: Option<Vec<u8>>) -> Znode {
    let acl = (!record.flags.contains(RecordFlags::ACL_UNKNOWN)).then(|| AclList(record.acl.into()));
    let kind_known = !record.flags.contains(RecordFlags::KIND_UNKNOWN);
    Znode { path, data, acl, stat: zk_stat(&record.stat), kind_known }
}
