//! What all members restore: the first one that begins chooses, the others follow.
//!
//! A snapshot is asked for in words that mean another one from hour to hour (`latest`), and the zxid that a file is
//! named for depends on what a member sees. So both are fixed once, in the repository: who asks in the same words follows;
//! who asks in other words must mean the same snapshot.

use jiff::{SignedDuration, Timestamp};
use repository::Snapshot;
use repository::restored::{Choice, MAX_NAME};
use zk_format::Zxid;

use super::OnceRequest;
use crate::annotate;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::Monitor;
use crate::reference::{SnapshotRef, parse_zxid};
use crate::repo::Repo;
use crate::restore::{self, DatadirRequest};
use crate::snapshots;

/// So long the chosen snapshot is protected: until the last member has restored it.
const PROTECTED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The request for these directories, by the snapshot and the zxid agreed upon.
type ForDatadir<'a> = &'a mut dyn FnMut(Snapshot, Option<Zxid>) -> DatadirRequest;

/// The snapshot in the words that it was asked for.
pub(super) fn asked(request: &OnceRequest) -> String {
    let mut tags = request.scope.tags.clone();
    tags.sort();
    tags.dedup();
    tags.iter().fold(request.snapshot.to_string(), |asked, tag| format!("{asked} --tag {tag}"))
}

/// The choice that holds, and its snapshot. Chooses where nobody has; a dry run only says what it would choose.
pub(super) fn choose(
    repo: &Repo,
    request: &OnceRequest,
    datadir: ForDatadir<'_>,
    monitor: &dyn Monitor,
) -> Result<(Choice, Snapshot), EngineError> {
    if let Some(there) = repo.block_on(repo.repository().choice(&request.cluster, request.number))? {
        return follow(repo, request, there, monitor);
    }
    let asked = asked(request);
    if asked.len() > MAX_NAME {
        return Err(EngineError::new(ErrorKind::Usage, format!("SNAPSHOT and --tag have more than {MAX_NAME} bytes")));
    }
    let snapshot = snapshots::resolve(repo, &request.snapshot, &request.scope, monitor)?;
    let plan = restore::plan(repo, &datadir(snapshot.clone(), None), monitor)?;
    let own = Choice {
        written_ms: request.now.as_millisecond(),
        cluster: request.cluster.clone(),
        number: request.number,
        asked,
        snapshot: snapshot.id(),
        file_zxid: parse_zxid(&plan.file_zxid).unwrap_or_default().0,
        ephemerals: request.keep_ephemerals,
        configuration: adds_configuration(request),
        by: request.member.clone(),
    };
    if request.dry_run {
        return Ok((own, snapshot));
    }
    protect(repo, &snapshot, request.now, monitor);
    let there = repo.block_on(repo.repository().choose(&own))?;
    if there == own { Ok((own, snapshot)) } else { follow(repo, request, there, monitor) }
}

/// Does as the first member: refuses to do anything else.
fn follow(
    repo: &Repo,
    request: &OnceRequest,
    choice: Choice,
    monitor: &dyn Monitor,
) -> Result<(Choice, Snapshot), EngineError> {
    let refused = |what: String| {
        let number = request.number;
        let text = format!("restoring once for number {number} of cluster {}: {what}", request.cluster);
        Err(EngineError::new(ErrorKind::Refused, text))
    };
    let short = choice.snapshot.short();
    let asked = asked(request);
    if choice.asked != asked {
        let meant = snapshots::resolve(repo, &request.snapshot, &request.scope, monitor)?;
        if meant.id() != choice.snapshot {
            return refused(format!(
                "{asked} is snapshot {}, and member {} began with {} ({short}); all members restore the same one: raise the \
                 number to restore another",
                meant.id().short(),
                choice.by,
                choice.asked
            ));
        }
    }
    if choice.ephemerals != request.keep_ephemerals || choice.configuration != adds_configuration(request) {
        return refused(format!(
            "member {} began with other flags (--keep-ephemerals {}, a server {}), and all members must have the same \
             file; give the same flags, or raise the number",
            choice.by,
            if choice.ephemerals { "given" } else { "not given" },
            if choice.configuration { "from 3.5 on" } else { "before 3.5" }
        ));
    }
    match snapshots::resolve(repo, &SnapshotRef::Id(choice.snapshot.to_string()), &request.scope, monitor) {
        Ok(snapshot) => Ok((choice, snapshot)),
        Err(error) if error.kind == ErrorKind::Failed && is_gone(&error) => refused(format!(
            "snapshot {short}, which member {} began with, was forgotten since. If the other members run, start this one \
             empty and without --once: it copies the tree from them. Else raise the number",
            choice.by
        )),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &EngineError) -> bool {
    use repository::RepositoryError::NoSuchSnapshot;
    matches!(error.downcast_ref(), Some(NoSuchSnapshot { .. }))
}

/// A server from 3.5 on wants a configuration node, which a tree from 3.4 lacks.
const fn adds_configuration(request: &OnceRequest) -> bool {
    request.server.version.minor >= 5
}

/// Members that begin later need it as well. Whoever may not write notes restores without that.
fn protect(repo: &Repo, snapshot: &Snapshot, now: Timestamp, monitor: &dyn Monitor) {
    let until = now.saturating_add(PROTECTED).unwrap_or(Timestamp::MAX);
    if snapshots::info(snapshot).protected_until.is_some_and(|before| before >= until) {
        return;
    }
    if let Err(error) = annotate::protect(repo, snapshot, Some(until), false) {
        monitor.note(&format!("the snapshot may be forgotten before every member has restored it: {error}"));
    }
}
