//! Condemned lists: `condemned/<generation>`, the packs that prune will delete.
//!
//! Generations are consecutive, created once, removed in ascending order, and the highest is never removed. So a writer
//! that has seen generation n reads n and n + 1, and knows that all is read when n is there and n + 1 is not. The first
//! generation is empty and kept for good: where it is absent there has never been a list. It is no n of a writer's, for when it
//! is there and the second is not, later ones may have come and the second gone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::backend::Store;
use crate::codec::{ObjectKind, decode_body, encode_body};
use crate::crypto::Crypto;
use crate::error::RepositoryError;
use crate::ids::PackId;
use crate::seal::{open_object, seal_object};

const VERSION: u8 = 1;
const MAX_BODY: usize = 64 << 20;
/// The generation that is there for as long as there are lists.
pub(crate) const FIRST: u64 = 1;
/// Longest list, bytes.
pub const MAX_CONDEMNED: u64 = 64 << 20;

/// One list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condemned {
    /// When it was written, milliseconds since 1970 by the store's clock.
    pub since_ms: i64,
    /// The packs.
    pub packs: Vec<PackId>,
    /// Other objects, by path: superseded index segments.
    pub objects: Vec<String>,
}

/// Path of a generation; the first is 1.
pub fn condemned_path(generation: u64) -> String {
    format!("condemned/{generation:020}")
}

/// The generation a path names.
pub fn generation_of_path(path: &str) -> Option<u64> {
    let generation = path.strip_prefix("condemned/")?.parse().ok()?;
    (condemned_path(generation) == path).then_some(generation)
}

/// The object's bytes.
pub fn encode_condemned(crypto: &Crypto, path: &str, list: &Condemned) -> Result<Vec<u8>, RepositoryError> {
    let body = encode_body("condemned list", list).map_err(|e| RepositoryError::writing(path, e))?;
    seal_object(crypto, ObjectKind::Condemned, VERSION, path, b"", &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(path, e))
}

/// Reads an object.
pub fn decode_condemned(crypto: &Crypto, path: &str, object: &[u8]) -> Result<Condemned, RepositoryError> {
    let damaged = |e: crate::seal::SealError| RepositoryError::reading(path, e);
    let body = open_object(crypto, "condemned list", ObjectKind::Condemned, VERSION, path, 0, object, MAX_BODY);
    decode_body::<_, MAX_BODY>("condemned list", &body.map_err(damaged)?).map_err(|e| damaged(e.into()))
}

/// What a writer has to avoid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Avoid {
    /// Highest generation there is; 0 if there are no lists.
    pub newest: u64,
    /// Packs on any list.
    pub packs: BTreeSet<PackId>,
}

/// Reads the lists. With `known` from an earlier reading that is a look whether its newest list is still there (a GET of the
/// first, if there were no lists; a list never changes, so its bytes need not travel again) and one GET of each later
/// number up to the first that is absent; without, one LIST and a GET of each.
pub async fn read_condemned(store: &Store, crypto: &Crypto, known: Option<Avoid>) -> Result<Avoid, RepositoryError> {
    let mut avoid = match known {
        Some(known) if known.newest <= FIRST => match fetch(store, crypto, FIRST).await? {
            None => return Ok(Avoid::default()),
            Some(_) => list_all(store, crypto).await?,
        },
        // While the newest known list is there, so is every later one.
        Some(known) if is_there(store, known.newest).await? => known,
        _ => list_all(store, crypto).await?,
    };
    while let Some(next) = avoid.newest.checked_add(1) {
        let Some(list) = fetch(store, crypto, next).await? else { break };
        avoid.packs.extend(list.packs);
        avoid.newest = next;
    }
    Ok(avoid)
}

/// Whether no list is newer than this one, which was the newest at some time; 0 if there was none. Looks, and
/// reads nothing.
pub(crate) async fn is_newest(store: &Store, generation: u64) -> Result<bool, RepositoryError> {
    match generation {
        0 => Ok(!is_there(store, FIRST).await?),
        FIRST => Ok(false),
        known => Ok(is_there(store, known).await? && !is_there(store, known.saturating_add(1)).await?),
    }
}

async fn is_there(store: &Store, generation: u64) -> Result<bool, RepositoryError> {
    match store.head(&condemned_path(generation)).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn fetch(store: &Store, crypto: &Crypto, generation: u64) -> Result<Option<Condemned>, RepositoryError> {
    let path = condemned_path(generation);
    match store.get(&path, MAX_CONDEMNED).await {
        Ok(object) => decode_condemned(crypto, &path, &object).map(Some),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn list_all(store: &Store, crypto: &Crypto) -> Result<Avoid, RepositoryError> {
    let mut avoid = Avoid::default();
    for object in store.list_sorted("condemned/").await? {
        let Some(generation) = generation_of_path(&object.path) else { continue };
        if let Some(list) = fetch(store, crypto, generation).await? {
            avoid.packs.extend(list.packs);
        }
        avoid.newest = avoid.newest.max(generation);
    }
    Ok(avoid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RepositoryId;
    use ulid::Ulid;

    async fn write(store: &Store, crypto: &Crypto, generation: u64) {
        let path = condemned_path(generation);
        let list = Condemned { packs: vec![PackId(Ulid(u128::from(generation)))], ..Condemned::default() };
        let object = encode_condemned(crypto, &path, &list).unwrap();
        store.put_if_absent(&path, object.into()).await.unwrap();
    }

    #[tokio::test]
    async fn lists_are_followed_without_a_listing() {
        let store = Store::memory();
        let crypto = Crypto::unencrypted(RepositoryId([1; 16]));
        let none = read_condemned(&store, &crypto, None).await.unwrap();
        assert_eq!(none, Avoid::default());
        let before = store.counters();
        assert_eq!(read_condemned(&store, &crypto, Some(none.clone())).await.unwrap(), none);
        let spent = store.counters().since(&before);
        assert_eq!((spent.get, spent.list), (1, 0));
        assert!(is_newest(&store, 0).await.unwrap());
        write(&store, &crypto, 1).await;
        write(&store, &crypto, 2).await;
        assert!(!is_newest(&store, 0).await.unwrap() && is_newest(&store, 2).await.unwrap());
        let two = read_condemned(&store, &crypto, Some(none.clone())).await.unwrap();
        assert_eq!((two.newest, two.packs.len()), (2, 2));
        write(&store, &crypto, 3).await;
        let before = store.counters();
        let three = read_condemned(&store, &crypto, Some(two.clone())).await.unwrap();
        assert_eq!((three.newest, three.packs.len()), (3, 3));
        let spent = store.counters().since(&before);
        assert_eq!((spent.head, spent.get, spent.list), (1, 2, 0));
        // The list a writer knows was removed, and later ones with it: only a listing tells what is left.
        write(&store, &crypto, 4).await;
        store.delete(&condemned_path(2)).await.unwrap();
        store.delete(&condemned_path(3)).await.unwrap();
        let one = Avoid { newest: 1, ..Avoid::default() };
        for known in [none, one, two] {
            assert!(!is_newest(&store, known.newest).await.unwrap());
            let four = read_condemned(&store, &crypto, Some(known)).await.unwrap();
            assert_eq!(four.newest, 4);
            assert!(four.packs.contains(&PackId(Ulid(4))));
        }
    }

    #[test]
    fn golden_list() {
        let list = Condemned { since_ms: 1, packs: vec![PackId(Ulid(2))], objects: vec!["index/x".to_owned()] };
        let golden = [&[2, 1][..], &[0; 15], &[2, 1, 7], b"index/x", &[0]].concat();
        assert_eq!(encode_body("condemned", &list).unwrap(), golden);
        crate::golden::assert_documented("condemned list", &golden);
    }
}
