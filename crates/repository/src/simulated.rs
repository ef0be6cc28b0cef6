//! A store in memory whose clock and failures a test decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};

use crate::backend::{Driver, ObjectInfo, Operation, Part, Piece, Store, StoreError, StoreErrorKind, StoreOptions};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Do,
    /// It fails and nothing is done.
    Fail(StoreErrorKind),
    /// It is done, and the answer says that it failed.
    DoThenFail(StoreErrorKind),
}

type Judge = Box<dyn FnMut(Operation, &str) -> Verdict + Send>;

struct World {
    objects: BTreeMap<String, (Bytes, SystemTime)>,
    now: SystemTime,
    judge: Judge,
    creates_exclusively: bool,
}

/// The other side of a simulated store: its clock, its objects, and what fails.
#[derive(Clone)]
pub struct Simulation(Arc<Mutex<World>>);

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("objects", &self.world().objects.len()).finish()
    }
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// An empty store. Its clock stands at this machine's time until it is moved.
    pub fn new() -> Self {
        Self::starting(SystemTime::now())
    }

    /// An empty store whose clock stands at this time.
    pub fn starting(now: SystemTime) -> Self {
        let world =
            World { objects: BTreeMap::new(), now, judge: Box::new(|_, _| Verdict::Do), creates_exclusively: true };
        Self(Arc::new(Mutex::new(world)))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle on the store that repeats nothing.
    pub fn store(&self) -> Store {
        let options = StoreOptions { retries: 0, ..StoreOptions::default() };
        Store::with_driver(Box::new(self.clone()), "simulated store", &options)
    }

    /// Moves the store's clock.
    pub fn advance(&self, time: Duration) {
        let mut world = self.world();
        world.now += time;
    }

    /// The store's time.
    pub fn now(&self) -> SystemTime {
        self.world().now
    }

    /// Decides what becomes of every request from now on.
    pub fn judge(&self, judge: impl FnMut(Operation, &str) -> Verdict + Send + 'static) {
        self.world().judge = Box::new(judge);
    }

    /// Whether creating what exists is refused. A store that cannot do it replaces the object.
    pub fn set_creates_exclusively(&self, exclusive: bool) {
        self.world().creates_exclusively = exclusive;
    }

    /// Whether it is.
    pub fn creates_exclusively(&self) -> bool {
        self.world().creates_exclusively
    }

    /// Changes a byte of an object, as a disk does: nobody is told, and its time stays.
    pub fn spoil(&self, path: &str) {
        if let Some((bytes, _)) = self.world().objects.get_mut(path) {
            let mut spoilt = bytes.to_vec();
            if let Some(byte) = spoilt.last_mut() {
                *byte ^= 1;
            }
            *bytes = spoilt.into();
        }
    }

    /// Paths of all objects.
    pub fn paths(&self) -> Vec<String> {
        self.world().objects.keys().cloned().collect()
    }

    fn around<T>(
        &self,
        operation: Operation,
        path: &str,
        work: impl FnOnce(&mut World) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let world = &mut *self.world();
        let fail = |kind| StoreError::new(kind, operation, path);
        match (world.judge)(operation, path) {
            Verdict::Do => work(world).map_err(fail),
            Verdict::Fail(kind) => Err(fail(kind)),
            Verdict::DoThenFail(kind) => {
                work(world).map_err(fail)?;
                Err(fail(kind))
            }
        }
    }
}

fn part_of(bytes: &Bytes, part: Part) -> Result<Piece, StoreErrorKind> {
    let size = bytes.len() as u64;
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let range = match part {
        Part::Whole { limit } if size > limit => return Err(StoreErrorKind::TooLarge { size, limit }),
        Part::Whole { .. } => 0..bytes.len(),
        Part::Range(range) if range.end > size => return Err(StoreErrorKind::TooShort),
        Part::Range(range) => position(range.start)..position(range.end),
        Part::Tail(length) => position(size.saturating_sub(length))..bytes.len(),
    };
    Ok(Piece { bytes: bytes.slice(range), object_size: size })
}

impl Driver for Simulation {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        let answer = self.around(Operation::Get, path, |world| {
            let (bytes, _) = world.objects.get(path).ok_or(StoreErrorKind::NotFound)?;
            part_of(bytes, part)
        });
        async { answer }.boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        let operation = if create { Operation::Create } else { Operation::Put };
        let answer = self.around(operation, path, |world| {
            if create && world.creates_exclusively && world.objects.contains_key(path) {
                return Err(StoreErrorKind::AlreadyExists);
            }
            world.objects.insert(path.to_owned(), (bytes, world.now));
            Ok(())
        });
        async { answer }.boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let answer = self.around(Operation::List, prefix, |world| {
            let info = |(path, (bytes, modified)): (&String, &(Bytes, SystemTime))| ObjectInfo {
                path: path.clone(),
                size: bytes.len() as u64,
                modified: *modified,
            };
            let below = world.objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
            Ok(below.map(info).collect::<Vec<_>>())
        });
        match answer {
            Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let answer = self.around(Operation::Delete, path, |world| {
            world.objects.remove(path);
            Ok(())
        });
        async { answer }.boxed()
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        let answer = self.around(Operation::Head, path, |world| {
            let (bytes, modified) = world.objects.get(path).ok_or(StoreErrorKind::NotFound)?;
            Ok(ObjectInfo { path: path.to_owned(), size: bytes.len() as u64, modified: *modified })
        });
        async { answer }.boxed()
    }
}
