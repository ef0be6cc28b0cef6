//! The daemon itself: what is shared by the clock that starts jobs, the jobs, and those who ask about them.

mod pauses;
mod survey;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use engine::EngineError;
use engine::report::SnapshotInfo;
use jiff::Timestamp;
use tokio::sync::Mutex as Turn;
use zk_format::Zxid;

use crate::config::{ClusterConfig, Config, LeaderMode, Surroundings};
use crate::jobs::{Job, Jobs};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::planner::{Planner, Rule, Task, Work};
use crate::repos::Repos;
use crate::schedule::Schedule;
use crate::state::{Remembered, StateFile};
use crate::tokens::Tokens;
use crate::work::Outcome;
use crate::work::restore::Plans;

/// What a configuration leads to; replaced as a whole when it is read again.
#[derive(Debug)]
pub struct Holding {
    /// The configuration.
    pub config: Config,
    /// The repositories.
    pub repos: Repos,
    /// Who may ask for what.
    pub tokens: Tokens,
}

impl Holding {
    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&ClusterConfig> {
        self.config.clusters.iter().find(|cluster| cluster.name == name)
    }
}

/// What is known of a cluster besides what is remembered.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Why the last backup failed; nothing once one ended well.
    pub last_error: Option<String>,
    /// Its newest snapshot, whatever it is worth.
    pub latest: Option<SnapshotInfo>,
    /// Whether any of its snapshots is held back until somebody decides: nothing is forgotten meanwhile.
    pub suspect: bool,
    /// The highest zxid that a backup read, whether or not anything had changed.
    pub read_up_to: Option<Zxid>,
    /// Whether somebody was told that it is too old.
    pub told_of_age: bool,
}

/// Whether a daemon works or stands by.
#[derive(Clone, Copy, Debug)]
pub enum Leading {
    /// There is nobody else.
    Always,
    /// It holds the lease until then.
    Until(Instant),
    /// Somebody else may hold it.
    Not,
}

/// See the module's head.
#[derive(Debug)]
pub struct Daemon {
    /// What the process was started with.
    pub surroundings: Surroundings,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// All jobs.
    pub jobs: Jobs,
    /// Plans of restores that wait to be agreed to.
    pub plans: Plans,
    /// Figures.
    pub metrics: Metrics,
    holding: RwLock<Arc<Holding>>,
    planner: Mutex<Planner>,
    state: Mutex<StateFile>,
    clusters: Mutex<BTreeMap<String, Status>>,
    turns: Mutex<BTreeMap<String, Arc<Turn<()>>>>,
    /// Checks and prunes take turns.
    pub(crate) upkeep: Turn<()>,
    /// Restores are begun one after the other.
    pub(crate) restoring: Turn<()>,
    notifier: Notifier,
    /// Whether the work is shared by a lease; as it was at the start, for that is when the lease is first asked for.
    shares: bool,
    /// Pauses are changed, and learnt, one at a time.
    pausing: Mutex<()>,
    leading: Mutex<Leading>,
    ready: AtomicBool,
    stopping: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    /// From within an async runtime. Nothing is read from a repository yet.
    pub fn new(
        holding: Holding,
        surroundings: Surroundings,
        state_dir: PathBuf,
        state: StateFile,
        leading: Leading,
    ) -> Arc<Self> {
        let daemon = Self {
            surroundings,
            state_dir,
            jobs: Jobs::default(),
            plans: Plans::default(),
            metrics: Metrics::default(),
            planner: Mutex::new(planner(&holding.config, &state, Timestamp::now())),
            shares: holding.config.leader.mode == LeaderMode::Repository,
            holding: RwLock::new(Arc::new(holding)),
            state: Mutex::new(state),
            clusters: Mutex::default(),
            turns: Mutex::default(),
            upkeep: Turn::default(),
            restoring: Turn::default(),
            notifier: Notifier::default(),
            pausing: Mutex::default(),
            leading: Mutex::new(leading),
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        };
        daemon.introduce();
        Arc::new(daemon)
    }

    fn introduce(&self) {
        for cluster in &self.holding().config.clusters {
            self.metrics.introduce(&cluster.name);
            let paused = self.remembered(&cluster.name).paused;
            self.metrics.of_cluster("zooark_paused", &cluster.name, u64::from(paused));
            if let Some(most) = cluster.max_age {
                self.metrics.of_cluster("zooark_max_age_seconds", &cluster.name, most.0.as_secs());
            }
        }
    }

    /// What holds now.
    pub fn holding(&self) -> Arc<Holding> {
        Arc::clone(&self.holding.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another configuration holds from now on. What runs goes on as it was begun.
    pub fn replace(&self, holding: Holding) {
        let _one_at_a_time = lock(&self.pausing);
        let next = planner(&holding.config, &lock(&self.state), Timestamp::now());
        *self.holding.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(holding);
        lock(&self.planner).replace(next);
        self.introduce();
    }

    /// The tasks and when they are due.
    pub fn planner(&self) -> MutexGuard<'_, Planner> {
        lock(&self.planner)
    }

    /// What is remembered of a cluster.
    pub fn remembered(&self, cluster: &str) -> Remembered {
        lock(&self.state).of(cluster)
    }

    /// Changes that; what cannot be written is logged and holds until a restart.
    pub fn remember(&self, cluster: &str, change: impl FnOnce(&mut Remembered)) {
        if let Err(error) = lock(&self.state).change(cluster, change) {
            tracing::error!(directory = %self.state_dir.display(), "cannot write what is to be remembered: {error}");
        }
    }

    /// What is known of a cluster.
    pub fn status(&self, cluster: &str) -> Status {
        lock(&self.clusters).get(cluster).cloned().unwrap_or_default()
    }

    /// Changes that.
    pub fn change_status(&self, cluster: &str, change: impl FnOnce(&mut Status)) {
        change(lock(&self.clusters).entry(cluster.to_owned()).or_default());
    }

    /// What keeps a cluster's backups, retention and restores apart.
    pub fn turn(&self, cluster: &str) -> Arc<Turn<()>> {
        Arc::clone(lock(&self.turns).entry(cluster.to_owned()).or_default())
    }

    /// Whether this daemon works, and does not stand by.
    pub fn is_leading(&self) -> bool {
        match *lock(&self.leading) {
            Leading::Always => true,
            Leading::Until(until) => Instant::now() < until,
            Leading::Not => false,
        }
    }

    /// Whether it may be another daemon that works.
    pub const fn shares_work(&self) -> bool {
        self.shares
    }

    /// From now on it does, or does not.
    pub fn lead(&self, leading: Leading) {
        *lock(&self.leading) = leading;
    }

    /// Whether the repository was opened.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether it is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// No job is begun any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// This host's name.
    pub fn host(&self) -> String {
        self.holding().config.server.host.clone().unwrap_or_else(|| self.surroundings.host.clone())
    }

    /// Runs a job's work on a thread of its own, and tells everybody how it ended.
    pub async fn run_job<T, W>(&self, job: &Arc<Job>, work: W) -> Outcome
    where
        T: Into<Outcome>,
        W: FnOnce(&Job) -> Result<T, EngineError> + Send + 'static,
    {
        let kind = job.view().kind;
        if self.is_stopping() {
            job.cancel();
        }
        if !job.start() {
            let stopped = EngineError::new(engine::ErrorKind::Interrupted, "it was stopped before it began");
            return Outcome::failed(&stopped);
        }
        self.metrics.running(kind, 1.0);
        let began = Instant::now();
        let own = Arc::clone(job);
        let outcome = tokio::task::spawn_blocking(move || Outcome::from(work(&own))).await.unwrap_or_else(|error| {
            Outcome::broken(format!("the job broke off, which is a fault of this program: {error}"))
        });
        self.metrics.running(kind, -1.0);
        job.end(outcome.state, outcome.result.clone(), outcome.error.clone());
        self.tell(&job.view(), began, &outcome);
        outcome
    }
}

/// The tasks of a configuration.
fn planner(config: &Config, state: &StateFile, now: Timestamp) -> Planner {
    let mut planner = Planner::default();
    for cluster in &config.clusters {
        let paused = state.of(&cluster.name).paused;
        let mut add = |work, schedule: Option<Schedule>, instant_first| {
            let Some(schedule) = schedule else { return };
            let task = Task { cluster: cluster.name.clone(), work };
            let last = state.began(&task);
            let rule = Rule {
                schedule: schedule.starting(cluster.start_at),
                jitter: cluster.jitter.map_or(std::time::Duration::ZERO, |jitter| jitter.0),
                instant_first,
                on_missed: cluster.on_missed,
            };
            planner.add(task, rule, last, paused, now);
        };
        add(Work::Backup, cluster.when(), cluster.instant_first_backup);
        add(Work::Check, cluster.check.as_ref().and_then(|check| check.schedule.schedule(&cluster.time_zone)), false);
        add(Work::Prune, cluster.prune.as_ref().and_then(|prune| prune.schedule.schedule(&cluster.time_zone)), false);
    }
    planner
}
