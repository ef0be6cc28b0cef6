//! Levels 2 and 3: the bytes of packs, the order of chunks, the digests of snapshots.

use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::objects::Inventory;
use super::{CheckStats, Finding, ReadData, Severity, whole_text};
use crate::blobs::{BlobError, BlobSource};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, PackId};
use crate::manifest::Manifest;
use crate::pack::{MAX_PACK, PackIndex, pack_path, verify_body};
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
    read_data: ReadData,
    stats: &mut CheckStats,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), RepositoryError> {
    let chosen = choose(inventory, read_data);
    for batch in chosen.chunks(BATCH) {
        let results: Vec<_> =
            batch.par_iter().map(|(index, hash)| check_pack(shared, inventory, index, hash)).collect();
        for ((index, _), result) in batch.iter().zip(results) {
            let findings = match result {
                Ok(findings) => findings,
                Err(RepositoryError::Store(e)) if e.is_not_found() => Vec::new(),
                Err(e) => return Err(e),
            };
            stats.packs_read = stats.packs_read.saturating_add(1);
            stats.blobs_read = stats.blobs_read.saturating_add(index.blobs.len() as u64);
            findings.into_iter().for_each(&mut *tell);
        }
    }
    Ok(())
}

/// The packs to read in full.
fn choose(inventory: &Inventory, read_data: ReadData) -> Vec<&(PackIndex, [u8; 32])> {
    let mut all: Vec<&(PackIndex, [u8; 32])> = inventory.packs.values().collect();
    let rank = |seed: u64, pack: PackId| {
        let hash = blake3::hash(&[&seed.to_le_bytes()[..], &pack.0.to_bytes()].concat());
        u64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    };
    match read_data {
        ReadData::None => all.clear(),
        ReadData::All => {}
        ReadData::Part { part, of } => {
            let of = u64::from(of.max(1));
            all.retain(|(i, _)| rank(0, i.pack).checked_rem(of) == u64::from(part).checked_sub(1));
        }
        ReadData::Percent { percent, seed } => {
            // A share of the range of ranks.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let limit = (percent.clamp(0.0, 100.0) / 100.0 * u64::MAX as f64) as u64;
            all.retain(|(i, _)| rank(seed, i.pack) <= limit);
        }
        ReadData::Bytes { bytes, seed } => {
            all.sort_by_key(|(i, _)| rank(seed, i.pack));
            let mut left = bytes;
            all.retain(|(i, _)| {
                let fits = left > 0;
                left = left.saturating_sub(i.size);
                fits
            });
        }
    }
    all
}

/// One blob, already read.
struct One<'a>(BlobId, &'a Bytes);

impl BlobSource for One<'_> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        if *id == self.0 { Ok(self.1.clone()) } else { Err(BlobError::Missing { id: *id, kind }) }
    }
}

fn check_pack(
    shared: &Shared,
    inventory: &Inventory,
    index: &PackIndex,
    hash: &[u8; 32],
) -> Result<Vec<Finding>, RepositoryError> {
    let path = pack_path(index.pack);
    let object = shared.handle.block_on(shared.store.get(&path, MAX_PACK))?;
    let mut findings = Vec::new();
    let mut damaged = |object: String, problem: String| {
        let snapshots = inventory.users_of(index.pack);
        findings.push(Finding {
            severity: if snapshots.is_empty() { Severity::Notice } else { Severity::Damage },
            object,
            problem,
            meaning: if snapshots.is_empty() {
                "no snapshot needs it".to_owned()
            } else {
                "what it holds is lost to these snapshots, as far as they need it".to_owned()
            },
            remedy: "restore the pack from a copy of the store; else `zooark repair snapshots` saves what is left"
                .to_owned(),
            snapshots,
        });
    };
    let key = match shared.key(&index.wrapped) {
        Ok(key) => key,
        Err(e) => {
            damaged(path, whole_text(&e));
            return Ok(findings);
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
                damaged(name(), whole_text(&e));
                continue;
            }
        };
        if let Some(leaf) = inventory.leaves.get(&blob.id)
            && let Err(e) = check_chunk(leaf, &plain)
        {
            damaged(name(), whole_text(&e));
        }
    }
    if all_open && let Err(e) = verify_body(index.pack, &object, index, hash) {
        damaged(path.clone(), whole_text(&e));
    }
    Ok(findings)
}

/// A chunk in its place in the table, its keys in order.
fn check_chunk(leaf: &Leaf, plain: &Bytes) -> Result<(), TableError> {
    let chunk = read_chunk(&One(leaf.id, plain), leaf)?;
    let ordered = (1..chunk.len()).all(|i| chunk.key(i.saturating_sub(1)) < chunk.key(i));
    if ordered {
        Ok(())
    } else {
        Err(TableError::Inconsistent { id: leaf.id, kind: BlobKind::Leaf, what: "the order of its keys" })
    }
}

pub(super) fn check_digests(
    shared: &Arc<Shared>,
    inventory: &Inventory,
    stats: &mut CheckStats,
    tell: &mut dyn FnMut(Finding),
) {
    for batch in inventory.snapshots.chunks(BATCH) {
        let results: Vec<_> = batch.par_iter().map(|manifest| digest(shared, manifest)).collect();
        for (manifest, result) in batch.iter().zip(results) {
            stats.digests = stats.digests.saturating_add(1);
            let problem = match result {
                Ok(digest) if digest.0 == manifest.body.fields.state_digest => continue,
                Ok(_) => "its merged records do not have the digest that was recorded".to_owned(),
                Err(e) => whole_text(&e),
            };
            tell(Finding {
                severity: Severity::Damage,
                object: manifest.path.clone(),
                problem,
                meaning: "restoring this snapshot would not give the state that was backed up".to_owned(),
                remedy: "restore another snapshot; report this if no pack is named as damaged".to_owned(),
                snapshots: vec![manifest.id],
            });
        }
    }
}

/// Merges a snapshot's stack and sums its records.
pub(super) fn digest(shared: &Arc<Shared>, manifest: &Manifest) -> Result<StateDigest, TableError> {
    let keys = shared.crypto.identity();
    let stack = Stack::new(manifest.tables(), BlobReader::new(Arc::clone(shared)), keys);
    let mut sum = DigestSum::new(keys);
    stack.for_each(&KeyRange::all(), |record| sum.add(&record))?;
    Ok(sum.take())
}
