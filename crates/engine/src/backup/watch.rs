//! Snapshots of a live ensemble at an interval, each from what its watch told of.
//!
//! Everything is read at the start, every so often, and whenever the watch may have missed something. What fails once
//! the first snapshot is there is told and tried again at the next turn: an ensemble or a store that is away for a
//! while does not end it. A stop between two snapshots or during one leaves nothing half-written.

use std::time::{Duration, Instant};

use zk_connect::Endpoint;

use super::{BackupRequest, lineage, run_with};
use crate::error::{EngineError, ErrorKind};
use crate::live::follow::Following;
use crate::monitor::Monitor;
use crate::repo::Repo;
use crate::report::BackupSummary;

/// How often it is looked whether to stop, and what the watch told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct WatchPlan {
    /// From one snapshot to the next.
    pub interval: Duration,
    /// From one scan of everything to the next.
    pub full_every: Duration,
}

/// One turn.
#[derive(Debug)]
pub enum Round {
    /// A snapshot, or the knowledge that nothing changed.
    Taken(Box<BackupSummary>),
    /// It did not work, and is tried again at the next turn.
    Failed(EngineError),
}

/// Why it came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Somebody asked it to.
    Asked,
    /// The last snapshot is suspect, and somebody must decide about it.
    Suspect,
}

/// Takes snapshots until asked to stop. An error before the first one, and one that no time mends, is returned.
pub fn watch(
    repo: &Repo,
    request: &BackupRequest,
    plan: WatchPlan,
    monitor: &dyn Monitor,
    told: &mut dyn FnMut(Round) -> Result<(), EngineError>,
) -> Result<Ended, EngineError> {
    let Endpoint::Live(spec) = &request.source else {
        let what =
            format!("watching {}: only a live ensemble tells what changes; write zk://host:2181", request.source);
        return Err(EngineError::new(ErrorKind::Usage, what));
    };
    let source = (spec, &request.live, &request.filter);
    let mut following = Following::new(repo, source, plan.full_every, monitor);
    let ended = turns(repo, request, plan, monitor, &mut following, told);
    following.leave();
    ended
}

fn turns(
    repo: &Repo,
    request: &BackupRequest,
    plan: WatchPlan,
    monitor: &dyn Monitor,
    following: &mut Following<'_>,
    told: &mut dyn FnMut(Round) -> Result<(), EngineError>,
) -> Result<Ended, EngineError> {
    let lineage = lineage(repo, request)?;
    let mut first = true;
    loop {
        let began = Instant::now();
        let outcome = run_with(repo, request, lineage, monitor, &mut |parent, _| following.read(parent));
        match outcome {
            Ok(summary) => {
                let whole = summary.incomplete_paths.is_empty() && summary.suspect.is_none();
                let id = summary.snapshot_id.as_ref().or(summary.parent_id.as_ref());
                following.stored(id.filter(|_| whole).cloned());
                let suspect = summary.suspect.is_some();
                told(Round::Taken(Box::new(summary)))?;
                if suspect {
                    return Ok(Ended::Suspect);
                }
                first = false;
            }
            Err(error) if error.kind == ErrorKind::Interrupted => return Ok(Ended::Asked),
            Err(error) if first || lasts(error.kind) => return Err(error),
            Err(error) => told(Round::Failed(error))?,
        }
        while began.elapsed() < plan.interval {
            if monitor.cancelled() {
                return Ok(Ended::Asked);
            }
            following.gather();
            std::thread::sleep(LOOK_EVERY.min(plan.interval.saturating_sub(began.elapsed())));
        }
        if monitor.cancelled() {
            return Ok(Ended::Asked);
        }
    }
}

/// Whether waiting does not help.
const fn lasts(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Usage | ErrorKind::Damage | ErrorKind::Refused | ErrorKind::WrongPassword)
}
