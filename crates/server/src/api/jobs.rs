//! Jobs: looking at them, and stopping them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Path, Problem, Query};
use super::who::Roles;
use crate::daemon::Daemon;
use crate::jobs::{Job, JobKind, JobView};
use crate::tokens::Role;

/// How often progress is told where only numbers change.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Which jobs.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only of this cluster.
    cluster: Option<String>,
    /// Only in this state.
    state: Option<String>,
}

/// The jobs that are known, newest first: those that are not over, and the last 500.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(Which), responses(
    (status = 200, body = Vec<JobView>), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn list(State(daemon): State<Arc<Daemon>>, Query(which): Query<Which>) -> Json<Vec<JobView>> {
    let mut all = daemon.jobs.views();
    all.retain(|job| which.cluster.is_none() || which.cluster == job.cluster);
    all.retain(|job| which.state.as_deref().is_none_or(|state| state == job.state.name()));
    Json(all)
}

fn find(daemon: &Daemon, id: &str) -> Result<Arc<Job>, Problem> {
    let missing = || Problem::missing("no job has this id; what ended long ago is not remembered");
    daemon.jobs.find(id).ok_or_else(missing)
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = JobView), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn one(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    Ok(Json(find(&daemon, &id)?.view()))
}

/// Asks a job to stop where nothing is left half-done. Needs the role that may begin one of its kind.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 202, body = JobView), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn cancel(
    State(daemon): State<Arc<Daemon>>,
    Extension(roles): Extension<Roles>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = find(&daemon, &id)?;
    let role = match job.view().kind {
        JobKind::Backup | JobKind::Copy => Role::Backup,
        JobKind::Restore => Role::Restore,
        JobKind::Forget | JobKind::Check | JobKind::Prune => Role::Admin,
    };
    if !roles.allow(role) {
        let detail = format!("stopping this needs a token with the role {}", role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if job.view().state.is_over() {
        return Err(Problem::conflict("this job is over"));
    }
    job.cancel();
    Ok((StatusCode::ACCEPTED, Json(job.view())).into_response())
}

/// A job's progress as it happens: events `progress`, then `end`, each with the job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)), responses(
    (status = 200, body = super::describe::JobEvent, content_type = "text/event-stream"),
    (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn events(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let job = find(&daemon, &id)?;
    let changes = job.changes();
    let told = futures::stream::unfold(Some((job, changes, true)), |state| async move {
        let (job, mut changes, first) = state?;
        if !first && !job.view().state.is_over() {
            let _ = tokio::time::timeout(TELL_EVERY, changes.changed()).await;
            // Several changes at once are told once.
            tokio::time::sleep(TELL_EVERY / 5).await;
            changes.mark_unchanged();
        }
        let view = job.view();
        let over = view.state.is_over();
        let event = Event::default().event(if over { "end" } else { "progress" });
        let event = event.json_data(&view).unwrap_or_default();
        Some((Ok(event), (!over).then_some((job, changes, false))))
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}
