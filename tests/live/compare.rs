//! A tree as read from a server's files against the same tree as its client saw it.

use std::collections::BTreeMap;

use testing::server::ClientNode;
use zk_format::{NodeRef, OwnerKind, path};

/// What a client saw, by path.
pub type Seen = BTreeMap<Vec<u8>, ClientNode>;

/// How many differences are worth printing.
const SHOWN: usize = 20;

/// Fails with a list of what differs.
pub fn assert_same<'a>(what: &str, nodes: impl Iterator<Item = NodeRef<'a>>, seen: &Seen) {
    let found = differences(nodes, seen);
    assert!(found.is_empty(), "{what}: {} differences\n{}", found.len(), found[..found.len().min(SHOWN)].join("\n"));
}

/// Fails with a list of what differs between what two clients saw.
pub fn assert_same_view(what: &str, before: &Seen, after: &Seen) {
    let mut found = Vec::new();
    for (path, node) in before {
        match after.get(path) {
            None => found.push(format!("{} is missing", path::display(path))),
            Some(other) if !same_view(path, node, other) => {
                found.push(format!("{}: {node:?} became {other:?}", path::display(path)));
            }
            Some(_) => {}
        }
    }
    found.extend(
        after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("{} is new", path::display(path))),
    );
    assert!(found.is_empty(), "{what}: {} differences\n{}", found.len(), found[..found.len().min(SHOWN)].join("\n"));
}

fn same_view(path: &[u8], a: &ClientNode, b: &ClientNode) -> bool {
    let mut a = a.clone();
    if recomputed(path) {
        a.data = b.data;
    }
    path == path::CONFIG || a == *b
}

fn differences<'a>(nodes: impl Iterator<Item = NodeRef<'a>>, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    let nodes: BTreeMap<&[u8], NodeRef<'a>> = nodes.map(|node| (node.path, node)).collect();
    for (path, client) in seen {
        let Some(node) = nodes.get(path.as_slice()) else {
            found.push(format!("{} is not in the files", path::display(path)));
            continue;
        };
        // A server fills it from zoo.cfg at its start.
        if path.as_slice() == path::CONFIG {
            continue;
        }
        let mut read = as_client(node, client.children);
        if recomputed(path) {
            read.data = client.data;
        }
        if read != *client {
            found.push(format!("{}: read {read:?}, the client saw {client:?}", path::display(path)));
        }
    }
    for path in nodes.keys().filter(|path| !seen.contains_key(**path)) {
        found.push(format!("{} is in the files and no client sees it", path::display(path)));
    }
    found
}

/// Usage under a quota: the server computes it anew, without a transaction.
fn recomputed(path: &[u8]) -> bool {
    path.starts_with(b"/zookeeper/quota/") && path.ends_with(b"/zookeeper_stats")
}

/// What a client is told of a node that has so many children.
fn as_client(node: &NodeRef<'_>, children: i32) -> ClientNode {
    let stat = node.stat;
    ClientNode {
        times: [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime],
        version: stat.version,
        cversion: 2 * stat.cversion - children,
        aversion: stat.aversion,
        ephemeral_owner: match stat.kind() {
            OwnerKind::Ephemeral { session } => session,
            OwnerKind::Persistent | OwnerKind::Container | OwnerKind::Ttl { .. } => 0,
        },
        children,
        data: node.data.map(|data| (u32::try_from(data.len()).unwrap(), crc32fast::hash(data))),
        acl: node.acl.map(|list| list.decode().unwrap()).unwrap_or_default(),
    }
}
