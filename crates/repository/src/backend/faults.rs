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
/// died is written to the file that `ZOOARK_TEST_DIED_AT` names.
pub fn step(what: &str, path: &Path) {
    static LAST: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("ZOOARK_TEST_DIE_AT").ok().and_then(|step| step.parse().ok()));
    static STEPS: AtomicU64 = AtomicU64::new(1);
    let Some(last) = *LAST else { return };
    if STEPS.fetch_add(1, Ordering::SeqCst) == last {
        if let Some(place) = std::env::var_os("ZOOARK_TEST_DIED_AT") {
            // Nothing can be done about it here; the test finds no file.
            let _ = std::fs::write(place, format!("{what} {}", path.display()));
        }
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
