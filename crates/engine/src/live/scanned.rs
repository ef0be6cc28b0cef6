//! A scan as a state: its records in order on the disk, what they add up to, and what clients could not see marked.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use repository::manifest::Gap;
use repository::{RecordFlags, RecordRef};
use zk_connect::live::scan::{Seen, ServerInfo, Unreadable, is_masked};
use zk_format::load::Consistency;
use zk_format::{AclList, NodeRef, OwnerKind, Zxid, key};

use super::flags;
use super::kept::{Keeping, Kept};
use super::spool::Spool;
use super::stream::{Stream, keeping};
use crate::convert::record_ref;
use crate::error::EngineError;
use crate::filter::Filter;
use crate::identity::Identity;
use crate::own::is_read;

/// What a scan found.
#[derive(Debug)]
pub struct Scanned {
    /// The nodes that are of interest.
    pub records: Kept,
    /// Bytes of the nodes as a server's file has them.
    pub node_bytes: u64,
    /// Signs of the ensemble that it is.
    pub identity: Identity,
    /// The lists of its nodes.
    pub lists: BTreeSet<AclList>,
    /// The last change of data that a node shows, milliseconds since 1970.
    pub state_time_ms: i64,
    /// The lowest zxid that an answer named. Every ACL is from this state or a later one.
    pub zxid_low: Zxid,
    /// The highest.
    pub zxid_high: Zxid,
    /// Whether everything, ACLs included, is of one state.
    pub consistency: Consistency,
    /// Nodes that were not read whole, with the reason.
    pub gaps: Vec<Gap>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The servers' version, where they said it.
    pub version: Option<String>,
}

impl Scanned {
    /// Puts in order what a scan wrote down.
    pub fn new(spool: Spool, seen: Seen, filter: &Filter) -> Result<Self, EngineError> {
        let exact = seen.is_exact();
        let Seen { again, span, unreadable, servers, .. } = seen;
        let mut notes = Vec::new();
        if !again.is_empty() {
            notes.push(format!("{} nodes changed during the scan and were read again", again.len()));
        }
        let missing = unreadable.iter().map(|(path, missing)| (path.clone(), flags(*missing))).collect();
        let mut tally = Tally::default();
        let records = records(&Stream::of(spool, again)?, filter, &missing, &mut tally)?;
        if !tally.masked.is_empty() {
            notes.insert(
                0,
                format!(
                    "{} ACLs have digests that the server hides without ADMIN permission; they are marked and never \
                     restored as if they were real",
                    tally.masked.len()
                ),
            );
        }
        let gap = |(path, missing): (&Vec<u8>, &Unreadable)| Gap { path: path.clone(), reason: reason(*missing) };
        Ok(Self {
            records,
            node_bytes: tally.node_bytes,
            identity: tally.identity.finished(),
            lists: tally.lists,
            state_time_ms: tally.state_time_ms,
            zxid_low: Zxid(span.low),
            zxid_high: Zxid(span.high),
            consistency: if exact { Consistency::Exact } else { Consistency::Fuzzy },
            gaps: unreadable.iter().map(gap).collect(),
            notes,
            version: version(&servers),
        })
    }
}

/// What is added up while the nodes are put in order.
#[derive(Default)]
struct Tally {
    node_bytes: u64,
    identity: Identity,
    lists: BTreeSet<AclList>,
    masked: HashSet<AclList>,
    state_time_ms: i64,
}

impl Tally {
    fn add(&mut self, node: &NodeRef<'_>) {
        self.node_bytes += node.file_bytes();
        self.identity.add(node);
        self.state_time_ms = self.state_time_ms.max(node.stat.mtime).max(node.stat.ctime);
        if let Some(list) = node.acl.filter(|list| !self.lists.contains(*list)) {
            self.lists.insert(list.clone());
            if is_masked(list) {
                self.masked.insert(list.clone());
            }
        }
    }
}

fn records(
    stream: &Stream,
    filter: &Filter,
    missing: &BTreeMap<Vec<u8>, RecordFlags>,
    tally: &mut Tally,
) -> Result<Kept, EngineError> {
    let mut kept = Keeping::new().map_err(|error| keeping(&error))?;
    let mut nodes = stream.nodes()?;
    let mut decoder = key::Decoder::default();
    while let Some(entry) = nodes.next_entry()? {
        let Some(path) = decoder.decode(&entry.key) else { continue };
        if !(path.is_empty() || is_read(filter, path)) {
            continue;
        }
        let (data, acl) = (entry.node.data.as_deref(), entry.node.acl.as_ref());
        let node = NodeRef { path, data, acl, stat: entry.node.stat };
        tally.add(&node);
        let record = record_ref(&entry.key, &node);
        let record = RecordRef { flags: record.flags | flags_seen(&node, missing.get(path)), ..record };
        kept.add(&record).map_err(|error| keeping(&error))?;
    }
    kept.finish().map_err(|error| keeping(&error))
}

/// What is to be said of a node that a client read. Container and TTL nodes look like persistent ones.
pub fn flags_seen(node: &NodeRef<'_>, missing: Option<&RecordFlags>) -> RecordFlags {
    let mut flags = missing.copied().unwrap_or_default();
    if node.stat.kind() == OwnerKind::Persistent {
        flags |= RecordFlags::KIND_UNKNOWN;
    }
    if node.acl.is_some_and(is_masked) {
        flags |= RecordFlags::ACL_MASKED;
    }
    flags
}

fn version(servers: &[ServerInfo]) -> Option<String> {
    let printed = servers.iter().find_map(|server| server.version.as_deref())?;
    Some(printed.split(['-', ',']).next().unwrap_or(printed).to_owned())
}

fn reason(missing: Unreadable) -> String {
    let parts = [(missing.data, "data"), (missing.children, "children"), (missing.acl, "ACL")];
    let parts: Vec<&str> = parts.iter().filter(|(missing, _)| *missing).map(|(_, part)| *part).collect();
    format!("no permission to read its {}", parts.join(", "))
}
