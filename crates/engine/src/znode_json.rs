//! Znodes as documented JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::znode::{Znode, perms_text};

/// One entry of an ACL.
#[derive(Debug, Serialize)]
pub struct AclEntry {
    /// Letters of `cdrwa`.
    pub perms: String,
    /// `world`, `digest`, …
    pub scheme: String,
    /// Meaning depends on the scheme.
    pub id: String,
}

/// The documented fields of a znode.
#[derive(Debug, Serialize)]
pub struct ZnodeJson {
    /// `/` for the root.
    pub path: String,
    /// The exact bytes, where the shown path is not them: names that are no UTF-8, or hold control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Base64; null and empty differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Option<String>>,
    /// Bytes of the data; null where there is none.
    pub data_bytes: Option<u64>,
    /// Null where it could not be learnt.
    pub acl: Option<Vec<AclEntry>>,
    /// `0x…`.
    pub czxid: String,
    /// `0x…`.
    pub mzxid: String,
    /// `0x…`.
    pub pzxid: String,
    /// Milliseconds since 1970.
    pub ctime: i64,
    /// Milliseconds since 1970.
    pub mtime: i64,
    /// Changes of data.
    pub version: i32,
    /// As persisted: the suffix of the next sequential child.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// `0x…`.
    pub ephemeral_owner: String,
    /// `persistent`, `ephemeral`, `container`, `ttl` or `unknown`.
    pub kind: &'static str,
    /// Time to live in milliseconds.
    pub ttl_ms: Option<u64>,
}

/// The fields; `with_data` whether the data is one of them.
pub fn json(node: &Znode, with_data: bool) -> ZnodeJson {
    let acl = node.acl.as_ref().map(|_| acl(node));
    let path = node.shown_path();
    let exact = node.path.is_empty() || path.as_bytes() == node.path;
    ZnodeJson {
        path,
        path_base64: (!exact).then(|| STANDARD.encode(&node.path)),
        data: with_data.then(|| node.data.as_ref().map(|data| STANDARD.encode(data))),
        data_bytes: node.data.as_ref().map(|data| data.len() as u64),
        acl,
        czxid: node.stat.czxid.to_string(),
        mzxid: node.stat.mzxid.to_string(),
        pzxid: node.stat.pzxid.to_string(),
        ctime: node.stat.ctime,
        mtime: node.stat.mtime,
        version: node.stat.version,
        cversion: node.stat.cversion,
        aversion: node.stat.aversion,
        ephemeral_owner: format!("{:#x}", node.stat.ephemeral_owner),
        kind: node.kind().name(),
        ttl_ms: node.ttl_ms(),
    }
}

/// The entries of a node's ACL.
pub fn acl(node: &Znode) -> Vec<AclEntry> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    node.acl_entries()
        .iter()
        .map(|entry| AclEntry { perms: perms_text(entry.perms), scheme: text(&entry.scheme), id: text(&entry.id) })
        .collect()
}
