//! What changed during a scan is read again, on the connection whose watch told of it: an answer there comes after
//! every event of the state that it is from.

use std::collections::BTreeSet;
use std::sync::Arc;

use zk_format::replay::{MergedTree, Touched};
use zk_format::tree::FlatTree;
use zk_format::{Node, key};

use super::batch::{self, Acl, Manner, Task};
use super::work::{State, mixed_up};
use super::{ScanError, ScanOptions, Unreadable, missed};
use crate::live::error::LiveError;
use crate::live::{Client, Code, Event, EventKind, OpResult};

/// Rounds of reading again before a tree that never rests is taken as it is.
pub const MOST_ROUNDS: usize = 8;
/// More changes than this are not chased: the scan is repeated sooner.
pub const MOST_PATHS: usize = 200_000;
pub const BATCH: usize = 200;
const EXPECTED_BYTES: usize = 512;
/// Why reading again ended before its end.
pub const TOO_FAST: &str = "the ensemble changes faster than it can be read: the last changes were not read again";

/// What reading again gave.
#[derive(Default)]
pub struct CatchUp {
    /// The nodes as they are now; `None` where they are gone.
    pub nodes: std::collections::HashMap<Vec<u8>, Option<Node>>,
    /// Why not everything that changed was read again.
    pub why: Option<&'static str>,
    /// Whether that was the loss of the watch.
    pub watch_lost: bool,
    /// Whether some of what the watch told was not read again and is not told a second time.
    pub dropped: bool,
}

/// Reads again what the watch told of, `told` and what comes meanwhile, until it tells nothing more.
pub async fn catch_up(
    watcher: &Client,
    mut told: BTreeSet<Vec<u8>>,
    options: &ScanOptions<'_>,
    state: &mut State,
) -> Result<CatchUp, ScanError> {
    let mut end = CatchUp::default();
    for _ in 0..MOST_ROUNDS {
        if options.control.cancelled() {
            return Err(ScanError::Stopped);
        }
        // After its answer every event of what was committed until now has arrived.
        let zxid = watcher.sync(b"").await?;
        let events = watcher.events().take();
        if missed(&events) {
            end.watch_lost = true;
            end.why = Some("the connection with the watch was lost: what changed meanwhile was not read again");
            return Ok(end);
        }
        let mut paths = changed(watcher, &events, options.wanted);
        paths.append(&mut told);
        if paths.is_empty() {
            if !end.nodes.is_empty() {
                state.span.add(zxid);
            }
            return Ok(end);
        }
        if paths.len() > MOST_PATHS {
            end.dropped = true;
            break;
        }
        let paths: Vec<Vec<u8>> = paths.into_iter().collect();
        for part in paths.chunks(BATCH) {
            read_again(watcher, Manner::Batched, part, state, &mut end).await?;
        }
    }
    end.why = Some(TOO_FAST);
    Ok(end)
}

/// The nodes to read again because of these events.
pub fn changed(watcher: &Client, events: &[Event], wanted: &(dyn Fn(&[u8]) -> bool + Sync)) -> BTreeSet<Vec<u8>> {
    let mut paths = BTreeSet::new();
    for event in events {
        let Event::Watch(event) = event else { continue };
        let Some(path) = watcher.relative(&event.path) else { continue };
        if !(path.is_empty() || wanted(&path)) {
            continue;
        }
        // Children come and go with a change of the parent's stat, of which no event tells.
        if matches!(event.kind, EventKind::Created | EventKind::Deleted)
            && let Some(parent) = key::parent(&path)
        {
            paths.insert(parent.to_vec());
        }
        if event.kind != EventKind::Session {
            paths.insert(path);
        }
    }
    paths
}

/// Reads these nodes again, with their ACLs.
pub async fn read_again(
    watcher: &Client,
    manner: Manner,
    paths: &[Vec<u8>],
    state: &mut State,
    end: &mut CatchUp,
) -> Result<(), ScanError> {
    let tasks: Vec<Task> = paths.iter().cloned().map(Task::Data).collect();
    let results = batch::read(watcher, manner, &tasks, EXPECTED_BYTES * tasks.len(), &mut state.span).await?;
    let asked: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
    let acls = batch::read_acls(watcher, &asked, &mut state.acl_span).await?;
    for ((path, result), acl) in paths.iter().zip(results).zip(acls) {
        let mut unreadable = Unreadable::default();
        let (data, mut stat) = match result {
            OpResult::Data(data, stat) => (data, stat),
            OpResult::Failed(Code::NO_NODE) => {
                end.nodes.insert(path.clone(), None);
                state.unreadable.remove(path);
                continue;
            }
            OpResult::Failed(Code::NO_AUTH) => {
                let Some(stat) = batch::stat_of_closed(watcher, path, &mut state.span).await? else { continue };
                unreadable = Unreadable::closed(&stat);
                (None, stat)
            }
            OpResult::Failed(code) => {
                let path = zk_format::path::display(path).to_string();
                return Err(LiveError::Server { operation: "read", path, host: watcher.host(), code }.into());
            }
            _ => return Err(mixed_up(watcher, path).into()),
        };
        let list = match acl {
            Acl::Known(list, now) => {
                stat.aversion = if now.czxid == stat.czxid { now.aversion } else { stat.aversion };
                Some(list)
            }
            Acl::Hidden | Acl::Gone => {
                unreadable.acl = true;
                None
            }
        };
        if unreadable == Unreadable::default() {
            state.unreadable.remove(path);
        } else {
            state.unreadable.insert(path.clone(), unreadable);
        }
        let node = Node { data: data.map(Arc::from), acl: list, stat: stat.persisted() };
        end.nodes.insert(path.clone(), Some(node));
    }
    Ok(())
}

/// The scanned tree with the nodes that were read again laid over it. What lost its parent is left out: it is gone,
/// and the event that says so was on its way.
pub fn lay_over(base: FlatTree, nodes: std::collections::HashMap<Vec<u8>, Option<Node>>) -> MergedTree {
    let mut touched: Vec<(Vec<u8>, Option<Node>)> = nodes.into_iter().collect();
    touched.sort_by(|a, b| key::compare(&a.0, &b.0));
    let mut kept: Vec<Touched> = Vec::with_capacity(touched.len());
    for (path, new) in touched {
        let old = base.find(&path).map(|place| {
            let node = base.node(place);
            Node { data: node.data.map(Arc::from), acl: node.acl.cloned(), stat: node.stat }
        });
        let parent_is_there = key::parent(&path).is_none_or(|parent| {
            match kept.binary_search_by(|touched| key::compare(&touched.path, parent)) {
                Ok(at) => kept.get(at).is_some_and(|touched| touched.new.is_some()),
                Err(_) => base.find(parent).is_some(),
            }
        });
        let new = new.filter(|_| parent_is_there);
        if old.is_some() || new.is_some() {
            kept.push(Touched { path: path.into(), old, new });
        }
    }
    MergedTree::new(base, kept)
}
