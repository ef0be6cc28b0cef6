//! Which snapshots there are, and what was noted about them since.
//!
//! A listing says which manifests exist; what they say comes from the cache, from catalogs, or from the manifests.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, stream};

use crate::backend::ObjectInfo;
use crate::catalog::{MAX_CATALOG, decode_catalog, is_catalog_path};
use crate::error::RepositoryError;
use crate::ids::{LineageId, SnapshotId};
use crate::manifest::{Manifest, ManifestBody, parse_path};
use crate::notes::{MAX_NOTE, Note, decode_note, snapshot_of_path};
use crate::repository::Repository;
use crate::shared::Shared;

/// Requests for manifests in flight at once.
const PARALLEL: usize = 16;
/// So many manifests are read one by one before catalogs are looked for.
const FEW: usize = 16;

/// A snapshot and what was noted about it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The manifest.
    pub manifest: Manifest,
    /// The newest note.
    pub note: Option<Note>,
}

impl Snapshot {
    /// Its id.
    pub fn id(&self) -> SnapshotId {
        self.manifest.id
    }

    /// Its tags: those last set.
    pub fn tags(&self) -> &[String] {
        let noted = self.note.as_ref().and_then(|n| n.tags.as_deref());
        noted.unwrap_or(&self.manifest.body.fields.tags)
    }

    /// Whether it may be the wrong tree and nobody accepted it.
    pub fn is_suspect(&self) -> bool {
        let accepted = self.note.as_ref().is_some_and(|n| n.accepted);
        !accepted && !self.manifest.body.fields.suspect.is_empty()
    }

    /// Whether something could not be read when it was made.
    pub fn is_incomplete(&self) -> bool {
        !self.manifest.body.fields.incomplete.is_empty()
    }
}

/// What a listing found.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Snapshots by time, lineage and number.
    pub snapshots: Vec<Snapshot>,
    /// Manifests and notes that cannot be read, with the reason.
    pub damaged: Vec<(String, RepositoryError)>,
}

impl Snapshots {
    /// The one snapshot whose id starts with `prefix`, of at least four digits.
    pub fn find(&self, prefix: &str) -> Result<&Snapshot, RepositoryError> {
        if prefix.len() < 4 {
            return Err(RepositoryError::PrefixTooShort { prefix: prefix.to_owned() });
        }
        let wanted = prefix.to_ascii_lowercase();
        let matching: Vec<&Snapshot> =
            self.snapshots.iter().filter(|s| s.id().to_string().starts_with(&wanted)).collect();
        match matching.as_slice() {
            [] => Err(RepositoryError::NoSuchSnapshot { wanted: prefix.to_owned() }),
            [one] => Ok(one),
            many => Err(RepositoryError::AmbiguousSnapshot {
                prefix: prefix.to_owned(),
                candidates: many.iter().map(|s| s.id()).collect(),
            }),
        }
    }
}

/// A manifest as one of a listing.
#[derive(Debug)]
pub(crate) enum Listed {
    Snapshot(Box<Manifest>),
    Tombstone { path: String, id: SnapshotId, lineage: LineageId, seq: u64, time_ms: i64 },
    Unreadable(String, RepositoryError),
}

/// Which manifests are in catalogs.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Catalogs: path, entries, and how many of them are of manifests that exist and are in no other.
    pub(crate) catalogs: Vec<(String, usize, usize)>,
    /// How many manifests are in none.
    pub(crate) uncatalogued: usize,
}

impl Listed {
    pub(crate) fn new(path: String, id: SnapshotId, body: ManifestBody) -> Option<Self> {
        let (lineage, seq) = parse_path(&path)?;
        Some(match body {
            ManifestBody::Snapshot(body) => Self::Snapshot(Box::new(Manifest { id, lineage, seq, path, body: *body })),
            ManifestBody::Tombstone { time_ms } => Self::Tombstone { path, id, lineage, seq, time_ms },
        })
    }
}

impl Shared {
    /// Visits the listed manifests, a catalog's worth in memory at a time, in no particular order, and says
    /// whether a catalog has it. One that has gone meanwhile is left out.
    pub(crate) async fn visit_manifests(
        &self,
        listed: &[ObjectInfo],
        catalogs: &[ObjectInfo],
        visit: &mut (dyn FnMut(Listed, bool) + Send),
    ) -> Result<Coverage, RepositoryError> {
        let mut coverage = Coverage::default();
        let mut left: HashSet<&str> =
            listed.iter().map(|o| o.path.as_str()).filter(|path| parse_path(path).is_some()).collect();
        for catalog in catalogs.iter().rev().filter(|o| is_catalog_path(&o.path)) {
            let Some(entries) = self.read_catalog(&catalog.path).await? else { continue };
            let (total, mut live) = (entries.len(), 0_usize);
            for entry in entries.into_iter().filter(|entry| left.remove(entry.path.as_str())) {
                live = live.saturating_add(1);
                if let Some(listed) = Listed::new(entry.path, entry.id, entry.body) {
                    visit(listed, true);
                }
            }
            coverage.catalogs.push((catalog.path.clone(), total, live));
        }
        let mut rest: Vec<&str> = left.into_iter().collect();
        rest.sort_unstable();
        let mut reads = stream::iter(rest.iter().copied())
            .map(|path| async move { (path, self.read_listed(path).await) })
            .buffered(PARALLEL);
        while let Some((path, result)) = reads.next().await {
            match result {
                Ok(None) => {}
                Ok(Some(listed)) => visit(listed, false),
                Err(e @ RepositoryError::Store(_)) if !e.is_damage() => return Err(e),
                Err(e) => visit(Listed::Unreadable(path.to_owned(), e), false),
            }
        }
        drop(reads);
        coverage.uncatalogued = rest.len();
        Ok(coverage)
    }

    /// A catalog; `None` if it has gone or cannot be read, for the manifests say the same.
    pub(crate) async fn read_catalog(
        &self,
        path: &str,
    ) -> Result<Option<Vec<crate::catalog::CatalogEntry>>, RepositoryError> {
        let cached = self.cache.manifest(path);
        if let Some(entries) = cached.and_then(|object| decode_catalog(&self.crypto, path, &object).ok()) {
            return Ok(Some(entries));
        }
        let object = match self.store.get(path, MAX_CATALOG).await {
            Err(e) if e.is_not_found() => return Ok(None),
            other => other?,
        };
        match decode_catalog(&self.crypto, path, &object) {
            Ok(entries) => {
                self.cache.put_manifest(path, &object);
                Ok(Some(entries))
            }
            Err(error) => {
                tracing::warn!(%error, path, "a catalog cannot be read; its manifests are read one by one");
                Ok(None)
            }
        }
    }

    async fn read_listed(&self, path: &str) -> Result<Option<Listed>, RepositoryError> {
        let cached = self.cache.manifest(path).and_then(|object| self.decode_body(path, &object).ok());
        let (id, body) = if let Some(decoded) = cached {
            decoded
        } else {
            let Some(object) = self.fetch_manifest(path).await? else { return Ok(None) };
            let decoded = self.decode_body(path, &object)?;
            self.cache.put_manifest(path, &object);
            decoded
        };
        Ok(Listed::new(path.to_owned(), id, body))
    }

    async fn read_note(&self, path: &str) -> Result<Note, RepositoryError> {
        let cached = self.cache.manifest(path);
        if let Some(note) = cached.and_then(|object| decode_note(&self.crypto, path, &object).ok()) {
            return Ok(note);
        }
        let object = self.store.get(path, MAX_NOTE).await?;
        let note = decode_note(&self.crypto, path, &object)?;
        self.cache.put_manifest(path, &object);
        Ok(note)
    }
}

impl Repository {
    /// Every snapshot, with its newest note. Two LISTs; manifests and notes that the cache lacks are fetched, from catalogs
    /// where they are many.
    pub async fn snapshots(&self) -> Result<Snapshots, RepositoryError> {
        let (shared, store) = (&self.shared, &self.shared.store);
        let (manifests, notes) = futures::try_join!(store.list_sorted("snapshots/"), store.list_sorted("notes/"))?;
        let unknown = manifests.iter().filter(|o| shared.cache.manifest(&o.path).is_none()).count();
        let catalogs = if unknown > FEW { store.list_sorted("catalog/").await? } else { Vec::new() };
        let mut found = Snapshots::default();
        shared
            .visit_manifests(&manifests, &catalogs, &mut |listed, _| match listed {
                Listed::Snapshot(manifest) => found.snapshots.push(Snapshot { manifest: *manifest, note: None }),
                Listed::Tombstone { .. } => {}
                Listed::Unreadable(path, error) => found.damaged.push((path, error)),
            })
            .await?;
        // Listings are sorted, so the last note of a snapshot is its newest.
        let newest: HashMap<SnapshotId, &str> =
            notes.iter().filter_map(|note| Some((snapshot_of_path(&note.path)?, note.path.as_str()))).collect();
        let wanted: Vec<(usize, &str)> = found
            .snapshots
            .iter()
            .enumerate()
            .filter_map(|(at, snapshot)| Some((at, *newest.get(&snapshot.id())?)))
            .collect();
        let mut reads = stream::iter(wanted)
            .map(|(at, path)| async move { (at, path, shared.read_note(path).await) })
            .buffered(PARALLEL);
        while let Some((at, path, note)) = reads.next().await {
            match note {
                Ok(note) => {
                    if let Some(snapshot) = found.snapshots.get_mut(at) {
                        snapshot.note = Some(note);
                    }
                }
                Err(RepositoryError::Store(e)) if !e.is_not_found() => return Err(e.into()),
                Err(e) => found.damaged.push((path.to_owned(), e)),
            }
        }
        drop(reads);
        found.snapshots.sort_by(|a, b| {
            let order = |s: &Snapshot| (s.manifest.body.fields.time_ms, s.manifest.lineage, s.manifest.seq);
            order(a).cmp(&order(b))
        });
        Ok(found)
    }
}
