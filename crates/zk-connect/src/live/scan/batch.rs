//! Several reads at once, in one frame or one after the other, with the same kind of answer.

use futures::future::join_all;
use zk_format::AclList;

use super::Span;
use crate::live::error::LiveError;
use crate::live::{Client, Code, NodeStat, Op, OpResult, Read};

/// One read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Data and stat of a node.
    Data(Vec<u8>),
    /// The names of its children.
    Children(Vec<u8>),
}

impl Task {
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Data(path) | Self::Children(path) => path,
        }
    }

    fn op(&self) -> Op<'_> {
        match self {
            Self::Data(path) => Op::GetData { path },
            Self::Children(path) => Op::GetChildren { path },
        }
    }
}

/// How several reads travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// In one frame (3.6 and later).
    Batched,
    /// One after the other, without waiting between.
    Pipelined {
        /// Whether each sets a watch that fires once.
        watch: bool,
    },
}

/// Reads them all; `expected` is about how many bytes the answers have together.
pub async fn read(
    client: &Client,
    manner: Manner,
    tasks: &[Task],
    expected: usize,
    span: &mut Span,
) -> Result<Vec<OpResult>, LiveError> {
    let Manner::Pipelined { watch } = manner else {
        let ops: Vec<Op<'_>> = tasks.iter().map(Task::op).collect();
        let read = client.multi_read(&ops, expected).await?;
        span.add(read.zxid);
        return Ok(read.value);
    };
    let each = expected / tasks.len().max(1);
    let answers = join_all(tasks.iter().map(|task| one(client, task, each, watch))).await;
    answers
        .into_iter()
        .map(|answer| {
            let (result, zxid) = answer?;
            if let Some(zxid) = zxid {
                span.add(zxid);
            }
            Ok(result)
        })
        .collect()
}

async fn one(client: &Client, task: &Task, expected: usize, watch: bool) -> Result<(OpResult, Option<i64>), LiveError> {
    let data = |read: Read<(Option<Vec<u8>>, NodeStat)>| {
        let (data, stat) = read.value;
        (OpResult::Data(data, stat), Some(read.zxid))
    };
    let children = |read: Read<(Vec<Vec<u8>>, NodeStat)>| (OpResult::Children(read.value.0), Some(read.zxid));
    let outcome = match (task, watch) {
        (Task::Data(path), false) => client.get_data_of(path, expected).await.map(data),
        (Task::Data(path), true) => client.watch_data(path, expected).await.map(data),
        (Task::Children(path), false) => client.get_children(path).await.map(children),
        (Task::Children(path), true) => client.watch_children(path).await.map(children),
    };
    match outcome {
        Err(LiveError::Server { code: code @ (Code::NO_NODE | Code::NO_AUTH), .. }) => {
            Ok((OpResult::Failed(code), None))
        }
        outcome => outcome,
    }
}

/// The stat of a node that may not be read; `None` where it is gone. Before 3.9.3 it is open to everybody; since then
/// it takes permission too, and a node that shows nothing at all has a stat of zeros.
pub async fn stat_of_closed(client: &Client, path: &[u8], span: &mut Span) -> Result<Option<NodeStat>, LiveError> {
    let outcome = match client.exists(path).await {
        Err(error) if error.is(Code::NO_AUTH) => client.get_acl(path).await.map(|read| Some((read.value.1, read.zxid))),
        outcome => outcome.map(|found| found.map(|read| (read.value, read.zxid))),
    };
    match outcome {
        Ok(found) => Ok(found.map(|(stat, zxid)| {
            span.add(zxid);
            stat
        })),
        Err(error) if error.is(Code::NO_AUTH) => Ok(Some(NodeStat::default())),
        Err(error) if error.is(Code::NO_NODE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The ACL of a node as far as it could be learnt.
#[derive(Clone, Debug)]
pub enum Acl {
    /// The list, and the stat at that moment.
    Known(AclList, NodeStat),
    /// No permission to see it.
    Hidden,
    /// The node is gone.
    Gone,
}

/// Reads ACLs, pipelined: the protocol has no other way.
pub async fn read_acls(client: &Client, paths: &[&[u8]], span: &mut Span) -> Result<Vec<Acl>, LiveError> {
    let answers = join_all(paths.iter().map(|path| client.get_acl(path))).await;
    answers
        .into_iter()
        .map(|answer| match answer {
            Ok(read) => {
                span.add(read.zxid);
                Ok(Acl::Known(read.value.0, read.value.1))
            }
            Err(error) if error.is(Code::NO_AUTH) => Ok(Acl::Hidden),
            Err(error) if error.is(Code::NO_NODE) => Ok(Acl::Gone),
            Err(error) => Err(error),
        })
        .collect()
}
