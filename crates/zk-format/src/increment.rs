//! A new state from an exact older one and the end of the log: what changed since, without reading any snapshot file.
//!
//! The older state is whatever a [`BaseStore`] can look nodes up in. Its anchor, the very record it ended with, must be
//! in the logs; every transaction after it must continue the state before; and where the log has digests, the last one
//! must be the tree's. Digests cover the whole tree, so an increment is proven as strongly as a full read. Any doubt is
//! a [`Doubt`], and the caller reads in full.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod doubt;
mod held;

pub use doubt::{Doubt, IncrementError};

use crate::data_dir::{DataDir, Listing};
use crate::file_txn_log::LogError;
use crate::load::{Anchor, ChainError, LogPlace, Proof, Tail, TornEnd};
use crate::log_chain::{self, Chain, Look, Range};
use crate::replay::{BaseStore, Mode, Replay, ReplayError, Replayed, Touched};
use crate::txn::{self, Body, Txn};
use crate::types::Zxid;
use held::Held;
use std::collections::BTreeMap;

/// Where the older state stands. It must be exact, complete and unfiltered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BaseState {
    /// The record of its last transaction.
    pub anchor: Anchor,
    /// Where that record lay, to find it without reading the log before it.
    pub place: Option<LogPlace>,
    /// Its tree's digest, as [`crate::load::Loaded::digest`] or [`Increment::digest`] gave it.
    pub digest: Option<i64>,
}

/// How far to go.
#[derive(Clone, Copy, Default)]
pub struct IncrementOptions<'a> {
    /// Up to this transaction.
    pub to_zxid: Option<Zxid>,
    /// As in [`crate::load::LoadOptions`].
    pub server_zxid: Option<&'a dyn Fn() -> Option<Zxid>>,
}

impl std::fmt::Debug for IncrementOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = self.server_zxid.map(|_| "asked");
        f.debug_struct("IncrementOptions").field("to_zxid", &self.to_zxid).field("server_zxid", &asked).finish()
    }
}

/// What changed, and how it is known.
#[derive(Clone, Debug)]
pub struct Increment {
    /// Nodes that differ from the base, in key order.
    pub touched: Vec<Touched>,
    /// Sessions opened (with their timeout in milliseconds) or closed (`None`).
    pub sessions: BTreeMap<i64, Option<i32>>,
    /// The last transaction in it; the base's where nothing happened.
    pub zxid: Zxid,
    /// Its record.
    pub anchor: Anchor,
    /// Where that record lies.
    pub place: LogPlace,
    /// The new tree's digest; `None` where the base's is not known.
    pub digest: Option<i64>,
    /// [`Proof::Digest`] where the range has digests, else [`Proof::Replay`].
    pub proof: Proof,
    /// Whether its last transactions are committed.
    pub tail: Tail,
    /// The server's clock at the last transaction, milliseconds since 1970.
    pub state_time_ms: i64,
    /// Transactions applied.
    pub transactions: u64,
    /// Logs that end in a record that is not whole.
    pub torn: Vec<TornEnd>,
    /// Whether the server's digests read `?` for characters beyond ASCII.
    pub ascii_digest: bool,
}

/// Reads what the logs of `dir` add to `base`.
pub fn load_increment<B: BaseStore + ?Sized>(
    dir: &DataDir,
    base: &B,
    state: &BaseState,
    options: &IncrementOptions<'_>,
) -> Result<Increment, IncrementError<B::Error>> {
    for _ in 0..crate::load::ATTEMPTS {
        let listing = dir.list().map_err(|error| Doubt::Unreadable(error.to_string()))?;
        match attempt(&listing, base, state, options) {
            Err(IncrementError::NeedFull(Doubt::Moving)) => {}
            result => return result,
        }
    }
    Err(Doubt::Moving.into())
}

fn attempt<B: BaseStore + ?Sized>(
    listing: &Listing,
    base: &B,
    state: &BaseState,
    options: &IncrementOptions<'_>,
) -> Result<Increment, IncrementError<B::Error>> {
    let from = state.anchor.zxid;
    let server = options.server_zxid.and_then(|ask| ask());
    if let Some(server) = server.filter(|&server| server < from) {
        return Err(Doubt::ServerBehind { server, base: from }.into());
    }
    if let Some(asked) = options.to_zxid.filter(|&asked| asked < from) {
        return Err(Doubt::BeforeBase { asked, base: from }.into());
    }
    let limit = [options.to_zxid, server].into_iter().flatten().min();
    let hint = state.place.map(|place| (place, state.anchor));
    let range = Range { after: from, whole_after: from, limit, anchored: true, hint };
    let mut replay = Replay::new(base, from, state.digest.unwrap_or(0));
    let mut last_change = None;
    let mut digests = false;
    let mut apply = |txn: &Txn<'_>, zxid: Zxid| {
        if txn.body.changes_nodes() {
            last_change = Some(zxid);
        }
        digests |= txn.digest.is_some_and(|stated| stated.version == txn::DIGEST_VERSION)
            && !matches!(txn.body, Body::Error { .. });
        replay.apply(txn, Mode::Strict).map_err(replay_error)?;
        if let Some(miss) = replay.first_miss() {
            return Err(IncrementError::NeedFull(Doubt::Miss(miss.clone())));
        }
        if let (Some(zxid), Some(_)) = (replay.verdict().last_mismatch, state.digest) {
            return Err(IncrementError::NeedFull(Doubt::DigestMismatch { zxid }));
        }
        Ok(())
    };
    let mut held = Held::default();
    let chain = log_chain::read(&listing.logs, range, |record, path, chain| {
        check_anchor(chain, state.anchor)?;
        held.push(record, path);
        if held.is_full() { held.apply(base, &mut apply) } else { Ok(()) }
    })?;
    held.apply(base, &mut apply)?;
    check_anchor(&chain, state.anchor)?;
    match chain.look_again() {
        Ok(Look::Changed(_)) => return Err(Doubt::Moving.into()),
        Ok(_) => {}
        Err(error) => return Err(Doubt::Unreadable(error.to_string()).into()),
    }
    if let Some(asked) = options.to_zxid
        && !chain.cut
        && replay.zxid() < asked
    {
        return Err(Doubt::NotReached { asked, end: replay.zxid() }.into());
    }
    let apart = listing
        .snapshots
        .iter()
        .find(|file| file.zxid > from && limit.is_none_or(|limit| file.zxid <= limit) && !chain.contains(file.zxid));
    if let Some(file) = apart {
        return Err(Doubt::NotJoined { path: file.path.clone() }.into());
    }
    let replayed = replay.finish().map_err(replay_error)?;
    let proof = prove(&replayed, &chain, state, digests, last_change)?;
    let Some(seen) = chain.last.or(chain.start) else {
        return Err(Doubt::AnchorMissing { anchor: state.anchor }.into());
    };
    Ok(Increment {
        touched: replayed.touched,
        sessions: replayed.sessions,
        zxid: replayed.zxid,
        anchor: seen.anchor,
        place: seen.place,
        digest: state.digest.map(|_| replayed.digest),
        proof,
        tail: if server.is_some() { Tail::Confirmed } else { Tail::Unconfirmed },
        state_time_ms: seen.time_ms,
        transactions: replayed.transactions,
        torn: chain.torn,
        ascii_digest: replayed.verdict.ascii,
    })
}

/// The record that the base ended with must be in the log, bit for bit: else this is another history.
fn check_anchor(chain: &Chain, anchor: Anchor) -> Result<(), Doubt> {
    match &chain.start {
        Some(seen) if seen.anchor == anchor => Ok(()),
        Some(_) => Err(Doubt::OtherHistory { anchor }),
        None => Err(Doubt::AnchorMissing { anchor }),
    }
}

fn prove(
    replayed: &Replayed,
    chain: &Chain,
    state: &BaseState,
    digests: bool,
    last_change: Option<Zxid>,
) -> Result<Proof, Doubt> {
    if let Some(miss) = &replayed.first_miss {
        return Err(Doubt::Miss(miss.clone()));
    }
    if digests && state.digest.is_none() {
        return Err(Doubt::NoBaseDigest);
    }
    let proven = replayed.verdict.last_match;
    if let Some(&(before, first)) = chain.boundaries.iter().rev().find(|(_, first)| Some(*first) > proven)
        && last_change.is_none_or(|change| change < first)
    {
        return Err(Doubt::EpochUnproven { before, first });
    }
    Ok(if proven.is_some() { Proof::Digest } else { Proof::Replay })
}

fn replay_error<E>(error: ReplayError<E>) -> IncrementError<E> {
    match error {
        ReplayError::Base(error) => IncrementError::Base(error),
        ReplayError::SessionNodesUnknown { zxid, session } => Doubt::SessionNodes { zxid, session }.into(),
    }
}

impl<E> From<ChainError> for IncrementError<E> {
    fn from(error: ChainError) -> Self {
        // The full read meets the same files and says exactly what is wrong with them.
        match error {
            ChainError::Log(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Doubt::Moving.into()
            }
            error => Doubt::Unreadable(error.to_string()).into(),
        }
    }
}

#[cfg(test)]
mod tests;
