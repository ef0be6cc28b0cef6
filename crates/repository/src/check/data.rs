//! Levels 2 and 3: the bytes of packs, the order of chunks, the digests of snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::objects::Inventory;
use super::{CheckStats, Finding, ReadData, Severity, Stage, Step};
use crate::blobs::{BlobError, BlobSource};
use crate::chunk::Chunk;
use crate::error::{RepositoryError, error_text};
use crate::ids::{BlobId, BlobKind, PackId};
use crate::manifest::Manifest;
use crate::pack::{MAX_PACK, Tail, pack_path, read_tail, verify_body};
use crate::reader::BlobReader;
use crate::seal::open_blob;
use crate::shared::Shared;
use crate::stack::Stack;
use crate::state_digest::{DigestSum, StateDigest};
use crate::table::{KeyRange, Leaf, TableError, read_chunk};

/// Packs in memory at once.
const BATCH: usize = 4;

pub(super) fn check_packs(
    shared: &Arc<Shared>,
    inventory: &Inventory,
    stats: &mut CheckStats,
    tell: &mut dyn FnMut(Finding),
    step: Step<'_>,
) -> Result<(), RepositoryError> {
    let chosen: Vec<PackId> = inventory.chosen.iter().copied().collect();
    for batch in chosen.chunks(BATCH) {
        step(Stage::Packs, stats.packs_read, chosen.len() as u64)?;
        let results: Vec<_> = batch.par_iter().map(|pack| check_pack(shared, inventory, *pack)).collect();
        let mut failed = None;
        for result in results {
            let (blobs, findings) = match result {
                Ok(checked) => checked,
                Err(RepositoryError::Store(e)) if e.is_not_found() => (0, Vec::new()),
                Err(e) => {
                    failed = failed.or(Some(e));
                    continue;
                }
            };
            stats.packs_read = stats.packs_read.saturating_add(1);
            stats.blobs_read = stats.blobs_read.saturating_add(blobs);
            findings.into_iter().for_each(&mut *tell);
        }
        // What the others of the batch were found to be is told first.
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// The packs to read in full, of those listed with these sizes.
pub(super) fn choose(packs: &BTreeMap<PackId, u64>, read_data: ReadData) -> BTreeSet<PackId> {
    let mut all: Vec<(PackId, u64)> = packs.iter().map(|(pack, size)| (*pack, *size)).collect();
    let rank = |seed: u64, pack: PackId| {
        let hash = blake3::hash(&[&seed.to_le_bytes()[..], &pack.0.to_bytes()].concat());
        u64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    };
    match read_data {
        ReadData::None => all.clear(),
        ReadData::All => {}
        ReadData::Part { part, of } => {
            let of = u64::from(of.max(1));
            all.retain(|(pack, _)| rank(0, *pack).checked_rem(of) == u64::from(part).checked_sub(1));
        }
        ReadData::Percent { percent, seed } => {
            // A share of the range of ranks.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let limit = (percent.clamp(0.0, 100.0) / 100.0 * u64::MAX as f64) as u64;
            all.retain(|(pack, _)| rank(seed, *pack) <= limit);
        }
        ReadData::Bytes { bytes, seed } => {
            all.sort_by_key(|(pack, _)| rank(seed, *pack));
            let mut left = bytes;
            all.retain(|(_, size)| {
                let fits = left > 0;
                left = left.saturating_sub(*size);
                fits
            });
        }
    }
    all.into_iter().map(|(pack, _)| pack).collect()
}

/// One blob, already read.
struct One<'a>(BlobId, &'a Bytes);

impl BlobSource for One<'_> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        if *id == self.0 { Ok(self.1.clone()) } else { Err(BlobError::Missing { id: *id, kind }) }
    }
}

/// How many blobs a pack has, and what is wrong with them.
fn check_pack(shared: &Shared, inventory: &Inventory, pack: PackId) -> Result<(u64, Vec<Finding>), RepositoryError> {
    let path = pack_path(pack);
    let object = shared.handle.block_on(shared.store.get(&path, MAX_PACK));
    let mut findings = Vec::new();
    let mut damaged = |object: String, problem: String| {
        let snapshots = inventory.users_of(pack);
        findings.push(Finding {
            severity: if snapshots.is_empty() { Severity::Notice } else { Severity::Damage },
            object,
            problem,
            meaning: if snapshots.is_empty() {
                "no snapshot needs it".to_owned()
            } else {
                "what it holds is lost to these snapshots, as far as they need it".to_owned()
            },
            remedy: if snapshots.is_empty() {
                "`zooark prune` removes it".to_owned()
            } else {
                "restore the pack from a copy of the store; else `zooark repair snapshots --read-data`, which saves what is left"
                    .to_owned()
            },
            snapshots,
        });
    };
    let object = match object {
        Err(e) if e.is_of_the_object() => {
            damaged(path, error_text(&e));
            return Ok((0, findings));
        }
        other => other?,
    };
    let tail = read_tail(&shared.crypto, pack, object.len() as u64, &object);
    let (index, hash) = match tail {
        Ok(Tail::Index(index, hash)) => (index, hash),
        // Its footer could be read a moment ago.
        Ok(Tail::NeedsMore(_)) => return Ok((0, findings)),
        Err(e) => {
            damaged(path, error_text(&e));
            return Ok((0, findings));
        }
    };
    let key = match shared.key(&index.wrapped) {
        Ok(key) => key,
        Err(e) => {
            damaged(path, error_text(&e));
            return Ok((0, findings));
        }
    };
    let mut all_open = true;
    for (offset, blob) in index.located() {
        let name = || format!("{} {} in {path} at byte {offset}", blob.kind, blob.id);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let sealed = object.get(start..start.saturating_add(blob.len as usize)).unwrap_or_default();
        let plain = match open_blob(&shared.crypto, &key, &blob.id, blob.kind, sealed) {
            Ok(plain) => plain,
            Err(e) => {
                all_open = false;
                damaged(name(), error_text(&e));
                continue;
            }
        };
        if blob.kind == BlobKind::Leaf
            && let Err(e) = check_chunk(blob.id, inventory.leaves.get(&blob.id), &plain)
        {
            damaged(name(), error_text(&e));
        }
    }
    if all_open && let Err(e) = verify_body(pack, &object, &index, &hash) {
        damaged(path.clone(), error_text(&e));
    }
    Ok((index.blobs.len() as u64, findings))
}

/// A chunk's keys in order and, where its place in a table is known, in that.
fn check_chunk(id: BlobId, leaf: Option<&Leaf>, plain: &Bytes) -> Result<(), TableError> {
    let chunk = match leaf {
        Some(leaf) => read_chunk(&One(id, plain), leaf)?,
        None => Chunk::decode(plain.clone()).map_err(|source| TableError::Chunk { id, source })?,
    };
    let ordered = (1..chunk.len()).all(|i| chunk.key(i.saturating_sub(1)) < chunk.key(i));
    if ordered {
        Ok(())
    } else {
        Err(TableError::Inconsistent { id, kind: BlobKind::Leaf, what: "the order of its keys" })
    }
}

pub(super) fn check_digests(
    shared: &Arc<Shared>,
    inventory: &Inventory,
    stats: &mut CheckStats,
    tell: &mut dyn FnMut(Finding),
    step: Step<'_>,
) -> Result<(), RepositoryError> {
    for batch in inventory.snapshots.chunks(BATCH) {
        step(Stage::Snapshots, stats.digests, inventory.snapshots.len() as u64)?;
        let results: Vec<_> = batch.par_iter().map(|manifest| digest(shared, manifest)).collect();
        let mut failed = None;
        for (manifest, result) in batch.iter().zip(results) {
            let problem = match result {
                Ok(digest) if digest.0 == manifest.body.fields.state_digest => None,
                Ok(_) => Some("its merged records do not have the digest that was recorded".to_owned()),
                Err(e) if e.is_of_the_object() => Some(error_text(&e)),
                Err(e) => {
                    failed = failed.or(Some(e));
                    continue;
                }
            };
            stats.digests = stats.digests.saturating_add(1);
            let Some(problem) = problem else { continue };
            tell(Finding {
                severity: Severity::Damage,
                object: manifest.path.clone(),
                problem,
                meaning: "restoring this snapshot would not give the state that was backed up".to_owned(),
                remedy: "restore another snapshot; report this if no pack is named as damaged".to_owned(),
                snapshots: vec![manifest.id],
            });
        }
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Merges a snapshot's stack and sums its records.
pub(super) fn digest(shared: &Arc<Shared>, manifest: &Manifest) -> Result<StateDigest, TableError> {
    let keys = shared.crypto.identity();
    let stack = Stack::new(manifest.tables(), BlobReader::new(Arc::clone(shared)), keys);
    let mut sum = DigestSum::new(keys);
    stack.for_each(&KeyRange::all(), |record| sum.add(record))?;
    Ok(sum.take())
}
