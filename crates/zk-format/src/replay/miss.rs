//! What strict replay found not to fit: the evidence of a gap or of a wrong base.

use crate::path;
use crate::types::Zxid;
use std::fmt;

/// The first thing that did not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miss {
    /// The transaction.
    pub zxid: Zxid,
    /// The node.
    pub path: Vec<u8>,
    /// What does not fit.
    pub kind: MissKind,
}

/// In what way a transaction does not fit the state before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissKind {
    /// The parent of a created or deleted node is not there.
    ParentMissing,
    /// A created node is there already.
    Exists,
    /// The changed or deleted node is not there.
    Missing,
    /// A deleted node still has children.
    HasChildren,
    /// The parent's cversion does not continue.
    ParentVersion {
        /// In the tree.
        found: i32,
        /// After the transaction, as it says.
        stated: i32,
    },
    /// The data version does not continue.
    Version {
        /// In the tree.
        found: i32,
        /// After the transaction, as it says.
        stated: i32,
    },
    /// The ACL version does not continue.
    AclVersion {
        /// In the tree.
        found: i32,
        /// After the transaction, as it says.
        stated: i32,
    },
    /// A node listed by the end of a session belongs to another or to none.
    Owner {
        /// The owner field in the tree.
        found: i64,
    },
    /// A node was left without its parent.
    Orphan,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zxid, path, kind } = self;
        let path = path::display(path);
        match kind {
            MissKind::ParentMissing => write!(f, "{zxid} needs the parent of {path}, which is not there"),
            MissKind::Exists => write!(f, "{zxid} creates {path}, which is there already"),
            MissKind::Missing => write!(f, "{zxid} changes or deletes {path}, which is not there"),
            MissKind::HasChildren => write!(f, "{zxid} deletes {path}, which has children"),
            MissKind::ParentVersion { found, stated } => {
                write!(f, "{zxid} creates {path} as change {stated} of its parent, which is at {found}")
            }
            MissKind::Version { found, stated } => {
                write!(f, "{zxid} sets version {stated} of {path}, which is at {found}")
            }
            MissKind::AclVersion { found, stated } => {
                write!(f, "{zxid} sets ACL version {stated} of {path}, which is at {found}")
            }
            MissKind::Owner { found } => write!(f, "{zxid} deletes {path} with a session, but its owner is {found:#x}"),
            MissKind::Orphan => write!(f, "{path} has no parent after {zxid}"),
        }
    }
}
