//! An open repository: made by [`Repository::init`], opened by [`Repository::open`].

use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::backend::Store;
use crate::blobs::BlobSource;
use crate::cache::{self, Cache, CacheOptions, CacheStatus};
use crate::clock::now_ms;
use crate::config::{
    CHUNKING, CONFIG_PATH, Config, DEFAULT_GRACE_S, MAX_CONFIG, StoreFacts, decode_config, encode_config, read_head,
};
use crate::crypto::{Crypto, Keyring, fill_random};
use crate::error::RepositoryError;
use crate::ids::{IdentityKeys, LineageId, RepositoryId, SnapshotId};
use crate::key_slots::{blocking, remember_slot, unlock};
use crate::keys::{Costs, Credentials, DEFAULT_COSTS, make_slot};
use crate::manifest::{Manifest, parse_path};
use crate::notes::{MAX_NOTE, Note, decode_note, newest_note, snapshot_of_path, write_note};
use crate::probe::creates_exclusively;
use crate::reader::BlobReader;
use crate::session::BackupSession;
use crate::shared::Shared;

/// Requests for manifests in flight at once.
const PARALLEL: usize = 16;

/// How to make a repository.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// What will open it; [`Credentials::None`] makes an unencrypted one.
    pub credentials: Credentials,
    /// Argon2id costs of a password's slot.
    pub costs: Costs,
    /// Stored in clear in the key slot: who made it.
    pub label: String,
    /// How long a pack that nothing names is kept, seconds.
    pub grace_s: u64,
    /// A keyring whose identity the new one shares, so that content has the same ids in both.
    pub like: Option<Keyring>,
}

impl InitOptions {
    /// The usual choices.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, costs: DEFAULT_COSTS, label: String::new(), grace_s: DEFAULT_GRACE_S, like: None }
    }
}

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

/// An open repository. Clones share everything. Its blob readers and backup sessions use the runtime it was opened on,
/// which must have more than one thread or be driven while they are used.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
    keyring: Option<Keyring>,
    /// Path of the slot that was opened.
    slot: Option<String>,
}

impl Repository {
    /// Makes a repository in an empty place. It exists from the moment its `config` does; a crash before leaves a key
    /// slot that opens nothing.
    pub async fn init(store: &Store, options: &InitOptions, cache: &CacheOptions) -> Result<Self, RepositoryError> {
        let already = || RepositoryError::AlreadyInitialised { store: store.name().to_owned() };
        match store.get(CONFIG_PATH, MAX_CONFIG).await {
            Err(e) if e.is_not_found() => {}
            Err(e) if !matches!(e.kind, crate::backend::StoreErrorKind::TooLarge { .. }) => return Err(e.into()),
            _ => return Err(already()),
        }
        if !store.list_sorted("snapshots/").await?.is_empty() {
            return Err(RepositoryError::Unsuitable {
                store: store.name().to_owned(),
                reason: "it holds snapshots but no config; restore the config, or choose another location".to_owned(),
            });
        }
        let creates_exclusively = creates_exclusively(store).await?;
        let mut id = [0; 16];
        fill_random(&mut id)?;
        let repository = RepositoryId(id);
        let now = now_ms();
        let config = Config {
            created_ms: now,
            chunking: CHUNKING,
            grace_s: options.grace_s.max(crate::config::MIN_GRACE_S),
            earlier_grace: None,
            store: StoreFacts {
                creates_exclusively,
                identity_hash: *blake3::hash(store.identity().as_bytes()).as_bytes(),
            },
        };
        let keyring = match (&options.credentials, &options.like) {
            (Credentials::None, _) => None,
            (_, Some(like)) => Some(like.generate_like()?),
            (_, None) => Some(Keyring::generate()?),
        };
        let crypto = match &keyring {
            None => Crypto::unencrypted(repository),
            Some(keyring) => Crypto::encrypted(repository, keyring),
        };
        let mut opened = None;
        if let Some(keyring) = &keyring {
            let slot = make_slot(repository, keyring, &options.credentials, options.costs, &options.label, now)?;
            store.put(&slot.path, slot.bytes.clone().into()).await?;
            opened = Some(slot);
        }
        let object = encode_config(&crypto, &config)?.into();
        let written = if creates_exclusively {
            store.put_if_absent(CONFIG_PATH, object).await
        } else {
            store.put(CONFIG_PATH, object).await
        };
        match written {
            Err(e) if e.is_already_exists() => return Err(already()),
            other => other?,
        }
        if let Some(root) = &cache.root {
            cache::remember(root, store.identity(), repository);
        }
        let cache = Cache::open(cache, repository);
        if let Some(slot) = &opened {
            remember_slot(&cache, &slot.path, &slot.bytes);
        }
        let slot = opened.map(|slot| slot.path);
        Ok(Self { shared: Arc::new(Shared::new(store.clone(), crypto, config, cache)), keyring, slot })
    }

    /// Opens a repository: one GET for `config` and, unless the cache has it, one for a key file's slot, or a LIST and
    /// GETs for a password's.
    pub async fn open(
        store: &Store,
        credentials: &Credentials,
        options: &CacheOptions,
    ) -> Result<Self, RepositoryError> {
        let name = || store.name().to_owned();
        let object = match store.get(CONFIG_PATH, MAX_CONFIG).await {
            Err(e) if e.is_not_found() => return Err(RepositoryError::NoRepository { store: name() }),
            other => other?,
        };
        let head = read_head(&object)?;
        if let Some(root) = &options.root
            && let Some(expected) = cache::pinned(root, store.identity())
            && expected != head.repository
        {
            return Err(RepositoryError::OtherRepository { store: name(), expected, found: head.repository });
        }
        match (head.is_encrypted, credentials.is_none()) {
            (false, false) => return Err(RepositoryError::Unencrypted { store: name() }),
            (true, true) => return Err(RepositoryError::CredentialsNeeded { store: name() }),
            _ => {}
        }
        // Opening the cache touches the disk and unlocking may take a second; neither may hold up the runtime.
        let (repository, options_copy) = (head.repository, options.clone());
        let cache = blocking(move || Cache::open(&options_copy, repository)).await;
        let (slot, keyring) = if head.is_encrypted {
            let (slot, keyring) = unlock(store, head.repository, credentials, &cache).await?;
            (Some(slot), Some(keyring))
        } else {
            (None, None)
        };
        let crypto = match &keyring {
            None => Crypto::unencrypted(head.repository),
            Some(keyring) => Crypto::encrypted(head.repository, keyring),
        };
        let config = decode_config(&crypto, &object)?;
        if let Some(root) = &options.root {
            // Only now is it known that the id is not merely claimed.
            if cache::pinned(root, store.identity()).is_none() {
                cache::remember(root, store.identity(), head.repository);
            }
        }
        Ok(Self { shared: Arc::new(Shared::new(store.clone(), crypto, config, cache)), keyring, slot })
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.shared.crypto.repository()
    }

    /// Whether what it stores is enciphered.
    pub fn is_encrypted(&self) -> bool {
        self.shared.crypto.is_encrypted()
    }

    /// The keys that names, boundaries and digests are made with.
    pub fn identity(&self) -> &IdentityKeys {
        self.shared.crypto.identity()
    }

    /// What all its users agree on.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How objects are sealed.
    pub fn crypto(&self) -> &Crypto {
        &self.shared.crypto
    }

    /// Whether the local cache is in use, and why not.
    pub fn cache_status(&self) -> &CacheStatus {
        self.shared.cache.status()
    }

    /// The secrets, where it is encrypted: to make a repository that shares content ids.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// The path of the key slot that was opened.
    pub fn slot(&self) -> Option<&str> {
        self.slot.as_deref()
    }

    /// The id of a lineage.
    pub fn lineage(&self, parts: &[&[u8]]) -> LineageId {
        self.identity().lineage_id(parts)
    }

    /// Every snapshot, with its newest note. Two LISTs; manifests and notes that the cache lacks are fetched.
    pub async fn snapshots(&self) -> Result<Snapshots, RepositoryError> {
        let store = &self.shared.store;
        let (manifests, notes) = futures::try_join!(store.list_sorted("snapshots/"), store.list_sorted("notes/"))?;
        let mut found = Snapshots::default();
        let mut reads = stream::iter(manifests.into_iter().filter(|o| parse_path(&o.path).is_some()))
            .map(|object| async move {
                let manifest = self.read_manifest(&object.path).await;
                (object.path, manifest)
            })
            .buffered(PARALLEL);
        while let Some((path, manifest)) = reads.next().await {
            match manifest {
                Ok(None) => {}
                Ok(Some(manifest)) => found.snapshots.push(Snapshot { manifest, note: None }),
                Err(e @ RepositoryError::Store(_)) if !e.is_damage() => return Err(e),
                Err(e) => found.damaged.push((path, e)),
            }
        }
        drop(reads);
        // Listings are sorted, so the last note of a snapshot is its newest.
        let mut newest = std::collections::HashMap::new();
        for note in notes {
            if let Some(id) = snapshot_of_path(&note.path) {
                newest.insert(id, note.path);
            }
        }
        for snapshot in &mut found.snapshots {
            let Some(path) = newest.get(&snapshot.manifest.id) else { continue };
            match self.read_note(path).await {
                Ok(note) => snapshot.note = Some(note),
                Err(RepositoryError::Store(e)) if !e.is_not_found() => return Err(e.into()),
                Err(e) => found.damaged.push((path.clone(), e)),
            }
        }
        found.snapshots.sort_by(|a, b| {
            let order = |s: &Snapshot| (s.manifest.body.fields.time_ms, s.manifest.lineage, s.manifest.seq);
            order(a).cmp(&order(b))
        });
        Ok(found)
    }

    /// Reads one manifest; `None` for a tombstone or if it has gone.
    async fn read_manifest(&self, path: &str) -> Result<Option<Manifest>, RepositoryError> {
        let cached = self.shared.cache.manifest(path);
        if let Some(manifest) = cached.as_ref().and_then(|object| self.shared.decode(path, object).ok()) {
            return Ok(manifest);
        }
        let Some(object) = self.shared.fetch_manifest(path).await? else { return Ok(None) };
        let manifest = self.shared.decode(path, &object)?;
        self.shared.cache.put_manifest(path, &object);
        Ok(manifest)
    }

    async fn read_note(&self, path: &str) -> Result<Note, RepositoryError> {
        let cached = self.shared.cache.manifest(path);
        if let Some(note) = cached.and_then(|object| decode_note(&self.shared.crypto, path, &object).ok()) {
            return Ok(note);
        }
        let object = self.shared.store.get(path, MAX_NOTE).await?;
        let note = decode_note(&self.shared.crypto, path, &object)?;
        self.shared.cache.put_manifest(path, &object);
        Ok(note)
    }

    /// Changes what is noted about a snapshot.
    pub async fn annotate(
        &self,
        snapshot: SnapshotId,
        change: impl FnOnce(&mut Note),
    ) -> Result<Note, RepositoryError> {
        let newest = newest_note(&self.shared.store, &self.shared.crypto, snapshot).await?;
        let (after, mut note) = newest.map_or((None, Note::default()), |(name, note)| (Some(name), note));
        change(&mut note);
        note.written_ms = now_ms();
        write_note(&self.shared.store, &self.shared.crypto, snapshot, &note, after).await?;
        Ok(note)
    }

    /// A reader of the blobs of these snapshots. A cold one costs a footer per pack that they name.
    pub async fn reader(&self, manifests: &[&Manifest]) -> Result<BlobReader, RepositoryError> {
        for manifest in manifests {
            self.shared.load_packs(&manifest.packs(), Some(manifest)).await?;
        }
        Ok(BlobReader::new(Arc::clone(&self.shared)))
    }

    /// Begins a backup of a lineage: reads the condemned lists, then finds and confirms the newest manifest.
    pub async fn begin_backup(&self, lineage: LineageId) -> Result<BackupSession, RepositoryError> {
        BackupSession::begin(Arc::clone(&self.shared), lineage).await
    }
}

/// Readers can be shared as sources.
const _: fn() = || {
    fn is_source<T: BlobSource + Send>() {}
    is_source::<BlobReader>();
};

#[cfg(test)]
pub(crate) mod tests;
