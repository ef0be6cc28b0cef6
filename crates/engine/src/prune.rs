//! Giving back the space that no snapshot needs.

use std::time::Duration;

use repository::{Amount, PruneOptions, Pruned};
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::monitor::Monitor;
use crate::repair::stepped;
use crate::repo::Repo;

/// Packs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packs {
    /// How many.
    pub packs: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<Amount> for Packs {
    fn from(Amount { packs, bytes }: Amount) -> Self {
        Self { packs, bytes }
    }
}

/// What prune did, or on a dry run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The grace period that was used, seconds.
    pub grace_seconds: u64,
    /// Snapshots in the repository.
    pub snapshots: u64,
    /// All packs.
    pub found: Packs,
    /// Packs that a snapshot needs.
    pub needed: Packs,
    /// Deleted.
    pub deleted: Packs,
    /// Put on a list: a prune after the grace period deletes them.
    pub condemned: Packs,
    /// On a list already, for less than the grace period.
    pub waiting: Packs,
    /// Needed by nothing, but too young to be condemned.
    pub young: Packs,
    /// On a list, and needed again: they stay.
    pub rescued: Packs,
    /// Mostly garbage: what was needed of them was copied.
    pub repacked: Packs,
    /// Written by that.
    pub rewritten: Packs,
    /// Other objects deleted: index segments, catalogs, lists, notes, tombstones.
    pub other_deleted: u64,
    /// Index segments written.
    pub segments_written: u64,
    /// Catalogs written.
    pub catalogs_written: u64,
    /// Objects that the store refuses to delete.
    pub refused: u64,
    /// What it said.
    pub refusal: Option<String>,
}

impl PruneReport {
    fn new(done: Pruned, dry_run: bool) -> Self {
        Self {
            dry_run,
            grace_seconds: done.grace_s,
            snapshots: done.snapshots,
            found: done.found.into(),
            needed: done.needed.into(),
            deleted: done.deleted.into(),
            condemned: done.condemned.into(),
            waiting: done.waiting.into(),
            young: done.young.into(),
            rescued: done.rescued.into(),
            repacked: done.repacked.into(),
            rewritten: done.rewritten.into(),
            other_deleted: done.other_deleted,
            segments_written: done.segments,
            catalogs_written: done.catalogs,
            refused: done.refused,
            refusal: done.refusal,
        }
    }
}

/// How to prune.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Change nothing, say what would be done.
    pub dry_run: bool,
    /// A longer grace period than the repository's, or none where nothing else uses the repository.
    pub grace: Option<Duration>,
    /// Repack packs up to this many bytes together; no bound where `None`, no repacking where 0.
    pub max_repack_bytes: Option<u64>,
}

/// Prunes once. A stop is heeded between steps.
pub fn prune(repo: &Repo, request: &PruneRequest, monitor: &dyn Monitor) -> Result<PruneReport, EngineError> {
    let grace_s = match request.grace {
        Some(grace) if !grace.is_zero() && grace.as_secs() == 0 => {
            return Err(EngineError::new(
                ErrorKind::Usage,
                "a grace period is given in whole seconds; 0s means that nothing else uses the repository",
            ));
        }
        grace => grace.map(|grace| grace.as_secs()),
    };
    let options =
        PruneOptions { dry_run: request.dry_run, grace_s, max_repack: request.max_repack_bytes.unwrap_or(u64::MAX) };
    let pruned = stepped(monitor, |step| repo.repository().prune(&options, step))?;
    Ok(PruneReport::new(pruned, request.dry_run))
}
