//! What changes add up to, and the counts of a state.

use repository::manifest::SnapshotFields;
use repository::{Change, IdentityKeys, Record, RecordHasher, RecordRef, StateDigest};
use zk_format::NODE_OVERHEAD_BYTES;

/// Counts of the new state.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) nodes: u64,
    pub(super) sessions: u64,
    pub(super) raw_bytes: u64,
    pub(super) created: u64,
    pub(super) changed: u64,
    pub(super) deleted: u64,
    pub(super) session_changes: u64,
}

/// What changes add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
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
    pub(super) fn count(
        &mut self,
        hasher: &mut RecordHasher<'_>,
        old: Option<RecordRef<'_>>,
        new: Option<RecordRef<'_>>,
    ) {
        if let Some(old) = &old {
            self.minus = self.minus.plus(hasher.hash(old));
        }
        if let Some(new) = &new {
            self.plus = self.plus.plus(hasher.hash(new));
        }
        self.count_sizes(old, new);
    }

    pub(super) fn count_sizes(&mut self, old: Option<RecordRef<'_>>, new: Option<RecordRef<'_>>) {
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

    pub(super) fn digest(&self, parent: StateDigest) -> StateDigest {
        parent.plus(self.plus).minus(self.minus)
    }

    pub(super) fn onto(&self, parent: &SnapshotFields) -> Counts {
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

/// The changes of a parent's state, and what they add up to.
pub(super) struct Changes<'k> {
    hasher: RecordHasher<'k>,
    pub(super) tally: Tally,
    pub(super) list: Vec<Change>,
}

impl<'k> Changes<'k> {
    pub(super) fn new(keys: &'k IdentityKeys) -> Self {
        Self { hasher: RecordHasher::new(keys), tally: Tally::default(), list: Vec::new() }
    }

    /// Counts a record as it was and as it is; equal ones are no change.
    pub(super) fn count(&mut self, old: Option<RecordRef<'_>>, new: Option<RecordRef<'_>>) -> bool {
        let differ = old != new;
        if differ {
            self.tally.count(&mut self.hasher, old, new);
        }
        differ
    }

    /// Adds what was counted.
    pub(super) fn push(&mut self, key: &[u8], new: Option<Record>) {
        self.list.push(new.map_or_else(|| Change::Delete(key.into()), Change::Put));
    }
}

/// Bytes of a node as a server's file has them. The key is as long as the path, but for the root's children.
pub(crate) fn raw_size(record: &RecordRef<'_>) -> u64 {
    let first_level = u64::from(record.key.starts_with(&[1, 0]));
    NODE_OVERHEAD_BYTES + record.key.len() as u64 - first_level + record.value.len().unwrap_or(0)
}
