//! The description of all of this that programs read, made from the code and pinned by a test.

use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse, ToSchema};

use super::problem::Problem;
use super::{clusters, health, jobs, restores, snapshots};

/// Why it was not done.
#[derive(Debug, ToResponse)]
#[response(description = "Why it was not done", content_type = "application/problem+json")]
pub struct Failed(#[allow(dead_code, reason = "it is there for its type")] Problem);

/// Declares a text of a form: what requests with another are refused for.
macro_rules! texts {
    ($($(#[$about:meta])* $name:ident: $pattern:expr,)*) => {
        $($(#[$about])*
        #[derive(Debug, ToSchema)]
        #[schema(pattern = $pattern)]
        pub struct $name(#[allow(dead_code, reason = "it is there for its type")] String);)*
    };
}

texts! {
    /// An id, its first four digits or more, `latest`, `latest~2`, `@2026-11-20T10:00Z` or `zxid:0x500000021`.
    SnapshotId: "^([0-9a-fA-F]{4,64}|latest(~[0-9]{1,6})?|zxid:(0x)?[0-9a-fA-F]{1,15}|@[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?Z)?)$",
    /// The path of a node: names with `/` before each, none of them `.` or `..`; empty for the root.
    NodePath: "^(/([^/.\\u0000-\\u001f][^/\\u0000-\\u001f]*|\\.[^/.\\u0000-\\u001f][^/\\u0000-\\u001f]*|\\.\\.[^/\\u0000-\\u001f]+))*/?$",
    /// Bytes of a path that is no text.
    Base64: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
    /// What a listing said as `next`.
    After: "^([^/]*|base64/L[w-z][A-Za-z0-9+/]{2})$",
    /// A tag.
    Tag: "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,200}$",
}

/// One of the events that tell how a job is.
#[derive(Debug, ToSchema)]
pub struct JobEvent {
    /// `progress`, and at its end `end`.
    #[allow(dead_code, reason = "it is there for its type")]
    event: String,
    /// The job as JSON.
    #[allow(dead_code, reason = "it is there for its type")]
    data: String,
}

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
