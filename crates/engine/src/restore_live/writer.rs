//! Sends writes in transactions of bounded size, several under way, in order.
//!
//! A transaction that fails is taken apart and its writes are sent one by one, each judged by itself: what somebody else
//! changed meanwhile is found by its version and left alone. Where an answer was lost, the node is looked at before
//! anything is said.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use zk_connect::live::{Client, Code, LiveError, Op, OpResult};
use zk_format::AclList;

use super::plan::Said;
use super::write::{Batch, COUNTER_CHILD, STEPS_AT_ONCE, Write, steps_at_once};
use crate::monitor::{Monitor, Phase};

/// Transactions under way.
const WINDOW: usize = 4;
/// How long a server may be away: an election takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);

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

/// See the module's head.
pub struct Writer<'a> {
    pub(super) client: &'a Client,
    pub(super) monitor: &'a dyn Monitor,
    failures: Mutex<Vec<Said>>,
    /// Nodes that were to be created, and are somebody else's.
    others: Mutex<HashSet<Vec<u8>>>,
    applied: AtomicU64,
}

impl<'a> Writer<'a> {
    /// Over this session.
    pub fn new(client: &'a Client, monitor: &'a dyn Monitor) -> Self {
        Self { client, monitor, failures: Mutex::default(), others: Mutex::default(), applied: AtomicU64::new(0) }
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
    pub async fn write(&self, batches: Receiver<Batch>) -> Result<(), Stopped> {
        let world = AclList::world();
        let send = async |line: &Client, batch: Batch| {
            let outcome = line.multi_plain(&batch.ops(&world)).await;
            (batch, outcome)
        };
        let take = |(batch, outcome): (Batch, Result<Vec<OpResult>, LiveError>)| {
            if all_done(&outcome) {
                self.done(batch.writes.len() as u64);
                return None;
            }
            Some((batch, outcome))
        };
        let settle = async |(batch, outcome): (Batch, Result<Vec<OpResult>, LiveError>)| {
            let doubt = in_doubt(&outcome);
            fatal(outcome)?;
            self.one_by_one(&batch, doubt).await
        };
        self.in_window(batches, WINDOW, send, take, settle).await
    }

    /// `doubt` where all of it may have happened.
    async fn one_by_one(&self, batch: &Batch, doubt: bool) -> Result<(), Stopped> {
        for write in &batch.writes {
            self.go_on()?;
            match write {
                // What came of it is seen in the counter: whatever came after it on its connection was lost, too.
                Write::Raise { path, to, .. } if doubt => self.raise(path, *to).await?,
                // Nothing of it happened, and what comes after it may have: that counts on its steps.
                Write::Raise { path, from, to, .. } => self.raise_by(path, to.saturating_sub(*from)).await?,
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
    pub(super) async fn until_answered<T>(
        &self,
        attempt: impl AsyncFn() -> Result<T, LiveError>,
    ) -> Result<(T, bool), Stopped> {
        let started = Instant::now();
        let mut doubt = false;
        loop {
            match attempt().await {
                Ok(answer) => return Ok((answer, doubt)),
                Err(error) if is_passing(&error) && started.elapsed() < PATIENCE => {
                    doubt = true;
                    self.go_on()?;
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
            // In doubt it may be ours, also where one that it was to replace has gone: then it has children by now, or another
            // version.
            (Write::Create { data, .. }, Code::NODE_EXISTS | Code::BAD_VERSION | Code::NOT_EMPTY)
                if doubt || code == Code::NODE_EXISTS =>
            {
                let same = self.holds(path, data.as_deref()).await?;
                if !(doubt && same) {
                    self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_vec());
                }
                if same {
                    return self.fine();
                }
                "somebody created it meanwhile, with other data: left as it is".to_owned()
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
        let mut patience = Patience::new();
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
            patience.seen(stands);
            let end = to.min(stands.saturating_add(steps_at_once(path)));
            let piece = Write::Raise { path: path.to_vec(), child: child.clone(), from: stands, to: end };
            let mut ops = Vec::new();
            piece.ops(&world, &mut ops);
            if let Some(code) = self.step(&ops, &patience).await? {
                self.fail(path, format!("its counter cannot be raised: {code}"));
                return Ok(());
            }
        }
    }

    /// Sends a step of several; what came of it where the answer was lost is seen afterwards. Gives what it was refused with.
    async fn step(&self, ops: &[Op<'_>], patience: &Patience) -> Result<Option<Code>, Stopped> {
        self.go_on()?;
        match self.client.multi_plain(ops).await {
            Ok(results) => Ok(failure(&results)),
            Err(error) if is_passing(&error) && patience.lasts() => {
                tokio::time::sleep(PAUSE).await;
                self.catch_up().await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Raises a counter by so many steps.
    async fn raise_by(&self, path: &[u8], steps: i32) -> Result<(), Stopped> {
        let (stat, _) = self.until_answered(async || self.client.exists(path).await).await?;
        // Where it is not there this says so.
        self.raise(path, stat.map_or(0, |stat| stat.value.persisted_cversion()).saturating_add(steps)).await
    }

    /// Raises a data version by writing; every transaction ends with the real data.
    pub async fn raise_version(&self, path: &[u8], data: Option<&[u8]>, to: i32) -> Result<(), Stopped> {
        let mut patience = Patience::new();
        loop {
            let (stat, _) = self.until_answered(async || self.client.exists(path).await).await?;
            let Some(stat) = stat.map(|read| read.value) else {
                self.fail(path, "its version cannot be raised: it is not there");
                return Ok(());
            };
            if stat.version >= to {
                return self.fine();
            }
            patience.seen(stat.version);
            let end = to.min(stat.version.saturating_add(STEPS_AT_ONCE));
            let set = |version| Op::SetData { path, data: if version + 1 == end { data } else { None }, version };
            let ops: Vec<Op<'_>> = (stat.version..end).map(set).collect();
            if let Some(code) = self.step(&ops, &patience).await? {
                self.fail(path, format!("its version cannot be raised: {code}"));
                return Ok(());
            }
        }
    }

    /// Whether a node that was to be created is somebody else's: nothing more is done to it.
    pub fn is_others(&self, path: &[u8]) -> bool {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    pub(super) fn done(&self, writes: u64) {
        self.applied.fetch_add(writes, Ordering::Relaxed);
        self.monitor.advance(Phase::Writing, writes);
    }

    #[expect(clippy::unnecessary_wraps, reason = "ends a function of that type")]
    pub(super) fn fine(&self) -> Result<(), Stopped> {
        self.done(1);
        Ok(())
    }

    /// Remembers what could not be written.
    pub fn fail(&self, path: &[u8], why: impl Into<String>) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(Said::of(path, why));
    }
}

/// How long something may fail without getting on.
struct Patience {
    since: Instant,
    stands: Option<i32>,
}

impl Patience {
    fn new() -> Self {
        Self { since: Instant::now(), stands: None }
    }

    /// Begins anew where it has got on.
    fn seen(&mut self, stands: i32) {
        if self.stands.replace(stands) != Some(stands) {
            self.since = Instant::now();
        }
    }

    fn lasts(&self) -> bool {
        self.since.elapsed() < PATIENCE
    }
}

/// The code of the part at fault.
pub(super) fn failure(results: &[OpResult]) -> Option<Code> {
    let mut failed = results.iter().filter_map(|result| match result {
        OpResult::Failed(code) => Some(*code),
        _ => None,
    });
    let first = failed.clone().next();
    failed.find(|code| !matches!(*code, Code::OK | Code::RUNTIME_INCONSISTENCY)).or(first)
}

/// Whether it may have happened all the same.
fn in_doubt(outcome: &Result<Vec<OpResult>, LiveError>) -> bool {
    outcome.as_ref().is_err_and(|error| error.code().is_none() && !matches!(error, LiveError::TooLarge { .. }))
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
pub(super) fn is_passing(error: &LiveError) -> bool {
    error.is_transient() || matches!(error, LiveError::Lost { .. } | LiveError::Unreachable { .. })
}
