//! Index segments: `index/<ulid>`, entries of packs whose manifests were forgotten, and which pack replaced which.
//!
//! Written by `forget` and `prune`, never changed. Without them everything can still be read, from the packs' own footers,
//! but for packs that were repacked: a manifest names the old pack, and only a segment says where its blobs are now.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::backend::ObjectInfo;
use crate::codec::{ObjectKind, decode_body, encode, encode_body};
use crate::crypto::{Crypto, WRAPPED_KEY_LEN};
use crate::error::RepositoryError;
use crate::ids::PackId;
use crate::manifest::NewPack;
use crate::seal::{open_object, seal_object};
use crate::shared::Shared;

const VERSION: u8 = 1;
const MAX_BODY: usize = 64 << 20;
/// Longest segment, bytes.
pub const MAX_SEGMENT: u64 = 65 << 20;
/// A writer begins another segment, or catalog, when its entries reach this many bytes.
pub(crate) const FULL: usize = 8 << 20;
const PARALLEL: usize = 16;

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Segment {
    /// Packs and where their entries are.
    pub packs: Vec<NewPack>,
    /// Packs whose needed blobs were copied, and the packs that hold the copies.
    pub replaced: Vec<(PackId, Vec<PackId>)>,
}

/// Packs and their successors.
pub type Replaced = BTreeMap<PackId, BTreeSet<PackId>>;

/// A segment's path.
pub fn segment_path(name: Ulid) -> String {
    format!("index/{}", name.to_string())
}

/// Whether a path names a segment.
pub fn is_segment_path(path: &str) -> bool {
    path.strip_prefix("index/").is_some_and(|name| Ulid::from_string(name).is_ok())
}

/// The object's bytes.
pub fn encode_segment(crypto: &Crypto, path: &str, segment: &Segment) -> Result<Vec<u8>, RepositoryError> {
    let body = encode_body("index segment", segment).map_err(|e| RepositoryError::writing(path, e))?;
    seal_object(crypto, ObjectKind::Index, VERSION, path, b"", &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(path, e))
}

/// Reads an object.
pub fn decode_segment(crypto: &Crypto, path: &str, object: &[u8]) -> Result<Segment, RepositoryError> {
    let damaged = |e: crate::seal::SealError| RepositoryError::reading(path, e);
    let body = open_object(crypto, "index segment", ObjectKind::Index, VERSION, path, 0, object, MAX_BODY);
    let segment: Segment =
        decode_body::<_, MAX_BODY>("index segment", &body.map_err(damaged)?).map_err(|e| damaged(e.into()))?;
    if segment.packs.iter().any(|p| p.wrapped.len() != WRAPPED_KEY_LEN) {
        let what = "a wrapped key has the wrong length".to_owned();
        return Err(RepositoryError::Inconsistent { object: path.to_owned(), what });
    }
    Ok(segment)
}

/// Divides what is to be written into segments of bounded size.
pub(crate) fn divide(
    packs: impl IntoIterator<Item = NewPack>,
    replaced: &Replaced,
) -> Result<Vec<Segment>, RepositoryError> {
    let mut segments = Vec::new();
    let mut open = Segment {
        replaced: replaced.iter().map(|(old, new)| (*old, new.iter().copied().collect())).collect(),
        ..Segment::default()
    };
    let mut size = 0_usize;
    for pack in packs {
        let len = encode("index entries", &pack).map_err(|e| RepositoryError::writing("index/", e))?.len();
        if size.saturating_add(len) > FULL && !open.packs.is_empty() {
            segments.push(std::mem::take(&mut open));
            size = 0;
        }
        size = size.saturating_add(len);
        open.packs.push(pack);
    }
    if !open.packs.is_empty() || !open.replaced.is_empty() {
        segments.push(open);
    }
    Ok(segments)
}

impl Shared {
    /// Writes a segment under a new name; gives its path.
    pub(crate) async fn write_segment(&self, segment: &Segment) -> Result<String, RepositoryError> {
        let path = segment_path(self.clock.name());
        let object = encode_segment(&self.crypto, &path, segment)?;
        self.store.put(&path, object.into()).await?;
        Ok(path)
    }

    /// Reads the listed segments, from the cache where it has them. One that has gone meanwhile was superseded by another, which
    /// may not have been listed yet: it is left out.
    pub(crate) async fn read_segments(&self, listed: &[ObjectInfo]) -> Result<Vec<(String, Segment)>, RepositoryError> {
        let paths = listed.iter().map(|o| o.path.as_str()).filter(|path| is_segment_path(path));
        let reads = stream::iter(paths).map(|path| async move {
            if let Some(segment) =
                self.cache.manifest(path).and_then(|object| decode_segment(&self.crypto, path, &object).ok())
            {
                return Ok(Some((path.to_owned(), segment)));
            }
            let object = match self.store.get(path, MAX_SEGMENT).await {
                Err(e) if e.is_not_found() => return Ok(None),
                other => other?,
            };
            let segment = decode_segment(&self.crypto, path, &object)?;
            self.cache.put_manifest(path, &object);
            Ok::<_, RepositoryError>(Some((path.to_owned(), segment)))
        });
        let found: Vec<_> = reads.buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Reads every segment: the successors of replaced packs.
    pub(crate) async fn load_segments(&self) -> Result<Replaced, RepositoryError> {
        let listed = self.store.list_sorted("index/").await?;
        let mut replaced = Replaced::new();
        for (_, segment) in self.read_segments(&listed).await? {
            join_replaced(&mut replaced, &segment);
        }
        Ok(replaced)
    }
}

/// Adds a segment's replaced packs.
pub(crate) fn join_replaced(replaced: &mut Replaced, segment: &Segment) {
    for (old, new) in &segment.replaced {
        replaced.entry(*old).or_default().extend(new);
    }
}

/// The packs that stand for `pack`: itself, its successors and theirs.
pub(crate) fn with_successors(replaced: &Replaced, pack: PackId) -> BTreeSet<PackId> {
    let mut all = BTreeSet::from([pack]);
    let mut next = vec![pack];
    while let Some(pack) = next.pop() {
        let successors = replaced.get(&pack).into_iter().flatten();
        next.extend(successors.copied().filter(|successor| all.insert(*successor)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RepositoryId;
    use crate::manifest::IndexPlace;

    fn pack(n: u128) -> PackId {
        PackId(Ulid(n))
    }

    fn entry(n: u128) -> NewPack {
        NewPack { pack: pack(n), size: 300, wrapped: vec![9; WRAPPED_KEY_LEN], place: IndexPlace::Footer(251, 7) }
    }

    #[test]
    fn golden_segment() {
        let segment = Segment { packs: vec![entry(2)], replaced: vec![(pack(3), vec![pack(4), pack(5)])] };
        let id = |n: u8| [&[0; 15][..], &[n]].concat();
        let golden = [
            &[1][..],
            &id(2),
            &[251, 44, 1, 76],
            &[9; 76],
            &[1, 251, 251, 0, 7],
            &[1],
            &id(3),
            &[2],
            &id(4),
            &id(5),
            &[0],
        ];
        assert_eq!(encode_body("index segment", &segment).unwrap(), golden.concat());
        crate::golden::assert_documented("index segment", &golden.concat());
        let crypto = Crypto::unencrypted(RepositoryId([1; 16]));
        let object = encode_segment(&crypto, "index/x", &segment).unwrap();
        assert_eq!(object[..8], *b"ZooArk\x06\x01");
        assert_eq!(decode_segment(&crypto, "index/x", &object).unwrap(), segment);
        assert!(decode_segment(&crypto, "index/y", &object).is_err(), "a segment belongs to its path");
    }

    #[test]
    fn successors_are_followed_through_chains_and_circles() {
        let replaced = Replaced::from([
            (pack(1), [pack(2), pack(3)].into()),
            (pack(3), [pack(4)].into()),
            (pack(4), [pack(1)].into()),
        ]);
        assert_eq!(with_successors(&replaced, pack(1)), [1, 2, 3, 4].map(pack).into());
        assert_eq!(with_successors(&replaced, pack(9)), [pack(9)].into());
    }

    #[test]
    fn segments_are_divided_by_size() {
        let count = 200_000;
        let segments = divide((0..count).map(entry), &Replaced::from([(pack(1), [pack(2)].into())])).unwrap();
        assert!(segments.len() >= 2);
        assert_eq!(segments.iter().map(|s| s.packs.len()).sum::<usize>(), 200_000);
        assert_eq!(segments[0].replaced.len(), 1);
        assert!(divide([], &Replaced::new()).unwrap().is_empty());
    }
}
