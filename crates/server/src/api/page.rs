//! The web page, compiled in. It asks for nothing that this daemon does not serve.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem;
use crate::daemon::Daemon;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal: $kind:literal,)*) => {
        /// The files below `/page/`, with their types.
        const FILES: &[(&str, &str, &[u8])] = &[$(($name, $kind, include_bytes!(concat!("../../page/", $name)))),*];
    };
}

files! {
    "api.js": "text/javascript; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "browse.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "choose.js": "text/javascript; charset=utf-8",
    "clusters.js": "text/javascript; charset=utf-8",
    "diff.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "index.html": "text/html; charset=utf-8",
    "job.js": "text/javascript; charset=utf-8",
    "jobs.js": "text/javascript; charset=utf-8",
    "json.js": "text/javascript; charset=utf-8",
    "node.js": "text/javascript; charset=utf-8",
    "path.js": "text/javascript; charset=utf-8",
    "plan.js": "text/javascript; charset=utf-8",
    "poll.js": "text/javascript; charset=utf-8",
    "problem.js": "text/javascript; charset=utf-8",
    "progress.js": "text/javascript; charset=utf-8",
    "restore.js": "text/javascript; charset=utf-8",
    "snapshot.js": "text/javascript; charset=utf-8",
    "snapshots.js": "text/javascript; charset=utf-8",
    "states.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "text.js": "text/javascript; charset=utf-8",
    "tree.js": "text/javascript; charset=utf-8",
    "value.js": "text/javascript; charset=utf-8",
}

pub(super) fn routes() -> Router<Arc<Daemon>> {
    Router::new()
        .route("/", get(|| file("index.html")))
        .route("/page/{name}", get(|Path(name): Path<String>| async move { file(&name).await }))
}

async fn file(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, _, _)| *known == name) else {
        return problem::not_found().await.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (HeaderName::from_static("content-security-policy"), HeaderValue::from_static(POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, *content).into_response()
}
