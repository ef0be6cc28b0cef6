//! What is kept of a node of a snapshot file, and how the rest is read off the file again.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::jute::{JuteError, Reader};
use crate::types::{NodeRef, Stat, Zxid};

/// Bytes of a stat.
pub(crate) const STAT_BYTES: usize = 60;
/// Kept in the length of the path, which is always shorter.
const EPHEMERAL_FLAG: u32 = 1 << 31;

/// Where a node lies in the file, and what cannot be read off there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Offset of the node's path length.
    pub offset: u64,
    /// Index of its list in the interned table, or `u32::MAX`.
    pub acl: u32,
    path_len: u32,
}

impl Entry {
    /// The longest path that fits; no limit is higher.
    pub(crate) const MAX_PATH_LEN: u32 = EPHEMERAL_FLAG - 1;

    pub(crate) const fn new(offset: u64, acl: u32, path_len: u32, ephemeral: bool) -> Self {
        let flag = if ephemeral { EPHEMERAL_FLAG } else { 0 };
        Self { offset, acl, path_len: path_len | flag }
    }

    pub(crate) const fn path_len(self) -> usize {
        (self.path_len & !EPHEMERAL_FLAG) as usize
    }

    pub(crate) const fn is_ephemeral(self) -> bool {
        self.path_len & EPHEMERAL_FLAG != 0
    }
}

/// The path of an entry.
pub(crate) fn entry_path(file: &[u8], entry: Entry) -> &[u8] {
    let start = usize::try_from(entry.offset).unwrap_or(usize::MAX).saturating_add(4);
    file.get(start..start.saturating_add(entry.path_len())).unwrap_or_default()
}

/// The node of an entry, without its ACL list.
pub(crate) fn entry_node(file: &[u8], entry: Entry) -> Result<NodeRef<'_>, JuteError> {
    let start = usize::try_from(entry.offset).unwrap_or(usize::MAX);
    let mut fields = Reader::at(file.get(start..).unwrap_or_default(), entry.offset);
    let path = fields.ustring()?.unwrap_or_default();
    let data = fields.buffer()?;
    fields.i64()?;
    Ok(NodeRef { path, data, acl: None, stat: decode_stat(&mut fields)? })
}

/// The path and the length of the data of a node that was read once: neither can be malformed any more.
pub(crate) fn entry_outline(file: &[u8], entry: Entry) -> (&[u8], Option<usize>) {
    let path = entry_path(file, entry);
    let start = usize::try_from(entry.offset).unwrap_or(usize::MAX).saturating_add(4).saturating_add(path.len());
    let length = file.get(start..).and_then(<[u8]>::first_chunk).map_or(-1, |bytes| i32::from_be_bytes(*bytes));
    (path, usize::try_from(length).ok())
}

fn decode_stat(reader: &mut Reader<'_>) -> Result<Stat, JuteError> {
    Ok(Stat {
        czxid: Zxid(reader.i64()?),
        mzxid: Zxid(reader.i64()?),
        ctime: reader.i64()?,
        mtime: reader.i64()?,
        version: reader.i32()?,
        cversion: reader.i32()?,
        aversion: reader.i32()?,
        ephemeral_owner: reader.i64()?,
        pzxid: Zxid(reader.i64()?),
    })
}

/// Writes a stat as files have it.
pub(crate) fn put_stat(stat: &Stat, bytes: &mut [u8; STAT_BYTES]) {
    bytes[..8].copy_from_slice(&stat.czxid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&stat.mzxid.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&stat.ctime.to_be_bytes());
    bytes[24..32].copy_from_slice(&stat.mtime.to_be_bytes());
    bytes[32..36].copy_from_slice(&stat.version.to_be_bytes());
    bytes[36..40].copy_from_slice(&stat.cversion.to_be_bytes());
    bytes[40..44].copy_from_slice(&stat.aversion.to_be_bytes());
    bytes[44..52].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes[52..].copy_from_slice(&stat.pzxid.0.to_be_bytes());
}
