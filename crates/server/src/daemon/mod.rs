//! The daemon itself: what is shared by the clock that starts jobs, the jobs, and those who ask about them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use engine::report::SnapshotInfo;
use engine::repository::Snapshot;
use engine::snapshots::{self, Scope};
use engine::{EngineError, Repo, Silent};
use jiff::Timestamp;
use tokio::sync::Mutex as Turn;

use crate::config::{ClusterConfig, Config, LeaderMode, Occasion, Surroundings};
use crate::jobs::{Job, JobState, Jobs};
use crate::metrics::{Metrics, zxid};
use crate::notify::{Message, Notifier};
use crate::planner::{Planner, Rule, Task, Work};
use crate::repos::Repos;
use crate::schedule::Schedule;
use crate::state::{Remembered, StateFile};
use crate::tokens::Tokens;
use crate::work::restore::Plans;
use crate::work::{Outcome, Side};

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
    pub read_up_to: Option<u64>,
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

    /// Looks through the repository: the newest snapshot of each cluster, and what all of them added. Blocks.
    pub fn survey(&self) -> Result<(), EngineError> {
        let holding = self.holding();
        let repo = holding.repos.primary()?;
        self.ready.store(true, Ordering::Relaxed);
        self.look(&repo, &holding)
    }

    /// Sets a cluster's schedules aside, or lets them hold again; where several daemons share the work, for all of them. Blocks.
    pub fn set_paused(&self, cluster: &str, paused: bool) -> Result<(), EngineError> {
        let _one_at_a_time = lock(&self.pausing);
        if self.shares {
            let repo = self.holding().repos.primary()?;
            repo.block_on(repo.repository().set_paused(cluster, paused))?;
        }
        self.note_paused(cluster, paused);
        Ok(())
    }

    fn note_paused(&self, cluster: &str, paused: bool) {
        if self.remembered(cluster).paused != paused {
            tracing::info!(cluster, paused, "schedules");
        }
        self.remember(cluster, |known| known.paused = paused);
        self.planner().pause(cluster, paused, Timestamp::now());
        self.metrics.of_cluster("zooark_paused", cluster, u64::from(paused));
    }

    /// What another daemon set aside is set aside here. Blocks.
    fn learn_pauses(&self, repo: &Repo, holding: &Holding) -> Result<(), EngineError> {
        if !self.shares {
            return Ok(());
        }
        let _one_at_a_time = lock(&self.pausing);
        let names = || holding.config.clusters.iter().map(|cluster| cluster.name.as_str());
        let paused = repo.block_on(repo.repository().paused(names()))?;
        for name in names().filter(|name| self.remembered(name).paused != paused.contains(name)) {
            self.note_paused(name, paused.contains(name));
        }
        Ok(())
    }

    fn look(&self, repo: &Repo, holding: &Holding) -> Result<(), EngineError> {
        self.learn_pauses(repo, holding)?;
        let all = snapshots::list(repo, &Scope::default(), &Silent::default())?;
        for cluster in &holding.config.clusters {
            let own = all.iter().filter(|snapshot| snapshot.manifest.body.fields.cluster == cluster.name);
            let mut infos =
                own.clone().filter(|snapshot| !engine::backup::is_before_restore(&snapshot.manifest.body.fields));
            let latest = infos.next_back();
            let suspect = own.clone().any(Snapshot::is_suspect);
            let added = own.map(|snapshot| snapshot.manifest.body.fields.counters.added_bytes).sum();
            let info = latest.map(snapshots::info);
            self.metrics.snapshots(&cluster.name, info.as_ref(), suspect, added);
            if let Some(latest) = latest {
                let tables = latest.manifest.tables();
                self.metrics.of_cluster("zooark_runs_in_stack", &cluster.name, tables.len() as u64);
                let bytes = tables.iter().map(|table| table.chunk_bytes + table.value_bytes).sum();
                self.metrics.of_cluster("zooark_restore_bytes_needed", &cluster.name, bytes);
            }
            if let Some(info) = info.as_ref().filter(|info| info.suspect.is_none() && !info.incomplete) {
                let time = info.time;
                self.remember(&cluster.name, |known| known.last_success = known.last_success.max(Some(time)));
            }
            self.change_status(&cluster.name, |status| {
                status.read_up_to = status.read_up_to.or_else(|| zxid(&info.as_ref()?.zxid_high));
                status.suspect = suspect;
                status.latest = info;
            });
        }
        Ok(())
    }

    /// Age figures, which change without anything happening; and who has to be told that something is too old.
    pub fn grow_older(&self, now: Timestamp) {
        let holding = self.holding();
        self.metrics.take_in();
        self.metrics.set("zooark_leader", &[], f64::from(u8::from(self.is_leading())));
        for cluster in &holding.config.clusters {
            let Some(last) = self.remembered(&cluster.name).last_success else { continue };
            let age = now.duration_since(last).as_secs().max(0);
            let seconds = u64::try_from(age).unwrap_or(0);
            self.metrics.of_cluster("zooark_seconds_since_last_success", &cluster.name, seconds);
            let when = u64::try_from(last.as_second()).unwrap_or(0);
            self.metrics.of_cluster("zooark_last_success_timestamp_seconds", &cluster.name, when);
            let too_old = cluster.max_age.is_some_and(|most| seconds > most.0.as_secs());
            let told = self.status(&cluster.name).told_of_age;
            if too_old && !told && self.is_leading() {
                let text = format!("cluster {} was last backed up {seconds} s ago", cluster.name);
                tracing::warn!(cluster = cluster.name, "{text}");
                let message = self.message(Occasion::Age, Some(&cluster.name), text);
                self.notifier.tell(&holding.config.notify, &message);
            }
            self.change_status(&cluster.name, |status| status.told_of_age = too_old);
        }
    }

    /// A message about a cluster.
    pub fn message(&self, event: Occasion, cluster: Option<&str>, text: String) -> Message {
        let known = cluster.map(|cluster| self.remembered(cluster)).unwrap_or_default();
        let now = Timestamp::now();
        Message {
            event,
            cluster: cluster.map(ToOwned::to_owned),
            kind: None,
            job_id: None,
            state: None,
            message: text,
            time: now,
            consecutive_failures: known.failures,
            last_success: known.last_success,
            age_seconds: known.last_success.map(|last| now.duration_since(last).as_secs()),
            host: self.host(),
        }
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

    fn tell(&self, view: &crate::jobs::JobView, began: Instant, outcome: &Outcome) {
        let took = began.elapsed();
        self.metrics.job(view, took, outcome);
        let number =
            |key: &str| outcome.result.as_ref().and_then(|result| result.get(key)).and_then(serde_json::Value::as_u64);
        let text = |key: &str| {
            let value = outcome.result.as_ref().and_then(|result| result.get(key));
            value.and_then(serde_json::Value::as_str).map(ToOwned::to_owned)
        };
        let error = outcome.error.as_ref().map(|error| error.message.clone()).or_else(|| text("suspect"));
        let cluster = view.cluster.as_deref();
        let (kind, state, seconds) = (view.kind.name(), outcome.state.name(), took.as_secs_f64());
        if outcome.is_failure() {
            tracing::error!(
                job = view.id,
                kind,
                cluster,
                outcome = state,
                seconds,
                side = outcome.side.map(Side::name),
                error = error.as_deref(),
                snapshot = text("short_id"),
                "job ended badly"
            );
            let what = error.unwrap_or_else(|| "see the job's result".to_owned());
            let text = format!(
                "{kind}{} ended as {state}: {what}",
                cluster.map_or_else(String::new, |name| format!(" of {name}"))
            );
            let message = Message {
                kind: Some(kind),
                job_id: Some(view.id.clone()),
                state: Some(state),
                ..self.message(Occasion::Failure, cluster, text)
            };
            // Of retries and of what fails again and again, somebody hears once in a while.
            if self.notifier.is_news(view) {
                self.notifier.tell(&self.holding().config.notify, &message);
            }
        } else {
            if outcome.state == JobState::Succeeded {
                self.notifier.went_well(view);
            }
            tracing::info!(
                job = view.id,
                kind,
                cluster,
                outcome = state,
                seconds,
                snapshot = text("short_id"),
                zxid = text("zxid_high"),
                nodes = number("nodes"),
                uploaded_bytes = number("uploaded_bytes"),
                objects = number("objects_written"),
                forgotten = number("forgotten"),
                "job ended"
            );
        }
    }

    /// Tells that a cluster is backed up again after failures.
    pub fn tell_recovery(&self, cluster: &str, failures: u32) {
        let text = format!("cluster {cluster} is backed up again after {failures} failures");
        let message = self.message(Occasion::Recovery, Some(cluster), text);
        self.notifier.tell(&self.holding().config.notify, &message);
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
