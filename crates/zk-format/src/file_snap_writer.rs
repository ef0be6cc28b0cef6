//! Writes snapshot files that every version from 3.4 to 3.9 loads: the base section only, header to first seal. A
//! digest trailer would make a 3.9 server with digests disabled refuse to start.
//!
//! The writer refuses what a server could not load or would read as something else: nodes before their parents or
//! twice, values over the target's `jute.maxbuffer`, ACL lists that are not in the table, ephemeral nodes without
//! their session, and a tree that lacks the server's own nodes. A refused node leaves the output unfinished and of no
//! use; callers write to a file of another name and rename it at the end.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::io::{self, Write};
use std::sync::Arc;

use simd_adler32::Adler32;
use thiserror::Error;

use crate::digest::RunningDigest;
use crate::file_snap::{DB_ID, END_MARK, MAGIC, Session, VERSION, WORLD_ACL_ID, encode_stat};
use crate::jute;
use crate::key;
use crate::path::{self, PathProblem};
use crate::types::{AclList, NodeRef};

/// Bytes gathered before they are checksummed and handed on.
const FLUSH_BYTES: usize = 256 << 10;
/// `jute.maxbuffer` of a server that was not told otherwise.
pub const DEFAULT_JUTE_MAX_BUFFER: u32 = 0xf_ffff;

/// What the server that will load the file accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteLimits {
    /// Its `jute.maxbuffer`: the most bytes of one value, path or ACL list.
    pub jute_max_buffer: u32,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { jute_max_buffer: DEFAULT_JUTE_MAX_BUFFER }
    }
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Nodes, the root and the server's own included.
    pub nodes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The tree digest of the nodes; the file does not hold it.
    pub digest: i64,
}

/// Why a snapshot file could not be written.
#[derive(Debug, Error)]
pub enum SnapWriteError {
    /// The output refused the bytes.
    #[error("cannot write the snapshot file")]
    Io(#[from] io::Error),
    /// Not a path a server could hold.
    #[error("node path {path:?} cannot be written", path = path::display(path).to_string())]
    BadPath {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        #[source]
        why: PathProblem,
    },
    /// Its parent was not written before it; the first node must be the root.
    #[error("node {path:?} was given before its parent", path = path::display(path).to_string())]
    NoParent {
        /// The path.
        path: Vec<u8>,
    },
    /// Given a second time.
    #[error("node {path:?} was given twice", path = path::display(path).to_string())]
    Duplicate {
        /// The path.
        path: Vec<u8>,
    },
    /// Over the target's `jute.maxbuffer`: the server could not load the file.
    #[error(
        "the {what} of node {path:?} has {bytes} bytes and the target's jute.maxbuffer is {limit}: raise it there, or leave the node out",
        path = path::display(path).to_string()
    )]
    TooLarge {
        /// `data`, `path` or `ACL list`.
        what: &'static str,
        /// The node; the root for a list of the table.
        path: Vec<u8>,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// The null list, or bytes that are no list.
    #[error("ACL list {index} of the table is null or malformed")]
    BadAcl {
        /// Its place in the table.
        index: usize,
    },
    /// The node has no ACL list, or one that was not given for the table.
    #[error("the ACL list of node {path:?} is not in the table", path = path::display(path).to_string())]
    UnknownAcl {
        /// The node.
        path: Vec<u8>,
    },
    /// A session that is not in the table owns the node: the server would delete it at start.
    #[error("node {path:?} belongs to session 0x{session:x}, which is not in the table", path = path::display(path).to_string())]
    UnknownSession {
        /// The node.
        path: Vec<u8>,
        /// Its owner.
        session: i64,
    },
    /// One of the server's own nodes was not given.
    #[error("the tree lacks {path:?}, without which a server does not start", path = path::display(path).to_string())]
    MissingReserved {
        /// The node.
        path: &'static [u8],
    },
}

/// Writes one snapshot file to `W`. Wrap no buffer around the output: writes are large.
pub struct SnapWriter<W> {
    out: W,
    buffer: jute::Writer,
    adler: Adler32,
    limits: WriteLimits,
    acl_ids: HashMap<AclList, i64>,
    last_acl: Option<(AclList, i64)>,
    sessions: HashSet<i64>,
    seen: Seen,
    digest: RunningDigest,
    nodes: u64,
    bytes: u64,
}

impl<W: Write> SnapWriter<W> {
    /// Starts a file with its tables: all sessions, and every ACL list that a node will have. Lists may repeat;
    /// `world:anyone` with all permissions needs not be given.
    pub fn new<'a>(
        out: W,
        sessions: &[Session],
        acls: impl IntoIterator<Item = &'a AclList>,
        limits: WriteLimits,
    ) -> Result<Self, SnapWriteError> {
        let mut acl_ids = HashMap::from([(AclList::world(), WORLD_ACL_ID)]);
        let mut table = Vec::new();
        let mut next_id = 1i64;
        for (index, list) in acls.into_iter().enumerate() {
            if list.is_null() || list.decode().is_err() {
                return Err(SnapWriteError::BadAcl { index });
            }
            check_size("ACL list", b"", list.0.len(), limits)?;
            if !acl_ids.contains_key(list) {
                acl_ids.insert(list.clone(), next_id);
                table.push(list);
                next_id = next_id.saturating_add(1);
            }
        }
        let mut buffer = jute::Writer::onto(Vec::with_capacity(FLUSH_BYTES.saturating_mul(2)));
        buffer.raw(&MAGIC).i32(VERSION).i64(DB_ID);
        buffer.vector(Some(sessions.len()));
        for session in sessions {
            buffer.i64(session.id).i32(session.timeout_ms);
        }
        buffer.vector(Some(table.len()));
        for (id, list) in (1i64..).zip(table) {
            buffer.i64(id).raw(&list.0);
        }
        Ok(Self {
            out,
            buffer,
            adler: Adler32::new(),
            limits,
            acl_ids,
            last_acl: None,
            sessions: sessions.iter().map(|session| session.id).collect(),
            seen: Seen::default(),
            digest: RunningDigest::default(),
            nodes: 0,
            bytes: 0,
        })
    }

    /// Appends a node. Parents come before children; otherwise any order will do.
    pub fn node(&mut self, node: &NodeRef<'_>) -> Result<(), SnapWriteError> {
        let NodeRef { path, data, acl, stat } = *node;
        self.seen.take(path)?;
        check_size("path", path, path.len(), self.limits)?;
        check_size("data", path, data.map_or(0, <[u8]>::len), self.limits)?;
        let owner = stat.ephemeral_owner;
        if stat.kind().is_ephemeral() && !self.sessions.contains(&owner) {
            return Err(SnapWriteError::UnknownSession { path: path.to_vec(), session: owner });
        }
        let Some(acl) = acl.and_then(|acl| self.acl_id(acl)) else {
            return Err(SnapWriteError::UnknownAcl { path: path.to_vec() });
        };
        let stat = encode_stat(&stat);
        self.buffer.ustring(Some(path)).buffer(data).i64(acl).raw(&stat);
        self.nodes = self.nodes.saturating_add(1);
        self.digest.add(path, data, &stat);
        if self.buffer.bytes().len() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the nodes, seals the file and gives the output back. Nothing is synced to disk here.
    pub fn finish(mut self) -> Result<(W, Written), SnapWriteError> {
        self.seen.check_reserved()?;
        self.buffer.raw(&END_MARK);
        self.flush()?;
        let seal = i64::from(self.adler.finish());
        self.buffer.i64(seal).raw(&END_MARK);
        self.flush()?;
        self.out.flush()?;
        let written = Written { nodes: self.nodes, bytes: self.bytes, digest: self.digest.sum() };
        Ok((self.out, written))
    }

    fn flush(&mut self) -> Result<(), SnapWriteError> {
        let bytes = self.buffer.bytes();
        self.adler.write(bytes);
        self.out.write_all(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    fn acl_id(&mut self, acl: &AclList) -> Option<i64> {
        match &self.last_acl {
            Some((last, id)) if Arc::ptr_eq(&last.0, &acl.0) => Some(*id),
            _ => {
                let id = *self.acl_ids.get(acl)?;
                self.last_acl = Some((acl.clone(), id));
                Some(id)
            }
        }
    }
}

fn check_size(what: &'static str, path: &[u8], bytes: usize, limits: WriteLimits) -> Result<(), SnapWriteError> {
    // Jute has no longer lengths, whatever the target is told.
    let limit = limits.jute_max_buffer.min(i32::MAX.cast_unsigned());
    if bytes <= limit as usize {
        return Ok(());
    }
    Err(SnapWriteError::TooLarge { what, path: path.to_vec(), bytes: bytes as u64, limit })
}

/// The paths written so far, as keyed 64-bit hashes: eight bytes a node. Two of a million paths share a hash once in
/// thirty million files; then the write fails with `Duplicate`, and the next attempt has another key.
#[derive(Debug, Default)]
struct Seen {
    hash: RandomState,
    paths: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
    last_parent: Vec<u8>,
    reserved: [bool; 2],
}

/// Passes a hash on as it is.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Seen {
    fn take(&mut self, path: &[u8]) -> Result<(), SnapWriteError> {
        if let Some(parent) = key::parent(path) {
            let name = path.get(parent.len().saturating_add(1)..).unwrap_or_default();
            path::validate_stored_name(name).map_err(|why| SnapWriteError::BadPath { path: path.to_vec(), why })?;
            // Siblings mostly follow each other.
            if self.last_parent != parent || self.paths.is_empty() {
                if !self.paths.contains(&self.hash.hash_one(parent)) {
                    return Err(SnapWriteError::NoParent { path: path.to_vec() });
                }
                self.last_parent.clear();
                self.last_parent.extend_from_slice(parent);
            }
        } else if !path.is_empty() {
            return Err(SnapWriteError::BadPath { path: path.to_vec(), why: PathProblem::Relative });
        }
        if !self.paths.insert(self.hash.hash_one(path)) {
            return Err(SnapWriteError::Duplicate { path: path.to_vec() });
        }
        let [zookeeper, quota] = &mut self.reserved;
        *zookeeper |= path == path::ZOOKEEPER;
        *quota |= path == path::QUOTA;
        Ok(())
    }

    fn check_reserved(&self) -> Result<(), SnapWriteError> {
        let [zookeeper, quota] = self.reserved;
        for (path, there) in [(path::ZOOKEEPER, zookeeper), (path::QUOTA, quota)] {
            if !there {
                return Err(SnapWriteError::MissingReserved { path });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
