//! Where replay finds the nodes that no transaction of the range has touched yet.

use super::MergedTree;
use crate::tree::FlatTree;
use crate::types::{Node, NodeRef};
use std::convert::Infallible;

/// A state that transactions are applied to. Replay asks only for the nodes they touch, and those nodes' parents.
pub trait BaseStore {
    /// Why it cannot be read.
    type Error;

    /// The node at a path; the root's path is empty.
    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Self::Error>;

    /// Says which nodes will be looked up soon, so that a store can fetch them together. Paths may repeat, and need
    /// not exist.
    fn prepare(&self, _paths: Vec<Vec<u8>>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The paths of a session's ephemeral nodes; `None` where the store cannot find them without reading everything.
    fn ephemerals_of(&self, session: i64) -> Result<Option<Vec<Vec<u8>>>, Self::Error>;

    /// The paths of a node's children, for bases that are not exact: a deleted node may then still have some, which go
    /// with it. A store of exact states has nothing to say here.
    fn children_of(&self, _path: &[u8]) -> Result<Vec<Vec<u8>>, Self::Error> {
        Ok(Vec::new())
    }

    /// What to add to the digest that the replay started from to have it as a server without UTF-8 computes it. 0 where
    /// the digest is in that server's own form already.
    fn ascii_correction(&self) -> i64 {
        0
    }
}

impl BaseStore for FlatTree {
    type Error = Infallible;

    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Infallible> {
        Ok(self.find(path).map(|index| owned(self.node(index))))
    }

    fn ephemerals_of(&self, session: i64) -> Result<Option<Vec<Vec<u8>>>, Infallible> {
        let places = self.ephemerals().get(&session).map(Vec::as_slice).unwrap_or_default();
        Ok(Some(places.iter().map(|&place| self.path(place as usize).to_vec()).collect()))
    }

    fn ascii_correction(&self) -> i64 {
        self.digest_ascii().wrapping_sub(self.digest())
    }

    fn children_of(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Infallible> {
        Ok(self.children(path).map(|index| self.path(index).to_vec()).collect())
    }
}

/// An exact state, as a full read gave it.
impl BaseStore for MergedTree {
    type Error = Infallible;

    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Infallible> {
        Ok(self.find(path).map(owned))
    }

    fn ephemerals_of(&self, session: i64) -> Result<Option<Vec<Vec<u8>>>, Infallible> {
        let made = self.touched().iter().filter(|touched| {
            touched.new.as_ref().is_some_and(|node| node.stat.ephemeral_owner == session && session != 0)
        });
        let mut paths = self.base().ephemerals_of(session)?.unwrap_or_default();
        paths.extend(made.map(|touched| touched.path.to_vec()));
        Ok(Some(paths))
    }
}

fn owned(node: NodeRef<'_>) -> Node {
    Node { data: node.data.map(Into::into), acl: node.acl.cloned(), stat: node.stat }
}
