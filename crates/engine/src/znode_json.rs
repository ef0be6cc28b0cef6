//! Znodes as documented JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zk_format::path::display;

use crate::diff::{Change, Difference};
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

/// How one node differs, with the nodes but for their data.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each tells one way to differ, and they combine")]
pub struct DifferenceJson {
    /// The node.
    pub path: String,
    /// The exact bytes, where the shown path is not them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `created`, `changed` or `deleted`.
    pub change: Change,
    /// Its data differs.
    pub data: bool,
    /// Its ACL differs.
    pub acl: bool,
    /// Its type or owner differs.
    pub kind: bool,
    /// It was deleted and created again.
    pub recreated: bool,
    /// Before.
    pub old: Option<ZnodeJson>,
    /// After.
    pub new: Option<ZnodeJson>,
}

impl From<&Difference> for DifferenceJson {
    fn from(difference: &Difference) -> Self {
        let shown = |node: &Option<Znode>| node.as_ref().map(|node| json(node, false));
        let (path, path_base64) = shown_path(difference.path());
        Self {
            path,
            path_base64,
            change: difference.change,
            data: difference.data,
            acl: difference.acl,
            kind: difference.kind,
            recreated: difference.recreated,
            old: shown(&difference.old),
            new: shown(&difference.new),
        }
    }
}

/// A path for people, and its bytes where those are not the same.
pub fn shown_path(path: &[u8]) -> (String, Option<String>) {
    let shown = display(path).to_string();
    let exact = path.is_empty() || shown.as_bytes() == path;
    (shown, (!exact).then(|| STANDARD.encode(path)))
}

/// The fields; `with_data` whether the data is one of them.
pub fn json(node: &Znode, with_data: bool) -> ZnodeJson {
    let acl = node.acl.as_ref().map(|_| acl(node));
    let (path, path_base64) = shown_path(&node.path);
    ZnodeJson {
        path,
        path_base64,
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
