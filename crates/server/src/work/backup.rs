//! Backing a cluster up, copying what is new, and forgetting what is old.

use engine::backup::{self, BackupRequest};
use engine::copy::{self, CopyReport};
use engine::forget::{self, ForgetReport};
use engine::report::BackupSummary;
use engine::retention::{GroupBy, Request};
use engine::snapshots::{self, Scope};
use engine::{EngineError, ErrorKind, Filter, Monitor, Repo};
use zk_connect::Endpoint;

use super::Outcome;
use crate::PROGRAM;
use crate::config::ClusterConfig;
use crate::jobs::JobState;

/// Takes one snapshot.
pub fn run(
    repo: &Repo,
    cluster: &ClusterConfig,
    host: &str,
    full: bool,
    monitor: &dyn Monitor,
) -> Result<BackupSummary, EngineError> {
    backup::run(repo, &request(cluster, host, full)?, monitor)
}

/// What is asked of the engine.
fn request(cluster: &ClusterConfig, host: &str, full: bool) -> Result<BackupRequest, EngineError> {
    let usage = |text: String| EngineError::new(ErrorKind::Usage, text);
    let source = Endpoint::parse(&cluster.source).map_err(|error| usage(error.to_string()))?;
    let mut request = BackupRequest::new(source, host.to_owned(), PROGRAM.to_owned());
    request.cluster.clone_from(&cluster.name);
    request.live = cluster.live().settings()?;
    request.tags.clone_from(&cluster.tags);
    request.filter = Filter::new(&cluster.include, &cluster.exclude).map_err(|error| usage(error.to_string()))?;
    request.allow_partial = cluster.allow_partial;
    request.compression = cluster.compression;
    request.full = full;
    if let Some(share) = cluster.max_shrink {
        request.max_shrink = share;
    }
    Ok(request)
}

impl From<BackupSummary> for Outcome {
    fn from(summary: BackupSummary) -> Self {
        let state = if summary.suspect.is_some() {
            JobState::Refused
        } else if !summary.incomplete_paths.is_empty() || summary.digest_mismatch {
            JobState::Incomplete
        } else {
            JobState::Succeeded
        };
        Self::of(state, &summary)
    }
}

fn scope(cluster: &str) -> Scope {
    Scope { cluster: Some(cluster.to_owned()), tags: Vec::new() }
}

/// Copies what the other repository lacks of a cluster.
pub fn copy(from: &Repo, to: &Repo, cluster: &str, monitor: &dyn Monitor) -> Result<CopyReport, EngineError> {
    let all = snapshots::list(from, &scope(cluster), monitor)?;
    copy::run(from, to, &all, false, monitor)
}

impl From<CopyReport> for Outcome {
    fn from(report: CopyReport) -> Self {
        Self::of(JobState::Succeeded, &report)
    }
}

/// Applies a cluster's retention; nothing where it has none.
pub fn forget(
    repo: &Repo,
    cluster: &ClusterConfig,
    monitor: &dyn Monitor,
) -> Result<Option<ForgetReport>, EngineError> {
    let Some(policy) = cluster.policy() else { return Ok(None) };
    let request = Request { policy, group_by: vec![GroupBy::Cluster], ..Request::default() };
    forget::by_policy(repo, &scope(&cluster.name), request, false, monitor).map(Some)
}

impl From<ForgetReport> for Outcome {
    fn from(report: ForgetReport) -> Self {
        let state = if !report.refused.is_empty() {
            JobState::Incomplete
        } else if report.groups.iter().any(|group| group.held.is_some()) {
            JobState::Refused
        } else {
            JobState::Succeeded
        };
        Self::of(state, &report)
    }
}
