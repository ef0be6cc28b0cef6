//! Reads a whole tree over the client protocol, as fast as the servers allow and no faster than asked.
//!
//! Several connections, followers and observers before the leader, read from one list of what is to be read. From 3.6
//! on many reads go in one frame; older servers get them pipelined. A node is added before its children are asked
//! for, so that parents come first. A recursive watch from before the first read tells what changed meanwhile, and
//! that is read again until nothing is told any more, or a bound; servers before 3.6 have watches that fire once instead,
//! one for each node. Only where every answer, those with ACLs included, names the same zxid is the result called exact.

mod acls;
mod batch;
mod catch_up;
mod one_time;
mod pace;
mod servers;
mod watching;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zk_format::file_snap::SnapProblem;
use zk_format::replay::MergedTree;
use zk_format::tree::TreeBuilder;
use zk_format::{Node, NodeRef, Zxid};

pub use self::acls::{AclMemory, is_masked};
pub use self::servers::{Role, ServerInfo, survey};
pub use self::watching::{Changes, Told, Watching};
use super::error::LiveError;
use super::options::ConnectOptions;
use super::{Client, Event, NodeStat};

/// How often everything is read before a watch that is lost each time is lived with.
const MOST_SCANS: usize = 3;

/// How to scan.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Connections; as the servers and their version suggest where `None`.
    pub connections: Option<usize>,
    /// Nodes a second, at most, where an ACL that is asked for counts as ten; as fast as it goes where `None`.
    pub max_rate: Option<u32>,
    /// ACLs known from before: not asked for again.
    pub known: &'a AclMemory,
    /// Whether a node is of interest, itself or for what may lie below it.
    pub wanted: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Who is told of progress.
    pub control: &'a dyn Control,
}

/// Told how a scan goes, and asked whether to go on.
pub trait Control: Sync {
    /// So many nodes more were read.
    fn read(&self, nodes: u64);
    /// Something a person should know.
    fn note(&self, text: &str);
    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

/// What could not be read of a node, for want of permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unreadable {
    /// Its data.
    pub data: bool,
    /// Its children, where it has any.
    pub children: bool,
    /// Its ACL.
    pub acl: bool,
}

impl Unreadable {
    /// Of a node whose data may not be read: its children may not either, where it has any, or may have.
    fn closed(stat: &NodeStat) -> Self {
        Self { data: true, children: stat.children > 0 || *stat == NodeStat::default(), acl: false }
    }
}

/// The zxids that answers named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The lowest.
    pub low: i64,
    /// The highest.
    pub high: i64,
}

impl Span {
    /// Of no answer.
    pub const NONE: Self = Self { low: i64::MAX, high: i64::MIN };

    fn add(&mut self, zxid: i64) {
        self.low = self.low.min(zxid);
        self.high = self.high.max(zxid);
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Whether all were the same, or there were none.
    pub const fn is_point(self) -> bool {
        self.low >= self.high
    }
}

/// Takes the nodes as they are read: parents before their children, in no other order.
pub trait Sink: Send {
    /// One node.
    fn node(&mut self, node: &NodeRef<'_>) -> std::io::Result<()>;
    /// Everything is read again: what was taken so far counts no more.
    fn clear(&mut self);
}

impl Sink for TreeBuilder {
    fn node(&mut self, node: &NodeRef<'_>) -> std::io::Result<()> {
        Self::node(self, node);
        Ok(())
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

/// What a scan found besides the nodes that went into a [`Sink`].
#[derive(Debug)]
pub struct Seen {
    /// Nodes that changed meanwhile, as they were read again, or `None` where they are gone: instead of what the sink
    /// was given.
    pub again: HashMap<Vec<u8>, Option<Node>>,
    /// Of the answers with data and children.
    pub span: Span,
    /// Of the answers with ACLs; those known from before need none.
    pub acl_span: Span,
    /// What could not be read.
    pub unreadable: BTreeMap<Vec<u8>, Unreadable>,
    /// Whether everything that changed before the end was read again.
    pub caught_up: bool,
    /// Whether that was because the connection with the watch was lost, each time it was tried.
    pub watch_lost: bool,
    /// Whether some of what the watch told was not read again and is not told a second time.
    pub dropped: bool,
    /// The servers that were read from, by address and version.
    pub servers: Vec<ServerInfo>,
}

impl Seen {
    /// Whether data, children and ACLs are all of one state.
    pub fn is_exact(&self) -> bool {
        self.span.and(self.acl_span).is_point()
    }
}

/// A tree as clients see it.
#[derive(Debug)]
pub struct Scan {
    /// The nodes. Owners of container and TTL nodes are 0, as the protocol hides them.
    pub tree: MergedTree,
    /// Of the answers with data and children.
    pub span: Span,
    /// Of the answers with ACLs; those known from before need none.
    pub acl_span: Span,
    /// What could not be read.
    pub unreadable: BTreeMap<Vec<u8>, Unreadable>,
    /// Nodes read again because they changed meanwhile.
    pub read_again: u64,
    /// Whether everything that changed before the end was read again.
    pub caught_up: bool,
    /// Whether that was because the connection with the watch was lost, each time it was tried.
    pub watch_lost: bool,
    /// Whether some of what the watch told was not read again and is not told a second time.
    pub dropped: bool,
    /// The servers that were read from, by address and version.
    pub servers: Vec<ServerInfo>,
}

impl Scan {
    fn new(nodes: TreeBuilder, seen: Seen) -> Result<Self, ScanError> {
        let Seen { again, span, acl_span, unreadable, caught_up, watch_lost, dropped, servers } = seen;
        let read_again = again.len() as u64;
        let tree = catch_up::lay_over(nodes.finish(Zxid(span.high))?, again);
        Ok(Self { tree, span, acl_span, unreadable, read_again, caught_up, watch_lost, dropped, servers })
    }

    /// Whether data, children and ACLs are all of one state.
    pub fn is_exact(&self) -> bool {
        self.span.and(self.acl_span).is_point()
    }
}

/// Why a scan ended without a tree.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A server or a connection failed for good.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The nodes do not make a tree.
    #[error("the nodes that the servers gave do not make a tree; is that a ZooKeeper server?")]
    Tree(#[from] SnapProblem),
    /// A server named a child as no child can be named.
    #[error("a server named a child of {parent} that cannot be one; is that a ZooKeeper server?")]
    ChildName {
        /// Its parent.
        parent: String,
        /// What is wrong with the name.
        source: zk_format::path::PathProblem,
    },
    /// Changes cannot be followed on these servers.
    #[error(
        "following an ensemble needs recursive watches, which ZooKeeper has from 3.6 on: back it up again and again"
    )]
    NoWatches,
    /// What was read could not be kept.
    #[error("keeping what was read: the disk may be full")]
    Keeping(#[source] std::io::Error),
    /// Asked to stop.
    #[error("interrupted")]
    Stopped,
}

/// Scans what lies below the chroot.
pub async fn scan(connect: &ConnectOptions, options: &ScanOptions<'_>) -> Result<Scan, ScanError> {
    let mut nodes = TreeBuilder::new();
    let seen = scan_into(connect, options, &mut nodes).await?;
    Scan::new(nodes, seen)
}

/// Scans what lies below the chroot, and hands the nodes on as they come instead of holding them.
pub async fn scan_into(
    connect: &ConnectOptions,
    options: &ScanOptions<'_>,
    sink: &mut dyn Sink,
) -> Result<Seen, ScanError> {
    let servers = servers::survey(connect).await;
    let batched = servers::know_multi_read(connect, &servers).await?;
    let clients = servers::connect(connect, &servers, batched, options.connections, None).await?;
    let outcome = settled(&clients, batched, options, sink).await;
    let used: Vec<String> = clients.iter().map(Client::host).collect();
    for client in &clients {
        client.close().await;
    }
    let servers = servers.into_iter().filter(|server| used.contains(&server.host)).collect();
    Ok(Seen { servers, ..outcome? })
}

/// Scans, and again where the watch was without a connection: what changed meanwhile is not told by anything else.
async fn settled(
    clients: &[Client],
    batched: bool,
    options: &ScanOptions<'_>,
    sink: &mut dyn Sink,
) -> Result<Seen, ScanError> {
    let mut attempt = 1;
    loop {
        let (seen, why) = scan_with(clients, batched, options, sink).await?;
        if !seen.watch_lost || attempt == MOST_SCANS || seen.is_exact() {
            if let Some(why) = why.filter(|_| !seen.span.is_point()) {
                options.control.note(why);
            }
            return Ok(seen);
        }
        attempt += 1;
        sink.clear();
        options.control.note("the connection with the watch was lost: everything is read again");
    }
}

/// One time through, and why not everything that changed was read again.
async fn scan_with(
    clients: &[Client],
    batched: bool,
    options: &ScanOptions<'_>,
    sink: &mut dyn Sink,
) -> Result<(Seen, Option<&'static str>), ScanError> {
    let watcher = clients.first().filter(|_| batched);
    if let Some(watcher) = watcher {
        watcher.add_watch(b"", true).await?;
        watcher.events().take();
    }
    for client in clients {
        // What was committed before the watch was set is seen by every read that follows.
        client.sync(b"").await?;
    }
    let mut state = work::read_all(clients, batched, options, sink).await?;
    let again = match watcher {
        Some(watcher) => catch_up::catch_up(watcher, BTreeSet::new(), options, &mut state).await?,
        None => one_time::catch_up(clients, options, &mut state).await?,
    };
    let seen = Seen {
        again: again.nodes,
        span: state.span,
        acl_span: state.acl_span,
        unreadable: state.unreadable,
        caught_up: again.why.is_none(),
        watch_lost: again.watch_lost,
        dropped: again.dropped,
        servers: Vec::new(),
    };
    Ok((seen, again.why))
}

/// Whether anything told that something was missed.
fn missed(events: &[Event]) -> bool {
    events.contains(&Event::Missed)
}
