//! Details of a loaded state that the files do not state in one place: sessions, times, nodes without an ACL list.

use crate::file_snap::Session;
use crate::replay::MergedTree;
use std::collections::BTreeMap;

/// The sessions of a file after what the logs opened and closed, by id.
pub(super) fn sessions(file: &[Session], changes: &BTreeMap<i64, Option<i32>>) -> Vec<Session> {
    let mut open: BTreeMap<i64, i32> = file.iter().map(|session| (session.id, session.timeout_ms)).collect();
    for (&id, change) in changes {
        match change {
            Some(timeout_ms) => drop(open.insert(id, *timeout_ms)),
            None => drop(open.remove(&id)),
        }
    }
    open.into_iter().map(|(id, timeout_ms)| Session { id, timeout_ms }).collect()
}

/// The newest time in the nodes, milliseconds since 1970.
pub(super) fn newest_time_ms(tree: &MergedTree) -> i64 {
    tree.iter().map(|node| node.stat.mtime.max(node.stat.ctime)).max().unwrap_or(0)
}

/// The paths of nodes whose ACL list is nowhere.
pub(super) fn unresolved(tree: &MergedTree) -> Vec<Vec<u8>> {
    if tree.base().unresolved_acls().is_empty() {
        return Vec::new();
    }
    tree.iter().filter(|node| node.acl.is_none()).map(|node| node.path.to_vec()).collect()
}
