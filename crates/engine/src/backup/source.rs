//! Reading a data directory: from the log alone where that is proven, else in full.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use repository::manifest::{self, Gap, Manifest};
use zk_connect::DataDirSpec;
use zk_connect::endpoint::LogDir;
use zk_connect::live::four_letter::srvr;
use zk_format::data_dir::{DataDir, ServerConfig};
use zk_format::increment::{BaseState, Increment, IncrementError, IncrementOptions, load_increment};
use zk_format::load::{LoadOptions, load};
use zk_format::replay::BaseStore;
use zk_format::{Node, Zxid, key};

use super::anchor;
use super::whole::Whole;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::live::follow::Followed;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::tree::SnapshotTree;
use crate::znode::Znode;

/// A server that does not answer within this does not hold up the backup.
const SRVR_TIME_OUT: Duration = Duration::from_secs(5);

/// From so many paths on, nodes are looked up together.
const FETCH_TOGETHER: usize = 64;

/// How to read.
#[derive(Debug)]
pub struct ReadOptions<'a> {
    /// Which nodes.
    pub filter: &'a Filter,
    /// The state right after this transaction.
    pub to_zxid: Option<Zxid>,
    /// Read everything.
    pub full: bool,
}

/// A state of the source.
#[derive(Debug)]
pub enum Read {
    /// What changed since the parent.
    Log(Box<Increment>),
    /// What watches told of since the parent.
    Watch(Box<Followed>),
    /// All of it.
    Full {
        /// The state.
        whole: Box<Whole>,
        /// Why the log was not enough; `None` where it was not asked for or there is no parent.
        reason: Option<String>,
    },
}

impl Read {
    /// What could not be read.
    pub fn gaps(&self) -> Vec<Gap> {
        match self {
            // Where something may not be read nothing is followed.
            Self::Log(_) | Self::Watch(_) => Vec::new(),
            Self::Full { whole, .. } => whole.gaps(),
        }
    }
}

/// Reads the source.
pub fn read(
    repo: &Repo,
    source: &DataDirSpec,
    parent: Option<&Manifest>,
    trusted: Option<&Manifest>,
    options: &ReadOptions<'_>,
    monitor: &dyn Monitor,
) -> Result<Read, EngineError> {
    let dir = open(source)?;
    let ask = || ask_server(source, monitor);
    let server_zxid: Option<&dyn Fn() -> Option<Zxid>> = source.srvr.is_some().then_some(&ask);
    let mut reason = None;
    if !options.full
        && let Some(parent) = parent
    {
        match base_state(parent, trusted, options.filter) {
            Ok(state) => {
                monitor.begin(Phase::Replaying, Unit::Transactions, None);
                let tree = repo.tree(parent)?;
                let found = load_increment(
                    &dir,
                    &Looked::new(&tree),
                    &state,
                    &IncrementOptions { to_zxid: options.to_zxid, server_zxid },
                );
                monitor.end(Phase::Replaying);
                match found {
                    Ok(increment) => return Ok(Read::Log(Box::new(increment))),
                    Err(IncrementError::Base(error)) => return Err(error),
                    Err(IncrementError::NeedFull(doubt)) => reason = Some(doubt.to_string()),
                }
            }
            Err(why) => reason = Some(why.to_owned()),
        }
    }
    if let Some(reason) = &reason {
        monitor.note(&format!("reading everything: {reason}"));
    }
    monitor.begin(Phase::Reading, Unit::Nodes, None);
    let loaded = load(&dir, &LoadOptions { to_zxid: options.to_zxid, server_zxid, ..LoadOptions::default() });
    monitor.end(Phase::Reading);
    let loaded = loaded.map_err(|error| reading(source, error))?;
    let whole = Whole::Files { loaded: Box::new(loaded), filter: options.filter.clone(), version: None };
    Ok(Read::Full { whole: Box::new(whole), reason })
}

fn reading(source: &DataDirSpec, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::with(
        ErrorKind::Failed,
        format!("reading {source}: nothing was stored; `zooark inspect` shows what is in its files"),
        error,
    )
}

/// The directories that an endpoint names.
pub fn open(source: &DataDirSpec) -> Result<DataDir, EngineError> {
    let dir = match &source.log {
        LogDir::Unsaid | LogDir::Same => DataDir::open(&source.path, None),
        LogDir::At(log) => DataDir::open(&source.path, Some(log)),
        LogDir::Config(file) => {
            ServerConfig::read(file).map_err(|error| reading(source, error))?;
            DataDir::from_config(file)
        }
    };
    dir.map_err(|error| reading(source, error))
}

fn ask_server(source: &DataDirSpec, monitor: &dyn Monitor) -> Option<Zxid> {
    match srvr(source.srvr.as_deref()?, SRVR_TIME_OUT) {
        Ok(state) => Some(state.zxid),
        Err(error) => {
            monitor.note(&error.to_string());
            None
        }
    }
}

/// What the parent offers to continue from, or why it does not.
fn base_state(parent: &Manifest, trusted: Option<&Manifest>, filter: &Filter) -> Result<BaseState, &'static str> {
    let fields = &parent.body.fields;
    if !filter.is_empty() {
        return Err("the log is not enough with --include or --exclude");
    }
    if trusted.is_none_or(|trusted| trusted.id != parent.id) {
        return Err("the last snapshot is suspect or incomplete");
    }
    if fields.consistency != manifest::Consistency::Exact {
        return Err("the last snapshot is fuzzy");
    }
    let Some((anchor, place)) = anchor::decode(&fields.source.anchor) else {
        return Err("the last snapshot ends with no record of the log");
    };
    Ok(BaseState { anchor, place, digest: fields.tree_digest.map(|(digest, _)| digest) })
}

/// The parent snapshot as the state that the log continues.
struct Looked<'t, 'm> {
    tree: &'t SnapshotTree<'m>,
    /// Nodes fetched together, until they are asked for.
    ready: RefCell<HashMap<Vec<u8>, Option<Node>>>,
}

impl<'t, 'm> Looked<'t, 'm> {
    fn new(tree: &'t SnapshotTree<'m>) -> Self {
        Self { tree, ready: RefCell::default() }
    }
}

/// A znode without its path.
fn node(found: Znode) -> Node {
    Node { data: found.data.map(Into::into), acl: found.acl, stat: found.stat }
}

impl BaseStore for Looked<'_, '_> {
    type Error = EngineError;

    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, EngineError> {
        if let Some(found) = self.ready.borrow_mut().remove(path) {
            return Ok(found);
        }
        Ok(self.tree.node(path)?.map(node))
    }

    fn prepare(&self, mut paths: Vec<Vec<u8>>) -> Result<(), EngineError> {
        // A few are found faster one by one.
        if paths.len() < FETCH_TOGETHER {
            return Ok(());
        }
        paths.sort_unstable_by(|a, b| key::compare(a, b));
        paths.dedup();
        let found = self.tree.nodes(&paths)?;
        let mut ready = self.ready.borrow_mut();
        ready.clear();
        ready.extend(paths.into_iter().zip(found.into_iter().map(|found| found.map(node))));
        Ok(())
    }

    /// Finding them would need the whole tree: a full read does that better.
    fn ephemerals_of(&self, _: i64) -> Result<Option<Vec<Vec<u8>>>, EngineError> {
        Ok(None)
    }
}
