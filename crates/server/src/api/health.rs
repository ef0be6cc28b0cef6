//! Alive, able to serve, and figures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::Daemon;

/// How the daemon is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `alive`, `ready`, `not ready` or `stopping`.
    pub status: &'static str,
    /// Whether this daemon works or stands by.
    pub leading: bool,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = Health)))]
pub(super) async fn alive(State(daemon): State<Arc<Daemon>>) -> Json<Health> {
    Json(Health { status: "alive", leading: daemon.is_leading() })
}

/// The repository was opened and requests can be served. An old backup is an alert, not unreadiness.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, body = Health), (status = 503, body = Health),
))]
pub(super) async fn ready(State(daemon): State<Arc<Daemon>>) -> Response {
    let status = match (daemon.is_stopping(), daemon.is_ready()) {
        (true, _) => "stopping",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status, leading: daemon.is_leading() })).into_response()
}

/// Figures, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()), responses(
    (status = 200, body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(daemon): State<Arc<Daemon>>) -> impl IntoResponse {
    daemon.grow_older(Timestamp::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], daemon.metrics.render())
}
