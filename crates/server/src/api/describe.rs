//! The description of all of this that programs read, made from the code and pinned by a test.

use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse};

use super::problem::Problem;
use super::{clusters, health, jobs, restores, snapshots};

/// Why it was not done.
#[derive(Debug, ToResponse)]
#[response(description = "Why it was not done", content_type = "application/problem+json")]
pub struct Failed(#[allow(dead_code, reason = "it is there for its type")] Problem);

#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "ZooArk", description = "Backups of ZooKeeper: schedules, snapshots, restores.", license(name = "Apache-2.0")),
    paths(
        health::alive, health::ready, health::metrics,
        clusters::list, clusters::one, clusters::back_up, clusters::pause, clusters::resume,
        clusters::back_up_the_only, clusters::latest, clusters::all,
        jobs::list, jobs::one, jobs::cancel, jobs::events,
        snapshots::list, snapshots::one, snapshots::nodes, snapshots::value, snapshots::diff, snapshots::change, snapshots::forget,
        restores::targets, restores::plan, restores::one, restores::apply,
    ),
    modifiers(&Tokens),
    security(("token" = [])),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// The description.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
