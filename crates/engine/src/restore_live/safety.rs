//! Before anything is written: what is about to be changed is backed up, and the snapshot being restored is kept.

use jiff::{SignedDuration, Timestamp};
use repository::Snapshot;
use zk_connect::Endpoint;

use super::LiveRequest;
use super::area::Area;
use crate::annotate;
use crate::backup::{self, BackupRequest, Purpose};
use crate::error::{EngineError, ErrorKind};
use crate::filter::{Filter, literal};
use crate::monitor::Monitor;
use crate::repo::Repo;

/// The tag of snapshots taken before a restore.
const TAG: &str = "pre-restore";
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Longer than any restore; a killed one leaves no more behind.
const WHILE_RUNNING: SignedDuration = SignedDuration::from_hours(24);

/// Backs up what the restore can change; gives the snapshot's id, or that of the one that already holds the same.
pub fn snapshot(
    repo: &Repo,
    request: &LiveRequest,
    area: &Area,
    monitor: &dyn Monitor,
) -> Result<Option<String>, EngineError> {
    let roots: Vec<String> = area.roots().iter().filter(|root| !root.is_empty()).map(|root| literal(root)).collect();
    let everything = area.roots().iter().any(Vec::is_empty);
    let include = if everything { Vec::new() } else { roots };
    let none: Vec<String> = Vec::new();
    let filter = Filter::new(&include, &none)
        .map_err(|error| EngineError::with(ErrorKind::Failed, "choosing what to back up before the restore", error))?;
    let source = Endpoint::Live(request.target.clone());
    let backup = BackupRequest {
        live: request.live.clone(),
        filter,
        ..BackupRequest::new(source, request.host.clone(), request.program.clone())
    };
    before(repo, &request.snapshot, backup, request.now, monitor)
}

/// Takes a snapshot before `restored` is restored, of the same cluster, and protects it; gives its id.
pub fn before(
    repo: &Repo,
    restored: &Snapshot,
    backup: BackupRequest,
    now: Timestamp,
    monitor: &dyn Monitor,
) -> Result<Option<String>, EngineError> {
    let backup = BackupRequest {
        cluster: restored.manifest.body.fields.cluster.clone(),
        tags: vec![TAG.to_owned()],
        max_shrink: 1.0,
        purpose: Purpose::BeforeRestore,
        ..backup
    };
    let summary = backup::run(repo, &backup, monitor).map_err(|error| {
        let text = "the snapshot that is taken before a restore failed, so nothing was restored; --no-safety-snapshot goes \
                    on without it";
        EngineError::with(ErrorKind::Refused, text, error)
    })?;
    let Some(id) = summary.snapshot_id.or(summary.parent_id) else { return Ok(None) };
    let found = repo.snapshots()?;
    annotate::protect(repo, found.find(&id)?, Some(now + KEPT), false)?;
    Ok(Some(id))
}

/// Keeps a snapshot from being forgotten; [`Kept::release`] gives back what held before.
pub struct Kept<'r> {
    repo: &'r Repo,
    snapshot: &'r Snapshot,
    before: Option<Timestamp>,
    until: Timestamp,
}

impl<'r> Kept<'r> {
    /// From now on. Whoever may only read the repository restores without that.
    pub fn begin(repo: &'r Repo, snapshot: &'r Snapshot, now: Timestamp, monitor: &dyn Monitor) -> Option<Self> {
        let before = crate::snapshots::info(snapshot).protected_until;
        let until = (now + WHILE_RUNNING).max(before.unwrap_or(Timestamp::MIN));
        match annotate::protect(repo, snapshot, Some(until), false) {
            Ok(_) => Some(Self { repo, snapshot, before, until }),
            Err(error) => {
                monitor.note(&format!("the snapshot may be forgotten while it is restored: {error}"));
                None
            }
        }
    }

    /// As it was, unless somebody else said otherwise meanwhile.
    pub fn release(self) -> Result<(), EngineError> {
        let found = self.repo.snapshots()?;
        let now = found.find(&self.snapshot.id().to_string())?;
        if crate::snapshots::info(now).protected_until == Some(self.until) {
            annotate::protect(self.repo, now, self.before, false)?;
        }
        Ok(())
    }
}
