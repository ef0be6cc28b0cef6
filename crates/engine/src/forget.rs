//! Forgetting snapshots, by policy or by id. Their space comes back with prune.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use repository::{LineageId, Snapshot, SnapshotId};
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::monitor::Monitor;
use crate::prune::PruneReport;
use crate::repo::Repo;
use crate::retention::{Candidate, Decision, Group, Request, decide};
use crate::snapshots::{self, Scope};

/// What was forgotten, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ForgetReport {
    /// The decision about every snapshot that was looked at.
    pub groups: Vec<Group>,
    /// Snapshots that are gone.
    pub forgotten: u64,
    /// Snapshots that the store keeps although they were to go.
    pub refused: Vec<String>,
    /// What the store said.
    pub refusal: Option<String>,
    /// Nothing was deleted.
    pub dry_run: bool,
    /// What prune did afterwards, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneReport>,
}

/// Applies a policy to the snapshots within the scope.
pub fn by_policy(
    repo: &Repo,
    scope: &Scope,
    request: Request,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<ForgetReport, EngineError> {
    let everything = snapshots::list(repo, &Scope::default(), monitor)?;
    let suspect = everything.iter().filter(|snapshot| snapshot.is_suspect());
    let waiting: BTreeSet<String> = suspect.map(|s| s.manifest.body.fields.cluster.clone()).collect();
    let candidates: Vec<Candidate> =
        everything.iter().filter(|snapshot| snapshots::is_within(snapshot, scope)).map(Candidate::from).collect();
    let groups = decide(&candidates, &Request { waiting, ..request }, Timestamp::now());
    let doomed: BTreeSet<SnapshotId> = groups.iter().flat_map(|group| &group.remove).map(|d| d.snapshot).collect();
    let doomed: Vec<&Snapshot> = everything.iter().filter(|snapshot| doomed.contains(&snapshot.id())).collect();
    carry_out(repo, groups, &doomed, dry_run, monitor)
}

/// Forgets exactly these. Protected ones, and the last complete one of a lineage, only where `unsafely` says so.
pub fn by_id(
    repo: &Repo,
    doomed: &[Snapshot],
    unsafely: bool,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<ForgetReport, EngineError> {
    let everything = snapshots::list(repo, &Scope::default(), monitor)?;
    let now = Timestamp::now();
    let ids: BTreeSet<SnapshotId> = doomed.iter().map(Snapshot::id).collect();
    if !unsafely {
        refuse_protected(doomed, now)?;
        refuse_last(&everything, &ids)?;
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let doomed: Vec<&Snapshot> = everything.iter().filter(|snapshot| ids.contains(&snapshot.id())).collect();
    for snapshot in &doomed {
        let cluster = snapshot.manifest.body.fields.cluster.clone();
        let group = groups.entry(cluster.clone()).or_default();
        group.group.insert("cluster", cluster);
        let (id, time) = (snapshot.id(), snapshots::time(snapshot));
        group.remove.push(Decision { id: id.to_string(), time, reasons: Vec::new(), snapshot: id });
    }
    carry_out(repo, groups.into_values().collect(), &doomed, dry_run, monitor)
}

fn refuse_protected(doomed: &[Snapshot], now: Timestamp) -> Result<(), EngineError> {
    for snapshot in doomed {
        let until = snapshots::info(snapshot).protected_until.filter(|until| *until > now);
        if let Some(until) = until {
            let id = snapshot.id().short();
            return Err(EngineError::new(
                ErrorKind::Refused,
                format!(
                    "snapshot {id} is protected until {until}: nothing was forgotten; `zooark unprotect {id}` lifts that"
                ),
            ));
        }
    }
    Ok(())
}

fn refuse_last(everything: &[Snapshot], ids: &BTreeSet<SnapshotId>) -> Result<(), EngineError> {
    let counts = |snapshot: &&Snapshot| !snapshot.is_suspect() && !snapshot.is_incomplete();
    let of = |ids_only: bool| -> BTreeMap<LineageId, SnapshotId> {
        let chosen = everything.iter().filter(counts).filter(|s| ids.contains(&s.id()) == ids_only);
        chosen.map(|snapshot| (snapshot.manifest.lineage, snapshot.id())).collect()
    };
    let left = of(false);
    match of(true).into_iter().find(|(lineage, _)| !left.contains_key(lineage)) {
        None => Ok(()),
        Some((_, last)) => Err(EngineError::new(
            ErrorKind::Refused,
            format!(
                "after this no complete snapshot of what {} is of would be left: nothing was forgotten; say \
                 --unsafe-allow-remove-all if that is meant",
                last.short()
            ),
        )),
    }
}

fn carry_out(
    repo: &Repo,
    groups: Vec<Group>,
    doomed: &[&Snapshot],
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<ForgetReport, EngineError> {
    monitor.check()?;
    let manifests: Vec<_> = doomed.iter().map(|snapshot| &snapshot.manifest).collect();
    let done = repo.block_on(repo.inner.forget(&manifests, dry_run))?;
    Ok(ForgetReport {
        groups,
        forgotten: if dry_run { 0 } else { done.forgotten.len() as u64 },
        refused: done.refused.iter().map(ToString::to_string).collect(),
        refusal: done.refusal,
        dry_run,
        prune: None,
    })
}
