//! Copying snapshots to another repository.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use repository::copy::{Copier, share_ids};
use repository::manifest::Manifest;
use repository::{LineageId, Snapshot, SnapshotId};
use serde::Serialize;

use crate::backup;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::snapshots;

/// A snapshot that was copied, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopiedSnapshot {
    /// Its id in the source.
    pub original_id: String,
    /// The copy's id; null on a dry run.
    pub snapshot_id: Option<String>,
    /// Its cluster.
    pub cluster: String,
    /// Bytes written for it.
    pub uploaded_bytes: u64,
    /// Objects written for it.
    pub objects_written: u64,
}

/// What `copy` did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Whether chunks have the same ids in both, so that none is decoded.
    pub shares_ids: bool,
    /// Snapshots copied, in the order in which they were.
    pub copied: Vec<CopiedSnapshot>,
    /// Snapshots that were there already.
    pub present: u64,
    /// Bytes written.
    pub uploaded_bytes: u64,
    /// Objects written.
    pub objects_written: u64,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// Copies these snapshots, oldest first, but for those that were copied before. A stop is heeded between two of them; what was
/// copied stays.
pub fn run(
    from: &Repo,
    to: &Repo,
    chosen: &[Snapshot],
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<CopyReport, EngineError> {
    let started = Instant::now();
    if from.inner.id() == to.inner.id() {
        return Err(EngineError::new(
            ErrorKind::Usage,
            "--to-repo is the repository itself: a copy needs another, as `zooark init --like` makes one",
        ));
    }
    let there = to.snapshots()?;
    for (path, error) in &there.damaged {
        let why = snapshots::error_chain(error);
        monitor.note(&format!("{path} of the target cannot be read: {why}; run `zooark check` there"));
    }
    let there = there.snapshots;
    let known: BTreeSet<SnapshotId> =
        there.iter().flat_map(|s| [Some(s.id()), s.manifest.body.fields.original]).flatten().collect();
    let is_known = |snapshot: &Snapshot| {
        let original = snapshot.manifest.body.fields.original;
        known.contains(&snapshot.id()) || original.is_some_and(|id| known.contains(&id))
    };
    let mut newest: BTreeMap<LineageId, i64> = BTreeMap::new();
    for snapshot in &there {
        note_time(&mut newest, snapshot.manifest.lineage, snapshot.manifest.body.fields.time_ms);
    }
    let mut missing: Vec<&Snapshot> = chosen.iter().filter(|snapshot| !is_known(snapshot)).collect();
    // One lineage after the other: what neighbours share is at hand.
    missing.sort_by_key(|s| (s.manifest.lineage, s.manifest.body.fields.time_ms, s.manifest.seq));
    let mut report = CopyReport {
        dry_run,
        shares_ids: share_ids(&from.inner, &to.inner),
        present: (chosen.len() - missing.len()) as u64,
        ..CopyReport::default()
    };
    let mut copier = Copier::new(&from.inner, &to.inner);
    if !dry_run {
        make_up_notes(&copier, chosen, &there)?;
    }
    monitor.begin(Phase::Uploading, Unit::Snapshots, Some(missing.len() as u64));
    for snapshot in missing {
        monitor.check()?;
        let manifest = &snapshot.manifest;
        let fields = &manifest.body.fields;
        let mut entry = CopiedSnapshot {
            original_id: manifest.id.to_string(),
            snapshot_id: None,
            cluster: fields.cluster.clone(),
            uploaded_bytes: 0,
            objects_written: 0,
        };
        if !dry_run {
            let mut lineage = lineage_in(from, to, manifest);
            if newest.get(&lineage).is_some_and(|newest| *newest > fields.time_ms) {
                // Older than what is there: it must not become what the next backup there builds upon.
                lineage = to.inner.lineage(&[b"copied", &manifest.lineage.0]);
            }
            let done = copier.copy(snapshot, lineage)?;
            note_time(&mut newest, lineage, fields.time_ms);
            entry.snapshot_id = Some(done.id().to_string());
            (entry.uploaded_bytes, entry.objects_written) = (done.uploaded_bytes, done.objects_written);
            report.uploaded_bytes += done.uploaded_bytes;
            report.objects_written += done.objects_written;
        }
        report.copied.push(entry);
        monitor.advance(Phase::Uploading, 1);
    }
    monitor.end(Phase::Uploading);
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// A run that died after a copy and before its note left the copy without tags and protection.
fn make_up_notes(copier: &Copier<'_>, chosen: &[Snapshot], there: &[Snapshot]) -> Result<(), EngineError> {
    let made_of: BTreeMap<SnapshotId, &Snapshot> =
        there.iter().filter_map(|copy| Some((copy.manifest.body.fields.original?, copy))).collect();
    for snapshot in chosen {
        if let Some(copy) = made_of.get(&snapshot.id()) {
            copier.make_up_note(snapshot, copy)?;
        }
    }
    Ok(())
}

fn note_time(newest: &mut BTreeMap<LineageId, i64>, lineage: LineageId, time_ms: i64) {
    let newest = newest.entry(lineage).or_insert(time_ms);
    *newest = (*newest).max(time_ms);
}

/// The lineage that a backup of the same view would have in the target, so that one there goes on from the copies; for
/// snapshots that no backup made, one of their own.
fn lineage_in(from: &Repo, to: &Repo, manifest: &Manifest) -> LineageId {
    let fields = &manifest.body.fields;
    let class = backup::class(&fields.source.kind);
    let of = |repo: &Repo| repo.lineage(&fields.cluster, &fields.source.chroot, &fields.source.filter, class);
    if of(from) == manifest.lineage { of(to) } else { to.inner.lineage(&[b"copied", &manifest.lineage.0]) }
}
