//! What is there, in the order that makes it true: lists first, then packs, manifests last.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{PruneOptions, Pruned, grace_s};
use crate::backend::{ObjectInfo, StoreErrorKind};
use crate::catalog::{CatalogEntry, CatalogWriter};
use crate::condemned::{Condemned, MAX_CONDEMNED, decode_condemned, generation_of_path};
use crate::error::RepositoryError;
use crate::ids::{BlobId, LineageId, PackId, SnapshotId};
use crate::manifest::{Manifest, ManifestBody, StackTable};
use crate::pack::{pack_of_path, pack_path};
use crate::rules::Rule;
use crate::segment::{Replaced, Segment, join_replaced, with_successors};
use crate::shared::Shared;
use crate::snapshots::{Coverage, Listed};

/// Rewritten whenever prune begins: its time of modification is the store's now.
const CLOCK_PATH: &str = "lease/prune";
/// Times the survey begins anew because a segment was superseded while it was read.
const ATTEMPTS: usize = 3;

/// A condemned list and when it was written, by the store's clock.
#[derive(Debug)]
pub(super) struct List {
    pub(super) body: Condemned,
    pub(super) written: SystemTime,
}

/// A pack as listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackFacts {
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

#[derive(Debug)]
pub(super) struct Survey {
    pub(super) now: SystemTime,
    pub(super) grace: Duration,
    pub(super) lists: BTreeMap<u64, List>,
    pub(super) packs: BTreeMap<PackId, PackFacts>,
    pub(super) segments: Vec<(String, Segment)>,
    /// Sizes of segments and catalogs, by path.
    pub(super) others: BTreeMap<String, u64>,
    pub(super) replaced: Replaced,
    /// Packs that manifests name, and one snapshot that does.
    pub(super) named: HashMap<PackId, SnapshotId>,
    /// Packs that manifests name, and all that replaced them.
    pub(super) reachable: HashSet<PackId>,
    /// Distinct tables of all snapshots.
    pub(super) tables: Vec<StackTable>,
    pub(super) snapshots: u64,
    /// Paths of the manifests.
    pub(super) manifests: HashSet<String>,
    pub(super) coverage: Coverage,
    pub(super) catalogs: CatalogWriter,
    /// Manifests and notes that mean nothing any more.
    pub(super) leftovers: Vec<String>,
}

/// What the manifests say.
#[derive(Debug, Default)]
struct Marks {
    named: HashMap<PackId, SnapshotId>,
    tables: HashMap<Option<BlobId>, Vec<StackTable>>,
    ids: HashSet<SnapshotId>,
    highest: HashMap<LineageId, u64>,
    tombstones: Vec<(LineageId, u64, String)>,
    catalogs: CatalogWriter,
    failure: Option<RepositoryError>,
}

impl Survey {
    pub(super) async fn take(shared: &Arc<Shared>, options: &PruneOptions) -> Result<Self, RepositoryError> {
        let now = store_now(shared, options.dry_run).await?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let grace = Duration::from_secs(grace_s(&shared.config, now_ms, options.grace_s)?);
        for _ in 1..ATTEMPTS {
            if let Some(survey) = Self::attempt(shared, now, grace).await? {
                return Ok(survey);
            }
        }
        Self::attempt(shared, now, grace).await?.ok_or_else(|| RepositoryError::Inconsistent {
            object: "index/".to_owned(),
            what: "its objects change while they are read; let other prunes end".to_owned(),
        })
    }

    /// `None` if a segment went while it was to be read: what supersedes it may not be listed.
    async fn attempt(shared: &Arc<Shared>, now: SystemTime, grace: Duration) -> Result<Option<Self>, RepositoryError> {
        let store = &shared.store;
        let too_early =
            if shared.rules.have(Rule::ManifestsLast) { None } else { Some(store.list_sorted("snapshots/").await?) };
        let lists = read_lists(shared).await?;
        let (packs, notes) = futures::try_join!(store.list_sorted("packs/"), store.list_sorted("notes/"))?;
        let (index, catalogs) = futures::try_join!(store.list_sorted("index/"), store.list_sorted("catalog/"))?;
        let segments = shared.read_segments(&index).await?;
        if segments.len() < index.iter().filter(|o| crate::segment::is_segment_path(&o.path)).count() {
            return Ok(None);
        }
        let mut replaced = Replaced::new();
        for (_, segment) in &segments {
            join_replaced(&mut replaced, segment);
        }
        let manifests = match too_early {
            None => store.list_sorted("snapshots/").await?,
            Some(listed) => listed,
        };
        let mut marks = Marks::default();
        let coverage = shared
            .visit_manifests(&manifests, &catalogs, &mut |listed, catalogued| marks.add(shared, listed, catalogued))
            .await?;
        if let Some(error) = marks.failure {
            return Err(error);
        }
        let packs = packs
            .iter()
            .filter_map(|o| Some((pack_of_path(&o.path)?, PackFacts { size: o.size, modified: o.modified })));
        let successors = if shared.rules.have(Rule::MarkSuccessors) { &replaced } else { &Replaced::new() };
        let reachable = marks.named.keys().flat_map(|pack| with_successors(successors, *pack)).collect();
        let mut leftovers = marks.superseded_tombstones();
        leftovers.extend(orphaned(&notes, &marks.ids));
        let survey = Self {
            now,
            grace,
            lists,
            packs: packs.collect(),
            segments,
            others: index.into_iter().chain(catalogs).map(|o| (o.path, o.size)).collect(),
            replaced,
            reachable,
            named: marks.named,
            tables: marks.tables.into_values().flatten().collect(),
            snapshots: marks.ids.len() as u64,
            manifests: manifests.into_iter().map(|o| o.path).collect(),
            coverage,
            catalogs: marks.catalogs,
            leftovers,
        };
        survey.refuse_if_something_is_missing(shared).await?;
        Ok(Some(survey))
    }

    /// A pack that a snapshot needs and that is nowhere: deleting anything now could make it worse.
    async fn refuse_if_something_is_missing(&self, shared: &Shared) -> Result<(), RepositoryError> {
        for (pack, snapshot) in &self.named {
            let there = |p: &PackId| self.packs.contains_key(p);
            if there(pack) || with_successors(&self.replaced, *pack).iter().any(there) {
                continue;
            }
            // It may have been written after the listing.
            match shared.store.head(&pack_path(*pack)).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() => {
                    return Err(RepositoryError::PackMissing { pack: pack.to_string(), snapshot: *snapshot });
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Whether something of this time is older than the grace period.
    pub(super) fn is_old(&self, time: SystemTime) -> bool {
        self.grace.is_zero() || self.now.duration_since(time).is_ok_and(|age| age >= self.grace)
    }

    /// Every pack on any list.
    pub(super) fn listed(&self) -> BTreeSet<PackId> {
        self.lists.values().flat_map(|list| list.body.packs.iter().copied()).collect()
    }

    pub(super) fn amounts(&self) -> Pruned {
        let mut found = Pruned { grace_s: self.grace.as_secs(), snapshots: self.snapshots, ..Pruned::default() };
        for (pack, facts) in &self.packs {
            found.found.add(facts.size);
            if self.reachable.contains(pack) {
                found.needed.add(facts.size);
            }
        }
        found
    }
}

impl Marks {
    fn add(&mut self, shared: &Shared, listed: Listed, catalogued: bool) {
        let entry = match listed {
            Listed::Unreadable(_, error) => {
                self.failure.get_or_insert(error);
                return;
            }
            Listed::Tombstone { path, id, lineage, seq, time_ms } => {
                let highest = self.highest.entry(lineage).or_default();
                *highest = (*highest).max(seq);
                self.tombstones.push((lineage, seq, path.clone()));
                CatalogEntry { path, id, body: ManifestBody::Tombstone { time_ms } }
            }
            Listed::Snapshot(manifest) => {
                self.mark(&manifest);
                let Manifest { id, path, body, .. } = *manifest;
                CatalogEntry { path, id, body: ManifestBody::Snapshot(Box::new(body)) }
            }
        };
        if !catalogued && let Err(error) = self.catalogs.push(&shared.crypto, entry) {
            self.failure.get_or_insert(error);
        }
    }

    fn mark(&mut self, manifest: &Manifest) {
        self.ids.insert(manifest.id);
        let highest = self.highest.entry(manifest.lineage).or_default();
        *highest = (*highest).max(manifest.seq);
        for table in &manifest.body.stack {
            let known = self.tables.entry(table.root.root).or_default();
            // Neighbours share their tables: most are known.
            if known.iter().any(|other| other.packs == table.packs) {
                continue;
            }
            known.push(table.clone());
            for pack in &table.packs {
                self.named.entry(*pack).or_insert(manifest.id);
            }
        }
    }

    /// Tombstones below a higher number of their lineage: the number is not used again without them.
    fn superseded_tombstones(&self) -> Vec<String> {
        let below = |lineage: &LineageId, seq: u64| self.highest.get(lineage).is_some_and(|highest| seq < *highest);
        self.tombstones.iter().filter(|(l, seq, _)| below(l, *seq)).map(|(.., path)| path.clone()).collect()
    }
}

/// Notes of snapshots that are gone. They were listed before the manifests, and a note is written after its manifest.
fn orphaned<'a>(notes: &'a [ObjectInfo], ids: &'a HashSet<SnapshotId>) -> impl Iterator<Item = String> + 'a {
    let orphans = notes.iter().filter(|o| crate::notes::snapshot_of_path(&o.path).is_some_and(|id| !ids.contains(&id)));
    orphans.map(|o| o.path.clone())
}

/// The store's time. A dry run writes nothing and takes this machine's.
async fn store_now(shared: &Shared, dry_run: bool) -> Result<SystemTime, RepositoryError> {
    if dry_run {
        return Ok(shared.clock.wall());
    }
    let says_nothing = ulid::Ulid::generate().to_string();
    match shared.store.put(CLOCK_PATH, says_nothing.clone().into()).await {
        Err(e) if e.kind == StoreErrorKind::Permission => {}
        other => {
            other?;
            return Ok(shared.store.head(CLOCK_PATH).await?.modified);
        }
    }
    // In a bucket where everything stays as it was written, a new object tells the time.
    let path = format!("{CLOCK_PATH}-{says_nothing}");
    shared.store.put(&path, says_nothing.into()).await?;
    let now = shared.store.head(&path).await?.modified;
    if let Err(error) = shared.store.delete(&path).await {
        tracing::debug!(%error, "{path} stays");
    }
    Ok(now)
}

pub(super) async fn read_lists(shared: &Shared) -> Result<BTreeMap<u64, List>, RepositoryError> {
    let mut lists = BTreeMap::new();
    for object in shared.store.list_sorted("condemned/").await? {
        let Some(generation) = generation_of_path(&object.path) else { continue };
        let bytes = match shared.store.get(&object.path, MAX_CONDEMNED).await {
            Err(e) if e.is_not_found() => continue,
            other => other?,
        };
        let body = decode_condemned(&shared.crypto, &object.path, &bytes)?;
        lists.insert(generation, List { body, written: object.modified });
    }
    Ok(lists)
}
