//! A live ensemble as a stream of nodes in the order of their keys, without its tree in memory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::iter::Peekable;

use repository::RecordFlags;
use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::{self, AclMemory, ScanOptions, Seen, is_masked};
use zk_format::{AclList, NodeRef, OwnerKind, Zxid, key};

use super::spool::{Entry, Merge, Sorted, Spool};
use super::{LiveSettings, flags, pressing, told};
use crate::error::{EngineError, ErrorKind};
use crate::monitor::Monitor;
use crate::repo::runtime;
use crate::znode::Znode;

/// An ensemble that was read.
#[derive(Debug)]
pub struct Stream {
    nodes: Sorted,
    /// What changed while it was read, by key.
    again: BTreeMap<Vec<u8>, Option<Entry>>,
    /// What is missing of single nodes.
    pub unread: BTreeMap<Vec<u8>, RecordFlags>,
    /// Lowest and highest zxid, where the answers named more than one.
    pub moments: Option<(Zxid, Zxid)>,
}

impl Stream {
    /// What a scan put into a spool, and what it read again.
    pub fn of(spool: Spool, again: HashMap<Vec<u8>, Option<zk_format::Node>>) -> Result<Self, EngineError> {
        let again = again.into_iter().map(|(path, node)| {
            let key = key::encode(&path);
            (key.clone(), node.map(|node| Entry { key, node }))
        });
        Ok(Self {
            nodes: spool.finish().map_err(|error| keeping(&error))?,
            again: again.collect(),
            unread: BTreeMap::new(),
            moments: None,
        })
    }

    /// Reads an ensemble to compare with: what `wanted` says is of interest, every ACL asked for.
    pub fn read(
        spec: &LiveSpec,
        settings: &LiveSettings,
        wanted: &(dyn Fn(&[u8]) -> bool + Sync),
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        let runtime = runtime()?;
        let known = AclMemory::default();
        let connect = settings.connect(spec)?;
        let options = pressing(settings, &known, wanted);
        let mut spool = spool()?;
        let seen = told(spec, None, monitor, |control| {
            runtime.block_on(scan::scan_into(&connect, &ScanOptions { control, ..options }, &mut spool))
        })?;
        let exact = seen.is_exact();
        let Seen { again, span, unreadable, .. } = seen;
        if !again.is_empty() {
            monitor.note(&format!("{} nodes changed during the scan and were read again", again.len()));
        }
        Ok(Self {
            unread: unreadable.into_iter().map(|(path, missing)| (path, flags(missing))).collect(),
            moments: (!exact).then_some((Zxid(span.low), Zxid(span.high))),
            ..Self::of(spool, again)?
        })
    }

    /// Its nodes in the order of their keys. What was read again and has no parent is left out: it is gone, and the
    /// event that says so was on its way.
    pub fn nodes(&self) -> Result<Nodes<'_>, EngineError> {
        let merge = self.nodes.read().map_err(|error| keeping(&error))?.peekable();
        let there = self.again.iter().filter(|(_, entry)| entry.is_some());
        let parents = there.filter_map(|(key, _)| parent_of(key)).map(|parent| (parent, false)).collect();
        let mut nodes = Nodes { merge, again: self.again.iter().peekable(), parents, next: None };
        nodes.step()?;
        Ok(nodes)
    }
}

/// Where the nodes of a scan go.
pub fn spool() -> Result<Spool, EngineError> {
    Spool::new().map_err(|error| keeping(&error))
}

/// The key of a node's parent.
fn parent_of(key: &[u8]) -> Option<Vec<u8>> {
    Some(key::encode(key::parent(&key::decode(key)?)?))
}

/// What was read could not be kept.
pub fn keeping(error: &io::Error) -> EngineError {
    let what = format!("keeping the nodes of an ensemble in {}: {error}", std::env::temp_dir().display());
    EngineError::new(ErrorKind::Failed, what)
}

/// See [`Stream::nodes`].
#[derive(Debug)]
pub struct Nodes<'s> {
    merge: Peekable<Merge>,
    again: Peekable<std::collections::btree_map::Iter<'s, Vec<u8>, Option<Entry>>>,
    /// Parents of what was read again, and whether they came.
    parents: HashMap<Vec<u8>, bool>,
    next: Option<Entry>,
}

impl Nodes<'_> {
    /// The key of the node that comes next.
    pub fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|entry| entry.key.as_slice())
    }

    /// The node that comes next, as it was seen: without a list whose digests were hidden, and without a type that was.
    pub fn take(&mut self) -> Result<Option<Znode>, EngineError> {
        Ok(self.next_entry()?.and_then(|entry| {
            let path = key::decode(&entry.key)?;
            let Entry { node, .. } = entry;
            let seen = NodeRef { path: &path, data: node.data.as_deref(), acl: node.acl.as_ref(), stat: node.stat };
            let kind_known = node.stat.kind() != OwnerKind::Persistent;
            let shown = |acl: &AclList| !is_masked(acl);
            let mut znode = Znode { kind_known, ..Znode::from_node(&seen) };
            znode.acl = znode.acl.filter(shown);
            Some(znode)
        }))
    }

    /// Takes the entry that comes next.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, EngineError> {
        let taken = self.next.take();
        self.step()?;
        Ok(taken)
    }

    /// The entry that comes next.
    pub fn entry(&self) -> Option<&Entry> {
        self.next.as_ref()
    }

    fn step(&mut self) -> Result<(), EngineError> {
        loop {
            let read = match self.merge.peek() {
                Some(Ok(entry)) => Some(entry.key.as_slice()),
                Some(Err(_)) => {
                    let failed = self.merge.next().and_then(Result::err);
                    return failed.map_or(Ok(()), |error| Err(keeping(&error)));
                }
                None => None,
            };
            let changed = self.again.peek().map(|(key, _)| key.as_slice());
            let (take_read, take_changed) = match (read, changed) {
                (None, None) => return Ok(()),
                (Some(read), Some(changed)) => (read <= changed, changed <= read),
                (read, changed) => (read.is_some(), changed.is_some()),
            };
            let read = if take_read { self.merge.next().and_then(Result::ok) } else { None };
            self.next = if take_changed { self.again.next().and_then(|(_, entry)| entry.clone()) } else { read };
            let orphan =
                |entry: &Entry| parent_of(&entry.key).is_some_and(|parent| self.parents.get(&parent) == Some(&false));
            if take_changed && self.next.as_ref().is_some_and(orphan) {
                self.next = None;
            }
            if let Some(entry) = &self.next {
                if let Some(came) = self.parents.get_mut(&entry.key) {
                    *came = true;
                }
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zk_connect::live::scan::Sink as _;
    use zk_format::{Node, Stat};

    use super::*;

    #[test]
    fn what_was_read_again_counts_unless_its_parent_is_gone() {
        let stat = |version| Stat { version, ..Stat::default() };
        let mut spool = spool().unwrap();
        for path in ["", "/b", "/a", "/a/x", "/b/y", "/gone", "/gone/z"] {
            spool.node(&NodeRef { path: path.as_bytes(), data: None, acl: None, stat: stat(1) }).unwrap();
        }
        let node = |version| Some(Node { data: None, acl: None, stat: stat(version) });
        let again = [
            ("/a/x", node(2)),
            ("/new", node(2)),
            ("/new/child", node(2)),
            ("/b/y", None),
            ("/gone", None),
            ("/gone/z", None),
            ("/gone/late", node(2)),
            ("/gone/late/later", node(2)),
            ("/never/seen", node(2)),
        ];
        let again = again.into_iter().map(|(path, node)| (path.as_bytes().to_vec(), node)).collect();
        let stream = Stream::of(spool, again).unwrap();
        let mut nodes = stream.nodes().unwrap();
        let mut found = Vec::new();
        while let Some(entry) = nodes.next_entry().unwrap() {
            let path = String::from_utf8(key::decode(&entry.key).unwrap()).unwrap();
            found.push((path, entry.node.stat.version));
        }
        let expected = [("", 1), ("/a", 1), ("/b", 1), ("/new", 2), ("/a/x", 2), ("/new/child", 2)];
        assert_eq!(found, expected.map(|(path, version)| (path.to_owned(), version)));
    }
}
