//! Where a repository's objects lie: a directory, an object store, or memory.
//!
//! [`Store`] is everything the rest of the crate knows of storage. It bounds what is read, repeats what may succeed
//! when repeated, keeps to limits of bandwidth and concurrency, counts requests, and names operation, object and store
//! in every error. The kinds of store are [`Driver`]s below it.

mod counters;
mod driver;
mod error;
mod limit;
mod local;
mod location;
mod remote;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "conformance"))]
pub mod faults;
#[cfg(any(test, feature = "conformance"))]
mod recorder;

#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

pub use counters::Counters;
pub use driver::{Driver, ObjectInfo, Part, Piece};
pub use error::{Operation, StoreError, StoreErrorKind};
pub use location::StoreOptions;

use counters::{Tally, add};
use limit::RateLimit;

/// Bytes of a whole object, or of a listing, that its time-out makes room for.
const MOST_WHOLE: u64 = 4 << 20;
/// Time-outs of one request after which a store is taken for dead: each took its time.
const MOST_SILENCES: u32 = 3;

/// A handle on a store. Clones share connections, limits and counters.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    driver: Box<dyn Driver>,
    name: String,
    identity: String,
    slots: Semaphore,
    timeout: Duration,
    retries: usize,
    upload: Option<RateLimit>,
    download: Option<RateLimit>,
    tally: Tally,
}

impl Store {
    /// Opens the store a URL or path names. Nothing is read or written yet.
    pub fn open(location: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let options = options.resolved().map_err(|text| location::invalid(location, text))?;
        Ok(Self::assemble(location::open(location, &options)?, &options))
    }

    /// A store in memory that lives as long as its handles.
    pub fn memory() -> Self {
        Self::assemble(location::memory(), &StoreOptions::default())
    }

    /// A store over any driver, for wrappers and tests.
    pub fn with_driver(driver: Box<dyn Driver>, name: &str, options: &StoreOptions) -> Self {
        let opened = location::Opened { driver, name: name.to_owned(), identity: name.to_owned() };
        Self::assemble(opened, options)
    }

    fn assemble(opened: location::Opened, options: &StoreOptions) -> Self {
        #[cfg(any(test, feature = "conformance"))]
        let opened = location::Opened { driver: faults::unreliable(opened.driver), ..opened };
        Self {
            inner: Arc::new(Inner {
                driver: opened.driver,
                name: opened.name,
                identity: opened.identity,
                slots: Semaphore::new(options.connections.clamp(1, 1024)),
                timeout: options.timeout,
                retries: options.retries,
                upload: options.limit_upload.map(RateLimit::kib_per_second),
                download: options.limit_download.map(RateLimit::kib_per_second),
                tally: Tally::default(),
            }),
        }
    }

    /// The location as given, without credentials.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Endpoint, bucket and prefix: two handles with the same identity write to the same place.
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// Whether reading is as quick as from a disk of this host, and may be.
    pub fn is_near(&self) -> bool {
        self.inner.download.is_none() && self.inner.driver.is_near()
    }

    /// Requests and bytes so far, over all clones.
    pub fn counters(&self) -> Counters {
        self.inner.tally.read()
    }

    /// Reads a whole object of at most `limit` bytes.
    pub async fn get(&self, path: &str, limit: u64) -> Result<Bytes, StoreError> {
        Ok(self.read(path, Part::Whole { limit }).await?.bytes)
    }

    /// Reads exactly these bytes of an object.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.read(path, Part::Range(range)).await?.bytes)
    }

    /// Reads the last `length` bytes of an object, or all of a shorter one.
    pub async fn get_tail(&self, path: &str, length: u64) -> Result<Piece, StoreError> {
        self.read(path, Part::Tail(length)).await
    }

    async fn read(&self, path: &str, part: Part) -> Result<Piece, StoreError> {
        let inner = &*self.inner;
        let size = match &part {
            // A bound on what may come, and mostly far above it.
            Part::Whole { limit } => *limit.min(&MOST_WHOLE),
            Part::Range(range) => range.end.saturating_sub(range.start),
            Part::Tail(length) => *length,
        };
        let piece = self
            .attempt(Operation::Get, path, size, || async {
                add(&inner.tally.get, 1);
                inner.driver.get(path, part.clone()).await
            })
            .await?;
        add(&inner.tally.bytes_down, piece.bytes.len());
        if let Some(limit) = &inner.download {
            limit.pass(piece.bytes.len()).await;
        }
        Ok(piece)
    }

    /// Writes an object, replacing an existing one.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.write(path, bytes, false).await
    }

    /// Writes an object that must not exist. When a repeated attempt finds the name taken by exactly these bytes, an
    /// earlier attempt had succeeded unheard; that is a success. Bytes must therefore be unlike any other writer's.
    pub async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.write(path, bytes, true).await
    }

    async fn write(&self, path: &str, bytes: Bytes, create: bool) -> Result<(), StoreError> {
        let inner = &*self.inner;
        if let Some(limit) = &inner.upload {
            limit.pass(bytes.len()).await;
        }
        let operation = if create { Operation::Create } else { Operation::Put };
        let unheard = AtomicBool::new(false);
        let result = self
            .attempt(operation, path, bytes.len() as u64, || async {
                add(&inner.tally.put, 1);
                add(&inner.tally.bytes_up, bytes.len());
                let result = inner.driver.put(path, bytes.clone(), create).await;
                if result.as_ref().is_err_and(|e| e.kind.is_retryable()) {
                    unheard.store(true, Ordering::Relaxed);
                }
                result
            })
            .await;
        let Err(mut e) = result else { return Ok(()) };
        // A store that lets nothing be overwritten may call that a lack of rights.
        let kept = e.kind == StoreErrorKind::Permission && self.head(path).await.is_ok();
        if create && kept {
            e.kind = StoreErrorKind::AlreadyExists;
        }
        let taken = kept || create && (e.is_already_exists() || e.kind.is_retryable());
        if taken && unheard.load(Ordering::Relaxed) {
            let there = self.get(path, bytes.len() as u64).await;
            if there.is_ok_and(|there| there == bytes) {
                return Ok(());
            }
        }
        Err(e)
    }

    /// Lists the objects below `prefix` (a directory: empty, or ending in `/`) as the store sends them.
    pub fn list<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl futures::Stream<Item = Result<ObjectInfo, StoreError>> + Send + 'a {
        add(&self.inner.tally.list, 1);
        self.inner.driver.list(prefix).map_err(|e| e.on(&self.inner.name)).boxed()
    }

    /// Lists the objects below `prefix` in the byte order of their paths, repeating a listing that failed.
    pub async fn list_sorted(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut found: Vec<ObjectInfo> = self
            .attempt(Operation::List, prefix, MOST_WHOLE, || async {
                add(&self.inner.tally.list, 1);
                self.inner.driver.list(prefix).try_collect().await
            })
            .await?;
        found.sort_unstable_by(|a: &ObjectInfo, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Deletes an object; deleting an absent one is no error.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.attempt(Operation::Delete, path, 0, || async {
            add(&self.inner.tally.delete, 1);
            self.inner.driver.delete(path).await
        })
        .await
    }

    /// Size and time of an object.
    pub async fn head(&self, path: &str) -> Result<ObjectInfo, StoreError> {
        self.attempt(Operation::Head, path, 0, || async {
            add(&self.inner.tally.head, 1);
            self.inner.driver.head(path).await
        })
        .await
    }

    /// Runs a request that moves about `size` bytes until it succeeds, or need not be repeated.
    async fn attempt<T, F, Work>(
        &self,
        operation: Operation,
        path: &str,
        size: u64,
        work: Work,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
        Work: Fn() -> F,
    {
        let inner = &*self.inner;
        let timeout = inner.timeout.saturating_add(Duration::from_secs(size / location::SLOWEST));
        let once = || async {
            let _slot = inner.slots.acquire().await;
            match tokio::time::timeout(timeout, work()).await {
                Ok(result) => result,
                Err(_) => Err(StoreError::new(StoreErrorKind::TimedOut, operation, path)),
            }
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(10))
            .with_jitter()
            .with_max_times(inner.retries);
        let mut silences = 0;
        let again = |error: &StoreError| {
            silences += u32::from(matches!(error.kind, StoreErrorKind::TimedOut));
            error.kind.is_retryable() && silences < MOST_SILENCES
        };
        let tell = |error: &StoreError, pause: Duration| tracing::info!(%error, ?pause, "the store is asked again");
        once.retry(pauses).when(again).notify(tell).await.map_err(|e| e.on(&inner.name))
    }
}
