//! What the target holds where the restore goes, as a client sees it.

use std::collections::BTreeMap;

use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::{AclMemory, Control, ScanError, ScanOptions, ServerInfo, Unreadable, scan};
use zk_connect::live::{ConnectOptions, LiveError};
use zk_format::replay::MergedTree;
use zk_format::{NodeRef, OwnerKind};

use super::area::Area;
use crate::error::{EngineError, ErrorKind};
use crate::live::LiveSettings;
use crate::monitor::{Cancelled, Monitor, Phase, Unit};
use crate::repo::Repo;

/// The target's nodes within the area, ancestors included.
#[derive(Debug)]
pub struct Found {
    tree: MergedTree,
    unreadable: BTreeMap<Vec<u8>, Unreadable>,
    /// The servers, by address and version.
    pub servers: Vec<ServerInfo>,
}

impl Found {
    /// Scans.
    pub fn read(
        repo: &Repo,
        connect: &ConnectOptions,
        settings: &LiveSettings,
        area: &Area,
        phase: Phase,
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        let wanted = |path: &[u8]| area.reads(path);
        let told = Told { monitor, phase };
        let options = ScanOptions {
            connections: settings.connections,
            max_rate: settings.max_rate,
            known: &AclMemory::default(),
            wanted: &wanted,
            control: &told,
        };
        monitor.begin(phase, Unit::Nodes, None);
        let scanned = repo.block_on(scan(connect, &options));
        monitor.end(phase);
        let scanned = scanned.map_err(|error| match error {
            ScanError::Stopped => Cancelled.into(),
            ScanError::Live(error) => failed(connect, "reading", error),
            error => EngineError::with(ErrorKind::Failed, format!("reading {}", connect.hosts.join(",")), error),
        })?;
        Ok(Self { tree: scanned.tree, unreadable: scanned.unreadable, servers: scanned.servers })
    }

    /// The node at a path.
    pub fn node(&self, path: &[u8]) -> Option<NodeRef<'_>> {
        self.tree.find(path)
    }

    /// All of them, in key order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeRef<'_>> {
        (0..self.tree.len()).map(|place| self.tree.node(place))
    }

    /// What could not be read of a node.
    pub fn unreadable(&self, path: &[u8]) -> Unreadable {
        self.unreadable.get(path).copied().unwrap_or_default()
    }

    /// Ephemeral nodes, and the sessions that own them.
    pub fn ephemerals(&self) -> (u64, u64) {
        let owners = self.nodes().filter_map(|node| match node.stat.kind() {
            OwnerKind::Ephemeral { session } => Some(session),
            _ => None,
        });
        let owners: Vec<i64> = owners.collect();
        let sessions: std::collections::BTreeSet<i64> = owners.iter().copied().collect();
        (owners.len() as u64, sessions.len() as u64)
    }
}

/// An ensemble's failure, with what it means for the caller.
pub fn failed(connect: &ConnectOptions, doing: &str, error: LiveError) -> EngineError {
    let kind = if matches!(error, LiveError::Setup { .. }) { ErrorKind::Usage } else { ErrorKind::Failed };
    let chroot = String::from_utf8_lossy(&connect.chroot);
    EngineError::with(kind, format!("{doing} zk://{}{chroot}", connect.hosts.join(",")), error)
}

/// How to reach the target.
pub fn connect_options(
    spec: &LiveSpec,
    settings: &LiveSettings,
    jute_max_buffer: u32,
) -> Result<ConnectOptions, EngineError> {
    let options = settings.connect(spec)?;
    // Below the usual limit it only bounds nodes, which the plan looks at: requests to read are never that large.
    let max_request_bytes = options.max_request_bytes.max(jute_max_buffer as usize);
    Ok(ConnectOptions { max_request_bytes, ..options })
}

struct Told<'m> {
    monitor: &'m dyn Monitor,
    phase: Phase,
}

impl Control for Told<'_> {
    fn read(&self, nodes: u64) {
        self.monitor.advance(self.phase, nodes);
    }

    fn note(&self, text: &str) {
        self.monitor.note(text);
    }

    fn cancelled(&self) -> bool {
        self.monitor.cancelled()
    }
}
