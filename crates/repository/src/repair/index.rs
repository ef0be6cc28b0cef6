//! `repair index`: where blobs are, from the packs' own footers.
//!
//! ```text
//! 1  every manifest, pack footer, segment, catalog and list is read
//! 2  a segment is written: which packs hold what snapshots look for in packs that are gone or cannot be read, and the
//!    entries of packs that no manifest introduces
//! 3  condemned lists that cannot be read are written anew, longer rather than shorter
//! 4  segments and catalogs that cannot be read are deleted: what they said is in the packs and manifests
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use super::{Step, Stock, Unreadable};
use crate::condemned::{Condemned, encode_condemned, generation_of_path};
use crate::error::RepositoryError;
use crate::forget::is_refusal;
use crate::ids::{BlobId, PackId, SnapshotId};
use crate::manifest::{IndexPlace, Manifest, NewPack, StackTable};
use crate::reader::BlobReader;
use crate::repository::Repository;
use crate::segment::{Replaced, divide, with_successors};
use crate::shared::Shared;
use crate::table::{read_leaves_left, read_refs};

/// What `repair index` found and did; on a dry run, would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexRepaired {
    /// Packs whose footers were read.
    pub packs: u64,
    /// Packs that cannot be read.
    pub unreadable_packs: Vec<Unreadable>,
    /// Packs whose blobs were found in others, and how many blobs.
    pub found_elsewhere: Vec<(PackId, u64)>,
    /// Blobs of snapshots that are in no pack, and the snapshots concerned: `repair snapshots` is for them.
    pub lost_blobs: u64,
    /// Snapshots that need one of those.
    pub damaged_snapshots: Vec<SnapshotId>,
    /// Manifests that cannot be read.
    pub unreadable_manifests: Vec<Unreadable>,
    /// Segments, catalogs and condemned lists that could not be read and were made anew.
    pub replaced: Vec<Unreadable>,
    /// Index segments written.
    pub segments: u64,
    /// Objects that the store refuses to delete.
    pub refused: u64,
    /// What it said.
    pub refusal: Option<String>,
}

impl Repository {
    /// Rebuilds what is derived from packs. Must not be called on a thread of the runtime the repository was opened on.
    pub fn repair_index(&self, dry_run: bool, step: Step<'_>) -> Result<IndexRepaired, RepositoryError> {
        let shared = Arc::clone(&self.shared);
        let wait = shared.handle.clone();
        step("reading manifests, packs and indexes")?;
        let stock = wait.block_on(Stock::take(&shared))?;
        step("looking for every blob of every snapshot")?;
        let mut done = IndexRepaired {
            packs: stock.packs.len() as u64,
            unreadable_packs: stock
                .unreadable_packs
                .iter()
                .map(|(pack, reason)| Unreadable { path: crate::pack::pack_path(*pack), reason: reason.clone() })
                .collect(),
            unreadable_manifests: stock.unreadable_manifests.clone(),
            replaced: stock.unreadable_derived.clone(),
            ..IndexRepaired::default()
        };
        let replaced = find_elsewhere(&stock, &mut done)?;
        if done.replaced.is_empty() && done.found_elsewhere.is_empty() {
            return Ok(done);
        }
        let segments = divide(wait.block_on(unintroduced(&stock))?, &replaced)?;
        done.segments = segments.len() as u64;
        if dry_run {
            return Ok(done);
        }
        step("writing the index")?;
        for segment in &segments {
            wait.block_on(shared.write_segment(segment))?;
        }
        for (pack, _) in &done.found_elsewhere {
            shared.forget_pack(*pack);
        }
        for Unreadable { path, .. } in stock.unreadable_derived.clone() {
            if generation_of_path(&path).is_some() {
                wait.block_on(rewrite_list(&stock, &path, &shared))?;
                continue;
            }
            match wait.block_on(shared.store.delete(&path)) {
                Ok(()) => shared.cache.forget_manifest(&path),
                Err(e) if is_refusal(&e) => {
                    done.refused = done.refused.saturating_add(1);
                    done.refusal.get_or_insert_with(|| e.to_string());
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }
}

/// Packs that hold what snapshots look for in others that are gone, or do not say what they hold.
fn find_elsewhere(stock: &Stock, done: &mut IndexRepaired) -> Result<Replaced, RepositoryError> {
    let known = stock.replaced();
    let reader = BlobReader::new(Arc::clone(&stock.scratch));
    let (mut found, mut counts) = (Replaced::new(), BTreeMap::<PackId, u64>::new());
    let mut seen: HashSet<(Option<BlobId>, Vec<PackId>)> = HashSet::new();
    let mut broken: HashSet<(Option<BlobId>, Vec<PackId>)> = HashSet::new();
    let mut lost: HashSet<BlobId> = HashSet::new();
    for manifest in &stock.manifests {
        let mut is_damaged = false;
        for table in &manifest.body.stack {
            let key = (table.root.root, table.packs.clone());
            if seen.insert(key.clone()) {
                let missing = look_for(stock, &reader, table, &known, &mut found, &mut counts)?;
                if !missing.is_empty() {
                    broken.insert(key.clone());
                }
                lost.extend(missing);
            }
            is_damaged |= broken.contains(&key);
        }
        if is_damaged {
            done.damaged_snapshots.push(manifest.id);
        }
    }
    done.lost_blobs = lost.len() as u64;
    done.found_elsewhere = counts.into_iter().collect();
    // What is known already is said again: one segment is enough from now on.
    for (old, new) in known {
        found.entry(old).or_default().extend(new);
    }
    Ok(found)
}

/// The blobs of one table: those in other packs than it names are added to `found`; gives those that are nowhere.
fn look_for(
    stock: &Stock,
    reader: &BlobReader,
    table: &StackTable,
    known: &Replaced,
    found: &mut Replaced,
    counts: &mut BTreeMap<PackId, u64>,
) -> Result<Vec<BlobId>, RepositoryError> {
    let named: BTreeSet<PackId> = table.packs.iter().flat_map(|p| with_successors(known, *p)).collect();
    // What a table names and is not there, else its first pack: whichever it is, readers and prune follow it.
    let gone: Vec<PackId> = table.packs.iter().copied().filter(|p| !stock.has(*p)).collect();
    let from = if gone.is_empty() { table.packs.first().copied().into_iter().collect() } else { gone };
    let mut missing = Vec::new();
    let mut place = |id: BlobId| {
        let locations = stock.scratch.locations.read().unwrap_or_else(PoisonError::into_inner);
        let places = locations.places(&id);
        if places.is_empty() {
            missing.push(id);
        } else if !places.iter().any(|pack| named.contains(pack)) {
            for old in &from {
                found.entry(*old).or_default().extend(places.iter().take(1));
                let count = counts.entry(*old).or_default();
                *count = count.saturating_add(1);
            }
        }
    };
    let fail = |e| RepositoryError::Table { source: Box::new(e) };
    let (mut nodes, mut lost, root) = (Vec::new(), Vec::new(), &table.root);
    let leaves =
        read_leaves_left(reader, root, &mut |id| nodes.push(id), &mut |part| lost.push(part.id)).map_err(fail)?;
    nodes.into_iter().chain(leaves.iter().map(|leaf| leaf.id)).chain(root.refs.iter().copied()).for_each(&mut place);
    match read_refs(reader, root) {
        Ok(values) => values.iter().for_each(|value| place(value.id)),
        Err(e) if e.is_loss() => {}
        Err(e) => return Err(fail(e)),
    }
    missing.extend(lost);
    Ok(missing)
}

/// Entries of packs that snapshots need and no manifest introduces.
async fn unintroduced(stock: &Stock) -> Result<Vec<NewPack>, RepositoryError> {
    let introduced: HashSet<PackId> =
        stock.manifests.iter().flat_map(|m| &m.body.new_packs).map(|new| new.pack).collect();
    let needed: BTreeSet<PackId> = stock.manifests.iter().flat_map(Manifest::packs).collect();
    let entries = stock.segments.iter().flat_map(|(_, segment)| &segment.packs);
    let mut known: BTreeMap<PackId, NewPack> = entries.map(|entry| (entry.pack, entry.clone())).collect();
    let wanted = needed.into_iter().filter(|pack| stock.has(*pack) && !introduced.contains(pack));
    let (mut entries, mut unknown) = (Vec::new(), Vec::new());
    for pack in wanted {
        match known.remove(&pack) {
            Some(entry) => entries.push(entry),
            None => unknown.push(pack),
        }
    }
    for index in stock.scratch.indexes(&unknown).await? {
        let place = IndexPlace::Inline(index.blobs);
        entries.push(NewPack { pack: index.pack, size: index.size, wrapped: index.wrapped.to_vec(), place });
    }
    Ok(entries)
}

/// A list that cannot be read may have named any pack that no manifest names: the new one names them all.
async fn rewrite_list(stock: &Stock, path: &str, shared: &Shared) -> Result<(), RepositoryError> {
    let known = stock.replaced();
    let named = stock.manifests.iter().flat_map(Manifest::packs);
    let named: HashSet<PackId> = named.flat_map(|pack| with_successors(&known, pack)).collect();
    let packs = stock.packs.keys().copied().filter(|pack| !named.contains(pack)).collect();
    let list = Condemned { since_ms: shared.clock.now_ms(), packs, objects: Vec::new() };
    let object = encode_condemned(&shared.crypto, path, &list)?;
    shared.store.put(path, object.into()).await?;
    Ok(())
}
