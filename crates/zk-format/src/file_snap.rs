//! The server's snapshot files, `version-2/snapshot.<hex zxid>[.gz|.snappy]`, of 3.4 to 3.9.
//!
//! This module has what the files are made of; [`crate::tree::FlatTree`] reads one and [`crate::file_snap_writer`]
//! writes one. The layout is in `docs/zookeeper-formats.md`. Up to 3.9 a server writes the file in place under its
//! final name, so one that ends early may simply not be finished: [`SnapError::is_unsealed`] tells that case apart.

mod compression;
mod entry;
mod error;
mod seal;
mod walk;

pub use compression::Compression;
pub(crate) use compression::decompress;
pub(crate) use entry::{Entry, STAT_BYTES, entry_node, entry_outline, entry_path, put_stat};
pub use error::{Section, SnapError, SnapProblem, UnsealedAt};
pub(crate) use seal::read_trailers;
pub(crate) use walk::{Group, NO_NODE, Progress, Walker, shortened};

use crate::types::Zxid;

/// `ZKSN`.
pub const MAGIC: [u8; 4] = *b"ZKSN";
/// The one version there is.
pub const VERSION: i32 = 2;
/// What the header's `dbid` always is.
pub const DB_ID: i64 = -1;
/// Stands for `world:anyone` with all permissions and is in no table.
pub const WORLD_ACL_ID: i64 = -1;
/// Ends the nodes and every seal.
pub(crate) const END_MARK: [u8; 5] = *b"\0\0\0\x01/";

/// A client session as the file lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Session {
    /// The session id, the owner of its ephemeral nodes.
    pub id: i64,
    /// Its timeout in milliseconds.
    pub timeout_ms: i32,
}

/// An ACL id that nodes name and the file's table lacks: the mark of a file written under load. The list is in the
/// create or setACL transaction that the log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnresolvedAcl {
    /// The id.
    pub id: i64,
    /// How many nodes name it.
    pub nodes: u32,
}

/// The most that is accepted from a file before it is called damaged or hostile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimits {
    /// Bytes of one node's data. A server's own limit is `jute.maxbuffer`, 1 MiB unless configured.
    pub data_bytes: u32,
    /// Bytes of one path.
    pub path_bytes: u32,
    /// Bytes of the file, uncompressed: also the most that reading it allocates at once.
    pub file_bytes: u64,
    /// Uncompressed bytes per compressed byte, beyond the first 64 MiB.
    pub ratio: u32,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { data_bytes: 64 << 20, path_bytes: 1 << 20, file_bytes: 64 << 30, ratio: 200 }
    }
}

/// The zxid and compression that a file's name states, or `None` where it is not a snapshot file's name.
///
/// The zxid of a loaded tree is the one in the name; the file does not repeat it.
pub fn parse_name(name: &str) -> Option<(Zxid, Compression)> {
    let rest = name.strip_prefix("snapshot.")?;
    let (hex, compression) = Compression::split_extension(rest);
    if hex.is_empty() || hex.len() > 16 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(hex, 16).ok().map(|zxid| (Zxid(zxid.cast_signed()), compression))
}

/// The name of the file with this zxid.
pub fn name(zxid: Zxid, compression: Compression) -> String {
    format!("snapshot.{:x}{}", zxid.0, compression.extension())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_made() {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let zxid = Zxid::new(0x1f, 0xa);
            assert_eq!(parse_name(&name(zxid, compression)), Some((zxid, compression)));
        }
        assert_eq!(parse_name("snapshot.0"), Some((Zxid(0), Compression::None)));
        for wrong in
            ["snapshot.", "snapshot.xyz", "snapshot.+1", "snapshot.1.bz2", "log.1", "snapshot.11112222333344445"]
        {
            assert_eq!(parse_name(wrong), None, "{wrong}");
        }
    }
}
