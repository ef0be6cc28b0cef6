//! One record: a znode (or a session) as stored, and the trait a sorted source of records implements.
//!
//! The store knows keys, stats, ACL bytes and values, and nothing of paths: the engine makes keys. Keys sort
//! as bytes. Two key spaces are agreed: znodes (empty, or first byte 0x01) and sessions (first byte
//! [`SESSION_PREFIX`]), which therefore come last.

use std::cmp::Ordering;
use std::ops::{BitOr, BitOrAssign};

use crate::ids::{BlobId, BlobKind, IdentityKeys};

/// Longest key, bytes.
pub const MAX_KEY: usize = 1 << 20;
/// Longest value, bytes.
pub const MAX_VALUE: usize = 64 << 20;
/// Values up to this many bytes lie in their chunk; larger ones are blobs of their own. Part of the format: ids,
/// cuts and digests depend on it.
pub const MAX_INLINE_VALUE: usize = 4096;
/// Longest ACL list, bytes.
pub const MAX_ACL: usize = 1 << 20;
/// First byte of the keys of sessions.
pub const SESSION_PREFIX: u8 = 0x02;

/// The key of a session: the prefix and the id, most significant byte first.
pub fn session_key(session_id: i64) -> [u8; 9] {
    let mut key = [SESSION_PREFIX; 9];
    let [_, id @ ..] = &mut key;
    *id = session_id.to_be_bytes();
    key
}

/// The session a key names, where it is a session's.
pub fn session_of(key: &[u8]) -> Option<i64> {
    let (&SESSION_PREFIX, id) = key.split_first()? else { return None };
    Some(i64::from_be_bytes(id.try_into().ok()?))
}

/// The persisted stat of a znode; all zero for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordStat {
    /// Transaction that created the node.
    pub czxid: i64,
    /// Transaction that last changed its value.
    pub mzxid: i64,
    /// Transaction that last changed its children.
    pub pzxid: i64,
    /// Creation, milliseconds since 1970.
    pub ctime: i64,
    /// Last change of the value, milliseconds since 1970.
    pub mtime: i64,
    /// Changes of the value.
    pub version: i32,
    /// Persisted child version.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// Owner session, or the marks of container and TTL nodes.
    pub ephemeral_owner: i64,
}

/// What could not be learnt about a record: zero for a record that is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct RecordFlags(pub u32);

impl RecordFlags {
    /// The value could not be read (no permission); it is stored as null or as the parent snapshot had it.
    pub const VALUE_UNREADABLE: Self = Self(1);
    /// The ACL could not be read; its bytes are empty.
    pub const ACL_UNKNOWN: Self = Self(1 << 1);
    /// The server hid parts of the ACL (`x` in place of a digest).
    pub const ACL_MASKED: Self = Self(1 << 2);
    /// Container and TTL nodes cannot be told apart from what the source showed.
    pub const KIND_UNKNOWN: Self = Self(1 << 3);
    /// The children could not be listed, or the record is carried over from the parent snapshot.
    pub const INCOMPLETE: Self = Self(1 << 4);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for RecordFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for RecordFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A value, borrowed. Null and empty differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// The bytes themselves, of any length.
    Bytes(&'a [u8]),
    /// Stored as a blob of kind [`BlobKind::Value`] with this id and length in bytes.
    Blob {
        /// Id of the blob.
        id: BlobId,
        /// Length of the value, bytes.
        len: u64,
    },
}

impl<'a> From<Option<&'a [u8]>> for ValueRef<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Null, Self::Bytes)
    }
}

impl ValueRef<'_> {
    /// The form a chunk holds: bytes over [`MAX_INLINE_VALUE`] become the id of their blob.
    #[must_use]
    pub fn stored(self, keys: &IdentityKeys) -> Self {
        self.apart(keys).unwrap_or(self)
    }

    /// The blob that bytes over [`MAX_INLINE_VALUE`] become; `None` for what is stored as it is.
    pub(crate) fn apart(&self, keys: &IdentityKeys) -> Option<Self> {
        match self {
            Self::Bytes(bytes) if bytes.len() > MAX_INLINE_VALUE => {
                Some(Self::Blob { id: keys.blob_id(BlobKind::Value, bytes), len: bytes.len() as u64 })
            }
            _ => None,
        }
    }

    /// Length in bytes; `None` for null.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Null => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Blob { len, .. } => Some(*len),
        }
    }

    /// Whether it is null or has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len().unwrap_or(0) == 0
    }

    /// An owned copy.
    pub fn to_owned(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bytes(bytes) => Value::Bytes(bytes.into()),
            Self::Blob { id, len } => Value::Blob { id, len },
        }
    }
}

/// An owned [`ValueRef`].
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Value {
    /// No value.
    Null,
    /// The bytes themselves.
    Bytes(Box<[u8]>),
    /// Stored as a blob.
    Blob {
        /// Id of the blob.
        id: BlobId,
        /// Length of the value, bytes.
        len: u64,
    },
}

impl Value {
    /// Borrows it.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
            Self::Blob { id, len } => ValueRef::Blob { id: *id, len: *len },
        }
    }
}

/// A record, borrowed from wherever it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRef<'a> {
    /// Sort key.
    pub key: &'a [u8],
    /// Stat.
    pub stat: RecordStat,
    /// What is missing from the record.
    pub flags: RecordFlags,
    /// ACL list, opaque here; empty for sessions and where unknown.
    pub acl: &'a [u8],
    /// Value.
    pub value: ValueRef<'a>,
}

impl<'a> RecordRef<'a> {
    /// What [`SortedRecords::record`] gives for a tombstone: the key, and nothing else that means anything.
    pub fn tombstone(key: &'a [u8]) -> Self {
        Self { key, stat: RecordStat::default(), flags: RecordFlags(0), acl: &[], value: ValueRef::Null }
    }

    /// An owned copy.
    pub fn to_owned(&self) -> Record {
        Record {
            key: self.key.into(),
            stat: self.stat,
            flags: self.flags,
            acl: self.acl.into(),
            value: self.value.to_owned(),
        }
    }
}

/// A record that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Sort key.
    pub key: Box<[u8]>,
    /// Stat.
    pub stat: RecordStat,
    /// What is missing from the record.
    pub flags: RecordFlags,
    /// ACL list, opaque here.
    pub acl: Box<[u8]>,
    /// Value.
    pub value: Value,
}

impl Record {
    /// Borrows it.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef { key: &self.key, stat: self.stat, flags: self.flags, acl: &self.acl, value: self.value.as_ref() }
    }
}

/// One entry of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The record is now this.
    Put(Record),
    /// There is no such record any more.
    Delete(Box<[u8]>),
}

impl Change {
    /// The key it is about.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(record) => &record.key,
            Self::Delete(key) => key,
        }
    }
}

/// Lengths of a record's parts, bytes: enough to find chunk boundaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordLens {
    /// Key.
    pub key: usize,
    /// Value where it lies in the chunk; zero for null and for values over [`MAX_INLINE_VALUE`].
    pub inline_value: usize,
    /// ACL list.
    pub acl: usize,
}

/// Records (or changes) in strictly ascending key order, read by position from several threads at once.
///
/// Keys are often made from paths on the fly, so every reader brings a buffer for them; everything else is
/// borrowed from the source.
pub trait SortedRecords: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lengths of record `i`.
    fn lens(&self, i: usize) -> RecordLens;

    /// Replaces the buffer's content by the key of record `i`.
    fn key_into(&self, i: usize, key: &mut Vec<u8>);

    /// Record `i`, its key in `key` (whose content is replaced). For a tombstone only the key counts.
    fn record<'a>(&'a self, i: usize, key: &'a mut Vec<u8>) -> RecordRef<'a>;

    /// Both [`SortedRecords::key_into`] and [`SortedRecords::lens`]: all that cutting needs to know.
    fn measure(&self, i: usize, key: &mut Vec<u8>) -> RecordLens {
        self.key_into(i, key);
        self.lens(i)
    }

    /// Whether entry `i` says that the record is gone. Only runs have such.
    fn is_tombstone(&self, i: usize) -> bool {
        let _ = i;
        false
    }

    /// How the key of record `i` compares with `key`.
    fn compare_key(&self, i: usize, key: &[u8], scratch: &mut Vec<u8>) -> Ordering {
        self.key_into(i, scratch);
        scratch.as_slice().cmp(key)
    }
}

/// Lengths of a borrowed record, for implementers of [`SortedRecords`].
pub fn lens_of(record: &RecordRef<'_>) -> RecordLens {
    let inline_value = match record.value {
        ValueRef::Bytes(bytes) if bytes.len() <= MAX_INLINE_VALUE => bytes.len(),
        _ => 0,
    };
    RecordLens { key: record.key.len(), inline_value, acl: record.acl.len() }
}

/// A sorted list of changes. Positions past the end panic, as in any slice.
impl SortedRecords for [Change] {
    fn len(&self) -> usize {
        <[Change]>::len(self)
    }

    fn lens(&self, i: usize) -> RecordLens {
        match &self[i] {
            Change::Put(record) => lens_of(&record.as_ref()),
            Change::Delete(key) => RecordLens { key: key.len(), inline_value: 0, acl: 0 },
        }
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self[i].key());
    }

    fn record<'a>(&'a self, i: usize, _: &'a mut Vec<u8>) -> RecordRef<'a> {
        match &self[i] {
            Change::Put(record) => record.as_ref(),
            Change::Delete(key) => RecordRef::tombstone(key),
        }
    }

    fn is_tombstone(&self, i: usize) -> bool {
        matches!(self[i], Change::Delete(_))
    }
}

/// A sorted list of records. Positions past the end panic, as in any slice.
impl SortedRecords for [Record] {
    fn len(&self) -> usize {
        <[Record]>::len(self)
    }

    fn lens(&self, i: usize) -> RecordLens {
        lens_of(&self[i].as_ref())
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&self[i].key);
    }

    fn record<'a>(&'a self, i: usize, _: &'a mut Vec<u8>) -> RecordRef<'a> {
        self[i].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_keys_sort_after_znodes_and_come_back() {
        for id in [0, 1, -1, i64::MIN, 0x1000_0a2b_3c4d_0001] {
            assert_eq!(session_of(&session_key(id)), Some(id));
            assert!(session_key(id).as_slice() > b"\x01zzz\x00zzz".as_slice());
        }
        assert_eq!(session_of(b""), None);
        assert_eq!(session_of(b"\x02short"), None);
        assert_eq!(session_of(b"\x01\x00abcdefg"), None);
    }

    #[test]
    fn large_values_are_stored_by_id() {
        let keys = IdentityKeys::public();
        let bytes = vec![7; MAX_INLINE_VALUE + 1];
        let inline = ValueRef::Bytes(&bytes[1..]);
        assert_eq!(inline.stored(&keys), inline);
        let id = keys.blob_id(BlobKind::Value, &bytes);
        assert_eq!(ValueRef::Bytes(&bytes).stored(&keys), ValueRef::Blob { id, len: bytes.len() as u64 });
    }
}
