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
mod packing;
mod safety;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::backend::StoreError;
use crate::blobs::{BlobError, BlobSink, BlobSource, PlainBlob};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, LineageId, PackId, SnapshotId};
use crate::manifest::{
    MAX_TABLES, Manifest, ManifestBody, SnapshotFields, SnapshotManifest, StackTable, encode_manifest, manifest_path,
    place_indexes, shared_manifest_path,
};
use crate::pack::{PackBuilder, PackIndex};
use crate::reader::BlobReader;
use crate::shared::Shared;
use crate::stack::Stack;
use crate::table::TableRoot;
use base::{Base, keep_newest};
pub use packing::BaseSink;

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

    /// Takes the blobs of a whole base: compressed at the higher level of bases unless another level was asked for.
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
