//! Restoring a whole snapshot into the servers of a running ensemble through their `AdminServer`s.
//!
//! A server's `restore` replaces its tree in memory only, and on that server only. So an ensemble is whole again only if
//! every server takes the same file, at the zxid that all of them stand at, writes it to disk, and nothing is written
//! meanwhile; a restart of one after the other then makes them forget the transactions in between. All of that is looked
//! at before anything is changed, as far as servers tell, and again in between: `look` has the conditions, `file` makes
//! the file, this module goes through the steps.
//!
//! A stop before the first upload leaves everything as it was. From then on nothing is cancelled: a failure says which servers
//! have which tree.

mod file;
mod look;

use std::time::Instant;

use jiff::Timestamp;
use repository::Snapshot;
use serde::Serialize;
use tokio::runtime::Runtime;
use zk_connect::Endpoint;
use zk_connect::admin::{Admin, Member};
use zk_connect::endpoint::AdminSpec;
use zk_format::Zxid;

use self::file::Restored;
pub use self::look::Standing;
use crate::admin::{Telling, failed, options};
use crate::backup::BackupRequest;
use crate::error::{EngineError, ErrorKind};
use crate::live::LiveSettings;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::{Repo, runtime};
use crate::report::SnapshotInfo;
use crate::restore_live::snapshot_before;
use crate::snapshots;

/// What to restore where, and how.
#[derive(Clone, Debug)]
pub struct AdminRestoreRequest {
    /// The snapshot; all of it is restored.
    pub snapshot: Snapshot,
    /// All servers of the ensemble.
    pub target: AdminSpec,
    /// How to reach them.
    pub live: LiveSettings,
    /// Back up first what is there.
    pub safety_snapshot: bool,
    /// `jute.maxbuffer` of the servers, bytes.
    pub jute_max_buffer: u32,
    /// Look and write the file, and change nothing.
    pub dry_run: bool,
    /// Go on where only a person can know that it is right.
    pub yes_really: bool,
    /// This host's name, for the snapshot taken before.
    pub host: String,
    /// Name and version of the program.
    pub program: String,
    /// When.
    pub now: Timestamp,
}

/// What would be done.
#[derive(Clone, Debug, Serialize)]
pub struct AdminOffer {
    /// The snapshot.
    pub snapshot: SnapshotInfo,
    /// The endpoint.
    pub target: String,
    /// Where all servers stand, and what the restored tree will be taken for.
    pub zxid: String,
    /// The servers in the order in which they are to be restarted: the leader last.
    pub servers: Vec<Standing>,
    /// Znodes of the file.
    pub nodes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Ephemeral znodes left out.
    pub ephemerals_skipped: u64,
    /// What a person should know before going on.
    pub warnings: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct AdminRestoreSummary {
    /// As offered.
    #[serde(flatten)]
    pub offer: AdminOffer,
    /// The snapshot of what was there before.
    pub safety_snapshot: Option<String>,
    /// Whether every server wrote the restored tree, and it was read back node by node.
    pub verified: bool,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// Shown what would be done; says whether to go on.
pub type Approve<'a> = dyn FnMut(&AdminOffer) -> Result<bool, EngineError> + 'a;

/// Looks, asks, restores, reads back.
pub fn run(
    repo: &Repo,
    request: &AdminRestoreRequest,
    approve: &mut Approve<'_>,
    monitor: &dyn Monitor,
) -> Result<AdminRestoreSummary, EngineError> {
    let started = Instant::now();
    let servers = Servers::new(request, monitor)?;
    let members = servers.members()?;
    let refusals = look::refusals(repo, request, &members)?;
    // Which of several zxids would be meant is not known: then there is no file to make, and nothing to ask about.
    let (Some(zxid), true) = (look::common_zxid(&members), refusals.is_empty()) else {
        return Err(look::refused(&refusals));
    };
    let restored = file::make(repo, request, &members, zxid, monitor)?;
    let offer = AdminOffer {
        snapshot: snapshots::info(&request.snapshot),
        target: Endpoint::Admin(request.target.clone()).to_string(),
        zxid: zxid.to_string(),
        servers: look::in_order_of_restart(&members),
        nodes: restored.nodes,
        bytes: restored.bytes,
        ephemerals_skipped: restored.ephemerals_skipped,
        warnings: look::warnings(request, &members, &restored.notes),
    };
    let mut summary =
        AdminRestoreSummary { offer, safety_snapshot: None, verified: false, dry_run: request.dry_run, duration_ms: 0 };
    let agreed = approve(&summary.offer)?;
    if request.dry_run {
        return Ok(summary);
    }
    if !agreed {
        return Err(EngineError::new(ErrorKind::Refused, "nothing was restored: it was not agreed to"));
    }
    if request.safety_snapshot {
        summary.safety_snapshot = safety(repo, request, &members, monitor)?;
    }
    monitor.check()?;
    servers.still_at(zxid, &members, request)?;
    servers.replace(&members, &restored, zxid)?;
    servers.write_down(&members, &restored, zxid)?;
    summary.verified = true;
    summary.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

/// The servers, and who is told.
struct Servers<'r> {
    runtime: Runtime,
    admin: Admin,
    spec: &'r AdminSpec,
    monitor: &'r dyn Monitor,
}

impl<'r> Servers<'r> {
    fn new(request: &'r AdminRestoreRequest, monitor: &'r dyn Monitor) -> Result<Self, EngineError> {
        let spec = &request.target;
        let options = options(spec, &request.live)?;
        let admin = Admin::new(spec, options).map_err(|error| failed("restoring into", spec, error))?;
        Ok(Self { runtime: runtime()?, admin, spec, monitor })
    }

    fn members(&self) -> Result<Vec<Member>, EngineError> {
        let ask = |host: &String| {
            self.runtime
                .block_on(self.admin.member(host, &Telling { monitor: self.monitor }))
                .map_err(|error| failed("looking at", self.spec, error))
        };
        self.spec.hosts.iter().map(ask).collect()
    }

    /// Nothing may have changed between the look and the first upload.
    fn still_at(&self, zxid: Zxid, before: &[Member], request: &AdminRestoreRequest) -> Result<(), EngineError> {
        let now = self.members()?;
        let same = now.iter().zip(before).all(|(now, before)| {
            now.server.zxid == zxid && now.id == before.id && now.server.state == before.server.state
        });
        let busy = look::busy(&now).filter(|_| !request.yes_really);
        if same && busy.is_none() {
            return Ok(());
        }
        let why = busy.unwrap_or_else(|| format!("the servers no longer all stand at {zxid}"));
        Err(EngineError::new(
            ErrorKind::Refused,
            format!(
                "restoring into {}: {why}. Nothing was changed; keep all clients away and start again",
                self.shown()
            ),
        ))
    }

    /// Every server takes the file for its tree. From here on nothing stops it.
    fn replace(&self, members: &[Member], restored: &Restored, zxid: Zxid) -> Result<(), EngineError> {
        self.monitor.begin(Phase::Writing, Unit::Bytes, Some(restored.bytes.saturating_mul(members.len() as u64)));
        let mut done: Vec<&str> = Vec::new();
        for member in members {
            let host = member.server.host.as_str();
            let file = (&restored.file, restored.bytes);
            let taken = self.runtime.block_on(self.admin.restore(host, file, &self.unstoppable()));
            let (unsure, error) = match taken {
                Ok(found) if found == zxid => (false, None),
                Ok(found) => {
                    let what = format!("{host} takes the restored tree for the state at {found}, not {zxid}");
                    (true, Some(EngineError::new(ErrorKind::Failed, what)))
                }
                Err(error) => (!error.is_refusal(), Some(failed("restoring into", self.spec, error))),
            };
            if let Some(error) = error {
                return Err(halfway(&done, host, unsure, members, error));
            }
            self.monitor.advance(Phase::Writing, restored.bytes);
            done.push(host);
        }
        self.monitor.end(Phase::Writing);
        Ok(())
    }

    /// Every server writes what it has, which must be what was restored.
    fn write_down(&self, members: &[Member], restored: &Restored, zxid: Zxid) -> Result<(), EngineError> {
        let total = restored.nodes.saturating_mul(members.len() as u64);
        self.monitor.begin(Phase::Verifying, Unit::Nodes, Some(total));
        for member in members {
            let host = &member.server.host;
            let outcome = self
                .runtime
                .block_on(self.admin.written(member, &self.unstoppable()))
                .and_then(zk_connect::admin::Streamed::tree)
                .map_err(|error| failed("reading back from", self.spec, error))
                .and_then(|tree| file::compare(host, &restored.tree, &tree, zxid));
            outcome.map_err(|error| {
                EngineError::with(
                    ErrorKind::Incomplete,
                    format!(
                        "every server took the restored tree, and {host} did not write it down: do not restart any \
                         server, keep all clients away, and run the same restore again"
                    ),
                    error,
                )
            })?;
            self.monitor.advance(Phase::Verifying, restored.nodes);
        }
        self.monitor.end(Phase::Verifying);
        Ok(())
    }

    fn unstoppable(&self) -> Unstoppable<'_> {
        Unstoppable { telling: Telling { monitor: self.monitor } }
    }

    fn shown(&self) -> String {
        Endpoint::Admin(self.spec.clone()).to_string()
    }
}

/// Some servers have the one tree, some the other.
fn halfway(done: &[&str], host: &str, unsure: bool, members: &[Member], error: EngineError) -> EngineError {
    if done.is_empty() && !unsure {
        return error;
    }
    let left = members.iter().map(|member| member.server.host.as_str());
    let left: Vec<&str> = left.filter(|left| !(done.contains(left) || unsure && *left == host)).collect();
    let parts = [
        (done.join(", "), "have the restored tree in memory"),
        (if unsure { host.to_owned() } else { String::new() }, "may have either"),
        (left.join(", "), "the old one"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(hosts, _)| !hosts.is_empty()).map(|(hosts, what)| format!("{hosts} {what}")).collect();
    EngineError::with(
        ErrorKind::Incomplete,
        format!(
            "the servers differ now: {}. Do not restart any, keep all clients away, and run the same restore again; each \
             server takes one in 5 minutes",
            parts.join(", ")
        ),
        error,
    )
}

/// Backs up what is there, from the server that is asked last for its tree afterwards.
fn safety(
    repo: &Repo,
    request: &AdminRestoreRequest,
    members: &[Member],
    monitor: &dyn Monitor,
) -> Result<Option<String>, EngineError> {
    let last = members.last().map(|member| member.server.host.clone());
    let source = AdminSpec { hosts: last.into_iter().collect(), ..request.target.clone() };
    let backup = BackupRequest {
        live: request.live.clone(),
        ..BackupRequest::new(Endpoint::Admin(source), request.host.clone(), request.program.clone())
    };
    snapshot_before(repo, &request.snapshot, backup, request.now, monitor)
}

/// Tells a monitor, and goes on whatever it says.
struct Unstoppable<'m> {
    telling: Telling<'m>,
}

impl zk_connect::admin::Transfer for Unstoppable<'_> {
    fn begin(&self, _: u64) {}

    fn moved(&self, _: u64) {}

    fn note(&self, text: &str) {
        self.telling.note(text);
    }

    fn cancelled(&self) -> bool {
        false
    }
}
