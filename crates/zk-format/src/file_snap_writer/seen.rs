//! Which paths a file has already: every node comes after its parent, and once.
//!
//! Nodes in key order ([`crate::key`]), as a restore gives them, need no table of all paths. Siblings follow each other by
//! name, so none comes twice, and the children of a node come after it and before those of its next sibling: a stack of
//! the ancestors' sibling lists, each read once, finds every parent. The first node out of that order turns to a table.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::SnapWriteError;
use super::part::{Marks, Part, PartWriter};
use crate::path;

/// The paths written so far, as keyed 64-bit hashes: eight bytes a node. Two of a million paths share a hash once in
/// thirty million files; then the write fails with `Duplicate`, and the next attempt has another key.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of all nodes, in the order they came.
    paths: Vec<u64>,
    /// The lists of children that later nodes may be below of, the outermost first.
    open: Vec<Siblings>,
    /// The path of the last node.
    last: Vec<u8>,
    /// All of `paths`, once a node came out of order.
    table: Option<Table>,
    reserved: [bool; 2],
}

type Table = HashSet<u64, BuildHasherDefault<AlreadyHashed>>;

/// The children of one node, as places in [`Seen::paths`].
#[derive(Clone, Copy, Debug)]
struct Siblings {
    /// The hash of their parent's path.
    parent: u64,
    /// From here on they may have children that come yet.
    next: usize,
    /// Behind the last.
    end: usize,
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

    /// Takes the nodes of a part from this place on.
    fn take(&mut self, marks: &Marks, from: usize, path: &dyn Fn(usize) -> Vec<u8>) -> Result<(), SnapWriteError> {
        let before = self.paths.len();
        self.paths.extend(marks.paths.iter().skip(from));
        if self.table.is_some() || !self.follow(marks, from, before) {
            self.look_up(marks, from, before, path)?;
        }
        for (seen, there) in self.reserved.iter_mut().zip(marks.reserved) {
            *seen |= there;
        }
        Ok(())
    }

    /// Takes the nodes if they are in key order, each below a node that was there `before`: else it says false.
    fn follow(&mut self, marks: &Marks, from: usize, before: usize) -> bool {
        let first = marks.parents.partition_point(|(place, _)| *place < from);
        let events = marks.parents.get(first..).unwrap_or_default();
        let begins = events.first().is_some_and(|(place, _)| *place == 0);
        // What begins a part and has no parent is the root.
        if !marks.in_order || (from == 0 && !begins && before > 0) {
            return false;
        }
        for &(place, parent) in events {
            let start = before.saturating_add(place.saturating_sub(from));
            match self.open.last_mut() {
                None => self.open.push(Siblings { parent: 0, next: 0, end: start }),
                // Siblings that the end of a part had divided.
                Some(last) if place == 0 && last.parent == parent => {
                    if self.last >= marks.first {
                        return false;
                    }
                    continue;
                }
                Some(last) => last.end = start,
            }
            if !self.descend(parent) {
                return false;
            }
            self.open.push(Siblings { parent, next: start, end: start });
        }
        match self.open.last_mut() {
            Some(last) => last.end = self.paths.len(),
            None => self.open.push(Siblings { parent: 0, next: 0, end: self.paths.len() }),
        }
        self.last.clone_from(&marks.last);
        true
    }

    /// Leaves the lists that this node is not in, for their subtrees are whole.
    fn descend(&mut self, node: u64) -> bool {
        while let Some(list) = self.open.last_mut() {
            let rest = self.paths.get(list.next..list.end).unwrap_or_default();
            if let Some(at) = rest.iter().position(|&hash| hash == node) {
                list.next = list.next.saturating_add(at).saturating_add(1);
                return true;
            }
            self.open.pop();
        }
        false
    }

    /// Takes nodes in any order.
    fn look_up(
        &mut self,
        marks: &Marks,
        from: usize,
        before: usize,
        path: &dyn Fn(usize) -> Vec<u8>,
    ) -> Result<(), SnapWriteError> {
        let table = self.table.get_or_insert_with(|| {
            self.open = Vec::new();
            let known = self.paths.get(..before).unwrap_or_default();
            let mut table = Table::with_capacity_and_hasher(self.paths.capacity(), BuildHasherDefault::default());
            table.extend(known);
            table
        });
        let first_parent = marks.parents.partition_point(|(place, _)| *place < from);
        let mut parents = marks.parents.iter().skip(first_parent).peekable();
        for (place, hash) in marks.paths.iter().enumerate().skip(from) {
            if let Some((_, parent)) = parents.next_if(|(first_child, _)| *first_child == place)
                && !table.contains(parent)
            {
                return Err(SnapWriteError::NoParent { path: path(place) });
            }
            if !table.insert(*hash) {
                return Err(SnapWriteError::Duplicate { path: path(place) });
            }
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
