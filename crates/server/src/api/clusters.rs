//! Clusters: how they are, and what can be done to them; and the paths that users of an older tool know.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::report::SnapshotInfo;
use engine::snapshots::{self, Scope};
use engine::{Silent, backup};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::blocking;
use super::problem::{BodyOrNone, Path, Problem, Query};
use crate::config::ClusterConfig;
use crate::daemon::{Daemon, Holding};
use crate::driver;
use crate::jobs::{JobKind, JobView};
use crate::planner::{Task, Work};

/// How a cluster is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Backed up, and not too long ago.
    Ok,
    /// The last backup failed.
    Failing,
    /// Backed up too long ago.
    Stale,
    /// A snapshot is held back until somebody decides, and nothing is forgotten meanwhile.
    Suspect,
    /// Its schedules are set aside.
    Paused,
    /// Never backed up.
    Never,
}

/// A cluster as JSON has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Where it is read from.
    pub source: String,
    /// How it is.
    pub state: ClusterState,
    /// Whether its schedules are set aside.
    pub paused: bool,
    /// Whether another daemon works and this one stands by.
    pub standby: bool,
    /// When it is backed up.
    pub schedule: String,
    /// When it was last known to be backed up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_success: Option<Timestamp>,
    /// How long ago that is.
    pub age_seconds: Option<i64>,
    /// From which age on that is too old.
    pub max_age_seconds: Option<u64>,
    /// When it is backed up next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run: Option<Timestamp>,
    /// Why the last backup failed.
    pub last_error: Option<String>,
    /// Backups that failed since the last that ended well.
    pub consecutive_failures: u32,
    /// The newest snapshot.
    #[schema(value_type = Option<Object>)]
    pub last_snapshot: Option<SnapshotInfo>,
    /// The backup or restore that is not over.
    pub running_job: Option<String>,
}

fn view(daemon: &Daemon, cluster: &ClusterConfig) -> ClusterView {
    let (known, status) = (daemon.remembered(&cluster.name), daemon.status(&cluster.name));
    let task = Task { cluster: cluster.name.clone(), work: Work::Backup };
    let now = Timestamp::now();
    let age_seconds = known.last_success.map(|last| now.duration_since(last).as_secs().max(0));
    let max_age_seconds = cluster.max_age.map(|most| most.0.as_secs());
    let too_old = age_seconds.zip(max_age_seconds).is_some_and(|(age, most)| age.unsigned_abs() > most);
    let state = match known.last_success {
        _ if status.suspect => ClusterState::Suspect,
        _ if known.paused => ClusterState::Paused,
        _ if known.failures > 0 => ClusterState::Failing,
        None => ClusterState::Never,
        Some(_) if too_old => ClusterState::Stale,
        Some(_) => ClusterState::Ok,
    };
    let active = |kind| daemon.jobs.active(kind, Some(&cluster.name)).map(|job| job.view().id);
    ClusterView {
        name: cluster.name.clone(),
        source: cluster.source.clone(),
        state,
        paused: known.paused,
        standby: !daemon.is_leading(),
        schedule: cluster.when_text(),
        last_success: known.last_success,
        age_seconds,
        max_age_seconds,
        next_run: daemon.planner().next_of(&task).filter(|_| daemon.is_leading()),
        last_error: status.last_error,
        consecutive_failures: known.failures,
        last_snapshot: status.latest,
        running_job: active(JobKind::Backup).or_else(|| active(JobKind::Restore)),
    }
}

fn find(holding: &Holding, name: &str) -> Result<ClusterConfig, Problem> {
    let missing = || Problem::missing(format!("no cluster {name:?} is configured; /api/v1/clusters lists them"));
    holding.cluster(name).cloned().ok_or_else(missing)
}

/// All clusters.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", responses(
    (status = 200, body = Vec<ClusterView>), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn list(State(daemon): State<Arc<Daemon>>) -> Json<Vec<ClusterView>> {
    Json(daemon.holding().config.clusters.iter().map(|cluster| view(&daemon, cluster)).collect())
}

/// One cluster.
#[utoipa::path(get, path = "/api/v1/clusters/{name}", tag = "clusters", params(("name" = String, Path)), responses(
    (status = 200, body = ClusterView), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn one(
    State(daemon): State<Arc<Daemon>>,
    Path(name): Path<String>,
) -> Result<Json<ClusterView>, Problem> {
    Ok(Json(view(&daemon, &find(&daemon.holding(), &name)?)))
}

/// How to back up.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupBody {
    /// Read everything again and write a new base.
    pub full: bool,
}

fn led(daemon: &Daemon) -> Result<(), Problem> {
    if daemon.is_leading() {
        return Ok(());
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this daemon stands by: ask the one that leads"))
}

fn start(daemon: &Arc<Daemon>, cluster: &str, full: bool) -> Result<Response, Problem> {
    led(daemon)?;
    if daemon.is_stopping() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is about to end"));
    }
    let job = driver::back_up_now(daemon, cluster, full)
        .ok_or_else(|| Problem::conflict("a backup of this cluster has just ended; try again"))?;
    Ok(accepted(&job.view()))
}

/// A job that was begun.
pub(super) fn accepted(job: &JobView) -> Response {
    let place = format!("/api/v1/jobs/{}", job.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(job)).into_response()
}

/// Backs a cluster up now. Where that is being done already, the answer is that job.
#[utoipa::path(post, path = "/api/v1/clusters/{name}/backups", tag = "clusters", params(("name" = String, Path)),
    request_body = Option<BackupBody>, responses(
    (status = 202, body = JobView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = 503, response = inline(super::describe::Failed)),
))]
pub(super) async fn back_up(
    State(daemon): State<Arc<Daemon>>,
    Path(name): Path<String>,
    BodyOrNone(body): BodyOrNone<BackupBody>,
) -> Result<Response, Problem> {
    find(&daemon.holding(), &name)?;
    start(&daemon, &name, body.full)
}

/// Sets a cluster's schedules aside. What runs goes on, and backups that are asked for are made.
#[utoipa::path(post, path = "/api/v1/clusters/{name}/pause", tag = "clusters", params(("name" = String, Path)), responses(
    (status = 200, body = ClusterView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn pause(
    State(daemon): State<Arc<Daemon>>,
    Path(name): Path<String>,
) -> Result<Json<ClusterView>, Problem> {
    set_paused(daemon, name, true).await
}

/// Lets them hold again.
#[utoipa::path(post, path = "/api/v1/clusters/{name}/resume", tag = "clusters", params(("name" = String, Path)), responses(
    (status = 200, body = ClusterView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn resume(
    State(daemon): State<Arc<Daemon>>,
    Path(name): Path<String>,
) -> Result<Json<ClusterView>, Problem> {
    set_paused(daemon, name, false).await
}

async fn set_paused(daemon: Arc<Daemon>, name: String, paused: bool) -> Result<Json<ClusterView>, Problem> {
    let cluster = find(&daemon.holding(), &name)?;
    led(&daemon)?;
    let own = Arc::clone(&daemon);
    blocking(move || own.set_paused(&name, paused)).await?;
    Ok(Json(view(&daemon, &cluster)))
}

/// Which cluster, where there are several.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Its name.
    cluster: Option<String>,
}

fn only(daemon: &Daemon, which: &Which) -> Result<String, Problem> {
    let holding = daemon.holding();
    match (&which.cluster, &holding.config.clusters[..]) {
        (Some(name), _) => Ok(find(&holding, name)?.name),
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => Err(Problem::wrong("there are several clusters: say which with ?cluster=NAME")),
    }
}

/// Backs the only cluster up now.
#[utoipa::path(post, path = "/backup/latest", tag = "as other tools have it", params(Which), responses(
    (status = 202, body = JobView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = 503, response = inline(super::describe::Failed)),
))]
pub(super) async fn back_up_the_only(
    State(daemon): State<Arc<Daemon>>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let cluster = only(&daemon, &which)?;
    start(&daemon, &cluster, false)
}

/// Its last backup.
#[utoipa::path(get, path = "/backup/latest", tag = "as other tools have it", params(Which), responses(
    (status = 200, body = Object), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn latest(
    State(daemon): State<Arc<Daemon>>,
    Query(which): Query<Which>,
) -> Result<Json<SnapshotInfo>, Problem> {
    let cluster = only(&daemon, &which)?;
    let newest = of_cluster(&daemon, cluster).await?.into_iter().next();
    newest.map(Json).ok_or_else(|| Problem::missing("there is no backup yet"))
}

/// All its backups, newest first.
#[utoipa::path(get, path = "/backup/list", tag = "as other tools have it", params(Which), responses(
    (status = 200, body = Vec<Object>), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn all(
    State(daemon): State<Arc<Daemon>>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<SnapshotInfo>>, Problem> {
    let cluster = only(&daemon, &which)?;
    Ok(Json(of_cluster(&daemon, cluster).await?))
}

async fn of_cluster(daemon: &Arc<Daemon>, cluster: String) -> Result<Vec<SnapshotInfo>, Problem> {
    let holding = daemon.holding();
    blocking(move || {
        let scope = Scope { cluster: Some(cluster), tags: Vec::new() };
        let all = snapshots::list(&*holding.repos.primary()?, &scope, &Silent::default())?;
        let regular = all.iter().rev().filter(|snapshot| !backup::is_before_restore(&snapshot.manifest.body.fields));
        Ok(regular.map(snapshots::info).collect())
    })
    .await
}
