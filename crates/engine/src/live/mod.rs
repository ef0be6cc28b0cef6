//! Live ensembles as a source: a scan becomes a state like one read from files, with what clients cannot see marked.

pub(crate) mod follow;
mod kept;
pub mod node;
mod scanned;
mod spool;
pub(crate) mod stream;

use repository::manifest::Manifest;
use repository::{RecordFlags, RecordRef};
use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::{AclMemory, Control, ScanError, ScanOptions, Unreadable};
use zk_connect::live::{AuthInfo, ConnectOptions, LiveError, SaslUser, Tls, TlsFiles, scan};
use zk_format::{AclList, key};

pub use self::kept::Kept;
pub use self::scanned::Scanned;
pub(crate) use self::scanned::flags_seen;
use crate::convert::zk_stat;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::monitor::{Monitor, Phase, Unit};
use crate::own::is_read;
use crate::repo::Repo;

/// Znodes a second that are read unless something else is said: see `docs/decisions/0007`.
pub const USUAL_RATE: u32 = 50_000;

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
    /// Nodes a second, at most, where an ACL that is asked for counts as ten; as fast as it goes where `None`.
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

/// Scans an ensemble. ACLs that the parent snapshot has for the same node and version are not asked for again.
pub fn read(
    repo: &Repo,
    spec: &LiveSpec,
    settings: &LiveSettings,
    filter: &Filter,
    parent: Option<&Manifest>,
    monitor: &dyn Monitor,
) -> Result<Scanned, EngineError> {
    let known = parent.map_or_else(|| Ok(AclMemory::default()), |parent| known_acls(repo, parent))?;
    let wanted = |path: &[u8]| is_read(filter, path);
    let expected = parent.map(|parent| parent.body.fields.nodes);
    let connect = settings.connect(spec)?;
    let options = pressing(settings, &known, &wanted);
    let mut spool = stream::spool()?;
    let seen = told(spec, expected, monitor, |control| {
        repo.block_on(scan::scan_into(&connect, &ScanOptions { control, ..options }, &mut spool))
    })?;
    drop(known);
    Scanned::new(spool, seen, filter)
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
    tree.stack().for_each(&repository::table::KeyRange::all(), |record: &RecordRef<'_>| {
        let unsure = RecordFlags::ACL_UNKNOWN.0 | RecordFlags::ACL_MASKED.0;
        let Some(path) = key::decode(record.key).filter(|_| record.flags.0 & unsure == 0) else { return };
        // Neighbours mostly have the same list.
        let list = before.take().filter(|list| *list.0 == *record.acl).unwrap_or_else(|| AclList(record.acl.into()));
        memory.insert(&path, &zk_stat(&record.stat), &list);
        before = Some(list);
    })?;
    Ok(memory)
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
