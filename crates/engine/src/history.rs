//! The versions of one znode across snapshots.

use repository::Snapshot;

use crate::error::EngineError;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::znode::Znode;

/// One version of a node, from the first snapshot that has it.
#[derive(Clone, Debug)]
pub struct Version {
    /// The first snapshot with this version.
    pub snapshot: Snapshot,
    /// The node; `None` where it does not exist in that snapshot.
    pub node: Option<Znode>,
}

/// Calls `visit` with each version, oldest first. A node that was never there has none.
pub fn run(
    repo: &Repo,
    snapshots: &[Snapshot],
    path: &[u8],
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(Version) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    monitor.begin(Phase::Searching, Unit::Snapshots, Some(snapshots.len() as u64));
    let mut last: Option<Znode> = None;
    for snapshot in snapshots {
        monitor.check()?;
        let node = repo.tree(&snapshot.manifest)?.node(path)?;
        if node != last {
            visit(Version { snapshot: snapshot.clone(), node: node.clone() })?;
            last = node;
        }
        monitor.advance(Phase::Searching, 1);
    }
    monitor.end(Phase::Searching);
    Ok(())
}
