//! `repair`: bringing back what can be, and saying exactly what cannot.
//!
//! [`repair_index`](crate::Repository::repair_index) makes anew whatever is derived from packs and manifests: where each
//! blob is, index segments and catalogs that cannot be read, condemned lists.
//! [`repair_snapshots`](crate::Repository::repair_snapshots) writes beside each damaged snapshot one that holds what is
//! left, marked incomplete with the ranges that are lost.
//! Neither takes the damaged objects away unless that is asked for or they say nothing that is not said elsewhere.
//!
//! Both read everything first and write then. A crash in between leaves some of it done; the next run does the rest. Backups,
//! restores and `prune` may go on meanwhile: nothing new is named that is on a list, and what is put in the place of something
//! that cannot be read says at least as much.

mod index;
mod rewrite;
mod salvage;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::backend::ObjectInfo;
use crate::catalog::{CatalogEntry, is_catalog_path};
use crate::condemned::{MAX_CONDEMNED, decode_condemned, generation_of_path};
use crate::error::{RepositoryError, error_text};
use crate::ids::PackId;
use crate::manifest::{Manifest, parse_path};
use crate::notes::{MAX_NOTE, decode_note, snapshot_of_path};
use crate::pack::{PackIndex, pack_of_path};
use crate::segment::{MAX_SEGMENT, Replaced, Segment, decode_segment, is_segment_path, join_replaced};
use crate::shared::Shared;
use crate::snapshots::Listed;

pub use index::IndexRepaired;
pub use salvage::Lost;
pub use snapshots::{Describe, Mended, SnapshotRepair, SnapshotsRepaired};

const PARALLEL: usize = 16;

/// Told what is being done; may ask to stop by an error.
pub type Step<'a> = &'a mut (dyn FnMut(&'static str) -> Result<(), RepositoryError> + Send);

/// An object that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// Everything in the store, as far as it can be read.
struct Stock {
    /// Knows the packs that are there, and no others.
    scratch: Arc<Shared>,
    packs: BTreeMap<PackId, u64>,
    unreadable_packs: Vec<(PackId, String)>,
    manifests: Vec<Manifest>,
    /// Numbers in use of each lineage that has an unreadable manifest follow from the listing.
    listed: Vec<ObjectInfo>,
    unreadable_manifests: Vec<Unreadable>,
    segments: Vec<(String, Segment)>,
    /// Packs on condemned lists that can be read.
    condemned: BTreeSet<PackId>,
    /// Segments, catalogs and lists that cannot be read.
    unreadable_derived: Vec<Unreadable>,
    unreadable_notes: Vec<Unreadable>,
    /// What catalogs say of manifests.
    catalogued: HashMap<String, CatalogEntry>,
}

impl Stock {
    async fn take(shared: &Shared) -> Result<Self, RepositoryError> {
        let scratch = Arc::new(shared.without_cache());
        let listed = scratch.list_everything().await?;
        let mut stock = Self {
            packs: listed.iter().filter_map(|o| Some((pack_of_path(&o.path)?, o.size))).collect(),
            unreadable_packs: Vec::new(),
            manifests: Vec::new(),
            unreadable_manifests: Vec::new(),
            segments: Vec::new(),
            condemned: BTreeSet::new(),
            unreadable_derived: Vec::new(),
            unreadable_notes: Vec::new(),
            catalogued: HashMap::new(),
            listed,
            scratch,
        };
        stock.read_manifests().await?;
        stock.read_derived().await?;
        stock.read_footers().await?;
        Ok(stock)
    }

    async fn read_manifests(&mut self) -> Result<(), RepositoryError> {
        let manifests: Vec<ObjectInfo> =
            self.listed.iter().filter(|o| parse_path(&o.path).is_some()).cloned().collect();
        let scratch = Arc::clone(&self.scratch);
        // No catalogs: what they say of a damaged manifest must not hide that it is damaged.
        scratch
            .visit_manifests(&manifests, &[], &mut |listed, _| match listed {
                Listed::Snapshot(manifest) => self.manifests.push(*manifest),
                Listed::Tombstone { .. } => {}
                Listed::Unreadable(path, error) => {
                    self.unreadable_manifests.push(Unreadable { path, reason: error_text(&error) });
                }
            })
            .await?;
        self.manifests.sort_by_key(|m| (m.lineage, m.seq, m.id));
        Ok(())
    }

    async fn read_derived(&mut self) -> Result<(), RepositoryError> {
        let scratch = Arc::clone(&self.scratch);
        for object in self.listed.clone() {
            let path = object.path;
            let result = if is_segment_path(&path) {
                scratch
                    .read_bounded(&path, MAX_SEGMENT, |bytes| decode_segment(&scratch.crypto, &path, bytes))
                    .await
                    .map(|segment| self.segments.extend(segment.map(|segment| (path.clone(), segment))))
            } else if generation_of_path(&path).is_some() {
                let decode = |bytes: &[u8]| decode_condemned(&scratch.crypto, &path, bytes);
                let list = scratch.read_bounded(&path, MAX_CONDEMNED, decode).await;
                list.map(|list| self.condemned.extend(list.into_iter().flat_map(|list| list.packs)))
            } else if is_catalog_path(&path) {
                let decode = |bytes: &[u8]| crate::catalog::decode_catalog(&scratch.crypto, &path, bytes);
                let entries = scratch.read_bounded(&path, crate::catalog::MAX_CATALOG, decode).await;
                let wanted = |entry: &CatalogEntry| self.unreadable_manifests.iter().any(|u| u.path == entry.path);
                entries.map(|entries| {
                    let entries = entries.into_iter().flatten().filter(wanted);
                    let entries: Vec<_> = entries.map(|entry| (entry.path.clone(), entry)).collect();
                    self.catalogued.extend(entries);
                })
            } else if snapshot_of_path(&path).is_some() {
                let decode = |bytes: &[u8]| decode_note(&scratch.crypto, &path, bytes);
                match scratch.read_bounded(&path, MAX_NOTE, decode).await {
                    Err(error) if error.is_damage() => {
                        self.unreadable_notes.push(Unreadable { path: path.clone(), reason: error_text(&error) });
                        Ok(())
                    }
                    other => other.map(drop),
                }
            } else {
                Ok(())
            };
            match result {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    self.unreadable_derived.push(Unreadable { path, reason: error_text(&error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_footers(&mut self) -> Result<(), RepositoryError> {
        let scratch = &self.scratch;
        let mut reads = stream::iter(self.packs.iter())
            .map(|(pack, size)| async move { (*pack, *size, scratch.read_footer(*pack).await) })
            .buffered(PARALLEL);
        while let Some((pack, size, result)) = reads.next().await {
            match result {
                Ok((index, ..)) if index.size == size => scratch.add_index(&index),
                Ok((PackIndex { size: now, .. }, ..)) => {
                    self.unreadable_packs.push((pack, format!("it has {now} bytes and was listed with {size}")));
                }
                Err(RepositoryError::Store(e)) if e.is_not_found() => {}
                Err(e @ RepositoryError::Store(_)) if !e.is_damage() => return Err(e),
                Err(e) => self.unreadable_packs.push((pack, error_text(&e))),
            }
        }
        Ok(())
    }

    /// Packs and those that replaced them, as far as segments can be read.
    fn replaced(&self) -> Replaced {
        let mut replaced = Replaced::new();
        for (_, segment) in &self.segments {
            join_replaced(&mut replaced, segment);
        }
        replaced
    }

    /// Whether a pack may be about to be deleted: it is on a list, or may be on one that cannot be read.
    fn may_go(&self, pack: PackId) -> bool {
        self.condemned.contains(&pack) || self.unreadable_lists().next().is_some()
    }

    fn unreadable_lists(&self) -> impl Iterator<Item = &str> {
        self.unreadable_derived.iter().map(|u| u.path.as_str()).filter(|path| generation_of_path(path).is_some())
    }

    /// Whether a pack is there and says what is in it.
    fn has(&self, pack: PackId) -> bool {
        self.packs.contains_key(&pack) && !self.unreadable_packs.iter().any(|(bad, _)| *bad == pack)
    }
}

impl Shared {
    /// An object and what it says; `None` where it has gone meanwhile.
    async fn read_bounded<T>(
        &self,
        path: &str,
        limit: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, RepositoryError>,
    ) -> Result<Option<T>, RepositoryError> {
        match self.store.get(path, limit).await {
            Ok(bytes) => decode(&bytes).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests;
