//! Restores: a plan, and its application once somebody agreed to it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use engine::Silent;
use serde::Serialize;
use utoipa::ToSchema;

use super::blocking;
use super::clusters::accepted;
use super::problem::{Body, Path, Problem};
use crate::daemon::Daemon;
use crate::driver;
use crate::jobs::{JobKind, JobView};
use crate::work::restore::{self, PlanView, RestoreBody};

/// What may be restored into.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Target {
    /// What requests call it.
    name: String,
    /// The ensemble.
    target: String,
}

/// What may be restored into.
#[utoipa::path(get, path = "/api/v1/restore-targets", tag = "restores", responses(
    (status = 200, body = Vec<Target>), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn targets(State(daemon): State<Arc<Daemon>>) -> Json<Vec<Target>> {
    let holding = daemon.holding();
    let all = holding.config.restore_targets.iter();
    Json(all.map(|target| Target { name: target.name.clone(), target: target.target.clone() }).collect())
}

/// Makes a plan of a restore. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/restores", tag = "restores", request_body = RestoreBody, responses(
    (status = 201, body = PlanView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn plan(
    State(daemon): State<Arc<Daemon>>,
    Body(body): Body<RestoreBody>,
) -> Result<Response, Problem> {
    let holding = daemon.holding();
    let target = holding.config.restore_targets.iter().find(|target| target.name == body.target).cloned();
    let target = target.ok_or_else(|| {
        Problem::missing(format!(
            "no restore target {:?} is configured; /api/v1/restore-targets lists them",
            body.target
        ))
    })?;
    let (host, state_dir) = (daemon.host(), daemon.state_dir.clone());
    let planned = blocking(move || {
        let repo = holding.repos.primary()?;
        restore::plan(&repo, &body, &target, (&host, &state_dir), &Silent::default())
    });
    let planned = daemon.plans.keep(planned.await?);
    let view = Json(planned.view.clone());
    match &planned.view.plan_id {
        Some(id) => {
            Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/restores/{id}"))], view).into_response())
        }
        None => Ok((StatusCode::CREATED, view).into_response()),
    }
}

fn gone() -> Problem {
    Problem::missing(
        "no plan has this id: plans are forgotten after 15 minutes and once they are applied; make a new one",
    )
}

/// A plan that waits to be agreed to.
#[utoipa::path(get, path = "/api/v1/restores/{plan_id}", tag = "restores", params(("plan_id" = String, Path)), responses(
    (status = 200, body = PlanView), (status = "4XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn one(
    State(daemon): State<Arc<Daemon>>,
    Path(plan_id): Path<String>,
) -> Result<Json<PlanView>, Problem> {
    Ok(Json(daemon.plans.find(&plan_id).ok_or_else(gone)?.view.clone()))
}

/// Agrees to a plan. It is made anew first, and where something it touches has changed the job ends as `refused` and nothing is
/// restored.
#[utoipa::path(post, path = "/api/v1/restores/{plan_id}/apply", tag = "restores", params(("plan_id" = String, Path)),
    responses(
    (status = 202, body = JobView), (status = "4XX", response = inline(super::describe::Failed)),
    (status = 503, response = inline(super::describe::Failed)),
))]
pub(super) async fn apply(State(daemon): State<Arc<Daemon>>, Path(plan_id): Path<String>) -> Result<Response, Problem> {
    if daemon.is_stopping() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is about to end"));
    }
    if let Some(why) = daemon.plans.find(&plan_id).ok_or_else(gone)?.view.offer.refusals.first() {
        return Err(Problem::conflict(format!("this plan cannot be applied: {why}")));
    }
    let _one_at_a_time = daemon.restoring.lock().await;
    let running = daemon.jobs.views().into_iter().find(|job| job.kind == JobKind::Restore && !job.state.is_over());
    if let Some(job) = running {
        return Err(Problem::conflict(format!("restore {} is not over; one runs at a time", job.id)));
    }
    let planned = daemon.plans.take(&plan_id).ok_or_else(gone)?;
    if !planned.is_of(daemon.holding().config.restore_targets.iter()) {
        let name = &planned.view.target;
        return Err(Problem::conflict(format!("restore target {name:?} is another one now: make a new plan")));
    }
    Ok(accepted(&driver::apply(&daemon, planned).view()))
}
