//! An open repository for callers that block: the async store driven by a runtime of its own.

use jiff::Timestamp;
use repository::backend::{Store, StoreError, StoreErrorKind, StoreOptions};
use repository::cache::{CacheOptions, CacheStatus};
use repository::keys::Credentials;
use repository::manifest::Manifest;
use repository::notes::Note;
use repository::repository::{InitOptions, Repository, Snapshots};
use repository::table::TableError;
use repository::{BlobError, LineageId, RepositoryError, SnapshotId};
use tokio::runtime::{Handle, Runtime};

use crate::error::{EngineError, ErrorKind};
use crate::tree::SnapshotTree;

/// An open repository.
#[derive(Debug)]
pub struct Repo {
    runtime: Running,
    pub(crate) inner: Repository,
}

/// Where a repository is and how to get in.
#[derive(Debug)]
pub struct Access {
    /// A path or URL.
    pub location: String,
    /// How to reach the store.
    pub store: StoreOptions,
    /// What opens it.
    pub credentials: Credentials,
    /// The local cache.
    pub cache: CacheOptions,
}

/// Threads that may wait for a disk. Idle ones end only after ten seconds without any work, and each keeps memory of its own: in a
/// process that never rests as many remain as were ever busy at once.
const DISK_THREADS: usize = 32;

/// What runs everything that waits.
pub(crate) fn runtime() -> Result<Runtime, EngineError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(DISK_THREADS)
        .thread_name("zooark-store")
        .enable_all()
        .build()
        .map_err(|error| EngineError::with(ErrorKind::Failed, "starting the threads that talk to the store", error))
}

/// A runtime that may be dropped anywhere: where nothing may block it ends in the background.
#[derive(Debug)]
struct Running {
    handle: Handle,
    kept: Option<Runtime>,
}

impl From<Runtime> for Running {
    fn from(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), kept: Some(runtime) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(runtime), true) = (self.kept.take(), Handle::try_current().is_ok()) {
            runtime.shutdown_background();
        }
    }
}

impl Repo {
    /// Makes a repository and opens it.
    pub fn init(access: &Access, options: &InitOptions) -> Result<Self, EngineError> {
        let runtime = runtime()?;
        let inner = runtime.block_on(async {
            let store = Store::open(&access.location, &access.store)?;
            Repository::init(&store, options, &access.cache).await
        })?;
        Ok(Self { runtime: Running::from(runtime), inner })
    }

    /// Opens a repository.
    pub fn open(access: &Access) -> Result<Self, EngineError> {
        let runtime = runtime()?;
        let inner = runtime.block_on(async {
            let store = Store::open(&access.location, &access.store)?;
            Repository::open(&store, &access.credentials, &access.cache).await
        })?;
        Ok(Self { runtime: Running::from(runtime), inner })
    }

    /// The repository itself, for what the engine adds nothing to.
    pub const fn repository(&self) -> &Repository {
        &self.inner
    }

    /// Whether the local cache is in use, and why not.
    pub fn cache_status(&self) -> &CacheStatus {
        self.inner.cache_status()
    }

    /// Waits for something of the store. Not from a thread of an async runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.handle.block_on(future)
    }

    /// Every snapshot, with what was noted about it.
    pub fn snapshots(&self) -> Result<Snapshots, EngineError> {
        Ok(self.block_on(self.inner.snapshots())?)
    }

    /// The tree of a snapshot.
    pub fn tree<'r>(&'r self, manifest: &'r Manifest) -> Result<SnapshotTree<'r>, EngineError> {
        let reader = self.block_on(self.inner.reader(&[manifest]))?;
        Ok(SnapshotTree::new(manifest, reader, self.inner.identity()))
    }

    /// The tree of a snapshot, for who reads all of it and compares the sum of its records with the state digest.
    pub(crate) fn tree_to_sum_up<'r>(&'r self, manifest: &'r Manifest) -> Result<SnapshotTree<'r>, EngineError> {
        let reader = self.block_on(self.inner.reader(&[manifest]))?.for_summing_up();
        Ok(SnapshotTree::new(manifest, reader, self.inner.identity()))
    }

    /// Changes what is noted about a snapshot.
    pub fn annotate(&self, snapshot: SnapshotId, change: impl FnOnce(&mut Note)) -> Result<Note, EngineError> {
        Ok(self.block_on(self.inner.annotate(snapshot, change))?)
    }

    /// The lineage of a view of a cluster. Files and clients see different things, so they never share one.
    pub fn lineage(&self, cluster: &str, chroot: &str, filter: &str, source_class: &str) -> LineageId {
        self.inner.lineage(&[cluster.as_bytes(), chroot.as_bytes(), filter.as_bytes(), source_class.as_bytes()])
    }
}

/// The time now, in whole milliseconds, as the repository stores times.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn store_kind(error: &StoreError) -> ErrorKind {
    match error.kind {
        StoreErrorKind::AlreadyExists => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    }
}

fn blob_kind(error: &BlobError) -> ErrorKind {
    match error {
        BlobError::Missing { .. } | BlobError::Damaged { .. } => ErrorKind::Damage,
        BlobError::Store { .. } => ErrorKind::Failed,
    }
}

impl From<RepositoryError> for EngineError {
    fn from(error: RepositoryError) -> Self {
        let kind = match &error {
            RepositoryError::NoRepository { .. } => ErrorKind::NoRepository,
            RepositoryError::WrongPassword { .. } | RepositoryError::CredentialsNeeded { .. } => {
                ErrorKind::WrongPassword
            }
            RepositoryError::Unencrypted { .. }
            | RepositoryError::OtherRepository { .. }
            | RepositoryError::KeyRefused { .. } => ErrorKind::Refused,
            RepositoryError::Damaged { .. }
            | RepositoryError::Inconsistent { .. }
            | RepositoryError::PackMissing { .. } => ErrorKind::Damage,
            RepositoryError::Table { source } if source.is_loss() => ErrorKind::Damage,
            RepositoryError::ShortGrace { .. } => ErrorKind::Usage,
            RepositoryError::Claimed { .. } => ErrorKind::Busy,
            RepositoryError::Store(error) => store_kind(error),
            RepositoryError::Blob(error) => blob_kind(error),
            _ => ErrorKind::Failed,
        };
        Self::wrapping(kind, error)
    }
}

impl From<BlobError> for EngineError {
    fn from(error: BlobError) -> Self {
        Self::wrapping(blob_kind(&error), error)
    }
}

impl From<TableError> for EngineError {
    fn from(error: TableError) -> Self {
        let kind = match &error {
            TableError::Blob(error) => blob_kind(error),
            _ => ErrorKind::Damage,
        };
        Self::wrapping(kind, error)
    }
}
