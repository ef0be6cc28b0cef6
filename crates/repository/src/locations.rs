//! Which pack holds a blob, and where in it: the entries of the packs looked at so far.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;

use crate::crypto::WrappedKey;
use crate::ids::{BlobId, BlobKind, PackId};
use crate::pack::{PackIndex, pack_path};

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// First byte of the sealed blob.
    pub offset: u64,
    /// Sealed length, bytes.
    pub len: u32,
    /// Kind of the blob.
    pub kind: BlobKind,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", pack_path(self.pack), self.offset)
    }
}

/// Locations in memory.
#[derive(Debug, Default)]
pub struct Locations {
    packs: HashMap<PackId, WrappedKey>,
    blobs: HashMap<BlobId, Location>,
    /// Further copies of blobs that are in more than one pack.
    copies: Vec<(BlobId, Location)>,
}

impl Locations {
    /// Adds a pack's entries. Of several copies the one in the lowest pack counts, as for prune.
    pub fn add(&mut self, index: &PackIndex) {
        self.add_kinds(index, |_| true);
    }

    /// Adds a pack's entries of some kinds.
    pub fn add_kinds(&mut self, index: &PackIndex, wanted: impl Fn(BlobKind) -> bool) {
        self.packs.insert(index.pack, index.wrapped);
        self.blobs.reserve(index.blobs.iter().filter(|blob| wanted(blob.kind)).count());
        for (offset, blob) in index.located().filter(|(_, blob)| wanted(blob.kind)) {
            let here = Location { pack: index.pack, offset, len: blob.len, kind: blob.kind };
            match self.blobs.entry(blob.id) {
                Entry::Vacant(free) => {
                    free.insert(here);
                }
                Entry::Occupied(known) if known.get().pack == here.pack => {}
                Entry::Occupied(mut known) => {
                    let further = if here.pack < known.get().pack { known.insert(here) } else { here };
                    self.copies.push((blob.id, further));
                }
            }
        }
    }

    /// Forgets a pack that is gone, and every location in it.
    pub fn forget(&mut self, pack: PackId) {
        self.packs.remove(&pack);
        self.blobs.retain(|_, at| at.pack != pack);
        self.copies.retain(|(_, at)| at.pack != pack);
        self.copies.sort_unstable_by_key(|(_, at)| at.pack);
        for (id, at) in &self.copies {
            self.blobs.entry(*id).or_insert(*at);
        }
    }

    /// Whether a pack's entries are here.
    pub fn has_pack(&self, pack: PackId) -> bool {
        self.packs.contains_key(&pack)
    }

    /// Where a blob is, and its pack's wrapped key.
    pub fn find(&self, id: &BlobId) -> Option<(Location, &WrappedKey)> {
        let at = self.blobs.get(id)?;
        Some((*at, self.packs.get(&at.pack)?))
    }

    /// Every copy of a blob, and their packs' wrapped keys.
    pub fn all_copies(&self, id: &BlobId) -> Vec<(Location, WrappedKey)> {
        let copies = self.copies.iter().filter(|(copy, _)| copy == id);
        let first = self.blobs.get_key_value(id).map(|(id, at)| (*id, *at));
        first.iter().chain(copies).filter_map(|(_, at)| Some((*at, *self.packs.get(&at.pack)?))).collect()
    }

    /// The packs that hold a blob.
    pub fn places(&self, id: &BlobId) -> Vec<PackId> {
        let first = self.blobs.get(id).map(|at| at.pack);
        let further = self.copies.iter().filter(|(copy, _)| copy == id).map(|(_, at)| at.pack);
        first.into_iter().chain(further).collect()
    }

    /// The blobs that lie in these packs, copies included.
    pub fn within(&self, packs: &HashSet<PackId>) -> HashMap<BlobId, PackId> {
        let all = self.copies.iter().map(|(id, at)| (id, at)).chain(&self.blobs);
        all.filter(|(_, at)| packs.contains(&at.pack)).map(|(id, at)| (*id, at.pack)).collect()
    }
}
