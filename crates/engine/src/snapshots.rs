//! Listing snapshots and finding the one that somebody means.

use jiff::Timestamp;
use repository::Snapshot;
use repository::manifest;
use zk_format::Zxid;

use crate::backup::is_before_restore;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::Monitor;
use crate::reference::SnapshotRef;
use crate::repo::Repo;
use crate::report::{Consistency, SnapshotInfo};

/// Which snapshots an operation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only of this cluster.
    pub cluster: Option<String>,
    /// Only those with every one of these tags.
    pub tags: Vec<String>,
}

/// The snapshot's time.
pub fn time(snapshot: &Snapshot) -> Timestamp {
    timestamp(snapshot.manifest.body.fields.time_ms)
}

/// Why it is held back; nothing once accepted.
pub fn suspect(snapshot: &Snapshot) -> Option<String> {
    snapshot.is_suspect().then(|| snapshot.manifest.body.fields.suspect.join("; "))
}

/// Highest zxid of the state.
pub const fn zxid_high(snapshot: &Snapshot) -> Zxid {
    Zxid(snapshot.manifest.body.fields.zxid_high)
}

/// The documented fields.
pub fn info(snapshot: &Snapshot) -> SnapshotInfo {
    let manifest = &snapshot.manifest;
    let fields = &manifest.body.fields;
    let mut tags = snapshot.tags().to_vec();
    tags.sort();
    SnapshotInfo {
        id: manifest.id.to_string(),
        short_id: manifest.id.short(),
        parent_id: manifest.body.parent.map(|parent| parent.to_string()),
        seq: manifest.seq,
        time: time(snapshot),
        cluster: fields.cluster.clone(),
        host: fields.host.clone(),
        tags,
        source: fields.source.location.clone(),
        zxid_low: Zxid(fields.zxid_low).to_string(),
        zxid_high: Zxid(fields.zxid_high).to_string(),
        consistency: consistency(fields.consistency),
        incomplete: snapshot.is_incomplete(),
        suspect: suspect(snapshot),
        nodes: fields.nodes,
        raw_bytes: fields.raw_bytes,
        added_bytes: fields.counters.added_bytes,
        state_digest: hex(&fields.state_digest),
        protected_until: snapshot.note.as_ref().and_then(|note| note.protected_until_ms).map(timestamp),
        verified_at: snapshot.note.as_ref().and_then(|note| note.verified_at_ms).map(timestamp),
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

/// Whether a snapshot is within the scope.
pub fn is_within(snapshot: &Snapshot, scope: &Scope) -> bool {
    scope.cluster.as_ref().is_none_or(|cluster| *cluster == snapshot.manifest.body.fields.cluster)
        && scope.tags.iter().all(|tag| snapshot.tags().contains(tag))
}

/// Whether `latest`, times and zxids may mean it.
fn counts(snapshot: &Snapshot) -> bool {
    !snapshot.is_suspect() && !snapshot.is_incomplete() && !is_before_restore(&snapshot.manifest.body.fields)
}

/// A stored time; one outside the calendar becomes its nearest end.
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

pub(crate) const fn consistency(stored: manifest::Consistency) -> Consistency {
    match stored {
        manifest::Consistency::Exact => Consistency::Exact,
        manifest::Consistency::Fuzzy => Consistency::Fuzzy,
    }
}

/// What is known of a repository's snapshots.
#[derive(Debug)]
pub struct Listing {
    /// Those within the scope, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// How many manifests and notes cannot be read: whatever is said of all snapshots is incomplete then.
    pub unreadable: usize,
}

/// The snapshots within the scope, oldest first. Manifests that cannot be read are noted, not hidden.
pub fn list(repo: &Repo, scope: &Scope, monitor: &dyn Monitor) -> Result<Vec<Snapshot>, EngineError> {
    Ok(listing(repo, scope, monitor)?.snapshots)
}

/// [`list`], and whether that is all.
pub fn listing(repo: &Repo, scope: &Scope, monitor: &dyn Monitor) -> Result<Listing, EngineError> {
    let mut found = repo.snapshots()?;
    for (path, error) in &found.damaged {
        monitor.note(&format!("{path} cannot be read and is left out: {}; run `zooark check`", error_chain(error)));
    }
    found.snapshots.retain(|snapshot| is_within(snapshot, scope));
    found.snapshots.sort_by_key(|snapshot| (time(snapshot), snapshot.manifest.seq, snapshot.manifest.id));
    Ok(Listing { snapshots: found.snapshots, unreadable: found.damaged.len() })
}

/// An error and what caused it, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The snapshot that a reference means.
///
/// `latest`, times and zxids never mean a suspect or incomplete snapshot; an id may mean any, of any cluster.
pub fn resolve(
    repo: &Repo,
    reference: &SnapshotRef,
    scope: &Scope,
    monitor: &dyn Monitor,
) -> Result<Snapshot, EngineError> {
    if let SnapshotRef::Id(prefix) = reference {
        let everything = repo.snapshots()?;
        return match everything.find(prefix) {
            Err(repository::RepositoryError::NoSuchSnapshot { .. }) if !everything.damaged.is_empty() => {
                Err(EngineError::new(
                    ErrorKind::Damage,
                    format!(
                        "no snapshot that can be read has an id that begins with {prefix}; {} cannot be read: run `zooark \
                     check`",
                        everything.damaged.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                ))
            }
            found => Ok(found?.clone()),
        };
    }
    let found = listing(repo, scope, monitor)?;
    if found.unreadable > 0 {
        return Err(EngineError::new(
            ErrorKind::Damage,
            format!(
                "which snapshot is {reference} cannot be told while some cannot be read: name one by its id, as `zooark \
                 snapshots` lists them, and run `zooark check`"
            ),
        ));
    }
    choose(found.snapshots, reference)
}

fn choose(snapshots: Vec<Snapshot>, reference: &SnapshotRef) -> Result<Snapshot, EngineError> {
    let none = |why: String| EngineError::new(ErrorKind::Failed, why);
    if snapshots.is_empty() {
        return Err(none(format!("there is no snapshot that {reference} could mean; `zooark backup` makes the first")));
    }
    let held_back = snapshots.iter().filter(|snapshot| !counts(snapshot)).count();
    let mut counting = snapshots.into_iter().filter(counts);
    let found = match reference {
        SnapshotRef::At(at) => counting.rfind(|snapshot| time(snapshot) <= *at),
        SnapshotRef::AtZxid(zxid) => counting
            .filter(|snapshot| zxid_high(snapshot) <= *zxid)
            .max_by_key(|snapshot| (zxid_high(snapshot), time(snapshot))),
        SnapshotRef::Latest { back } => counting.rev().nth(*back),
        SnapshotRef::Id(_) => None,
    };
    found.ok_or_else(|| {
        let aside = if held_back == 0 {
            String::new()
        } else {
            format!(" ({held_back} suspect, incomplete or pre-restore snapshots do not count; name one by its id)")
        };
        none(format!("no snapshot is {reference}{aside}; `zooark snapshots` lists them"))
    })
}
