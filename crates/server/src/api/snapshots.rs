//! Snapshots: listing, browsing, comparing, and what may change about them.

use std::error::Error as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::annotate::{self, TagChange};
use engine::diff::{self, DiffOptions, DiffSummary, Side};
use engine::reference::{SnapshotPath, base64_bytes};
use engine::report::SnapshotInfo;
use engine::repository::{RepositoryError, Snapshot};
use engine::snapshots::{self, Scope};
use engine::znode_json::{DifferenceJson, ZnodeJson, json, shown_path};
use engine::{EngineError, ErrorKind, Repo, Silent, forget as forgetting};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::blocking;
use super::problem::{Body, Path, Problem, Query};
use crate::daemon::Daemon;
use crate::work::restore::place;

/// Entries of one answer, at most.
const MOST: usize = 10_000;
const USUAL: usize = 1000;
/// No name begins like that: it has a slash.
const BASE64: &str = "base64/";
/// Tags of a snapshot, and characters of one.
const MOST_TAGS: usize = 100;
const LONGEST_TAG: usize = 200;

/// The snapshot that a path names.
fn find(repo: &Repo, id: &str) -> Result<Snapshot, EngineError> {
    let wrong = |text: String| EngineError::new(ErrorKind::Usage, text);
    let named: SnapshotPath = id.parse().map_err(|error| wrong(format!("{error}")))?;
    if !named.path.is_empty() {
        return Err(wrong(format!("{id:?} names a node: name the snapshot alone")));
    }
    snapshots::resolve(repo, &named.snapshot, &Scope::default(), &Silent::default()).map_err(|error| {
        // Nothing went wrong but that there is none.
        let none = error.kind == ErrorKind::Failed
            && error.source().is_none()
            && error.downcast_ref::<RepositoryError>().is_none();
        if !none {
            return error;
        }
        EngineError::wrapping(ErrorKind::Failed, RepositoryError::NoSuchSnapshot { wanted: id.to_owned() })
    })
}

fn missing(snapshot: &Snapshot, path: &[u8]) -> Problem {
    let path = zk_format::path::display(path);
    Problem::missing(format!("snapshot {} has no node {path}", snapshot.id().short()))
}

/// Which snapshots.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only of this cluster.
    cluster: Option<String>,
    /// Only with this tag.
    tag: Option<String>,
    /// The newest so many; 1000 where nothing is said, 10000 at most.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// Snapshots.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Listing {
    /// Newest first, as `zooark snapshots --json` says them.
    #[schema(value_type = Vec<Object>)]
    snapshots: Vec<SnapshotInfo>,
    /// How many there are, with those beyond the limit.
    total: usize,
    /// How many cannot be read.
    unreadable: usize,
}

fn bound(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::wrong(format!("limit is 1 to {MOST}"))),
    }
}

/// Snapshots, newest first.
#[utoipa::path(get, path = "/api/v1/snapshots", tag = "snapshots", params(Which), responses(
    (status = 200, body = Listing), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Query(which): Query<Which>,
) -> Result<Json<Listing>, Problem> {
    let holding = daemon.holding();
    let limit = bound(which.limit)?;
    let listing = blocking(move || {
        let scope = Scope { cluster: which.cluster, tags: which.tag.into_iter().collect() };
        let all = snapshots::listing(&*holding.repos.primary()?, &scope, &Silent::default())?;
        Ok(Listing {
            snapshots: all.snapshots.iter().rev().take(limit).map(snapshots::info).collect(),
            total: all.snapshots.len(),
            unreadable: all.unreadable,
        })
    });
    Ok(Json(listing.await?))
}

/// One snapshot: by its id, the beginning of one, or `latest`.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot}", tag = "snapshots", params(("snapshot" = inline(super::describe::SnapshotId), Path)), responses(
    (status = 200, body = Object), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn one(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
) -> Result<Json<SnapshotInfo>, Problem> {
    let holding = daemon.holding();
    let found = blocking(move || Ok(snapshots::info(&find(&*holding.repos.primary()?, &id)?)));
    Ok(Json(found.await?))
}

/// Which node, and which of its children.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Where {
    /// Its path; the root where nothing is said.
    #[param(value_type = Option<super::describe::NodePath>, inline)]
    path: Option<String>,
    /// The same where the path is not text: its `path_base64`.
    #[param(value_type = Option<super::describe::Base64>, inline)]
    path_base64: Option<String>,
    /// Only children after this one: the `next` of the answer before.
    #[param(value_type = Option<super::describe::After>, inline)]
    after: Option<String>,
    /// So many at most; 1000 where nothing is said, 10000 at most.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// A node and its children.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// Its path.
    path: String,
    /// The exact bytes, where the shown path is not them.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// The node, as `zooark stat --json` says it.
    #[schema(value_type = Object)]
    node: ZnodeJson,
    /// Its children, by name.
    #[schema(value_type = Vec<Object>)]
    children: Vec<ZnodeJson>,
    /// What to give for `after` to get more; null where there are none.
    next: Option<String>,
}

/// Says where a listing goes on after the child of this name: the name, or where that is not text [`BASE64`] and its bytes.
fn continuation(name: &[u8]) -> String {
    match shown_path(&[b"/", name].concat()) {
        (_, Some(base64)) => format!("{BASE64}{base64}"),
        (path, None) => path.trim_start_matches('/').to_owned(),
    }
}

/// What the children after it come after.
fn child_after(parent: &[u8], after: &str) -> Result<Vec<u8>, EngineError> {
    let name = match after.strip_prefix(BASE64) {
        Some(base64) => base64_bytes(base64)?,
        None => format!("/{after}").into_bytes(),
    };
    if name.rsplit(|byte| *byte == b'/').count() > 2 {
        let text = format!("{after:?} is no name of a child: give what a listing said as next");
        return Err(EngineError::new(ErrorKind::Usage, text));
    }
    Ok([parent, &name].concat())
}

/// A node of a snapshot and its children, without values.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot}/nodes", tag = "snapshots", params(("snapshot" = inline(super::describe::SnapshotId), Path), Where),
    responses(
    (status = 200, body = Nodes), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn nodes(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(asked): Query<Where>,
) -> Result<Json<Nodes>, Problem> {
    let holding = daemon.holding();
    let limit = bound(asked.limit)?;
    let found = blocking(move || {
        let repo = holding.repos.primary()?;
        let path = place(asked.path.as_deref(), asked.path_base64.as_deref())?;
        let after = asked.after.as_deref().map(|after| child_after(&path, after)).transpose()?;
        let snapshot = find(&repo, &id)?;
        let tree = repo.tree(&snapshot.manifest)?;
        let Some(node) = tree.node(&path)? else { return Ok(Err(missing(&snapshot, &path))) };
        let (mut children, mut next, mut last) = (Vec::new(), None, None);
        tree.children(&path, &mut |child| {
            if after.as_ref().is_some_and(|after| child.path <= *after) {
                return ControlFlow::Continue(());
            }
            if children.len() == limit {
                next = Some(());
                return ControlFlow::Break(());
            }
            // Without its value, which may be large.
            children.push(json(&child, false));
            last = child.path.rsplit(|byte| *byte == b'/').next().map(continuation);
            ControlFlow::Continue(())
        })?;
        let next = next.and(last);
        let (path, path_base64) = shown_path(&path);
        Ok(Ok(Nodes { path, path_base64, node: json(&node, false), children, next }))
    });
    Ok(Json(found.await??))
}

/// Which node.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Node {
    /// Its path; the root where nothing is said.
    #[param(value_type = Option<super::describe::NodePath>, inline)]
    path: Option<String>,
    /// The same where the path is not text: its `path_base64`, which stands before `path`.
    #[param(value_type = Option<super::describe::Base64>, inline)]
    path_base64: Option<String>,
}

/// The value of a node, as it is. Null is an empty answer with the header `X-Zooark-Null: true`.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot}/value", tag = "snapshots", params(("snapshot" = inline(super::describe::SnapshotId), Path), Node),
    responses(
    (status = 200, content_type = "application/octet-stream"), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn value(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Query(asked): Query<Node>,
) -> Result<Response, Problem> {
    let holding = daemon.holding();
    let found = blocking(move || {
        let repo = holding.repos.primary()?;
        let path = place(asked.path.as_deref(), asked.path_base64.as_deref())?;
        let snapshot = find(&repo, &id)?;
        let node = repo.tree(&snapshot.manifest)?.node(&path)?;
        Ok(node.map(|node| node.data).ok_or_else(|| missing(&snapshot, &path)))
    });
    let data = found.await??;
    let null = HeaderValue::from_static(if data.is_none() { "true" } else { "false" });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"value\"")),
        (header::HeaderName::from_static("x-zooark-null"), null),
    ];
    Ok((headers, data.unwrap_or_default()).into_response())
}

/// What to compare.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct What {
    /// Only this subtree.
    #[param(value_type = Option<super::describe::NodePath>, inline)]
    path: Option<String>,
    /// The same where the path is not text: its `path_base64`, which stands before `path`.
    #[param(value_type = Option<super::describe::Base64>, inline)]
    path_base64: Option<String>,
    /// So many changes at most; all are counted. 1000 where nothing is said, 10000 at most.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// How two snapshots differ.
#[derive(Debug, Serialize, ToSchema)]
pub struct Differences {
    /// The counts, as `zooark diff --stat --json` says them.
    #[schema(value_type = Object)]
    summary: DiffSummary,
    /// The first of the nodes, as `zooark diff --json` says them.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<DifferenceJson>,
    /// Whether there are more.
    truncated: bool,
}

/// What differs between two snapshots, without values.
#[utoipa::path(get, path = "/api/v1/snapshots/{snapshot}/diff/{other}", tag = "snapshots",
    params(("snapshot" = inline(super::describe::SnapshotId), Path, description = "The state before"),
    ("other" = inline(super::describe::SnapshotId), Path, description = "The state after"), What),
    responses(
    (status = 200, body = Differences), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn diff(
    State(daemon): State<Arc<Daemon>>,
    Path((id, other)): Path<(String, String)>,
    Query(what): Query<What>,
) -> Result<Json<Differences>, Problem> {
    let holding = daemon.holding();
    let limit = bound(what.limit)?;
    let found = blocking(move || {
        let repo = holding.repos.primary()?;
        let path = place(what.path.as_deref(), what.path_base64.as_deref())?;
        let options = DiffOptions { path, ..DiffOptions::default() };
        let (before, after) = (find(&repo, &id)?, find(&repo, &other)?);
        let sides = [Side::Snapshot(repo.tree(&before.manifest)?), Side::Snapshot(repo.tree(&after.manifest)?)];
        let (mut changes, mut truncated) = (Vec::new(), false);
        let summary = diff::run(&sides[0], &sides[1], &options, &Silent::default(), &mut |difference| {
            if changes.len() == limit {
                truncated = true;
                return Ok(());
            }
            changes.push(DifferenceJson::from(&difference));
            Ok(())
        })?;
        Ok(Differences { summary, changes, truncated })
    });
    Ok(Json(found.await?))
}

/// What changes about a snapshot.
#[expect(clippy::option_option, reason = "null lifts the protection, and nothing leaves it")]
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Its tags, instead of those it has.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Option<Vec<super::describe::Tag>>, inline)]
    tags: Option<Vec<String>>,
    /// Until when it must not be forgotten; null lifts that.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    protected_until: Option<Option<Timestamp>>,
}

/// What is there, even where it is null.
#[expect(clippy::option_option, reason = "see there")]
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Changes {
    fn check(&self) -> Result<(), Problem> {
        let tags = self.tags.as_deref().unwrap_or_default();
        let fits =
            |tag: &String| (1..=LONGEST_TAG).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
        if tags.len() > MOST_TAGS || !tags.iter().all(fits) {
            let text = format!(
                "at most {MOST_TAGS} tags, each of 1 to {LONGEST_TAG} characters and without control characters"
            );
            return Err(Problem::wrong(text));
        }
        if matches!(self.protected_until, Some(Some(until)) if until <= Timestamp::now()) {
            return Err(Problem::conflict("protected_until has passed"));
        }
        Ok(())
    }
}

/// Changes a snapshot's tags and protection.
#[utoipa::path(patch, path = "/api/v1/snapshots/{snapshot}", tag = "snapshots", params(("snapshot" = inline(super::describe::SnapshotId), Path)),
    request_body = Changes, responses(
    (status = 200, body = Object), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn change(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    Body(changes): Body<Changes>,
) -> Result<Json<SnapshotInfo>, Problem> {
    changes.check()?;
    let holding = daemon.holding();
    let done = blocking(move || {
        let repo = holding.repos.primary()?;
        let snapshot = find(&repo, &id)?;
        if let Some(tags) = changes.tags {
            annotate::tag(&repo, &snapshot, &TagChange { set: Some(tags), ..TagChange::default() }, false)?;
        }
        if let Some(until) = changes.protected_until {
            annotate::protect(&repo, &snapshot, until, false)?;
        }
        tracing::info!(snapshot = snapshot.id().short(), "tags or protection changed on request");
        Ok(snapshots::info(&find(&repo, &snapshot.id().to_string())?))
    });
    Ok(Json(done.await?))
}

/// Forgets a snapshot. One that is protected, or the last complete one of what is backed up, stays: 409.
#[utoipa::path(delete, path = "/api/v1/snapshots/{snapshot}", tag = "snapshots", params(("snapshot" = inline(super::describe::SnapshotId), Path)), responses(
    (status = 204), (status = "4XX", response = inline(super::describe::Failed)),
    (status = "5XX", response = inline(super::describe::Failed)),
))]
pub(super) async fn forget(State(daemon): State<Arc<Daemon>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let holding = daemon.holding();
    let own = Arc::clone(&holding);
    let cluster = {
        let id = id.clone();
        blocking(move || Ok(find(&*own.repos.primary()?, &id)?.manifest.body.fields.cluster.clone())).await?
    };
    let turn = daemon.turn(&cluster);
    let _turn = turn.lock().await;
    let refused = blocking(move || {
        let repo = holding.repos.primary()?;
        let snapshot = find(&repo, &id)?;
        let report = forgetting::by_id(&repo, std::slice::from_ref(&snapshot), false, false, &Silent::default())?;
        tracing::info!(snapshot = snapshot.id().short(), forgotten = report.forgotten, "forgotten on request");
        Ok(report.refusal)
    });
    match refused.await? {
        None => Ok(StatusCode::NO_CONTENT),
        Some(refusal) => Err(Problem::conflict(format!("the store keeps the snapshot: {refusal}"))),
    }
}
