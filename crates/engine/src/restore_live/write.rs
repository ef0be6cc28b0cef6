//! Writes, and the transactions they travel in.

use zk_connect::live::{CreateMode, Op};
use zk_format::AclList;

/// Parts of a transaction.
const MOST_OPS: usize = 1000;
/// Bytes of a transaction. It has to pass `jute.maxbuffer` as a request, and with headers as a record of the log.
const MOST_BYTES: usize = 256 << 10;
/// Bytes of one part of a counter's step beside the path.
const PART_BYTES: usize = 48;
/// Steps of a counter in one transaction, at most.
pub const STEPS_AT_ONCE: i32 = 400;
/// The name of the child by which a counter is raised.
pub const COUNTER_CHILD: &[u8] = b"/zooark-counter";

/// Steps of the counter of this parent in one transaction: each names the child twice.
pub fn steps_at_once(parent: &[u8]) -> i32 {
    let step = 2 * (parent.len() + COUNTER_CHILD.len() + PART_BYTES);
    i32::try_from(MOST_BYTES / step).unwrap_or(STEPS_AT_ONCE).clamp(1, STEPS_AT_ONCE)
}

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

impl Write {
    /// A counter from here to there, in pieces that fit into a transaction.
    pub fn raises(path: &[u8], from: i32, to: i32) -> impl Iterator<Item = Self> {
        let steps = steps_at_once(path);
        let pieces = (from..to).step_by(usize::try_from(steps).unwrap_or(1));
        pieces.map(move |start| Self::Raise {
            path: path.to_vec(),
            child: [path, COUNTER_CHILD].concat(),
            from: start,
            to: to.min(start.saturating_add(steps)),
        })
    }

    /// The node it is about.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. }
            | Self::Raise { path, .. } => path,
        }
    }

    /// Adds its parts; a counter's child has the ACL `world` for the moment that it lives.
    pub fn ops<'a>(&'a self, world: &'a AclList, to: &mut Vec<Op<'a>>) {
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
                (2 * steps, 2 * steps * (child.len() + PART_BYTES))
            }
        }
    }
}

/// Writes that become one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub writes: Vec<Write>,
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

    /// Its parts; see [`Write::ops`].
    pub fn ops<'a>(&'a self, world: &'a AclList) -> Vec<Op<'a>> {
        let mut ops = Vec::with_capacity(self.ops);
        for write in &self.writes {
            write.ops(world, &mut ops);
        }
        ops
    }
}
