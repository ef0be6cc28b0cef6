//! One pass over a directory: choose a snapshot file, ask the server, replay the logs, look again.

use super::judge::{Evidence, judge};
use super::{Consistency, LoadError, LoadOptions, Loaded, Note, Tail, state};
use crate::data_dir::{DataDir, Listing, SnapshotFile};
use crate::digest::DigestCheck;
use crate::file_snap::{SnapError, SnapProblem};
use crate::file_txn_log::LogError;
use crate::log_chain::{self, Chain, ChainError, Look, Range};
use crate::replay::{MergedTree, Mode, Replay, ReplayError, Replayed};
use crate::tree::FlatTree;
use crate::txn::{Body, Txn};
use crate::types::Zxid;
use std::collections::HashSet;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::PathBuf;

/// A server tries no more than these before it gives up.
const SNAPSHOTS_TRIED: usize = 100;

/// Files that do not become exact before the newest of them is taken as it is.
const INEXACT_TRIED: u32 = 3;

/// What a pass came to.
pub(super) enum Outcome {
    Loaded(Box<Loaded>),
    /// Files moved under it: start over.
    Moved(PathBuf),
}

/// A pass over one listing.
pub(super) struct Attempt<'a> {
    dir: &'a DataDir,
    options: &'a LoadOptions<'a>,
    listing: Listing,
    notes: Vec<Note>,
}

/// A base to replay on, and what is known of it.
struct Base {
    tree: FlatTree,
    /// Its path; none for the empty tree.
    path: Option<PathBuf>,
    /// The server's own zxid, asked after the tree was read.
    server: Option<Zxid>,
}

/// What replaying over a base gave.
struct Run {
    replayed: Replayed,
    chain: Chain,
    reached: Zxid,
    last_change: Option<Zxid>,
    own_digest: Option<Zxid>,
    /// Whether that digest reads `?` for characters beyond ASCII.
    own_ascii: bool,
    unlisted_close: Option<Zxid>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(dir: &'a DataDir, options: &'a LoadOptions<'a>) -> Result<Self, LoadError> {
        Ok(Self { dir, options, listing: dir.list_some()?, notes: Vec::new() })
    }

    pub(super) fn run(mut self) -> Result<Outcome, LoadError> {
        let files: Vec<SnapshotFile> = self.listing.snapshots.iter().take(SNAPSHOTS_TRIED).cloned().collect();
        if files.is_empty() {
            self.notes.push(Note::LogOnly);
            let server = self.ask();
            return self.from(Base { tree: FlatTree::empty(), path: None, server });
        }
        let asked = self.options.to_zxid;
        let mut usable = files.iter().filter(|file| asked.is_none_or(|asked| file.zxid <= asked)).peekable();
        if let (None, Some(asked), Some(oldest)) = (usable.peek(), asked, files.last()) {
            return Err(LoadError::TooEarly { asked, oldest: oldest.zxid });
        }
        let mut fuzzy = None;
        let mut tried = 0usize;
        let mut newest_problem = None;
        let mut inexact = 0;
        for file in usable {
            tried = tried.saturating_add(1);
            let tree = match FlatTree::read_file(&file.path, &self.options.limits) {
                Ok(tree) => tree,
                Err(error) if is_gone(&error) => return Ok(Outcome::Moved(file.path.clone())),
                Err(error) => {
                    self.note_broken(file, &error, tried == 1);
                    newest_problem.get_or_insert(error.to_string());
                    continue;
                }
            };
            let base = Base { tree, path: Some(file.path.clone()), server: self.ask() };
            let notes = self.notes.len();
            match self.from(base) {
                Ok(Outcome::Loaded(loaded)) if loaded.consistency == Consistency::Fuzzy => {
                    // The newest fuzzy state stands if no older file leads to an exact one.
                    fuzzy.get_or_insert(loaded);
                    self.notes.truncate(notes);
                    inexact = u32::saturating_add(inexact, 1);
                    if inexact == INEXACT_TRIED {
                        break;
                    }
                }
                Ok(outcome) => return Ok(outcome),
                Err(error) if fuzzy.is_none() => return Err(error),
                Err(_) => break,
            }
        }
        match (fuzzy, newest_problem) {
            (Some(loaded), _) => Ok(Outcome::Loaded(loaded)),
            (None, newest) => Err(LoadError::NoSnapshot { count: tried, newest: newest.unwrap_or_default() }),
        }
    }

    fn ask(&mut self) -> Option<Zxid> {
        let ask = self.options.server_zxid?;
        let answer = ask();
        if answer.is_none() && !self.notes.contains(&Note::ServerSilent) {
            self.notes.push(Note::ServerSilent);
        }
        answer
    }

    fn note_broken(&mut self, file: &SnapshotFile, error: &SnapError, newest: bool) {
        self.notes.push(if newest && error.is_unsealed() {
            Note::SnapshotInProgress { path: file.path.clone() }
        } else {
            Note::BrokenSnapshot { problem: error.to_string() }
        });
    }

    /// Replays over a base and judges what came of it.
    fn from(&mut self, base: Base) -> Result<Outcome, LoadError> {
        let snapshot = base.tree.zxid();
        if let Some(server) = base.server
            && server < snapshot
        {
            return Err(LoadError::ServerBehind { server, snapshot });
        }
        let limit = [self.options.to_zxid, base.server].into_iter().flatten().min();
        let end = self.end_of_writing(&base);
        let run = match self.replay(&base, limit, end) {
            Ok(run) => run,
            Err(error) => return vanished(error),
        };
        let look = run.chain.look_again().map_err(ChainError::from)?;
        if let Look::Changed(path) = look {
            return Ok(Outcome::Moved(path));
        }
        self.check_joined(&base, &run, limit)?;
        if let Some(asked) = self.options.to_zxid
            && run.reached < asked
            && !run.chain.cut
        {
            return Err(LoadError::TooLate { asked, end: run.reached });
        }
        // Without any other sign the end of the logs is one, if nobody writes them.
        let rested =
            look != Look::Grown && !run.chain.cut && !self.listing.logs.is_empty() && self.dir.list()? == self.listing;
        let end = end.or(rested.then_some(run.reached));
        Ok(Outcome::Loaded(Box::new(self.conclude(base, run, end)?)))
    }

    /// Where the writing of the file ended at the latest, as far as it is known before the logs are read.
    fn end_of_writing(&self, base: &Base) -> Option<Zxid> {
        let tree = &base.tree;
        if base.path.is_none() || tree.is_initial() {
            return Some(tree.zxid());
        }
        let trailers = tree.stated_digest().map(|stated| stated.zxid).max(tree.last_zxid());
        // A server writes one file after the other.
        let next_file = self.listing.snapshots.iter().map(|file| file.zxid).filter(|&zxid| zxid > tree.zxid()).min();
        trailers.or_else(|| base.server.into_iter().chain(next_file).min()).map(|end| end.max(tree.zxid()))
    }

    fn replay(&self, base: &Base, limit: Option<Zxid>, end: Option<Zxid>) -> Result<Run, LoadError> {
        let tree = &base.tree;
        let within_limit = |zxid: &Zxid| limit.is_none_or(|limit| *zxid <= limit);
        let check = tree.check_digest();
        let matches = matches!(check, DigestCheck::Matches | DigestCheck::MatchesAscii);
        let own_digest = tree.stated_digest().filter(|_| matches).map(|stated| stated.zxid.max(tree.zxid()));
        let own_digest = own_digest.filter(within_limit);
        let whole_after = own_digest.unwrap_or(tree.zxid());
        let range = Range { after: tree.zxid(), whole_after, limit, anchored: false, hint: None };
        let mut replay = Replay::new(tree, whole_after, tree.digest());
        let mut last_change = None;
        let mut unlisted_close = None;
        let mut opened = HashSet::new();
        let chain = log_chain::read(&self.listing.logs, range, |record, path, _| {
            let txn = Txn::decode(record.payload, record.payload_offset())
                .map_err(|source| LoadError::Txn { path: path.to_owned(), source })?;
            let mode = if own_digest.is_some_and(|own| record.zxid <= own) {
                Mode::Contained
            } else if own_digest.is_none() && end.is_some_and(|end| record.zxid <= end) {
                Mode::Fuzzy
            } else {
                Mode::Strict
            };
            if let Body::CreateSession { .. } = txn.body {
                opened.insert(txn.header.session);
            }
            if matches!(txn.body, Body::CloseSession { paths: None })
                && !opened.remove(&txn.header.session)
                && base.path.is_some()
                && own_digest.is_none()
                && end.is_none_or(|end| record.zxid <= end)
            {
                unlisted_close.get_or_insert(record.zxid);
            }
            if mode == Mode::Strict && txn.body.changes_nodes() {
                last_change = Some(record.zxid);
            }
            replay.apply(&txn, mode).map_err(session_nodes)
        });
        let chain = chain.map_err(|error: LoadError| if base.path.is_none() { log_only(error) } else { error })?;
        let replayed = replay.finish().map_err(session_nodes)?;
        let reached = replayed.zxid.max(whole_after);
        let own_ascii = own_digest.is_some() && check == DigestCheck::MatchesAscii;
        Ok(Run { replayed, chain, reached, last_change, own_digest, own_ascii, unlisted_close })
    }

    /// A snapshot file behind the one in use must be a point of the history that the logs tell.
    fn check_joined(&self, base: &Base, run: &Run, limit: Option<Zxid>) -> Result<(), LoadError> {
        let used = run.own_digest.unwrap_or(base.tree.zxid());
        let apart = self.listing.snapshots.iter().find(|file| {
            file.zxid > used && limit.is_none_or(|limit| file.zxid <= limit) && !run.chain.contains(file.zxid)
        });
        match apart {
            None => Ok(()),
            Some(file) => Err(LoadError::NotJoined { path: file.path.clone(), used: base.tree.zxid() }),
        }
    }

    fn conclude(&mut self, base: Base, run: Run, end: Option<Zxid>) -> Result<Loaded, LoadError> {
        let Run { mut replayed, chain, reached, last_change, own_digest, own_ascii, unlisted_close } = run;
        let snapshot = base.tree.zxid();
        if base.path.is_none()
            && let Some(miss) = &replayed.first_miss
        {
            return Err(LoadError::LogOnly { why: miss.to_string() });
        }
        let mut verdict = replayed.verdict;
        if own_ascii && !verdict.ascii {
            // No digest followed the file's own, so the replay did not notice of which kind they are.
            verdict.ascii = true;
            let correction = base.tree.digest_ascii().wrapping_sub(base.tree.digest());
            replayed.digest = replayed.digest.wrapping_add(correction);
        }
        let (consistency, proof, judged) = judge(&Evidence {
            snapshot,
            end,
            own_digest,
            digest_trailer: base.tree.stated_digest().map(|stated| stated.zxid),
            reached,
            last_change,
            unlisted_close,
            end_stated: base.tree.stated_digest().is_some() || base.tree.last_zxid().is_some(),
            verdict,
            first_miss: replayed.first_miss.as_ref(),
            boundaries: &chain.boundaries,
        });
        if base.path.is_none() && consistency == Consistency::Fuzzy {
            let why = judged.iter().map(Note::to_string).collect::<Vec<_>>().join("; ");
            return Err(LoadError::LogOnly { why });
        }
        let mut notes = self.notes.clone();
        notes.extend(judged);
        notes.extend(chain.torn.iter().cloned().map(Note::Torn));
        if own_digest.is_some_and(|own| !chain.covers(snapshot, own)) {
            notes.push(Note::SessionsIncomplete { snapshot });
        }
        let newest = chain.last.or(chain.start).filter(|seen| seen.anchor.zxid == reached);
        let sessions = state::sessions(base.tree.sessions(), &replayed.sessions);
        let tree = MergedTree::new(base.tree, replayed.touched);
        Ok(Loaded {
            sessions,
            zxid_low: if consistency == Consistency::Exact { reached } else { snapshot },
            zxid_high: reached,
            consistency,
            proof,
            tail: if base.server.is_some() { Tail::Confirmed } else { Tail::Unconfirmed },
            anchor: newest.as_ref().map(|seen| seen.anchor),
            place: newest.as_ref().map(|seen| seen.place),
            digest: replayed.digest,
            state_time_ms: newest.map_or_else(|| state::newest_time_ms(&tree), |seen| seen.time_ms),
            unresolved_acls: state::unresolved(&tree),
            transactions: replayed.transactions,
            notes,
            tree,
        })
    }
}

fn is_gone(error: &SnapError) -> bool {
    matches!(&error.problem, SnapProblem::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// A log that vanished was purged, or moved by a rotation: list again.
fn vanished(error: LoadError) -> Result<Outcome, LoadError> {
    match error {
        LoadError::Chain(ChainError::Log(LogError::Io { path, source })) if source.kind() == ErrorKind::NotFound => {
            Ok(Outcome::Moved(path))
        }
        error => Err(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn session_nodes(error: ReplayError<Infallible>) -> LoadError {
    match error {
        ReplayError::SessionNodesUnknown { zxid, session } => LoadError::SessionNodes { zxid, session },
    }
}

/// Without a snapshot file a gap before the first record is not a gap but a beginning that is gone.
fn log_only(error: LoadError) -> LoadError {
    match error {
        LoadError::Chain(ChainError::Gap { after: Zxid(0), found, .. }) => {
            LoadError::LogOnly { why: format!("they start at {found}") }
        }
        error => error,
    }
}
