//! A tree from nodes that come one by one, as a scan of a live ensemble gives them: written as a snapshot file in
//! memory and read back by the rules for files, so that the tree is the same kind of thing wherever it comes from.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use super::{FlatTree, read};
use crate::file_snap::{DB_ID, END_MARK, MAGIC, ReadLimits, SnapProblem, VERSION, WORLD_ACL_ID};
use crate::jute::Writer;
use crate::types::{AclList, NodeRef, Zxid};

/// The id of no list.
const NO_LIST: i64 = 0;

/// See the module's head. Parents come before their children; the root first.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    nodes: Vec<u8>,
    lists: Vec<AclList>,
    ids: HashMap<AclList, i64>,
    count: u64,
}

impl TreeBuilder {
    /// A builder without nodes.
    pub fn new() -> Self {
        Self { ids: HashMap::from([(AclList::world(), WORLD_ACL_ID)]), ..Self::default() }
    }

    /// Adds a node.
    pub fn node(&mut self, node: &NodeRef<'_>) {
        let id = node.acl.map_or(NO_LIST, |list| self.id(list));
        let mut to = Writer::onto(std::mem::take(&mut self.nodes));
        to.ustring(Some(node.path)).buffer(node.data).i64(id);
        let stat = &node.stat;
        to.i64(stat.czxid.0).i64(stat.mzxid.0).i64(stat.ctime).i64(stat.mtime);
        to.i32(stat.version).i32(stat.cversion).i32(stat.aversion);
        to.i64(stat.ephemeral_owner).i64(stat.pzxid.0);
        self.nodes = to.into_bytes();
        self.count = self.count.saturating_add(1);
    }

    /// Nodes added.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tree. Fails where a node came twice, before its parent, or with a path or data that no file may hold.
    pub fn finish(self, zxid: Zxid) -> Result<FlatTree, SnapProblem> {
        let mut to = Writer::new();
        to.raw(&MAGIC).i32(VERSION).i64(DB_ID).i32(0).vector(Some(self.lists.len()));
        for (id, list) in (1i64..).zip(&self.lists) {
            to.i64(id).raw(&list.0);
        }
        let head = to.into_bytes();
        let mut file = self.nodes;
        // In place: a second copy of all nodes would double the memory.
        file.splice(0..0, head);
        file.extend_from_slice(&END_MARK);
        let seal = simd_adler32::adler32(&file.as_slice());
        file.extend_from_slice(&i64::from(seal).to_be_bytes());
        file.extend_from_slice(&END_MARK);
        read::parse(file, zxid, &ReadLimits::default())
    }

    fn id(&mut self, list: &AclList) -> i64 {
        if let Some(id) = self.ids.get(list) {
            return *id;
        }
        self.lists.push(list.clone());
        let id = i64::try_from(self.lists.len()).unwrap_or(i64::MAX);
        self.ids.insert(list.clone(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Acl, Stat};

    #[test]
    fn nodes_come_out_as_they_went_in() {
        let list = AclList::encode(&[Acl { perms: 1, scheme: b"ip".to_vec(), id: b"1.2.3.4".to_vec() }]);
        let world = AclList::world();
        let stat = Stat { czxid: Zxid(3), ephemeral_owner: 77, ..Stat::default() };
        let nodes = [
            NodeRef { path: b"", data: Some(b""), acl: Some(&world), stat: Stat::default() },
            NodeRef { path: b"/b", data: None, acl: Some(&list), stat },
            NodeRef { path: b"/a", data: Some(b"x"), acl: None, stat },
            NodeRef { path: b"/b/c", data: Some(b"y"), acl: Some(&list), stat },
        ];
        let mut builder = TreeBuilder::new();
        for node in &nodes {
            builder.node(node);
        }
        let tree = builder.finish(Zxid(9)).unwrap();
        assert_eq!(tree.len(), 4);
        for node in &nodes {
            let found = tree.node(tree.find(node.path).unwrap());
            assert_eq!((found.data, found.acl, found.stat), (node.data, node.acl, node.stat));
        }
        let mut twice = TreeBuilder::new();
        for node in nodes[..2].iter().chain(&nodes[1..2]) {
            twice.node(node);
        }
        assert!(twice.finish(Zxid(9)).is_err());
        let mut orphan = TreeBuilder::new();
        orphan.node(&nodes[0]);
        orphan.node(&nodes[3]);
        assert!(orphan.finish(Zxid(9)).is_err());
    }
}
