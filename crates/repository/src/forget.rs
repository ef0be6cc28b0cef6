//! Forgetting snapshots: their manifests go, what only they needed is left to prune.
//!
//! ```text
//! 1  where the highest number of a lineage would go, a tombstone takes the next one
//! 2  an empty condemned list is written
//! 3  the entries of the packs that the manifests introduced go into an index segment
//! 4  the manifests are deleted, then their notes
//! ```
//!
//! Step 2 is for writers that looked whether the next number is free: in a gap it is. One that remembers the newest
//! manifest lists the lineage instead when there is a list it has not seen, and one that took a number looks for such a list
//! afterwards.
//!
//! A crash after 1 leaves a tombstone that stands for nothing, after 2 an empty list, after 3 a segment that says nothing new,
//! within 4 some snapshots forgotten and others not, or notes of a snapshot that is gone, which prune removes. Nothing is locked: a
//! writer that builds upon a snapshot while it is forgotten refers to its packs, and those are only deleted a grace period
//! after a list says so.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::{StreamExt, stream};

use crate::backend::{StoreError, StoreErrorKind};
use crate::condemned::Condemned;
use crate::error::RepositoryError;
use crate::ids::{LineageId, SnapshotId};
use crate::manifest::{
    Manifest, ManifestBody, NewPack, encode_manifest, manifest_path, parse_path, shared_manifest_path,
};
use crate::notes::{notes_prefix, snapshot_of_path};
use crate::prune::write_list;
use crate::repository::Repository;
use crate::rules::Rule;
use crate::segment::{Replaced, divide};
use crate::shared::Shared;

const PARALLEL: usize = 16;
/// Up to so many snapshots their notes are listed one by one.
const FEW: usize = 4;

/// What `forget` did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Snapshots that are gone; on a dry run, that would go.
    pub forgotten: Vec<SnapshotId>,
    /// Snapshots that the store refuses to delete: it keeps them for a time, or the credentials may not.
    pub refused: Vec<SnapshotId>,
    /// What the store said to the first of those.
    pub refusal: Option<String>,
    /// Lineages whose next number was taken so that it is not used again.
    pub tombstones: u64,
    /// Notes deleted.
    pub notes: u64,
    /// Manifests deleted, readable or not.
    pub deleted: u64,
}

/// A manifest that is to go.
#[derive(Debug, Clone)]
pub(crate) struct Doomed {
    pub(crate) path: String,
    pub(crate) lineage: LineageId,
    /// `None` where it cannot be read.
    pub(crate) id: Option<SnapshotId>,
    pub(crate) new_packs: Vec<NewPack>,
}

impl From<&Manifest> for Doomed {
    fn from(manifest: &Manifest) -> Self {
        Self {
            path: manifest.path.clone(),
            lineage: manifest.lineage,
            id: Some(manifest.id),
            new_packs: manifest.body.new_packs.clone(),
        }
    }
}

/// Whether a store will not delete, as opposed to cannot just now.
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Permission | StoreErrorKind::ReadOnly | StoreErrorKind::Unsupported)
}

/// Numbers of a lineage and the manifests that have them: two where the store cannot create exclusively.
type Numbers = BTreeMap<u64, Vec<String>>;

impl Repository {
    /// Forgets these snapshots. Which to forget is the caller's decision. Two LISTs, two PUTs, a DELETE for each, and
    /// a PUT for each lineage whose newest number goes. A store that refuses to delete is no error: see
    /// [`Forgotten::refused`].
    pub async fn forget(&self, doomed: &[&Manifest], dry_run: bool) -> Result<Forgotten, RepositoryError> {
        let doomed: Vec<Doomed> = doomed.iter().copied().map(Doomed::from).collect();
        self.shared.forget_manifests(&doomed, dry_run).await
    }
}

impl Shared {
    /// See [`Repository::forget`]; the manifests may be unreadable.
    pub(crate) async fn forget_manifests(
        &self,
        doomed: &[Doomed],
        dry_run: bool,
    ) -> Result<Forgotten, RepositoryError> {
        let shared = self;
        let mut done = Forgotten::default();
        if doomed.is_empty() {
            return Ok(done);
        }
        let paths: HashSet<&str> = doomed.iter().map(|m| m.path.as_str()).collect();
        let numbers = self.numbers(doomed).await?;
        // Where two writers share a number, it is in use as long as one of them stays.
        let stays = |path: &String| !paths.contains(path.as_str());
        let going: Vec<(LineageId, u64)> = numbers
            .iter()
            .filter_map(|(lineage, used)| {
                let (seq, at) = used.last_key_value()?;
                (!at.iter().any(stays)).then_some((*lineage, *seq))
            })
            .collect();
        if dry_run {
            done.forgotten = doomed.iter().filter_map(|m| m.id).collect();
            done.tombstones = going.len() as u64;
            return Ok(done);
        }
        for (lineage, seq) in going.into_iter().filter(|_| shared.rules.have(Rule::TombstoneFirst)) {
            if write_tombstone(shared, lineage, seq).await? {
                done.tombstones = done.tombstones.saturating_add(1);
            }
        }
        let nothing = Condemned { since_ms: shared.clock.now_ms(), ..Condemned::default() };
        if shared.rules.have(Rule::ListBeforeForgetting) {
            write_list(shared, &nothing).await?;
        }
        let entries: BTreeMap<_, _> =
            doomed.iter().flat_map(|m| &m.new_packs).map(|new| (new.pack, new.clone())).collect();
        for segment in divide(entries.into_values(), &Replaced::new())? {
            shared.write_segment(&segment).await?;
        }
        let mut deletes = stream::iter(doomed)
            .map(|manifest| async move { (manifest, shared.store.delete(&manifest.path).await) })
            .buffered(PARALLEL);
        while let Some((manifest, result)) = deletes.next().await {
            match result {
                Ok(()) => {
                    shared.cache.forget_manifest(&manifest.path);
                    done.deleted = done.deleted.saturating_add(1);
                    done.forgotten.extend(manifest.id);
                }
                Err(e) if is_refusal(&e) => {
                    done.refused.extend(manifest.id);
                    done.refusal.get_or_insert_with(|| e.to_string());
                }
                Err(e) => return Err(e.into()),
            }
        }
        drop(deletes);
        done.notes = delete_notes(shared, &done.forgotten).await?;
        Ok(done)
    }

    /// The numbers in use of each lineage that loses snapshots, and the manifests that have them.
    async fn numbers(&self, doomed: &[Doomed]) -> Result<BTreeMap<LineageId, Numbers>, RepositoryError> {
        let lineages: BTreeSet<LineageId> = doomed.iter().map(|m| m.lineage).collect();
        let store = &self.store;
        let listed = match lineages.first().filter(|_| lineages.len() == 1) {
            Some(only) => store.list_sorted(&format!("snapshots/{only}/")).await?,
            None => store.list_sorted("snapshots/").await?,
        };
        let mut numbers: BTreeMap<LineageId, Numbers> = BTreeMap::new();
        for object in listed {
            if let Some((lineage, seq)) = parse_path(&object.path).filter(|(l, _)| lineages.contains(l)) {
                numbers.entry(lineage).or_default().entry(seq).or_default().push(object.path);
            }
        }
        Ok(numbers)
    }
}

/// Takes the number after `seq`, unless somebody has it already.
async fn write_tombstone(shared: &Shared, lineage: LineageId, seq: u64) -> Result<bool, RepositoryError> {
    let Some(next) = seq.checked_add(1) else {
        let what = "its numbers are used up".to_owned();
        return Err(RepositoryError::Inconsistent { object: format!("snapshots/{lineage}"), what });
    };
    let exclusive = shared.creates_exclusively().await?;
    let path =
        if exclusive { manifest_path(lineage, next) } else { shared_manifest_path(lineage, next, shared.clock.name()) };
    let body = ManifestBody::Tombstone { time_ms: shared.clock.now_ms() };
    let object = encode_manifest(&shared.crypto, &path, &body)?.into();
    match shared.store.put_if_absent(&path, object).await {
        Ok(()) => Ok(true),
        Err(e) if e.is_already_exists() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Deletes the notes of snapshots that are gone; gives their number. What the store refuses is left.
async fn delete_notes(shared: &Shared, gone: &[SnapshotId]) -> Result<u64, RepositoryError> {
    let gone: BTreeSet<SnapshotId> = gone.iter().copied().collect();
    let mut listed = Vec::new();
    if gone.len() <= FEW {
        for snapshot in &gone {
            listed.extend(shared.store.list_sorted(&notes_prefix(*snapshot)).await?);
        }
    } else {
        listed = shared.store.list_sorted("notes/").await?;
    }
    listed.retain(|object| snapshot_of_path(&object.path).is_some_and(|id| gone.contains(&id)));
    let paths = listed.into_iter().map(|object| object.path);
    let mut deletes = stream::iter(paths)
        .map(|path| async move {
            let result = shared.store.delete(&path).await;
            shared.cache.forget_manifest(&path);
            result
        })
        .buffered(PARALLEL);
    let mut count = 0_u64;
    while let Some(result) = deletes.next().await {
        match result {
            Ok(()) => count = count.saturating_add(1),
            Err(e) if is_refusal(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
