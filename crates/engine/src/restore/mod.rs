//! Restoring a snapshot, or a part of one, into a data directory that a stock server boots.
//!
//! First a plan, which changes nothing; then its execution: a snapshot file is streamed into a staging
//! directory, verified, and swapped in. Nothing is visible before the swap.

pub mod epoch;
mod keep;
mod piece;
mod write;
mod write_behind;

use std::path::PathBuf;

use jiff::Timestamp;
use repository::Snapshot;
use serde::Serialize;
use zk_connect::datadir::target::{Occupied, TargetDirs};
use zk_connect::{DataDirSpec, endpoint::LogDir};
use zk_format::Zxid;
use zk_format::data_dir::ServerConfig;

pub use self::epoch::{BumpEpoch, EpochInputs};
pub use self::keep::{Server, ServerVersion};
pub(crate) use self::write::to_file as write_file;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::monitor::Monitor;
use crate::repo::Repo;
use crate::report::SnapshotInfo;
use crate::snapshots::{self, Scope};

/// What to restore where.
#[derive(Clone, Debug)]
pub struct DatadirRequest {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// `""` for the whole tree, else the subtree to restore, with its ancestors.
    pub path: Vec<u8>,
    /// Where to.
    pub target: DataDirSpec,
    /// Move what is there aside.
    pub force: bool,
    /// The zxid the file is named for.
    pub bump_epoch: BumpEpoch,
    /// The zxid that others named their file for, to be used whatever `bump_epoch` would choose.
    pub file_zxid: Option<Zxid>,
    /// The highest zxid that any client is known to have seen.
    pub seen_zxid: Option<Zxid>,
    /// Keep ephemeral nodes and their sessions.
    pub keep_ephemerals: bool,
    /// Which nodes.
    pub filter: Filter,
    /// The server that will load the file.
    pub server: Server,
    /// `--yes-really`: go on where only a person can know that it is right.
    pub yes_really: bool,
    /// When; names the directories moved aside.
    pub now: Timestamp,
}

/// What a restore would do; nothing has been changed.
#[derive(Clone, Debug, Serialize)]
pub struct DatadirPlan {
    /// The snapshot.
    pub snapshot: SnapshotInfo,
    /// The part of the tree, `/` for all of it.
    pub path: String,
    /// `dataDir` of the target.
    pub data_dir: PathBuf,
    /// `dataLogDir` of the target, where it is another one.
    pub log_dir: Option<PathBuf>,
    /// The zxid the file will be named for.
    pub file_zxid: String,
    /// What decided it.
    pub epochs: EpochInputs,
    /// Entries of the old directories that will be moved aside.
    pub moves_aside: Vec<PathBuf>,
    /// What a person should know before going on.
    pub warnings: Vec<String>,
}

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreSummary {
    /// As planned.
    #[serde(flatten)]
    pub plan: DatadirPlan,
    /// The restored file; `None` on a dry run.
    pub file: Option<PathBuf>,
    /// Where the old directories are now.
    pub moved_aside: Vec<PathBuf>,
    /// Znodes written.
    pub nodes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Ephemeral znodes left out: their sessions are gone.
    pub ephemerals_skipped: u64,
    /// Sessions written.
    pub sessions: u64,
    /// Whether every record read adds up to the snapshot's state digest. Never false: that is an error.
    /// `None` where only a part was read; its chunks were verified by id.
    pub state_digest_verified: Option<bool>,
    /// Whether the file written was read back and agrees.
    pub read_back: bool,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// Looks at the target and decides everything that can be decided before reading the tree.
pub fn plan(repo: &Repo, request: &DatadirRequest, monitor: &dyn Monitor) -> Result<DatadirPlan, EngineError> {
    let (dirs, config) = target_dirs(&request.target)?;
    let occupied = dirs.admit(request.force).map_err(|error| target_error(&error))?;
    let fields = &request.snapshot.manifest.body.fields;
    if request.bump_epoch == BumpEpoch::Off && !request.yes_really {
        return Err(EngineError::new(
            ErrorKind::Refused,
            "with --bump-epoch off, clients that saw a newer zxid are refused for ever: add --yes-really if no client \
             has connected since this snapshot",
        ));
    }
    let epochs = epoch_inputs(repo, request, &occupied, config.as_ref(), monitor)?;
    let zxid = match request.file_zxid {
        Some(agreed) => epoch::agreed_zxid(agreed, request.bump_epoch, &epochs),
        None => epoch::file_zxid(request.bump_epoch, &epochs, Zxid(fields.zxid_high)),
    };
    let zxid = zxid.map_err(|error| EngineError::with(ErrorKind::Refused, "choosing the zxid to restore at", error))?;
    let info = snapshots::info(&request.snapshot);
    let mut warnings = info.warnings();
    if request.keep_ephemerals {
        warnings.push("watches will not fire for what was rolled back: restart all clients".to_owned());
    }
    Ok(DatadirPlan {
        snapshot: info,
        path: zk_format::path::display(&request.path).to_string(),
        data_dir: dirs.data.clone(),
        log_dir: dirs.log.clone().filter(|log| *log != dirs.data),
        file_zxid: zxid.to_string(),
        epochs,
        moves_aside: occupied.entries,
        warnings,
    })
}

/// Restores: plan, write, verify, swap. With `dry_run` everything is read and checked, and nothing written.
pub fn run(
    repo: &Repo,
    request: &DatadirRequest,
    dry_run: bool,
    monitor: &dyn Monitor,
) -> Result<RestoreSummary, EngineError> {
    let plan = plan(repo, request, monitor)?;
    let (dirs, _) = target_dirs(&request.target)?;
    write::run(repo, request, &plan, &dirs, dry_run, monitor)
}

pub(crate) fn target_error(error: &zk_connect::datadir::target::TargetError) -> EngineError {
    let kind = if error.is_refusal() { ErrorKind::Refused } else { ErrorKind::Failed };
    let source = std::error::Error::source(error).map(ToString::to_string);
    match source {
        Some(cause) => EngineError::with(kind, error.to_string(), cause),
        None => EngineError::new(kind, error.to_string()),
    }
}

/// Both directories of the target, and its configuration where `cfg=` names one.
pub(crate) fn target_dirs(spec: &DataDirSpec) -> Result<(TargetDirs, Option<ServerConfig>), EngineError> {
    // People point at the directory that holds `version-2` or at `version-2` itself.
    let data = match spec.path.file_name() {
        Some(name) if name == "version-2" => spec.path.parent().map_or_else(|| spec.path.clone(), PathBuf::from),
        _ => spec.path.clone(),
    };
    let log = match &spec.log {
        LogDir::Unsaid => None,
        LogDir::Same => Some(data.clone()),
        LogDir::At(dir) => Some(dir.clone()),
        LogDir::Config(file) => {
            let config = ServerConfig::read(file)
                .map_err(|error| EngineError::with(ErrorKind::Failed, format!("reading {}", file.display()), error))?;
            let log = config.data_log_dir.clone().unwrap_or_else(|| config.data_dir.clone());
            let dirs = TargetDirs { data: config.data_dir.clone(), log: Some(log) };
            return Ok((dirs, Some(config)));
        }
    };
    Ok((TargetDirs { data, log }, None))
}

fn epoch_inputs(
    repo: &Repo,
    request: &DatadirRequest,
    occupied: &Occupied,
    config: Option<&ServerConfig>,
    monitor: &dyn Monitor,
) -> Result<EpochInputs, EngineError> {
    let fields = &request.snapshot.manifest.body.fields;
    let scope = Scope { cluster: Some(fields.cluster.clone()), tags: Vec::new() };
    let cluster =
        snapshots::list(repo, &scope, monitor)?.iter().map(|snapshot| snapshots::zxid_high(snapshot).epoch()).max();
    let stored = repo.tree(&request.snapshot.manifest)?.node(zk_format::path::CONFIG)?;
    let stored = stored.and_then(|node| epoch::configuration_epoch(&node.data.unwrap_or_default()));
    let written = config.and_then(|config| config.dynamic_version).map(|version| Zxid(version).epoch());
    Ok(EpochInputs {
        snapshot: Zxid(fields.zxid_high).epoch(),
        cluster: cluster.unwrap_or(0),
        directories: occupied.highest_epoch,
        configuration: stored.unwrap_or(0).max(written.unwrap_or(0)),
        seen: request.seen_zxid.map_or(0, Zxid::epoch),
    })
}
