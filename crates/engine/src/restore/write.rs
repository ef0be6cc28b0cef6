//! The execution of a plan: records in key order, which is an order a server can load, into a staged file.
//!
//! Ranges of the tree are read, decoded and hashed on every processor and written in order by one thread.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use repository::StateDigest;
use zk_connect::datadir::target::TargetDirs;
use zk_format::file_snap::Session;
use zk_format::file_snap_writer::{ReadBackError, SnapWriteError, SnapWriter, WriteLimits, Written, read_back};
use zk_format::{AclList, NodeRef, Stat};

use super::keep::Keeper;
use super::piece::Piece;
use super::write_behind::WriteBehind;
use super::{DatadirPlan, DatadirRequest, RestoreSummary, target_error};
use crate::acls::stored_acls;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::reference::parse_zxid;
use crate::repo::Repo;
use crate::tree::SnapshotTree;

/// Room is made for no more nodes than these before the first one came: a manifest may err.
const MOST_EXPECTED: usize = 1 << 24;

/// What the file will hold.
struct Contents {
    acls: Vec<AclList>,
    sessions: Vec<Session>,
}

/// What came of writing.
struct Outcome {
    written: Written,
    ephemerals_skipped: u64,
    digest: StateDigest,
    notes: Vec<String>,
}

pub(super) fn run(
    repo: &Repo,
    request: &DatadirRequest,
    plan: &DatadirPlan,
    dirs: &TargetDirs,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary, EngineError> {
    let started = Instant::now();
    let manifest = &request.snapshot.manifest;
    let whole = request.path.is_empty();
    // Where nothing is encrypted every leaf is held against its id at once.
    let sum_up = whole && repo.inner.is_encrypted();
    let once = |tree: &SnapshotTree<'_>| run_once(tree, request, plan.clone(), dirs, dry_run, monitor);
    let first = if whole { repo.tree_to_sum_up(manifest) } else { repo.tree(manifest) }?;
    let mut summary = match once(&first) {
        // Of a leaf that is not what was backed up there may be another copy.
        Err(error) if sum_up && error.kind == ErrorKind::Damage => {
            tracing::warn!(%error, "reading once more, every blob by its id");
            once(&repo.tree(manifest)?)
        }
        other => other,
    }?;
    summary.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

fn run_once(
    tree: &SnapshotTree<'_>,
    request: &DatadirRequest,
    plan: DatadirPlan,
    dirs: &TargetDirs,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary, EngineError> {
    let manifest = tree.manifest();
    let whole = request.path.is_empty();
    let contents = contents(tree, request)?;
    let zxid = parse_zxid(&plan.file_zxid).unwrap_or_default();
    let mut summary = RestoreSummary {
        sessions: contents.sessions.len() as u64,
        file: None,
        moved_aside: Vec::new(),
        nodes: 0,
        bytes: 0,
        ephemerals_skipped: 0,
        state_digest_verified: None,
        read_back: false,
        notes: Vec::new(),
        dry_run,
        duration_ms: 0,
        plan,
    };
    let outcome = if dry_run {
        stream(tree, request, &contents, io::sink(), monitor)?
    } else {
        let mut staging = dirs.stage(zxid).map_err(|error| target_error(&error))?;
        let path = staging.path();
        let Some(file) = staging.file() else {
            return Err(EngineError::new(ErrorKind::Failed, format!("{} was closed early", path.display())));
        };
        let verify = |outcome: Result<Outcome, EngineError>| -> Result<Outcome, EngineError> {
            let outcome = outcome?;
            verify_digest(&outcome, whole, &manifest.body.fields.state_digest)?;
            monitor.check()?;
            verify_written(&path, &outcome.written, monitor)?;
            Ok(outcome)
        };
        let (outcome, synced) = WriteBehind::with(file, |out| stream(tree, request, &contents, out, monitor), verify);
        let outcome = outcome?;
        synced.map_err(|error| write_error(error.into()))?;
        summary.read_back = true;
        let aside = format!("before-restore-{}", request.now.strftime("%Y%m%dT%H%M%SZ"));
        let installed = staging.install(&aside).map_err(|error| target_error(&error))?;
        summary.file = Some(installed.file);
        summary.moved_aside = installed.moved_aside;
        summary.notes.extend(installed.notes);
        outcome
    };
    verify_digest(&outcome, whole, &manifest.body.fields.state_digest)?;
    summary.state_digest_verified = whole.then_some(true);
    summary.nodes = outcome.written.nodes;
    summary.bytes = outcome.written.bytes;
    summary.ephemerals_skipped = outcome.ephemerals_skipped;
    summary.notes.extend(outcome.notes);
    Ok(summary)
}

/// The tables at the head of the file, which must be complete before the first node is written.
fn contents(tree: &SnapshotTree<'_>, request: &DatadirRequest) -> Result<Contents, EngineError> {
    let sessions = if request.keep_ephemerals { tree.sessions()? } else { Vec::new() };
    let acls = if let Some(acls) = stored_acls(&tree.manifest().body.fields) {
        acls
    } else {
        let mut found = BTreeSet::new();
        tree.walk(&[], &mut |node| {
            found.extend(node.acl);
            ControlFlow::Continue(())
        })?;
        found.into_iter().collect()
    };
    Ok(Contents { acls, sessions })
}

fn stream<W: Write>(
    tree: &SnapshotTree<'_>,
    request: &DatadirRequest,
    contents: &Contents,
    out: W,
    monitor: &dyn Monitor,
) -> Result<Outcome, EngineError> {
    let limits = WriteLimits { jute_max_buffer: request.server.jute_max_buffer };
    let mut writer = SnapWriter::new(out, &contents.sessions, &contents.acls, limits).map_err(write_error)?;
    let expected = tree.manifest().body.fields.nodes;
    writer.expect(usize::try_from(expected).unwrap_or(0).min(MOST_EXPECTED));
    let parts = writer.parts();
    let mut kept = Keeper::default();
    let mut digest = StateDigest::ZERO;
    monitor.begin(Phase::Writing, Unit::Nodes, Some(expected));
    let take = |piece: Piece| {
        monitor.check()?;
        digest = digest.plus(piece.digest);
        monitor.advance(Phase::Writing, piece.kept.nodes);
        kept.add(piece.kept);
        writer.append(piece.part).map_err(write_error)
    };
    tree.in_order(|piece| Piece::read(piece, request, &parts), take)?;
    if !kept.config && request.server.version.minor >= 5 {
        write_missing_config(&mut writer)?;
    }
    monitor.end(Phase::Writing);
    let notes = kept.verdict(request)?;
    let (_, written) = writer.finish().map_err(write_error)?;
    Ok(Outcome { written, ephemerals_skipped: kept.ephemerals, digest, notes })
}

/// What was written into a file that has no place in a directory.
#[derive(Debug)]
pub(crate) struct Placeless {
    pub file: Written,
    pub ephemerals_skipped: u64,
    pub notes: Vec<String>,
}

/// Writes what a restore of the whole tree would into an empty file, and reads it back.
pub(crate) fn to_file(
    repo: &Repo,
    request: &DatadirRequest,
    mut file: &File,
    monitor: &dyn Monitor,
) -> Result<Placeless, EngineError> {
    let manifest = &request.snapshot.manifest;
    // Every blob by its id: this is no restore that has to be fast.
    let tree = repo.tree(manifest)?;
    let contents = contents(&tree, request)?;
    let outcome = stream(&tree, request, &contents, &mut file, monitor)?;
    verify_digest(&outcome, true, &manifest.body.fields.state_digest)?;
    monitor.check()?;
    read_back(file, &outcome.written)
        .map_err(|error| EngineError::with(ErrorKind::Failed, "reading back the file to restore", error))?;
    Ok(Placeless { file: outcome.written, ephemerals_skipped: outcome.ephemerals_skipped, notes: outcome.notes })
}

/// A tree from 3.4 has no configuration node, and later servers want to find one.
fn write_missing_config<W: Write>(writer: &mut SnapWriter<W>) -> Result<(), EngineError> {
    let acl = AclList::world();
    let path = zk_format::path::CONFIG;
    let node = NodeRef { path, data: Some(b""), acl: Some(&acl), stat: Stat::default() };
    writer.node(&node).map_err(write_error)
}

/// What was read is what was backed up, whatever became of it afterwards.
fn verify_digest(outcome: &Outcome, whole: bool, stored: &[u8; 32]) -> Result<(), EngineError> {
    if whole && outcome.digest.0 != *stored {
        return Err(EngineError::new(
            ErrorKind::Damage,
            "the records read do not add up to the snapshot's state digest: nothing was restored; run `zooark check \
             --read-data` and restore another snapshot",
        ));
    }
    Ok(())
}

/// What the file holds is what was written.
fn verify_written(path: &Path, written: &Written, monitor: &dyn Monitor) -> Result<(), EngineError> {
    monitor.begin(Phase::Verifying, Unit::Bytes, Some(written.bytes));
    let failed = |error: ReadBackError| {
        let doing = format!("reading back {}; nothing was put in place", path.display());
        EngineError::with(ErrorKind::Failed, doing, error)
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    read_back(&file, written).map_err(failed)?;
    monitor.advance(Phase::Verifying, written.bytes);
    monitor.end(Phase::Verifying);
    Ok(())
}

pub(super) fn write_error(error: SnapWriteError) -> EngineError {
    let kind = match error {
        SnapWriteError::Io(_) => ErrorKind::Failed,
        _ => ErrorKind::Refused,
    };
    EngineError::with(kind, "writing the restored snapshot file; nothing was put in place", error)
}
