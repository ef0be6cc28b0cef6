//! `copy`: snapshots of one repository in another.
//!
//! Into a repository that shares the identity secret (`init --like`) chunks keep their ids: what the target's parent does not
//! reach is read, opened, and sealed anew. Into any other the records are decoded and cut again with the target's keys. Either
//! way a copy is written as a backup is: a crash before its manifest leaves packs that nothing names.
//!
//! A copy says which snapshot it was made of, so a second run copies only what is not there yet. What is noted about a
//! snapshot is noted about its copy after the copy's manifest, so a crash may leave that out: the next run makes up for it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::advance::{recut_base, recut_run};
use crate::blobs::{BlobSink, BlobSource, PlainBlob};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, LineageId, SnapshotId};
use crate::manifest::Manifest;
use crate::notes::{Note, write_note};
use crate::reader::BlobReader;
use crate::record::{RecordRef, ValueRef};
use crate::repository::Repository;
use crate::session::{BackupSession, CommitOutcome, Committed};
use crate::snapshots::Snapshot;
use crate::stack::{Stack, diff};
use crate::state_digest::{DigestSum, RecordHasher, StateDigest};
use crate::table::{BuiltTable, KeyRange, TableError, TableKind, TableRoot, TableSpan};

/// Times a copy is written again because somebody else took its number.
const ATTEMPTS: usize = 5;
/// Blobs fetched ahead together.
const BATCH: usize = 256;

/// Copies snapshots from one repository to another.
pub struct Copier<'r> {
    from: &'r Repository,
    to: &'r Repository,
    same_ids: bool,
    /// Tables as they are in the target, by their root in the source.
    tables: HashMap<BlobId, BuiltTable>,
    /// Large values as they are called in the target.
    values: HashMap<BlobId, BlobId>,
    /// The snapshot copied last, and what it adds up to in the target.
    last: Option<(Manifest, StateDigest)>,
}

impl std::fmt::Debug for Copier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copier").field("same_ids", &self.same_ids).finish_non_exhaustive()
    }
}

/// Whether content has the same ids in both.
pub fn share_ids(a: &Repository, b: &Repository) -> bool {
    a.identity().blob_id(BlobKind::Leaf, b"") == b.identity().blob_id(BlobKind::Leaf, b"")
}

impl<'r> Copier<'r> {
    /// A copier between these two.
    pub fn new(from: &'r Repository, to: &'r Repository) -> Self {
        let same_ids = share_ids(from, to);
        Self { from, to, same_ids, tables: HashMap::new(), values: HashMap::new(), last: None }
    }

    /// Copies a snapshot as the next of a lineage of the target, with its tags, its protection and whether it was accepted. Must
    /// not be called on a thread of a runtime. Fails, and stores nothing, where the source is damaged.
    pub fn copy(&mut self, snapshot: &Snapshot, lineage: LineageId) -> Result<Committed, RepositoryError> {
        let manifest = &snapshot.manifest;
        let wait = self.to.shared.handle.clone();
        let reader = self.from.shared.handle.block_on(self.from.reader(&[manifest]))?;
        for _ in 0..ATTEMPTS {
            let mut session = wait.block_on(self.to.begin_backup(lineage))?;
            let (tables, digest) = if self.same_ids {
                (self.reseal(manifest, &reader, &session)?, StateDigest(manifest.body.fields.state_digest))
            } else {
                let tables = self.recut(manifest, &reader, &session)?;
                (tables, self.digest(manifest, &reader)?)
            };
            let mut fields = manifest.body.fields.clone();
            fields.original = Some(manifest.id);
            fields.state_digest = digest.0;
            if let CommitOutcome::Committed(done) = wait.block_on(session.commit(fields, tables))? {
                wait.block_on(self.copy_note(snapshot, done.id()))?;
                self.last = Some((manifest.clone(), digest));
                return Ok(*done);
            }
        }
        Err(RepositoryError::Inconsistent {
            object: format!("snapshots/{lineage}"),
            what: "other writers keep taking the next number; try again when they have ended".to_owned(),
        })
    }

    /// Notes about an earlier copy what is noted about the snapshot, unless the copy has a note of its own. Whether it did.
    pub fn make_up_note(&self, snapshot: &Snapshot, copy: &Snapshot) -> Result<bool, RepositoryError> {
        if copy.note.is_some() {
            return Ok(false);
        }
        self.to.shared.handle.block_on(self.copy_note(snapshot, copy.id()))
    }

    /// The tables as they are, every blob in the target.
    fn reseal(
        &self,
        manifest: &Manifest,
        reader: &BlobReader,
        session: &BackupSession,
    ) -> Result<Vec<TableRoot>, RepositoryError> {
        let parent: Vec<TableRoot> = session.parent().map(Manifest::tables).unwrap_or_default();
        for root in manifest.tables().into_iter().filter(|root| !parent.contains(root)) {
            let table = Stack::new(vec![root], reader, self.from.identity());
            let blobs: Vec<(BlobId, BlobKind)> = table.blobs()?.into_iter().collect();
            // Nodes and lists are read back while the snapshot is put together, wherever they are.
            let is_wanted = |(id, kind): &(BlobId, BlobKind)| {
                matches!(kind, BlobKind::Node | BlobKind::Refs) || !session.reaches(id)
            };
            let wanted: Vec<_> = blobs.into_iter().filter(is_wanted).collect();
            for batch in wanted.chunks(BATCH) {
                reader.prefetch(batch);
                for (id, kind) in batch {
                    let bytes: Bytes = reader.get(id, *kind)?;
                    session.put(PlainBlob { id: *id, kind: *kind, bytes: &bytes })?;
                }
            }
        }
        Ok(manifest.tables())
    }

    /// The tables made anew with the target's keys.
    fn recut(
        &mut self,
        manifest: &Manifest,
        reader: &BlobReader,
        session: &BackupSession,
    ) -> Result<Vec<TableRoot>, RepositoryError> {
        let parent: Vec<TableRoot> = session.parent().map(Manifest::tables).unwrap_or_default();
        let mut tables = Vec::new();
        for root in manifest.tables() {
            let known = root.root.and_then(|id| self.tables.get(&id)).map(|built| &built.root);
            let of_this_kind = known.filter(|table| parent.contains(table)).cloned();
            if let Some(table) = of_this_kind {
                tables.push(table);
                continue;
            }
            let (from, to) = (self.from.identity(), self.to.identity());
            let seen = &mut |old: BlobId, new: BlobId| {
                self.values.insert(old, new);
            };
            let built = match root.kind {
                TableKind::Base => {
                    let stack = Stack::new(vec![root.clone()], reader, from);
                    recut_base(&stack, to, &session.base_sink(), root.zxid_high, seen)
                }
                TableKind::Run { .. } => {
                    let span = TableSpan { kind: root.kind, zxid_low: root.zxid_low, zxid_high: root.zxid_high };
                    recut_run(reader, &root, to, session, span, seen)
                }
            };
            let built = built?;
            tables.push(built.root.clone());
            if let Some(id) = root.root {
                self.tables.insert(id, built);
            }
        }
        Ok(tables)
    }

    /// What a snapshot adds up to with the target's keys: from what it differs in from the one before it, else from all of it.
    /// What all of it adds up to with the source's is held against what was stored.
    fn digest(&self, manifest: &Manifest, reader: &BlobReader) -> Result<StateDigest, TableError> {
        let (from, to) = (self.from.identity(), self.to.identity());
        let stack = Stack::new(manifest.tables(), reader, from);
        // A large value goes by its id, which is another there.
        let renamed = |value: ValueRef<'_>| -> Result<Option<ValueRef<'static>>, TableError> {
            let ValueRef::Blob { id, len } = value else { return Ok(None) };
            if let Some(id) = self.values.get(&id).copied() {
                return Ok(Some(ValueRef::Blob { id, len }));
            }
            let bytes = reader.get(&id, BlobKind::Value)?;
            Ok(Some(ValueRef::Blob { id: to.blob_id(BlobKind::Value, &bytes), len }))
        };
        let mut failed = None;
        if let Some((last, digest)) = &self.last
            && last.lineage == manifest.lineage
        {
            let before = Stack::new(last.tables(), reader, from);
            let (mut mine, mut theirs) = (RecordHasher::new(from), RecordHasher::new(to));
            let (mut check, mut sum) = (StateDigest(last.body.fields.state_digest), *digest);
            diff(&before, &stack, &KeyRange::all(), |old, new| {
                for (record, is_new) in [(old, false), (new, true)] {
                    let Some(record) = record else { continue };
                    let value = match renamed(record.value) {
                        Ok(value) => value.unwrap_or(record.value),
                        Err(e) => {
                            failed.get_or_insert(e);
                            continue;
                        }
                    };
                    let (here, there) = (mine.hash(&record), theirs.hash(&RecordRef { value, ..record }));
                    if is_new {
                        (check, sum) = (check.plus(here), sum.plus(there));
                    } else {
                        (check, sum) = (check.minus(here), sum.minus(there));
                    }
                }
            })?;
            return finished(manifest, failed, check, sum);
        }
        let (mut mine, mut theirs) = (DigestSum::new(from), DigestSum::new(to));
        stack.for_each(&KeyRange::all(), |record| {
            mine.add(record);
            match renamed(record.value) {
                Ok(value) => theirs.add(&RecordRef { value: value.unwrap_or(record.value), ..*record }),
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        })?;
        finished(manifest, failed, mine.take(), theirs.take())
    }

    /// Whether there was something to note.
    async fn copy_note(&self, snapshot: &Snapshot, to: SnapshotId) -> Result<bool, RepositoryError> {
        let Some(note) = &snapshot.note else { return Ok(false) };
        // That the original was verified says nothing of what lies here.
        let note = Note { verified_at_ms: None, ..note.clone() };
        if note == (Note { written_ms: note.written_ms, ..Note::default() }) {
            return Ok(false);
        }
        let shared = Arc::clone(&self.to.shared);
        write_note(&shared.store, &shared.crypto, to, &note, shared.clock.name(), None).await?;
        Ok(true)
    }
}

fn finished(
    manifest: &Manifest,
    failed: Option<TableError>,
    check: StateDigest,
    sum: StateDigest,
) -> Result<StateDigest, TableError> {
    if let Some(error) = failed {
        return Err(error);
    }
    if check.0 == manifest.body.fields.state_digest {
        return Ok(sum);
    }
    let id = manifest.tables().first().and_then(|base| base.root).unwrap_or(BlobId([0; 32]));
    Err(TableError::Inconsistent { id, kind: BlobKind::Node, what: "the digest of the snapshot's records" })
}
