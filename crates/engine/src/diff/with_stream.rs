//! A live ensemble compared with anything else, node by node, neither of them in memory as a whole.

use repository::record::ValueRef;
use repository::table::KeyRange;
use repository::{IdentityKeys, RecordRef};
use zk_format::load::Loaded;
use zk_format::{NodeRef, key};

use super::{DiffOptions, Each};
use crate::convert::{descendants_range, record_ref, zk_stat};
use crate::error::EngineError;
use crate::live::stream::{Nodes, Stream};
use crate::tree::SnapshotTree;
use crate::znode::Znode;

/// Takes the other side's nodes in key order and meets them with the ensemble's.
struct Meeting<'m, 'e> {
    live: Nodes<'m>,
    each: &'m mut Each<'e>,
}

impl Meeting<'_, '_> {
    /// The nodes of the ensemble that come before a key are on no other side.
    fn up_to(&mut self, key: Option<&[u8]>) -> Result<(), EngineError> {
        while self.live.key().is_some_and(|next| key.is_none_or(|key| next < key)) {
            let alone = self.live.take()?;
            (self.each)(None, alone)?;
        }
        Ok(())
    }

    fn meet(&mut self, key: &[u8], other: Znode) -> Result<(), EngineError> {
        self.up_to(Some(key))?;
        let met = if self.live.key() == Some(key) { self.live.take()? } else { None };
        (self.each)(Some(other), met)
    }
}

/// A snapshot against the ensemble.
pub(super) fn snapshot(
    tree: &SnapshotTree<'_>,
    live: &Stream,
    options: &DiffOptions,
    each: &mut Each<'_>,
) -> Result<(), EngineError> {
    let keys = tree.stack().keys();
    let mut meeting = Meeting { live: live.nodes()?, each };
    let mut failed = Ok(());
    let mut visit = |record: &RecordRef<'_>| {
        if failed.is_err() {
            return;
        }
        failed = meeting.up_to(Some(record.key)).and_then(|()| {
            if is_same(record, &meeting.live, keys) {
                return meeting.live.take().map(|_| ());
            }
            match tree.made(record)? {
                Some(node) => meeting.meet(record.key, node),
                None => Ok(()),
            }
        });
    };
    let mut range = descendants_range(&options.path);
    if options.path.is_empty() {
        range.start.clear();
    } else {
        tree.stack().for_each(&KeyRange::only(&key::encode(&options.path)), &mut visit)?;
    }
    tree.stack().for_each(&range, &mut visit)?;
    failed?;
    meeting.up_to(None)
}

/// Whether the ensemble's next node is what the snapshot has: no value of it need be fetched.
fn is_same(record: &RecordRef<'_>, live: &Nodes<'_>, keys: &IdentityKeys) -> bool {
    let Some(entry) = live.entry().filter(|entry| entry.key == record.key) else { return false };
    let Some(path) = key::decode(&entry.key) else { return false };
    let node = &entry.node;
    let node = NodeRef { path: &path, data: node.data.as_deref(), acl: node.acl.as_ref(), stat: node.stat };
    let value: ValueRef<'_> = record_ref(&entry.key, &node).value.stored(keys);
    let same_acl = node.acl.is_some_and(|acl| *acl.0 == *record.acl);
    same_acl && zk_stat(&record.stat) == node.stat && value == record.value
}

/// A state in memory against the ensemble.
pub(super) fn state(state: &Loaded, live: &Stream, each: &mut Each<'_>) -> Result<(), EngineError> {
    let mut meeting = Meeting { live: live.nodes()?, each };
    for node in state.tree.iter() {
        meeting.meet(&key::encode(node.path), Znode::from_node(&node))?;
    }
    meeting.up_to(None)
}

/// Two ensembles.
pub(super) fn ensembles(other: &Stream, live: &Stream, each: &mut Each<'_>) -> Result<(), EngineError> {
    let mut meeting = Meeting { live: live.nodes()?, each };
    let mut others = other.nodes()?;
    while let Some(key) = others.key().map(<[u8]>::to_vec) {
        if let Some(node) = others.take()? {
            meeting.meet(&key, node)?;
        }
    }
    meeting.up_to(None)
}
