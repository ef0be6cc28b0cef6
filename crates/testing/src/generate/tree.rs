//! The tree in memory: every node with its stat, and the server's order of writing them.

use zk_format::{Acl, Stat, Zxid};

use crate::random::Prng;
use crate::server_files::{OPEN_ACL, Session, node_digest};

use super::values::Kind;

/// Index of the root.
pub(super) const ROOT: u32 = 0;

#[derive(Clone, Debug)]
pub(super) struct Znode {
    pub name: Box<[u8]>,
    pub parent: u32,
    pub children: Vec<u32>,
    pub data: Option<Box<[u8]>>,
    pub acl: u8,
    pub kind: Kind,
    pub stat: Stat,
}

/// A tree of znodes at one zxid, with the sessions that own its ephemerals.
///
/// Invariant: the digest is that of the nodes as they are, and no stat is newer than the zxid.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Deleted nodes leave a hole, so that an index stays a name.
    pub(super) nodes: Vec<Option<Znode>>,
    pub(super) live: usize,
    pub(super) acls: Vec<Vec<Acl>>,
    pub(super) sessions: Vec<Session>,
    pub(super) zxid: Zxid,
    pub(super) time_ms: i64,
    pub(super) digest: i64,
    pub(super) cxid: i32,
    pub(super) seed: u64,
    pub(super) random: Prng,
}

impl Tree {
    /// Nodes in the tree, the root and the reserved ones included.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Never: a tree has at least its root.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The last transaction applied.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The server's digest of the tree (version 2).
    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// The time of the last transaction, milliseconds since 1970.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// Sessions that own ephemerals.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The ACL table: id and list. [`OPEN_ACL`] is not in it.
    pub fn acl_table(&self) -> Vec<(i64, Vec<Acl>)> {
        self.acls.iter().enumerate().skip(1).map(|(id, list)| (id as i64, list.clone())).collect()
    }

    /// The ACL list of an id from [`Self::visit`].
    pub fn acl(&self, id: i64) -> &[Acl] {
        &self.acls[if id == OPEN_ACL { 0 } else { id as usize }]
    }

    /// Calls `node` with path, data, ACL id and stat of every node, in the order in which a server writes
    /// them: depth first, children in the order of a Java `HashSet` of their names.
    pub fn visit<E>(&self, mut node: impl FnMut(&[u8], Option<&[u8]>, i64, &Stat) -> Result<(), E>) -> Result<(), E> {
        let mut stack = vec![(ROOT, 0)];
        let mut path = Vec::new();
        while let Some((index, parent_length)) = stack.pop() {
            let znode = self.node(index);
            path.truncate(parent_length);
            if index != ROOT {
                path.push(b'/');
                path.extend_from_slice(&znode.name);
            }
            let acl = if znode.acl == 0 { OPEN_ACL } else { i64::from(znode.acl) };
            node(&path, znode.data.as_deref(), acl, &znode.stat)?;
            let children = self.hash_order(&znode.children);
            stack.extend(children.into_iter().rev().map(|child| (child, path.len())));
        }
        Ok(())
    }

    /// Iteration order of a `HashSet<String>`: by bucket, then (nearly always) by insertion.
    fn hash_order(&self, children: &[u32]) -> Vec<u32> {
        let mask = (children.len() * 4 / 3 + 1).next_power_of_two().max(16) as u32 - 1;
        let mut order: Vec<(u32, u32)> = children
            .iter()
            .map(|&child| {
                let hash = self
                    .node(child)
                    .name
                    .iter()
                    .fold(0u32, |hash, &byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
                ((hash ^ (hash >> 16)) & mask, child)
            })
            .collect();
        order.sort_by_key(|&(bucket, _)| bucket);
        order.into_iter().map(|(_, child)| child).collect()
    }

    pub(super) fn node(&self, index: u32) -> &Znode {
        self.nodes[index as usize].as_ref().expect("an index of the tree names a node that is there")
    }

    pub(super) fn node_mut(&mut self, index: u32) -> &mut Znode {
        self.nodes[index as usize].as_mut().expect("an index of the tree names a node that is there")
    }

    pub(super) fn path(&self, index: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = index;
        while at != ROOT {
            let znode = self.node(at);
            names.push(&znode.name);
            at = znode.parent;
        }
        names.iter().rev().flat_map(|name| std::iter::once(b'/').chain(name.iter().copied())).collect()
    }

    pub(super) fn hash(&self, index: u32) -> i64 {
        let znode = self.node(index);
        node_digest(&self.path(index), znode.data.as_deref(), &znode.stat)
    }

    /// Makes the digest anew from every node.
    pub(super) fn full_digest(&self) -> i64 {
        let mut sum = 0i64;
        let walked: Result<(), std::convert::Infallible> = self.visit(|path, data, _, stat| {
            sum = sum.wrapping_add(node_digest(path, data, stat));
            Ok(())
        });
        let Ok(()) = walked;
        sum
    }
}
