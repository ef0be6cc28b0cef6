//! Restoring into an ensemble in two steps: a plan, which changes nothing and is kept, and its application, which makes the plan
//! anew and goes on only where it is the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::reference::{SnapshotPath, base64_bytes, node_path};
use engine::restore_live::plan::Plan;
use engine::restore_live::{self, Item, LiveRequest, LiveRestoreSummary, Offer, Policy, ReadBack, Remap};
use engine::snapshots::{self, Scope};
use engine::{EngineError, ErrorKind, Filter, Monitor, Repo};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zk_connect::Endpoint;
use zk_format::file_snap_writer::DEFAULT_JUTE_MAX_BUFFER;

use super::Outcome;
use crate::PROGRAM;
use crate::config::TargetConfig;
use crate::jobs::JobState;

/// How long a plan can be agreed to.
const PLAN_LIVES: Duration = Duration::from_mins(15);
/// Plans that are kept at a time.
const MOST_PLANS: usize = 50;
/// Nodes that a plan names; all are counted.
const LISTED: usize = 1000;
/// Steps that a counter may take, as the command has it.
const COUNTER_LIMIT: u32 = 1_000_000;

/// What becomes of nodes that differ.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Nothing is restored.
    #[default]
    Fail,
    /// They stay as they are.
    Skip,
    /// They become as in the snapshot.
    Overwrite,
    /// The newer of the two stays.
    Newer,
}

impl From<Conflict> for Policy {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Fail => Self::Fail,
            Conflict::Skip => Self::Skip,
            Conflict::Overwrite => Self::Overwrite,
            Conflict::Newer => Self::Newer,
        }
    }
}

/// A path that changes on the way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// In the snapshot.
    pub from: String,
    /// In the target.
    pub to: String,
}

/// What to restore where.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own that a person sets")]
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBody {
    /// The snapshot: an id, the beginning of one, `latest`, `@TIME`, `zxid:0x…`.
    #[schema(max_length = 200)]
    pub snapshot: String,
    /// Of this cluster, where the snapshot is named by something else than its id.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub cluster: Option<String>,
    /// The part of it; all where nothing is said.
    #[serde(default)]
    pub path: Option<String>,
    /// The same where the path is not text: its `path_base64`.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// The name of a `[[restore_target]]`.
    pub target: String,
    /// What becomes of nodes that differ.
    #[serde(default)]
    pub conflict: Conflict,
    /// Whether nodes that the snapshot lacks are deleted.
    #[serde(default)]
    pub delete: bool,
    /// Whether the ACLs of nodes that exist stay.
    #[serde(default)]
    pub data_only: bool,
    /// Paths that change.
    #[serde(default)]
    pub remap: Vec<Move>,
    /// Only these nodes.
    #[serde(default)]
    pub include: Vec<String>,
    /// Not these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whether to go on where only a person can know that it is right.
    #[serde(default)]
    pub yes_really: bool,
    /// Whether to go on with a restore of the same that this daemon began and that was interrupted.
    #[serde(default)]
    pub resume: bool,
    /// Plan only: the plan cannot be applied.
    #[serde(default)]
    pub dry_run: bool,
}

/// A plan as JSON has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlanView {
    /// What `apply` is told; null of a dry run.
    pub plan_id: Option<String>,
    /// Until when that can be.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The snapshot's id.
    pub snapshot: String,
    /// The part of it.
    pub path: String,
    /// The name of the target.
    pub target: String,
    /// What would be done, as `zooark restore --dry-run --json` says it.
    #[schema(value_type = Object)]
    pub offer: Offer,
    /// The first of the nodes.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Item>,
    /// How many there are.
    pub items_total: u64,
}

/// A plan that waits to be agreed to.
#[derive(Clone, Debug)]
pub struct Planned {
    /// As it was shown.
    pub view: PlanView,
    /// The snapshot's cluster.
    pub cluster: String,
    /// Where it restores into, as it was configured then.
    target: String,
    request: LiveRequest,
    fingerprint: u64,
    made: Instant,
}

impl Planned {
    /// Whether one of these is the target that it was made for.
    pub fn is_of<'t>(&self, mut targets: impl Iterator<Item = &'t TargetConfig>) -> bool {
        targets.any(|target| target.name == self.view.target && target.target == self.target)
    }

    /// The servers it restores into, `host:port`.
    pub fn hosts(&self) -> &[String] {
        &self.request.target.hosts
    }
}

/// Plans that wait.
#[derive(Debug, Default)]
pub struct Plans(Mutex<BTreeMap<String, Arc<Planned>>>);

impl Plans {
    /// Keeps a plan; the oldest go where there are too many.
    pub fn keep(&self, planned: Planned) -> Arc<Planned> {
        let planned = Arc::new(planned);
        if let Some(id) = &planned.view.plan_id {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, planned| planned.made.elapsed() < PLAN_LIVES);
            while all.len() >= MOST_PLANS {
                all.pop_first();
            }
            all.insert(id.clone(), Arc::clone(&planned));
        }
        planned
    }

    /// The plan with this id, unless it is too old.
    pub fn find(&self, id: &str) -> Option<Arc<Planned>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).filter(|planned| planned.made.elapsed() < PLAN_LIVES).cloned()
    }

    /// The same, and nobody gets it again.
    pub fn take(&self, id: &str) -> Option<Arc<Planned>> {
        let found = self.find(id)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)?;
        Some(found)
    }
}

/// Makes a plan; changes nothing.
pub fn plan(
    repo: &Repo,
    body: &RestoreBody,
    target: &TargetConfig,
    (host, state_dir): (&str, &Path),
    monitor: &dyn Monitor,
) -> Result<Planned, EngineError> {
    let mut request = request(repo, body, target, (host, state_dir), monitor)?;
    if !request.path.is_empty() && repo.tree(&request.snapshot.manifest)?.node(&request.path)?.is_none() {
        let (id, path) = (request.snapshot.id().short(), zk_format::path::display(&request.path));
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!("snapshot {id} has no node {path}: there is nothing to restore"),
        ));
    }
    let (mut items, mut items_total, mut fingerprint) = (Vec::new(), 0, 0);
    let mut look = |_: &Offer, plan: &Plan| {
        for item in plan.items() {
            items_total += 1;
            if items.len() < LISTED {
                items.push(item);
            }
        }
        fingerprint = plan.fingerprint();
        Ok(false)
    };
    let summary = restore_live::run(repo, &request, &mut look, monitor)?;
    request.dry_run = false;
    let expires_at = Timestamp::now().checked_add(PLAN_LIVES).unwrap_or(Timestamp::MAX);
    let view = PlanView {
        plan_id: (!body.dry_run).then(|| ulid::Ulid::generate().to_string()),
        expires_at,
        snapshot: request.snapshot.id().to_string(),
        path: summary.offer.path.clone(),
        target: target.name.clone(),
        offer: summary.offer,
        items,
        items_total,
    };
    let cluster = request.snapshot.manifest.body.fields.cluster.clone();
    Ok(Planned { view, cluster, target: target.target.clone(), request, fingerprint, made: Instant::now() })
}

/// Applies a plan, where what it touches is as it was.
pub fn apply(repo: &Repo, planned: &Planned, monitor: &dyn Monitor) -> Result<LiveRestoreSummary, EngineError> {
    let request = LiveRequest { now: engine::repo::now(), ..planned.request.clone() };
    let mut agree = |offer: &Offer, plan: &Plan| {
        if offer.refusals.is_empty() && plan.fingerprint() != planned.fingerprint {
            return Err(EngineError::new(
                ErrorKind::Refused,
                "nothing was restored: something that the plan touches has changed since it was made; make a new plan",
            ));
        }
        Ok(true)
    };
    restore_live::run(repo, &request, &mut agree, monitor)
}

impl From<LiveRestoreSummary> for Outcome {
    fn from(summary: LiveRestoreSummary) -> Self {
        let state = if !summary.offer.refusals.is_empty() {
            JobState::Refused
        } else if summary.is_incomplete() {
            JobState::Incomplete
        } else {
            JobState::Succeeded
        };
        Self::of(state, &summary)
    }
}

/// A node that is named by its path or, where that is not text, by the base64 of it; the root where nothing is said.
pub fn place(path: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, EngineError> {
    // JSON has both of such a node, and of those this is the exact one.
    let Some(base64) = base64 else { return node_path(path.unwrap_or_default()) };
    let bytes = base64_bytes(base64)?;
    match zk_format::path::validate_stored(&bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(EngineError::wrapping(ErrorKind::Failed, NoSuchPath)),
    }
}

/// Bytes that no node can have for its path.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no node has this path_base64: it is the path of none")]
pub struct NoSuchPath;

fn request(
    repo: &Repo,
    body: &RestoreBody,
    target: &TargetConfig,
    (host, state_dir): (&str, &Path),
    monitor: &dyn Monitor,
) -> Result<LiveRequest, EngineError> {
    let usage = |text: String| EngineError::new(ErrorKind::Usage, text);
    let Ok(Endpoint::Live(spec)) = Endpoint::parse(&target.target) else {
        return Err(usage(format!("{:?} is no ensemble", target.target)));
    };
    let named: SnapshotPath = body.snapshot.parse().map_err(|error| usage(format!("{error}")))?;
    if !named.path.is_empty() {
        return Err(usage("the part to restore is given as path, not with the snapshot".to_owned()));
    }
    let scope = Scope { cluster: body.cluster.clone(), tags: Vec::new() };
    let moved = |rule: &Move| Ok(Remap { from: node_path(&rule.from)?, to: node_path(&rule.to)? });
    let remap = body.remap.iter().map(moved).collect::<Result<Vec<_>, EngineError>>()?;
    let path = place(body.path.as_deref(), body.path_base64.as_deref())?;
    let filter = Filter::new(&body.include, &body.exclude).map_err(|error| usage(error.to_string()))?;
    Ok(LiveRequest {
        snapshot: snapshots::resolve(repo, &named.snapshot, &scope, monitor)?,
        path,
        target: spec,
        live: engine::live::LiveSettings {
            max_rate: target.live().max_rate.filter(|rate| *rate > 0),
            ..target.live().settings()?
        },
        filter,
        remap,
        policy: body.conflict.into(),
        delete: body.delete,
        data_only: body.data_only,
        counter_limit: Some(COUNTER_LIMIT),
        accept_lower_counters: false,
        preserve_versions: Vec::new(),
        resume: body.resume,
        verify: ReadBack::Own,
        safety_snapshot: true,
        dry_run: true,
        yes_really: body.yes_really,
        jute_max_buffer: target.jute_maxbuffer.unwrap_or(DEFAULT_JUTE_MAX_BUFFER),
        state_dir: state_dir.to_owned(),
        host: host.to_owned(),
        program: PROGRAM.to_owned(),
        now: engine::repo::now(),
    })
}
