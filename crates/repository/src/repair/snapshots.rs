//! `repair snapshots`: beside each damaged snapshot one with what is left.
//!
//! ```text
//! 1  every snapshot is looked through: what of it cannot be read?
//! 2  packs of which something cannot be read go on a condemned list, so that no new snapshot names them
//! 3  each damaged snapshot is written again without what is lost, marked incomplete
//! 4  only if asked for: the damaged ones are forgotten, with manifests and notes that nothing can read
//! ```
//!
//! The newest of a lineage is written again in its own lineage, so that the next backup builds upon what is left; the others
//! in a lineage made for them, where they are nobody's parent. A crash after 2 or within 3 leaves some of them written; the
//! next run knows them by what they say they were made of, writes the others, and notes what was not noted yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::rewrite::{Rewritten, rewrite};
use super::salvage::{Examiner, Left, Lost, lost_ranges};
use super::{Step, Stock, Unreadable};
use crate::backend::StoreErrorKind;
use crate::condemned::{Condemned, read_condemned};
use crate::error::RepositoryError;
use crate::forget::{Doomed, is_refusal};
use crate::ids::{LineageId, PackId, SnapshotId};
use crate::manifest::{Consistency, Gap, Manifest, ManifestBody, Proof, SnapshotFields, encode_manifest, parse_path};
use crate::notes::{newest_note, notes_prefix, write_note};
use crate::prune::write_list;
use crate::record::RecordRef;
use crate::repository::Repository;
use crate::session::{BackupSession, CommitOutcome};

/// Under this name a repaired snapshot keeps the id of what it was made of.
const REPAIRED_FROM: &str = "repaired from";
/// Times a snapshot is written again because somebody else took its number.
const ATTEMPTS: usize = 5;

/// What `repair snapshots` is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotRepair {
    /// Change nothing.
    pub dry_run: bool,
    /// Read every chunk and value, too: damage within a pack shows no other way.
    pub read_data: bool,
    /// Forget what was repaired, and what nothing can read.
    pub forget: bool,
    /// Only these, and nothing that cannot be told to be one of them is given up; `None` for all.
    pub only: Option<BTreeSet<SnapshotId>>,
}

/// How a loss is put into words, and sizes are counted: by whoever knows what keys mean.
pub trait Describe {
    /// What a repaired snapshot says of a loss.
    fn gap(&self, lost: &Lost) -> Gap;
    /// Bytes a record counts for.
    fn raw_bytes(&self, record: &RecordRef<'_>) -> u64;
}

/// A snapshot that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The damaged one.
    pub damaged: SnapshotId,
    /// The one with what is left of it; `None` on a dry run, and where nothing is left.
    pub repaired: Option<SnapshotId>,
    /// Whether an earlier run wrote it.
    pub earlier: bool,
    /// What is lost, in words.
    pub gaps: Vec<Gap>,
    /// Nodes left.
    pub nodes: u64,
    /// Nodes the damaged one had.
    pub nodes_before: u64,
}

/// What `repair snapshots` found and did; on a dry run, would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotsRepaired {
    /// Snapshots looked through.
    pub snapshots: u64,
    /// Damaged ones.
    pub mended: Vec<Mended>,
    /// Manifests that were damaged and are as they were again, from the local cache.
    pub rewritten: Vec<String>,
    /// Manifests that cannot be read and are nowhere else: their snapshots are lost.
    pub unreadable_manifests: Vec<Unreadable>,
    /// Notes that cannot be read.
    pub unreadable_notes: Vec<Unreadable>,
    /// Packs of which something cannot be read, and that no new snapshot will name.
    pub avoided_packs: Vec<PackId>,
    /// Snapshots, manifests and notes that were deleted.
    pub deleted: u64,
    /// Objects that the store refuses to delete.
    pub refused: u64,
    /// What it said.
    pub refusal: Option<String>,
}

/// A snapshot that has to be written again.
struct Damaged {
    manifest: Manifest,
    left: Vec<Arc<Left>>,
}

impl Repository {
    /// Saves what is left of damaged snapshots. Must not be called on a thread of the runtime the repository was opened on.
    pub fn repair_snapshots(
        &self,
        options: &SnapshotRepair,
        describe: &dyn Describe,
        step: Step<'_>,
    ) -> Result<SnapshotsRepaired, RepositoryError> {
        let wait = self.shared.handle.clone();
        step("reading manifests, packs and indexes")?;
        let mut stock = wait.block_on(Stock::take(&self.shared))?;
        let mut done = SnapshotsRepaired { unreadable_notes: stock.unreadable_notes.clone(), ..Default::default() };
        let mut resealed = self.recover_manifests(&mut stock, options, &mut done)?;
        let is_wanted = |id: &SnapshotId| options.only.as_ref().is_none_or(|only| only.contains(id));
        step("looking through snapshots")?;
        let mut examiner = Examiner::new(&stock.scratch, stock.unreadable_packs.iter().map(|(pack, _)| *pack));
        if options.read_data {
            let named: BTreeSet<PackId> = stock.manifests.iter().flat_map(Manifest::packs).collect();
            examiner.read_packs(&named)?;
        }
        let mut damaged = Vec::new();
        for manifest in stock.manifests.iter().filter(|m| is_wanted(&m.id)) {
            done.snapshots = done.snapshots.saturating_add(1);
            let mut left = examiner.examine(manifest, options.read_data)?;
            let is_resealed = resealed.remove(&manifest.path);
            if left.iter().all(|left| left.is_whole()) && !is_resealed {
                continue;
            }
            if !options.read_data {
                // Whoever writes it again reads all of it.
                left = examiner.examine(manifest, true)?;
            }
            damaged.push(Damaged { manifest: manifest.clone(), left });
        }
        let bad = bad_packs(&stock, &examiner);
        done.avoided_packs = bad.iter().copied().filter(|pack| stock.packs.contains_key(pack)).collect();
        if !options.dry_run && !damaged.is_empty() {
            step("keeping new snapshots from damaged packs")?;
            wait.block_on(self.avoid(&done.avoided_packs))?;
        }
        let earlier: HashMap<SnapshotId, SnapshotId> =
            stock.manifests.iter().filter_map(|m| Some((made_of(&m.body.fields)?, m.id))).collect();
        let mut doomed = Vec::new();
        for damaged in &damaged {
            step("writing what is left")?;
            let mended = match earlier.get(&damaged.manifest.id) {
                Some(repaired) => {
                    if !options.dry_run {
                        // It may have died before the note.
                        wait.block_on(self.copy_note(damaged.manifest.id, *repaired))?;
                    }
                    described(damaged, describe, Some(*repaired), true)
                }
                None if options.dry_run => described(damaged, describe, None, false),
                None => self.mend(&stock, &examiner, damaged, &bad, describe)?,
            };
            doomed.push(Doomed::from(&damaged.manifest));
            done.mended.push(mended);
        }
        if options.forget && !options.dry_run {
            step("forgetting what is damaged")?;
            wait.block_on(self.forget_damaged(doomed, options.only.is_none(), &mut done))?;
        }
        Ok(done)
    }

    /// Manifests that cannot be read, from the cache as they were, else from a catalog, to be written under a new name. Gives the
    /// paths of those.
    fn recover_manifests(
        &self,
        stock: &mut Stock,
        options: &SnapshotRepair,
        done: &mut SnapshotsRepaired,
    ) -> Result<BTreeSet<String>, RepositoryError> {
        let shared = &self.shared;
        let mut resealed = BTreeSet::new();
        for unreadable in std::mem::take(&mut stock.unreadable_manifests) {
            let path = &unreadable.path;
            let cached = shared.cache.manifest(path);
            let cached = cached.and_then(|object| Some((shared.decode(path, &object).ok()?, object)));
            if let Some((manifest, object)) = cached {
                if !options.dry_run {
                    shared.handle.block_on(shared.store.put(path, object))?;
                }
                done.rewritten.push(path.clone());
                stock.manifests.extend(manifest);
                continue;
            }
            let entry = stock.catalogued.remove(path).zip(parse_path(path));
            match entry {
                Some((entry, (lineage, seq))) => {
                    if let ManifestBody::Snapshot(body) = entry.body {
                        resealed.insert(path.clone());
                        stock.manifests.push(Manifest { id: entry.id, lineage, seq, path: path.clone(), body: *body });
                        continue;
                    }
                    // A tombstone has no id that anybody knows: it is as good new.
                    if !options.dry_run {
                        let object = encode_manifest(&shared.crypto, path, &entry.body)?.into();
                        shared.handle.block_on(shared.store.put(path, object))?;
                    }
                    done.rewritten.push(path.clone());
                }
                None => done.unreadable_manifests.push(unreadable),
            }
        }
        stock.manifests.sort_by_key(|m| (m.lineage, m.seq, m.id));
        Ok(resealed)
    }

    /// Puts packs on a list that are on none.
    async fn avoid(&self, packs: &[PackId]) -> Result<(), RepositoryError> {
        let shared = &self.shared;
        let listed = read_condemned(&shared.store, &shared.crypto, None).await?.packs;
        let packs: Vec<PackId> = packs.iter().copied().filter(|pack| !listed.contains(pack)).collect();
        if !packs.is_empty() {
            write_list(shared, &Condemned { since_ms: shared.clock.now_ms(), packs, objects: Vec::new() }).await?;
        }
        Ok(())
    }

    fn mend(
        &self,
        stock: &Stock,
        examiner: &Examiner,
        damaged: &Damaged,
        bad: &BTreeSet<PackId>,
        describe: &dyn Describe,
    ) -> Result<Mended, RepositoryError> {
        let manifest = &damaged.manifest;
        let mut mended = described(damaged, describe, None, false);
        let wait = self.shared.handle.clone();
        let lineage = self.lineage_for(stock, manifest);
        for _ in 0..ATTEMPTS {
            // A handle of its own: it must find again what the damaged packs still hold, and nothing that is not there.
            let shared = Arc::new(self.shared.without_cache());
            let begun = BackupSession::begin_repair(shared, lineage, manifest, bad);
            let mut session = wait.block_on(begun)?;
            let keys = self.identity();
            let raw_bytes = |record: &RecordRef<'_>| describe.raw_bytes(record);
            let written = rewrite(examiner, manifest, &damaged.left, keys, &session, &session.reader(), &raw_bytes);
            let written = written?;
            mended.nodes = written.nodes;
            mended.gaps = gaps(&lost_ranges(&manifest.body.stack, &damaged.left), &written.lost, describe);
            if written.nodes == 0 && manifest.body.fields.nodes > 0 {
                return Ok(mended);
            }
            let tables = written.tables.clone();
            let fields = repaired_fields(manifest, &written, &mended.gaps);
            if let CommitOutcome::Committed(committed) = wait.block_on(session.commit(fields, tables))? {
                let id = committed.id();
                wait.block_on(self.copy_note(manifest.id, id))?;
                mended.repaired = Some(id);
                return Ok(mended);
            }
        }
        Err(RepositoryError::Inconsistent {
            object: format!("snapshots/{lineage}"),
            what: "other backups keep taking the next number; try again when they have ended".to_owned(),
        })
    }

    /// Its own lineage for the newest, another for the others.
    fn lineage_for(&self, stock: &Stock, manifest: &Manifest) -> LineageId {
        let newer = |m: &&Manifest| m.lineage == manifest.lineage && m.seq > manifest.seq;
        if stock.manifests.iter().any(|m| newer(&m)) {
            self.lineage(&[b"repaired", &manifest.lineage.0])
        } else {
            manifest.lineage
        }
    }

    /// Notes about the repaired one what is noted about the damaged one, unless something is noted about it already.
    async fn copy_note(&self, from: SnapshotId, to: SnapshotId) -> Result<(), RepositoryError> {
        let shared = &self.shared;
        if !shared.store.list_sorted(&notes_prefix(to)).await?.is_empty() {
            return Ok(());
        }
        match newest_note(&shared.store, &shared.crypto, from).await {
            Ok(Some((_, note))) => {
                let note = crate::notes::Note { verified_at_ms: None, ..note };
                write_note(&shared.store, &shared.crypto, to, &note, shared.clock.name(), None).await.map(drop)
            }
            Ok(None) => Ok(()),
            // It is reported with the notes that cannot be read.
            Err(e) if e.is_damage() => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn forget_damaged(
        &self,
        mut doomed: Vec<Doomed>,
        with_unreadable: bool,
        done: &mut SnapshotsRepaired,
    ) -> Result<(), RepositoryError> {
        for Unreadable { path, .. } in done.unreadable_manifests.iter().filter(|_| with_unreadable) {
            let Some((lineage, _)) = parse_path(path) else { continue };
            doomed.push(Doomed { path: path.clone(), lineage, id: None, new_packs: Vec::new() });
        }
        let forgotten = self.shared.forget_manifests(&doomed, false).await?;
        done.deleted = forgotten.deleted;
        done.refused = (doomed.len() as u64).saturating_sub(forgotten.deleted);
        done.refusal = forgotten.refusal;
        for Unreadable { path, .. } in done.unreadable_notes.iter().filter(|_| with_unreadable) {
            match self.shared.store.delete(path).await {
                Ok(()) => done.deleted = done.deleted.saturating_add(1),
                Err(e) if is_refusal(&e) => {
                    done.refused = done.refused.saturating_add(1);
                    done.refusal.get_or_insert_with(|| e.to_string());
                }
                Err(e) if e.kind == StoreErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Packs that a snapshot names and that are gone, cannot be read, or hold something that cannot.
fn bad_packs(stock: &Stock, examiner: &Examiner) -> BTreeSet<PackId> {
    let named = stock.manifests.iter().flat_map(Manifest::packs);
    let mut bad: BTreeSet<PackId> = named.filter(|pack| !stock.has(*pack)).collect();
    bad.extend(&examiner.suspects);
    bad
}

/// The snapshot that this one was made of by a repair.
fn made_of(fields: &SnapshotFields) -> Option<SnapshotId> {
    let (_, id) = fields.extra.iter().find(|(name, _)| name == REPAIRED_FROM)?;
    Some(SnapshotId(id.as_slice().try_into().ok()?))
}

fn gaps(ranges: &[Lost], records: &[Lost], describe: &dyn Describe) -> Vec<Gap> {
    ranges.iter().chain(records).map(|lost| describe.gap(lost)).collect()
}

fn described(damaged: &Damaged, describe: &dyn Describe, repaired: Option<SnapshotId>, earlier: bool) -> Mended {
    let stack = &damaged.manifest.body.stack;
    let ranges = lost_ranges(stack, &damaged.left);
    let records: BTreeMap<_, u64> =
        damaged.left.iter().flat_map(|left| &left.lost).map(|part| (part.id, part.records)).collect();
    let nodes_before = damaged.manifest.body.fields.nodes;
    Mended {
        damaged: damaged.manifest.id,
        repaired,
        earlier,
        gaps: gaps(&ranges, &[], describe),
        nodes: nodes_before.saturating_sub(records.values().sum()),
        nodes_before,
    }
}

fn repaired_fields(manifest: &Manifest, written: &Rewritten, gaps: &[Gap]) -> SnapshotFields {
    let original = &manifest.body.fields;
    let mut fields = original.clone();
    fields.incomplete.extend(gaps.iter().cloned());
    fields.state_digest = written.digest.0;
    (fields.nodes, fields.sessions, fields.raw_bytes) = (written.nodes, written.sessions, written.raw_bytes);
    fields.extra.retain(|(name, _)| name != REPAIRED_FROM);
    fields.extra.push((REPAIRED_FROM.to_owned(), manifest.id.0.to_vec()));
    if !gaps.is_empty() {
        fields.proof = Proof::None;
        fields.tree_digest = None;
        fields.consistency = Consistency::Fuzzy;
        fields.source.anchor = Vec::new();
    }
    fields
}
