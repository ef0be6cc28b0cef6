//! The versions of one znode across snapshots, and the one that an ensemble has now.

use repository::Snapshot;

use crate::error::EngineError;
use crate::live::node::NodeNow;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::znode::Znode;

/// One version of a node, from the first snapshot that has it.
#[derive(Clone, Debug)]
pub struct Version {
    /// The first snapshot with this version; `None` where only the ensemble has it.
    pub snapshot: Option<Snapshot>,
    /// The node; `None` where it does not exist in that snapshot.
    pub node: Option<Znode>,
}

/// Calls `visit` with each version, oldest first. A node that was never there has none. `now` is the node as an
/// ensemble has it, where one was asked.
pub fn run(
    repo: &Repo,
    snapshots: &[Snapshot],
    path: &[u8],
    now: Option<&NodeNow>,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(Version) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    monitor.begin(Phase::Searching, Unit::Snapshots, Some(snapshots.len() as u64));
    let mut last: Option<Znode> = None;
    for snapshot in snapshots {
        monitor.check()?;
        let node = repo.tree(&snapshot.manifest)?.node(path)?;
        if node != last {
            visit(Version { snapshot: Some(snapshot.clone()), node: node.clone() })?;
            last = node;
        }
        monitor.advance(Phase::Searching, 1);
    }
    monitor.end(Phase::Searching);
    match now {
        Some(now) if !now.is(last.as_ref()) => visit(Version { snapshot: None, node: now.node.clone() }),
        _ => Ok(()),
    }
}
