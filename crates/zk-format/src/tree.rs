//! A whole tree as one snapshot file has it, immutable and lean: the file's uncompressed bytes once, and 16 bytes per
//! node that say where it lies, in key order (see [`crate::key`]).
//!
//! Invariants: entry 0 is the root; every other node's parent is there; no path is there twice; every seal that the
//! file has was checked.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod build;
mod order;
mod read;

pub use build::TreeBuilder;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use crate::digest::{self, DigestCheck, StatedDigest};
use crate::file_snap::{
    Compression, Entry, ReadLimits, Session, SnapError, SnapProblem, UnresolvedAcl, entry_node, entry_outline,
    entry_path,
};
use crate::key;
use crate::path;
use crate::types::{AclList, NodeOutline, NodeRef, Zxid};

/// See the module's head.
#[derive(Debug)]
pub struct FlatTree {
    file: Vec<u8>,
    entries: Vec<Entry>,
    acls: Vec<AclList>,
    sessions: Vec<Session>,
    ephemerals: BTreeMap<i64, Vec<u32>>,
    unresolved: Vec<UnresolvedAcl>,
    zxid: Zxid,
    stated_digest: Option<StatedDigest>,
    last_zxid: Option<Zxid>,
    digest: i64,
    node_bytes: u64,
}

impl FlatTree {
    /// Reads a snapshot file, decompressing it as its extension says. The zxid of the tree is the one in its name.
    ///
    /// Reading and walking overlap, and sorting is parallel, on the current rayon pool.
    pub fn read_file(path: &Path, limits: &ReadLimits) -> Result<Self, SnapError> {
        read::read_file(path, limits).map_err(|problem| problem.in_file(path))
    }

    /// The same of an open file, from its start, whose name does not say what it is.
    pub fn read_open(
        file: &File,
        zxid: Zxid,
        compression: Compression,
        limits: &ReadLimits,
    ) -> Result<Self, SnapProblem> {
        read::read_open(file, zxid, compression, limits)
    }

    /// Reads the uncompressed bytes of a snapshot file.
    pub fn parse(file: Vec<u8>, zxid: Zxid, limits: &ReadLimits) -> Result<Self, SnapProblem> {
        read::parse(file, zxid, limits)
    }

    /// The tree that a server without any file starts with: the root, `/zookeeper` and `/zookeeper/quota`, with empty
    /// data, open ACLs and stats of zeros, at zxid 0.
    pub fn empty() -> Self {
        read::empty()
    }

    /// Whether nothing was changed yet: the file is named 0, and there are only the server's own nodes with stats of zeros.
    /// Such a file shows the state at 0 whatever was committed while it was written: what it had seen of that would
    /// be there.
    pub fn is_initial(&self) -> bool {
        let untouched = |node: NodeRef<'_>| {
            let NodeRef { path, stat, .. } = node;
            path == path::CONFIG
                || [b"".as_slice(), path::ZOOKEEPER, path::QUOTA].contains(&path)
                    && [stat.czxid, stat.mzxid, stat.pzxid].iter().all(|zxid| zxid.0 <= 0)
                    && stat.version.max(stat.aversion).max(stat.cversion) <= 0
        };
        self.zxid == Zxid(0) && self.sessions.is_empty() && self.len() <= 4 && self.iter().all(untouched)
    }

    /// How many nodes there are; at least the root.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the uncompressed file.
    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }

    /// Bytes of all nodes as the file has them, the sum of [`NodeRef::file_bytes`].
    pub const fn node_bytes(&self) -> u64 {
        self.node_bytes
    }

    /// The zxid in the file's name.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The node at this place in key order. The root is at 0.
    ///
    /// # Panics
    /// If `index` is not below [`FlatTree::len`].
    pub fn node(&self, index: usize) -> NodeRef<'_> {
        let entry = self.entry(index);
        let node = entry_node(&self.file, entry).expect("entries were read once");
        NodeRef { acl: self.acls.get(entry.acl as usize), ..node }
    }

    /// What [`FlatTree::node`] gives, without reading data and stat.
    ///
    /// # Panics
    /// If `index` is not below [`FlatTree::len`].
    pub fn outline(&self, index: usize) -> NodeOutline<'_> {
        let entry = self.entry(index);
        let (path, data_len) = entry_outline(&self.file, entry);
        NodeOutline { path, data_len, acl: self.acls.get(entry.acl as usize) }
    }

    /// The path of the node at this place; cheaper than the whole node.
    ///
    /// # Panics
    /// As [`FlatTree::node`].
    pub fn path(&self, index: usize) -> &[u8] {
        entry_path(&self.file, self.entry(index))
    }

    /// The place of a node's ACL list in [`FlatTree::acls`], or `None` where the file does not resolve it.
    ///
    /// # Panics
    /// As [`FlatTree::node`].
    pub fn acl_index(&self, index: usize) -> Option<u32> {
        Some(self.entry(index).acl).filter(|&acl| (acl as usize) < self.acls.len())
    }

    /// Every ACL list that the file has, each once; the first is `world:anyone` with all permissions.
    pub fn acls(&self) -> &[AclList] {
        &self.acls
    }

    /// All nodes in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> + DoubleEndedIterator + Clone {
        (0..self.len()).map(|index| self.node(index))
    }

    /// The place of a path (`""` or `/` is the root).
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        let path = as_stored(path);
        self.entries.binary_search_by(|&entry| key::compare(entry_path(&self.file, entry), path)).ok()
    }

    /// The places of a node's children, by name. Empty where the node has none or is not there.
    pub fn children(&self, path: &[u8]) -> Range<usize> {
        let path = as_stored(path);
        let before = |bound: Ordering| {
            self.entries.partition_point(|&entry| {
                key::parent(entry_path(&self.file, entry)).is_none_or(|parent| {
                    let order = key::compare_parents(parent, path);
                    order == Ordering::Less || order == bound
                })
            })
        };
        before(Ordering::Less)..before(Ordering::Equal)
    }

    /// The sessions in the file's order.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// Per session the places of its ephemeral nodes, ascending. Sessions without any are not there; a session here
    /// need not be in [`FlatTree::sessions`].
    pub const fn ephemerals(&self) -> &BTreeMap<i64, Vec<u32>> {
        &self.ephemerals
    }

    /// ACL ids that nodes name and the table lacks, with how many do. Their nodes' `acl` is `None`.
    pub fn unresolved_acls(&self) -> &[UnresolvedAcl] {
        &self.unresolved
    }

    /// The digest trailer of 3.6 and later.
    pub const fn stated_digest(&self) -> Option<StatedDigest> {
        self.stated_digest
    }

    /// The last-zxid trailer of 3.9 and later.
    pub const fn last_zxid(&self) -> Option<Zxid> {
        self.last_zxid
    }

    /// The sum of [`digest::node_hash`] over all nodes.
    pub const fn digest(&self) -> i64 {
        self.digest
    }

    /// The sum as a server without UTF-8 has it: see [`digest::node_hash_ascii`].
    pub fn digest_ascii(&self) -> i64 {
        let correction = |index: usize| {
            let NodeRef { path, data, stat, .. } = self.node(index);
            digest::node_hash_ascii(path, data, &stat).wrapping_sub(digest::node_hash(path, data, &stat))
        };
        let beyond_ascii = (0..self.len()).filter(|&index| !self.path(index).is_ascii());
        beyond_ascii.map(correction).fold(self.digest, i64::wrapping_add)
    }

    /// Compares the nodes with the digest trailer. Where they match, the file alone is the exact tree at the zxid
    /// that the trailer states.
    pub fn check_digest(&self) -> DigestCheck {
        match self.stated_digest {
            None => DigestCheck::Absent,
            // A fresh server's first file states digest 0 at zxid 0 (3.9.4); servers skip it when they load the file.
            Some(stated) if stated.zxid <= Zxid(0) => DigestCheck::Absent,
            Some(stated) if stated.version != digest::VERSION => DigestCheck::UnknownVersion(stated.version),
            Some(stated) if stated.digest == self.digest => DigestCheck::Matches,
            Some(stated) if stated.digest == self.digest_ascii() => DigestCheck::MatchesAscii,
            Some(_) => DigestCheck::Differs { computed: self.digest },
        }
    }

    fn entry(&self, index: usize) -> Entry {
        *self.entries.get(index).expect("index is below the number of nodes")
    }
}

fn as_stored(path: &[u8]) -> &[u8] {
    if path == b"/" { crate::path::ROOT } else { path }
}

#[cfg(test)]
mod tests;
