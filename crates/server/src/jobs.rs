//! Jobs: what runs, what waits, and the last of what ran. A job is told its progress as the engine's monitor, and whoever looks
//! at one is told of every change.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{EngineError, ErrorKind, Monitor, Phase, Unit};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::planner::Reason;

/// Jobs that are remembered after their end.
const REMEMBERED: usize = 500;
/// Notes that a job keeps; what is beyond is counted.
const NOTES: usize = 200;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Takes a snapshot.
    Backup,
    /// Copies snapshots to another repository.
    Copy,
    /// Applies retention.
    Forget,
    /// Checks the repository.
    Check,
    /// Gives space back.
    Prune,
    /// Restores into an ensemble.
    Restore,
}

impl JobKind {
    /// As logs, metrics and JSON say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Copy => "copy",
            Self::Forget => "forget",
            Self::Check => "check",
            Self::Prune => "prune",
            Self::Restore => "restore",
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Something else has to end first.
    Queued,
    /// It runs.
    Running,
    /// Done.
    Succeeded,
    /// Done, and something is missing; the result says what.
    Incomplete,
    /// A safety check said no, or the snapshot is held back as suspect.
    Refused,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl JobState {
    /// Whether nothing more happens.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// As logs, metrics and JSON say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a job is doing just now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProgressView {
    /// `reading`, `uploading`, …
    pub phase: &'static str,
    /// What is counted: `nodes`, `bytes`, `transactions`, `snapshots`, `packs`.
    pub unit: &'static str,
    /// So much of it is done.
    pub done: u64,
    /// Of so much, where that is known.
    pub total: Option<u64>,
}

/// Why a job did not do what it should.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobError {
    /// `failed`, `usage`, `incomplete`, `damage`, `refused`, `no-repository`, `busy`, `wrong-password`, `interrupted`.
    pub kind: &'static str,
    /// With all its causes.
    pub message: String,
}

/// A job as JSON has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    /// Its id; ids sort by time.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// For which cluster.
    pub cluster: Option<String>,
    /// The `[[copy]]` it is about; null of the primary repository.
    pub repository: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// `schedule`, `retry` or `request`.
    #[schema(value_type = String)]
    pub reason: Reason,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What it is doing.
    pub progress: Option<ProgressView>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What it did, as the command of that name says it with `--json`.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why it did not.
    pub error: Option<JobError>,
    /// What its phases took.
    #[serde(skip)]
    pub times: BTreeMap<&'static str, Duration>,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    view: Mutex<JobView>,
    /// When the phases that are not over began.
    phases: Mutex<BTreeMap<&'static str, Instant>>,
    cancel: AtomicBool,
    changes: watch::Sender<u64>,
}

impl Job {
    /// As it is now.
    pub fn view(&self) -> JobView {
        self.lock().clone()
    }

    /// Told of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Asks it to stop where nothing is left half-done; one that has not begun is over.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.change(|view| {
            if view.state == JobState::Queued {
                view.state = JobState::Cancelled;
                view.ended_at = Some(Timestamp::now());
            }
        });
    }

    /// It begins; `false` where it was stopped before that.
    pub fn start(&self) -> bool {
        let mut began = false;
        self.change(|view| {
            began = view.state == JobState::Queued;
            if began {
                view.state = JobState::Running;
                view.started_at = Some(Timestamp::now());
            }
        });
        began
    }

    /// It is over.
    pub fn end(&self, state: JobState, result: Option<Value>, error: Option<JobError>) {
        self.change(|view| {
            view.state = state;
            view.ended_at = Some(Timestamp::now());
            view.progress = None;
            view.result = result;
            view.error = error;
        });
    }

    fn lock(&self) -> MutexGuard<'_, JobView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut JobView)) {
        change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Monitor for Job {
    fn begin(&self, phase: Phase, unit: Unit, total: Option<u64>) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).entry(phase.name()).or_insert_with(Instant::now);
        self.change(|view| {
            view.progress = Some(ProgressView { phase: phase.name(), unit: unit.name(), done: 0, total });
        });
    }

    fn advance(&self, phase: Phase, done: u64) {
        // Called for every node; who looks on is told a few times a second by its own clock.
        if let Some(progress) = self.lock().progress.as_mut().filter(|progress| progress.phase == phase.name()) {
            progress.done += done;
        }
    }

    fn end(&self, phase: Phase) {
        let began = self.phases.lock().unwrap_or_else(PoisonError::into_inner).remove(phase.name());
        let mut view = self.lock();
        *view.times.entry(phase.name()).or_default() += began.map_or(Duration::ZERO, |began| began.elapsed());
        if view.progress.as_ref().is_some_and(|progress| progress.phase == phase.name()) {
            view.progress = None;
        }
    }

    fn note(&self, text: &str) {
        self.change(|view| match view.notes.len() {
            held if held < NOTES => view.notes.push(text.to_owned()),
            NOTES => view.notes.push("…".to_owned()),
            _ => {}
        });
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// What the engine says of an error, as JSON has it.
pub fn job_error(error: &EngineError) -> JobError {
    let kind = match error.kind {
        ErrorKind::Failed => "failed",
        ErrorKind::Usage => "usage",
        ErrorKind::Incomplete => "incomplete",
        ErrorKind::Damage => "damage",
        ErrorKind::Refused => "refused",
        ErrorKind::NoRepository => "no-repository",
        ErrorKind::Busy => "busy",
        ErrorKind::WrongPassword => "wrong-password",
        ErrorKind::Interrupted => "interrupted",
    };
    JobError { kind, message: engine::snapshots::error_chain(error) }
}

/// All jobs that are known.
#[derive(Debug, Default)]
pub struct Jobs {
    /// Oldest first.
    all: Mutex<VecDeque<Arc<Job>>>,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one, queued. The oldest that are over are given up for it.
    pub fn add(&self, kind: JobKind, cluster: Option<&str>, reason: Reason) -> Arc<Job> {
        self.add_about(kind, cluster, None, reason)
    }

    /// The same about a `[[copy]]`.
    pub fn add_about(
        &self,
        kind: JobKind,
        cluster: Option<&str>,
        repository: Option<&str>,
        reason: Reason,
    ) -> Arc<Job> {
        let view = JobView {
            id: ulid::Ulid::generate().to_string(),
            kind,
            cluster: cluster.map(ToOwned::to_owned),
            repository: repository.map(ToOwned::to_owned),
            state: JobState::Queued,
            reason,
            queued_at: Timestamp::now(),
            started_at: None,
            ended_at: None,
            progress: None,
            notes: Vec::new(),
            result: None,
            error: None,
            times: BTreeMap::new(),
        };
        let job = Arc::new(Job {
            view: Mutex::new(view),
            phases: Mutex::default(),
            cancel: AtomicBool::new(false),
            changes: watch::channel(0).0,
        });
        let mut all = self.lock();
        while all.len() >= REMEMBERED {
            let Some(over) = all.iter().position(|job| job.lock().state.is_over()) else { break };
            all.remove(over);
        }
        all.push_back(Arc::clone(&job));
        job
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().iter().find(|job| job.lock().id == id).cloned()
    }

    /// All of them, newest first.
    pub fn views(&self) -> Vec<JobView> {
        let all: Vec<Arc<Job>> = self.lock().iter().rev().cloned().collect();
        all.iter().map(|job| job.view()).collect()
    }

    /// One that is not over.
    pub fn active(&self, kind: JobKind, cluster: Option<&str>) -> Option<Arc<Job>> {
        let of = |job: &&Arc<Job>| {
            let view = job.lock();
            view.kind == kind && view.cluster.as_deref() == cluster && !view.state.is_over()
        };
        self.lock().iter().find(of).cloned()
    }

    /// Whether any is not over.
    pub fn is_any_active(&self) -> bool {
        self.lock().iter().any(|job| !job.lock().state.is_over())
    }

    /// Asks all to stop; whether any still runs.
    pub fn cancel_all(&self) -> bool {
        let all: Vec<Arc<Job>> = self.lock().iter().filter(|job| !job.lock().state.is_over()).cloned().collect();
        for job in &all {
            job.cancel();
        }
        !all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_are_over_are_given_up_and_others_never() {
        let jobs = Jobs::default();
        let running = jobs.add(JobKind::Backup, Some("a"), Reason::Request);
        assert!(running.start());
        for _ in 0..2 * REMEMBERED {
            jobs.add(JobKind::Check, None, Reason::Schedule).end(JobState::Succeeded, None, None);
        }
        assert_eq!(jobs.views().len(), REMEMBERED);
        let id = running.view().id;
        assert!(jobs.find(&id).is_some() && jobs.active(JobKind::Backup, Some("a")).is_some());
        assert!(jobs.active(JobKind::Backup, Some("b")).is_none() && jobs.find("x").is_none());
    }

    #[test]
    fn one_that_was_stopped_before_it_began_never_begins() {
        let job = Jobs::default().add(JobKind::Prune, None, Reason::Request);
        job.cancel();
        assert!(!job.start());
        assert_eq!(job.view().state, JobState::Cancelled);
        for number in 0..2 * NOTES {
            job.note(&number.to_string());
        }
        assert_eq!(job.view().notes.len(), NOTES + 1);
    }
}
