//! Live ensembles as a source: a scan becomes a state like one read from files, with what clients cannot see marked.

pub(crate) mod follow;
pub mod node;
mod spool;
pub(crate) mod stream;

use std::collections::BTreeMap;

use repository::manifest::{Gap, Manifest};
use repository::{RecordFlags, RecordRef};
use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::{AclMemory, Control, Scan, ScanError, ScanOptions, ServerInfo, Unreadable, is_masked};
use zk_connect::live::{AuthInfo, ConnectOptions, LiveError, SaslUser, Tls, TlsFiles, scan};
use zk_format::load::{Consistency, Loaded, Proof, Tail};
use zk_format::{AclList, Zxid, key};

use crate::backup::Whole;
use crate::convert::zk_stat;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::state::Marks;

/// How to reach an ensemble and how hard to press it.
#[derive(Clone, Debug, Default)]
pub struct LiveSettings {
    /// Credentials, in this order.
    pub auth: Vec<AuthInfo>,
    /// Who we are to SASL, before anything else is said.
    pub sasl: Option<SaslUser>,
    /// What TLS is set up from, for `zk+tls://`.
    pub tls: TlsFiles,
    /// Connections to read over.
    pub connections: Option<usize>,
    /// Nodes a second, at most.
    pub max_rate: Option<u32>,
    /// Ask `AdminServer`s for snapshots although that can change their tree (ZOOKEEPER-4872, 3.9.0 to 3.9.3).
    pub unsafe_admin_servers: bool,
}

impl LiveSettings {
    /// What a client needs to connect.
    pub fn connect(&self, spec: &LiveSpec) -> Result<ConnectOptions, EngineError> {
        let tls = match (spec.tls, self.tls.is_empty()) {
            (true, _) => Some(Tls::load(&self.tls).map_err(|error| {
                EngineError::with(ErrorKind::Usage, "setting up TLS: no server was asked for anything", error)
            })?),
            (false, true) => None,
            (false, false) => {
                let what = "there are files for TLS and zk:// is plain text: write zk+tls://";
                return Err(EngineError::new(ErrorKind::Usage, what));
            }
        };
        Ok(ConnectOptions { auth: self.auth.clone(), sasl: self.sasl.clone(), tls, ..ConnectOptions::new(spec) })
    }
}

/// What is peculiar to a state that a client saw.
#[derive(Clone, Debug)]
pub struct LiveFacts {
    /// What could not be learnt of single nodes.
    pub marks: Marks,
    /// Whether the ACLs are of the same state as everything else.
    pub acl_consistency: Consistency,
    /// Nodes that were not read whole, with the reason.
    pub gaps: Vec<Gap>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The servers' version, where they said it.
    pub version: Option<String>,
    /// Every ACL is from this state or a later one.
    pub acl_zxid: Zxid,
}

/// Scans an ensemble. ACLs that the parent snapshot has for the same node and version are not asked for again.
pub fn read(
    repo: &Repo,
    spec: &LiveSpec,
    settings: &LiveSettings,
    filter: &Filter,
    parent: Option<&Manifest>,
    monitor: &dyn Monitor,
) -> Result<Whole, EngineError> {
    let known = parent.map_or_else(|| Ok(AclMemory::default()), |parent| known_acls(repo, parent))?;
    let wanted = |path: &[u8]| filter.selects(path) || filter.leads_to(path);
    let expected = parent.map(|parent| parent.body.fields.nodes);
    let connect = settings.connect(spec)?;
    let options = pressing(settings, &known, &wanted);
    let scanned = told(spec, expected, monitor, |control| {
        repo.block_on(scan::scan(&connect, &ScanOptions { control, ..options }))
    })?;
    Ok(whole(scanned, filter))
}

/// How to scan, as far as the settings say.
pub(crate) fn pressing<'a>(
    settings: &LiveSettings,
    known: &'a AclMemory,
    wanted: &'a (dyn Fn(&[u8]) -> bool + Sync),
) -> ScanOptions<'a> {
    let (connections, max_rate) = (settings.connections, settings.max_rate);
    ScanOptions { connections, max_rate, known, wanted, control: &Unheard }
}

/// Reads with the monitor told how it goes; a failure says of which ensemble.
pub(crate) fn told<T>(
    spec: &LiveSpec,
    expected: Option<u64>,
    monitor: &dyn Monitor,
    read: impl FnOnce(&Telling<'_>) -> Result<T, ScanError>,
) -> Result<T, EngineError> {
    monitor.begin(Phase::Reading, Unit::Nodes, expected);
    let outcome = read(&Telling { monitor });
    monitor.end(Phase::Reading);
    outcome.map_err(|error| failed(spec, error))
}

/// A failure to read an ensemble, with what it means for the caller.
fn failed(spec: &LiveSpec, error: ScanError) -> EngineError {
    let kind = match &error {
        ScanError::Live(LiveError::Setup { .. }) | ScanError::NoWatches => ErrorKind::Usage,
        ScanError::Stopped => return crate::monitor::Cancelled.into(),
        _ => ErrorKind::Failed,
    };
    let place = zk_connect::Endpoint::Live(spec.clone());
    EngineError::with(kind, format!("reading {place}"), error)
}

/// Tells nobody.
struct Unheard;

impl Control for Unheard {
    fn read(&self, _: u64) {}

    fn note(&self, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// Tells a monitor.
pub(crate) struct Telling<'m> {
    monitor: &'m dyn Monitor,
}

impl Control for Telling<'_> {
    fn read(&self, nodes: u64) {
        self.monitor.advance(Phase::Reading, nodes);
    }

    fn note(&self, text: &str) {
        self.monitor.note(text);
    }

    fn cancelled(&self) -> bool {
        self.monitor.cancelled()
    }
}

/// The lists of a snapshot, by node and ACL version.
pub(crate) fn known_acls(repo: &Repo, parent: &Manifest) -> Result<AclMemory, EngineError> {
    let tree = repo.tree(parent)?;
    let mut memory = AclMemory::default();
    let mut before: Option<AclList> = None;
    tree.stack().for_each(&repository::table::KeyRange::all(), |record: RecordRef<'_>| {
        let unsure = RecordFlags::ACL_UNKNOWN.0 | RecordFlags::ACL_MASKED.0;
        let Some(path) = key::decode(record.key).filter(|_| record.flags.0 & unsure == 0) else { return };
        // Neighbours mostly have the same list.
        let list = before.take().filter(|list| *list.0 == *record.acl).unwrap_or_else(|| AclList(record.acl.into()));
        memory.insert(&path, &zk_stat(&record.stat), &list);
        before = Some(list);
    })?;
    Ok(memory)
}

/// What a scan found, as a state.
pub(crate) fn whole(scanned: Scan, filter: &Filter) -> Whole {
    let exact = if scanned.is_exact() { Consistency::Exact } else { Consistency::Fuzzy };
    let touched = scanned.tree.touched().iter().filter_map(|touched| touched.new.as_ref()?.acl.clone());
    let masked: std::collections::HashSet<AclList> =
        scanned.tree.base().acls().iter().cloned().chain(touched).filter(is_masked).collect();
    let missing: BTreeMap<Vec<u8>, RecordFlags> =
        scanned.unreadable.iter().map(|(path, missing)| (path.clone(), flags(*missing))).collect();
    let gap = |(path, missing): (&Vec<u8>, &Unreadable)| Gap { path: path.clone(), reason: reason(*missing) };
    let mut notes = Vec::new();
    if !masked.is_empty() {
        notes.push(format!(
            "{} ACLs have digests that the server hides without ADMIN permission; they are marked and never restored as \
             if they were real",
            masked.len()
        ));
    }
    if scanned.read_again > 0 {
        notes.push(format!("{} nodes changed during the scan and were read again", scanned.read_again));
    }
    let state_time_ms = scanned.tree.iter().map(|node| node.stat.mtime.max(node.stat.ctime)).max().unwrap_or(0);
    let live = LiveFacts {
        acl_consistency: exact,
        gaps: scanned.unreadable.iter().map(gap).collect(),
        version: version(&scanned.servers),
        marks: Marks { kinds_hidden: true, masked, nodes: missing },
        notes,
        acl_zxid: Zxid(scanned.span.low),
    };
    let loaded = Loaded {
        digest: scanned.tree.base().digest(),
        tree: scanned.tree,
        sessions: Vec::new(),
        zxid_low: Zxid(scanned.span.low),
        zxid_high: Zxid(scanned.span.high),
        consistency: exact,
        proof: Proof::None,
        tail: Tail::Confirmed,
        anchor: None,
        place: None,
        state_time_ms,
        unresolved_acls: Vec::new(),
        transactions: 0,
        notes: Vec::new(),
    };
    Whole { loaded, filter: filter.clone(), live: Some(live), version: None }
}

fn version(servers: &[ServerInfo]) -> Option<String> {
    let printed = servers.iter().find_map(|server| server.version.as_deref())?;
    Some(printed.split(['-', ',']).next().unwrap_or(printed).to_owned())
}

/// What is missing of a node, as stored.
pub(crate) fn flags(missing: Unreadable) -> RecordFlags {
    let mut flags = RecordFlags::default();
    if missing.data {
        flags |= RecordFlags::VALUE_UNREADABLE;
    }
    if missing.children {
        flags |= RecordFlags::INCOMPLETE;
    }
    if missing.acl {
        flags |= RecordFlags::ACL_UNKNOWN;
    }
    flags
}

fn reason(missing: Unreadable) -> String {
    let parts = [(missing.data, "data"), (missing.children, "children"), (missing.acl, "ACL")];
    let parts: Vec<&str> = parts.iter().filter(|(missing, _)| *missing).map(|(_, part)| *part).collect();
    format!("no permission to read its {}", parts.join(", "))
}
