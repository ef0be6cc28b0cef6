//! A server's directories as a state, and a state as a directory that a server starts from.

use std::convert::Infallible;
use std::fs::{self, File};
use std::path::Path;

use testing::server::Server;
use zk_format::data_dir::DataDir;
use zk_format::file_snap::{self, Compression};
use zk_format::file_snap_writer::{SnapWriter, WriteLimits};
use zk_format::increment::BaseState;
use zk_format::load::{self, Consistency, LoadOptions, Loaded};
use zk_format::replay::{BaseStore, MergedTree};
use zk_format::{AclList, Node, NodeRef, OwnerKind, Zxid, path};

/// The directories of a server.
pub fn dir(server: &Server) -> DataDir {
    DataDir::open(&server.data_dir(), Some(&server.log_dir())).unwrap()
}

/// Reads a server's directories while it runs, and asks it how far it is.
pub fn load_live(server: &Server) -> Loaded {
    let ask = || server.zxid().ok();
    load::load(&dir(server), &LoadOptions { server_zxid: Some(&ask), ..LoadOptions::default() }).unwrap()
}

/// Reads a server's directories when nobody writes them.
pub fn load_at_rest(server: &Server) -> Loaded {
    load::load(&dir(server), &LoadOptions::default()).unwrap()
}

/// Reads the state at one transaction.
pub fn load_to(server: &Server, zxid: Zxid) -> Loaded {
    load::load(&dir(server), &LoadOptions { to_zxid: Some(zxid), ..LoadOptions::default() }).unwrap()
}

/// Fails unless the state is exact, with what was noted.
pub fn assert_exact(what: &str, state: &Loaded) {
    assert_eq!(state.consistency, Consistency::Exact, "{what}: {:?}", state.notes);
    assert_eq!(state.zxid_low, state.zxid_high, "{what}");
    assert!(state.unresolved_acls.is_empty(), "{what}: no ACL for {:?}", state.unresolved_acls);
}

/// Fails unless both hold the same nodes. Each member fills `/zookeeper/config` from its own files.
pub fn assert_same_nodes(what: &str, a: &MergedTree, b: &MergedTree) {
    assert_eq!(a.len(), b.len(), "{what}: number of nodes");
    for (x, y) in a.iter().zip(b.iter()) {
        let same = x.path == path::CONFIG && y.path == path::CONFIG
            || x.path == y.path && x.data == y.data && x.acl == y.acl && x.stat == y.stat;
        assert!(same, "{what}: {x:?} against {y:?}");
    }
}

/// Writes a state, sessions and ephemerals included, where a server with this `dataDir` looks for it.
pub fn write(state: &Loaded, data_dir: &Path) {
    let folder = data_dir.join("version-2");
    fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join(file_snap::name(state.zxid_high, Compression::None))).unwrap();
    let added = state.tree.touched().iter().filter_map(|touched| touched.new.as_ref()?.acl.as_ref());
    let acls: Vec<&AclList> = state.tree.base().acls().iter().chain(added).collect();
    let mut writer = SnapWriter::new(file, &state.sessions, acls, WriteLimits::default()).unwrap();
    for node in state.tree.iter() {
        writer.node(&node).unwrap();
    }
    writer.finish().unwrap();
}

/// A loaded state as what an increment continues from.
pub struct Base<'a>(pub &'a Loaded);

impl Base<'_> {
    /// Where it stands.
    pub fn state(&self) -> BaseState {
        let anchor = self.0.anchor.expect("the log holds the last transaction of the state");
        BaseState { anchor, place: self.0.place, digest: Some(self.0.digest) }
    }
}

impl BaseStore for Base<'_> {
    type Error = Infallible;

    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Infallible> {
        Ok(self.0.tree.find(path).map(owned))
    }

    fn ephemerals_of(&self, session: i64) -> Result<Option<Vec<Vec<u8>>>, Infallible> {
        let owns = |node: &NodeRef<'_>| node.stat.kind() == OwnerKind::Ephemeral { session };
        Ok(Some(self.0.tree.iter().filter(owns).map(|node| node.path.to_vec()).collect()))
    }
}

fn owned(node: NodeRef<'_>) -> Node {
    Node { data: node.data.map(Into::into), acl: node.acl.cloned(), stat: node.stat }
}
