//! The ACL lists of a whole snapshot, kept in its manifest.
//!
//! A server's snapshot file lists all ACLs before the first node, so a restore that streams must know them
//! beforehand. They only ever grow between two full reads; a list too many is harmless, the server drops what
//! no node uses. Where they would make manifests large they are left out, and a restore reads the tree twice.

use std::collections::BTreeSet;

use repository::manifest::SnapshotFields;
use zk_format::AclList;
use zk_format::jute::Reader;

/// Name of the manifest's entry.
const ENTRY: &str = "acls";
/// Most bytes of lists kept in a manifest.
const MAX_BYTES: usize = 4096;

/// The manifest's entry for these lists; `None` where there are too many.
pub fn entry(lists: &BTreeSet<AclList>) -> Option<(String, Vec<u8>)> {
    let bytes: usize = lists.iter().map(|list| list.0.len()).sum();
    (bytes <= MAX_BYTES).then(|| (ENTRY.to_owned(), lists.iter().flat_map(|list| list.0.iter().copied()).collect()))
}

/// The lists that a manifest keeps; `None` where it keeps none or they cannot be read.
pub fn stored_acls(fields: &SnapshotFields) -> Option<Vec<AclList>> {
    let (_, bytes) = fields.extra.iter().find(|(name, _)| name == ENTRY)?;
    let mut reader = Reader::new(bytes);
    let mut lists = Vec::new();
    while reader.remaining() > 0 {
        lists.push(AclList::read(&mut reader).ok()?);
    }
    Some(lists)
}
