//! Carries out a plan: creates and changes with parents first, then deletes, counters, versions and quotas; ACLs come
//! last, after everything was verified.
//!
//! The snapshot is read on one thread while another has transactions under way, with few of them between.

use std::collections::HashMap;

use tokio::sync::mpsc::{Sender, channel};
use zk_connect::live::{Client, ConnectOptions, CreateMode};
use zk_format::{AclList, OwnerKind, key};

use super::area::Area;
use super::counters::Raise;
use super::found::failed;
use super::journal::Journal;
use super::plan::{Change, Plan, Step};
use super::tighten::Tighten;
use super::wanted::{self, Wanted};
use super::write::{Batch, Write};
use super::writer::{Stopped, Writer};
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::tree::SnapshotTree;

/// Nodes read from the snapshot at a time.
const READ_AT_ONCE: usize = 500;
/// Transactions that wait to be sent.
const WAITING: usize = 4;
/// ACLs that wait to be sent.
const LISTS_WAITING: usize = 1024;

/// What applying works with.
pub struct Applying<'a> {
    /// The repository, for its threads.
    pub repo: &'a Repo,
    /// The snapshot.
    pub tree: &'a SnapshotTree<'a>,
    /// What is restored where.
    pub area: &'a Area,
    /// The plan.
    pub plan: &'a Plan,
    /// How the target is reached.
    pub connect: &'a ConnectOptions,
    /// The session.
    pub client: &'a Client,
    /// Sends the writes.
    pub writer: &'a Writer<'a>,
    /// The ACL that nodes are created with until theirs is set.
    pub temporary: AclList,
    /// Told how it goes.
    pub monitor: &'a dyn Monitor,
}

type Raises<'p> = HashMap<&'p [u8], &'p Raise>;

impl Applying<'_> {
    /// Everything but ACLs and the root.
    pub fn data(&self, journal: &mut Journal) -> Result<(), EngineError> {
        let plan = self.plan;
        let total = plan.all_steps().count() as u64;
        self.monitor.begin(Phase::Writing, Unit::Nodes, Some(total));
        let mut raises: Raises<'_> =
            plan.raises.iter().filter(|raise| raise.first).map(|raise| (&*raise.target, raise)).collect();
        // The first node that is created closed tells what the temporary ACL is, once the server has it; the next one does where
        // somebody else created that.
        let (mut head, mut learnt) = (0, false);
        while !learnt
            && let rest = plan.steps.get(head..).unwrap_or_default()
            && let Some(first) = rest.iter().position(Step::is_closed)
        {
            learnt = self.first_closed(rest.get(..=first).unwrap_or_default(), &mut raises, journal)?;
            head += first + 1;
        }
        if head == 0 {
            journal.save()?;
        }
        self.steps(plan.steps.get(head..).unwrap_or_default(), &mut raises)?;
        self.send(|feeder| {
            for step in &plan.deletes {
                if let Change::Delete { version } = step.change {
                    feeder.add(Write::Delete { path: step.target().to_vec(), version })?;
                }
            }
            // Parents without new children, in no order that matters.
            raises.values().try_for_each(|raise| feeder.raise(raise))
        })?;
        let late = async {
            for raise in plan.raises.iter().filter(|raise| !raise.first) {
                self.writer.raise(&raise.target, raise.end).await?;
            }
            Ok(())
        };
        self.repo.block_on(late).map_err(|stopped| self.stopped(stopped))?;
        self.versions()?;
        self.steps(&plan.quotas, &mut Raises::new())?;
        self.monitor.end(Phase::Writing);
        Ok(())
    }

    /// Gives whether the temporary ACL is known now.
    fn first_closed<'p>(
        &self,
        head: &'p [Step],
        raises: &mut Raises<'p>,
        journal: &mut Journal,
    ) -> Result<bool, EngineError> {
        let path = head.last().map(|step| step.target().to_vec()).unwrap_or_default();
        journal.creates_first(&path)?;
        self.steps(head, raises)?;
        if self.writer.is_others(&path) {
            return Ok(false);
        }
        match self.repo.block_on(self.client.get_acl(&path)) {
            Ok(read) => journal.learnt(&read.value.0).map(|()| true),
            // It could not be created, and is among the failures.
            Err(error) if error.code().is_some() => Ok(false),
            Err(error) => Err(self.stopped(error.into())),
        }
    }

    fn steps<'p>(&self, steps: &'p [Step], raises: &mut Raises<'p>) -> Result<(), EngineError> {
        let writes = |step: &&Step| !matches!(step.change, Change::Update { data: None, .. });
        self.send(|feeder| {
            for chunk in steps.chunks(READ_AT_ONCE) {
                self.monitor.check()?;
                let chunk: Vec<&Step> = chunk.iter().filter(writes).collect();
                let mut nodes = self.read(&chunk)?;
                for step in chunk {
                    let Some(node) = nodes.remove(&*step.source) else { continue };
                    if let Some(raise) = key::parent(step.target()).and_then(|parent| raises.remove(parent)) {
                        feeder.raise(raise)?;
                    }
                    feeder.add(self.write_of(step, node))?;
                }
            }
            Ok(())
        })
    }

    fn write_of(&self, step: &Step, node: Wanted) -> Write {
        let (path, data) = (step.target().to_vec(), node.data);
        let create = |closed: bool, over| Write::Create {
            path: path.clone(),
            acl: if closed { self.temporary.clone() } else { AclList::world() },
            mode: match node.stat.kind() {
                OwnerKind::Container => CreateMode::Container,
                OwnerKind::Ttl { ttl_ms } => CreateMode::Ttl(i64::try_from(ttl_ms).unwrap_or(i64::MAX)),
                OwnerKind::Persistent | OwnerKind::Ephemeral { .. } => CreateMode::Persistent,
            },
            data: data.clone(),
            over,
        };
        match step.change {
            Change::Create { closed } => create(closed, None),
            Change::Replace { version, closed } => create(closed, Some(version)),
            Change::Update { data: version, .. } => Write::Set { path, data, version: version.unwrap_or(-1) },
            Change::Delete { version } => Write::Delete { path, version },
        }
    }

    /// The snapshot's nodes of some steps, by source.
    fn read(&self, steps: &[&Step]) -> Result<HashMap<Vec<u8>, Wanted>, EngineError> {
        let mut sources: Vec<&[u8]> = steps.iter().map(|step| &*step.source).collect();
        sources.sort_unstable_by(|a, b| key::compare(a, b));
        let nodes = wanted::at(self.tree, self.area, &sources)?;
        Ok(nodes.into_iter().map(|node| (node.source.clone(), node)).collect())
    }

    fn versions(&self) -> Result<(), EngineError> {
        for raise in &self.plan.versions {
            self.monitor.check()?;
            let Some(node) = wanted::at(self.tree, self.area, &[&raise.source])?.pop() else { continue };
            let raising = self.writer.raise_version(&raise.target, node.data.as_deref(), raise.to);
            self.repo.block_on(raising).map_err(|stopped| self.stopped(stopped))?;
        }
        Ok(())
    }

    /// Final ACLs, leaves first, and then the root.
    pub fn acls(&self, journal: &mut Journal) -> Result<(), EngineError> {
        let steps: Vec<&Step> =
            self.plan.steps.iter().chain(&self.plan.quotas).filter(|step| step.acl_version().is_some()).collect();
        if !steps.is_empty() {
            journal.tightens()?;
        }
        self.monitor.begin(Phase::Writing, Unit::Nodes, Some(steps.len() as u64));
        let (sender, receiver) = channel::<Tighten>(LISTS_WAITING);
        self.both(
            move || {
                for chunk in steps.rchunks(READ_AT_ONCE) {
                    self.monitor.check()?;
                    let mut nodes = self.read(chunk)?;
                    for step in chunk.iter().rev().filter(|step| !self.writer.is_others(step.target())) {
                        let list = nodes.remove(&*step.source).and_then(|node| node.acl);
                        let (Some(acl), Some(version)) = (list, step.acl_version()) else { continue };
                        if sender.blocking_send(Tighten { path: step.target().to_vec(), acl, version }).is_err() {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            },
            self.writer.tighten(receiver),
        )?;
        self.root()?;
        self.monitor.end(Phase::Writing);
        Ok(())
    }

    fn root(&self) -> Result<(), EngineError> {
        let Some(step) = &self.plan.root else { return Ok(()) };
        let Some(node) = wanted::at(self.tree, self.area, &[&step.source])?.pop() else { return Ok(()) };
        let Change::Update { data, acl } = step.change else { return Ok(()) };
        if let Some(version) = data {
            let write = Write::Set { path: step.target().to_vec(), data: node.data, version };
            self.send(|feeder| feeder.add(write))?;
        }
        if let (Some(version), Some(acl)) = (acl, node.acl) {
            let (sender, receiver) = channel(1);
            let one = Tighten { path: step.target().to_vec(), acl, version };
            self.both(
                move || {
                    // Nobody takes it where writing failed already.
                    let _ = sender.blocking_send(one);
                    Ok(())
                },
                self.writer.tighten(receiver),
            )?;
        }
        Ok(())
    }

    /// What a producer makes is written meanwhile.
    fn send(&self, produce: impl FnOnce(&mut Feeder) -> Result<(), EngineError> + Send) -> Result<(), EngineError> {
        let (sender, receiver) = channel(WAITING);
        let feed = move || {
            let mut feeder = Feeder { sender, batch: Batch::default() };
            produce(&mut feeder)?;
            feeder.flush()
        };
        self.both(feed, self.writer.write(receiver))
    }

    /// Runs a producer on a thread of its own beside its consumer, whose end ends both.
    fn both(
        &self,
        produce: impl FnOnce() -> Result<(), EngineError> + Send,
        consume: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), EngineError> {
        std::thread::scope(|scope| {
            let feeding = scope.spawn(produce);
            let consumed = self.repo.block_on(consume);
            let produced = feeding.join();
            consumed.map_err(|stopped| self.stopped(stopped))?;
            match produced.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Err(error) if error.kind == ErrorKind::Interrupted => Err(self.stopped(Stopped::Cancelled)),
                produced => produced,
            }
        })
    }

    fn stopped(&self, why: Stopped) -> EngineError {
        let applied = self.writer.applied();
        match why {
            Stopped::Failed(error) => failed(self.connect, &format!("restoring, after {applied} writes, into"), error),
            Stopped::Cancelled => EngineError::with(
                ErrorKind::Interrupted,
                format!("stopped after {applied} writes; the same command with --resume goes on"),
                crate::monitor::Cancelled,
            ),
        }
    }
}

/// Puts writes into batches and hands those on.
struct Feeder {
    sender: Sender<Batch>,
    batch: Batch,
}

impl Feeder {
    fn add(&mut self, write: Write) -> Result<(), EngineError> {
        match self.batch.add(write) {
            Some(full) => self.pass_on(full),
            None => Ok(()),
        }
    }

    fn raise(&mut self, raise: &Raise) -> Result<(), EngineError> {
        Write::raises(&raise.target, raise.from, raise.to).try_for_each(|write| self.add(write))
    }

    fn flush(mut self) -> Result<(), EngineError> {
        let last = std::mem::take(&mut self.batch);
        if last.is_empty() { Ok(()) } else { self.pass_on(last) }
    }

    fn pass_on(&self, batch: Batch) -> Result<(), EngineError> {
        // The consumer ended: its error is the one that is told.
        self.sender.blocking_send(batch).map_err(|_| crate::monitor::Cancelled.into())
    }
}
