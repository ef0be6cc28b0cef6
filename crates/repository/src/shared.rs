//! What every handle on an open repository shares, and how pack indexes and manifests get into memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use crate::backend::{ObjectInfo, Store};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::crypto::{Crypto, CryptoError, ObjectKey, WrappedKey};
use crate::error::RepositoryError;
use crate::ids::{BlobId, PackId, SnapshotId};
use crate::key_slots::forget_slot;
use crate::locations::Locations;
use crate::manifest::{MAX_MANIFEST, Manifest, ManifestBody, decode_manifest, parse_path};
use crate::pack::{PackBuilder, PackIndex, TAIL_READ, Tail, pack_path, read_tail};
use crate::probe::creates_exclusively;
use crate::rules::Rules;
use crate::segment::with_successors;

/// Requests for metadata in flight at once.
const PARALLEL: usize = 16;
const MANIFESTS: &str = "snapshots/";
/// Unwrapped keys that are kept: a repository stays open for months.
const MOST_KEYS: usize = 16_384;
/// Bytes of footers whose blobs are kept where there is no cache.
const MOST_AT_HAND: usize = 64 << 20;

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) crypto: Crypto,
    pub(crate) config: Config,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) locations: RwLock<Locations>,
    /// Sealed blobs that came along with a pack's footer.
    pub(crate) at_hand: Mutex<AtHand>,
    pub(crate) handle: Handle,
    keys: RwLock<HashMap<WrappedKey, Arc<ObjectKey>>>,
}

/// Sealed blobs that were read with something else; any may be gone again.
#[derive(Default)]
pub(crate) struct AtHand {
    blobs: HashMap<BlobId, (WrappedKey, Bytes)>,
    /// Of what they are slices of.
    bytes: usize,
}

impl AtHand {
    pub(crate) fn get(&self, id: &BlobId) -> Option<(WrappedKey, Bytes)> {
        self.blobs.get(id).cloned()
    }

    pub(crate) fn has(&self, id: &BlobId) -> bool {
        self.blobs.contains_key(id)
    }

    /// Keeps slices of something so long, and gives up what was kept before where that is too much.
    fn keep(&mut self, of_bytes: usize, blobs: impl Iterator<Item = (BlobId, (WrappedKey, Bytes))>) {
        if self.bytes.saturating_add(of_bytes) > MOST_AT_HAND {
            *self = Self::default();
        }
        self.bytes = self.bytes.saturating_add(of_bytes);
        self.blobs.extend(blobs);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("store", &self.store.name()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(store: Store, crypto: Crypto, config: Config, cache: Cache) -> Self {
        Self {
            store,
            crypto,
            config,
            cache,
            clock: Clock::default(),
            rules: Rules::default(),
            locations: RwLock::default(),
            at_hand: Mutex::default(),
            handle: Handle::current(),
            keys: RwLock::default(),
        }
    }

    /// The same repository and runtime, nothing known yet and no cache.
    pub(crate) fn without_cache(&self) -> Self {
        Self {
            store: self.store.clone(),
            crypto: self.crypto.clone(),
            config: self.config.clone(),
            cache: Cache::off(),
            clock: self.clock.clone(),
            rules: self.rules,
            locations: RwLock::default(),
            at_hand: Mutex::default(),
            handle: self.handle.clone(),
            keys: RwLock::default(),
        }
    }

    /// Every object, in the byte order of their paths. Manifests are listed first: whatever one of them names was there before it,
    /// so it is listed too, unless it went meanwhile. Two LISTs.
    pub(crate) async fn list_everything(&self) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let mut all = self.store.list_sorted(MANIFESTS).await?;
        all.extend(self.store.list_sorted("").await?.into_iter().filter(|o| !o.path.starts_with(MANIFESTS)));
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Whether exactly one of concurrent creates wins here. A repository that was moved is probed anew, once where there
    /// is a cache to remember it.
    pub(crate) async fn creates_exclusively(&self) -> Result<bool, RepositoryError> {
        let here = blake3::hash(self.store.identity().as_bytes());
        if self.config.store.identity_hash == *here.as_bytes() {
            return Ok(self.config.store.creates_exclusively);
        }
        let fact = format!("exclusive creates {here}");
        if let Some(known) = self.cache.fact(&fact) {
            return Ok(*known == *b"1");
        }
        let found = creates_exclusively(&self.store).await?;
        self.cache.put_fact(&fact, if found { b"1" } else { b"0" });
        Ok(found)
    }

    /// An empty pack with a name and key of its own.
    pub(crate) fn new_pack(&self) -> Result<PackBuilder, CryptoError> {
        PackBuilder::named(PackId(self.clock.name()), &self.crypto)
    }

    /// Unwraps an object key, once per object.
    pub(crate) fn key(&self, wrapped: &WrappedKey) -> Result<Arc<ObjectKey>, CryptoError> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(wrapped).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = Arc::new(self.crypto.unwrap_key(wrapped)?);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        keys.insert(*wrapped, Arc::clone(&key));
        Ok(key)
    }

    /// Whether a pack's entries are in memory.
    fn knows(&self, pack: PackId) -> bool {
        self.locations.read().unwrap_or_else(PoisonError::into_inner).has_pack(pack)
    }

    pub(crate) fn add_index(&self, index: &PackIndex) {
        self.locations.write().unwrap_or_else(PoisonError::into_inner).add(index);
    }

    pub(crate) fn forget_pack(&self, pack: PackId) {
        self.locations.write().unwrap_or_else(PoisonError::into_inner).forget(pack);
        self.cache.forget_pack(pack);
    }

    /// Makes the entries of these packs known: from the manifest that introduced them, the cache, or their footers. Gives
    /// the packs that are gone.
    pub(crate) async fn load_packs(
        &self,
        packs: &[PackId],
        manifest: Option<&Manifest>,
    ) -> Result<Vec<PackId>, RepositoryError> {
        for new in manifest.iter().flat_map(|m| &m.body.new_packs) {
            if let Some(index) = new.index().filter(|i| !self.knows(i.pack)) {
                self.add_index(&index);
            }
        }
        let mut unknown: Vec<PackId> = packs.iter().copied().filter(|p| !self.knows(*p)).collect();
        unknown.retain(|pack| match self.cache.pack(*pack) {
            Some(index) => {
                self.add_index(&index);
                false
            }
            None => true,
        });
        let reads = stream::iter(unknown).map(|pack| async move {
            match self.load_footer(pack).await {
                Ok(()) => Ok(None),
                Err(RepositoryError::Store(e)) if e.is_not_found() => Ok(Some(pack)),
                Err(e) => Err(e),
            }
        });
        let gone: Vec<Option<PackId>> = reads.buffer_unordered(PARALLEL).try_collect().await?;
        Ok(gone.into_iter().flatten().collect())
    }

    /// Makes the entries of the packs that replaced these known, but of those in `avoid`; gives them.
    pub(crate) async fn load_successors(
        &self,
        packs: &[PackId],
        avoid: &BTreeSet<PackId>,
    ) -> Result<Vec<PackId>, RepositoryError> {
        if packs.is_empty() {
            return Ok(Vec::new());
        }
        let replaced = self.load_segments().await?;
        let mut successors: BTreeSet<PackId> =
            packs.iter().flat_map(|pack| with_successors(&replaced, *pack)).collect();
        successors.retain(|pack| !avoid.contains(pack) && !packs.contains(pack));
        let wanted: Vec<PackId> = successors.iter().copied().collect();
        for gone in self.load_packs(&wanted, None).await? {
            successors.remove(&gone);
        }
        Ok(successors.into_iter().collect())
    }

    /// Reads a pack's footer with one request, or two if it is long.
    pub(crate) async fn load_footer(&self, pack: PackId) -> Result<(), RepositoryError> {
        let (index, _, tail) = self.read_footer(pack).await?;
        self.cache.put_pack(&index);
        self.add_index(&index);
        let tail_at = index.size.saturating_sub(tail.len() as u64);
        let mut came_along = Vec::new();
        for (offset, blob) in index.located() {
            let Some(start) = offset.checked_sub(tail_at).and_then(|s| usize::try_from(s).ok()) else { continue };
            let end = start.saturating_add(blob.len as usize);
            if end <= tail.len() {
                came_along.push((blob.id, tail.slice(start..end)));
            }
        }
        if self.cache.is_open() {
            self.cache.put_blobs(&index.wrapped, &came_along);
        } else {
            let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
            at_hand.keep(tail.len(), came_along.into_iter().map(|(id, bytes)| (id, (index.wrapped, bytes))));
        }
        Ok(())
    }

    /// The entries of packs, those that are gone meanwhile left out.
    pub(crate) async fn indexes(&self, packs: &[PackId]) -> Result<Vec<PackIndex>, RepositoryError> {
        let reads = stream::iter(packs.iter().copied()).map(|pack| async move {
            if let Some(index) = self.cache.pack(pack) {
                return Ok(Some(index));
            }
            match self.read_footer(pack).await {
                Ok((index, ..)) => {
                    self.cache.put_pack(&index);
                    Ok(Some(index))
                }
                Err(RepositoryError::Store(e)) if e.is_not_found() => Ok(None),
                Err(e) => Err(e),
            }
        });
        let found: Vec<Option<PackIndex>> = reads.buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// A pack's entries, the hash of its body, and the last bytes that were read for them.
    pub(crate) async fn read_footer(&self, pack: PackId) -> Result<(PackIndex, [u8; 32], Bytes), RepositoryError> {
        let path = pack_path(pack);
        let piece = self.store.get_tail(&path, TAIL_READ).await?;
        let more = match read_tail(&self.crypto, pack, piece.object_size, &piece.bytes)? {
            Tail::Index(index, hash) => return Ok((index, hash, piece.bytes)),
            Tail::NeedsMore(length) => length,
        };
        let piece = self.store.get_tail(&path, more).await?;
        match read_tail(&self.crypto, pack, piece.object_size, &piece.bytes)? {
            Tail::Index(index, hash) => Ok((index, hash, piece.bytes)),
            Tail::NeedsMore(_) => {
                Err(RepositoryError::Inconsistent { object: path, what: "it changed while it was read".to_owned() })
            }
        }
    }

    /// Reads a manifest from the store.
    pub(crate) async fn fetch_manifest(&self, path: &str) -> Result<Option<Bytes>, RepositoryError> {
        match self.store.get(path, MAX_MANIFEST).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Decodes a manifest object; `None` for a tombstone.
    pub(crate) fn decode(&self, path: &str, object: &[u8]) -> Result<Option<Manifest>, RepositoryError> {
        let (lineage, seq) = parse_path(path).ok_or_else(|| RepositoryError::Inconsistent {
            object: path.to_owned(),
            what: "its name is not that of a manifest".to_owned(),
        })?;
        match self.decode_body(path, object)? {
            (_, ManifestBody::Tombstone { .. }) => Ok(None),
            (id, ManifestBody::Snapshot(body)) => {
                Ok(Some(Manifest { id, lineage, seq, path: path.to_owned(), body: *body }))
            }
        }
    }

    /// Decodes a manifest object, tombstone or not.
    pub(crate) fn decode_body(&self, path: &str, object: &[u8]) -> Result<(SnapshotId, ManifestBody), RepositoryError> {
        let decoded = decode_manifest(&self.crypto, path, object);
        if decoded.as_ref().is_err_and(RepositoryError::is_unknown_key) {
            forget_slot(&self.cache);
        }
        decoded
    }
}
