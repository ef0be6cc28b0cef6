//! What changed during a scan of servers before 3.6: they have no watch over a whole tree, but one can be set with each
//! read. It fires once, so that whatever it told of is read and watched again, until nothing is told any more.
//!
//! An event may come over any of the connections, and its node be read again over another, whose server may be behind.
//! Nothing is lost by that: the read sets a watch there, and that one tells when the change arrives. After a lost
//! connection the client sets its watches again by the last state it saw, and the server fires those of what changed
//! since.
//!
//! Watches are kept in the server's memory, two for each node; so they are bounded, and an ensemble with more nodes is
//! read without.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use zk_format::key;

use super::batch::{self, Manner, Task};
use super::catch_up::{BATCH, CatchUp, MOST_PATHS, MOST_ROUNDS, TOO_FAST, read_again};
use super::work::{State, children, mixed_up};
use super::{ScanError, ScanOptions, missed};
use crate::live::error::LiveError;
use crate::live::{Client, Code, Event, EventKind, OpResult};

/// Nodes that are watched. A server keeps some 200 bytes for each.
const MOST_WATCHED: usize = 200_000;
const TOO_MANY: &str = "these servers have no recursive watches (3.6 has them), and more nodes than are watched one by \
                        one: what changed during the scan was not read again";
const EVENTS_LOST: &str = "more changed than is kept of what the watches tell: what changed was not read again";

/// Paths that were read, as eight bytes each under a key that nobody knows.
#[derive(Debug, Default)]
pub struct Paths {
    known: HashSet<u64>,
    key: RandomState,
    overflowed: bool,
}

impl Paths {
    /// Whether nodes are watched still: not once there were too many.
    pub const fn has_room(&self) -> bool {
        !self.overflowed
    }

    /// Adds one; `false` where there is no room.
    pub fn add(&mut self, path: &[u8]) -> bool {
        if !self.overflowed && self.known.len() < MOST_WATCHED {
            self.known.insert(self.key.hash_one(path));
        } else {
            self.overflowed = true;
            self.known = HashSet::new();
        }
        !self.overflowed
    }

    fn has(&self, path: &[u8]) -> bool {
        self.known.contains(&self.key.hash_one(path))
    }
}

/// What the watches of all connections told.
#[derive(Debug, Default)]
struct Told {
    /// Nodes to read again.
    nodes: BTreeSet<Vec<u8>>,
    /// Nodes whose children are to be listed again.
    parents: BTreeSet<Vec<u8>>,
    /// Nodes that were gone, and every watch on them with them.
    gone: HashSet<Vec<u8>>,
}

/// Reads again what the watches told of, and what is new, until they tell nothing more.
pub async fn catch_up(clients: &[Client], options: &ScanOptions<'_>, state: &mut State) -> Result<CatchUp, ScanError> {
    let mut end = CatchUp::default();
    let Some(mut paths) = state.watched.take().filter(Paths::has_room) else {
        end.why = Some(TOO_MANY);
        return Ok(end);
    };
    let Some(reader) = clients.first() else { return Ok(end) };
    for _ in 0..MOST_ROUNDS {
        if options.control.cancelled() {
            return Err(ScanError::Stopped);
        }
        let Some(told) = told(clients, options).await? else {
            end.why = Some(EVENTS_LOST);
            return Ok(end);
        };
        if told.nodes.is_empty() && told.parents.is_empty() {
            return Ok(end);
        }
        if told.nodes.len() + told.parents.len() > MOST_PATHS {
            break;
        }
        again(reader, &told, options, state, &mut paths, &mut end).await?;
        if !paths.has_room() {
            end.why = Some(TOO_MANY);
            return Ok(end);
        }
    }
    end.why = Some(TOO_FAST);
    Ok(end)
}

/// What was told of everything that was committed by now; `None` where some of it was lost.
async fn told(clients: &[Client], options: &ScanOptions<'_>) -> Result<Option<Told>, ScanError> {
    let mut told = Told::default();
    for client in clients {
        // After its answer every event of what was committed until now has arrived.
        client.sync(b"").await?;
        let events = client.events().take();
        if missed(&events) {
            return Ok(None);
        }
        for event in events {
            let Event::Watch(event) = event else { continue };
            let Some(path) = client.relative(&event.path) else { continue };
            if !(path.is_empty() || (options.wanted)(&path)) {
                continue;
            }
            match event.kind {
                EventKind::Session => {}
                EventKind::ChildrenChanged => {
                    told.parents.insert(path);
                }
                kind => {
                    if kind == EventKind::Deleted {
                        told.gone.insert(path.clone());
                    }
                    told.nodes.insert(path);
                }
            }
        }
    }
    Ok(Some(told))
}

/// One round: the told nodes, and children that nobody has seen yet with all that lies below them.
async fn again(
    reader: &Client,
    told: &Told,
    options: &ScanOptions<'_>,
    state: &mut State,
    paths: &mut Paths,
    end: &mut CatchUp,
) -> Result<(), ScanError> {
    let manner = Manner::Pipelined { watch: true };
    // Where children come and go the parent's stat changes.
    let mut nodes: Vec<Vec<u8>> = told.nodes.union(&told.parents).cloned().collect();
    let mut parents: Vec<Vec<u8>> = told.parents.iter().cloned().collect();
    while !(nodes.is_empty() && parents.is_empty()) && paths.has_room() {
        for part in nodes.chunks(BATCH) {
            read_again(reader, manner, part, state, end).await?;
            let there = |path: &&Vec<u8>| end.nodes.get(*path).is_some_and(Option::is_some);
            for path in part.iter().filter(there) {
                if !paths.has(path) || told.gone.contains(path) {
                    parents.push(path.clone());
                }
                paths.add(path);
            }
        }
        nodes.clear();
        parents.sort_unstable_by(|a, b| key::compare(a, b));
        parents.dedup();
        for part in std::mem::take(&mut parents).chunks(BATCH) {
            let tasks: Vec<Task> = part.iter().cloned().map(Task::Children).collect();
            let results = batch::read(reader, manner, &tasks, 512 * tasks.len(), &mut state.span).await?;
            for (parent, result) in part.iter().zip(results) {
                match result {
                    OpResult::Children(names) => {
                        let new = children(parent, &names, options.wanted)?;
                        nodes.extend(new.into_iter().filter(|path| !paths.has(path)));
                    }
                    // It is gone, which its own watch tells, or may not be read, which reading it found.
                    OpResult::Failed(Code::NO_NODE | Code::NO_AUTH) => {}
                    OpResult::Failed(code) => {
                        let path = zk_format::path::display(parent).to_string();
                        return Err(LiveError::Server { operation: "read", path, host: reader.host(), code }.into());
                    }
                    _ => return Err(mixed_up(reader, parent).into()),
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_until_there_are_too_many() {
        let mut paths = Paths::default();
        assert!(paths.add(b"/a") && paths.has(b"/a") && !paths.has(b"/b"));
        assert!((0..MOST_WATCHED - 1).all(|number| paths.add(&number.to_be_bytes())));
        assert!(paths.has_room() && !paths.add(b"/one-more") && !paths.has_room());
        assert!(!paths.has(b"/a") && !paths.add(b"/a"));
    }
}
