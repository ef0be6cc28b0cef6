//! A znode as people and programs see it, whichever side it came from.

use serde::Serialize;
use zk_format::path::display;
use zk_format::{Acl, AclList, NodeRef, OwnerKind, Stat};

use crate::convert::is_quota_stats;

/// A znode with its path, independent of where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// Absolute path; the root's is empty.
    pub path: Vec<u8>,
    /// Null and empty differ. `zookeeper_stats` nodes have null: the server recounts them.
    pub data: Option<Vec<u8>>,
    /// `None` where it could not be learnt.
    pub acl: Option<AclList>,
    /// The persisted stat.
    pub stat: Stat,
    /// Whether the source could tell container and TTL nodes from persistent ones.
    pub kind_known: bool,
}

/// The type of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Stays.
    Persistent,
    /// Goes with its session.
    Ephemeral,
    /// Goes once its last child went.
    Container,
    /// Goes when idle for its time to live.
    Ttl,
    /// Not ephemeral; the source hides the rest.
    Unknown,
}

impl Kind {
    /// The type that an owner field means; `known` whether the source shows container and TTL nodes as such.
    pub const fn of(owner: OwnerKind, known: bool) -> Self {
        match owner {
            OwnerKind::Ephemeral { .. } => Self::Ephemeral,
            OwnerKind::Container => Self::Container,
            OwnerKind::Ttl { .. } => Self::Ttl,
            OwnerKind::Persistent if known => Self::Persistent,
            OwnerKind::Persistent => Self::Unknown,
        }
    }

    /// The word in `--json` and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Ephemeral => "ephemeral",
            Self::Container => "container",
            Self::Ttl => "ttl",
            Self::Unknown => "unknown",
        }
    }
}

impl Znode {
    /// The node of a loaded tree.
    pub fn from_node(node: &NodeRef<'_>) -> Self {
        let data = if is_quota_stats(node.path) { None } else { node.data.map(<[u8]>::to_vec) };
        Self { path: node.path.to_vec(), data, acl: node.acl.cloned(), stat: node.stat, kind_known: true }
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        Kind::of(self.stat.kind(), self.kind_known)
    }

    /// Time to live in milliseconds.
    pub fn ttl_ms(&self) -> Option<u64> {
        match self.stat.kind() {
            OwnerKind::Ttl { ttl_ms } => Some(ttl_ms),
            _ => None,
        }
    }

    /// The path as shown: `/` for the root.
    pub fn shown_path(&self) -> String {
        display(&self.path).to_string()
    }

    /// The entries of the ACL; empty where unknown or unreadable.
    pub fn acl_entries(&self) -> Vec<Acl> {
        self.acl.as_ref().and_then(|acl| acl.decode().ok()).unwrap_or_default()
    }
}

/// Permissions as the server's own shell shows them: letters of `cdrwa`, in that order.
pub fn perms_text(perms: i32) -> String {
    [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')]
        .iter()
        .filter(|(bit, _)| perms & bit != 0)
        .map(|(_, letter)| *letter)
        .collect()
}
