//! Several reads at once, in one frame or one after the other, with the same kind of answer.

use futures::future::join_all;
use zk_format::AclList;

use super::Span;
use crate::live::error::LiveError;
use crate::live::{Client, Code, NodeStat, Op, OpResult};

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

/// Reads them all; `expected` is about how many bytes the answers have together.
pub async fn read(
    client: &Client,
    batched: bool,
    tasks: &[Task],
    expected: usize,
    span: &mut Span,
) -> Result<Vec<OpResult>, LiveError> {
    if batched {
        let ops: Vec<Op<'_>> = tasks.iter().map(Task::op).collect();
        let read = client.multi_read(&ops, expected).await?;
        span.add(read.zxid);
        return Ok(read.value);
    }
    let each = expected / tasks.len().max(1);
    let answers = join_all(tasks.iter().map(|task| one(client, task, each))).await;
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

async fn one(client: &Client, task: &Task, expected: usize) -> Result<(OpResult, Option<i64>), LiveError> {
    let outcome = match task {
        Task::Data(path) => client.get_data_of(path, expected).await.map(|read| {
            let (data, stat) = read.value;
            (OpResult::Data(data, stat), Some(read.zxid))
        }),
        Task::Children(path) => {
            client.get_children(path).await.map(|read| (OpResult::Children(read.value.0), Some(read.zxid)))
        }
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
