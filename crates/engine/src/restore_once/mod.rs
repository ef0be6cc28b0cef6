//! A restore that happens once for a number, before each member of an ensemble starts: what runs again and again, as an init
//! container does, restores every member's directory once, all to the same snapshot and under the same name, and leaves
//! it alone from then on.
//!
//! Two things are remembered. In the directory, beside `version-2`, a marker: for which number it was restored and how far
//! that came. In the repository, per cluster and number, what all members restore (the *choice*, written by the first
//! one that begins) and which members were restored. `decide` has the table of what follows from them.
//!
//! ```text
//! 1  the choice is created in the repository, or read where another member was first; until here nothing here changed
//! 2  the marker says `started`
//! 3  the restored file takes the place of `version-2`; what was there moves aside
//! 4  the marker says `restored`
//! 5  the record of this member is created in the repository
//! 6  the marker says `done`
//! ```
//!
//! Each step is on the disk, or in the store, before the next begins. What a crash leaves, and what the next run makes of it:
//!
//! | crash | leaves | the next run |
//! |---|---|---|
//! | before 1 | nothing | decides anew |
//! | after 1 | a choice that nobody has followed | follows it, whatever `latest` means by then |
//! | after 2, within 3 | `started`; the old files, or the new one, or neither in place | restores again, and moves aside what there is |
//! | after 3 | `started`; the restored file | the same: one more directory lies aside, with the file from before |
//! | after 4 | `restored`; the file; perhaps no record | goes on with 5, and reads no snapshot: a store that cannot be written fills no disk |
//! | after 5 | `restored`; the file; the record | goes on with 6 |
//!
//! No server starts between them: the container before it has failed. A record never precedes the file it speaks of: "no
//! marker, nothing in the directory, a record" means that the volume is another one, and the tree comes from the other
//! members. Where a file is restored late, while others run already, it is where their history began, and they bring it up
//! to date.

mod choice;
mod decide;
mod place;

use std::path::PathBuf;

use jiff::Timestamp;
use repository::Snapshot;
use repository::restored::{Choice, RestoredMember};
use serde::Serialize;
use zk_connect::DataDirSpec;
use zk_connect::datadir::marker::{Marker, State};
use zk_connect::datadir::target::TargetDirs;
use zk_format::Zxid;

use self::decide::Next;
use self::place::Place;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::monitor::Monitor;
use crate::reference::{SnapshotRef, parse_zxid};
use crate::repo::Repo;
use crate::restore::{self, BumpEpoch, DatadirRequest, RestoreSummary, Server, target_error};
use crate::snapshots::Scope;

/// What to restore where, once.
#[derive(Clone, Debug)]
pub struct OnceRequest {
    /// Restored once for each; at least 1.
    pub number: u64,
    /// The cluster that the number counts in.
    pub cluster: String,
    /// The member whose directory it is.
    pub member: String,
    /// The snapshot as it was asked for.
    pub snapshot: SnapshotRef,
    /// Which snapshots it may mean.
    pub scope: Scope,
    /// Where to.
    pub target: DataDirSpec,
    /// The zxid the file is named for, where this member is the first.
    pub bump_epoch: BumpEpoch,
    /// The highest zxid that any client is known to have seen.
    pub seen_zxid: Option<Zxid>,
    /// Keep ephemeral nodes and their sessions.
    pub keep_ephemerals: bool,
    /// The server that will load the file.
    pub server: Server,
    /// Go on where only a person can know that it is right.
    pub yes_really: bool,
    /// Read and check everything, and write nothing.
    pub dry_run: bool,
    /// When.
    pub now: Timestamp,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The directory holds the restored file.
    Restored,
    /// There are data that no restore of this kind made: they stay.
    DataPresent,
    /// It was restored before.
    AlreadyDone,
    /// It was restored before, on another volume: this one starts empty.
    VolumeReplaced,
}

/// What was decided and done.
#[derive(Clone, Debug, Serialize)]
pub struct OnceSummary {
    /// What.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// The number.
    pub number: u64,
    /// The cluster.
    pub cluster: String,
    /// The member.
    pub member: String,
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// The snapshot that the directory was restored from, now or before.
    pub snapshot_id: Option<String>,
    /// The zxid its file is named for.
    pub file_zxid: Option<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// What the restore did, where one was due.
    pub restore: Option<RestoreSummary>,
}

/// The steps after which a crash is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Chosen,
    Started,
    InPlace,
    Restored,
    Recorded,
    Done,
}

type AfterStep<'a> = &'a mut dyn FnMut(Step) -> Result<(), EngineError>;

/// What follows from the directory alone: a server must be able to start again where the repository cannot be reached. `None`
/// where the repository has to be asked.
pub fn settled(request: &OnceRequest) -> Result<Option<OnceSummary>, EngineError> {
    let place = Place::look(request)?;
    Ok(match place.next(request)? {
        Next::Nothing { decision, reason, note } => Some(place.left_alone(request, decision, reason, note)),
        Next::Finish | Next::Restore { .. } | Next::AskRecord => None,
    })
}

/// Decides, and restores where that is due.
pub fn run(repo: &Repo, request: &OnceRequest, monitor: &dyn Monitor) -> Result<OnceSummary, EngineError> {
    steps(repo, request, monitor, &mut |_| Ok(()))
}

fn steps(
    repo: &Repo,
    request: &OnceRequest,
    monitor: &dyn Monitor,
    after: AfterStep<'_>,
) -> Result<OnceSummary, EngineError> {
    let place = Place::look(request)?;
    let why = match place.next(request)? {
        Next::Nothing { decision, reason, note } => return Ok(place.left_alone(request, decision, reason, note)),
        Next::Finish => return finish(repo, request, place, after),
        Next::Restore { why } => why,
        Next::AskRecord => {
            let record = repo.repository().restored_member(&request.cluster, request.number, &request.member);
            match repo.block_on(record)? {
                Some(record) => return start_empty(request, &place, &record),
                None => {
                    format!("the directory is empty, and this member was never restored for number {}", request.number)
                }
            }
        }
    };
    restore_now(repo, request, &place, why, monitor, after)
}

fn restore_now(
    repo: &Repo,
    request: &OnceRequest,
    place: &Place,
    why: String,
    monitor: &dyn Monitor,
    after: AfterStep<'_>,
) -> Result<OnceSummary, EngineError> {
    let mut datadir = |snapshot: Snapshot, file_zxid: Option<Zxid>| DatadirRequest {
        snapshot,
        path: Vec::new(),
        target: place.target(request),
        // What is there belongs to an earlier number, or to a restore that did not end.
        force: true,
        bump_epoch: request.bump_epoch,
        file_zxid,
        seen_zxid: request.seen_zxid,
        keep_ephemerals: request.keep_ephemerals,
        filter: Filter::default(),
        server: request.server,
        yes_really: request.yes_really,
        now: request.now,
    };
    let (choice, snapshot) = choice::choose(repo, request, &mut datadir, monitor)?;
    let due = datadir(snapshot, Some(Zxid(choice.file_zxid)));
    let mut summary = place.summary(request, Decision::Restored, why);
    summary.snapshot_id = Some(choice.snapshot.to_string());
    summary.file_zxid = Some(Zxid(choice.file_zxid).to_string());
    if choice.by != request.member {
        summary.notes.push(format!(
            "member {} was the first to begin with number {}: its snapshot {} and zxid {} are for all",
            choice.by,
            request.number,
            choice.snapshot.short(),
            Zxid(choice.file_zxid)
        ));
    }
    if request.dry_run {
        summary.restore = Some(restore::run(repo, &due, true, monitor)?);
        return Ok(summary);
    }
    after(Step::Chosen)?;
    // What can be refused is refused before anything changes.
    restore::plan(repo, &due, monitor)?;
    let mut marker = started(request, &choice, place.marker.as_ref());
    write(&marker, &place.dirs)?;
    after(Step::Started)?;
    summary.restore = Some(restore::run(repo, &due, false, monitor)?);
    after(Step::InPlace)?;
    marker.state = State::Restored;
    write(&marker, &place.dirs)?;
    after(Step::Restored)?;
    record(repo, request, &marker, after)?;
    end(marker, &place.dirs, after)?;
    Ok(summary)
}

/// The file is in place; what is left is to say so.
fn finish(repo: &Repo, request: &OnceRequest, place: Place, after: AfterStep<'_>) -> Result<OnceSummary, EngineError> {
    let reason = format!("it was restored for number {} before, and what was left to do was to say so", request.number);
    let summary = place.summary(request, Decision::Restored, reason);
    let Some(marker) = place.marker.filter(|_| !request.dry_run) else { return Ok(summary) };
    record(repo, request, &marker, after)?;
    end(marker, &place.dirs, after)?;
    Ok(summary)
}

fn record(repo: &Repo, request: &OnceRequest, marker: &Marker, after: AfterStep<'_>) -> Result<(), EngineError> {
    let (Ok(snapshot), Some(zxid)) = (marker.snapshot.parse(), parse_zxid(&marker.file_zxid)) else {
        return Err(EngineError::new(
            ErrorKind::Refused,
            format!("the marker of number {} names no snapshot or zxid: give a higher number", request.number),
        ));
    };
    let record = RestoredMember {
        written_ms: request.now.as_millisecond(),
        cluster: request.cluster.clone(),
        number: request.number,
        member: request.member.clone(),
        snapshot,
        file_zxid: zxid.0,
    };
    repo.block_on(repo.repository().record_restored(&record)).map_err(|error| {
        let kind = EngineError::from(error);
        EngineError::with(
            kind.kind,
            "the directory is restored, and the repository could not be told so; run it again, which does no more than that",
            kind,
        )
    })?;
    after(Step::Recorded)
}

fn end(mut marker: Marker, dirs: &TargetDirs, after: AfterStep<'_>) -> Result<(), EngineError> {
    marker.state = State::Done;
    write(&marker, dirs)?;
    after(Step::Done)
}

/// A new volume of a member that was restored: the others have the tree.
fn start_empty(request: &OnceRequest, place: &Place, record: &RestoredMember) -> Result<OnceSummary, EngineError> {
    let reason = format!(
        "the directory is empty, and member {} was restored for number {} before: its volume was replaced, and the server \
         copies the tree from the others",
        request.member, request.number
    );
    let mut summary = place.summary(request, Decision::VolumeReplaced, reason);
    summary.snapshot_id = Some(record.snapshot.to_string());
    summary.file_zxid = Some(Zxid(record.file_zxid).to_string());
    summary.notes.push(
        "most of the members must have their data when it starts: empty ones elect an empty leader among themselves. If \
         all volumes are new, give a higher number"
            .to_owned(),
    );
    if !request.dry_run {
        let marker = Marker {
            number: request.number,
            state: State::Done,
            cluster: request.cluster.clone(),
            member: request.member.clone(),
            asked: choice::asked(request),
            snapshot: record.snapshot.to_string(),
            file_zxid: Zxid(record.file_zxid).to_string(),
            earlier: Vec::new(),
            time: request.now.to_string(),
            note: Some("the volume was replaced; nothing was restored into this one".to_owned()),
        };
        write(&marker, &place.dirs)?;
    }
    Ok(summary)
}

fn started(request: &OnceRequest, choice: &Choice, before: Option<&Marker>) -> Marker {
    let mut earlier = before.map(|before| before.earlier.clone()).unwrap_or_default();
    earlier.extend(before.map(|before| before.file_zxid.clone()));
    earlier.dedup();
    Marker {
        number: request.number,
        state: State::Started,
        cluster: request.cluster.clone(),
        member: request.member.clone(),
        asked: choice.asked.clone(),
        snapshot: choice.snapshot.to_string(),
        file_zxid: Zxid(choice.file_zxid).to_string(),
        earlier,
        time: request.now.to_string(),
        note: None,
    }
}

fn write(marker: &Marker, dirs: &TargetDirs) -> Result<(), EngineError> {
    marker.write(dirs).map_err(|error| target_error(&error))
}

#[cfg(test)]
mod tests;
