//! The scan proper: a list of what is to be read, and workers on every connection that take from it and add to it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use tokio::sync::Notify;
use zk_format::path::{display, validate_stored_name};
use zk_format::{AclList, NodeRef};

use super::batch::{self, Acl, Manner, Task};
use super::one_time::Paths;
use super::pace::Pace;
use super::{ScanError, ScanOptions, Sink, Span, Unreadable};
use crate::live::error::LiveError;
use crate::live::{Client, Code, NodeStat, OpResult};

/// Reads in a frame, at most.
const MOST_IN_BATCH: usize = 400;
/// What an answer should come to, about: servers build it in memory.
const BATCH_BYTES: usize = 1 << 20;
/// Frames under way on a connection.
const WINDOW: usize = 4;
/// What asking for an ACL counts as: a request of its own costs a server as much as ten reads in a batch, or more.
const ACL_COST: usize = 10;
/// What a node is taken to have before any was read.
const FIRST_GUESS: usize = 512;

/// What all workers share.
pub struct State {
    pub span: Span,
    pub acl_span: Span,
    pub unreadable: BTreeMap<Vec<u8>, Unreadable>,
    /// Nodes under watches that fire once, where such are set.
    pub watched: Option<Paths>,
    read: u64,
    open: Vec<Task>,
    busy: usize,
    /// Bytes of an answer to one read, lately.
    usual: usize,
}

impl State {
    /// Nothing read yet. `watched` where every node is to be put under watches that fire once.
    pub fn new(watched: Option<Paths>) -> Self {
        Self {
            span: Span::NONE,
            acl_span: Span::NONE,
            unreadable: BTreeMap::new(),
            watched,
            read: 0,
            open: vec![Task::Data(Vec::new())],
            busy: 0,
            usual: FIRST_GUESS,
        }
    }
}

struct Shared<'a> {
    state: Mutex<State>,
    /// Where the nodes go; locked before `state`, never after.
    sink: Mutex<&'a mut dyn Sink>,
    changed: Notify,
    pace: Pace,
    options: &'a ScanOptions<'a>,
    batched: bool,
}

/// Reads everything.
pub async fn read_all(
    clients: &[Client],
    batched: bool,
    options: &ScanOptions<'_>,
    sink: &mut dyn Sink,
) -> Result<State, ScanError> {
    let shared = Shared {
        state: Mutex::new(State::new((!batched).then(Paths::default))),
        sink: Mutex::new(sink),
        changed: Notify::new(),
        pace: Pace::new(options.max_rate),
        options,
        batched,
    };
    let workers = clients.iter().flat_map(|client| (0..WINDOW).map(|_| worker(client, &shared)));
    try_join_all(workers).await?;
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if state.read == 0 {
        let host = clients.first().map(Client::host).unwrap_or_default();
        let path = clients.first().map(|client| client.on_wire(b"")).unwrap_or_default();
        let path = display(&path).to_string();
        return Err(LiveError::Server { operation: "getData", path, host, code: Code::NO_NODE }.into());
    }
    Ok(state)
}

async fn worker(client: &Client, shared: &Shared<'_>) -> Result<(), ScanError> {
    loop {
        if shared.options.control.cancelled() {
            return Err(ScanError::Stopped);
        }
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        let (tasks, usual, watch) = {
            let mut state = shared.lock();
            let most = shared.pace.portion((BATCH_BYTES / state.usual.max(1)).clamp(4, MOST_IN_BATCH), 1);
            let count = most.min(state.open.len());
            let from = state.open.len() - count;
            let tasks = state.open.split_off(from);
            if tasks.is_empty() {
                if state.busy == 0 {
                    return Ok(());
                }
                (tasks, 0, false)
            } else {
                state.busy += 1;
                (tasks, state.usual, state.watched.as_ref().is_some_and(Paths::has_room))
            }
        };
        if tasks.is_empty() {
            changed.await;
            continue;
        }
        shared.pace.wait(tasks.len()).await;
        let outcome = shared.work(client, &tasks, usual, watch).await;
        shared.lock().busy -= 1;
        shared.changed.notify_waiters();
        outcome?;
    }
}

/// A node that was read and has no ACL yet.
struct Found {
    path: Vec<u8>,
    data: Option<Vec<u8>>,
    stat: NodeStat,
    acl: Option<AclList>,
    unreadable: Unreadable,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, client: &Client, tasks: &[Task], usual: usize, watch: bool) -> Result<(), ScanError> {
        let manner = if self.batched { Manner::Batched } else { Manner::Pipelined { watch } };
        let (mut span, mut acl_span) = (Span::NONE, Span::NONE);
        let expected = usual.saturating_mul(tasks.len());
        let results = batch::read(client, manner, tasks, expected, &mut span).await?;
        let mut found = Vec::new();
        let mut next = Vec::new();
        let mut closed = Vec::new();
        let mut bytes = 0usize;
        for (task, result) in tasks.iter().zip(results) {
            match (task, result) {
                (Task::Data(path), OpResult::Data(data, stat)) => {
                    bytes += data.as_ref().map_or(0, Vec::len) + NodeStat::BYTES;
                    let acl = self.options.known.get(path, &stat.persisted()).cloned();
                    found.push(Found { path: path.clone(), data, stat, acl, unreadable: Unreadable::default() });
                }
                (Task::Data(path), OpResult::Failed(Code::NO_AUTH)) => closed.push(path.clone()),
                (Task::Children(path), OpResult::Children(names)) => {
                    bytes += names.iter().map(|name| name.len() + 4).sum::<usize>();
                    next.extend(children(path, &names, self.options.wanted)?.into_iter().map(Task::Data));
                }
                // Deleted since its parent was listed, or unreadable like its data.
                (_, OpResult::Failed(Code::NO_NODE | Code::NO_AUTH)) => {}
                (task, OpResult::Failed(code)) => {
                    let path = display(task.path()).to_string();
                    return Err(LiveError::Server { operation: "read", path, host: client.host(), code }.into());
                }
                (task, _) => return Err(mixed_up(client, task.path()).into()),
            }
        }
        found.extend(self.outsides(client, closed, &mut span).await?);
        self.add_acls(client, &mut found, &mut acl_span).await?;
        self.emit(found, next, (span, acl_span), bytes / tasks.len().max(1))
    }

    /// Nodes that may not be read, with what is to be seen of them.
    async fn outsides(&self, client: &Client, paths: Vec<Vec<u8>>, span: &mut Span) -> Result<Vec<Found>, ScanError> {
        let mut found = Vec::new();
        for path in paths {
            let Some(stat) = batch::stat_of_closed(client, &path, span).await? else { continue };
            let acl = self.options.known.get(&path, &stat.persisted()).cloned();
            found.push(Found { path, data: None, stat, acl, unreadable: Unreadable::closed(&stat) });
        }
        Ok(found)
    }

    async fn add_acls(&self, client: &Client, found: &mut [Found], span: &mut Span) -> Result<(), ScanError> {
        let wanted: Vec<&[u8]> =
            found.iter().filter(|node| node.acl.is_none()).map(|node| node.path.as_slice()).collect();
        let mut acls = Vec::with_capacity(wanted.len());
        for portion in wanted.chunks(self.pace.portion(wanted.len(), ACL_COST)) {
            self.pace.wait(portion.len() * ACL_COST).await;
            acls.extend(batch::read_acls(client, portion, span).await?);
        }
        let mut acls = acls.into_iter();
        for node in found.iter_mut().filter(|node| node.acl.is_none()) {
            match acls.next() {
                Some(Acl::Known(list, stat)) => {
                    node.acl = Some(list);
                    // The list is that of this version, also where it changed since the data was read.
                    node.stat.aversion = if stat.czxid == node.stat.czxid { stat.aversion } else { node.stat.aversion };
                }
                // Deleted in between: it was there with this list or another, and a watch tells of it.
                Some(Acl::Hidden | Acl::Gone) | None => node.unreadable.acl = true,
            }
        }
        Ok(())
    }

    fn emit(
        &self,
        found: Vec<Found>,
        next: Vec<Task>,
        spans: (Span, Span),
        bytes_each: usize,
    ) -> Result<(), ScanError> {
        let count = found.len() as u64;
        // Held to the end: parents come before their children, which are to be read from then on.
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        for Found { path, data, stat, acl, .. } in &found {
            let node = NodeRef { path, data: data.as_deref(), acl: acl.as_ref(), stat: stat.persisted() };
            sink.node(&node).map_err(ScanError::Keeping)?;
        }
        let mut state = self.lock();
        state.read += count;
        for node in found {
            let Found { path, stat, unreadable, .. } = node;
            if unreadable != Unreadable::default() {
                state.unreadable.insert(path.clone(), unreadable);
            }
            // A child of one that has none so far is told by a watch on its children alone.
            let watched = state.watched.as_mut().is_some_and(|watched| watched.add(&path));
            if (stat.children > 0 || watched) && !unreadable.children {
                state.open.push(Task::Children(path));
            }
        }
        state.open.extend(next);
        state.span = state.span.and(spans.0);
        state.acl_span = state.acl_span.and(spans.1);
        // Up at once and down slowly: large nodes lie together.
        state.usual = bytes_each.max(state.usual.saturating_mul(7) / 8).max(64);
        drop(state);
        drop(sink);
        self.options.control.read(count);
        Ok(())
    }
}

/// The paths of children that are of interest, from the names that a server gave.
pub fn children(
    parent: &[u8],
    names: &[Vec<u8>],
    wanted: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Vec<Vec<u8>>, ScanError> {
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        let valid = if name.contains(&b'/') {
            Err(zk_format::path::PathProblem::EmptyName)
        } else {
            validate_stored_name(name)
        };
        valid.map_err(|source| ScanError::ChildName { parent: display(parent).to_string(), source })?;
        let path = [parent, b"/", name].concat();
        if wanted(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// An answer of another kind than was asked for.
pub fn mixed_up(client: &Client, path: &[u8]) -> LiveError {
    LiveError::Answer {
        operation: "multiRead",
        path: display(path).to_string(),
        host: client.host(),
        source: zk_format::jute::JuteError::Trailing { offset: 0, extra: 0 },
    }
}
