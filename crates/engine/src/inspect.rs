//! A summary of `ZooKeeper`'s own files, without a repository: what a file or directory holds, and what is wrong
//! with it.
//!
//! A file that cannot be read is part of the answer, not the end of it: its report carries the problem and the
//! others are still looked at.

mod log;
mod snapshot;

use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use zk_connect::endpoint::{DataDirSpec, LogDir};
use zk_format::Zxid;
use zk_format::data_dir::{DataDir, DataDirError};
use zk_format::load::{self, LoadOptions};

pub use log::{LogReport, Transaction};
pub use snapshot::SnapshotReport;

use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};

/// What was looked at.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Each file: snapshot files newest first, then logs oldest first.
    pub files: Vec<FileReport>,
    /// The directory, where one was named.
    pub directory: Option<DirectoryReport>,
}

/// One file.
#[derive(Debug, Serialize)]
#[serde(tag = "file_type", rename_all = "lowercase")]
pub enum FileReport {
    /// A snapshot file.
    Snapshot(SnapshotReport),
    /// A transaction log.
    Log(LogReport),
}

/// A server's directories.
#[derive(Debug, Serialize)]
pub struct DirectoryReport {
    /// The folder with snapshot files.
    pub snapshot_folder: PathBuf,
    /// The folder with logs.
    pub log_folder: PathBuf,
    /// From `myid`.
    pub my_id: Option<u32>,
    /// From `acceptedEpoch`.
    pub accepted_epoch: Option<u32>,
    /// From `currentEpoch`.
    pub current_epoch: Option<u32>,
    /// What a backup would take from here.
    pub state: Option<StateReport>,
    /// Why there is no such state.
    pub problem: Option<String>,
}

/// The state that the files lead to.
#[derive(Debug, Serialize)]
pub struct StateReport {
    /// `0x…`
    pub zxid_low: String,
    /// `0x…`
    pub zxid_high: String,
    /// `exact` or `fuzzy`.
    pub consistency: String,
    /// `digest`, `replay` or `none`.
    pub proof: String,
    /// `confirmed` or `unconfirmed`.
    pub tail: String,
    /// Znodes.
    pub nodes: u64,
    /// Transactions replayed over the snapshot file.
    pub transactions: u64,
    /// The server's clock at the last transaction, milliseconds since 1970.
    pub state_time_ms: i64,
    /// What an operator should hear of.
    pub notes: Vec<String>,
}

impl Inspection {
    /// Whether any file is damaged, or the directory leads to no state.
    pub fn has_problems(&self) -> bool {
        let file = |report: &FileReport| match report {
            FileReport::Snapshot(snapshot) => snapshot.problem.is_some(),
            FileReport::Log(log) => log.problem.is_some(),
        };
        self.files.iter().any(file) || self.directory.as_ref().is_some_and(|report| report.problem.is_some())
    }
}

/// Is told each transaction of each log, in order; may end the listing.
pub type TransactionSink<'a> = &'a mut dyn FnMut(&Transaction<'_>) -> ControlFlow<()>;

/// Looks at a file, or at a server's directories.
pub fn run(
    spec: &DataDirSpec,
    mut transactions: Option<TransactionSink<'_>>,
    monitor: &dyn Monitor,
) -> Result<Inspection, EngineError> {
    if spec.path.is_file() {
        let report = file(&spec.path, &mut transactions)?;
        return Ok(Inspection { files: vec![report], directory: None });
    }
    let fail = |error: DataDirError| EngineError::with(ErrorKind::Failed, error.to_string(), error);
    let dir = match &spec.log {
        LogDir::Unsaid | LogDir::Same => DataDir::open(&spec.path, None),
        LogDir::At(log) => DataDir::open(&spec.path, Some(log)),
        LogDir::Config(config) => DataDir::from_config(config),
    }
    .map_err(fail)?;
    let listing = dir.list_some().map_err(fail)?;
    let total = listing.snapshots.len().saturating_add(listing.logs.len());
    monitor.begin(Phase::Reading, Unit::Bytes, Some(total_bytes(&listing)));
    let mut files = Vec::with_capacity(total);
    for snapshot in &listing.snapshots {
        monitor.check()?;
        files.push(FileReport::Snapshot(snapshot::report(&snapshot.path, snapshot.zxid, snapshot.bytes)));
        monitor.advance(Phase::Reading, snapshot.bytes);
    }
    for log in &listing.logs {
        monitor.check()?;
        files.push(FileReport::Log(log::report(&log.path, log.bytes, &mut transactions)));
        monitor.advance(Phase::Reading, log.bytes);
    }
    monitor.end(Phase::Reading);
    monitor.check()?;
    Ok(Inspection { files, directory: Some(directory(&dir).map_err(fail)?) })
}

fn total_bytes(listing: &zk_format::data_dir::Listing) -> u64 {
    let snapshots = listing.snapshots.iter().map(|file| file.bytes);
    snapshots.chain(listing.logs.iter().map(|file| file.bytes)).fold(0, u64::saturating_add)
}

fn directory(dir: &DataDir) -> Result<DirectoryReport, DataDirError> {
    let (state, problem) = match load::load(dir, &LoadOptions::default()) {
        Ok(loaded) => (
            Some(StateReport {
                zxid_low: loaded.zxid_low.to_string(),
                zxid_high: loaded.zxid_high.to_string(),
                consistency: loaded.consistency.to_string(),
                proof: loaded.proof.to_string(),
                tail: loaded.tail.to_string(),
                nodes: loaded.tree.len() as u64,
                transactions: loaded.transactions,
                state_time_ms: loaded.state_time_ms,
                notes: loaded.notes.iter().map(ToString::to_string).collect(),
            }),
            None,
        ),
        Err(error) => (None, Some(with_causes(&error))),
    };
    Ok(DirectoryReport {
        snapshot_folder: dir.snapshot_folder().to_owned(),
        log_folder: dir.log_folder().to_owned(),
        my_id: dir.my_id()?,
        accepted_epoch: dir.accepted_epoch()?,
        current_epoch: dir.current_epoch()?,
        state,
        problem,
    })
}

/// A file by its name, else by its first bytes: people rename what they save.
fn file(path: &Path, transactions: &mut Option<TransactionSink<'_>>) -> Result<FileReport, EngineError> {
    let unreadable = |source: std::io::Error| {
        EngineError::with(ErrorKind::Failed, format!("cannot read {}", path.display()), source)
    };
    let mut magic = Vec::with_capacity(4);
    let opened = File::open(path).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    opened.take(4).read_to_end(&mut magic).map_err(unreadable)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some((zxid, _)) = zk_format::file_snap::parse_name(name) {
        return Ok(FileReport::Snapshot(snapshot::report(path, zxid, bytes)));
    }
    if zk_format::file_txn_log::parse_name(name).is_some() || magic == *b"ZKLG" {
        return Ok(FileReport::Log(log::report(path, bytes, transactions)));
    }
    if magic == zk_format::file_snap::MAGIC {
        return Ok(FileReport::Snapshot(snapshot::report_unnamed(path, Zxid(0), bytes)));
    }
    Err(EngineError::new(
        ErrorKind::Failed,
        format!(
            "{} is neither a snapshot file nor a transaction log of ZooKeeper, by its name (snapshot.HEX, log.HEX) \
             or its first bytes",
            path.display()
        ),
    ))
}

/// An error on one line with what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
