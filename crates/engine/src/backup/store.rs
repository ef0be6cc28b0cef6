//! From a state that was read to a snapshot: what differs from the parent, what it adds up to, and its tables.

use std::collections::BTreeSet;
use std::sync::Mutex;

use jiff::Timestamp;
use repository::advance::advance;
use repository::codec::{decode_body, encode_body};
use repository::cut::record_size;
use repository::manifest::{self, BackupCounters, Gap, Manifest, SnapshotFields, SourceInfo};
use repository::record::session_key;
use repository::session::{BackupSession, Committed};
use repository::stack::{ChangeSet, RunRecords, Stack};
use repository::table::{TableKind, TableRoot, TableSpan, build_table};
use repository::tiers::{self, NewChanges, StackPlan};
use repository::{Change, RecordHasher, RecordRef, SortedRecords, StateDigest};
use zk_format::increment::Increment;
use zk_format::load::{self, Loaded};
use zk_format::{AclList, NODE_OVERHEAD_BYTES, Zxid, digest};

use super::source::Read;
use super::{BackupRequest, anchor, suspect};
use crate::acls;
use crate::convert::{record, session_record};
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::identity::Identity;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::{Repo, now};
use crate::report::{BackupSummary, Consistency, Method, Proof, Tail};
use crate::snapshots::timestamp;
use crate::state::StateRecords;

const MAX_IDENTITY: usize = 1 << 20;

/// What is known of a state besides its records.
#[derive(Debug)]
struct Facts {
    zxid_low: Zxid,
    zxid_high: Zxid,
    consistency: load::Consistency,
    proof: load::Proof,
    tail: load::Tail,
    anchor: Vec<u8>,
    tree_digest: Option<i64>,
    state_time_ms: i64,
    notes: Vec<String>,
    digest_mismatch: bool,
    method: Method,
    full_reason: Option<String>,
}

/// The difference to the parent.
#[derive(Debug)]
enum Difference {
    /// From the log: the changes themselves.
    Changes(Vec<Change>),
    /// From a full read with a parent.
    Set { loaded: Box<Loaded>, filter: Filter, set: ChangeSet },
    /// Nothing to compare with.
    Whole { loaded: Box<Loaded>, filter: Filter },
}

/// Counts of the new state.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    nodes: u64,
    sessions: u64,
    raw_bytes: u64,
    created: u64,
    changed: u64,
    deleted: u64,
    session_changes: u64,
}

/// A state ready to be stored.
#[derive(Debug)]
pub struct Prepared {
    facts: Facts,
    difference: Difference,
    counts: Counts,
    /// `None` until the base is built, where there is no parent.
    state_digest: Option<StateDigest>,
    identity: Identity,
    acls: BTreeSet<AclList>,
    incomplete: Vec<Vec<u8>>,
    suspect: Vec<String>,
}

/// The tables of the new snapshot.
#[derive(Debug)]
pub struct Stored {
    /// Base first.
    pub tables: Vec<TableRoot>,
    /// Whether the base is new.
    pub rebase: bool,
    digest: StateDigest,
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
        (Read::Full { loaded, filter, reason }, Some(parent)) => {
            monitor.begin(Phase::Comparing, Unit::Nodes, Some(loaded.tree.len() as u64));
            let prepared = compared(repo, session, parent, loaded, filter, reason);
            monitor.end(Phase::Comparing);
            prepared
        }
        (Read::Full { loaded, filter, reason }, None) => whole(loaded, filter, reason),
        (Read::Log(_), None) => Err(EngineError::new(ErrorKind::Failed, "a log without a snapshot to continue")),
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
    let mut hasher = RecordHasher::new(keys);
    let mut delta = Tally::default();
    let mut changes = Vec::new();
    let mut lists: BTreeSet<AclList> = acls::stored_acls(fields).into_iter().flatten().collect();
    for touched in &increment.touched {
        let old = touched.old.as_ref().map(|node| record(&touched.path, node));
        let new = touched.new.as_ref().map(|node| record(&touched.path, node));
        if old == new {
            continue;
        }
        delta.count(
            &mut hasher,
            old.as_ref().map(repository::Record::as_ref),
            new.as_ref().map(repository::Record::as_ref),
        );
        lists.extend(touched.new.as_ref().and_then(|node| node.acl.clone()));
        let key = old.as_ref().or(new.as_ref()).map(|record| record.key.clone()).unwrap_or_default();
        changes.push(new.map_or(Change::Delete(key), Change::Put));
    }
    // Sessions come after all nodes; their key order is that of their ids' bytes.
    let mut sessions: Vec<(i64, Option<i32>)> = increment.sessions.iter().map(|(id, state)| (*id, *state)).collect();
    sessions.sort_by_key(|(id, _)| session_key(*id));
    for (id, state) in sessions {
        let old = stack.get(&session_key(id))?;
        let new = state.map(|timeout| session_record(id, timeout));
        if old == new {
            continue;
        }
        delta.count(
            &mut hasher,
            old.as_ref().map(repository::Record::as_ref),
            new.as_ref().map(repository::Record::as_ref),
        );
        changes.push(new.map_or_else(|| Change::Delete(session_key(id).into()), Change::Put));
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
    };
    Ok(Prepared {
        facts,
        difference: Difference::Changes(changes),
        counts: delta.onto(fields),
        state_digest: Some(delta.digest(StateDigest(fields.state_digest))),
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
    loaded: Box<Loaded>,
    filter: Filter,
    reason: Option<String>,
) -> Result<Prepared, EngineError> {
    let keys = repo.inner.identity();
    let records = StateRecords::new(&loaded.tree, &loaded.sessions, &filter);
    let tally = Mutex::new(Tally::default());
    let stack = Stack::new(parent.tables(), session.reader(), keys);
    let set = stack.changes_to(&records, &|old, new| {
        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.count_sizes(old, new);
    })?;
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fields = &parent.body.fields;
    let identity = Identity::of_records(&records);
    Ok(Prepared {
        facts: facts(&loaded, Method::Full, reason)?,
        counts: tally.onto(fields),
        state_digest: Some(StateDigest(fields.state_digest).plus(set.digest_delta)),
        identity,
        acls: lists(&loaded),
        incomplete: loaded.unresolved_acls.clone(),
        suspect: Vec::new(),
        difference: Difference::Set { loaded, filter, set },
    })
}

fn whole(loaded: Box<Loaded>, filter: Filter, reason: Option<String>) -> Result<Prepared, EngineError> {
    let records = StateRecords::new(&loaded.tree, &loaded.sessions, &filter);
    let nodes = records.nodes() as u64;
    let counts = Counts {
        nodes,
        sessions: records.sessions() as u64,
        raw_bytes: records.node_bytes(),
        created: nodes,
        ..Counts::default()
    };
    let identity = Identity::of_records(&records);
    Ok(Prepared {
        facts: facts(&loaded, Method::Full, reason)?,
        counts,
        state_digest: None,
        identity,
        acls: lists(&loaded),
        incomplete: loaded.unresolved_acls.clone(),
        suspect: Vec::new(),
        difference: Difference::Whole { loaded, filter },
    })
}

fn facts(loaded: &Loaded, method: Method, full_reason: Option<String>) -> Result<Facts, EngineError> {
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
        method,
        full_reason,
    })
}

fn encoded_anchor(anchor: Option<load::Anchor>, place: Option<load::LogPlace>) -> Result<Vec<u8>, EngineError> {
    anchor::encode(anchor, place).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))
}

fn lists(loaded: &Loaded) -> BTreeSet<AclList> {
    let touched = loaded.tree.touched().iter().filter_map(|touched| touched.new.as_ref()?.acl.clone());
    loaded.tree.base().acls().iter().cloned().chain(touched).collect()
}

fn stored_identity(parent: &Manifest) -> Identity {
    decode_body::<_, MAX_IDENTITY>("identity", &parent.body.fields.source.identity).unwrap_or_default()
}

/// What changes add up to.
#[derive(Debug, Default)]
struct Tally {
    plus: StateDigest,
    minus: StateDigest,
    created: u64,
    changed: u64,
    deleted: u64,
    sessions_opened: u64,
    sessions_closed: u64,
    sessions_changed: u64,
    raw_plus: u64,
    raw_minus: u64,
}

impl Tally {
    fn count(&mut self, hasher: &mut RecordHasher<'_>, old: Option<RecordRef<'_>>, new: Option<RecordRef<'_>>) {
        if let Some(old) = &old {
            self.minus = self.minus.plus(hasher.hash(old));
        }
        if let Some(new) = &new {
            self.plus = self.plus.plus(hasher.hash(new));
        }
        self.count_sizes(old, new);
    }

    fn count_sizes(&mut self, old: Option<RecordRef<'_>>, new: Option<RecordRef<'_>>) {
        let is_session =
            [&old, &new].into_iter().flatten().any(|record| repository::record::session_of(record.key).is_some());
        if is_session {
            match (old.is_some(), new.is_some()) {
                (false, _) => self.sessions_opened += 1,
                (true, false) => self.sessions_closed += 1,
                (true, true) => self.sessions_changed += 1,
            }
            return;
        }
        match (&old, &new) {
            (None, _) => self.created += 1,
            (Some(_), None) => self.deleted += 1,
            (Some(_), Some(_)) => self.changed += 1,
        }
        self.raw_plus += new.as_ref().map_or(0, raw_size);
        self.raw_minus += old.as_ref().map_or(0, raw_size);
    }

    fn digest(&self, parent: StateDigest) -> StateDigest {
        parent.plus(self.plus).minus(self.minus)
    }

    fn onto(&self, parent: &SnapshotFields) -> Counts {
        Counts {
            nodes: (parent.nodes + self.created).saturating_sub(self.deleted),
            sessions: (parent.sessions + self.sessions_opened).saturating_sub(self.sessions_closed),
            raw_bytes: (parent.raw_bytes + self.raw_plus).saturating_sub(self.raw_minus),
            created: self.created,
            changed: self.changed,
            deleted: self.deleted,
            session_changes: self.sessions_opened + self.sessions_closed + self.sessions_changed,
        }
    }
}

/// Bytes of a node as a server's file has them. The key is as long as the path, but for the root's children.
fn raw_size(record: &RecordRef<'_>) -> u64 {
    let first_level = u64::from(record.key.starts_with(&[1, 0]));
    NODE_OVERHEAD_BYTES + record.key.len() as u64 - first_level + record.value.len().unwrap_or(0)
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
            Difference::Set { loaded, .. } | Difference::Whole { loaded, .. } => {
                suspect::reasons(&compared, |path| Some(loaded.tree.find(path)?.stat.czxid.0))
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
            Difference::Whole { .. } => false,
        }
    }

    /// Writes the tables.
    pub fn store(
        &self,
        repo: &Repo,
        session: &BackupSession,
        request: &BackupRequest,
        monitor: &dyn Monitor,
    ) -> Result<Stored, EngineError> {
        monitor.begin(Phase::Encoding, Unit::Nodes, None);
        let stored = match &self.difference {
            Difference::Changes(changes) => {
                let changes = changes.as_slice();
                self.append(repo, session, plan(session, changes, request.full), changes)
            }
            Difference::Whole { loaded, filter } => {
                let records = StateRecords::new(&loaded.tree, &loaded.sessions, filter);
                self.base(repo, session, &records)
            }
            Difference::Set { loaded, filter, set } => {
                let records = StateRecords::new(&loaded.tree, &loaded.sessions, filter);
                let changes = RunRecords::new(&records, set);
                match plan(session, &changes, request.full) {
                    // Everything is at hand: no need to read the parent.
                    StackPlan::Rebase(_) => self.base(repo, session, &records),
                    plan => self.append(repo, session, plan, &changes),
                }
            }
        };
        monitor.end(Phase::Encoding);
        stored
    }

    /// A new base from records that are all at hand.
    fn base(&self, repo: &Repo, session: &BackupSession, records: &StateRecords<'_>) -> Result<Stored, EngineError> {
        let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: self.facts.zxid_high.0 };
        let built = build_table(records, repo.inner.identity(), &session.base_sink(), span)?;
        let digest = built.digest.or(self.state_digest).unwrap_or_default();
        same_state(digest, self.state_digest.unwrap_or(digest))?;
        Ok(Stored { tables: vec![built.root], rebase: true, digest })
    }

    /// The parent's stack with the changes on top, merged as the plan says.
    fn append<R: SortedRecords + ?Sized>(
        &self,
        repo: &Repo,
        session: &BackupSession,
        plan: StackPlan,
        changes: &R,
    ) -> Result<Stored, EngineError> {
        let parent = parent_tables(session);
        let stack = Stack::new(parent.clone(), session.reader(), repo.inner.identity());
        let rebase = matches!(plan, StackPlan::Rebase(_));
        let zxid = self.facts.zxid_high.0;
        let advanced = if rebase {
            advance(&stack, changes, plan, &session.base_sink(), zxid)?
        } else {
            advance(&stack, changes, plan, session, zxid)?
        };
        if let (Some(built), Some(expected)) = (advanced.built.digest.filter(|_| rebase), self.state_digest) {
            same_state(built, expected)?;
        }
        Ok(Stored { tables: advanced.tables(&parent), rebase, digest: self.state_digest.unwrap_or_default() })
    }

    /// Everything that the manifest says besides its tables.
    pub fn fields(&self, request: &BackupRequest, stored: &Stored) -> Result<SnapshotFields, EngineError> {
        let identity =
            encode_body("identity", &self.identity).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))?;
        let facts = &self.facts;
        let incomplete = |path: &Vec<u8>| Gap { path: path.clone(), reason: "its ACL is not in the files".to_owned() };
        Ok(SnapshotFields {
            cluster: request.cluster.clone(),
            time_ms: request.time.unwrap_or_else(now).as_millisecond(),
            state_time_ms: Some(facts.state_time_ms),
            host: request.host.clone(),
            tags: request.tags.clone(),
            program: request.program.clone(),
            source: SourceInfo {
                location: request.source.to_string(),
                kind: "datadir".to_owned(),
                version: None,
                method: method_name(facts.method).to_owned(),
                chroot: String::new(),
                filter: request.filter.canonical(),
                identity,
                anchor: facts.anchor.clone(),
            },
            zxid_low: facts.zxid_low.0,
            zxid_high: facts.zxid_high.0,
            consistency: stored_consistency(facts.consistency),
            acl_consistency: stored_consistency(facts.consistency),
            proof: match facts.proof {
                load::Proof::Digest => manifest::Proof::Digest,
                load::Proof::Replay => manifest::Proof::Replay,
                load::Proof::None => manifest::Proof::None,
            },
            tail: match facts.tail {
                load::Tail::Confirmed => manifest::Tail::Confirmed,
                load::Tail::Unconfirmed => manifest::Tail::Unconfirmed,
            },
            suspect: self.suspect.clone(),
            incomplete: self.incomplete.iter().map(incomplete).collect(),
            state_digest: stored.digest.0,
            tree_digest: facts.tree_digest.map(|sum| (sum, digest::VERSION)),
            nodes: self.counts.nodes,
            sessions: self.counts.sessions,
            raw_bytes: self.counts.raw_bytes,
            counters: BackupCounters {
                nodes_created: self.counts.created,
                nodes_changed: self.counts.changed,
                nodes_deleted: self.counts.deleted,
                rebase: stored.rebase,
                ..BackupCounters::default()
            },
            original: None,
            extra: acls::entry(&self.acls).into_iter().collect(),
        })
    }

    /// The documented summary; `committed` where a snapshot was stored.
    pub fn summary(
        &self,
        request: &BackupRequest,
        parent: Option<&Manifest>,
        committed: Option<(&Committed, bool)>,
    ) -> BackupSummary {
        let facts = &self.facts;
        let id = committed.map(|(committed, _)| committed.id());
        let time = committed.map_or_else(
            || request.time.unwrap_or_else(now),
            |(committed, _)| timestamp(committed.manifest.body.fields.time_ms),
        );
        let mut notes = facts.notes.clone();
        if self.counts.session_changes > 0 {
            notes.push(format!("{} sessions opened, closed or changed", self.counts.session_changes));
        }
        BackupSummary {
            snapshot_id: id.map(|id| id.to_string()),
            short_id: id.map(|id| id.short()),
            parent_id: parent.map(|parent| parent.id.to_string()),
            cluster: request.cluster.clone(),
            time,
            zxid_low: facts.zxid_low.to_string(),
            zxid_high: facts.zxid_high.to_string(),
            consistency: consistency(facts.consistency),
            acl_consistency: consistency(facts.consistency),
            proof: match facts.proof {
                load::Proof::Digest => Proof::Digest,
                load::Proof::Replay => Proof::Replay,
                load::Proof::None => Proof::None,
            },
            tail: match facts.tail {
                load::Tail::Confirmed => Tail::Confirmed,
                load::Tail::Unconfirmed => Tail::Unconfirmed,
            },
            suspect: (!self.suspect.is_empty()).then(|| self.suspect.join("; ")),
            state_time: Timestamp::from_millisecond(facts.state_time_ms).ok(),
            method: facts.method,
            full_reason: facts.full_reason.clone(),
            nodes: self.counts.nodes,
            nodes_created: self.counts.created,
            nodes_changed: self.counts.changed,
            nodes_deleted: self.counts.deleted,
            raw_bytes: self.counts.raw_bytes,
            uploaded_bytes: committed.map_or(0, |(committed, _)| committed.uploaded_bytes),
            objects_written: committed.map_or(0, |(committed, _)| committed.objects_written),
            rebase: committed.is_some_and(|(_, rebase)| rebase),
            digest_mismatch: facts.digest_mismatch,
            incomplete_paths: self.incomplete.iter().map(|path| zk_format::path::display(path).to_string()).collect(),
            notes,
            dry_run: request.dry_run,
            duration_ms: 0,
        }
    }
}

/// The same state, added up in two ways.
fn same_state(built: StateDigest, expected: StateDigest) -> Result<(), EngineError> {
    if built == expected {
        return Ok(());
    }
    Err(EngineError::new(
        ErrorKind::Damage,
        format!(
            "the records add up to {built}, the parent snapshot and its changes to {expected}: nothing was stored; run \
             `zooark check --read-data`, and `zooark backup --full` if the parent is damaged"
        ),
    ))
}

/// What to do with the changes.
fn plan<R: SortedRecords + ?Sized>(session: &BackupSession, changes: &R, requested: bool) -> StackPlan {
    let bytes = (0..changes.len()).map(|place| record_size(changes.lens(place))).sum();
    tiers::plan(&parent_tables(session), NewChanges { entries: changes.len() as u64, bytes }, requested)
}

fn parent_tables(session: &BackupSession) -> Vec<TableRoot> {
    session.parent().map(Manifest::tables).unwrap_or_default()
}

const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Log => "log",
        Method::Full => "full",
        Method::Scan => "scan",
        Method::Watch => "watch",
    }
}

const fn consistency(found: load::Consistency) -> Consistency {
    match found {
        load::Consistency::Exact => Consistency::Exact,
        load::Consistency::Fuzzy => Consistency::Fuzzy,
    }
}

const fn stored_consistency(found: load::Consistency) -> manifest::Consistency {
    match found {
        load::Consistency::Exact => manifest::Consistency::Exact,
        load::Consistency::Fuzzy => manifest::Consistency::Fuzzy,
    }
}
