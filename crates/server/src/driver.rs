//! What begins jobs: the clock, and those who ask.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::reference::parse_zxid;
use engine::{EngineError, ErrorKind};
use jiff::Timestamp;
use zk_connect::Endpoint;

use crate::config::{ClusterConfig, Full};
use crate::daemon::{Daemon, Holding};
use crate::jobs::{Job, JobKind, JobState};
use crate::planner::{Reason, Task, Work};
use crate::work::restore::Planned;
use crate::work::{Outcome, backup, restore, upkeep};

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(500);
/// How often the repository is tried where it could not be opened.
const OPEN_AGAIN: Duration = Duration::from_secs(15);
/// How often it is looked through for what others did: other daemons, commands.
const SURVEY_AGAIN: Duration = Duration::from_mins(5);

/// Begins what is due until the daemon stops.
pub async fn run(daemon: Arc<Daemon>) {
    let (mut surveyed, mut led) = (None, false);
    while !daemon.is_stopping() {
        let again = if daemon.is_ready() { SURVEY_AGAIN } else { OPEN_AGAIN };
        let leads = daemon.is_leading();
        // Who takes over looks first at what was done, and set aside, before.
        let takes_over = leads && !led;
        led = leads;
        if takes_over || surveyed.is_none_or(|last: tokio::time::Instant| last.elapsed() > again) {
            let own = Arc::clone(&daemon);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || own.survey()).await {
                tracing::error!("the repository cannot be looked through: {}", engine::snapshots::error_chain(&error));
                if takes_over && daemon.shares_work() {
                    led = false;
                    tokio::time::sleep(OPEN_AGAIN / 5).await;
                    continue;
                }
            }
            surveyed = Some(tokio::time::Instant::now());
        }
        let now = Timestamp::now();
        daemon.grow_older(now);
        if daemon.is_leading() {
            let due = daemon.planner().tick(now);
            for (task, reason) in due {
                begin(&daemon, task, reason, None);
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Begins a task that the planner takes to be running.
fn begin(daemon: &Arc<Daemon>, task: Task, reason: Reason, full: Option<bool>) -> Arc<Job> {
    let kind = match task.work {
        Work::Backup => JobKind::Backup,
        Work::Check => JobKind::Check,
        Work::Prune => JobKind::Prune,
    };
    let job = daemon.jobs.add(kind, Some(&task.cluster), reason);
    let began = Timestamp::now();
    let (own, handed) = (Arc::clone(daemon), Arc::clone(&job));
    tokio::spawn(async move {
        let outcome = match task.work {
            Work::Backup => back_up(&own, &task.cluster, &handed, full).await,
            Work::Check | Work::Prune => keep_up(&own, &task, &handed).await,
        };
        // What was cut off, or waits to be tried again, is made up for after a restart: only what is settled is remembered.
        if matches!(outcome.state, JobState::Succeeded | JobState::Incomplete | JobState::Refused) {
            own.remember(&task.cluster, |known| {
                known.began.insert(task.work, began);
            });
        }
        own.planner().ended(&task, outcome.ended(), Timestamp::now());
    });
    job
}

/// Backs a cluster up now; where that is being done already, that job.
pub fn back_up_now(daemon: &Arc<Daemon>, cluster: &str, full: bool) -> Option<Arc<Job>> {
    let task = Task { cluster: cluster.to_owned(), work: Work::Backup };
    if daemon.planner().begin(&task) {
        return Some(begin(daemon, task, Reason::Request, full.then_some(true)));
    }
    daemon.jobs.active(JobKind::Backup, Some(cluster))
}

fn gone(cluster: &str) -> EngineError {
    EngineError::new(ErrorKind::Usage, format!("cluster {cluster} is not in the configuration any more"))
}

async fn back_up(daemon: &Arc<Daemon>, name: &str, job: &Arc<Job>, full: Option<bool>) -> Outcome {
    let holding = daemon.holding();
    let turn = daemon.turn(name);
    let outcome = {
        let _turn = turn.lock().await;
        let (held, host, cluster) = (Arc::clone(&holding), daemon.host(), holding.cluster(name).cloned());
        let number = daemon.remembered(name).backups;
        let own = name.to_owned();
        let outcome = daemon
            .run_job(job, move |job| {
                let cluster = cluster.ok_or_else(|| gone(&own))?;
                let full = full.unwrap_or_else(|| cluster.full != Full::Never && cluster.full.is_due(number));
                backup::run(&*held.repos.primary()?, &cluster, &host, full, job)
            })
            .await;
        note(daemon, name, &outcome);
        outcome
    };
    if matches!(outcome.state, JobState::Succeeded | JobState::Incomplete) {
        forget(daemon, &holding, name).await;
        // The next backup does not wait for it.
        let (own, held, name) = (Arc::clone(daemon), Arc::clone(&holding), name.to_owned());
        tokio::spawn(async move { copy(&own, &held, &name).await });
    }
    let own = Arc::clone(daemon);
    let _ = tokio::task::spawn_blocking(move || own.survey()).await;
    outcome
}

/// Writes down how a backup ended.
fn note(daemon: &Daemon, name: &str, outcome: &Outcome) {
    let before = daemon.remembered(name);
    match outcome.state {
        JobState::Succeeded | JobState::Incomplete => {
            let now = Timestamp::now();
            daemon.remember(name, |known| {
                known.failures = 0;
                known.backups += 1;
                if outcome.state == JobState::Succeeded {
                    known.last_success = Some(now);
                }
            });
            let read_up_to = outcome.result.as_ref().and_then(|result| parse_zxid(result.get("zxid_high")?.as_str()?));
            daemon.change_status(name, |status| {
                status.last_error = None;
                status.read_up_to = read_up_to.or(status.read_up_to);
            });
            if before.failures > 0 {
                daemon.tell_recovery(name, before.failures);
            }
        }
        JobState::Failed | JobState::Refused => {
            daemon.remember(name, |known| known.failures = known.failures.saturating_add(1));
            let said = outcome.error.as_ref().map(|error| error.message.clone());
            let suspect = outcome.result.as_ref().and_then(|result| result.get("suspect")).and_then(|why| why.as_str());
            let said = said.or_else(|| suspect.map(|why| format!("the snapshot is held back as suspect: {why}")));
            daemon.change_status(name, |status| status.last_error = said);
        }
        JobState::Queued | JobState::Running | JobState::Cancelled => {}
    }
    daemon.metrics.of_cluster("zooark_consecutive_failures", name, daemon.remembered(name).failures.into());
}

async fn copy(daemon: &Arc<Daemon>, holding: &Arc<Holding>, name: &str) {
    let Some(cluster) = holding.cluster(name) else { return };
    for target in cluster.copies.clone() {
        // One that still runs copies this too, or the next one does.
        if daemon.jobs.active(JobKind::Copy, Some(name)).is_some() {
            return;
        }
        let job = daemon.jobs.add_about(JobKind::Copy, Some(name), Some(&target), Reason::Schedule);
        let (held, own, cluster) = (Arc::clone(holding), name.to_owned(), cluster.clone());
        daemon
            .run_job(&job, move |job| {
                let to = held.repos.copy(&target)?;
                let report = backup::copy(&*held.repos.primary()?, &to, &own, job)?;
                backup::forget(&to, &cluster, job)?;
                Ok(report)
            })
            .await;
    }
}

async fn forget(daemon: &Arc<Daemon>, holding: &Arc<Holding>, name: &str) {
    let Some(cluster) = holding.cluster(name).filter(|cluster| cluster.policy().is_some()).cloned() else { return };
    let turn = daemon.turn(name);
    let _turn = turn.lock().await;
    let job = daemon.jobs.add(JobKind::Forget, Some(name), Reason::Schedule);
    let held = Arc::clone(holding);
    daemon
        .run_job(&job, move |job| {
            let report = backup::forget(&*held.repos.primary()?, &cluster, job)?;
            Ok(report.unwrap_or_default())
        })
        .await;
}

/// Checks or prunes the primary repository, and after it the cluster's copies, each as a job of its own.
async fn keep_up(daemon: &Arc<Daemon>, task: &Task, job: &Arc<Job>) -> Outcome {
    let holding = daemon.holding();
    let cluster = holding.cluster(&task.cluster).cloned();
    // Backups go on meanwhile.
    let _upkeep = daemon.upkeep.lock().await;
    let outcome = keep_up_one(daemon, &holding, task, cluster.clone(), None, job).await;
    for copy in cluster.iter().flat_map(|cluster| cluster.copies.clone()) {
        if outcome.state == JobState::Cancelled || daemon.is_stopping() {
            break;
        }
        let job = daemon.jobs.add_about(job.view().kind, Some(&task.cluster), Some(&copy), job.view().reason);
        keep_up_one(daemon, &holding, task, cluster.clone(), Some(copy), &job).await;
    }
    outcome
}

async fn keep_up_one(
    daemon: &Arc<Daemon>,
    holding: &Arc<Holding>,
    task: &Task,
    cluster: Option<ClusterConfig>,
    copy: Option<String>,
    job: &Arc<Job>,
) -> Outcome {
    let (held, name) = (Arc::clone(holding), task.cluster.clone());
    let open = move || match &copy {
        Some(copy) => held.repos.copy(copy),
        None => held.repos.primary(),
    };
    let checks = task.work == Work::Check;
    daemon
        .run_job(job, move |job| {
            let (check, prune) = cluster.map(|cluster| (cluster.check, cluster.prune)).unwrap_or_default();
            Ok(if checks {
                let config = check.ok_or_else(|| gone(&name))?;
                Outcome::from(upkeep::check(&*open()?, &config, job)?)
            } else {
                let config = prune.ok_or_else(|| gone(&name))?;
                Outcome::from(upkeep::prune(&*open()?, &config, job)?)
            })
        })
        .await
}

/// The clusters that a restore concerns: the snapshot's, and those that are read from where it goes.
fn concerned(holding: &Holding, planned: &Planned) -> BTreeSet<String> {
    let reads = |cluster: &&ClusterConfig| match Endpoint::parse(&cluster.source) {
        Ok(Endpoint::Live(spec)) => spec.hosts.iter().any(|host| planned.hosts().contains(host)),
        _ => false,
    };
    let others = holding.config.clusters.iter().filter(reads).map(|cluster| cluster.name.clone());
    others.chain([planned.cluster.clone()]).collect()
}

/// Applies a plan. Nothing else happens to the clusters that it concerns meanwhile, and nothing is pruned.
pub fn apply(daemon: &Arc<Daemon>, planned: Arc<Planned>) -> Arc<Job> {
    let job = daemon.jobs.add(JobKind::Restore, Some(&planned.cluster), Reason::Request);
    let (own, handed) = (Arc::clone(daemon), Arc::clone(&job));
    tokio::spawn(async move {
        let holding = own.holding();
        // A long check must not keep the cluster's backups waiting.
        let _upkeep = own.upkeep.lock().await;
        let mut turns = Vec::new();
        // By name, so that two that want the same do not wait for each other.
        for name in concerned(&holding, &planned) {
            turns.push(own.turn(&name).lock_owned().await);
        }
        let held = Arc::clone(&holding);
        own.run_job(&handed, move |job| restore::apply(&*held.repos.primary()?, &planned, job)).await;
    });
    job
}
