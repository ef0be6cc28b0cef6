//! The tree of one snapshot: single nodes, children, subtrees, and all of it on every processor.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

use repository::manifest::Manifest;
use repository::reader::BlobReader;
use repository::record::SESSION_PREFIX;
use repository::stack::{Scan, Stack};
use repository::table::{KeyRange, TableError};
use repository::{BlobKind, BlobSource as _, IdentityKeys, RecordRef, ValueRef};
use zk_format::file_snap::Session;
use zk_format::key;

use crate::convert::{Stored, children_range, descendants_range, stored, znode};
use crate::error::{EngineError, ErrorKind};
use crate::pipeline;
use crate::znode::Znode;

/// How many pieces a whole tree is read in, at least.
const PIECES_PER_THREAD: usize = 32;
/// Most stretches of a piece, each about 64 KiB: pieces wait in memory for their turn.
const MOST_STRETCHES: usize = 16;

/// Pieces of a list of paths per thread.
const LOOKUPS_PER_THREAD: usize = 8;

/// See the module's head.
#[derive(Debug)]
pub struct SnapshotTree<'r> {
    manifest: &'r Manifest,
    stack: Stack<'r, BlobReader>,
}

/// Takes nodes one by one; `Break` ends the reading.
pub type Visit<'v> = dyn FnMut(Znode) -> ControlFlow<()> + 'v;

/// Takes a record.
pub type VisitRecord<'v> = dyn FnMut(&RecordRef<'_>) -> Result<(), EngineError> + 'v;

impl<'r> SnapshotTree<'r> {
    pub(crate) fn new(manifest: &'r Manifest, reader: BlobReader, identity: &'r IdentityKeys) -> Self {
        Self { manifest, stack: Stack::new(manifest.tables(), reader, identity) }
    }

    /// The snapshot.
    pub const fn manifest(&self) -> &'r Manifest {
        self.manifest
    }

    /// Its tables.
    pub const fn stack(&self) -> &Stack<'r, BlobReader> {
        &self.stack
    }

    /// One node.
    pub fn node(&self, path: &[u8]) -> Result<Option<Znode>, EngineError> {
        let Some(record) = self.stack.get(&key::encode(path))? else { return Ok(None) };
        let record = record.as_ref();
        let data = self.value(record.value)?;
        Ok(Some(znode(path.to_vec(), &record, data.map(Cow::into_owned))))
    }

    /// The nodes at many paths, which must rise in key order: each chunk is read once, on all processors.
    pub fn nodes(&self, paths: &[Vec<u8>]) -> Result<Vec<Option<Znode>>, EngineError> {
        let size = paths.len().div_ceil(pipeline::threads() * LOOKUPS_PER_THREAD).max(1);
        let pieces: Vec<&[Vec<u8>]> = paths.chunks(size).collect();
        let mut all = Vec::with_capacity(paths.len());
        let work = |index: usize| {
            let keys: Vec<Vec<u8>> = pieces[index].iter().map(|path| key::encode(path)).collect();
            let (mut found, mut failed) = (Vec::with_capacity(keys.len()), None);
            self.stack.get_sorted(keys.iter().map(Vec::as_slice), |_, record| {
                let node = record.map(|record| self.made(&record)).transpose();
                match node {
                    Ok(node) => found.push(node.flatten()),
                    Err(error) => failed = failed.take().or(Some(error)),
                }
            })?;
            failed.map_or(Ok(found), Err)
        };
        pipeline::in_order(pieces.len(), work, |found| {
            all.extend(found);
            Ok(())
        })?;
        Ok(all)
    }

    /// The children of a node, by name.
    pub fn children(&self, path: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.visit(&children_range(path), visit)
    }

    /// A node and everything below it, in key order.
    pub fn walk(&self, path: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if self.node(path)?.is_some_and(|node| visit(node).is_break()) {
            return Ok(());
        }
        self.visit(&descendants_range(path), visit)
    }

    /// The sessions, by id.
    pub fn sessions(&self) -> Result<Vec<Session>, EngineError> {
        let mut sessions = Vec::new();
        self.stack.for_each(&KeyRange::prefix(&[SESSION_PREFIX]), |record| {
            if let Stored::Session(id, timeout_ms) = stored(record.key, record.value) {
                sessions.push(Session { id, timeout_ms });
            }
        })?;
        Ok(sessions)
    }

    /// Reads every record: `work` sees those of one piece of the tree, on several threads, and `take` gets what it made
    /// of them in key order.
    pub fn in_order<T: Send>(
        &self,
        work: impl Fn(&PieceReader<'_, '_>) -> Result<T, EngineError> + Sync,
        take: impl FnMut(T) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let scan = self.stack.scan(&KeyRange::all())?;
        let parts = (pipeline::threads() * PIECES_PER_THREAD).max(scan.stretches().len().div_ceil(MOST_STRETCHES));
        let pieces = scan.parts(parts);
        let fetch = |piece: &Range<usize>| scan.reader(self.stack.source()).prefetch(piece.clone());
        // As far ahead as the window: no piece begins before it is fetched, which would read it twice.
        let ahead = pipeline::window();
        pieces.iter().take(ahead).for_each(fetch);
        let work = |index: usize| {
            pieces.get(index + ahead).into_iter().for_each(fetch);
            work(&PieceReader { tree: self, scan: &scan, stretches: pieces[index].clone() })
        };
        pipeline::in_order(pieces.len(), work, take)
    }

    fn visit(&self, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let scan = self.stack.scan(range)?;
        let mut reader = scan.reader(self.stack.source());
        for stretch in 0..scan.stretches().len() {
            let mut flow = Ok(ControlFlow::Continue(()));
            reader.read(stretch, &mut |record| {
                if matches!(flow, Ok(ControlFlow::Continue(()))) {
                    flow = self.made(record).map(|node| node.map_or(ControlFlow::Continue(()), &mut *visit));
                }
            })?;
            if flow?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The node of a record; `None` for a session.
    pub(crate) fn made(&self, record: &RecordRef<'_>) -> Result<Option<Znode>, EngineError> {
        match stored(record.key, record.value) {
            Stored::Node(path) => {
                let data = self.value(record.value)?.map(Cow::into_owned);
                Ok(Some(znode(path.into_owned(), record, data)))
            }
            Stored::Session(..) => Ok(None),
            Stored::Unknown => Err(self.unknown_record()),
        }
    }

    /// The error for a record whose key this version does not write.
    pub(crate) fn unknown_record(&self) -> EngineError {
        EngineError::new(
            ErrorKind::Damage,
            format!("snapshot {} has a record that is neither a node nor a session", self.manifest.id.short()),
        )
    }

    /// The bytes of a value, fetched where they lie apart.
    pub(crate) fn value<'v>(&self, value: ValueRef<'v>) -> Result<Option<Cow<'v, [u8]>>, EngineError> {
        match value {
            ValueRef::Null => Ok(None),
            ValueRef::Bytes(bytes) => Ok(Some(Cow::Borrowed(bytes))),
            ValueRef::Blob { id, len } => {
                let bytes = self.stack.source().get(&id, BlobKind::Value)?;
                if bytes.len() as u64 == len {
                    return Ok(Some(Cow::Owned(bytes.to_vec())));
                }
                Err(EngineError::new(ErrorKind::Damage, format!("value {id} has {} bytes, not {len}", bytes.len())))
            }
        }
    }
}

/// One piece of a tree, read by one thread.
pub struct PieceReader<'t, 'r> {
    tree: &'t SnapshotTree<'r>,
    scan: &'t Scan,
    stretches: Range<usize>,
}

impl<'t, 'r> PieceReader<'t, 'r> {
    /// The tree it is a piece of.
    pub const fn tree(&self) -> &'t SnapshotTree<'r> {
        self.tree
    }

    /// Calls `visit` with each record of the piece, in key order.
    pub fn read(&self, visit: &mut VisitRecord<'_>) -> Result<(), EngineError> {
        let mut reader = self.scan.reader(self.tree.stack.source());
        for stretch in self.stretches.clone() {
            let mut failed = None;
            let read: Result<(), TableError> = reader.read(stretch, &mut |record| {
                if failed.is_none()
                    && let Err(error) = visit(record)
                {
                    failed = Some(error);
                }
            });
            read?;
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}
