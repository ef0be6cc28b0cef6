//! Copying what is needed out of packs that are mostly garbage.
//!
//! A manifest cannot be changed, so it goes on naming the old pack; a segment says which packs replaced it. The old pack is
//! condemned, and deleted when the grace period has passed and every blob that is needed of it then is in a pack that
//! replaced it. A crash before the segment leaves new packs that nothing names; after it, copies that the next run finds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::survey::Survey;
use super::{PruneOptions, Pruned};
use crate::blobs::PlainBlob;
use crate::clock::Moment;
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, PackId};
use crate::manifest::{IndexPlace, NewPack, StackTable};
use crate::pack::{FinishedPack, MAX_PACK, PackBuilder, PackIndex, pack_path};
use crate::reader::BlobReader;
use crate::rules::Rule;
use crate::seal::{DEFAULT_LEVEL, frame_blob, open_blob, seal_blob};
use crate::segment::{Replaced, divide, with_successors};
use crate::shared::Shared;
use crate::table::visit_blobs;

/// Packs with less of them needed than this are repacked, percent.
const NEEDED_PERCENT: u64 = 60;
/// Smaller packs are left alone, bytes: their requests cost more than their garbage.
const SMALLEST: u64 = 128 << 10;
/// Packs whose entries are in memory at a time.
const BATCH: usize = 64;

/// Which blobs tables need. Knows the places of nodes and value lists only, so that its memory does not grow with the chunks.
pub(super) struct NodeReader {
    shared: Arc<Shared>,
    scratch: Arc<Shared>,
}

/// The first half of a blob's id. A pair that agrees in it would keep garbage, never lose data.
fn half(id: &BlobId) -> u128 {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = id.0;
    u128::from_le_bytes(first)
}

impl NodeReader {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), scratch: Arc::new(shared.without_cache()) }
    }

    fn indexes(&self, packs: &[PackId]) -> Result<Vec<PackIndex>, RepositoryError> {
        self.shared.handle.block_on(self.shared.indexes(packs))
    }

    /// Halves of the ids of all blobs of these tables.
    fn needed<'t>(
        &self,
        survey: &Survey,
        tables: impl Iterator<Item = &'t StackTable>,
    ) -> Result<HashSet<u128>, RepositoryError> {
        let mut needed = HashSet::new();
        let mut loaded = HashSet::new();
        let reader = BlobReader::new(Arc::clone(&self.scratch));
        for table in tables {
            if table.root.height > 0 || !table.root.refs.is_empty() {
                let packs = table.packs.iter().flat_map(|pack| with_successors(&survey.replaced, *pack));
                let unknown: Vec<PackId> =
                    packs.filter(|p| survey.packs.contains_key(p)).filter(|p| loaded.insert(*p)).collect();
                for batch in unknown.chunks(BATCH) {
                    let indexes = self.indexes(batch)?;
                    let mut locations = self.scratch.locations.write().unwrap_or_else(PoisonError::into_inner);
                    for index in indexes {
                        locations.add_kinds(&index, |kind| matches!(kind, BlobKind::Node | BlobKind::Refs));
                    }
                }
            }
            visit_blobs(&reader, &table.root, &mut |id, _| {
                needed.insert(half(&id));
            })
            .map_err(|e| RepositoryError::Table { source: Box::new(e) })?;
        }
        Ok(needed)
    }
}

/// The tables that have blobs in one of these packs.
fn tables_in<'s>(survey: &'s Survey, packs: &'s HashSet<PackId>) -> impl Iterator<Item = &'s StackTable> {
    survey.tables.iter().filter(|table| {
        table.packs.iter().any(|pack| {
            packs.contains(pack)
                || (survey.replaced.contains_key(pack)
                    && with_successors(&survey.replaced, *pack).iter().any(|p| packs.contains(p)))
        })
    })
}

/// The packs that can stand in for a replaced one: they are there, and no list has them.
fn stand_ins(survey: &Survey, listed: &BTreeSet<PackId>, pack: PackId) -> Vec<PackId> {
    let mut all = with_successors(&survey.replaced, pack);
    all.retain(|p| *p != pack && survey.packs.contains_key(p) && !listed.contains(p));
    all.into_iter().collect()
}

/// Packs of old lists that snapshots name and can do without: every needed blob is in a pack that replaced them.
pub(super) fn superseded(nodes: &NodeReader, survey: &Survey) -> Result<BTreeSet<PackId>, RepositoryError> {
    let listed = survey.listed();
    let ripe = survey.lists.values().filter(|list| survey.is_old(list.written)).flat_map(|list| &list.body.packs);
    let asked: HashSet<PackId> = ripe
        .copied()
        .filter(|p| survey.packs.contains_key(p) && survey.reachable.contains(p) && survey.replaced.contains_key(p))
        .collect();
    let mut free = BTreeSet::new();
    if asked.is_empty() {
        return Ok(free);
    }
    let needed = nodes.needed(survey, tables_in(survey, &asked))?;
    for pack in asked {
        let copies: HashSet<BlobId> = nodes
            .indexes(&stand_ins(survey, &listed, pack))?
            .iter()
            .flat_map(|index| index.blobs.iter().map(|blob| blob.id))
            .collect();
        let Some(index) = nodes.indexes(&[pack])?.pop() else { continue };
        let anyhow = !nodes.shared.rules.have(Rule::WholeSuccessors);
        if anyhow || index.blobs.iter().all(|blob| !needed.contains(&half(&blob.id)) || copies.contains(&blob.id)) {
            free.insert(pack);
        }
    }
    Ok(free)
}

/// A pack to repack.
struct Wasteful {
    pack: PackId,
    size: u64,
    needed_bytes: u64,
}

/// Copies the needed blobs of wasteful packs; gives the packs that can be condemned for it.
pub(super) fn repack(
    nodes: &NodeReader,
    survey: &Survey,
    options: &PruneOptions,
    began: Moment,
    done: &mut Pruned,
) -> Result<BTreeSet<PackId>, RepositoryError> {
    let listed = survey.listed();
    let candidates: HashSet<PackId> = survey
        .packs
        .iter()
        .filter(|(p, facts)| facts.size >= SMALLEST && survey.reachable.contains(p) && !listed.contains(p))
        .map(|(pack, _)| *pack)
        .collect();
    let mut chosen = BTreeSet::new();
    if candidates.is_empty() || options.max_repack == 0 {
        return Ok(chosen);
    }
    let needed = nodes.needed(survey, tables_in(survey, &candidates))?;
    let mut wasteful = find_wasteful(nodes, &candidates, &needed)?;
    wasteful.sort_by_key(|w| (w.needed_bytes.saturating_mul(1000) / w.size.max(1), w.pack));
    let mut copier = Copier::new(nodes);
    let mut room = options.max_repack;
    for Wasteful { pack, size, needed_bytes } in wasteful {
        let Some(left) = room.checked_sub(size) else { continue };
        room = left;
        done.repacked.add(size);
        chosen.insert(pack);
        if options.dry_run {
            done.rewritten.bytes = done.rewritten.bytes.saturating_add(needed_bytes);
        } else {
            copier.copy(pack, &needed, &stand_ins(survey, &listed, pack))?;
        }
    }
    if options.dry_run || chosen.is_empty() {
        return Ok(chosen);
    }
    let (packs, replaced) = copier.finish()?;
    for new in &packs {
        done.rewritten.add(new.size);
    }
    // The new packs are named by nothing until the segment is there, and are garbage after a grace period.
    if !survey.grace.is_zero() && nodes.shared.clock.since(began) >= survey.grace / 2 {
        return Err(RepositoryError::TooSlow { limit_s: (survey.grace / 2).as_secs() });
    }
    for segment in divide(packs, &replaced)? {
        nodes.shared.handle.block_on(nodes.shared.write_segment(&segment))?;
        done.segments = done.segments.saturating_add(1);
    }
    Ok(chosen)
}

fn find_wasteful(
    nodes: &NodeReader,
    candidates: &HashSet<PackId>,
    needed: &HashSet<u128>,
) -> Result<Vec<Wasteful>, RepositoryError> {
    let candidates: Vec<PackId> = candidates.iter().copied().collect();
    let mut wasteful = Vec::new();
    for batch in candidates.chunks(BATCH) {
        for PackIndex { pack, size, blobs, .. } in nodes.indexes(batch)? {
            let needed_bytes =
                blobs.iter().filter(|b| needed.contains(&half(&b.id))).map(|b| u64::from(b.len)).sum::<u64>();
            if needed_bytes.saturating_mul(100) < size.saturating_mul(NEEDED_PERCENT) {
                wasteful.push(Wasteful { pack, size, needed_bytes });
            }
        }
    }
    Ok(wasteful)
}

/// Blobs on their way into new packs, sealed anew.
struct Copier<'n> {
    nodes: &'n NodeReader,
    open: Option<PackBuilder>,
    written: Vec<NewPack>,
    placed: BTreeMap<BlobId, PackId>,
    replaced: Replaced,
}

impl<'n> Copier<'n> {
    fn new(nodes: &'n NodeReader) -> Self {
        Self { nodes, open: None, written: Vec::new(), placed: BTreeMap::new(), replaced: Replaced::new() }
    }

    /// Copies the needed blobs of a pack but those that `stand_ins` hold already.
    fn copy(&mut self, old: PackId, needed: &HashSet<u128>, stand_ins: &[PackId]) -> Result<(), RepositoryError> {
        let shared = &self.nodes.shared;
        let Some(index) = self.nodes.indexes(&[old])?.pop() else { return Ok(()) };
        let there: HashSet<BlobId> =
            self.nodes.indexes(stand_ins)?.iter().flat_map(|index| index.blobs.iter().map(|blob| blob.id)).collect();
        let path = pack_path(old);
        let object: Bytes = shared.handle.block_on(shared.store.get(&path, MAX_PACK))?;
        let key = shared.key(&index.wrapped)?;
        let successors = self.replaced.entry(old).or_default();
        successors.extend(stand_ins);
        for (offset, blob) in index.located() {
            if !needed.contains(&half(&blob.id)) || there.contains(&blob.id) {
                continue;
            }
            if let Some(pack) = self.placed.get(&blob.id) {
                successors.insert(*pack);
                continue;
            }
            let damaged = |e: crate::seal::SealError| RepositoryError::reading(&path, e);
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let sealed = object.get(start..start.saturating_add(blob.len as usize)).unwrap_or_default();
            let bytes = open_blob(&shared.crypto, &key, &blob.id, blob.kind, sealed).map_err(damaged)?;
            let plain = PlainBlob { id: blob.id, kind: blob.kind, bytes: &bytes };
            let framed = frame_blob(plain, DEFAULT_LEVEL).map_err(|e| RepositoryError::writing(&path, e))?;
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(shared.new_pack()?),
            };
            let sealed =
                seal_blob(&shared.crypto, open.key(), &framed).map_err(|e| RepositoryError::writing(&path, e))?;
            open.push(blob.id, blob.kind, framed.raw_len, &sealed);
            successors.insert(open.id());
            self.placed.insert(blob.id, open.id());
            if open.is_full()
                && let Some(full) = self.open.take()
            {
                self.written.push(upload(shared, full)?);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<NewPack>, Replaced), RepositoryError> {
        if let Some(last) = self.open.take() {
            self.written.push(upload(&self.nodes.shared, last)?);
        }
        // A pack of which nothing is needed has no successors and needs none.
        self.replaced.retain(|_, successors| !successors.is_empty());
        Ok((self.written, self.replaced))
    }
}

/// Uploads a pack that no manifest introduces; gives its entry for a segment.
pub(crate) fn upload(shared: &Shared, pack: PackBuilder) -> Result<NewPack, RepositoryError> {
    let FinishedPack { path, bytes, index, footer } = pack.finish(&shared.crypto)?;
    shared.handle.block_on(shared.store.put(&path, bytes.into()))?;
    shared.cache.put_pack(&index);
    let place = IndexPlace::Footer(footer.0, footer.1);
    Ok(NewPack { pack: index.pack, size: index.size, wrapped: index.wrapped.to_vec(), place })
}
