//! The nodes that a replay has touched, over the base it started from, and the digest of both together.

use super::{BaseStore, Touched, TreeDigest};
use crate::digest::{node_hash, node_hash_ascii};
use crate::key;
use crate::types::Node;
use std::collections::HashMap;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Overlay<'b, B: BaseStore + ?Sized> {
    base: &'b B,
    nodes: HashMap<Box<[u8]>, Slot>,
    digest: TreeDigest,
}

#[derive(Debug)]
struct Slot {
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
        Self { base, nodes: HashMap::new(), digest }
    }

    pub(super) fn base(&self) -> &'b B {
        self.base
    }

    pub(super) const fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// The node as it is now.
    pub(super) fn get(&mut self, path: &[u8]) -> Result<Option<&Node>, B::Error> {
        self.load(path)?;
        Ok(self.nodes.get(path).and_then(|slot| slot.new.as_ref()))
    }

    /// Changes a node that is there; says whether it is.
    pub(super) fn change(&mut self, path: &[u8], change: impl FnOnce(&mut Node)) -> Result<bool, B::Error> {
        self.load(path)?;
        let Some(slot) = self.nodes.get_mut(path) else { return Ok(false) };
        let Some(node) = slot.new.as_mut() else { return Ok(false) };
        change(node);
        let hash = hash(path, node);
        self.digest = add(sub(self.digest, slot.hash), hash);
        slot.hash = hash;
        Ok(true)
    }

    /// Puts or removes a node.
    pub(super) fn set(&mut self, path: &[u8], node: Option<Node>) -> Result<(), B::Error> {
        self.load(path)?;
        if let Some(slot) = self.nodes.get_mut(path) {
            let hash = node.as_ref().map_or_else(TreeDigest::default, |node| hash(path, node));
            self.digest = add(sub(self.digest, slot.hash), hash);
            slot.new = node;
            slot.hash = hash;
        }
        Ok(())
    }

    fn load(&mut self, path: &[u8]) -> Result<(), B::Error> {
        if !self.nodes.contains_key(path) {
            let old = self.base.lookup(path)?;
            let hash = old.as_ref().map_or_else(TreeDigest::default, |node| hash(path, node));
            self.nodes.insert(path.into(), Slot { new: old.clone(), old, hash });
        }
        Ok(())
    }

    /// Sorts what was touched. Nodes without a parent are dropped, so that the result is a tree in any case.
    pub(super) fn finish(mut self) -> Result<Finished, B::Error> {
        let mut paths: Vec<Box<[u8]>> = self.nodes.keys().cloned().collect();
        paths.sort_unstable_by(|a, b| key::compare(a, b));
        let mut orphan = None;
        for path in &paths {
            let created = self.nodes.get(path).is_some_and(|slot| slot.new.is_some() && slot.old.is_none());
            if !created {
                continue;
            }
            let parent_there = match key::parent(path) {
                Some(parent) => self.get(parent)?.is_some(),
                None => true,
            };
            if !parent_there {
                self.set(path, None)?;
                orphan.get_or_insert_with(|| path.to_vec());
            }
        }
        let digest = self.digest;
        let touched = paths.into_iter().filter_map(|path| {
            let Slot { old, new, .. } = self.nodes.remove(&path)?;
            (old != new).then_some(Touched { path, old, new })
        });
        Ok(Finished { touched: touched.collect(), digest, orphan })
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
