//! One backup: the state of a source, its difference to the last snapshot, and the new snapshot.
//!
//! A crash at any step leaves at most packs that nothing names: the manifest, written last, is the snapshot.

mod anchor;
mod describe;
mod followed;
#[cfg(test)]
mod memory_tests;
mod prepare;
mod source;
mod store;
pub mod suspect;
mod tally;
mod watch;
mod whole;

pub(crate) use describe::stored_acl_zxid;
pub(crate) use source::Read;
pub use source::open as open_datadir;
pub(crate) use tally::raw_size;
pub use watch::{Ended, Round, WatchPlan, watch};
pub(crate) use whole::Whole;

use std::pin::pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use repository::LineageId;
use repository::manifest::{Manifest, SnapshotFields};
use repository::session::{BackupSession, CommitOutcome};
use zk_connect::Endpoint;
use zk_format::Zxid;

use self::source::ReadOptions;
use crate::admin;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::live::{self, LiveSettings};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::report::BackupSummary;

/// How long an upload goes on after somebody asked it to stop.
const STOP_WITHIN: Duration = Duration::from_millis(100);
/// How often a backup starts over because another writer was faster.
const ATTEMPTS: usize = 5;

/// What to back up, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own that a person sets")]
pub struct BackupRequest {
    /// Where from.
    pub source: Endpoint,
    /// How to reach a live ensemble.
    pub live: LiveSettings,
    /// Name of the ensemble.
    pub cluster: String,
    /// This host's name.
    pub host: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Which nodes.
    pub filter: Filter,
    /// The snapshot's time instead of now.
    pub time: Option<Timestamp>,
    /// Read and compare, and write nothing.
    pub dry_run: bool,
    /// Write a snapshot although nothing changed.
    pub force: bool,
    /// Store a snapshot although some nodes could not be read whole.
    pub allow_partial: bool,
    /// Read everything again and write a new base.
    pub full: bool,
    /// Share of the nodes that may disappear before the snapshot is suspect.
    pub max_shrink: f64,
    /// The state right after this transaction instead of the newest.
    pub to_zxid: Option<Zxid>,
    /// zstd level; the repository's usual one where `None`.
    pub compression: Option<i32>,
    /// Name and version of the program, kept in the snapshot.
    pub program: String,
    /// What the snapshot is taken for.
    pub purpose: Purpose,
}

impl BackupRequest {
    /// All of the newest state of a source, for the cluster `default`, with nothing unusual about it.
    pub fn new(source: Endpoint, host: String, program: String) -> Self {
        Self {
            source,
            live: LiveSettings::default(),
            cluster: "default".to_owned(),
            host,
            tags: Vec::new(),
            filter: Filter::default(),
            time: None,
            dry_run: false,
            force: false,
            allow_partial: false,
            full: false,
            max_shrink: suspect::DEFAULT_MAX_SHRINK,
            to_zxid: None,
            compression: None,
            program,
            purpose: Purpose::Regular,
        }
    }
}

/// What a snapshot is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be restored some day.
    #[default]
    Regular,
    /// To undo the restore that follows: in a lineage of its own, never `latest`, never suspect.
    BeforeRestore,
}

/// The manifest's entry of a snapshot that was taken before a restore.
const BEFORE_RESTORE: &str = "before-restore";

/// Whether a snapshot was taken only to undo a restore.
pub fn is_before_restore(fields: &SnapshotFields) -> bool {
    fields.extra.iter().any(|(name, _)| name == BEFORE_RESTORE)
}

/// Takes a backup.
pub fn run(repo: &Repo, request: &BackupRequest, monitor: &dyn Monitor) -> Result<BackupSummary, EngineError> {
    let lineage = lineage(repo, request)?;
    run_with(repo, request, lineage, monitor, &mut |parent, trusted| read(repo, request, parent, trusted, monitor))
}

/// Reads the source, given the snapshot to compare with and the newest that is trusted.
type ReadSource<'r> = dyn FnMut(Option<&Manifest>, Option<&Manifest>) -> Result<Read, EngineError> + 'r;

/// Takes a backup of what `read` reads.
fn run_with(
    repo: &Repo,
    request: &BackupRequest,
    lineage: LineageId,
    monitor: &dyn Monitor,
    read: &mut ReadSource<'_>,
) -> Result<BackupSummary, EngineError> {
    let started = Instant::now();
    for _ in 0..ATTEMPTS {
        monitor.check()?;
        if let Some(mut summary) = attempt(repo, request, lineage, monitor, read)? {
            summary.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Ok(summary);
        }
        monitor.note("another backup of this cluster finished first; comparing with it");
    }
    Err(EngineError::new(
        ErrorKind::Busy,
        format!(
            "backing up {}: other backups of cluster {:?} kept finishing first; try again",
            request.source, request.cluster
        ),
    ))
}

/// The lineage that a request's snapshots are of.
fn lineage(repo: &Repo, request: &BackupRequest) -> Result<LineageId, EngineError> {
    let class = match (source_class(request)?, request.purpose) {
        (class, Purpose::Regular) => class,
        (_, Purpose::BeforeRestore) => BEFORE_RESTORE,
    };
    Ok(repo.lineage(&request.cluster, chroot(&request.source), &request.filter.canonical(), class))
}

fn source_class(request: &BackupRequest) -> Result<&'static str, EngineError> {
    match &request.source {
        Endpoint::Live(_) | Endpoint::Admin(_) if request.to_zxid.is_some() => Err(EngineError::new(
            ErrorKind::Usage,
            "--to-zxid needs the transaction log: running servers show their newest state only",
        )),
        source => Ok(class(kind(source))),
    }
}

/// The kind of source that a snapshot names.
fn kind(source: &Endpoint) -> &'static str {
    match source {
        Endpoint::DataDir(_) => "datadir",
        Endpoint::Live(_) => "live",
        Endpoint::Admin(_) => "admin",
    }
}

/// What a kind of source sees. Files and client connections see different things, and a file that a server hands out is
/// often fuzzy where its directory would not be: snapshots of the three never share a lineage.
pub(crate) fn class(kind: &str) -> &'static str {
    match kind {
        "live" => "client",
        "admin" => "admin",
        _ => "files",
    }
}

/// What paths of a source are relative to.
pub(crate) fn chroot(source: &Endpoint) -> &str {
    match source {
        Endpoint::Live(spec) => &spec.chroot,
        _ => "",
    }
}

/// Reads the source.
fn read(
    repo: &Repo,
    request: &BackupRequest,
    parent: Option<&Manifest>,
    trusted: Option<&Manifest>,
    monitor: &dyn Monitor,
) -> Result<Read, EngineError> {
    match &request.source {
        Endpoint::Live(spec) => {
            let known = parent.filter(|_| !request.full);
            let scanned = live::read(repo, spec, &request.live, &request.filter, known, monitor)?;
            Ok(Read::Full { whole: Box::new(Whole::Scanned(scanned)), reason: None })
        }
        Endpoint::DataDir(spec) => {
            let options = ReadOptions { filter: &request.filter, to_zxid: request.to_zxid, full: request.full };
            source::read(repo, spec, parent, trusted, &options, monitor)
        }
        Endpoint::Admin(spec) => {
            let admin::HandedOut { loaded, version } = admin::read(spec, &request.live, monitor)?;
            let (loaded, filter) = (Box::new(loaded), request.filter.clone());
            let whole = Whole::Files { loaded, filter, version: Some(version) };
            Ok(Read::Full { whole: Box::new(whole), reason: None })
        }
    }
}

/// `None` where another writer stored a snapshot first.
fn attempt(
    repo: &Repo,
    request: &BackupRequest,
    lineage: LineageId,
    monitor: &dyn Monitor,
    read: &mut ReadSource<'_>,
) -> Result<Option<BackupSummary>, EngineError> {
    let mut session = repo.block_on(repo.inner.begin_backup(lineage))?;
    if let Some(level) = request.compression {
        session = session.with_level(level);
    }
    let parent = session.parent().cloned();
    let trusted = trusted(repo, lineage, parent.as_ref())?;
    let read = read(parent.as_ref(), trusted.as_ref())?;
    refuse_partial(&read, request)?;
    let mut prepared = prepare::prepare(repo, &session, parent.as_ref(), read, monitor)?;
    if request.purpose == Purpose::Regular {
        prepared.judge(trusted.as_ref(), request.max_shrink);
    }
    let unchanged = prepared.is_unchanged();
    if request.dry_run || (unchanged && !request.force && !request.full) {
        return Ok(Some(prepared.summary(request, parent.as_ref(), None)));
    }
    monitor.check()?;
    let stored = prepared.store(repo, &session, request, monitor)?;
    upload(repo, &session, monitor)?;
    commit(repo, &mut session, &prepared, &stored, request, parent.as_ref())
}

/// Uploads all but the manifest, which is the snapshot: until then it can be stopped and nothing of it is visible.
fn upload(repo: &Repo, session: &BackupSession, monitor: &dyn Monitor) -> Result<(), EngineError> {
    monitor.begin(Phase::Uploading, Unit::Bytes, None);
    let mut shown = 0;
    let uploading: Result<(), EngineError> = repo.block_on(async {
        let mut upload = pin!(session.upload_all());
        loop {
            match tokio::time::timeout(STOP_WITHIN, &mut upload).await {
                Ok(uploaded) => return Ok(uploaded?),
                Err(_) => monitor.check()?,
            }
            let sent = repo.inner.store().counters().bytes_up;
            monitor.advance(Phase::Uploading, sent.saturating_sub(shown));
            shown = sent;
        }
    });
    monitor.end(Phase::Uploading);
    uploading?;
    Ok(monitor.check()?)
}

fn commit(
    repo: &Repo,
    session: &mut BackupSession,
    prepared: &prepare::Prepared,
    stored: &store::Stored,
    request: &BackupRequest,
    parent: Option<&Manifest>,
) -> Result<Option<BackupSummary>, EngineError> {
    let fields = prepared.fields(request, stored)?;
    match repo.block_on(session.commit(fields, stored.tables.clone()))? {
        CommitOutcome::Committed(committed) => {
            Ok(Some(prepared.summary(request, parent, Some((&committed, stored.rebase)))))
        }
        CommitOutcome::Overtaken => Ok(None),
    }
}

/// The newest snapshot of the lineage that nobody has to decide about: what a new state is compared with.
fn trusted(repo: &Repo, lineage: LineageId, parent: Option<&Manifest>) -> Result<Option<Manifest>, EngineError> {
    let Some(parent) = parent else { return Ok(None) };
    if parent.body.fields.suspect.is_empty() && parent.body.fields.incomplete.is_empty() {
        return Ok(Some(parent.clone()));
    }
    let everything = repo.snapshots()?.snapshots;
    let newest = everything
        .into_iter()
        .filter(|snapshot| snapshot.manifest.lineage == lineage && !snapshot.is_suspect() && !snapshot.is_incomplete())
        .max_by_key(|snapshot| snapshot.manifest.seq);
    Ok(newest.map(|snapshot| snapshot.manifest))
}

fn refuse_partial(read: &Read, request: &BackupRequest) -> Result<(), EngineError> {
    let gaps = read.gaps();
    if gaps.is_empty() || request.allow_partial {
        return Ok(());
    }
    let shown = gaps.iter().take(20).map(|gap| format!("{}: {}", zk_format::path::display(&gap.path), gap.reason));
    let shown: Vec<String> = shown.collect();
    let more = if gaps.len() > shown.len() { ", …" } else { "" };
    let next = match request.source {
        Endpoint::Live(_) => "give credentials that may read them (--zk-auth-file), leave them out with --exclude",
        Endpoint::Admin(_) => "back up again when less is written, or from the server's data directory",
        Endpoint::DataDir(_) => "back up again once the server has written its next snapshot file",
    };
    Err(EngineError::new(
        ErrorKind::Failed,
        format!(
            "{} nodes could not be read whole: {}{more}. Nothing was stored; {next}, or store what is there marked \
             incomplete with --allow-partial",
            gaps.len(),
            shown.join(", ")
        ),
    ))
}
