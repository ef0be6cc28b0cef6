//! What hosts do: the commands of the program, by the real code of the repository.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use repository::check::{CheckOptions, ReadData, Severity, check};
use repository::cut::record_size;
use repository::manifest::{BackupCounters, Consistency, Manifest, Proof, SnapshotFields, SourceInfo, Tail};
use repository::record::{Value, ValueRef};
use repository::tiers::{self, NewChanges};
use repository::{
    BackupSession, BlobKind, BlobSource, CommitOutcome, KeyRange, LineageId, PruneOptions, Record, RecordRef,
    Repository, RepositoryError, RunRecords, SortedRecords, Stack, StateDigest, TableKind, TableRoot, TableSpan,
    advance, build_table,
};
use tokio::runtime::Runtime;

use super::trees::Tree;
use super::whole_text;

/// A command.
#[derive(Clone, Debug)]
pub enum Deed {
    BackUp { lineage: LineageId, tree: Arc<Tree>, full: bool, same_session: bool },
    Forget { doomed: BTreeSet<String> },
    Prune { options: PruneOptions },
    Read { path: String, tree: Arc<Tree> },
    Annotate { path: String },
    Check,
    RepairIndex,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A snapshot was stored: the path of its manifest.
    Committed(String),
    Done,
    /// What was to be read is gone.
    Gone,
    /// It gave up for a reason that the rules give.
    GaveUp(#[allow(dead_code, reason = "shown in the record of a play")] String),
    Failed(String),
    /// A pack that a snapshot needs is nowhere.
    Missing(String),
    /// Something was read that is not what was stored, or the program panicked.
    Wrong(String),
}

/// Does it, on the host's thread.
pub fn perform(deed: &Deed, repository: &Repository, runtime: &Runtime) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| match deed {
        Deed::BackUp { lineage, tree, full, same_session } => {
            back_up(repository, runtime, *lineage, tree, *full, *same_session)
        }
        Deed::Forget { doomed } => forget(repository, runtime, doomed),
        Deed::Prune { options } => Ok(repository.prune(options, &mut |_| Ok(())).map(|_| Outcome::Done)?),
        Deed::Read { path, tree } => read(repository, runtime, path, tree),
        Deed::Annotate { path } => annotate(repository, runtime, path),
        Deed::Check => check_now(repository),
        Deed::RepairIndex => repair_index(repository),
    }));
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(failure)) => failure.outcome(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Outcome::Wrong(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// Why a command did not end well.
pub enum Failure {
    Repository(RepositoryError),
    Other(String),
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

impl From<repository::TableError> for Failure {
    fn from(error: repository::TableError) -> Self {
        Self::Other(whole_text(&error))
    }
}

impl Failure {
    fn outcome(self) -> Outcome {
        match self {
            Self::Repository(e @ (RepositoryError::TooSlow { .. } | RepositoryError::PrunedMeanwhile { .. })) => {
                Outcome::GaveUp(e.to_string())
            }
            Self::Repository(e @ RepositoryError::PackMissing { .. }) => Outcome::Missing(e.to_string()),
            Self::Repository(e) => Outcome::Failed(whole_text(&e)),
            Self::Other(text) => Outcome::Failed(text),
        }
    }
}

fn back_up(
    repository: &Repository,
    runtime: &Runtime,
    lineage: LineageId,
    tree: &Tree,
    full: bool,
    same_session: bool,
) -> Result<Outcome, Failure> {
    let mut session = runtime.block_on(repository.begin_backup(lineage))?;
    for _ in 0..4 {
        let (tables, digest) = store(repository, &session, &tree.records, full)?;
        match runtime.block_on(session.commit(fields(tree, digest), tables))? {
            CommitOutcome::Committed(done) => return Ok(Outcome::Committed(done.manifest.path)),
            CommitOutcome::Overtaken if same_session => {}
            CommitOutcome::Overtaken => session = runtime.block_on(repository.begin_backup(lineage))?,
        }
    }
    Ok(Outcome::GaveUp("others kept finishing first".to_owned()))
}

/// The tables of the new snapshot, as the engine makes them from a full read.
fn store(
    repository: &Repository,
    session: &BackupSession,
    records: &[Record],
    full: bool,
) -> Result<(Vec<TableRoot>, StateDigest), Failure> {
    let keys = repository.identity();
    let Some(parent) = session.parent() else {
        let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 1 };
        let built = build_table(records, keys, &session.base_sink(), span)?;
        return Ok((vec![built.root], built.digest.unwrap_or_default()));
    };
    let tables = parent.tables();
    let stack = Stack::new(tables.clone(), session.reader(), keys);
    let set = stack.changes_to(records, &|_, _| {})?;
    let digest = StateDigest(parent.body.fields.state_digest).plus(set.digest_delta);
    if set.entries.is_empty() && !full {
        // As `--force` does.
        return Ok((tables, digest));
    }
    let changes = RunRecords::new(records, &set);
    let bytes = (0..changes.len()).map(|at| record_size(changes.lens(at))).sum();
    let plan = tiers::plan(&tables, NewChanges { entries: changes.len() as u64, bytes }, full);
    Ok((advance(&stack, &changes, plan, session, 1)?.tables(&tables), digest))
}

/// Tags name the tree: whoever finds the manifest knows what it has to hold.
fn fields(tree: &Tree, digest: StateDigest) -> SnapshotFields {
    SnapshotFields {
        cluster: "simulated".to_owned(),
        time_ms: i64::try_from(tree.version).unwrap(),
        state_time_ms: None,
        host: String::new(),
        tags: vec![tree.version.to_string()],
        program: String::new(),
        source: SourceInfo::default(),
        zxid_low: 1,
        zxid_high: 1,
        consistency: Consistency::Exact,
        acl_consistency: Consistency::Exact,
        proof: Proof::None,
        tail: Tail::Confirmed,
        suspect: vec![],
        incomplete: vec![],
        state_digest: digest.0,
        tree_digest: None,
        nodes: tree.records.len() as u64,
        sessions: 0,
        raw_bytes: 1,
        counters: BackupCounters::default(),
        original: None,
        extra: vec![],
    }
}

fn find(repository: &Repository, runtime: &Runtime, path: &str) -> Result<Option<Manifest>, Failure> {
    let listed = runtime.block_on(repository.snapshots())?;
    Ok(listed.snapshots.into_iter().map(|s| s.manifest).find(|m| m.path == path))
}

fn forget(repository: &Repository, runtime: &Runtime, doomed: &BTreeSet<String>) -> Result<Outcome, Failure> {
    let listed = runtime.block_on(repository.snapshots())?;
    let doomed: Vec<&Manifest> =
        listed.snapshots.iter().map(|s| &s.manifest).filter(|m| doomed.contains(&m.path)).collect();
    runtime.block_on(repository.forget(&doomed, false))?;
    Ok(Outcome::Done)
}

fn annotate(repository: &Repository, runtime: &Runtime, path: &str) -> Result<Outcome, Failure> {
    let Some(manifest) = find(repository, runtime, path)? else { return Ok(Outcome::Gone) };
    runtime.block_on(repository.annotate(manifest.id, |note| note.accepted = true))?;
    Ok(Outcome::Done)
}

fn read(repository: &Repository, runtime: &Runtime, path: &str, tree: &Tree) -> Result<Outcome, Failure> {
    let Some(manifest) = find(repository, runtime, path)? else { return Ok(Outcome::Gone) };
    match holds(repository, runtime, &manifest, tree) {
        Ok(()) => Ok(Outcome::Done),
        Err(Unread::Failed(failure)) => Err(failure),
        Err(Unread::Wrong(text)) => Ok(Outcome::Wrong(text)),
    }
}

fn repair_index(repository: &Repository) -> Result<Outcome, Failure> {
    let done = repository.repair_index(false, &mut |_| Ok(()))?;
    let is_whole = done.lost_blobs == 0 && done.unreadable_packs.is_empty() && done.unreadable_manifests.is_empty();
    Ok(if is_whole { Outcome::Done } else { Outcome::Failed(format!("{done:?}")) })
}

fn check_now(repository: &Repository) -> Result<Outcome, Failure> {
    let mut damage = Vec::new();
    let options = CheckOptions { read_data: ReadData::All, digests: true };
    check(repository, &options, &mut |finding| {
        if finding.severity == Severity::Damage {
            damage.push(format!("{}: {}", finding.object, finding.problem));
        }
    })?;
    Ok(if damage.is_empty() { Outcome::Done } else { Outcome::Failed(damage.join("; ")) })
}

/// Why a snapshot is not what it was.
pub enum Unread {
    Failed(Failure),
    Wrong(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(Failure::Repository(error)) => f.write_str(&whole_text(error)),
            Self::Failed(Failure::Other(text)) | Self::Wrong(text) => f.write_str(text),
        }
    }
}

/// Reads a whole snapshot, large values too, and compares it with the tree it was made of.
pub fn holds(repository: &Repository, runtime: &Runtime, manifest: &Manifest, tree: &Tree) -> Result<(), Unread> {
    let failed = |error: &dyn std::error::Error| Unread::Failed(Failure::Other(whole_text(error)));
    let reader = runtime.block_on(repository.reader(&[manifest])).map_err(|e| Unread::Failed(e.into()))?;
    let stack = Stack::new(manifest.tables(), reader.clone(), repository.identity());
    let mut read: Vec<Record> = Vec::new();
    stack.for_each(&KeyRange::all(), |record| read.push(record.to_owned())).map_err(|e| failed(&e))?;
    if read.len() != tree.records.len() {
        return Err(Unread::Wrong(format!("{} records instead of {}", read.len(), tree.records.len())));
    }
    for (read, written) in read.iter().zip(&tree.records) {
        let stored = RecordRef { value: written.as_ref().value.stored(repository.identity()), ..written.as_ref() };
        if read.as_ref() != stored {
            return Err(Unread::Wrong(format!("{read:?} instead of {stored:?}")));
        }
        if let (Value::Blob { id, .. }, ValueRef::Bytes(bytes)) = (&read.value, written.as_ref().value)
            && reader.get(id, BlobKind::Value).map_err(|e| failed(&e))? != bytes
        {
            return Err(Unread::Wrong(format!("the value of {:?} is another", read.key)));
        }
    }
    Ok(())
}
