//! A store that fails on demand, for tests.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::driver::{Driver, ObjectInfo, Part, Piece};
use super::error::{Operation, StoreError, StoreErrorKind};
use super::{Store, StoreOptions};

/// A step of a store's work. The process dies here, as by `kill -9`, if `ZOOARK_TEST_DIE_AT` is the number of this step; where it
/// died is written to the file that `ZOOARK_TEST_DIED_AT` names. The file that `ZOOARK_TEST_STEPS` names gets a byte for each step.
pub fn step(what: &str, path: &Path) {
    static LAST: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("ZOOARK_TEST_DIE_AT").ok().and_then(|step| step.parse().ok()));
    static STEPS: AtomicU64 = AtomicU64::new(1);
    let Some(last) = *LAST else { return };
    if let Some(count) = std::env::var_os("ZOOARK_TEST_STEPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(count);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, b"."));
    }
    if STEPS.fetch_add(1, Ordering::SeqCst) == last {
        if let Some(place) = std::env::var_os("ZOOARK_TEST_DIED_AT") {
            // Nothing can be done about it here; the test finds no file.
            let _ = std::fs::write(place, format!("{what} {}", path.display()));
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// One planned fault, used up by the first request it matches.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operation.
    pub operation: Operation,
    /// Start of the object's path.
    pub prefix: String,
    /// How many matching requests pass before it strikes.
    pub after: usize,
    /// What happens.
    pub effect: Effect,
}

/// What a fault does.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Fails without doing anything.
    Fail(StoreErrorKind),
    /// Does it, then reports failure.
    DoThenFail(StoreErrorKind),
    /// Takes this long first.
    Slow(Duration),
}

/// The faults still to come; shared with the store they belong to.
#[derive(Debug, Clone, Default)]
pub struct Plan(Arc<Mutex<VecDeque<Fault>>>);

impl Plan {
    /// Adds a fault.
    pub fn add(&self, operation: Operation, prefix: &str, effect: Effect) {
        self.add_after(operation, prefix, 0, effect);
    }

    /// Adds a fault that lets `after` matching requests pass.
    pub fn add_after(&self, operation: Operation, prefix: &str, after: usize, effect: Effect) {
        let fault = Fault { operation, prefix: prefix.to_owned(), after, effect };
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(fault);
    }

    /// Faults that have not struck.
    pub fn left(&self) -> usize {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    fn next(&self, operation: Operation, path: &str) -> Option<Effect> {
        let mut faults = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = faults.iter().position(|f| f.operation == operation && path.starts_with(&f.prefix))?;
        let fault = faults.get_mut(at)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        faults.remove(at).map(|f| f.effect)
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Store,
    plan: Plan,
}

/// Wraps `inner` so that it fails as planned. Retries pause only briefly when `options` say so.
pub fn faulty(inner: &Store, options: &StoreOptions) -> (Store, Plan) {
    let plan = Plan::default();
    let driver = Faulty { inner: inner.clone(), plan: plan.clone() };
    (Store::with_driver(Box::new(driver), inner.name(), options), plan)
}

impl Faulty {
    async fn around<T>(
        &self,
        operation: Operation,
        path: &str,
        work: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.plan.next(operation, path) {
            None => work.await,
            Some(Effect::Fail(kind)) => Err(StoreError::new(kind, operation, path)),
            Some(Effect::DoThenFail(kind)) => {
                work.await?;
                Err(StoreError::new(kind, operation, path))
            }
            Some(Effect::Slow(pause)) => {
                tokio::time::sleep(pause).await;
                work.await
            }
        }
    }
}

impl Driver for Faulty {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        let work = self.inner.inner.driver.get(path, part);
        self.around(Operation::Get, path, work).boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        let operation = if create { Operation::Create } else { Operation::Put };
        let work = self.inner.inner.driver.put(path, bytes, create);
        self.around(operation, path, work).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        match self.plan.next(Operation::List, prefix) {
            Some(Effect::Fail(kind) | Effect::DoThenFail(kind)) => {
                futures::stream::iter([Err(StoreError::new(kind, Operation::List, prefix))]).boxed()
            }
            _ => self.inner.inner.driver.list(prefix),
        }
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let work = self.inner.inner.driver.delete(path);
        self.around(Operation::Delete, path, work).boxed()
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        let work = self.inner.inner.driver.head(path);
        self.around(Operation::Head, path, work).boxed()
    }
}

/// What goes wrong with every so-manieth request of a process whose `ZOOARK_TEST_STORE` says so, as in `fail 5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It fails and nothing is done.
    Fail,
    /// It is done, and the answer says that it failed.
    DoThenFail,
    /// It fails in a way that may pass.
    Busy,
    /// It takes its time.
    Slow,
    /// Nothing is written or deleted, and the answer says that it was.
    Lie,
    /// The disk cannot read it.
    Unreadable,
}

#[derive(Debug)]
struct Unreliable {
    inner: Box<dyn Driver>,
    trouble: Trouble,
    every: u64,
    /// Only requests for paths that begin so.
    prefix: String,
    requests: AtomicU64,
}

/// The driver as it is, or one that is as unreliable as `ZOOARK_TEST_STORE` says.
pub(super) fn unreliable(inner: Box<dyn Driver>) -> Box<dyn Driver> {
    let Ok(text) = std::env::var("ZOOARK_TEST_STORE") else { return inner };
    let mut words = text.split_whitespace();
    let trouble = match words.next() {
        Some("fail") => Trouble::Fail,
        Some("do-then-fail") => Trouble::DoThenFail,
        Some("busy") => Trouble::Busy,
        Some("slow") => Trouble::Slow,
        Some("lie") => Trouble::Lie,
        Some("unreadable") => Trouble::Unreadable,
        _ => return inner,
    };
    let every = words.next().and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
    let prefix = words.next().unwrap_or_default().to_owned();
    Box::new(Unreliable { inner, trouble, every, prefix, requests: AtomicU64::new(0) })
}

impl Unreliable {
    fn strikes(&self, operation: Operation, path: &str) -> bool {
        let concerned = match self.trouble {
            Trouble::Lie => matches!(operation, Operation::Put | Operation::Create | Operation::Delete),
            Trouble::Unreadable => operation == Operation::Get,
            _ => true,
        };
        if !concerned || !path.starts_with(&self.prefix) {
            return false;
        }
        self.requests.fetch_add(1, Ordering::SeqCst) % self.every == self.every.saturating_sub(1)
    }

    async fn around<T>(
        &self,
        operation: Operation,
        path: &str,
        lie: Option<T>,
        work: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !self.strikes(operation, path) {
            return work.await;
        }
        match (self.trouble, lie) {
            (Trouble::Lie, Some(answer)) => Ok(answer),
            (Trouble::Lie, None) => work.await,
            (Trouble::Fail, _) => Err(StoreError::new(StoreErrorKind::Other, operation, path)),
            (Trouble::Unreadable, _) => Err(StoreError::new(StoreErrorKind::Unreadable, operation, path)),
            (Trouble::Busy, _) => Err(StoreError::new(StoreErrorKind::Throttled, operation, path)),
            (Trouble::DoThenFail, _) => {
                work.await?;
                Err(StoreError::new(StoreErrorKind::Other, operation, path))
            }
            (Trouble::Slow, _) => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                work.await
            }
        }
    }
}

impl Driver for Unreliable {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        self.around(Operation::Get, path, None, self.inner.get(path, part)).boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        let operation = if create { Operation::Create } else { Operation::Put };
        self.around(operation, path, Some(()), self.inner.put(path, bytes, create)).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let fails = matches!(self.trouble, Trouble::Fail | Trouble::Busy);
        if fails && self.strikes(Operation::List, prefix) {
            let kind = if self.trouble == Trouble::Busy { StoreErrorKind::Throttled } else { StoreErrorKind::Other };
            return futures::stream::iter([Err(StoreError::new(kind, Operation::List, prefix))]).boxed();
        }
        self.inner.list(prefix)
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.around(Operation::Delete, path, Some(()), self.inner.delete(path)).boxed()
    }

    fn is_near(&self) -> bool {
        self.inner.is_near()
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        self.around(Operation::Head, path, None, self.inner.head(path)).boxed()
    }
}
