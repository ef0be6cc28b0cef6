//! What a server does with its log (`DataTree.processTxn`), over any store of nodes.
//!
//! [`Replay`] keeps the nodes that transactions touch in an overlay and asks a [`BaseStore`] for the others, so that
//! the same code turns a whole snapshot file into a state and a handful of transactions into an increment. Memory is
//! proportional to the nodes touched.
//!
//! A snapshot file is written while transactions apply, so replaying over one meets effects that are already there;
//! like a server, [`Mode::Fuzzy`] passes over what does not fit. From an exact state nothing may fail to fit: then
//! [`Mode::Strict`] changes nothing in what is applied, but remembers the first [`Miss`]. A range without one is
//! evidence that the base was right and no transaction is missing, even where a server writes no digests.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod apply;
mod base;
mod merged;
mod miss;
mod overlay;

pub use base::BaseStore;
pub use merged::MergedTree;
pub use miss::{Miss, MissKind};

use crate::txn::{self, Body, Txn};
use crate::types::{AclList, Node, Zxid};
use overlay::{Finished, Overlay};
use std::collections::{BTreeMap, HashMap, HashSet};
use thiserror::Error;

/// How transactions relate to the base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The base may hold effects of this transaction and later ones.
    Fuzzy,
    /// The base is exact before this transaction: what does not fit is remembered.
    Strict,
    /// The base holds all its effects on nodes already (proven by the file's own digest): only sessions, and ACL
    /// lists that the file lacks, are taken from it.
    Contained,
}

/// Why a transaction could not be applied.
#[derive(Debug, Error)]
pub enum ReplayError<E> {
    /// The base could not be read.
    #[error("cannot read the state that the log continues")]
    Base(#[source] E),
    /// A session ended, the log does not list its nodes, and the base cannot find them.
    #[error("transaction {zxid} ends session {session:#x} without listing its nodes")]
    SessionNodesUnknown {
        /// The transaction.
        zxid: Zxid,
        /// The session.
        session: i64,
    },
}

/// The running digest, as servers with and without UTF-8 locales compute it. Both start from the base's: they move
/// apart only where a path beyond ASCII is touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct TreeDigest {
    /// Paths in UTF-8.
    utf8: i64,
    /// `?` for every character beyond ASCII, as a JVM in the C locale has it.
    ascii: i64,
}

/// What the digests in the log said of the replayed tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DigestVerdict {
    /// Last transaction whose digest the tree had.
    pub last_match: Option<Zxid>,
    /// Last transaction whose digest the tree did not have.
    pub last_mismatch: Option<Zxid>,
    /// Whether a match needed the `?` form of paths.
    pub ascii: bool,
}

impl DigestVerdict {
    /// Whether the newest digest there was is the tree's.
    pub fn holds(&self) -> bool {
        self.last_match > self.last_mismatch
    }

    /// Whether the newest digest there was is another tree's.
    pub fn fails(&self) -> bool {
        self.last_mismatch > self.last_match
    }
}

/// A node that differs from the base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Its path; the root's is empty.
    pub path: Box<[u8]>,
    /// As the base has it; `None` where it is not there.
    pub old: Option<Node>,
    /// As the transactions leave it; `None` where they deleted it.
    pub new: Option<Node>,
}

/// What replaying gave.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Nodes that differ from the base, in key order.
    pub touched: Vec<Touched>,
    /// Sessions that the range opened (with their timeout in milliseconds) or closed (`None`).
    pub sessions: BTreeMap<i64, Option<i32>>,
    /// The last transaction applied; the start where there was none.
    pub zxid: Zxid,
    /// The leader's clock at the last transaction, milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// The digest after it, computed from the base's and the touched nodes, in the form that the log's own digests
    /// have (see [`DigestVerdict::ascii`]).
    pub digest: i64,
    /// What the log's own digests said.
    pub verdict: DigestVerdict,
    /// The first thing in strict mode that did not fit.
    pub first_miss: Option<Miss>,
    /// Transactions applied.
    pub transactions: u64,
}

/// Applies transactions over a base. See the module's head.
#[derive(Debug)]
pub struct Replay<'b, B: BaseStore + ?Sized> {
    overlay: Overlay<'b, B>,
    sessions: BTreeMap<i64, Option<i32>>,
    /// Sessions opened in the range: all their nodes are in the overlay.
    opened: HashSet<i64>,
    /// Per session the ephemeral nodes created in the range.
    owned: HashMap<i64, HashSet<Box<[u8]>>>,
    acls: HashMap<Box<[u8]>, AclList>,
    /// What [`BaseStore::ascii_correction`] said, once it was needed.
    ascii_correction: Option<i64>,
    zxid: Zxid,
    time_ms: Option<i64>,
    verdict: DigestVerdict,
    first_miss: Option<Miss>,
    transactions: u64,
}

impl<'b, B: BaseStore + ?Sized> Replay<'b, B> {
    /// A replay that starts from `base`, which is at `zxid` and has this digest.
    pub fn new(base: &'b B, zxid: Zxid, digest: i64) -> Self {
        Self {
            overlay: Overlay::new(base, TreeDigest { utf8: digest, ascii: digest }),
            ascii_correction: None,
            sessions: BTreeMap::new(),
            opened: HashSet::new(),
            owned: HashMap::new(),
            acls: HashMap::new(),
            zxid,
            time_ms: None,
            verdict: DigestVerdict::default(),
            first_miss: None,
            transactions: 0,
        }
    }

    /// The last transaction applied.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The first strict miss so far.
    pub const fn first_miss(&self) -> Option<&Miss> {
        self.first_miss.as_ref()
    }

    /// What the digests have said so far.
    pub const fn verdict(&self) -> DigestVerdict {
        self.verdict
    }

    /// Applies one transaction and compares the tree with its digest, where it has one.
    ///
    /// # Errors
    /// If the base cannot be read, or cannot tell which nodes a session owned.
    pub fn apply(&mut self, txn: &Txn<'_>, mode: Mode) -> Result<(), ReplayError<B::Error>> {
        self.apply_body(&txn.header, &txn.body, mode)?;
        self.zxid = txn.header.zxid;
        self.time_ms = Some(txn.header.time_ms);
        self.transactions = self.transactions.saturating_add(1);
        if let Some(stated) = txn.digest
            && stated.version == txn::DIGEST_VERSION
            && !matches!(txn.body, Body::Error { .. })
            && mode != Mode::Contained
        {
            self.compare(stated.digest);
        }
        Ok(())
    }

    fn compare(&mut self, stated: i64) {
        let TreeDigest { utf8, ascii } = self.overlay.digest();
        if utf8 == stated && !self.verdict.ascii {
            self.verdict.last_match = Some(self.zxid);
            return;
        }
        let base = self.overlay.base();
        let correction = *self.ascii_correction.get_or_insert_with(|| base.ascii_correction());
        if ascii.wrapping_add(correction) == stated {
            self.verdict.last_match = Some(self.zxid);
            self.verdict.ascii = true;
        } else {
            self.verdict.last_mismatch = Some(self.zxid);
        }
    }

    /// Ends the replay: sorts what was touched and leaves out what came back to where it was.
    pub fn finish(self) -> Result<Replayed, ReplayError<B::Error>> {
        let Self { overlay, sessions, zxid, time_ms, verdict, mut first_miss, transactions, ascii_correction, .. } =
            self;
        let Finished { touched, digest, orphan } = overlay.finish().map_err(ReplayError::Base)?;
        if let Some(path) = orphan {
            first_miss.get_or_insert(Miss { zxid, path, kind: MissKind::Orphan });
        }
        let ascii = digest.ascii.wrapping_add(ascii_correction.unwrap_or(0));
        let digest = if verdict.ascii { ascii } else { digest.utf8 };
        Ok(Replayed { touched, sessions, zxid, time_ms, digest, verdict, first_miss, transactions })
    }

    fn acl(&mut self, bytes: &[u8]) -> AclList {
        if let Some(known) = self.acls.get(bytes) {
            return known.clone();
        }
        let list = AclList(bytes.into());
        self.acls.insert(bytes.into(), list.clone());
        list
    }
}

#[cfg(test)]
mod tests;
