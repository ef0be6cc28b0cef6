//! Where hosts wait their turn: a store each of whose requests stops the thread that makes it until the play lets it go on.
//!
//! A host computes between two requests; the play waits until it has come to its next one, or to its end, before it
//! chooses who goes on. So what happens depends on the choices alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use repository::backend::{
    Driver, ObjectInfo, Operation, Part, Piece, Store, StoreError, StoreErrorKind, StoreOptions,
};
use repository::simulated::Simulation;

/// What a host asks of the store.
#[derive(Clone, Debug)]
pub enum Ask {
    Get(Part),
    Put(Bytes),
    Create(Bytes),
    List,
    Delete,
    Head,
}

/// What it is told.
#[derive(Debug)]
pub enum Answer {
    Piece(Piece),
    Listed(Vec<ObjectInfo>),
    Info(ObjectInfo),
    Done,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub ask: Ask,
    pub path: String,
}

impl Request {
    pub fn operation(&self) -> Operation {
        match self.ask {
            Ask::Get(_) => Operation::Get,
            Ask::Put(_) => Operation::Put,
            Ask::Create(_) => Operation::Create,
            Ask::List => Operation::List,
            Ask::Delete => Operation::Delete,
            Ask::Head => Operation::Head,
        }
    }

    pub fn changes_something(&self) -> bool {
        matches!(self.ask, Ask::Put(_) | Ask::Create(_) | Ask::Delete)
    }

    pub fn fail(&self, kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, self.operation(), &self.path)
    }

    /// Does it.
    pub fn carry_out(&self, simulation: &Simulation) -> Result<Answer, StoreError> {
        let path = &self.path;
        let answer = match &self.ask {
            Ask::Get(part) => simulation.get(path, part.clone()).map(|r| r.map(Answer::Piece)).boxed().now_or_never(),
            Ask::Put(bytes) => {
                simulation.put(path, bytes.clone(), false).map(|r| r.map(|()| Answer::Done)).boxed().now_or_never()
            }
            Ask::Create(bytes) => {
                simulation.put(path, bytes.clone(), true).map(|r| r.map(|()| Answer::Done)).boxed().now_or_never()
            }
            Ask::List => {
                let all = simulation.list(path).try_collect::<Vec<_>>();
                all.map(|r| r.map(Answer::Listed)).boxed().now_or_never()
            }
            Ask::Delete => simulation.delete(path).map(|r| r.map(|()| Answer::Done)).boxed().now_or_never(),
            Ask::Head => simulation.head(path).map(|r| r.map(Answer::Info)).boxed().now_or_never(),
        };
        answer.expect("a store in memory answers at once")
    }
}

struct Waiting {
    request: Request,
    reply: SyncSender<Result<Answer, StoreError>>,
}

#[derive(Default)]
struct Seat {
    waiting: VecDeque<Waiting>,
    ended: bool,
}

/// Everybody who takes part.
#[derive(Default)]
pub struct Stage {
    seats: Mutex<Vec<Seat>>,
    changed: Condvar,
}

/// How a host stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// At this request.
    Waits(Request),
    /// What it was doing is over.
    Ended,
}

impl Stage {
    pub fn new(seats: usize) -> Arc<Self> {
        let stage = Self::default();
        stage.seats().resize_with(seats, Seat::default);
        Arc::new(stage)
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a host that computes has come to its next request or to its end.
    pub fn settle(&self, host: usize) -> Standing {
        let mut seats = self.seats();
        loop {
            // Requests that are still open when the end is reached are answered first.
            if let Some(waiting) = seats[host].waiting.front() {
                return Standing::Waits(waiting.request.clone());
            }
            if seats[host].ended {
                return Standing::Ended;
            }
            let (guard, timeout) =
                self.changed.wait_timeout(seats, Duration::from_mins(5)).unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "host {host} neither asks nor ends");
            seats = guard;
        }
    }

    /// Answers the request a host waits at.
    pub fn answer(&self, host: usize, answer: Result<Answer, StoreError>) {
        let waiting = self.seats()[host].waiting.pop_front().expect("a request is waiting");
        // Whoever asked may have gone: a read ahead that nobody waits for.
        let _ = waiting.reply.send(answer);
    }

    pub fn begins(&self, host: usize) {
        self.seats()[host].ended = false;
    }

    pub fn ends(&self, host: usize) {
        self.seats()[host].ended = true;
        self.changed.notify_all();
    }

    /// The host is dead: what it waits for and what it will ask fails.
    pub fn bury(&self, host: usize, life: &Life) {
        let mut seats = self.seats();
        life.0.store(true, Ordering::SeqCst);
        for waiting in seats[host].waiting.drain(..) {
            let _ = waiting.reply.send(Err(waiting.request.fail(StoreErrorKind::Other)));
        }
    }
}

/// Whether a process is dead.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<AtomicBool>);

/// A host's way to the store.
struct Desk {
    stage: Arc<Stage>,
    host: usize,
    life: Life,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "desk of host {}", self.host)
    }
}

/// The store as a host sees it, for as long as it lives.
pub fn store(stage: &Arc<Stage>, host: usize, life: &Life) -> Store {
    let desk = Desk { stage: Arc::clone(stage), host, life: life.clone() };
    let options = StoreOptions { retries: 0, timeout: Duration::from_hours(1), ..StoreOptions::default() };
    Store::with_driver(Box::new(desk), "simulated store", &options)
}

impl Desk {
    fn ask(&self, ask: Ask, path: &str) -> Result<Answer, StoreError> {
        let request = Request { ask, path: path.to_owned() };
        let (reply, answer) = sync_channel(1);
        {
            let mut seats = self.stage.seats();
            if self.life.0.load(Ordering::SeqCst) {
                return Err(request.fail(StoreErrorKind::Other));
            }
            seats[self.host].waiting.push_back(Waiting { request, reply });
        }
        self.stage.changed.notify_all();
        answer.recv().expect("every request is answered")
    }

    fn done(&self, ask: Ask, path: &str) -> Result<(), StoreError> {
        self.ask(ask, path).map(|_| ())
    }
}

impl Driver for Desk {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        async move {
            match self.ask(Ask::Get(part), path)? {
                Answer::Piece(piece) => Ok(piece),
                other => panic!("{other:?} is no answer to a GET"),
            }
        }
        .boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.done(if create { Ask::Create(bytes) } else { Ask::Put(bytes) }, path) }.boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let listed = async move {
            match self.ask(Ask::List, prefix) {
                Ok(Answer::Listed(found)) => found.into_iter().map(Ok).collect(),
                Ok(other) => panic!("{other:?} is no answer to a LIST"),
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(listed).flat_map(stream::iter).boxed()
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.done(Ask::Delete, path) }.boxed()
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        async move {
            match self.ask(Ask::Head, path)? {
                Answer::Info(info) => Ok(info),
                other => panic!("{other:?} is no answer to a HEAD"),
            }
        }
        .boxed()
    }
}
