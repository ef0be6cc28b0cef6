//! What is there after a restore, read back over a fresh session: a plan made anew must have nothing left to do but the
//! ACLs, and those are read one by one once they are set.

use std::collections::HashSet;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use zk_connect::live::second::{SecondClient, SecondError, SeenBySecond};
use zk_connect::live::{Client, Code, ConnectOptions, LiveError};
use zk_format::{AclList, path};

use super::area::Area;
use super::decide::same_acl;
use super::found::{Found, failed};
use super::plan::{Change, Plan, Said, Step, Wishes};
use super::wanted::{self, Wanted};
use crate::error::{EngineError, ErrorKind};
use crate::live::LiveSettings;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;
use crate::tree::SnapshotTree;

/// Nodes whose ACLs are read at a time.
const READ_AT_ONCE: usize = 500;
const WINDOW: usize = 256;

/// What verifying works with.
pub struct Verifying<'a> {
    /// The repository, for its threads.
    pub repo: &'a Repo,
    /// The snapshot.
    pub tree: &'a SnapshotTree<'a>,
    /// What was restored where.
    pub area: &'a Area,
    /// How the target is reached.
    pub connect: &'a ConnectOptions,
    /// How hard to press it.
    pub settings: &'a LiveSettings,
    /// Told how it goes.
    pub monitor: &'a dyn Monitor,
}

/// What is looked at: data before the final ACLs may hide it, lists after they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Data.
    Data,
    /// ACLs.
    Acls,
}

impl Stage {
    fn looks_at(self, step: &Step) -> bool {
        match (self, step.change) {
            (_, Change::Delete { .. }) => false,
            (Self::Data, Change::Update { data, .. }) => data.is_some() && !step.target().is_empty(),
            (Self::Data, _) => true,
            (Self::Acls, _) => step.acl_version().is_some(),
        }
    }

    fn difference(self, wanted: &Wanted, seen: Option<SeenBySecond>) -> Option<&'static str> {
        // It cannot name a path that is not UTF-8.
        std::str::from_utf8(&wanted.target).ok()?;
        let Some(seen) = seen else { return Some("it is missing") };
        match self {
            Self::Data => {
                let same = seen.data.is_some_and(|data| data == wanted.data.as_deref().unwrap_or_default());
                (!same && !path::is_volatile(&wanted.target)).then_some("it has other data")
            }
            Self::Acls => {
                let (wanted, seen) = (wanted.acl.as_ref()?, AclList::encode(&seen.acl?));
                (!same_acl(wanted, &seen)).then_some("it has another ACL")
            }
        }
    }
}

/// What reading ACLs back found.
#[derive(Debug, Default)]
pub struct AclsSeen {
    /// Those that are not as they should be.
    pub differences: Vec<Said>,
    /// Those that the final ACL itself keeps from being read.
    pub unreadable: u64,
}

impl Verifying<'_> {
    /// Everything but the ACLs that are not set yet: what still differs.
    pub fn data(&self, plan: &Plan, wishes: &Wishes) -> Result<Vec<Said>, EngineError> {
        let found = Found::read(self.repo, self.connect, self.settings, self.area, Phase::Verifying, self.monitor)?;
        let again = Plan::make(self.tree, self.area, &found, wishes, self.monitor)?;
        let known: HashSet<&str> =
            plan.left.iter().chain(&plan.conflicts).chain(&plan.low).map(|said| said.path.as_str()).collect();
        let mut differences: Vec<Said> = again
            .steps
            .iter()
            .chain(&again.quotas)
            .chain(&again.deletes)
            .filter_map(|step| Some(Said::of(step.target(), left_over(step.change)?)))
            .collect();
        differences.extend(again.raises.iter().map(|raise| {
            Said::of(&raise.target, format!("its counter of sequential names is too low by {}", raise.to - raise.from))
        }));
        let versions = again.versions.iter();
        differences.extend(versions.map(|raise| Said::of(&raise.target, format!("its version is not {}", raise.to))));
        let others = again.conflicts.into_iter().chain(again.left);
        differences.extend(others.filter(|said| !known.contains(said.path.as_str())));
        Ok(differences)
    }

    /// The ACLs that were set, and the root.
    pub fn acls(&self, plan: &Plan) -> Result<AclsSeen, EngineError> {
        let steps: Vec<&Step> = plan.all_steps().filter(|step| step.acl_version().is_some()).collect();
        let mut seen = AclsSeen::default();
        if steps.is_empty() && plan.root.is_none() {
            return Ok(seen);
        }
        self.monitor.begin(Phase::Verifying, Unit::Nodes, Some(steps.len() as u64));
        let reading = |error: LiveError| failed(self.connect, "reading back", error);
        let client = self.repo.block_on(Client::connect(self.connect.clone())).map_err(reading)?;
        self.repo.block_on(client.sync(b"")).map_err(reading)?;
        for chunk in steps.chunks(READ_AT_ONCE) {
            self.monitor.check()?;
            let mut sources: Vec<&[u8]> = chunk.iter().map(|step| &*step.source).collect();
            sources.sort_unstable_by(|a, b| zk_format::key::compare(a, b));
            let nodes = wanted::at(self.tree, self.area, &sources)?;
            let lists = nodes.iter().filter_map(|node| Some((node.target.as_slice(), node.acl.as_ref()?)));
            self.repo.block_on(compare(&client, lists, &mut seen)).map_err(reading)?;
            self.monitor.advance(Phase::Verifying, chunk.len() as u64);
        }
        self.root(plan, &client, &mut seen)?;
        self.repo.block_on(client.close());
        self.monitor.end(Phase::Verifying);
        Ok(seen)
    }

    /// The same by the second client.
    pub fn second(&self, plan: &Plan, stage: Stage) -> Result<Vec<Said>, EngineError> {
        let reading = |error: SecondError| EngineError::wrapping(ErrorKind::Failed, error);
        let client = self.repo.block_on(SecondClient::connect(self.connect)).map_err(reading)?;
        let steps: Vec<&Step> = plan.all_steps().filter(|step| stage.looks_at(step)).collect();
        let mut differences = Vec::new();
        self.monitor.begin(Phase::Verifying, Unit::Nodes, Some(steps.len() as u64));
        for chunk in steps.chunks(READ_AT_ONCE) {
            self.monitor.check()?;
            let mut sources: Vec<&[u8]> = chunk.iter().map(|step| &*step.source).collect();
            sources.sort_unstable_by(|a, b| zk_format::key::compare(a, b));
            for node in wanted::at(self.tree, self.area, &sources)? {
                let seen = self.repo.block_on(client.node(&node.target)).map_err(reading)?;
                let why = stage.difference(&node, seen);
                differences.extend(why.map(|why| Said::of(&node.target, format!("read by the second client, {why}"))));
            }
            self.monitor.advance(Phase::Verifying, chunk.len() as u64);
        }
        self.repo.block_on(client.close());
        self.monitor.end(Phase::Verifying);
        Ok(differences)
    }

    fn root(&self, plan: &Plan, client: &Client, seen: &mut AclsSeen) -> Result<(), EngineError> {
        let Some(Step { source, change: Change::Update { data: Some(_), .. }, .. }) = &plan.root else { return Ok(()) };
        let Some(wanted) = wanted::at(self.tree, self.area, &[source])?.pop() else { return Ok(()) };
        match self.repo.block_on(client.get_data(&wanted.target)) {
            Ok(read) if read.value.0 == wanted.data => {}
            Ok(_) => seen.differences.push(Said::of(&wanted.target, "it has other data")),
            Err(error) if error.is(Code::NO_AUTH) => seen.unreadable += 1,
            Err(error) => return Err(failed(self.connect, "reading back", error)),
        }
        Ok(())
    }
}

async fn compare<'w>(
    client: &Client,
    lists: impl Iterator<Item = (&'w [u8], &'w AclList)>,
    seen: &mut AclsSeen,
) -> Result<(), LiveError> {
    let mut under_way = FuturesUnordered::new();
    let mut lists = lists.peekable();
    while lists.peek().is_some() || !under_way.is_empty() {
        while under_way.len() < WINDOW
            && let Some((path, list)) = lists.next()
        {
            under_way.push(async move { (path, list, client.get_acl(path).await) });
        }
        let Some((path, list, read)) = under_way.next().await else { break };
        match read {
            Ok(read) if same_acl(list, &read.value.0) => {}
            Ok(_) => seen.differences.push(Said::of(path, "it has another ACL")),
            Err(error) if error.is(Code::NO_AUTH) => seen.unreadable += 1,
            Err(error) if error.is(Code::NO_NODE) => seen.differences.push(Said::of(path, "it is missing")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a step that is still to be done says about its node; ACLs are set later.
fn left_over(change: Change) -> Option<&'static str> {
    match change {
        Change::Create { .. } => Some("it is missing"),
        Change::Replace { .. } => Some("it is ephemeral"),
        Change::Update { data: Some(_), .. } => Some("it has other data"),
        Change::Update { data: None, .. } => None,
        Change::Delete { .. } => Some("it is still there"),
    }
}
