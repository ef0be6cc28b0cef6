//! Restoring a snapshot, or a part of one, into a running ensemble over the client protocol.
//!
//! First the target is read and a plan is made, which changes nothing and can be shown. Then it is applied: nodes are
//! created and changed with parents first, for nobody but the restorer where their ACL is not open to all; everything is
//! read back over a fresh session and compared; last come the final ACLs, leaves first.
//!
//! Whatever happens between, the same restore can be run again: it plans from what it finds. What an earlier run created
//! and did not give its final ACL is told from other people's nodes by the [`journal`]. While one writes, no other does: see
//! `lock.rs`.

pub mod apply;
pub mod area;
pub mod counters;
pub mod decide;
pub mod found;
mod guard;
pub mod journal;
mod lock;
pub mod plan;
mod probe;
mod refuse;
pub mod report;
mod safety;
mod survey;
mod tighten;
pub mod verify;
mod wanted;
mod window;
pub mod write;
pub mod writer;

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use repository::Snapshot;
use zk_connect::Endpoint;
use zk_connect::endpoint::LiveSpec;
use zk_connect::live::{Client, ConnectOptions};
use zk_format::AclList;

use self::apply::Applying;
use self::area::Area;
pub use self::area::Remap;
pub use self::decide::Policy;
use self::decide::Rules;
use self::found::{Found, failed};
pub(crate) use self::guard::members as members_of;
use self::journal::Journal;
use self::lock::Lock;
use self::plan::{Plan, Wishes};
pub use self::report::{Item, LiveRestoreSummary, Offer};
use self::safety::Kept;
pub(crate) use self::safety::before as snapshot_before;
use self::verify::{Stage, Verifying};
use self::writer::Writer;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::live::LiveSettings;
use crate::monitor::{Monitor, Phase};
use crate::repo::Repo;

/// What to restore where, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own that a person sets")]
pub struct LiveRequest {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// `""` for the whole tree, else the subtree to restore.
    pub path: Vec<u8>,
    /// Where to.
    pub target: LiveSpec,
    /// How to reach it.
    pub live: LiveSettings,
    /// Which nodes.
    pub filter: Filter,
    /// Paths that change.
    pub remap: Vec<Remap>,
    /// What happens to nodes that differ.
    pub policy: Policy,
    /// Delete what the snapshot lacks.
    pub delete: bool,
    /// Leave the ACLs of nodes that exist.
    pub data_only: bool,
    /// Steps a counter of sequential names may take; `None` leaves counters alone.
    pub counter_limit: Option<u32>,
    /// Let counters in use end lower than in the snapshot.
    pub accept_lower_counters: bool,
    /// Subtrees whose data versions are raised to the snapshot's.
    pub preserve_versions: Vec<Vec<u8>>,
    /// Go on with an interrupted restore.
    pub resume: bool,
    /// Who reads everything back.
    pub verify: ReadBack,
    /// Back up what is there first.
    pub safety_snapshot: bool,
    /// Plan only.
    pub dry_run: bool,
    /// Go on where only a person can know that it is right.
    pub yes_really: bool,
    /// `jute.maxbuffer` of the target, bytes.
    pub jute_max_buffer: u32,
    /// Where what a resumed restore needs is kept.
    pub state_dir: PathBuf,
    /// This host's name, for the snapshot taken before.
    pub host: String,
    /// Name and version of the program.
    pub program: String,
    /// When.
    pub now: Timestamp,
}

/// Who reads back what was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadBack {
    /// Nobody.
    No,
    /// Our own client, over a fresh session.
    #[default]
    Own,
    /// That one and another, which others wrote.
    Both,
}

/// Shown a plan; says whether to go on. Called once, before anything is written.
pub type Approve<'a> = dyn FnMut(&Offer, &Plan) -> Result<bool, EngineError> + 'a;

/// Restores.
pub fn run(
    repo: &Repo,
    request: &LiveRequest,
    approve: &mut Approve<'_>,
    monitor: &dyn Monitor,
) -> Result<LiveRestoreSummary, EngineError> {
    let started = Instant::now();
    let area = area(request)?;
    let connect = found::connect_options(&request.target, &request.live, request.jute_max_buffer)?;
    let manifest = &request.snapshot.manifest;
    let tree = repo.tree(manifest)?;
    let mut journal = Journal::open(&request.state_dir, &journal_name(repo, request))?;
    let found = Found::read(repo, &connect, &request.live, &area, Phase::Reading, monitor)?;
    let mut wishes = wishes(request, &journal, &found);
    let plan = Plan::make(&tree, &area, &found, &wishes, monitor)?;

    let client =
        repo.block_on(Client::connect(connect.clone())).map_err(|error| failed(&connect, "restoring into", error))?;
    let (offer, abilities) = survey::offer(repo, request, &area, &found, &plan, &client, &journal)?;
    drop(found);
    let mut summary = LiveRestoreSummary::planned(offer, request.dry_run, millis(started));
    let agreed = approve(&summary.offer, &plan)?;
    if let Some(why) = summary.offer.refusals.first().filter(|_| !request.dry_run) {
        return Err(EngineError::new(ErrorKind::Refused, why.clone()));
    }
    if request.dry_run || plan.is_empty() {
        if request.dry_run {
            repo.block_on(client.close());
        } else {
            repo.block_on(Lock::leave_none(&client, journal.path()));
            journal.remove()?;
        }
        summary.verified = plan.is_empty();
        return Ok(LiveRestoreSummary { duration_ms: millis(started), ..summary });
    }
    if !agreed {
        return Err(EngineError::new(ErrorKind::Refused, "nothing was restored: the plan was not agreed to"));
    }

    let lock = repo.block_on(Lock::take(&client, request, journal.path(), monitor))?;
    if lock.waited {
        let again = Found::read(repo, &connect, &request.live, &area, Phase::Reading, monitor)
            .and_then(|found| Plan::make(&tree, &area, &found, &wishes, monitor));
        if let Err(error) = again.and_then(|again| unchanged(&plan, &again)) {
            repo.block_on(lock.release(&client));
            return Err(error);
        }
    }
    let writer = Writer::new(&client, monitor);
    let temporary = if abilities.own_acl { probe::own_acl() } else { AclList::world() };
    let applying = Applying {
        repo,
        tree: &tree,
        area: &area,
        plan: &plan,
        connect: &connect,
        client: &client,
        writer: &writer,
        temporary,
        monitor,
    };
    let verifying = Verifying { repo, tree: &tree, area: &area, connect: &connect, settings: &request.live, monitor };
    let mut write = || {
        let kept = Kept::begin(repo, &request.snapshot, request.now, monitor);
        if request.safety_snapshot {
            summary.safety_snapshot = safety::snapshot(repo, request, &area, monitor)?;
        }
        if !request.resume {
            journal.start_anew();
        }
        let timed = Instant::now();
        applying.data(&mut journal)?;
        summary.write_ms = millis(timed);
        if request.verify != ReadBack::No {
            let timed = Instant::now();
            if let Some(list) = journal.temporary(|_| None) {
                wishes.rules.temporary = Some(list);
            }
            summary.differences = verifying.data(&plan, &wishes)?;
            if request.verify == ReadBack::Both {
                summary.differences.extend(verifying.second(&plan, Stage::Data)?);
            }
            summary.verify_ms = millis(timed);
        }
        let timed = Instant::now();
        applying.acls(&mut journal)?;
        summary.acl_ms = millis(timed);
        Ok::<_, EngineError>(kept)
    };
    let written = write();
    repo.block_on(lock.release(&client));
    let kept = written?;
    if request.verify != ReadBack::No {
        let timed = Instant::now();
        let seen = verifying.acls(&plan)?;
        summary.differences.extend(seen.differences);
        summary.acls_unreadable = seen.unreadable;
        if request.verify == ReadBack::Both {
            summary.differences.extend(verifying.second(&plan, Stage::Acls)?);
        }
        summary.verify_ms += millis(timed);
    }
    summary.writes = writer.applied();
    summary.failures = writer.failures();
    summary.verified = request.verify != ReadBack::No;
    journal.remove()?;
    kept.map_or(Ok(()), Kept::release)?;
    Ok(LiveRestoreSummary { duration_ms: millis(started), ..summary })
}

/// Whoever held the lock wrote: the plan has to be the same still.
fn unchanged(plan: &Plan, again: &Plan) -> Result<(), EngineError> {
    if again.fingerprint() == plan.fingerprint() {
        return Ok(());
    }
    let text = "nothing was restored: another restore changed the target since the plan was made; run it again";
    Err(EngineError::new(ErrorKind::Refused, text))
}

fn area(request: &LiveRequest) -> Result<Area, EngineError> {
    let source = &request.snapshot.manifest.body.fields.source;
    let stored = Filter::from_canonical(&source.filter)
        .map_err(|error| EngineError::with(ErrorKind::Damage, "reading the snapshot's filter", error))?;
    let whole = source.chroot.is_empty() && request.target.chroot.is_empty();
    let area = Area::new(request.path.clone(), request.remap.clone(), request.filter.clone(), stored, whole);
    area.check()?;
    Ok(area)
}

fn wishes(request: &LiveRequest, journal: &Journal, found: &Found) -> Wishes {
    let acl_of = |path: &[u8]| found.node(path)?.acl.cloned();
    Wishes {
        rules: Rules {
            policy: request.policy,
            data_only: request.data_only,
            temporary: request.resume.then(|| journal.temporary(acl_of)).flatten(),
            tightening: request.resume && journal.tightening(),
        },
        delete: request.delete,
        counter_limit: request.counter_limit,
        accept_lower_counters: request.accept_lower_counters,
        preserve_versions: request.preserve_versions.clone(),
        jute_max_buffer: request.jute_max_buffer as usize,
    }
}

/// The same for the same restore, and for no other.
fn journal_name(repo: &Repo, request: &LiveRequest) -> String {
    let moves: Vec<String> = request
        .remap
        .iter()
        .map(|rule| format!("{}={}", zk_format::path::display(&rule.from), zk_format::path::display(&rule.to)))
        .collect();
    let what = format!("{}:{} {}", request.snapshot.id(), zk_format::path::display(&request.path), moves.join(" "));
    let place = Endpoint::Live(request.target.clone()).to_string();
    let id = repo.lineage(&what, &place, &request.filter.canonical(), "restore").to_string();
    format!("restore-{}", id.get(..16).unwrap_or(&id))
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The connection options that a request leads to, for other readers of the same target.
pub fn connect_options(request: &LiveRequest) -> Result<ConnectOptions, EngineError> {
    found::connect_options(&request.target, &request.live, request.jute_max_buffer)
}
