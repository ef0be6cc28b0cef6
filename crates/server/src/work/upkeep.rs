//! Checking the repository and giving its space back.

use engine::check::{self, FindingReport};
use engine::prune::{self, PruneReport, PruneRequest};
use engine::repository::check::{CheckOptions, CheckStats, ReadData};
use engine::{EngineError, Monitor, Repo};
use serde::Serialize;

use super::Outcome;
use crate::config::{CheckConfig, PruneConfig};
use crate::jobs::JobState;

/// Findings that a job's result lists; all are counted.
const LISTED: usize = 200;

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The numbers.
    #[serde(flatten)]
    pub summary: CheckStats,
    /// The first of the findings.
    pub findings: Vec<FindingReport>,
}

/// Checks the repository.
pub fn check(repo: &Repo, config: &CheckConfig, monitor: &dyn Monitor) -> Result<Checked, EngineError> {
    let read_data = config.read_data_subset.map_or(ReadData::None, |subset| subset.0.today());
    let mut findings = Vec::new();
    let summary = check::run(repo, &CheckOptions { read_data, digests: false }, monitor, &mut |finding| {
        if findings.len() < LISTED {
            monitor.note(&format!("{}: {}: {}", finding.severity, finding.object, finding.problem));
            findings.push(finding);
        }
    })?;
    Ok(Checked { summary, findings })
}

impl From<Checked> for Outcome {
    fn from(checked: Checked) -> Self {
        let state = if checked.summary.damage > 0 { JobState::Incomplete } else { JobState::Succeeded };
        Self::of(state, &checked)
    }
}

/// Gives space back.
pub fn prune(repo: &Repo, config: &PruneConfig, monitor: &dyn Monitor) -> Result<PruneReport, EngineError> {
    let request =
        PruneRequest { max_repack_bytes: config.max_repack.map(|size| size.as_u64()), ..PruneRequest::default() };
    prune::prune(repo, &request, monitor)
}

impl From<PruneReport> for Outcome {
    fn from(report: PruneReport) -> Self {
        let state = if report.refused > 0 { JobState::Incomplete } else { JobState::Succeeded };
        Self::of(state, &report)
    }
}
