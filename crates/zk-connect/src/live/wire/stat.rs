//! A node's stat as clients see it.

use zk_format::jute::{JuteError, Reader};
use zk_format::{Stat, Zxid};

/// `Stat` of the client protocol: 68 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeStat {
    /// Transaction that created the node.
    pub czxid: Zxid,
    /// Transaction that last changed its data.
    pub mzxid: Zxid,
    /// Creation, milliseconds since 1970.
    pub ctime: i64,
    /// Last change of data, milliseconds since 1970.
    pub mtime: i64,
    /// Changes of data.
    pub version: i32,
    /// Twice the persisted child version, less the number of children.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// The owning session; 0 for persistent, container and TTL nodes alike.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Children.
    pub children: i32,
    /// Transaction that last changed its children.
    pub pzxid: Zxid,
}

impl NodeStat {
    /// Bytes of it on the wire.
    pub const BYTES: usize = 68;

    /// Reads one.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, JuteError> {
        Ok(Self {
            czxid: Zxid(from.i64()?),
            mzxid: Zxid(from.i64()?),
            ctime: from.i64()?,
            mtime: from.i64()?,
            version: from.i32()?,
            cversion: from.i32()?,
            aversion: from.i32()?,
            ephemeral_owner: from.i64()?,
            data_length: from.i32()?,
            children: from.i32()?,
            pzxid: Zxid(from.i64()?),
        })
    }

    /// The child version as the server persists it: `(seen + children) / 2` (`DataNode.copyStat`).
    pub const fn persisted_cversion(&self) -> i32 {
        // What a client sees is 2 × persisted − children, in 32 bits that may have wrapped.
        self.cversion.wrapping_add(self.children) / 2
    }

    /// As the server's files have it.
    pub const fn persisted(&self) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.persisted_cversion(),
            aversion: self.aversion,
            ephemeral_owner: self.ephemeral_owner,
        }
    }
}
