//! An open repository: made by [`Repository::init`], opened by [`Repository::open`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backend::Store;
use crate::blobs::BlobSource;
use crate::cache::{self, Cache, CacheOptions, CacheStatus};
use crate::clock::{Clock, now_ms};
use crate::config::{
    CHUNKING, CONFIG_PATH, Config, DEFAULT_GRACE_S, MAX_CONFIG, StoreFacts, decode_config, encode_config, read_head,
};
use crate::crypto::{Crypto, Keyring, fill_random};
use crate::error::RepositoryError;
use crate::ids::{IdentityKeys, LineageId, RepositoryId, SnapshotId};
use crate::key_slots::{blocking, remember_slot, unlock};
use crate::keys::{Costs, Credentials, DEFAULT_COSTS, make_slot};
use crate::manifest::Manifest;
use crate::notes::{Note, newest_note, write_note};
use crate::probe::creates_exclusively;
use crate::reader::BlobReader;
use crate::session::BackupSession;
use crate::shared::Shared;
pub use crate::snapshots::{Snapshot, Snapshots};

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

    /// Goes by these clocks from now on. Only what was just opened can change its clocks.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.clock = clock;
        }
        self
    }

    /// Breaks a rule, for a test that shows that it is needed. Before the repository is used.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn breaking(mut self, rule: crate::rules::Rule) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.rules = crate::rules::Rules::without(rule);
        }
        self
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

    /// Changes what is noted about a snapshot.
    pub async fn annotate(
        &self,
        snapshot: SnapshotId,
        change: impl FnOnce(&mut Note),
    ) -> Result<Note, RepositoryError> {
        let newest = newest_note(&self.shared.store, &self.shared.crypto, snapshot).await?;
        let (after, mut note) = newest.map_or((None, Note::default()), |(name, note)| (Some(name), note));
        change(&mut note);
        note.written_ms = self.shared.clock.now_ms();
        let name = self.shared.clock.name();
        write_note(&self.shared.store, &self.shared.crypto, snapshot, &note, name, after).await?;
        Ok(note)
    }

    /// A reader of the blobs of these snapshots. A cold one costs a footer per pack that they name.
    pub async fn reader(&self, manifests: &[&Manifest]) -> Result<BlobReader, RepositoryError> {
        for manifest in manifests {
            let gone = self.shared.load_packs(&manifest.packs(), Some(manifest)).await?;
            // What is in neither is reported when it is read.
            self.shared.load_successors(&gone, &BTreeSet::new()).await?;
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
