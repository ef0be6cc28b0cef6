//! A live ensemble as a stream of nodes in the order of their keys, without its tree in memory.

use std::collections::BTreeMap;
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
        let mut spool = Spool::new().map_err(|error| keeping(&error))?;
        let seen = told(spec, None, monitor, |control| {
            runtime.block_on(scan::scan_into(&connect, &ScanOptions { control, ..options }, &mut spool))
        })?;
        let exact = seen.is_exact();
        let Seen { again, span, unreadable, .. } = seen;
        if !again.is_empty() {
            monitor.note(&format!("{} nodes changed during the scan and were read again", again.len()));
        }
        let again = again.into_iter().map(|(path, node)| {
            let key = key::encode(&path);
            (key.clone(), node.map(|node| Entry { key, node }))
        });
        Ok(Self {
            nodes: spool.finish().map_err(|error| keeping(&error))?,
            again: again.collect(),
            unread: unreadable.into_iter().map(|(path, missing)| (path, flags(missing))).collect(),
            moments: (!exact).then_some((Zxid(span.low), Zxid(span.high))),
        })
    }

    /// Its nodes in the order of their keys.
    pub fn nodes(&self) -> Result<Nodes<'_>, EngineError> {
        let merge = self.nodes.read().map_err(|error| keeping(&error))?.peekable();
        let mut nodes = Nodes { merge, again: self.again.iter().peekable(), next: None };
        nodes.step()?;
        Ok(nodes)
    }
}

fn keeping(error: &io::Error) -> EngineError {
    let what = format!("keeping the nodes of an ensemble in {}: {error}", std::env::temp_dir().display());
    EngineError::new(ErrorKind::Failed, what)
}

/// See [`Stream::nodes`].
#[derive(Debug)]
pub struct Nodes<'s> {
    merge: Peekable<Merge>,
    again: Peekable<std::collections::btree_map::Iter<'s, Vec<u8>, Option<Entry>>>,
    next: Option<Entry>,
}

impl Nodes<'_> {
    /// The key of the node that comes next.
    pub fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|entry| entry.key.as_slice())
    }

    /// The node that comes next, as it was seen: without a list whose digests were hidden, and without a type that was.
    pub fn take(&mut self) -> Result<Option<Znode>, EngineError> {
        let taken = self.next.take();
        self.step()?;
        Ok(taken.and_then(|entry| {
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
            if self.next.is_some() {
                return Ok(());
            }
        }
    }
}
