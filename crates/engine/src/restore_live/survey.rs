//! Everything that is said before a plan is carried out: numbers, who else is there, and why it may not be done.

use std::time::Duration;

use zk_connect::Endpoint;
use zk_connect::live::Client;
use zk_connect::live::four_letter::srvr;
use zk_format::path::display;

use super::LiveRequest;
use super::area::Area;
use super::found::{Found, connect_options, failed};
use super::guard::Target;
use super::journal::Journal;
use super::plan::{Change, Plan, Step};
use super::probe::{Abilities, probe};
use super::refuse::refusals;
use super::report::{Item, LiveRestoreSummary, Offer};
use crate::error::EngineError;
use crate::repo::Repo;
use crate::report::SnapshotInfo;
use crate::snapshots;

const SRVR_TIME_OUT: Duration = Duration::from_secs(2);

/// Looks at the target once more and says what there is to say.
pub fn offer(
    repo: &Repo,
    request: &LiveRequest,
    area: &Area,
    found: &Found,
    plan: &Plan,
    client: &Client,
    journal: &Journal,
) -> Result<(Offer, Abilities), EngineError> {
    let connect = connect_options(&request.target, &request.live, request.jute_max_buffer)?;
    let asking = |error| failed(&connect, "asking", error);
    let abilities = if plan.is_empty() {
        Abilities { containers: true, ttls: true, own_acl: true }
    } else {
        repo.block_on(probe(client, plan.counts.containers > 0, plan.counts.ttls > 0)).map_err(asking)?
    };
    let target = repo.block_on(Target::read(client)).map_err(asking)?;
    let contradictions = target.contradicts(repo, &request.snapshot)?;
    let (live_ephemerals, live_sessions) = found.ephemerals();
    let mut offer = Offer {
        snapshot: Some(snapshots::info(&request.snapshot)),
        path: display(&request.path).to_string(),
        target: Endpoint::Live(request.target.clone()).to_string(),
        plan: plan.counts.clone(),
        empty: plan.is_empty(),
        conflicts: plan.conflicts.clone(),
        skipped: plan.left.clone(),
        kept: plan.kept.clone(),
        ephemerals_skipped: plan.ephemerals.clone(),
        not_reproducible: plan.unknown.iter().chain(&plan.low).cloned().collect(),
        connections: connections(&request.target.hosts),
        live_ephemerals,
        live_sessions,
        warnings: Vec::new(),
        refusals: refusals(request, area, found, plan, abilities, &contradictions),
    };
    offer.warnings = warnings(request, &offer, plan, journal, &contradictions);
    Ok((offer, abilities))
}

fn warnings(
    request: &LiveRequest,
    offer: &Offer,
    plan: &Plan,
    journal: &Journal,
    contradictions: &[String],
) -> Vec<String> {
    let mut warnings = offer.snapshot.as_ref().map(SnapshotInfo::warnings).unwrap_or_default();
    if request.yes_really {
        let doubts = contradictions.iter().map(|why| format!("the target may be another ensemble: {why}"));
        warnings.extend(doubts);
    }
    if plan.counts.reserved > 0 && request.path.is_empty() && !request.target.chroot.is_empty() {
        warnings.push("quotas are restored only between whole ensembles, not below a chroot".to_owned());
    }
    if journal.found && !request.resume {
        warnings.push(format!(
            "an earlier run of this restore was interrupted (see {}): --resume goes on with it",
            journal.path().display()
        ));
    }
    if request.resume && !journal.found {
        warnings.push("no interrupted run of this restore is known here: it starts anew".to_owned());
    }
    warnings
}

/// Client connections of all servers that tell.
fn connections(hosts: &[String]) -> Option<u64> {
    let told: Vec<u64> = hosts.iter().filter_map(|host| srvr(host, SRVR_TIME_OUT).ok()?.connections).collect();
    (!told.is_empty()).then(|| told.iter().sum())
}

impl LiveRestoreSummary {
    /// Of a plan that nothing came of yet.
    pub(super) fn planned(offer: Offer, dry_run: bool, plan_ms: u64) -> Self {
        Self {
            offer,
            dry_run,
            writes: 0,
            failures: Vec::new(),
            verified: false,
            differences: Vec::new(),
            acls_unreadable: 0,
            safety_snapshot: None,
            plan_ms,
            write_ms: 0,
            acl_ms: 0,
            verify_ms: 0,
            duration_ms: 0,
        }
    }
}

impl Plan {
    /// Everything it will do, one node after the other.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let steps = self.all_steps().map(|step| Item {
            path: display(step.target()).to_string(),
            from: (step.target() != &*step.source).then(|| display(&step.source).to_string()),
            action: action(step),
        });
        let plain = |path: &[u8], action| Item { path: display(path).to_string(), from: None, action };
        let raises = self.raises.iter().map(move |raise| plain(&raise.target, "counter"));
        let versions = self.versions.iter().map(move |raise| plain(&raise.target, "version"));
        steps.chain(raises).chain(versions)
    }
}

fn action(step: &Step) -> &'static str {
    match step.change {
        Change::Create { .. } => "create",
        Change::Replace { .. } => "type-change",
        Change::Update { data: Some(_), acl: Some(_) } => "set+acl",
        Change::Update { data: Some(_), acl: None } => "set",
        Change::Update { data: None, .. } => "acl",
        Change::Delete { .. } => "delete",
    }
}
