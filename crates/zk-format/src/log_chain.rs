//! The logs of a directory as one sequence of transactions.
//!
//! Within an epoch zxids follow each other, and the first has counter 1: a jump is missing data. Across epochs numbers
//! prove nothing, so the [`Chain`] only remembers where one began and leaves the proof to digests and strict replay.
//! A record that is there twice — a server that was killed writes its unfinished last record again, into the next
//! file — is taken once, if both are the same.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use crate::data_dir::LogFile;
use crate::file_txn_log::{BadRecord, LogEnd, LogError, LogReader, Record};
use crate::types::Zxid;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Records remembered to recognise one that comes again. It comes right after a restart, so far fewer would do.
const REMEMBERED: usize = 1 << 18;

/// A record that identifies a history: two histories that have it are the same up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The transaction.
    pub zxid: Zxid,
    /// Adler-32 of the record's payload.
    pub adler: u32,
}

/// Where a record lies. A hint for the next read, never trusted: what is found there must be the anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPlace {
    /// The zxid in the file's name.
    pub file: Zxid,
    /// Where the record starts in it.
    pub offset: u64,
}

/// A log that ends in a record that is not whole. Normal for the newest, and for one whose server was killed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornEnd {
    /// The file.
    pub path: PathBuf,
    /// Where that record starts.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: BadRecord,
}

/// Why logs do not make one history.
#[derive(Debug, Error)]
pub enum ChainError {
    /// A file could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Transactions are missing.
    #[error("transactions are missing: {} continues at byte {offset} with {found} after {after}; back up another member, or ask for a state up to {after} with --to-zxid", path.display())]
    Gap {
        /// The file that goes on too late.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// The last transaction before it.
        after: Zxid,
        /// The first one behind it.
        found: Zxid,
    },
    /// One zxid, two transactions.
    #[error("{} has at byte {offset} another transaction {zxid} than an earlier log: the logs are of two histories", path.display())]
    TwoHistories {
        /// The later file.
        path: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// The transaction.
        zxid: Zxid,
    },
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// Everything after this transaction.
    pub(crate) after: Zxid,
    /// Gaps up to here do not matter.
    pub(crate) whole_after: Zxid,
    /// Nothing after this one.
    pub(crate) limit: Option<Zxid>,
    /// Whether nothing is wanted without the record `after` itself.
    pub(crate) anchored: bool,
    /// Where the record `after` was last seen.
    pub(crate) hint: Option<(LogPlace, Anchor)>,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// The record of `Range::after`, where the logs still have it.
    pub(crate) start: Option<Seen>,
    /// The last record visited.
    pub(crate) last: Option<Seen>,
    /// Epoch changes: last transaction of the old one, first of the new one.
    pub(crate) boundaries: Vec<(Zxid, Zxid)>,
    pub(crate) torn: Vec<TornEnd>,
    /// Whether records after the limit were left out.
    pub(crate) cut: bool,
    /// Runs of consecutive transactions that were visited.
    runs: Vec<(Zxid, Zxid)>,
}

/// A record that was passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) anchor: Anchor,
    pub(crate) place: LogPlace,
    pub(crate) path: PathBuf,
    pub(crate) time_ms: i64,
}

/// What became of the newest record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// None was read.
    Nothing,
    /// It is there, and nothing is behind it.
    Same,
    /// It is there, and more is behind it.
    Grown,
    /// Something else is there, or the file is gone.
    Changed(PathBuf),
}

impl Chain {
    /// Whether this transaction was visited.
    pub(crate) fn contains(&self, zxid: Zxid) -> bool {
        let run = self.runs.partition_point(|&(first, _)| first <= zxid);
        run.checked_sub(1).and_then(|run| self.runs.get(run)).is_some_and(|&(_, last)| zxid <= last)
    }

    /// Whether every transaction after `after` up to `to` was visited, as far as numbers can tell.
    pub(crate) fn covers(&self, after: Zxid, to: Zxid) -> bool {
        let mut last = after;
        for &(first, end) in self.runs.iter().take_while(|(first, _)| *first <= to) {
            if !follows(last, first) && first.counter() != 1 {
                return false;
            }
            last = end;
        }
        last >= to
    }

    /// Looks at the newest record visited again. A follower can cut its log at any moment.
    pub(crate) fn look_again(&self) -> Result<Look, LogError> {
        let Some(seen) = self.last.as_ref().or(self.start.as_ref()) else { return Ok(Look::Nothing) };
        let mut reader = match LogReader::open(&seen.path) {
            Ok(reader) => reader,
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Look::Changed(seen.path.clone()));
            }
            Err(error) => return Err(error),
        };
        reader.seek(seen.place.offset)?;
        let found = reader.next()?.map(|record| Anchor { zxid: record.zxid, adler: record.adler });
        if found != Some(seen.anchor) {
            return Ok(Look::Changed(seen.path.clone()));
        }
        Ok(if reader.next()?.is_some() { Look::Grown } else { Look::Same })
    }

    fn note(&mut self, seen: Seen) {
        let zxid = seen.anchor.zxid;
        match self.runs.last_mut() {
            Some((_, last)) if follows(*last, zxid) => *last = zxid,
            _ => self.runs.push((zxid, zxid)),
        }
        self.last = Some(seen);
    }
}

/// Whether `next` comes right after `last` in one epoch.
fn follows(last: Zxid, next: Zxid) -> bool {
    last.epoch() == next.epoch() && last.counter().checked_add(1) == Some(next.counter())
}

/// Visits the records of a range in order. `logs` are a listing's, oldest first.
pub(crate) fn read<E: From<ChainError>>(
    logs: &[LogFile],
    range: Range,
    mut visit: impl FnMut(&Record<'_>, &Path, &Chain) -> Result<(), E>,
) -> Result<Chain, E> {
    let mut walk = Walk { range, chain: Chain::default(), remembered: VecDeque::new(), at: range.after };
    let hinted = range.hint.and_then(|hint| logs.iter().position(|log| log.first == hint.0.file).zip(Some(hint)));
    let from = logs.iter().rposition(|log| log.first <= range.after).unwrap_or(0);
    let from = hinted.map_or(from, |(index, _)| index);
    for (index, log) in logs.iter().enumerate().skip(from) {
        let mut reader = LogReader::open(&log.path).map_err(ChainError::from)?;
        if index == from
            && let Some((_, hint)) = hinted
        {
            jump(&mut reader, hint).map_err(ChainError::from)?;
        }
        while let Some(record) = reader.next().map_err(ChainError::from)? {
            match walk.take(&record, log)? {
                Step::Skip => {}
                Step::Stop => return Ok(walk.chain),
                Step::Visit(seen) => {
                    visit(&record, &log.path, &walk.chain)?;
                    walk.at = record.zxid;
                    walk.chain.note(seen);
                }
            }
        }
        if let Some(LogEnd::Torn { offset, problem }) = reader.end() {
            walk.chain.torn.push(TornEnd { path: log.path.clone(), offset, problem });
        }
    }
    Ok(walk.chain)
}

/// Goes to the hinted place if the anchor is there, else to the start of the file.
fn jump(reader: &mut LogReader, (place, anchor): (LogPlace, Anchor)) -> Result<(), LogError> {
    if reader.end().is_some() {
        return Ok(());
    }
    reader.seek(place.offset)?;
    // A wrong hint can lie inside a record: what looks like damage from there is none.
    let found = matches!(reader.next(), Ok(Some(record)) if record.zxid == anchor.zxid && record.adler == anchor.adler);
    reader.seek(if found { place.offset } else { crate::file_txn_log::HEADER_BYTES })
}

enum Step {
    Skip,
    Stop,
    Visit(Seen),
}

struct Walk {
    range: Range,
    chain: Chain,
    remembered: VecDeque<(Anchor, usize)>,
    at: Zxid,
}

impl Walk {
    fn take(&mut self, record: &Record<'_>, log: &LogFile) -> Result<Step, ChainError> {
        let zxid = record.zxid;
        let anchor = Anchor { zxid, adler: record.adler };
        let seen = || Seen {
            anchor,
            place: LogPlace { file: log.first, offset: record.offset },
            path: log.path.clone(),
            time_ms: record.time_ms(),
        };
        if zxid <= self.range.after {
            if zxid == self.range.after {
                self.chain.start = Some(seen());
            }
            return Ok(Step::Skip);
        }
        if zxid <= self.at {
            let known = self.remembered.binary_search_by_key(&zxid, |(anchor, _)| anchor.zxid).ok();
            let known = known.and_then(|index| self.remembered.get(index));
            return if known == Some(&(anchor, record.payload.len())) {
                Ok(Step::Skip)
            } else {
                Err(ChainError::TwoHistories { path: log.path.clone(), offset: record.offset, zxid })
            };
        }
        if self.range.anchored && self.chain.start.is_none() {
            return Ok(Step::Stop);
        }
        let after = self.at.max(self.range.whole_after);
        let limit_reached = self.range.limit.is_some_and(|limit| zxid > limit);
        if zxid > after && !follows(after, zxid) {
            let new_epoch = zxid.epoch() > after.epoch() && zxid.counter() == 1;
            let past_limit = limit_reached && self.range.limit <= Some(after);
            if !new_epoch && !past_limit {
                return Err(ChainError::Gap { path: log.path.clone(), offset: record.offset, after, found: zxid });
            }
            if new_epoch && !limit_reached {
                self.chain.boundaries.push((after, zxid));
            }
        }
        if limit_reached {
            self.chain.cut = true;
            return Ok(Step::Stop);
        }
        if self.remembered.len() >= REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((anchor, record.payload.len()));
        Ok(Step::Visit(seen()))
    }
}
