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
use self::who::{Door, need};
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
    // Whoever has no token takes nothing from the pace of those who have one.
    let (pace, strangers) = (Pace::new(server.requests_per_second), Pace::of_strangers());
    let asks = |routes: Router<Arc<Daemon>>, role| {
        let door = Door { daemon: Arc::clone(&daemon), role, strangers: strangers.clone() };
        routes.route_layer(from_fn_with_state(pace.clone(), limits::pace)).route_layer(from_fn_with_state(door, need))
    };
    let read = Router::new()
        .route("/api/v1/clusters", get(clusters::list))
        .route("/api/v1/clusters/{name}", get(clusters::one))
        .route("/api/v1/jobs", get(jobs::list))
        .route("/api/v1/jobs/{id}", get(jobs::one).delete(jobs::cancel))
        .route("/api/v1/jobs/{id}/events", get(jobs::events))
        .route("/api/v1/snapshots", get(snapshots::list))
        .route("/api/v1/snapshots/{snapshot}", get(snapshots::one))
        .route("/api/v1/snapshots/{snapshot}/nodes", get(snapshots::nodes))
        .route("/api/v1/snapshots/{snapshot}/diff/{other}", get(snapshots::diff))
        .route("/api/v1/restore-targets", get(restores::targets))
        .route("/backup/latest", get(clusters::latest))
        .route("/backup/list", get(clusters::all));
    let values = Router::new().route("/api/v1/snapshots/{snapshot}/value", get(snapshots::value));
    let backup = Router::new()
        .route("/api/v1/clusters/{name}/backups", post(clusters::back_up))
        .route("/backup/latest", post(clusters::back_up_the_only));
    let restore = Router::new()
        .route("/api/v1/restores", post(restores::plan))
        .route("/api/v1/restores/{plan_id}", get(restores::one))
        .route("/api/v1/restores/{plan_id}/apply", post(restores::apply));
    let admin = Router::new()
        .route("/api/v1/clusters/{name}/pause", post(clusters::pause))
        .route("/api/v1/clusters/{name}/resume", post(clusters::resume))
        .route("/api/v1/snapshots/{snapshot}", axum::routing::patch(snapshots::change).delete(snapshots::forget));
    let asked = asks(read, Role::Read)
        .merge(asks(values, Role::Values))
        .merge(asks(backup, Role::Backup))
        .merge(asks(restore, Role::Restore))
        .merge(asks(admin, Role::Admin));
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
