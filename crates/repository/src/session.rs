//! A backup being written.
//!
//! ```text
//! begin:  condemned lists, then the newest manifest n of the lineage, confirmed: it is there and n + 1 is not
//! put:    blobs that the parent cannot reach go into packs, which are uploaded as they fill
//! commit: last pack, time check, manifest n + 1 created if absent, a look whether there are new lists
//! ```
//!
//! A crash before the manifest leaves packs that nothing names; prune takes them. A writer refers only to blobs it
//! uploaded or that its live parent's packs hold, and to those only where no condemned list names the pack; and it takes
//! less than half the grace period from reading the lists to the manifest, by a clock that counts suspension. Afterwards it
//! looks for lists it has not seen, and only if there are any at the packs themselves: so a machine that was frozen as a
//! whole, whose clocks stood still, does not claim to have stored what was deleted under it. What is not safe is withdrawn as
//! `forget` would do it.

mod base;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::backend::StoreError;
use crate::blobs::{BlobError, BlobSink, BlobSource, PlainBlob};
use crate::condemned::{FIRST, generation_of_path, is_newest, read_condemned};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, LineageId, PackId, SnapshotId};
use crate::manifest::{
    MAX_TABLES, Manifest, ManifestBody, SnapshotFields, SnapshotManifest, StackTable, encode_manifest, manifest_path,
    parse_path, place_indexes, shared_manifest_path,
};
use crate::pack::{FinishedPack, PackBuilder, PackIndex, TARGET_PACK, pack_path};
use crate::reader::BlobReader;
use crate::seal::{BASE_LEVEL, frame_blob, seal_blob, usual_level};
use crate::shared::Shared;
use crate::stack::Stack;
use crate::table::TableRoot;
use base::{Base, keep_newest};

/// Packs in flight at once; whoever fills the next one waits.
const UPLOADS: usize = 4;
/// Longest a manifest's PUT may take.
const MANIFEST_PUT: Duration = Duration::from_mins(5);

/// A snapshot that was stored.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The new snapshot.
    pub manifest: Manifest,
    /// Bytes of all objects written.
    pub uploaded_bytes: u64,
    /// Objects written.
    pub objects_written: u64,
}

impl Committed {
    /// Its id.
    pub fn id(&self) -> SnapshotId {
        self.manifest.id
    }
}

/// What came of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// The snapshot is stored.
    Committed(Box<Committed>),
    /// Another writer stored one first. [`BackupSession::parent`] is now that one: compare with it and commit again.
    Overtaken,
}

/// A backup of one lineage. Blobs are put from computing threads, never from the runtime's own.
#[derive(Debug)]
pub struct BackupSession {
    shared: Arc<Shared>,
    lineage: LineageId,
    level: Option<i32>,
    base: Base,
    packs: Mutex<Packs>,
    slots: Arc<Semaphore>,
    reader: BlobReader,
}

#[derive(Debug, Default)]
struct Packs {
    open: Option<PackBuilder>,
    /// Where each blob put so far is; `None` while it is being sealed.
    placed: HashMap<BlobId, Option<PackId>>,
    /// Nodes and lists, which are read back while the snapshot is put together.
    plain: HashMap<BlobId, (BlobKind, Bytes)>,
    finished: Vec<(PackIndex, (u64, u32))>,
    uploads: Vec<JoinHandle<Result<(), StoreError>>>,
    uploaded_bytes: u64,
    objects: u64,
}

impl BackupSession {
    pub(crate) async fn begin(shared: Arc<Shared>, lineage: LineageId) -> Result<Self, RepositoryError> {
        let base = Base::find(&shared, lineage).await?;
        Ok(Self::upon(shared, lineage, base))
    }

    /// Begins a snapshot that says again what is left of `original`, under the next number of `lineage`. Nothing in the packs
    /// `lost` is referred to.
    pub(crate) async fn begin_repair(
        shared: Arc<Shared>,
        lineage: LineageId,
        original: &Manifest,
        lost: &BTreeSet<PackId>,
    ) -> Result<Self, RepositoryError> {
        let base = Base::of_repair(&shared, lineage, original, lost).await?;
        Ok(Self::upon(shared, lineage, base))
    }

    fn upon(shared: Arc<Shared>, lineage: LineageId, base: Base) -> Self {
        let reader = BlobReader::new(Arc::clone(&shared));
        let (packs, slots) = (Mutex::default(), Arc::new(Semaphore::new(UPLOADS)));
        Self { shared, lineage, level: None, base, packs, slots, reader }
    }

    /// Uses another zstd level for what is put from now on.
    #[must_use]
    pub fn with_level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Takes the blobs of a whole base: compressed at [`BASE_LEVEL`] unless another level was asked for.
    pub fn base_sink(&self) -> BaseSink<'_> {
        BaseSink { session: self }
    }

    /// The newest snapshot of the lineage: what to compare with.
    pub fn parent(&self) -> Option<&Manifest> {
        self.base.parent.as_ref()
    }

    /// Reads blobs of the parent and those put so far.
    pub fn reader(&self) -> SessionReader<'_> {
        SessionReader { session: self }
    }

    fn packs(&self) -> std::sync::MutexGuard<'_, Packs> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a blob need not be put: the parent's packs hold it, or it was put.
    pub(crate) fn reaches(&self, id: &BlobId) -> bool {
        self.base.reachable.contains_key(id) || self.packs().placed.contains_key(id)
    }

    /// Stores the snapshot. `tables` is its whole stack, base first. Counters of bytes, blobs and time are filled in.
    pub async fn commit(
        &mut self,
        mut fields: SnapshotFields,
        tables: Vec<TableRoot>,
    ) -> Result<CommitOutcome, RepositoryError> {
        if tables.len() > MAX_TABLES {
            let (found, limit) = (tables.len() as u64, MAX_TABLES as u64);
            return Err(RepositoryError::Limit { what: "tables of a snapshot", found, limit });
        }
        // Reading what the cache lacks waits for this runtime, so it happens on a thread of its own.
        let stack = std::thread::scope(|scope| scope.spawn(|| self.stack(tables)).join());
        let stack = stack.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.upload_all().await?;
        let named: HashSet<PackId> = stack.iter().flat_map(|t| t.packs.iter().copied()).collect();
        let new_packs = {
            let packs = self.packs();
            let new: Vec<_> = packs.finished.iter().filter(|(i, _)| named.contains(&i.pack)).cloned().collect();
            fields.counters.added_bytes = packs.uploaded_bytes;
            fields.counters.added_blobs = packs.placed.len() as u64;
            place_indexes(&new)?
        };
        fields.counters.duration_ms =
            u64::try_from(self.shared.clock.since(self.base.began).as_millis()).unwrap_or(u64::MAX);
        let limit = self.time_limit();
        // Its own packs are on a list if they have been lying around since an earlier attempt.
        if self.elapsed() >= limit || named.iter().any(|pack| self.base.avoid.packs.contains(pack)) {
            return Err(RepositoryError::TooSlow { limit_s: limit.as_secs() });
        }
        let body = SnapshotManifest { parent: self.base.parent.as_ref().map(|p| p.id), fields, stack, new_packs };
        let path = if self.base.exclusive {
            manifest_path(self.lineage, self.base.next_seq)
        } else {
            shared_manifest_path(self.lineage, self.base.next_seq, self.shared.clock.name())
        };
        let object: Bytes =
            encode_manifest(&self.shared.crypto, &path, &ManifestBody::Snapshot(Box::new(body)))?.into();
        let put = self.shared.store.put_if_absent(&path, object.clone());
        let answer = tokio::time::timeout(MANIFEST_PUT, put).await;
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(e)) if e.is_already_exists() => return self.overtaken().await,
            Ok(Err(e)) => return Err(e.into()),
            // The request may still arrive; the time check decides whether that would be safe.
            Err(_) => match self.shared.fetch_manifest(&path).await? {
                Some(there) if there == object => {}
                _ => return Err(RepositoryError::TooSlow { limit_s: MANIFEST_PUT.as_secs() }),
            },
        }
        let manifest = self.shared.decode(&path, &object)?.ok_or_else(|| RepositoryError::Inconsistent {
            object: path.clone(),
            what: "it was written as a snapshot and reads as none".to_owned(),
        })?;
        if !self.is_safe(&manifest, &named, limit).await? {
            self.shared.forget_manifests(&[(&manifest).into()], false).await?;
            return self.overtaken().await;
        }
        keep_newest(&self.shared, self.lineage, self.base.avoid.newest, manifest.seq, &path, &object);
        let packs = self.packs();
        let committed = Committed {
            manifest,
            uploaded_bytes: packs.uploaded_bytes.saturating_add(object.len() as u64),
            objects_written: packs.objects.saturating_add(1),
        };
        Ok(CommitOutcome::Committed(Box::new(committed)))
    }

    /// Time since the lists were read, by whichever clock says more: a virtual machine that was frozen shows it on the wall
    /// clock alone.
    fn elapsed(&self) -> Duration {
        let wall = self.shared.clock.wall().duration_since(self.base.began_wall).unwrap_or_default();
        self.shared.clock.since(self.base.began).max(wall)
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(self.shared.config.writers_grace_s() / 2)
    }

    /// The packs of each table. A table taken over from the parent keeps its packs; a new one needs those of its blobs,
    /// and so does one with a pack that prune has condemned: its blobs there are found in the packs that replaced it, or
    /// uploaded again.
    fn stack(&self, tables: Vec<TableRoot>) -> Result<Vec<StackTable>, RepositoryError> {
        let inherited: HashMap<Option<BlobId>, &StackTable> = match &self.base.parent {
            Some(parent) => parent.body.stack.iter().map(|t| (t.root.root, t)).collect(),
            None => HashMap::new(),
        };
        let mut stack = Vec::with_capacity(tables.len());
        for root in tables {
            let kept = inherited.get(&root.root).filter(|t| t.root == root);
            if let Some(table) = kept.filter(|t| t.packs.iter().all(|p| !self.base.unusable.contains(p))) {
                stack.push((*table).clone());
            } else {
                let packs = self.packs_of(&root)?;
                stack.push(StackTable { root, packs });
            }
        }
        Ok(stack)
    }

    /// The packs that hold a table's blobs.
    fn packs_of(&self, root: &TableRoot) -> Result<Vec<PackId>, RepositoryError> {
        let reader = self.reader();
        let table = Stack::new(vec![root.clone()], reader, self.shared.crypto.identity());
        let blobs = table.blobs().map_err(|e| RepositoryError::Table { source: Box::new(e) })?;
        let mut packs = BTreeSet::new();
        for (id, kind) in blobs {
            if self.place(&id).is_none() {
                let bytes = reader.get(&id, kind)?;
                self.put(PlainBlob { id, kind, bytes: &bytes })?;
            }
            packs.insert(self.place(&id).ok_or(BlobError::Missing { id, kind })?);
        }
        Ok(packs.into_iter().collect())
    }

    /// The pack that a blob of the new snapshot is in, if it can be referred to there.
    fn place(&self, id: &BlobId) -> Option<PackId> {
        let placed = self.packs().placed.get(id).copied().flatten();
        placed.or_else(|| self.base.reachable.get(id).copied())
    }

    /// Uploads what was put and waits for it. [`BackupSession::commit`] does so too; whoever must be able to stop calls
    /// this first and drops the session instead: packs that no manifest names are what a stopped upload leaves.
    pub async fn upload_all(&self) -> Result<(), RepositoryError> {
        let last = self.packs().open.take().filter(|p| !p.is_empty());
        if let Some(builder) = last {
            let pack = builder.finish(&self.shared.crypto)?;
            self.start_upload(pack, None);
        }
        let uploads = std::mem::take(&mut self.packs().uploads);
        for upload in uploads {
            match upload.await {
                Ok(done) => done?,
                Err(join) => {
                    let e = StoreError::new(
                        crate::backend::StoreErrorKind::Other,
                        crate::backend::Operation::Put,
                        "packs/",
                    );
                    return Err(e.because(join).on(self.shared.store.name()).into());
                }
            }
        }
        Ok(())
    }

    fn start_upload(&self, pack: FinishedPack, slot: Option<tokio::sync::OwnedSemaphorePermit>) {
        let shared = Arc::clone(&self.shared);
        let FinishedPack { path, bytes, index, footer } = pack;
        let bytes = Bytes::from(bytes);
        let mut packs = self.packs();
        packs.uploaded_bytes = packs.uploaded_bytes.saturating_add(bytes.len() as u64);
        packs.objects = packs.objects.saturating_add(1);
        packs.finished.push((index.clone(), footer));
        let task = self.shared.handle.spawn(async move {
            let result = shared.store.put(&path, bytes.clone()).await;
            drop(slot);
            if result.is_ok() {
                shared.add_index(&index);
                // The next backup and the next `ls` find it in the cache.
                let keep = tokio::task::spawn_blocking(move || {
                    shared.cache.put_pack(&index);
                    if shared.cache.is_open() {
                        let blobs: Vec<(BlobId, Bytes)> = index
                            .located()
                            .filter_map(|(at, blob)| {
                                let start = usize::try_from(at).ok()?;
                                Some((blob.id, bytes.slice(start..start.checked_add(blob.len as usize)?)))
                            })
                            .collect();
                        shared.cache.put_blobs(&index.wrapped, &blobs);
                    }
                });
                // A cache that was not filled is filled by reading.
                let _ = keep.await;
            }
            result
        });
        packs.uploads.push(task);
    }

    /// Finds the base anew. The time that was taken counts on: packs were uploaded in it.
    async fn overtaken(&mut self) -> Result<CommitOutcome, RepositoryError> {
        let (began, began_wall) = (self.base.began, self.base.began_wall);
        self.base = Base { began, began_wall, ..Base::find(&self.shared, self.lineage).await? };
        Ok(CommitOutcome::Overtaken)
    }

    /// After the manifest's PUT: whether its number is its own, and nothing it refers to was or will be deleted. While there
    /// is no list but those it knows, nothing can be on its way out and no number was given back.
    async fn is_safe(
        &self,
        manifest: &Manifest,
        named: &HashSet<PackId>,
        limit: Duration,
    ) -> Result<bool, RepositoryError> {
        let (shared, store) = (&self.shared, &self.shared.store);
        if self.elapsed() < limit && is_newest(store, self.base.avoid.newest).await? {
            return Ok(true);
        }
        if self.elapsed() >= limit || !self.lists_are_young(manifest, limit).await? {
            tracing::warn!(began = ?self.base.began_wall, "the backup took longer than half the grace period; verifying");
            let avoid = read_condemned(store, &shared.crypto, Some(self.base.avoid.clone())).await?;
            for pack in named {
                let gone = match store.head(&pack_path(*pack)).await {
                    Ok(_) => avoid.packs.contains(pack),
                    Err(e) if e.is_not_found() => true,
                    Err(e) => return Err(e.into()),
                };
                if gone {
                    shared.forget_manifests(&[manifest.into()], false).await?;
                    return Err(RepositoryError::PrunedMeanwhile { pack: pack.to_string() });
                }
            }
        }
        // A number that others used and gave back has a higher one behind it.
        let listed = store.list_sorted(&format!("snapshots/{}/", self.lineage)).await?;
        let highest = listed.iter().filter_map(|o| parse_path(&o.path)).map(|(_, seq)| seq).max();
        Ok(!self.base.exclusive || highest.is_none_or(|highest| highest <= manifest.seq))
    }

    /// Whether every list that came since the lists were read is so young, by the store's time, that the manifest was there
    /// long before anything on it is deleted.
    async fn lists_are_young(&self, manifest: &Manifest, limit: Duration) -> Result<bool, RepositoryError> {
        let written = match self.shared.store.head(&manifest.path).await {
            Ok(object) => object.modified,
            Err(e) if e.is_not_found() => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let known = self.base.avoid.newest.max(FIRST);
        let mut expected = known;
        for list in self.shared.store.list_sorted("condemned/").await? {
            let Some(generation) = generation_of_path(&list.path).filter(|generation| *generation > known) else {
                continue;
            };
            expected = expected.saturating_add(1);
            let is_young = written.duration_since(list.modified).unwrap_or_default() < limit;
            // One that is missing was old enough to be removed.
            if generation != expected || !is_young {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl BlobSink for BackupSession {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        let level = self.level.unwrap_or_else(|| usual_level(blob.bytes.len()));
        self.put_at(blob, level)
    }
}

/// See [`BackupSession::base_sink`].
#[derive(Debug, Clone, Copy)]
pub struct BaseSink<'a> {
    session: &'a BackupSession,
}

impl BlobSink for BaseSink<'_> {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        self.session.put_at(blob, self.session.level.unwrap_or(BASE_LEVEL))
    }
}

impl BackupSession {
    fn put_at(&self, blob: PlainBlob<'_>, level: i32) -> Result<(), BlobError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Store {
            id: blob.id,
            kind: blob.kind,
            source,
        };
        {
            let mut packs = self.packs();
            if packs.placed.contains_key(&blob.id) {
                return Ok(());
            }
            if matches!(blob.kind, BlobKind::Node | BlobKind::Refs) && !packs.plain.contains_key(&blob.id) {
                packs.plain.insert(blob.id, (blob.kind, Bytes::copy_from_slice(blob.bytes)));
            }
            if self.base.reachable.contains_key(&blob.id) {
                return Ok(());
            }
            packs.placed.insert(blob.id, None);
        }
        let framed = frame_blob(blob, level).map_err(|e| failed(Box::new(e)))?;
        loop {
            let (pack, key) = {
                let mut packs = self.packs();
                let open = match &mut packs.open {
                    Some(open) => open,
                    None => packs.open.insert(self.shared.new_pack().map_err(|e| failed(Box::new(e)))?),
                };
                (open.id(), open.key().clone())
            };
            let sealed = seal_blob(&self.shared.crypto, &key, &framed).map_err(|e| failed(Box::new(e)))?;
            let full = {
                let mut packs = self.packs();
                // The pack may have been closed meanwhile; its successor has another key.
                let Some(open) = packs.open.as_mut().filter(|open| open.id() == pack) else { continue };
                open.push(blob.id, blob.kind, framed.raw_len, &sealed);
                let is_full = open.len() >= TARGET_PACK;
                packs.placed.insert(blob.id, Some(pack));
                if is_full { packs.open.take() } else { None }
            };
            if let Some(builder) = full {
                let finished = builder.finish(&self.shared.crypto).map_err(|e| failed(Box::new(e)))?;
                let slot = self.shared.handle.block_on(Arc::clone(&self.slots).acquire_owned()).ok();
                self.start_upload(finished, slot);
            }
            return Ok(());
        }
    }
}

/// Reads what a backup in progress can see.
#[derive(Debug, Clone, Copy)]
pub struct SessionReader<'a> {
    session: &'a BackupSession,
}

impl BlobSource for SessionReader<'_> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        let put = self.session.packs().plain.get(id).filter(|(k, _)| *k == kind).map(|(_, bytes)| bytes.clone());
        match put {
            Some(bytes) => Ok(bytes),
            None => self.session.reader.get(id, kind),
        }
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        self.session.reader.prefetch(ids);
    }
}

/// When a backup began, for those who show it.
impl BackupSession {
    /// Milliseconds since 1970 at which the lists were read.
    pub fn began_ms(&self) -> i64 {
        let since = self.base.began_wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
