//! Notes: `notes/<snapshot id>/<ulid>`, what may change about a snapshot after it was made. The newest wins.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::backend::Store;
use crate::codec::{ObjectKind, decode_body, encode_body};
use crate::crypto::Crypto;
use crate::error::RepositoryError;
use crate::ids::SnapshotId;
use crate::seal::{open_object, seal_object};

const VERSION: u8 = 1;
const MAX_BODY: usize = 1 << 20;
/// Longest note, bytes.
pub const MAX_NOTE: u64 = 2 << 20;

/// What is remembered about a snapshot. A note holds all of it, so that the newest alone decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Note {
    /// When the note was written, milliseconds since 1970.
    pub written_ms: i64,
    /// The tags, instead of those in the manifest.
    pub tags: Option<Vec<String>>,
    /// Until when it must be kept, milliseconds since 1970.
    pub protected_until_ms: Option<i64>,
    /// When a whole restore of it was last verified, milliseconds since 1970.
    pub verified_at_ms: Option<i64>,
    /// Whether someone said that a suspect snapshot is right.
    pub accepted: bool,
}

/// Directory of a snapshot's notes.
pub fn notes_prefix(snapshot: SnapshotId) -> String {
    format!("notes/{snapshot}/")
}

/// The snapshot whose note a path is.
pub fn snapshot_of_path(path: &str) -> Option<SnapshotId> {
    let (snapshot, name) = path.strip_prefix("notes/")?.split_once('/')?;
    Ulid::from_string(name).ok()?;
    snapshot.parse().ok()
}

/// Writes a note under `name`, or a later one: it must be newer than all others of the snapshot, of which `after` is the newest
/// known.
pub async fn write_note(
    store: &Store,
    crypto: &Crypto,
    snapshot: SnapshotId,
    note: &Note,
    mut name: Ulid,
    after: Option<Ulid>,
) -> Result<Ulid, RepositoryError> {
    // A clock behind the last writer's must not make this note lose.
    if let Some(after) = after.filter(|a| *a >= name) {
        name = after.increment().unwrap_or(after);
    }
    let path = format!("{}{}", notes_prefix(snapshot), name.to_string());
    let body = encode_body("note", note).map_err(|e| RepositoryError::writing(&path, e))?;
    let object = seal_object(crypto, ObjectKind::Note, VERSION, &path, b"", &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(&path, e))?;
    store.put(&path, object.into()).await?;
    Ok(name)
}

/// Reads one note.
pub fn decode_note(crypto: &Crypto, path: &str, object: &[u8]) -> Result<Note, RepositoryError> {
    let damaged = |e: crate::seal::SealError| RepositoryError::reading(path, e);
    let body = open_object(crypto, "note", ObjectKind::Note, VERSION, path, 0, object, MAX_BODY).map_err(damaged)?;
    decode_body::<_, MAX_BODY>("note", &body).map_err(|e| damaged(e.into()))
}

/// The newest note of a snapshot, and its name.
pub async fn newest_note(
    store: &Store,
    crypto: &Crypto,
    snapshot: SnapshotId,
) -> Result<Option<(Ulid, Note)>, RepositoryError> {
    let listed = store.list_sorted(&notes_prefix(snapshot)).await?;
    let newest = listed.iter().rev().find_map(|o| Some((o, Ulid::from_string(o.path.rsplit('/').next()?).ok()?)));
    let Some((object, name)) = newest else { return Ok(None) };
    let bytes = match store.get(&object.path, MAX_NOTE).await {
        // The snapshot is being forgotten.
        Err(e) if e.is_not_found() => return Ok(None),
        other => other?,
    };
    Ok(Some((name, decode_note(crypto, &object.path, &bytes)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RepositoryId;

    #[tokio::test]
    async fn the_newest_note_wins_even_over_a_later_clock() {
        let store = Store::memory();
        let crypto = Crypto::unencrypted(RepositoryId([1; 16]));
        let id = SnapshotId([5; 32]);
        assert_eq!(newest_note(&store, &crypto, id).await.unwrap(), None);
        let future = Ulid::from_parts(u64::MAX >> 20, 3);
        let old = Note { accepted: false, written_ms: 1, ..Note::default() };
        let new = Note { accepted: true, tags: Some(vec!["a".to_owned()]), ..Note::default() };
        write_note(&store, &crypto, id, &old, Ulid::generate(), Some(future)).await.unwrap();
        let (name, found) = newest_note(&store, &crypto, id).await.unwrap().unwrap();
        assert_eq!(found, old);
        write_note(&store, &crypto, id, &new, Ulid::generate(), Some(name)).await.unwrap();
        assert_eq!(newest_note(&store, &crypto, id).await.unwrap().unwrap().1, new);
    }

    #[test]
    fn golden_note() {
        let note = Note {
            written_ms: 2,
            tags: Some(vec!["t".to_owned()]),
            protected_until_ms: Some(-1),
            verified_at_ms: None,
            accepted: true,
        };
        let golden = [4, 1, 1, 1, b't', 1, 1, 0, 1, 0];
        assert_eq!(encode_body("note", &note).unwrap(), golden);
        crate::golden::assert_documented("note", &golden);
    }
}
