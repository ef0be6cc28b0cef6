//! `repair index`: where blobs are, from the packs' own footers.
//!
//! ```text
//! 1  every manifest, pack footer, segment, catalog and list is read
//! 2  blobs that are only in packs on a list are copied into new packs
//! 3  a segment is written: which packs hold what snapshots look for in packs that are gone or cannot be read, and the
//!    entries of packs that no manifest introduces
//! 4  segments that cannot be read are replaced by it, catalogs are deleted: the manifests say the same
//! 5  where condemned lists cannot be read, a further one is written that has every pack; then empty ones take their place
//! ```
//!
//! `prune` and writers may go on meanwhile. A pack that is to stand for another is on no list when the lists are read, and
//! the segment is there within half the grace period: a prune that condemns the pack sees the segment before it may delete it.
//! Whoever reads a damaged segment's path fails or finds all that the new one says. A list that cannot be read may have had any
//! pack, also one that a snapshot names by now and that a prune which read the list in time is about to delete; and it
//! may be known to writers as it was. So the further list takes the next generation, for which everybody looks, has every pack
//! there is, and is there first. That costs one upload of what backups would otherwise have referred to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use super::{Step, Stock, Unreadable};
use crate::blobs::{BlobSource, PlainBlob};
use crate::condemned::{Condemned, encode_condemned, generation_of_path};
use crate::error::RepositoryError;
use crate::forget::is_refusal;
use crate::ids::{BlobId, BlobKind, PackId, SnapshotId};
use crate::manifest::{IndexPlace, Manifest, NewPack, StackTable};
use crate::pack::PackBuilder;
use crate::prune::{upload, write_list};
use crate::reader::BlobReader;
use crate::repository::Repository;
use crate::rules::Rule;
use crate::seal::{DEFAULT_LEVEL, frame_blob, seal_blob};
use crate::segment::{Replaced, Segment, divide, encode_segment, is_segment_path, with_successors};
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
        let began = shared.clock.moment();
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
        let mut search = Search::new(&stock);
        search.all(&mut done)?;
        if done.replaced.is_empty() && done.found_elsewhere.is_empty() {
            return Ok(done);
        }
        let Search { reader, mut found, to_copy, .. } = search;
        let mut entries = wait.block_on(unintroduced(&stock))?;
        if !dry_run && !to_copy.is_empty() {
            step("copying what is only in condemned packs")?;
            entries.extend(copy_blobs(&shared, &reader, to_copy, &mut found)?);
        }
        let segments = divide(entries, &found)?;
        done.segments = segments.len() as u64;
        if dry_run {
            return Ok(done);
        }
        step("writing the index")?;
        let limit_s = shared.config.writers_grace_s() / 2;
        if shared.clock.since(began).as_secs() >= limit_s {
            return Err(RepositoryError::TooSlow { limit_s });
        }
        for segment in &segments {
            wait.block_on(shared.write_segment(segment))?;
        }
        for (pack, _) in &done.found_elsewhere {
            shared.forget_pack(*pack);
        }
        wait.block_on(replace_objects(&stock, &shared, segments.first(), &mut done))?;
        wait.block_on(replace_lists(&stock, &shared))?;
        Ok(done)
    }
}

/// Which packs hold what snapshots look for in others that are gone, or do not say what they hold.
struct Search<'s> {
    stock: &'s Stock,
    reader: BlobReader,
    known: Replaced,
    found: Replaced,
    /// Blobs that are only in packs that may go, and the packs they are looked for in.
    to_copy: BTreeMap<BlobId, (BlobKind, BTreeSet<PackId>)>,
    counts: BTreeMap<PackId, u64>,
}

impl<'s> Search<'s> {
    fn new(stock: &'s Stock) -> Self {
        let (reader, known) = (BlobReader::new(Arc::clone(&stock.scratch)), stock.replaced());
        Self { stock, reader, known, found: Replaced::new(), to_copy: BTreeMap::new(), counts: BTreeMap::new() }
    }

    fn all(&mut self, done: &mut IndexRepaired) -> Result<(), RepositoryError> {
        let mut seen: HashSet<(Option<BlobId>, Vec<PackId>)> = HashSet::new();
        let mut broken: HashSet<(Option<BlobId>, Vec<PackId>)> = HashSet::new();
        let mut lost: HashSet<BlobId> = HashSet::new();
        for manifest in &self.stock.manifests {
            let mut is_damaged = false;
            for table in &manifest.body.stack {
                let key = (table.root.root, table.packs.clone());
                if seen.insert(key.clone()) {
                    let missing = self.look_for(table)?;
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
        done.found_elsewhere = std::mem::take(&mut self.counts).into_iter().collect();
        // What is known already is said again: one segment is enough from now on.
        for (old, new) in &self.known {
            self.found.entry(*old).or_default().extend(new);
        }
        Ok(())
    }

    /// The blobs of one table: those in other packs than it names are added to what was found; gives those that are nowhere.
    fn look_for(&mut self, table: &StackTable) -> Result<Vec<BlobId>, RepositoryError> {
        let fail = |e| RepositoryError::Table { source: Box::new(e) };
        let (mut blobs, mut lost, root) = (Vec::new(), Vec::new(), &table.root);
        let leaves = read_leaves_left(&self.reader, root, &mut |id| blobs.push(id), &mut |part| lost.push(part.id));
        blobs.extend(leaves.map_err(fail)?.iter().map(|leaf| leaf.id));
        blobs.extend(&root.refs);
        match read_refs(&self.reader, root) {
            Ok(values) => blobs.extend(values.iter().map(|value| value.id)),
            Err(e) if e.is_loss() => {}
            Err(e) => return Err(fail(e)),
        }
        let named: BTreeSet<PackId> = table.packs.iter().flat_map(|p| with_successors(&self.known, *p)).collect();
        // What a table names and is not there, else its first pack: whichever it is, readers and prune follow it.
        let gone: Vec<PackId> = table.packs.iter().copied().filter(|p| !self.stock.has(*p)).collect();
        let from = if gone.is_empty() { table.packs.first().copied().into_iter().collect() } else { gone };
        let mut missing = Vec::new();
        for id in blobs {
            let locations = self.stock.scratch.locations.read().unwrap_or_else(PoisonError::into_inner);
            let Some(kind) = locations.find(&id).map(|(at, _)| at.kind) else {
                missing.push(id);
                continue;
            };
            let places = locations.places(&id);
            drop(locations);
            if places.iter().any(|pack| named.contains(pack)) {
                continue;
            }
            let lasting = places.into_iter().find(|pack| !self.stock.may_go(*pack));
            for old in &from {
                let (packs, pack) = match lasting {
                    Some(pack) => (self.found.entry(*old).or_default(), pack),
                    None => (&mut self.to_copy.entry(id).or_insert_with(|| (kind, BTreeSet::new())).1, *old),
                };
                packs.insert(pack);
                let count = self.counts.entry(*old).or_default();
                *count = count.saturating_add(1);
            }
        }
        missing.extend(lost);
        Ok(missing)
    }
}

/// Copies blobs into new packs, which stand for those that they are looked for in.
fn copy_blobs(
    shared: &Shared,
    reader: &BlobReader,
    blobs: BTreeMap<BlobId, (BlobKind, BTreeSet<PackId>)>,
    found: &mut Replaced,
) -> Result<Vec<NewPack>, RepositoryError> {
    let (mut packs, mut open) = (Vec::new(), None::<PackBuilder>);
    for (id, (kind, olds)) in blobs {
        let bytes = reader.get(&id, kind)?;
        let failed = |e| RepositoryError::writing("packs/", e);
        let framed = frame_blob(PlainBlob { id, kind, bytes: &bytes }, DEFAULT_LEVEL).map_err(failed)?;
        let into = match &mut open {
            Some(open) => open,
            None => open.insert(shared.new_pack()?),
        };
        let sealed = seal_blob(&shared.crypto, into.key(), &framed).map_err(failed)?;
        into.push(id, kind, framed.raw_len, &sealed);
        for old in olds {
            found.entry(old).or_default().insert(into.id());
        }
        if into.is_full()
            && let Some(full) = open.take()
        {
            packs.push(upload(shared, full)?);
        }
    }
    if let Some(last) = open {
        packs.push(upload(shared, last)?);
    }
    Ok(packs)
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

/// Segments that cannot be read say from now on what the new one says; catalogs, which only save requests, go.
async fn replace_objects(
    stock: &Stock,
    shared: &Shared,
    segment: Option<&Segment>,
    done: &mut IndexRepaired,
) -> Result<(), RepositoryError> {
    for Unreadable { path, .. } in &stock.unreadable_derived {
        let result = match segment.filter(|_| is_segment_path(path)) {
            Some(segment) => shared.store.put(path, encode_segment(&shared.crypto, path, segment)?.into()).await,
            None if generation_of_path(path).is_some() => continue,
            None => shared.store.delete(path).await,
        };
        match result {
            Ok(()) => shared.cache.forget_manifest(path),
            Err(e) if is_refusal(&e) => {
                done.refused = done.refused.saturating_add(1);
                done.refusal.get_or_insert_with(|| e.to_string());
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Lists that cannot be read: see the head of this module.
async fn replace_lists(stock: &Stock, shared: &Shared) -> Result<(), RepositoryError> {
    let mut unreadable = stock.unreadable_lists().peekable();
    if unreadable.peek().is_none() {
        return Ok(());
    }
    let packs = stock.packs.keys().copied().collect();
    let every = Condemned { since_ms: shared.clock.now_ms(), packs, objects: Vec::new() };
    let in_place = if shared.rules.have(Rule::FurtherList) {
        write_list(shared, &every).await?;
        Condemned::default()
    } else {
        every
    };
    for path in unreadable {
        let object = encode_condemned(&shared.crypto, path, &in_place)?;
        shared.store.put(path, object.into()).await?;
    }
    Ok(())
}
