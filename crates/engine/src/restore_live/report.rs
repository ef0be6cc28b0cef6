//! What a restore into an ensemble says before and after.

use serde::Serialize;

use super::plan::{Counts, Said};
use crate::report::SnapshotInfo;

/// What is shown before anything is written.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Offer {
    /// The snapshot.
    pub snapshot: Option<SnapshotInfo>,
    /// The part of it, `/` for all.
    pub path: String,
    /// Where to.
    pub target: String,
    /// The numbers.
    pub plan: Counts,
    /// Whether there is nothing to do.
    pub empty: bool,
    /// Nodes that forbid it.
    pub conflicts: Vec<Said>,
    /// Nodes that differ and stay as they are.
    pub skipped: Vec<Said>,
    /// Nodes that `--delete` spares.
    pub kept: Vec<Said>,
    /// Ephemeral nodes of the snapshot, which are left out.
    pub ephemerals_skipped: Vec<String>,
    /// What cannot be as in the snapshot, whatever is done.
    pub not_reproducible: Vec<Said>,
    /// Client connections that the servers count, ours included; `None` where none says.
    pub connections: Option<u64>,
    /// Ephemeral nodes in the target where the restore goes.
    pub live_ephemerals: u64,
    /// Sessions that own them.
    pub live_sessions: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Why it will not be done.
    pub refusals: Vec<String>,
}

/// One node of a plan, for whoever wants all of them.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its path in the target.
    pub path: String,
    /// Its path in the snapshot, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `create`, `set`, `acl`, `set+acl`, `type-change`, `delete`, `counter`, `version`.
    pub action: &'static str,
}

/// What a restore did.
#[derive(Clone, Debug, Serialize)]
pub struct LiveRestoreSummary {
    /// As shown before.
    #[serde(flatten)]
    pub offer: Offer,
    /// Nothing was written.
    pub dry_run: bool,
    /// Writes that the servers confirmed.
    pub writes: u64,
    /// What could not be written, and why.
    pub failures: Vec<Said>,
    /// Whether everything was read back over a fresh session.
    pub verified: bool,
    /// What differs from the snapshot after the restore.
    pub differences: Vec<Said>,
    /// ACLs that keep even the restorer from reading them back; the servers confirmed them.
    pub acls_unreadable: u64,
    /// The snapshot taken before, where one was.
    pub safety_snapshot: Option<String>,
    /// Milliseconds for the plan.
    pub plan_ms: u64,
    /// Milliseconds for writing data.
    pub write_ms: u64,
    /// Milliseconds for final ACLs.
    pub acl_ms: u64,
    /// Milliseconds for reading back.
    pub verify_ms: u64,
    /// Milliseconds for all of it.
    pub duration_ms: u64,
}

impl LiveRestoreSummary {
    /// Whether something is not as it should be.
    pub fn is_incomplete(&self) -> bool {
        !self.failures.is_empty()
            || !self.differences.is_empty()
            || (!self.dry_run && !self.offer.not_reproducible.is_empty())
    }
}
