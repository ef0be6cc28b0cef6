//! How much a repository holds, and of what.

use std::collections::BTreeMap;

use crate::error::RepositoryError;
use crate::ids::{BlobKind, PackId};
use crate::pack::pack_of_path;
use crate::repository::Repository;

/// Blobs of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindStats {
    /// How many.
    pub blobs: u64,
    /// Plaintext bytes.
    pub raw_bytes: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
}

/// Sizes of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryStats {
    /// Objects of all kinds.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of packs.
    pub pack_bytes: u64,
    /// Manifests, tombstones included.
    pub manifests: u64,
    /// Bytes of manifests.
    pub manifest_bytes: u64,
    /// Blobs by kind, copies counted.
    pub kinds: BTreeMap<BlobKind, KindStats>,
}

impl Repository {
    /// Counts what is stored: one LIST, and a footer for every pack the cache does not know.
    pub async fn stats(&self) -> Result<RepositoryStats, RepositoryError> {
        let mut stats = RepositoryStats::default();
        let mut packs: Vec<PackId> = Vec::new();
        for object in self.shared.store.list_sorted("").await? {
            stats.objects = stats.objects.saturating_add(1);
            stats.bytes = stats.bytes.saturating_add(object.size);
            if let Some(pack) = pack_of_path(&object.path) {
                stats.pack_bytes = stats.pack_bytes.saturating_add(object.size);
                packs.push(pack);
            } else if object.path.starts_with("snapshots/") {
                stats.manifests = stats.manifests.saturating_add(1);
                stats.manifest_bytes = stats.manifest_bytes.saturating_add(object.size);
            }
        }
        stats.packs = packs.len() as u64;
        for index in self.shared.indexes(&packs).await? {
            for blob in index.blobs {
                let kind = stats.kinds.entry(blob.kind).or_default();
                kind.blobs = kind.blobs.saturating_add(1);
                kind.raw_bytes = kind.raw_bytes.saturating_add(u64::from(blob.raw_len));
                kind.stored_bytes = kind.stored_bytes.saturating_add(u64::from(blob.len));
            }
        }
        Ok(stats)
    }
}
