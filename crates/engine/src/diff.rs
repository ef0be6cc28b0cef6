//! What differs between two states, each of them a snapshot, a data directory or a live ensemble.
//!
//! A live ensemble lies on the disk, sorted, while it is compared. Between snapshots only what their tables do not share
//! is read. `/zookeeper/config` and the counters of quotas change without transactions and are left out. What could not
//! be read of a live ensemble is not compared, and counted.

mod with_stream;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use repository::stack;
use repository::{RecordFlags, RecordRef};
use serde::Serialize;
use zk_connect::{DataDirSpec, Endpoint};
use zk_format::load::{LoadOptions, Loaded, load};
use zk_format::{Stat, key, path};

use crate::admin;
use crate::backup::open_datadir;
use crate::convert::{descendants_range, record_ref};
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::live::LiveSettings;
use crate::live::stream::Stream;
use crate::monitor::{Monitor, Phase, Unit};
use crate::own::{is_own, is_read};
use crate::state::StateRecords;
use crate::tree::SnapshotTree;
use crate::znode::Znode;

/// One of the two states.
#[derive(Debug)]
pub enum Side<'r> {
    /// A snapshot.
    Snapshot(SnapshotTree<'r>),
    /// A data directory, read.
    State(Box<Loaded>),
    /// A live ensemble, read and lying on the disk.
    Live(Box<Stream>),
}

/// What to compare.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Only this subtree; `""` for everything.
    pub path: Vec<u8>,
    /// Which nodes.
    pub filter: Filter,
    /// Also nodes of which only the stat differs.
    pub stats: bool,
}

/// How one node differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Not there before.
    Created,
    /// There before and after.
    Changed,
    /// Not there after.
    Deleted,
}

/// One node that differs.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each tells one way to differ, and they combine")]
pub struct Difference {
    /// How.
    pub change: Change,
    /// Its data differs.
    pub data: bool,
    /// Its ACL differs.
    pub acl: bool,
    /// Its type or owner differs.
    pub kind: bool,
    /// It was deleted and created again.
    pub recreated: bool,
    /// Before.
    pub old: Option<Znode>,
    /// After.
    pub new: Option<Znode>,
}

impl Difference {
    /// The node's path.
    pub fn path(&self) -> &[u8] {
        self.old.as_ref().or(self.new.as_ref()).map_or(&[], |node| &node.path)
    }
}

/// How much differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiffSummary {
    /// Nodes not there before.
    pub created: u64,
    /// Nodes that differ.
    pub changed: u64,
    /// Nodes not there after.
    pub deleted: u64,
    /// Nodes whose stat alone differs: children came and went, or equal data was written.
    pub stat_only: u64,
    /// Nodes of a live ensemble that could not be read whole; what is missing was not compared.
    pub unread: u64,
}

impl DiffSummary {
    /// Whether nothing but stats differs.
    pub const fn is_equal(&self) -> bool {
        self.created == 0 && self.changed == 0 && self.deleted == 0
    }
}

/// Loads a data directory to compare with.
pub fn datadir<'r>(spec: &DataDirSpec, monitor: &dyn Monitor) -> Result<Side<'r>, EngineError> {
    monitor.begin(Phase::Reading, Unit::Nodes, None);
    let loaded = load(&open_datadir(spec)?, &LoadOptions::default())
        .map_err(|error| EngineError::with(ErrorKind::Failed, format!("reading {spec}"), error))?;
    for note in &loaded.notes {
        monitor.note(&note.to_string());
    }
    monitor.end(Phase::Reading);
    Ok(Side::State(Box::new(loaded)))
}

/// The side that an endpoint names; of a live ensemble only what `options` are about is read.
pub fn endpoint<'r>(
    endpoint: &Endpoint,
    live: &LiveSettings,
    options: &DiffOptions,
    monitor: &dyn Monitor,
) -> Result<Side<'r>, EngineError> {
    match endpoint {
        Endpoint::DataDir(spec) => datadir(spec, monitor),
        Endpoint::Live(spec) => {
            let wanted = |path: &[u8]| {
                let on_the_way = path::is_within(path, &options.path) || path::is_within(&options.path, path);
                on_the_way && is_read(&options.filter, path)
            };
            let stream = Stream::read(spec, live, &wanted, monitor)?;
            if let Some((low, high)) = stream.moments {
                monitor.note(&format!("{endpoint} changed while it was read: nodes of moments from {low} to {high}"));
            }
            Ok(Side::Live(Box::new(stream)))
        }
        Endpoint::Admin(spec) => {
            let handed_out = admin::read(spec, live, monitor)?;
            for note in &handed_out.loaded.notes {
                monitor.note(&note.to_string());
            }
            Ok(Side::State(Box::new(handed_out.loaded)))
        }
    }
}

impl Side<'_> {
    fn unread(&self) -> Option<&BTreeMap<Vec<u8>, RecordFlags>> {
        match self {
            Self::Live(stream) => Some(&stream.unread),
            Self::Snapshot(_) | Self::State(_) => None,
        }
    }
}

/// What is not known of a node: of its data, or whether it is there at all, below one whose children are hidden.
fn hidden(path: &[u8], sides: [&Side<'_>; 2]) -> Hidden {
    let mut found = Hidden::Nothing;
    for unread in sides.into_iter().filter_map(Side::unread).filter(|unread| !unread.is_empty()) {
        let flagged = |path: &[u8], flag: RecordFlags| unread.get(path).is_some_and(|flags| flags.0 & flag.0 != 0);
        let mut above = key::parent(path);
        while let Some(parent) = above {
            if flagged(parent, RecordFlags::INCOMPLETE) {
                return Hidden::Node;
            }
            above = key::parent(parent);
        }
        if flagged(path, RecordFlags::VALUE_UNREADABLE) {
            found = Hidden::Data;
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Nothing,
    Data,
    Node,
}

/// Calls `visit` with every node that differs, in key order.
pub fn run(
    before: &Side<'_>,
    after: &Side<'_>,
    options: &DiffOptions,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(Difference) -> Result<(), EngineError>,
) -> Result<DiffSummary, EngineError> {
    let mut summary = DiffSummary::default();
    let unread = [before, after].into_iter().filter_map(Side::unread);
    summary.unread = unread.map(|unread| unread.len() as u64).sum();
    let mut each = |old: Option<Znode>, new: Option<Znode>| {
        monitor.check()?;
        let hidden = old.as_ref().or(new.as_ref()).map_or(Hidden::Nothing, |node| hidden(&node.path, [before, after]));
        if hidden == Hidden::Node {
            return Ok(());
        }
        match classify(old, new, options, hidden == Hidden::Data) {
            Some(Ok(difference)) => {
                match difference.change {
                    Change::Created => summary.created += 1,
                    Change::Changed => summary.changed += 1,
                    Change::Deleted => summary.deleted += 1,
                }
                visit(difference)
            }
            Some(Err(stat_only)) => {
                summary.stat_only += 1;
                if options.stats { visit(stat_only) } else { Ok(()) }
            }
            None => Ok(()),
        }
    };
    monitor.begin(Phase::Comparing, Unit::Nodes, None);
    match (before, after) {
        (Side::Snapshot(before), Side::Snapshot(after)) => snapshots(before, after, options, &mut each)?,
        (Side::Snapshot(before), Side::State(after)) => with_state(before, after, &mut each)?,
        (Side::State(before), Side::Snapshot(after)) => {
            with_state(after, before, &mut |snapshot, state| each(state, snapshot))?;
        }
        (Side::State(before), Side::State(after)) => states(before, after, &mut each)?,
        (Side::Snapshot(before), Side::Live(after)) => with_stream::snapshot(before, after, options, &mut each)?,
        (Side::State(before), Side::Live(after)) => with_stream::state(before, after, &mut each)?,
        (Side::Live(before), Side::Live(after)) => with_stream::ensembles(before, after, &mut each)?,
        (Side::Live(before), Side::Snapshot(after)) => {
            with_stream::snapshot(after, before, options, &mut |snapshot, live| each(live, snapshot))?;
        }
        (Side::Live(before), Side::State(after)) => {
            with_stream::state(after, before, &mut |state, live| each(live, state))?;
        }
    }
    monitor.end(Phase::Comparing);
    Ok(summary)
}

type Each<'e> = dyn FnMut(Option<Znode>, Option<Znode>) -> Result<(), EngineError> + 'e;

fn snapshots(
    before: &SnapshotTree<'_>,
    after: &SnapshotTree<'_>,
    options: &DiffOptions,
    each: &mut Each<'_>,
) -> Result<(), EngineError> {
    let mut failed = Ok(());
    let mut visit = |old: Option<RecordRef<'_>>, new: Option<RecordRef<'_>>| {
        if failed.is_err() {
            return;
        }
        let made = |tree: &SnapshotTree<'_>, record: Option<RecordRef<'_>>| match record {
            Some(record) => tree.made(&record),
            None => Ok(None),
        };
        failed = made(before, old).and_then(|old| {
            let new = made(after, new)?;
            if old.is_none() && new.is_none() { Ok(()) } else { each(old, new) }
        });
    };
    if !options.path.is_empty() {
        let own = repository::table::KeyRange::only(&key::encode(&options.path));
        stack::diff(before.stack(), after.stack(), &own, &mut visit)?;
    }
    let mut range = descendants_range(&options.path);
    if options.path.is_empty() {
        range.start.clear();
    }
    stack::diff(before.stack(), after.stack(), &range, &mut visit)?;
    failed
}

/// A full read's comparison finds the differing keys on all processors; they are visited in order afterwards.
fn with_state(snapshot: &SnapshotTree<'_>, state: &Loaded, each: &mut Each<'_>) -> Result<(), EngineError> {
    let records = StateRecords::new(&state.tree, &[], &Filter::default());
    let found = std::sync::Mutex::new(Vec::new());
    snapshot.stack().changes_to(&records, &|old, new| {
        let record = old.or(new);
        if let Some(path) = record.and_then(|record| key::decode(record.key)) {
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(path);
        }
    })?;
    let mut paths = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    paths.sort_by(|a, b| key::compare(a, b));
    for path in paths {
        each(snapshot.node(&path)?, state.tree.find(&path).map(|node| Znode::from_node(&node)))?;
    }
    Ok(())
}

fn states(before: &Loaded, after: &Loaded, each: &mut Each<'_>) -> Result<(), EngineError> {
    let (mut old, mut new) = (before.tree.iter().peekable(), after.tree.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => key::compare(a.path, b.path),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        if let (Some(a), Some(b)) = (&a, &b)
            && record_ref(&[], a) == record_ref(&[], b)
        {
            continue;
        }
        each(a.map(|node| Znode::from_node(&node)), b.map(|node| Znode::from_node(&node)))?;
    }
}

/// `Ok` for a difference that counts, `Err` for one of the stat alone, `None` for one that is not asked about.
fn classify(
    old: Option<Znode>,
    new: Option<Znode>,
    options: &DiffOptions,
    data_hidden: bool,
) -> Option<Result<Difference, Difference>> {
    let node = old.as_ref().or(new.as_ref())?;
    let left_out = path::is_volatile(&node.path) || is_own(&node.path);
    if left_out || !path::is_within(&node.path, &options.path) || !options.filter.selects(&node.path) {
        return None;
    }
    let change = match (&old, &new) {
        (None, _) => Change::Created,
        (_, None) => Change::Deleted,
        _ => Change::Changed,
    };
    let mut found = Difference { change, data: false, acl: false, kind: false, recreated: false, old: None, new: None };
    if let (Some(old), Some(new)) = (&old, &new) {
        found.data = !data_hidden && old.data != new.data;
        found.acl = old.acl != new.acl && old.acl.is_some() && new.acl.is_some();
        found.kind = old.stat.ephemeral_owner != new.stat.ephemeral_owner && old.kind_known && new.kind_known;
        found.recreated = old.stat.czxid != new.stat.czxid;
    }
    if let (Some(old), Some(new)) = (&old, &new) {
        // Owners are told apart by type above, where both show it.
        let stat = |node: &Znode| Stat { ephemeral_owner: 0, ..node.stat };
        if !(found.data || found.acl || found.kind) && stat(old) == stat(new) {
            return None;
        }
    }
    let counts = change != Change::Changed || found.data || found.acl || found.kind || found.recreated;
    (found.old, found.new) = (old, new);
    Some(if counts { Ok(found) } else { Err(found) })
}
