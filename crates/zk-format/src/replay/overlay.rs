//! The nodes that a replay has touched, over the base it started from, and the digest of both together.

use super::{BaseStore, Touched, TreeDigest};
use crate::digest::{node_hash, node_hash_ascii};
use crate::key;
use crate::types::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Overlay<'b, B: BaseStore + ?Sized> {
    base: &'b B,
    places: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Slot>,
    digest: TreeDigest,
}

/// A path that was asked for, by its place: found once, then used without hashing the path again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

#[derive(Debug)]
struct Slot {
    path: Arc<[u8]>,
    old: Option<Node>,
    new: Option<Node>,
    /// The part of the digest that `new` has.
    hash: TreeDigest,
}

/// What an overlay comes to.
pub(super) struct Finished {
    /// What differs from the base, in key order.
    pub(super) touched: Vec<Touched>,
    /// Of base and overlay together.
    pub(super) digest: TreeDigest,
    /// The first node that was left without a parent, which only a log that lies can do.
    pub(super) orphan: Option<Vec<u8>>,
}

impl<'b, B: BaseStore + ?Sized> Overlay<'b, B> {
    pub(super) fn new(base: &'b B, digest: TreeDigest) -> Self {
        Self { base, places: HashMap::new(), slots: Vec::new(), digest }
    }

    pub(super) fn base(&self) -> &'b B {
        self.base
    }

    pub(super) const fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// Has the node at hand, from the base if nothing touched it yet.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Place, B::Error> {
        if let Some(&place) = self.places.get(path) {
            return Ok(Place(place));
        }
        let old = self.base.lookup(path)?;
        let hash = old.as_ref().map_or_else(TreeDigest::default, |node| hash(path, node));
        let path: Arc<[u8]> = path.into();
        let place = self.slots.len();
        self.slots.push(Slot { path: Arc::clone(&path), new: old.clone(), old, hash });
        self.places.insert(path, place);
        Ok(Place(place))
    }

    /// The node as it is now.
    pub(super) fn node(&self, place: Place) -> Option<&Node> {
        self.slots.get(place.0).and_then(|slot| slot.new.as_ref())
    }

    /// Changes a node that is there; nothing where it is not.
    pub(super) fn change(&mut self, place: Place, change: impl FnOnce(&mut Node)) {
        let Some(slot) = self.slots.get_mut(place.0) else { return };
        let Some(node) = slot.new.as_mut() else { return };
        change(node);
        let hash = hash(&slot.path, node);
        self.digest = add(sub(self.digest, slot.hash), hash);
        slot.hash = hash;
    }

    /// Puts or removes a node.
    pub(super) fn set(&mut self, place: Place, node: Option<Node>) {
        let Some(slot) = self.slots.get_mut(place.0) else { return };
        let hash = node.as_ref().map_or_else(TreeDigest::default, |node| hash(&slot.path, node));
        self.digest = add(sub(self.digest, slot.hash), hash);
        slot.new = node;
        slot.hash = hash;
    }

    /// Sorts what was touched. Nodes without a parent are dropped, so that the result is a tree in any case.
    pub(super) fn finish(mut self) -> Result<Finished, B::Error> {
        let orphan = self.drop_orphans()?;
        let Self { places, mut slots, digest, .. } = self;
        drop(places);
        slots.retain(|slot| slot.old != slot.new);
        slots.sort_by_cached_key(|slot| key::encode(&slot.path));
        let touched = slots.into_iter().map(|Slot { path, old, new, .. }| Touched { path: (*path).into(), old, new });
        Ok(Finished { touched: touched.collect(), digest, orphan })
    }

    fn drop_orphans(&mut self) -> Result<Option<Vec<u8>>, B::Error> {
        let mut first = None;
        loop {
            let mut dropped = false;
            // Looking parents up adds places behind these; what the base has is whole.
            for place in 0..self.slots.len() {
                let Some(slot) = self.slots.get(place) else { continue };
                if slot.new.is_none() || slot.old.is_some() {
                    continue;
                }
                let path = Arc::clone(&slot.path);
                let Some(parent) = key::parent(&path) else { continue };
                let parent = self.find(parent)?;
                if self.node(parent).is_none() {
                    self.set(Place(place), None);
                    first.get_or_insert_with(|| path.to_vec());
                    dropped = true;
                }
            }
            if !dropped {
                return Ok(first);
            }
        }
    }
}

fn hash(path: &[u8], node: &Node) -> TreeDigest {
    let utf8 = node_hash(path, node.data.as_deref(), &node.stat);
    let ascii = if path.is_ascii() { utf8 } else { node_hash_ascii(path, node.data.as_deref(), &node.stat) };
    TreeDigest { utf8, ascii }
}

const fn add(a: TreeDigest, b: TreeDigest) -> TreeDigest {
    TreeDigest { utf8: a.utf8.wrapping_add(b.utf8), ascii: a.ascii.wrapping_add(b.ascii) }
}

const fn sub(a: TreeDigest, b: TreeDigest) -> TreeDigest {
    TreeDigest { utf8: a.utf8.wrapping_sub(b.utf8), ascii: a.ascii.wrapping_sub(b.ascii) }
}
