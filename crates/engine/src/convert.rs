//! Znodes to records and back.
//!
//! A record's key is the path's key ([`zk_format::key`]), its ACL the list's jute bytes, its value the data.
//! `zookeeper_stats` nodes are stored with null data: the server recounts them without a transaction.
//! Sessions are records of their own: the time-out as four bytes.

use std::borrow::Cow;

use repository::record::Value;
use repository::record::{session_key, session_of};
use repository::table::KeyRange;
use repository::{Record, RecordFlags, RecordRef, RecordStat, ValueRef};
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

/// The keys of a node's children.
pub fn children_range(path: &[u8]) -> KeyRange {
    let mut prefix = below(path);
    prefix.push(0);
    KeyRange::prefix(&prefix)
}

/// The keys of everything below a node, itself not included.
pub fn descendants_range(path: &[u8]) -> KeyRange {
    let prefix = below(path);
    let mut start = prefix.clone();
    // Children continue with 0, everything deeper with 1; below the root the prefix already ends in that 1.
    start.push(0);
    let mut end = prefix;
    if path.is_empty() {
        end = vec![2];
    } else {
        end.push(2);
    }
    KeyRange { start, end: Some(end) }
}

/// What the keys of a node's descendants begin with.
fn below(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return vec![1];
    }
    path.iter().map(|&byte| if byte == b'/' { 1 } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_lies_below() {
        let paths: [&[u8]; 9] = [b"", b"/a", b"/a/b", b"/a/b/c", b"/a/b/c/d", b"/a-b", b"/a-b/c", b"/a.b", b"/ab/c"];
        for root in paths {
            for path in paths {
                let key = key::encode(path);
                let rest = path.strip_prefix(root).filter(|rest| rest.starts_with(b"/"));
                assert_eq!(descendants_range(root).contains(&key), rest.is_some(), "{path:?} below {root:?}");
                let child = rest.is_some_and(|rest| !rest[1..].contains(&b'/'));
                assert_eq!(children_range(root).contains(&key), child, "{path:?} child of {root:?}");
            }
            assert!(!descendants_range(root).contains(&session_key(7)));
        }
    }

    #[test]
    fn counters_of_quotas_are_stored_as_null() {
        let acl = AclList::world();
        let path = b"/zookeeper/quota/a/zookeeper_stats";
        let node = NodeRef { path, data: Some(b"count=3"), acl: Some(&acl), stat: Stat::default() };
        assert_eq!(record_ref(b"k", &node).value, ValueRef::Null);
        let limits = NodeRef { path: b"/zookeeper/quota/a/zookeeper_limits", ..node };
        assert_eq!(record_ref(b"k", &limits).value, ValueRef::Bytes(b"count=3"));
    }
}
