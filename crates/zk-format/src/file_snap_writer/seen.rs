//! Which paths a file has already: every node comes after its parent, and once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::SnapWriteError;
use super::part::{Marks, Part, PartWriter};
use crate::path;

/// The paths written so far, as keyed 64-bit hashes: eight bytes a node. Two of a million paths share a hash once in
/// thirty million files; then the write fails with `Duplicate`, and the next attempt has another key.
#[derive(Debug, Default)]
pub(super) struct Seen {
    paths: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
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
    /// Room for so many nodes.
    pub(super) fn reserve(&mut self, nodes: usize) {
        self.paths.reserve(nodes);
    }

    /// Takes the node that was added last.
    pub(super) fn take_last(&mut self, part: &PartWriter) -> Result<(), SnapWriteError> {
        let last = part.marks().paths.len().saturating_sub(1);
        self.take(part.marks(), last, &|_| part.last_path())
    }

    /// Takes all nodes of a part.
    pub(super) fn take_all(&mut self, part: &Part) -> Result<(), SnapWriteError> {
        self.take(part.marks(), 0, &|place| part.path(place))
    }

    fn take(&mut self, marks: &Marks, from: usize, path: &dyn Fn(usize) -> Vec<u8>) -> Result<(), SnapWriteError> {
        let first_parent = marks.parents.partition_point(|(place, _)| *place < from);
        let mut parents = marks.parents.iter().skip(first_parent).peekable();
        for (place, hash) in marks.paths.iter().enumerate().skip(from) {
            if let Some((_, parent)) = parents.next_if(|(first_child, _)| *first_child == place)
                && !self.paths.contains(parent)
            {
                return Err(SnapWriteError::NoParent { path: path(place) });
            }
            if !self.paths.insert(*hash) {
                return Err(SnapWriteError::Duplicate { path: path(place) });
            }
        }
        for (seen, there) in self.reserved.iter_mut().zip(marks.reserved) {
            *seen |= there;
        }
        Ok(())
    }

    /// Whether the server's own nodes are there.
    pub(super) fn check_reserved(&self) -> Result<(), SnapWriteError> {
        let [zookeeper, quota] = self.reserved;
        for (path, there) in [(path::ZOOKEEPER, zookeeper), (path::QUOTA, quota)] {
            if !there {
                return Err(SnapWriteError::MissingReserved { path });
            }
        }
        Ok(())
    }
}
