//! Nodes as a file has them, made apart from the file: by several threads, for one that writes them in order.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;

use super::read_back::{Piece, STEP_BYTES, Summed};
use super::{SnapWriteError, WriteLimits, check_size};
use crate::file_snap::put_stat;
use crate::jute::{self, Reader};
use crate::key;
use crate::path::{self, PathProblem};
use crate::types::{AclList, NodeRef};

/// What the nodes of a file have to fit: its tables, and the server that will load it.
#[derive(Debug)]
pub(super) struct Tables {
    pub limits: WriteLimits,
    pub acl_ids: HashMap<AclList, i64>,
    pub sessions: HashSet<i64>,
    /// The key of the hashes of paths.
    pub hash: RandomState,
    /// Memory of parts that are written.
    pub spare: Mutex<Vec<(Vec<u8>, Marks)>>,
}

impl Tables {
    /// Keeps the memory of a part for the next one: fresh memory costs as much time as filling it.
    pub fn reuse(&self, part: Part) {
        let Part { mut bytes, mut marks, .. } = part;
        bytes.clear();
        marks.clear();
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push((bytes, marks));
    }
}

/// Makes part writers of one file, on any thread.
#[derive(Clone, Debug)]
pub struct PartMaker {
    tables: Arc<Tables>,
}

impl PartMaker {
    pub(super) const fn new(tables: Arc<Tables>) -> Self {
        Self { tables }
    }

    /// A part with no nodes yet.
    pub fn part(&self) -> PartWriter {
        PartWriter::new(Arc::clone(&self.tables))
    }
}

/// Gathers nodes to be appended to the file together.
#[derive(Debug)]
pub struct PartWriter {
    tables: Arc<Tables>,
    buffer: jute::Writer,
    /// Of what is in the buffer, but for the last [`STEP_BYTES`].
    sum: Summed,
    last_acl: Option<(AclList, i64)>,
    /// How long the parent's path is within the last node's.
    last_parent: usize,
    marks: Marks,
}

/// What is known of the paths of a part.
#[derive(Debug)]
pub(super) struct Marks {
    /// The hash of each path.
    pub paths: Vec<u64>,
    /// The hash of each parent that is not that of the node before, with the place of its first child.
    pub parents: Vec<(usize, u64)>,
    /// Whether `/zookeeper` and `/zookeeper/quota` are among the nodes.
    pub reserved: [bool; 2],
    /// Whether siblings that follow each other do so by name, and the root is nowhere but in front.
    pub in_order: bool,
    /// The paths of the first and the last node.
    pub first: Vec<u8>,
    pub last: Vec<u8>,
}

impl Default for Marks {
    fn default() -> Self {
        let (paths, parents) = (Vec::new(), Vec::new());
        Self { paths, parents, reserved: [false; 2], in_order: true, first: Vec::new(), last: Vec::new() }
    }
}

impl Marks {
    fn clear(&mut self) {
        self.paths.clear();
        self.parents.clear();
        self.reserved = [false; 2];
        self.in_order = true;
        self.first.clear();
        self.last.clear();
    }
}

impl PartWriter {
    pub(super) fn new(tables: Arc<Tables>) -> Self {
        let spare = tables.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (bytes, marks) = spare.unwrap_or_default();
        let (buffer, sum) = (jute::Writer::onto(bytes), Summed::default());
        Self { tables, buffer, sum, last_acl: None, last_parent: 0, marks }
    }

    /// Appends a node. That its parent is there is checked when the part is appended to the file.
    pub fn node(&mut self, node: &NodeRef<'_>) -> Result<(), SnapWriteError> {
        let NodeRef { path, data, acl, stat } = *node;
        let limits = self.tables.limits;
        let place = self.place(path)?;
        check_size("path", path, path.len(), limits)?;
        check_size("data", path, data.map_or(0, <[u8]>::len), limits)?;
        let owner = stat.ephemeral_owner;
        if stat.kind().is_ephemeral() && !self.tables.sessions.contains(&owner) {
            return Err(SnapWriteError::UnknownSession { path: path.to_vec(), session: owner });
        }
        let Some(acl) = acl.and_then(|acl| self.acl_id(acl)) else {
            return Err(SnapWriteError::UnknownAcl { path: path.to_vec() });
        };
        self.mark(path, place);
        self.buffer.ustring(Some(path)).buffer(data).i64(acl);
        put_stat(&stat, self.buffer.room());
        if self.bytes().saturating_sub(self.sum.len()) >= STEP_BYTES {
            self.sum_up();
        }
        Ok(())
    }

    fn sum_up(&mut self) {
        self.sum.add(self.buffer.bytes().get(self.sum.len()..).unwrap_or_default());
    }

    /// Bytes gathered.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes().len()
    }

    /// What was gathered; the writer starts anew.
    pub fn finish(&mut self) -> Part {
        self.sum_up();
        let bytes = std::mem::take(&mut self.buffer).into_bytes();
        Part { piece: std::mem::take(&mut self.sum).piece(), bytes, marks: std::mem::take(&mut self.marks) }
    }

    pub(super) const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The path of the node added last.
    pub(super) fn last_path(&self) -> Vec<u8> {
        self.marks.last.clone()
    }

    /// Where a path belongs, seen from the last node.
    fn place(&self, path: &[u8]) -> Result<Place, SnapWriteError> {
        let upto_name = self.last_parent.saturating_add(1);
        if let (Some(last), Some((parent, name))) = (self.marks.last.get(..upto_name), path.split_at_checked(upto_name))
            && last == parent
            && path::is_plain(name)
        {
            return Ok(Place::Sibling);
        }
        Ok(checked_parent(path)?.map_or(Place::Root, |parent| Place::Below(parent.len())))
    }

    fn mark(&mut self, path: &[u8], place: Place) {
        let marks = &mut self.marks;
        let is_first = marks.paths.is_empty();
        if is_first {
            marks.first.extend_from_slice(path);
        }
        let mut same = 0;
        match place {
            Place::Sibling => {
                same = self.last_parent.saturating_add(1);
                marks.in_order &= marks.last.get(same..) < path.get(same..);
            }
            Place::Below(len) => {
                let parent = path.get(..len).unwrap_or_default();
                marks.parents.push((marks.paths.len(), self.tables.hash.hash_one(parent)));
                self.last_parent = len;
            }
            Place::Root => marks.in_order &= is_first,
        }
        marks.last.truncate(same);
        marks.last.extend_from_slice(path.get(same..).unwrap_or_default());
        self.marks.paths.push(self.tables.hash.hash_one(path));
        let [zookeeper, quota] = &mut self.marks.reserved;
        *zookeeper |= path == path::ZOOKEEPER;
        *quota |= path == path::QUOTA;
    }

    fn acl_id(&mut self, acl: &AclList) -> Option<i64> {
        match &self.last_acl {
            Some((last, id)) if Arc::ptr_eq(&last.0, &acl.0) => Some(*id),
            _ => {
                let id = *self.tables.acl_ids.get(acl)?;
                self.last_acl = Some((acl.clone(), id));
                Some(id)
            }
        }
    }
}

/// Where a node belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// It is the root.
    Root,
    /// Beside the last one, as siblings mostly follow each other.
    Sibling,
    /// Below a node whose path is the first so many bytes of its own.
    Below(usize),
}

/// The parent's path, `None` for the root.
fn checked_parent(path: &[u8]) -> Result<Option<&[u8]>, SnapWriteError> {
    let wrong = |why: PathProblem| SnapWriteError::BadPath { path: path.to_vec(), why };
    let Some(parent) = key::parent(path) else {
        return if path.is_empty() { Ok(None) } else { Err(wrong(PathProblem::Relative)) };
    };
    let name = path.get(parent.len().saturating_add(1)..).unwrap_or_default();
    path::validate_stored_name(name).map_err(wrong)?;
    Ok(Some(parent))
}

/// Nodes ready to be appended.
#[derive(Debug)]
pub struct Part {
    bytes: Vec<u8>,
    piece: Piece,
    marks: Marks,
}

impl Part {
    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.marks.paths.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn piece(&self) -> Piece {
        self.piece
    }

    pub(super) const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The path of the node at this place.
    pub(super) fn path(&self, place: usize) -> Vec<u8> {
        path_at(&self.bytes, place)
    }
}

/// For errors: reads the nodes again up to the one at this place.
fn path_at(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut path = Vec::new();
    for _ in 0..=place {
        match super::read_back::next_node(&mut reader) {
            Ok((found, ..)) => path = found.to_vec(),
            Err(_) => break,
        }
    }
    path
}
