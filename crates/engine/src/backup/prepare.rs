//! What was read, compared with the parent snapshot: what differs, what it adds up to, whether it is to be trusted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use repository::codec::decode_body;
use repository::manifest::{Gap, Manifest};
use repository::record::session_key;
use repository::session::BackupSession;
use repository::stack::{ChangeSet, Stack};
use repository::{Change, Record, StateDigest};
use zk_format::increment::Increment;
use zk_format::load;
use zk_format::{AclList, Zxid};

use super::source::Read;
use super::tally::{Changes, Counts, Tally};
use super::whole::{Whole, WholeRecords};
use super::{anchor, followed, suspect};
use crate::acls;
use crate::convert::{record, session_record};
use crate::error::{EngineError, ErrorKind};
use crate::identity::Identity;
use crate::live::Scanned;
use crate::live::stream::keeping;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::report::Method;

const MAX_IDENTITY: usize = 1 << 20;

/// What is known of a state besides its records.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) zxid_low: Zxid,
    pub(super) zxid_high: Zxid,
    pub(super) consistency: load::Consistency,
    pub(super) proof: load::Proof,
    pub(super) tail: load::Tail,
    pub(super) anchor: Vec<u8>,
    pub(super) tree_digest: Option<i64>,
    pub(super) state_time_ms: i64,
    pub(super) notes: Vec<String>,
    pub(super) digest_mismatch: bool,
    pub(super) method: Method,
    pub(super) full_reason: Option<String>,
    pub(super) acl_consistency: load::Consistency,
    /// The servers' version, where they said it.
    pub(super) version: Option<String>,
    /// Every ACL is from this state or a later one, where clients read them.
    pub(super) acl_zxid: Option<Zxid>,
}

/// The difference to the parent.
#[derive(Debug)]
pub(super) enum Difference {
    /// From the log: the changes themselves.
    Changes(Vec<Change>),
    /// From a full read with a parent.
    Set { whole: Box<Whole>, set: ChangeSet },
    /// Nothing to compare with.
    Whole(Box<Whole>),
}

/// A state ready to be stored.
#[derive(Debug)]
pub struct Prepared {
    pub(super) facts: Facts,
    pub(super) difference: Difference,
    pub(super) counts: Counts,
    /// `None` until the base is built, where there is no parent.
    pub(super) state_digest: Option<StateDigest>,
    pub(super) identity: Identity,
    pub(super) acls: BTreeSet<AclList>,
    pub(super) incomplete: Vec<Gap>,
    pub(super) suspect: Vec<String>,
}

/// Compares what was read with the parent.
pub fn prepare(
    repo: &Repo,
    session: &BackupSession,
    parent: Option<&Manifest>,
    read: Read,
    monitor: &dyn Monitor,
) -> Result<Prepared, EngineError> {
    match (read, parent) {
        (Read::Log(increment), Some(parent)) => from_log(repo, session, parent, &increment),
        (Read::Full { whole, reason }, Some(parent)) => {
            monitor.begin(Phase::Comparing, Unit::Nodes, Some(whole.nodes()));
            let prepared = compared(repo, session, parent, whole, reason);
            monitor.end(Phase::Comparing);
            prepared
        }
        (Read::Full { whole, reason }, None) => first(whole, reason),
        (Read::Watch(followed), Some(parent)) => followed::prepare(repo, session, parent, &followed),
        (Read::Log(_) | Read::Watch(_), None) => {
            Err(EngineError::new(ErrorKind::Failed, "changes without a snapshot to continue"))
        }
    }
}

fn from_log(
    repo: &Repo,
    session: &BackupSession,
    parent: &Manifest,
    increment: &Increment,
) -> Result<Prepared, EngineError> {
    let fields = &parent.body.fields;
    let keys = repo.inner.identity();
    let stack = Stack::new(parent.tables(), session.reader(), keys);
    let mut changes = Changes::new(keys);
    let mut lists: BTreeSet<AclList> = acls::stored_acls(fields).into_iter().flatten().collect();
    for touched in &increment.touched {
        let old = touched.old.as_ref().map(|node| record(&touched.path, node));
        let new = touched.new.as_ref().map(|node| record(&touched.path, node));
        if !changes.count(old.as_ref().map(Record::as_ref), new.as_ref().map(Record::as_ref)) {
            continue;
        }
        lists.extend(touched.new.as_ref().and_then(|node| node.acl.clone()));
        let key = old.as_ref().or(new.as_ref()).map(|record| record.key.clone()).unwrap_or_default();
        changes.push(&key, new);
    }
    // Sessions come after all nodes; their key order is that of their ids' bytes.
    let mut sessions: Vec<(i64, Option<i32>)> = increment.sessions.iter().map(|(id, state)| (*id, *state)).collect();
    sessions.sort_by_key(|(id, _)| session_key(*id));
    for (id, state) in sessions {
        let old = stack.get(&session_key(id))?;
        let new = state.map(|timeout| session_record(id, timeout));
        if changes.count(old.as_ref().map(Record::as_ref), new.as_ref().map(Record::as_ref)) {
            changes.push(&session_key(id), new);
        }
    }
    let notes = increment.torn.iter().map(|torn| load::Note::Torn(torn.clone()).to_string());
    let facts = Facts {
        zxid_low: increment.zxid,
        zxid_high: increment.zxid,
        consistency: load::Consistency::Exact,
        proof: increment.proof,
        tail: increment.tail,
        anchor: encoded_anchor(Some(increment.anchor), Some(increment.place))?,
        tree_digest: increment.digest,
        state_time_ms: increment.state_time_ms,
        notes: notes.collect(),
        digest_mismatch: false,
        method: Method::Log,
        full_reason: None,
        acl_consistency: load::Consistency::Exact,
        version: None,
        acl_zxid: None,
    };
    Ok(Prepared {
        facts,
        counts: changes.tally.onto(fields),
        state_digest: Some(changes.tally.digest(StateDigest(fields.state_digest))),
        difference: Difference::Changes(changes.list),
        identity: stored_identity(parent),
        acls: lists,
        incomplete: Vec::new(),
        suspect: Vec::new(),
    })
}

fn compared(
    repo: &Repo,
    session: &BackupSession,
    parent: &Manifest,
    whole: Box<Whole>,
    reason: Option<String>,
) -> Result<Prepared, EngineError> {
    let keys = repo.inner.identity();
    let records = whole.records();
    let tally = Mutex::new(Tally::default());
    let stack = Stack::new(parent.tables(), session.reader(), keys);
    let set = stack.changes_to(&records, &|old, new| {
        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.count_sizes(old, new);
    });
    sound(&records)?;
    let set = set?;
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fields = &parent.body.fields;
    let identity = records.identity();
    Ok(Prepared {
        facts: facts(&whole, reason)?,
        counts: tally.onto(fields),
        state_digest: Some(StateDigest(fields.state_digest).plus(set.digest_delta)),
        identity,
        acls: whole.lists(),
        incomplete: whole.gaps(),
        suspect: Vec::new(),
        difference: Difference::Set { whole, set },
    })
}

fn first(whole: Box<Whole>, reason: Option<String>) -> Result<Prepared, EngineError> {
    let records = whole.records();
    let nodes = records.nodes();
    let counts = Counts {
        nodes,
        sessions: records.sessions(),
        raw_bytes: records.node_bytes(),
        created: nodes,
        ..Counts::default()
    };
    let identity = records.identity();
    Ok(Prepared {
        facts: facts(&whole, reason)?,
        counts,
        state_digest: None,
        identity,
        acls: whole.lists(),
        incomplete: whole.gaps(),
        suspect: Vec::new(),
        difference: Difference::Whole(whole),
    })
}

/// Whether what was read of the records is what they are.
pub(super) fn sound(records: &WholeRecords<'_>) -> Result<(), EngineError> {
    records.sound().map_err(|error| keeping(&error))
}

fn facts(whole: &Whole, full_reason: Option<String>) -> Result<Facts, EngineError> {
    let (loaded, version) = match whole {
        Whole::Files { loaded, version, .. } => (loaded, version.clone()),
        Whole::Scanned(scanned) => return Ok(scanned_facts(scanned, full_reason)),
    };
    let exact = loaded.consistency == load::Consistency::Exact;
    Ok(Facts {
        zxid_low: loaded.zxid_low,
        zxid_high: loaded.zxid_high,
        consistency: loaded.consistency,
        proof: loaded.proof,
        tail: loaded.tail,
        anchor: encoded_anchor(loaded.anchor.filter(|_| exact), loaded.place)?,
        tree_digest: exact.then_some(loaded.digest),
        state_time_ms: loaded.state_time_ms,
        notes: loaded.notes.iter().map(ToString::to_string).collect(),
        digest_mismatch: loaded.notes.iter().any(|note| matches!(note, load::Note::DigestMismatch { .. })),
        method: Method::Full,
        full_reason,
        acl_consistency: loaded.consistency,
        version,
        acl_zxid: None,
    })
}

fn scanned_facts(scanned: &Scanned, full_reason: Option<String>) -> Facts {
    Facts {
        zxid_low: scanned.zxid_low,
        zxid_high: scanned.zxid_high,
        consistency: scanned.consistency,
        proof: load::Proof::None,
        tail: load::Tail::Confirmed,
        anchor: Vec::new(),
        tree_digest: None,
        state_time_ms: scanned.state_time_ms,
        notes: scanned.notes.clone(),
        digest_mismatch: false,
        method: Method::Scan,
        full_reason,
        acl_consistency: scanned.consistency,
        version: scanned.version.clone(),
        acl_zxid: Some(scanned.zxid_low),
    }
}

fn encoded_anchor(anchor: Option<load::Anchor>, place: Option<load::LogPlace>) -> Result<Vec<u8>, EngineError> {
    anchor::encode(anchor, place).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))
}

pub(super) fn stored_identity(parent: &Manifest) -> Identity {
    decode_body::<_, MAX_IDENTITY>("identity", &parent.body.fields.source.identity).unwrap_or_default()
}

impl Prepared {
    /// Decides whether the state is to be held back.
    pub fn judge(&mut self, trusted: Option<&Manifest>, max_shrink: f64) {
        let Some(trusted) = trusted else { return };
        let before = stored_identity(trusted);
        let by_log = matches!(self.difference, Difference::Changes(_));
        let compared = suspect::Compared {
            zxid_before: Zxid(trusted.body.fields.zxid_high),
            zxid_now: self.facts.zxid_high,
            nodes_before: trusted.body.fields.nodes,
            nodes_now: self.counts.nodes,
            max_shrink,
            identities: (!by_log).then_some((&before, &self.identity)),
        };
        let reasons = match &self.difference {
            Difference::Set { whole, .. } | Difference::Whole(whole) => {
                suspect::reasons(&compared, |path| whole.czxid(path))
            }
            Difference::Changes(_) => suspect::reasons(&compared, |_| None),
        };
        self.suspect = reasons;
    }

    /// Whether the new state is the parent's.
    pub fn is_unchanged(&self) -> bool {
        match &self.difference {
            Difference::Changes(changes) => changes.is_empty(),
            Difference::Set { set, .. } => set.entries.is_empty(),
            Difference::Whole(_) => false,
        }
    }
}
