//! Writes snapshot files that every version from 3.4 to 3.9 loads: the base section only, header to first seal. A
//! digest trailer would make a 3.9 server with digests disabled refuse to start; what an `AdminServer` is to restore has
//! trailers ([`Written::trailers`]), for nothing else tells it the zxid.
//!
//! The writer refuses what a server could not load or would read as something else: nodes before their parents or
//! twice, values over the target's `jute.maxbuffer`, ACL lists that are not in the table, ephemeral nodes without
//! their session, and a tree that lacks the server's own nodes. A refused node leaves the output unfinished and of no
//! use; callers write to a file of another name and rename it at the end.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod part;
mod read_back;
mod seen;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use foldhash::quality::RandomState;
use simd_adler32::Adler32;
use thiserror::Error;

use self::part::Tables;
use self::read_back::{Adler, Piece};
use self::seen::Seen;
use crate::digest;
use crate::file_snap::{DB_ID, END_MARK, MAGIC, Session, VERSION, WORLD_ACL_ID};
use crate::jute;
use crate::path::{self, PathProblem};
use crate::types::{AclList, NodeRef, Zxid};

pub use part::{Part, PartMaker, PartWriter};
pub use read_back::{ReadBackError, read_back};

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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Nodes, the root and the server's own included.
    pub nodes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The pieces it was written in.
    pieces: Vec<Piece>,
}

impl Written {
    /// What 3.9 writes behind the base section, to be appended to the file: `digest` of its nodes, where the server that
    /// will load it keeps digests, and `zxid`, which a server takes for that of the tree.
    ///
    /// A server without digests takes a digest trailer for another, and one with digests misses it.
    pub fn trailers(&self, digest: Option<i64>, zxid: Zxid) -> Vec<u8> {
        let mut sum = Adler::default();
        for piece in &self.pieces {
            sum.append(piece);
        }
        let mut adler = Adler32::from_checksum(sum.sum());
        let mut trailers = Vec::new();
        let mut seal = |body: jute::Writer| {
            adler.write(body.bytes());
            let mut seal = jute::Writer::new();
            seal.i64(i64::from(adler.finish())).raw(&END_MARK);
            adler.write(seal.bytes());
            trailers.extend_from_slice(body.bytes());
            trailers.extend_from_slice(seal.bytes());
        };
        if let Some(digest) = digest {
            let mut body = jute::Writer::new();
            body.i64(zxid.0).i32(digest::VERSION).i64(digest);
            seal(body);
        }
        let mut body = jute::Writer::new();
        body.i64(zxid.0);
        seal(body);
        trailers
    }
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
///
/// Nodes come one by one ([`SnapWriter::node`]), or in [`Part`]s that other threads made.
pub struct SnapWriter<W> {
    out: W,
    tables: Arc<Tables>,
    /// Nodes given one by one since the last part.
    open: PartWriter,
    seen: Seen,
    adler: Adler,
    written: Written,
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
        let mut head = jute::Writer::new();
        head.raw(&MAGIC).i32(VERSION).i64(DB_ID);
        head.vector(Some(sessions.len()));
        for session in sessions {
            head.i64(session.id).i32(session.timeout_ms);
        }
        head.vector(Some(table.len()));
        for (id, list) in (1i64..).zip(table) {
            head.i64(id).raw(&list.0);
        }
        let sessions: HashSet<i64> = sessions.iter().map(|session| session.id).collect();
        let tables =
            Arc::new(Tables { limits, acl_ids, sessions, hash: RandomState::default(), spare: Mutex::default() });
        let open = PartWriter::new(Arc::clone(&tables));
        let mut writer =
            Self { out, tables, open, seen: Seen::default(), adler: Adler::default(), written: Written::default() };
        writer.put(head.bytes())?;
        Ok(writer)
    }

    /// Tells how many nodes will come, which saves growing.
    pub fn expect(&mut self, nodes: usize) {
        self.seen.reserve(nodes);
    }

    /// What other threads make parts with.
    pub fn parts(&self) -> PartMaker {
        PartMaker::new(Arc::clone(&self.tables))
    }

    /// Appends a node. Parents come before children; otherwise any order will do.
    pub fn node(&mut self, node: &NodeRef<'_>) -> Result<(), SnapWriteError> {
        self.open.node(node)?;
        self.seen.take_last(&self.open)?;
        if self.open.bytes() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Appends the nodes of a part. Parents come before children, in the part or before it.
    pub fn append(&mut self, part: Part) -> Result<(), SnapWriteError> {
        self.flush()?;
        self.seen.take_all(&part)?;
        self.put_part(part)
    }

    /// Ends the nodes, seals the file and gives the output back. Nothing is synced to disk here.
    pub fn finish(mut self) -> Result<(W, Written), SnapWriteError> {
        self.seen.check_reserved()?;
        self.flush()?;
        self.put(&END_MARK)?;
        let mut seal = jute::Writer::new();
        seal.i64(i64::from(self.adler.sum())).raw(&END_MARK);
        self.put(seal.bytes())?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    fn flush(&mut self) -> Result<(), SnapWriteError> {
        let part = self.open.finish();
        if part.nodes() == 0 { Ok(()) } else { self.put_part(part) }
    }

    fn put_part(&mut self, part: Part) -> Result<(), SnapWriteError> {
        self.written.nodes = self.written.nodes.saturating_add(part.nodes() as u64);
        self.put_piece(part.bytes(), part.piece())?;
        self.tables.reuse(part);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapWriteError> {
        self.put_piece(bytes, Piece::of(bytes))
    }

    fn put_piece(&mut self, bytes: &[u8], piece: Piece) -> Result<(), SnapWriteError> {
        self.out.write_all(bytes)?;
        self.adler.append(&piece);
        self.written.bytes = self.written.bytes.saturating_add(bytes.len() as u64);
        self.written.pieces.push(piece);
        Ok(())
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

#[cfg(test)]
mod tests;
