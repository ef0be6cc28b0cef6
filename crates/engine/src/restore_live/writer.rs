//! Sends writes in transactions of bounded size, several under way, in order.
//!
//! A transaction that fails is taken apart and its writes are sent one by one, each judged by itself: what somebody else
//! changed meanwhile is found by its version and left alone. Where an answer was lost, the node is looked at before
//! anything is said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc::Receiver;
use zk_connect::live::{Client, Code, CreateMode, LiveError, Op, OpResult};
use zk_format::AclList;

use super::plan::Said;
use crate::monitor::{Monitor, Phase};

/// Transactions under way.
const WINDOW: usize = 4;
/// Writes without a transaction under way.
const WINDOW_OF_SINGLES: usize = 256;
/// Parts of a transaction.
const MOST_OPS: usize = 1000;
/// Bytes of a transaction. It has to pass `jute.maxbuffer` as a request, and with headers as a record of the log.
const MOST_BYTES: usize = 256 << 10;
/// Steps of a counter in one transaction.
const STEPS_AT_ONCE: i32 = 400;
/// How long a server may be away: an election takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);
/// The name of the child by which a counter is raised.
const COUNTER_CHILD: &[u8] = b"/zooark-counter";

/// A write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates a node; `over` is the version of an ephemeral one to be deleted with it.
    Create {
        /// Its path.
        path: Vec<u8>,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// Its first ACL.
        acl: AclList,
        /// Its type.
        mode: CreateMode,
        /// See above.
        over: Option<i32>,
    },
    /// Sets data.
    Set {
        /// The node.
        path: Vec<u8>,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// The version it has.
        version: i32,
    },
    /// Deletes.
    Delete {
        /// The node.
        path: Vec<u8>,
        /// The version it has.
        version: i32,
    },
    /// Raises a counter.
    Raise {
        /// The parent.
        path: Vec<u8>,
        /// The child that is created and deleted.
        child: Vec<u8>,
        /// Where it stands.
        from: i32,
        /// Where to.
        to: i32,
    },
}

/// Sets an ACL, where that has a version.
#[derive(Clone, Debug)]
pub struct Tighten {
    /// The node.
    pub path: Vec<u8>,
    /// The ACL.
    pub acl: AclList,
    /// The version of the present one.
    pub version: i32,
}

/// Why writing ended before its end.
#[derive(Debug)]
pub enum Stopped {
    /// A failure that is not of a single node.
    Failed(LiveError),
    /// Asked to stop.
    Cancelled,
}

impl From<LiveError> for Stopped {
    fn from(error: LiveError) -> Self {
        Self::Failed(error)
    }
}

impl Write {
    /// A counter from here to there, in pieces that fit into a transaction.
    pub fn raises(path: &[u8], from: i32, to: i32) -> impl Iterator<Item = Self> {
        let pieces = (from..to).step_by(usize::try_from(STEPS_AT_ONCE).unwrap_or(1));
        pieces.map(move |start| Self::Raise {
            path: path.to_vec(),
            child: [path, COUNTER_CHILD].concat(),
            from: start,
            to: to.min(start.saturating_add(STEPS_AT_ONCE)),
        })
    }

    fn path(&self) -> &[u8] {
        match self {
            Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. }
            | Self::Raise { path, .. } => path,
        }
    }

    fn ops<'a>(&'a self, world: &'a AclList, to: &mut Vec<Op<'a>>) {
        match self {
            Self::Create { path, data, acl, mode, over } => {
                to.extend(over.map(|version| Op::Delete { path, version }));
                to.push(Op::Create { path, data: data.as_deref(), acl, mode: *mode });
            }
            Self::Set { path, data, version } => {
                to.push(Op::SetData { path, data: data.as_deref(), version: *version });
            }
            Self::Delete { path, version } => to.push(Op::Delete { path, version: *version }),
            Self::Raise { child, from, to: end, .. } => {
                for _ in *from..*end {
                    to.push(Op::Create { path: child, data: None, acl: world, mode: CreateMode::Persistent });
                    to.push(Op::Delete { path: child, version: 0 });
                }
            }
        }
    }

    /// Parts and bytes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Create { path, data, acl, over, .. } => {
                let parts = 1 + usize::from(over.is_some());
                (parts, parts * (path.len() + 32) + data.as_ref().map_or(0, Vec::len) + acl.0.len())
            }
            Self::Set { path, data, .. } => (1, path.len() + 32 + data.as_ref().map_or(0, Vec::len)),
            Self::Delete { path, .. } => (1, path.len() + 32),
            Self::Raise { child, from, to, .. } => {
                let steps = usize::try_from(to.saturating_sub(*from)).unwrap_or(0);
                (2 * steps, 2 * steps * (child.len() + 48))
            }
        }
    }
}

/// Writes that become one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<Write>,
    ops: usize,
    bytes: usize,
}

impl Batch {
    /// Adds a write; gives the batch to send first where it has no room for that.
    pub fn add(&mut self, write: Write) -> Option<Self> {
        let (ops, bytes) = write.size();
        let full = !self.writes.is_empty() && (self.ops + ops > MOST_OPS || self.bytes + bytes > MOST_BYTES);
        let sent = full.then(|| std::mem::take(self));
        self.ops += ops;
        self.bytes += bytes;
        self.writes.push(write);
        sent
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// See the module's head.
pub struct Writer<'a> {
    client: &'a Client,
    monitor: &'a dyn Monitor,
    failures: Mutex<Vec<Said>>,
    applied: AtomicU64,
}

impl<'a> Writer<'a> {
    /// Over this session.
    pub fn new(client: &'a Client, monitor: &'a dyn Monitor) -> Self {
        Self { client, monitor, failures: Mutex::default(), applied: AtomicU64::new(0) }
    }

    /// What could not be written, and why.
    pub fn failures(self) -> Vec<Said> {
        self.failures.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes that the servers confirmed.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Sends what comes, until no more does.
    pub async fn write(&self, mut batches: Receiver<Batch>) -> Result<(), Stopped> {
        let mut under_way = FuturesOrdered::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            if self.monitor.cancelled() {
                return Err(Stopped::Cancelled);
            }
            tokio::select! {
                biased;
                Some((batch, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    let batch: Batch = batch;
                    if all_done(&outcome) {
                        self.done(batch.writes.len() as u64);
                    } else {
                        let doubt = outcome.is_err();
                        fatal(outcome)?;
                        self.one_by_one(&batch, doubt).await?;
                    }
                }
                batch = batches.recv(), if open && under_way.len() < WINDOW => match batch {
                    Some(batch) => under_way.push_back(self.transaction(batch)),
                    None => open = false,
                },
            }
        }
        Ok(())
    }

    async fn transaction(&self, batch: Batch) -> (Batch, Result<Vec<OpResult>, LiveError>) {
        let world = AclList::world();
        let outcome = {
            let mut ops = Vec::with_capacity(batch.ops);
            for write in &batch.writes {
                write.ops(&world, &mut ops);
            }
            self.client.multi_plain(&ops).await
        };
        (batch, outcome)
    }

    /// `doubt` where all of it may have happened.
    async fn one_by_one(&self, batch: &Batch, doubt: bool) -> Result<(), Stopped> {
        for write in &batch.writes {
            if self.monitor.cancelled() {
                return Err(Stopped::Cancelled);
            }
            match write {
                Write::Raise { path, to, .. } => self.raise(path, *to).await?,
                write => self.one(write, doubt).await?,
            }
        }
        Ok(())
    }

    async fn one(&self, write: &Write, earlier_doubt: bool) -> Result<(), Stopped> {
        let world = AclList::world();
        let mut ops = Vec::new();
        write.ops(&world, &mut ops);
        let (code, doubt) = self.until_answered(async || Ok(failure(&self.client.multi_plain(&ops).await?))).await?;
        match code {
            None => self.done(1),
            Some(code) => self.judge(write, code, doubt || earlier_doubt).await?,
        }
        Ok(())
    }

    /// Repeats what a lost connection left open; tells whether an earlier attempt may have happened.
    async fn until_answered<T>(&self, attempt: impl AsyncFn() -> Result<T, LiveError>) -> Result<(T, bool), Stopped> {
        let started = Instant::now();
        let mut doubt = false;
        loop {
            match attempt().await {
                Ok(answer) => return Ok((answer, doubt)),
                Err(error) if is_passing(&error) && started.elapsed() < PATIENCE => {
                    doubt = true;
                    if self.monitor.cancelled() {
                        return Err(Stopped::Cancelled);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A write that the server refused: already done, or somebody else's doing, or not possible.
    async fn judge(&self, write: &Write, code: Code, doubt: bool) -> Result<(), Stopped> {
        let path = write.path();
        let why = match (write, code) {
            (Write::Delete { .. }, Code::NO_NODE) => return self.fine(),
            (Write::Create { data, .. }, _) if doubt || code == Code::NODE_EXISTS => {
                if code == Code::NODE_EXISTS || code == Code::BAD_VERSION {
                    if self.holds(path, data.as_deref()).await? {
                        return self.fine();
                    }
                    "somebody created it meanwhile, with other data: left as it is".to_owned()
                } else {
                    code.to_string()
                }
            }
            (Write::Create { data, acl, mode, over: Some(_), path }, Code::NO_NODE) => {
                // The ephemeral node went by itself.
                let alone =
                    Write::Create { path: path.clone(), data: data.clone(), acl: acl.clone(), mode: *mode, over: None };
                return Box::pin(self.one(&alone, doubt)).await;
            }
            (Write::Create { .. }, Code::NO_NODE) => "its parent is not there".to_owned(),
            (Write::Set { data, .. }, Code::BAD_VERSION) if doubt => {
                if self.holds(path, data.as_deref()).await? {
                    return self.fine();
                }
                "somebody changed it meanwhile: left as it is".to_owned()
            }
            (_, Code::BAD_VERSION) => "somebody changed it meanwhile: left as it is".to_owned(),
            (Write::Set { .. }, Code::NO_NODE) => "somebody deleted it meanwhile".to_owned(),
            (_, Code::NOT_EMPTY) => "somebody created something below it meanwhile: left as it is".to_owned(),
            _ => code.to_string(),
        };
        self.fail(path, why);
        Ok(())
    }

    async fn holds(&self, path: &[u8], data: Option<&[u8]>) -> Result<bool, Stopped> {
        let read = async || match self.client.get_data(path).await {
            Ok(read) => Ok(read.value.0.as_deref() == data),
            Err(error) if error.code().is_some() => Ok(false),
            Err(error) => Err(error),
        };
        Ok(self.until_answered(read).await?.0)
    }

    /// Raises a counter from wherever it stands.
    pub async fn raise(&self, path: &[u8], to: i32) -> Result<(), Stopped> {
        let (world, child) = (AclList::world(), [path, COUNTER_CHILD].concat());
        loop {
            let (stat, _) = self.until_answered(async || self.client.exists(path).await).await?;
            let Some(stat) = stat else {
                self.fail(path, "its counter cannot be raised: it is not there");
                return Ok(());
            };
            let stands = stat.value.persisted_cversion();
            if stands >= to {
                return self.fine();
            }
            let end = to.min(stands.saturating_add(STEPS_AT_ONCE));
            let piece = Write::Raise { path: path.to_vec(), child: child.clone(), from: stands, to: end };
            let mut ops = Vec::new();
            piece.ops(&world, &mut ops);
            match self.client.multi_plain(&ops).await {
                Ok(results) => {
                    if let Some(code) = failure(&results) {
                        self.fail(path, format!("its counter cannot be raised: {code}"));
                        return Ok(());
                    }
                }
                // What came of it is seen in the stat.
                Err(error) if is_passing(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Raises a data version by writing; every transaction ends with the real data.
    pub async fn raise_version(&self, path: &[u8], data: Option<&[u8]>, to: i32) -> Result<(), Stopped> {
        loop {
            let (stat, _) = self.until_answered(async || self.client.exists(path).await).await?;
            let Some(stat) = stat.map(|read| read.value) else {
                self.fail(path, "its version cannot be raised: it is not there");
                return Ok(());
            };
            if stat.version >= to {
                return self.fine();
            }
            let end = to.min(stat.version.saturating_add(STEPS_AT_ONCE));
            let set = |version| Op::SetData { path, data: if version + 1 == end { data } else { None }, version };
            let ops: Vec<Op<'_>> = (stat.version..end).map(set).collect();
            match self.client.multi_plain(&ops).await {
                Ok(results) => {
                    if let Some(code) = failure(&results) {
                        self.fail(path, format!("its version cannot be raised: {code}"));
                        return Ok(());
                    }
                }
                Err(error) if is_passing(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sets ACLs.
    pub async fn tighten(&self, mut lists: Receiver<Tighten>) -> Result<(), Stopped> {
        let mut under_way = FuturesOrdered::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            if self.monitor.cancelled() {
                return Err(Stopped::Cancelled);
            }
            tokio::select! {
                biased;
                Some((one, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    let one: Tighten = one;
                    let outcome: Result<(), LiveError> = outcome;
                    match outcome {
                        Ok(()) => self.done(1),
                        Err(error) => self.tighten_again(&one, error).await?,
                    }
                }
                one = lists.recv(), if open && under_way.len() < WINDOW_OF_SINGLES => match one {
                    Some(one) => under_way.push_back(async {
                        let outcome = self.client.set_acl(&one.path, &one.acl, one.version).await;
                        (one, outcome.map(|_| ()))
                    }),
                    None => open = false,
                },
            }
        }
        Ok(())
    }

    async fn tighten_again(&self, one: &Tighten, error: LiveError) -> Result<(), Stopped> {
        let lost = is_passing(&error);
        let code = match error.code() {
            _ if lost => {
                let attempt = async || match self.client.set_acl(&one.path, &one.acl, one.version).await {
                    Ok(_) => Ok(None),
                    Err(error) if !is_passing(&error) && error.code().is_some() => Ok(error.code()),
                    Err(error) => Err(error),
                };
                self.until_answered(attempt).await?.0
            }
            Some(code) => Some(code),
            None => return Err(error.into()),
        };
        let Some(code) = code else { return self.fine() };
        if lost && matches!(code, Code::BAD_VERSION | Code::NO_AUTH) {
            // It may be the first attempt's own work: its ACL tells where that may be read.
            let read = async || match self.client.get_acl(&one.path).await {
                Ok(read) => Ok(Some(super::decide::same_acl(&one.acl, &read.value.0))),
                Err(error) if error.is(Code::NO_AUTH) => Ok(None),
                Err(error) => Err(error),
            };
            let (same, _) = self.until_answered(read).await?;
            if same == Some(true) || (same.is_none() && self.has_acl_version(one).await?) {
                return self.fine();
            }
        }
        let why = match code {
            Code::BAD_VERSION => "somebody changed its ACL meanwhile: left as it is".to_owned(),
            code => format!("its ACL cannot be set: {code}"),
        };
        self.fail(&one.path, why);
        Ok(())
    }

    /// Whether the ACL was set once since: asked where it may not be read any more.
    async fn has_acl_version(&self, one: &Tighten) -> Result<bool, Stopped> {
        let (stat, _) = self.until_answered(async || self.client.exists(&one.path).await).await?;
        Ok(stat.is_some_and(|stat| stat.value.aversion == one.version.wrapping_add(1)))
    }

    fn done(&self, writes: u64) {
        self.applied.fetch_add(writes, Ordering::Relaxed);
        self.monitor.advance(Phase::Writing, writes);
    }

    #[expect(clippy::unnecessary_wraps, reason = "ends a function of that type")]
    fn fine(&self) -> Result<(), Stopped> {
        self.done(1);
        Ok(())
    }

    /// Remembers what could not be written.
    pub fn fail(&self, path: &[u8], why: impl Into<String>) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(Said::of(path, why));
    }
}

/// The code of the part at fault.
fn failure(results: &[OpResult]) -> Option<Code> {
    let mut failed = results.iter().filter_map(|result| match result {
        OpResult::Failed(code) => Some(*code),
        _ => None,
    });
    let first = failed.clone().next();
    failed.find(|code| !matches!(*code, Code::OK | Code::RUNTIME_INCONSISTENCY)).or(first)
}

fn all_done(outcome: &Result<Vec<OpResult>, LiveError>) -> bool {
    outcome.as_ref().is_ok_and(|results| failure(results).is_none())
}

/// Passes an error on that concerns more than a batch.
fn fatal(outcome: Result<Vec<OpResult>, LiveError>) -> Result<(), Stopped> {
    match outcome {
        Err(error) if !is_passing(&error) && error.code().is_none() && !matches!(error, LiveError::TooLarge { .. }) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Whether it may be over in a moment: a connection lost, an election going on.
fn is_passing(error: &LiveError) -> bool {
    error.is_transient() || matches!(error, LiveError::Lost { .. } | LiveError::Unreachable { .. })
}
