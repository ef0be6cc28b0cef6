//! Repairing a repository: its indexes, and what is left of damaged snapshots.

use repository::manifest::Gap;
use repository::record::session_of;
use repository::repair::{Describe, IndexRepaired, Lost, Mended, SnapshotRepair, SnapshotsRepaired, Unreadable};
use repository::{PackId, RecordRef, RepositoryError, Snapshot};
use serde::Serialize;
use zk_format::{key, path};

use crate::backup::raw_size;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableObject {
    /// Its path in the store.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

impl From<Unreadable> for UnreadableObject {
    fn from(Unreadable { path, reason }: Unreadable) -> Self {
        Self { object: path, problem: reason }
    }
}

fn objects(all: Vec<Unreadable>) -> Vec<UnreadableObject> {
    all.into_iter().map(UnreadableObject::from).collect()
}

/// A pack whose blobs were found in others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundElsewhere {
    /// The pack.
    pub pack: String,
    /// How many of its blobs.
    pub blobs: u64,
}

/// What `repair index` found and did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndexReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Packs whose footers were read.
    pub packs: u64,
    /// Packs that cannot be read.
    pub unreadable_packs: Vec<UnreadableObject>,
    /// Packs that are gone or unreadable, and whose blobs are in others.
    pub found_elsewhere: Vec<FoundElsewhere>,
    /// Blobs of snapshots that are nowhere.
    pub lost_blobs: u64,
    /// Snapshots that need one of those.
    pub damaged_snapshots: Vec<String>,
    /// Manifests that cannot be read.
    pub unreadable_manifests: Vec<UnreadableObject>,
    /// Segments, catalogs and condemned lists that could not be read and were made anew.
    pub replaced: Vec<UnreadableObject>,
    /// Index segments written.
    pub segments_written: u64,
    /// Objects that the store refuses to delete.
    pub refused: u64,
    /// What it said.
    pub refusal: Option<String>,
}

impl IndexReport {
    fn new(done: IndexRepaired, dry_run: bool) -> Self {
        let found = done.found_elsewhere.into_iter();
        Self {
            dry_run,
            packs: done.packs,
            unreadable_packs: objects(done.unreadable_packs),
            found_elsewhere: found.map(|(pack, blobs)| FoundElsewhere { pack: pack.to_string(), blobs }).collect(),
            lost_blobs: done.lost_blobs,
            damaged_snapshots: done.damaged_snapshots.iter().map(ToString::to_string).collect(),
            unreadable_manifests: objects(done.unreadable_manifests),
            replaced: objects(done.replaced),
            segments_written: done.segments,
            refused: done.refused,
            refusal: done.refusal,
        }
    }

    /// Whether something is damaged that this does not mend.
    pub fn damage_is_left(&self) -> bool {
        self.lost_blobs > 0 || !self.damaged_snapshots.is_empty() || !self.unreadable_manifests.is_empty()
    }
}

/// What a snapshot has lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Where it begins.
    pub path: String,
    /// What is lost there.
    pub lost: String,
}

/// A damaged snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MendedSnapshot {
    /// Its id.
    pub damaged_id: String,
    /// The id of the one with what is left; null on a dry run, and where nothing is left.
    pub repaired_id: Option<String>,
    /// Whether an earlier run wrote that.
    pub earlier: bool,
    /// Nodes left; on a dry run an estimate.
    pub nodes: u64,
    /// Nodes the damaged one had.
    pub nodes_before: u64,
    /// What is lost.
    pub losses: Vec<Loss>,
}

impl From<Mended> for MendedSnapshot {
    fn from(mended: Mended) -> Self {
        let loss = |gap: Gap| Loss { path: path::display(&gap.path).to_string(), lost: gap.reason };
        Self {
            damaged_id: mended.damaged.to_string(),
            repaired_id: mended.repaired.map(|id| id.to_string()),
            earlier: mended.earlier,
            nodes: mended.nodes,
            nodes_before: mended.nodes_before,
            losses: mended.gaps.into_iter().map(loss).collect(),
        }
    }
}

/// What `repair snapshots` found and did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SnapshotsReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Whether what was repaired, and what nothing can read, was to be forgotten.
    pub forget: bool,
    /// Snapshots looked through.
    pub snapshots: u64,
    /// Damaged ones.
    pub mended: Vec<MendedSnapshot>,
    /// Manifests that are as they were again, from the local cache.
    pub rewritten: Vec<String>,
    /// Manifests that cannot be read: their snapshots are lost.
    pub unreadable_manifests: Vec<UnreadableObject>,
    /// Notes that cannot be read.
    pub unreadable_notes: Vec<UnreadableObject>,
    /// Damaged packs that no new snapshot will name.
    pub avoided_packs: Vec<String>,
    /// Snapshots, manifests and notes deleted.
    pub deleted: u64,
    /// Objects that the store refuses to delete.
    pub refused: u64,
    /// What it said.
    pub refusal: Option<String>,
    /// Only some snapshots were asked for: what cannot be read at all stays.
    #[serde(skip)]
    pub only_some: bool,
}

impl SnapshotsReport {
    fn new(done: SnapshotsRepaired, request: &SnapshotRepair) -> Self {
        Self {
            dry_run: request.dry_run,
            forget: request.forget,
            snapshots: done.snapshots,
            mended: done.mended.into_iter().map(MendedSnapshot::from).collect(),
            rewritten: done.rewritten,
            unreadable_manifests: objects(done.unreadable_manifests),
            unreadable_notes: objects(done.unreadable_notes),
            avoided_packs: done.avoided_packs.iter().map(PackId::to_string).collect(),
            deleted: done.deleted,
            refused: done.refused,
            refusal: done.refusal,
            only_some: request.only.is_some(),
        }
    }

    /// Whether damaged objects are still there.
    pub fn damage_is_left(&self) -> bool {
        let unreadable = !self.unreadable_manifests.is_empty() || !self.unreadable_notes.is_empty();
        let stays = self.dry_run || !self.forget || self.refused > 0;
        (unreadable && (stays || self.only_some)) || (!self.mended.is_empty() && stays)
    }
}

/// Rebuilds indexes from packs.
pub fn index(repo: &Repo, dry_run: bool, monitor: &dyn Monitor) -> Result<IndexReport, EngineError> {
    let done = stepped(monitor, |step| repo.repository().repair_index(dry_run, step))?;
    Ok(IndexReport::new(done, dry_run))
}

/// How to repair snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotsRequest {
    /// Change nothing, say what would be done.
    pub dry_run: bool,
    /// Read every chunk and value.
    pub read_data: bool,
    /// Forget the damaged ones when what is left of them is written.
    pub forget: bool,
}

/// Saves what is left of damaged snapshots: of these, or of all.
pub fn snapshots(
    repo: &Repo,
    only: Option<&[Snapshot]>,
    request: SnapshotsRequest,
    monitor: &dyn Monitor,
) -> Result<SnapshotsReport, EngineError> {
    let SnapshotsRequest { dry_run, read_data, forget } = request;
    let only = only.map(|only| only.iter().map(Snapshot::id).collect());
    let options = SnapshotRepair { dry_run, read_data, forget, only };
    let done = stepped(monitor, |step| repo.repository().repair_snapshots(&options, &Words, step))?;
    Ok(SnapshotsReport::new(done, &options))
}

/// Runs something in steps that are shown; a stop is heeded between them.
pub(crate) fn stepped<T>(
    monitor: &dyn Monitor,
    run: impl FnOnce(&mut (dyn FnMut(&'static str) -> Result<(), RepositoryError> + Send)) -> Result<T, RepositoryError>,
) -> Result<T, EngineError> {
    monitor.begin(Phase::Searching, Unit::Snapshots, None);
    let (mut stopped, mut said) = (None, "");
    let done = run(&mut |step| {
        if step != said {
            monitor.note(step);
            said = step;
        }
        monitor.advance(Phase::Searching, 1);
        monitor.check().map_err(|cancelled| {
            stopped = Some(cancelled);
            RepositoryError::Stopped
        })
    });
    monitor.end(Phase::Searching);
    match (done, stopped) {
        (_, Some(cancelled)) => Err(EngineError::with(
            ErrorKind::Interrupted,
            "stopped between two steps; run it again, it goes on from here",
            cancelled,
        )),
        (done, None) => Ok(done?),
    }
}

/// Keys as paths.
struct Words;

impl Words {
    /// The path of a key, or of the nearest one before it that is whole: fences are cut short.
    fn path(key: &[u8]) -> Vec<u8> {
        if session_of(key).is_some() {
            return b"sessions".to_vec();
        }
        key::decode(key).unwrap_or_default()
    }

    fn range(after: Option<&[u8]>, last_key: &[u8]) -> (Vec<u8>, String) {
        let shown = |key: &[u8]| {
            if session_of(key).is_some() {
                "the sessions".to_owned()
            } else {
                path::display(&Self::path(key)).to_string()
            }
        };
        let from = after.map_or_else(|| "the beginning".to_owned(), |key| format!("what follows {}", shown(key)));
        (after.map(Self::path).unwrap_or_default(), format!("{from} up to {}", shown(last_key)))
    }
}

impl Describe for Words {
    fn gap(&self, lost: &Lost) -> Gap {
        match lost {
            Lost::Records { after, last_key, records } => {
                let (path, range) = Self::range(after.as_deref(), last_key);
                Gap { path, reason: format!("{records} znodes are lost: {range}, in the order of parents, then names") }
            }
            Lost::Changes { after, last_key, entries } => {
                let (path, range) = Self::range(after.as_deref(), last_key);
                let what = format!("{entries} changes are lost, so what is here may be older than the snapshot");
                Gap { path, reason: format!("{what}: {range}, in the order of parents, then names") }
            }
            Lost::Value { key } => {
                Gap { path: Self::path(key), reason: "its value is lost; null stands for it".to_owned() }
            }
            Lost::Parent { key } => Gap {
                path: Self::path(key),
                reason: "it is lost; an empty znode with the ACL of what is above it stands for it".to_owned(),
            },
        }
    }

    fn raw_bytes(&self, record: &RecordRef<'_>) -> u64 {
        raw_size(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_name_paths() {
        let key = |path: &str| key::encode(path.as_bytes());
        let lost = Lost::Records { after: Some(key("/a/b")), last_key: key("/c/d"), records: 7 };
        let gap = Words.gap(&lost);
        assert_eq!(gap.path, b"/a/b");
        assert_eq!(gap.reason, "7 znodes are lost: what follows /a/b up to /c/d, in the order of parents, then names");
        let gap = Words.gap(&Lost::Changes { after: None, last_key: key("/c"), entries: 2 });
        assert!(gap.reason.starts_with("2 changes are lost") && gap.reason.contains("the beginning up to /c"));
    }
}
