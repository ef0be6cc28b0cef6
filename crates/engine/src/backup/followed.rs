//! The changes that watches told of, as changes of the parent snapshot: only the touched nodes are looked up there.

use std::collections::{BTreeMap, BTreeSet};

use repository::manifest::Manifest;
use repository::session::BackupSession;
use repository::stack::Stack;
use repository::{Record, StateDigest};
use zk_connect::live::scan;
use zk_format::load::{Consistency, Proof, Tail};
use zk_format::{AclList, NodeRef, Zxid, key};

use super::prepare::{Difference, Facts, Prepared, stored_identity};
use super::tally::Changes;
use crate::acls;
use crate::convert::{descendants_range, record_ref};
use crate::error::EngineError;
use crate::live::flags_seen;
use crate::live::follow::Followed;
use crate::repo::Repo;
use crate::report::Method;

const WITHHELD: &str = "the servers do not tell this session of changes to nodes that it may not read; only a scan finds those, or a \
                        session of the superuser";

/// Compares what changed with the parent.
pub fn prepare(
    repo: &Repo,
    session: &BackupSession,
    parent: &Manifest,
    followed: &Followed,
) -> Result<Prepared, EngineError> {
    let fields = &parent.body.fields;
    let keys = repo.inner.identity();
    let stack = Stack::new(parent.tables(), session.reader(), keys);
    let mut records = records(&followed.changes);
    if followed.changes.unsettled.is_some() {
        // That its children went before it may be among what will be read the next time.
        for (path, _) in followed.changes.nodes.iter().filter(|(_, node)| node.is_none()) {
            stack.for_each(&descendants_range(path), |below| {
                records.insert(below.key.to_vec(), None);
            })?;
        }
    }
    let mut changes = Changes::new(keys);
    let mut state_time_ms = fields.state_time_ms.unwrap_or(0);
    let mut lists: BTreeSet<AclList> = acls::stored_acls(fields).into_iter().flatten().collect();
    let mut following = records.values();
    stack.get_sorted(records.keys().map(Vec::as_slice), |key, old| {
        let new = following.next().and_then(Option::as_ref);
        let compared = new.map(|new| {
            let new = new.as_ref();
            repository::RecordRef { value: new.value.stored(keys), ..new }
        });
        if !changes.count(old, compared) {
            return;
        }
        if let Some(new) = new {
            state_time_ms = state_time_ms.max(new.stat.mtime).max(new.stat.ctime);
            if !new.acl.is_empty() {
                lists.insert(AclList(new.acl.as_ref().into()));
            }
        }
        changes.push(key, new.cloned());
    })?;
    Ok(Prepared {
        facts: facts(parent, followed, state_time_ms),
        counts: changes.tally.onto(fields),
        state_digest: Some(changes.tally.digest(StateDigest(fields.state_digest))),
        difference: Difference::Changes(changes.list),
        identity: stored_identity(parent),
        acls: lists,
        incomplete: Vec::new(),
        suspect: Vec::new(),
    })
}

/// The changed nodes by key, as they are stored; `None` where they are gone.
fn records(changes: &scan::Changes) -> BTreeMap<Vec<u8>, Option<Record>> {
    let is_gone = |path: &[u8]| changes.nodes.get(path).is_some_and(Option::is_none);
    let record = |(path, node): (&Vec<u8>, &Option<zk_format::Node>)| {
        let key = key::encode(path);
        // What lost its parent is gone too: the event that says so was on its way.
        let node = node.as_ref().filter(|_| !key::parent(path).is_some_and(is_gone));
        let record = node.map(|node| {
            let seen = NodeRef { path, data: node.data.as_deref(), acl: node.acl.as_ref(), stat: node.stat };
            let record = record_ref(&key, &seen);
            repository::RecordRef { flags: record.flags | flags_seen(&seen, None), ..record }.to_owned()
        });
        (key, record)
    };
    changes.nodes.iter().map(record).collect()
}

fn facts(parent: &Manifest, followed: &Followed, state_time_ms: i64) -> Facts {
    let changes = &followed.changes;
    // Nothing but the changed nodes changed since the parent, and these are all of one state; unless some changes are not told.
    let one_state = changes.span.and(changes.acl_span).is_point() && changes.unsettled.is_none();
    let exact = followed.from_exact && one_state && !changes.withheld;
    let consistency = if exact { Consistency::Exact } else { Consistency::Fuzzy };
    Facts {
        zxid_low: Zxid(changes.span.low),
        zxid_high: Zxid(changes.span.high),
        consistency,
        proof: Proof::None,
        tail: Tail::Confirmed,
        anchor: Vec::new(),
        tree_digest: None,
        state_time_ms,
        notes: changes
            .unsettled
            .into_iter()
            .chain(changes.withheld.then_some(WITHHELD))
            .map(ToOwned::to_owned)
            .collect(),
        digest_mismatch: false,
        method: Method::Watch,
        full_reason: None,
        // A change of an ACL alone is not told.
        acl_consistency: Consistency::Fuzzy,
        version: parent.body.fields.source.version.clone(),
        acl_zxid: Some(followed.acl_zxid),
    }
}
