//! REST: one file for each kind of thing that is asked about. [`document`] is the description that programs read.

mod clusters;
mod describe;
mod health;
mod jobs;
mod limits;
mod page;
mod problem;
mod restores;
mod snapshots;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use self::limits::Pace;
use self::problem::Problem;
use self::who::need;
use crate::daemon::Daemon;
use crate::tokens::Role;

pub use self::describe::document;

/// The longest body where nothing else is configured.
const USUAL_BODY: u64 = 1 << 20;

/// Health and metrics alone, for a port of their own.
pub fn health_only(daemon: Arc<Daemon>) -> Router {
    open_to_all().with_state(daemon).fallback(problem::not_found).layer(from_fn(limits::no_sniffing))
}

fn open_to_all() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}

/// Everything.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let server = daemon.holding().config.server.clone();
    let body = usize::try_from(server.max_body.map_or(USUAL_BODY, |size| size.as_u64())).unwrap_or(usize::MAX);
    let asks = |role| from_fn_with_state((Arc::clone(&daemon), role), need);
    let read = Router::new()
        .route("/api/v1/clusters", get(clusters::list))
        .route("/api/v1/clusters/{name}", get(clusters::one))
        .route("/api/v1/jobs", get(jobs::list))
        .route("/api/v1/jobs/{id}", get(jobs::one).delete(jobs::cancel))
        .route("/api/v1/jobs/{id}/events", get(jobs::events))
        .route("/api/v1/snapshots", get(snapshots::list))
        .route("/api/v1/snapshots/{id}", get(snapshots::one))
        .route("/api/v1/snapshots/{id}/nodes", get(snapshots::nodes))
        .route("/api/v1/snapshots/{id}/diff/{other}", get(snapshots::diff))
        .route("/api/v1/restore-targets", get(restores::targets))
        .route("/backup/latest", get(clusters::latest))
        .route("/backup/list", get(clusters::all))
        .route_layer(asks(Role::Read));
    let values =
        Router::new().route("/api/v1/snapshots/{id}/value", get(snapshots::value)).route_layer(asks(Role::Values));
    let backup = Router::new()
        .route("/api/v1/clusters/{name}/backups", post(clusters::back_up))
        .route("/backup/latest", post(clusters::back_up_the_only))
        .route_layer(asks(Role::Backup));
    let restore = Router::new()
        .route("/api/v1/restores", post(restores::plan))
        .route("/api/v1/restores/{plan_id}", get(restores::one))
        .route("/api/v1/restores/{plan_id}/apply", post(restores::apply))
        .route_layer(asks(Role::Restore));
    let admin = Router::new()
        .route("/api/v1/clusters/{name}/pause", post(clusters::pause))
        .route("/api/v1/clusters/{name}/resume", post(clusters::resume))
        .route("/api/v1/snapshots/{id}", axum::routing::patch(snapshots::change).delete(snapshots::forget))
        .route_layer(asks(Role::Admin));
    let asked = read.merge(values).merge(backup).merge(restore).merge(admin);
    let asked = asked.route_layer(from_fn_with_state(Pace::new(server.requests_per_second), limits::pace));
    open_to_all()
        .merge(asked)
        .merge(page::routes())
        .route("/openapi.json", get(describe::serve))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(body))
        .layer(from_fn(limits::no_sniffing))
        .with_state(daemon)
}

/// What is done on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, engine::EngineError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Problem::from(&error)),
        Err(_) => Err(Problem::internal("the request broke off, which is a fault of this program")),
    }
}
