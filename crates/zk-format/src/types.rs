//! The values every other module speaks of: zxids, stats, ACL lists and nodes.
//!
//! Strings from `ZooKeeper` stay bytes: the Java server writes UTF-16 surrogates as three bytes each
//! (CESU-8), which is not valid UTF-8. The root's path is the empty string here, as in the server's
//! files; it is shown as `/`.

use std::fmt;
use std::sync::Arc;

/// A transaction id: the epoch in the high 32 bits, a counter in the low 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// The id with this epoch and counter.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as i64) << 32) | counter as i64)
    }

    /// The leader epoch: the high 32 bits.
    pub const fn epoch(self) -> u32 {
        (self.0.cast_unsigned() >> 32) as u32
    }

    /// The position within the epoch: the low 32 bits.
    pub const fn counter(self) -> u32 {
        (self.0.cast_unsigned() & 0xffff_ffff) as u32
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zxid(0x{:x})", self.0)
    }
}

/// The persisted stat of a znode (`StatPersisted`), 60 bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Transaction that created the node.
    pub czxid: Zxid,
    /// Transaction that last changed its data.
    pub mzxid: Zxid,
    /// Transaction that last changed its children.
    pub pzxid: Zxid,
    /// Creation time, milliseconds since 1970.
    pub ctime: i64,
    /// Time of the last change of data, milliseconds since 1970.
    pub mtime: i64,
    /// Changes of data.
    pub version: i32,
    /// Persisted child version: the suffix of the next sequential child. Clients see
    /// `2 * cversion - children`.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// Raw owner field; see [`OwnerKind`].
    pub ephemeral_owner: i64,
}

/// What the owner field of a stat says about the node (`EphemeralType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerKind {
    /// Owner 0.
    Persistent,
    /// Owned by this session.
    Ephemeral {
        /// The session id.
        session: i64,
    },
    /// Owner `0x8000000000000000`.
    Container,
    /// Removed by the server once idle and childless for this long.
    Ttl {
        /// Time to live in milliseconds.
        ttl_ms: u64,
    },
}

/// Owner field of a container node.
pub const CONTAINER_OWNER: i64 = i64::MIN;
const TTL_MASK: u64 = 0xff00_0000_0000_0000;
const TTL_FEATURE_MASK: u64 = 0x00ff_ff00_0000_0000;
const TTL_VALUE_MASK: u64 = 0x0000_00ff_ffff_ffff;
const EMULATED_353_TTL: u64 = 0x8000_0000_0000_0000;

impl OwnerKind {
    /// Decodes an owner field, both TTL encodings included (3.5.3 wrote `0x8000… | ms`).
    ///
    /// Without extended types enabled, an owner starting `0xff` can be a session of server id 255; the
    /// field alone cannot tell, so this reads it as the server with extended types does.
    pub const fn of(owner: i64) -> Self {
        let raw = owner.cast_unsigned();
        if raw == 0 {
            Self::Persistent
        } else if owner == CONTAINER_OWNER {
            Self::Container
        } else if (raw & TTL_MASK == TTL_MASK && raw & TTL_FEATURE_MASK == 0)
            || (raw & EMULATED_353_TTL != 0 && raw & 0x7fff_ff00_0000_0000 == 0)
        {
            Self::Ttl { ttl_ms: raw & TTL_VALUE_MASK }
        } else {
            Self::Ephemeral { session: owner }
        }
    }

    /// Whether the node disappears with a session.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral { .. })
    }
}

impl Stat {
    /// The node's type by its owner field.
    pub const fn kind(&self) -> OwnerKind {
        OwnerKind::of(self.ephemeral_owner)
    }
}

/// One entry of an ACL list.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Acl {
    /// Bits: read 1, write 2, create 4, delete 8, admin 16.
    pub perms: i32,
    /// `world`, `auth`, `digest`, `ip`, `x509`, `sasl`, …
    pub scheme: Vec<u8>,
    /// Meaning depends on the scheme.
    pub id: Vec<u8>,
}

/// An ACL list in its jute form (`vector<ACL>`), kept byte for byte and shared between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct AclList(pub Arc<[u8]>);

/// A znode borrowed from wherever it lies.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'a> {
    /// Absolute path; the root's is empty.
    pub path: &'a [u8],
    /// Null and empty differ.
    pub data: Option<&'a [u8]>,
    /// `None` where a fuzzy file names an ACL id that its table lacks.
    pub acl: Option<&'a AclList>,
    /// The persisted stat.
    pub stat: Stat,
}

/// What is known of a znode without reading its data or stat.
#[derive(Clone, Copy, Debug)]
pub struct NodeOutline<'a> {
    /// Absolute path; the root's is empty.
    pub path: &'a [u8],
    /// Bytes of its data; `None` where it is null.
    pub data_len: Option<usize>,
    /// `None` where a fuzzy file names an ACL id that its table lacks.
    pub acl: Option<&'a AclList>,
}

/// Bytes of a node in a snapshot file besides its path and data: two lengths, the ACL's id and the stat.
pub const NODE_OVERHEAD_BYTES: u64 = 76;

impl<'a> NodeRef<'a> {
    /// Without data and stat.
    pub fn outline(&self) -> NodeOutline<'a> {
        NodeOutline { path: self.path, data_len: self.data.map(<[u8]>::len), acl: self.acl }
    }

    /// Bytes of the node in a snapshot file.
    pub fn file_bytes(&self) -> u64 {
        let data = self.data.map_or(0, <[u8]>::len) as u64;
        NODE_OVERHEAD_BYTES.saturating_add(self.path.len() as u64).saturating_add(data)
    }
}

/// A znode that owns its bytes; the path is its map key wherever it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Null and empty differ.
    pub data: Option<Arc<[u8]>>,
    /// `None` where a fuzzy file names an ACL id that its table lacks.
    pub acl: Option<AclList>,
    /// The persisted stat.
    pub stat: Stat,
}
