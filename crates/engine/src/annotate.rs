//! What may change about a snapshot after it was made: its tags, and whether a suspect one is right after all.

use jiff::Timestamp;
use repository::Snapshot;
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::repo::Repo;
use crate::snapshots;

/// How tags change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChange {
    /// These instead of all present ones.
    pub set: Option<Vec<String>>,
    /// These as well.
    pub add: Vec<String>,
    /// Not these.
    pub remove: Vec<String>,
}

/// A snapshot's tags before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tagged {
    /// The snapshot.
    pub snapshot_id: String,
    /// Sorted.
    pub before: Vec<String>,
    /// Sorted.
    pub after: Vec<String>,
}

impl TagChange {
    fn apply(&self, before: &[String]) -> Vec<String> {
        let mut after = self.set.clone().unwrap_or_else(|| before.to_vec());
        after.extend(self.add.iter().cloned());
        after.retain(|tag| !self.remove.contains(tag));
        after.sort();
        after.dedup();
        after
    }
}

/// Changes the tags of one snapshot; writes nothing on a dry run or where nothing changes.
pub fn tag(repo: &Repo, snapshot: &Snapshot, change: &TagChange, dry_run: bool) -> Result<Tagged, EngineError> {
    let mut before = snapshot.tags().to_vec();
    before.sort();
    let after = change.apply(&before);
    if after != before && !dry_run {
        let tags = after.clone();
        repo.annotate(snapshot.id(), move |note| note.tags = Some(tags))?;
    }
    Ok(Tagged { snapshot_id: snapshot.id().to_string(), before, after })
}

/// Says that a suspect snapshot is right: from now on it counts as any other. Gives the reasons it was held back for.
pub fn accept(repo: &Repo, snapshot: &Snapshot, dry_run: bool) -> Result<String, EngineError> {
    let Some(reasons) = snapshots::suspect(snapshot) else {
        return Err(EngineError::new(
            ErrorKind::Failed,
            format!("snapshot {} is not suspect: there is nothing to accept", snapshot.id().short()),
        ));
    };
    if !dry_run {
        repo.annotate(snapshot.id(), |note| note.accepted = true)?;
    }
    Ok(reasons)
}

/// Keeps a snapshot from being forgotten until a moment, or no longer. Gives what held before.
pub fn protect(
    repo: &Repo,
    snapshot: &Snapshot,
    until: Option<Timestamp>,
    dry_run: bool,
) -> Result<Option<Timestamp>, EngineError> {
    let before = snapshots::info(snapshot).protected_until;
    if before != until && !dry_run {
        repo.annotate(snapshot.id(), move |note| note.protected_until_ms = until.map(Timestamp::as_millisecond))?;
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_sorted_set() {
        let tags = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let change = TagChange { set: None, add: tags(&["b", "a", "b"]), remove: tags(&["c"]) };
        assert_eq!(change.apply(&tags(&["c", "d"])), tags(&["a", "b", "d"]));
        let set = TagChange { set: Some(tags(&["x"])), ..TagChange::default() };
        assert_eq!(set.apply(&tags(&["c"])), tags(&["x"]));
    }
}
