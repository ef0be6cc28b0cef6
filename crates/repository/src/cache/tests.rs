use super::*;
use crate::ids::BlobKind;

const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
const KEY: WrappedKey = [5; WRAPPED_KEY_LEN];

fn blob(n: u8, size: usize) -> (BlobId, Bytes) {
    (BlobId([n; 32]), vec![n; size].into())
}

#[test]
fn what_was_kept_is_there_after_reopening() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions::at(root.path());
    let index = PackIndex {
        pack: PackId(ulid::Ulid(8)),
        size: 99,
        wrapped: KEY,
        blobs: vec![BlobEntry { id: BlobId([1; 32]), kind: BlobKind::Leaf, len: 7, raw_len: 8 }],
    };
    {
        let cache = Cache::open(&options, REPOSITORY);
        assert_eq!(cache.status(), &CacheStatus::Open);
        cache.put_blobs(&KEY, &[blob(1, 50), blob(2, 5000)]);
        cache.put_pack(&index);
        cache.put_manifest("snapshots/x/1", b"m");
        cache.put_fact("newest", b"1");
    }
    let cache = Cache::open(&options, REPOSITORY);
    for (id, bytes) in [blob(1, 50), blob(2, 5000)] {
        assert!(cache.has_blob(&id));
        assert_eq!(cache.blob(&id), Some((KEY, bytes)));
    }
    assert_eq!(cache.blob(&BlobId([3; 32])), None);
    assert_eq!(cache.pack(index.pack), Some(index));
    assert_eq!(cache.manifest("snapshots/x/1").unwrap(), "m");
    assert_eq!(cache.fact("newest").unwrap(), b"1");
    cache.forget_manifest("snapshots/x/1");
    assert_eq!(cache.manifest("snapshots/x/1"), None);
}

#[test]
fn the_second_to_open_it_does_without() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions::at(root.path());
    let first = Cache::open(&options, REPOSITORY);
    let second = Cache::open(&options, REPOSITORY);
    assert_eq!((first.status(), second.status()), (&CacheStatus::Open, &CacheStatus::Busy));
    second.put_blobs(&KEY, &[blob(1, 50)]);
    assert_eq!(second.blob(&BlobId([1; 32])), None);
    drop(first);
    assert!(Cache::open(&options, REPOSITORY).is_open());
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions::at(root.path());
    let folder = root.path().join(REPOSITORY.to_string());
    Cache::open(&options, REPOSITORY).put_fact("x", b"1");
    std::fs::write(folder.join("CURRENT"), "nonsense").unwrap();
    let cache = Cache::open(&options, REPOSITORY);
    assert_eq!(cache.status(), &CacheStatus::Open);
    assert_eq!(cache.fact("x"), None);
}

#[test]
fn an_unusable_place_is_reported_not_fatal() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let cache = Cache::open(&CacheOptions::at(file), REPOSITORY);
    assert!(matches!(cache.status(), CacheStatus::Failed(_)));
    assert_eq!(cache.blob(&BlobId([1; 32])), None);
}

#[test]
fn blobs_not_used_for_longest_go_first() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions { budget_bytes: 100_000, ..CacheOptions::at(root.path()) };
    let mut cache = Cache::open(&options, REPOSITORY);
    for n in 0..9 {
        cache.put_blobs(&KEY, &[blob(n, 10_000)]);
    }
    cache.open.as_mut().unwrap().today += 1;
    let used = BlobId([0; 32]);
    assert!(cache.blob(&used).is_some());
    cache.put_blobs(&KEY, &[blob(20, 10_000)]);
    let left = (0..9).filter(|n| cache.has_blob(&BlobId([*n; 32]))).count();
    assert!(cache.has_blob(&used) && cache.has_blob(&BlobId([20; 32])), "what was used later stays");
    assert!((5..=6).contains(&left), "{left} of nine old blobs are left within four fifths of the budget");
}

/// Command lines open it for a few milliseconds at a time.
#[test]
fn opening_is_quick() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions::at(root.path());
    {
        let cache = Cache::open(&options, REPOSITORY);
        for n in 0..200 {
            cache.put_blobs(&KEY, &[blob(n, 20_000)]);
        }
    }
    let mut times = Vec::new();
    for n in 0..7 {
        let start = std::time::Instant::now();
        let cache = Cache::open(&options, REPOSITORY);
        let opened = start.elapsed();
        assert!(cache.blob(&BlobId([n; 32])).is_some());
        let read = start.elapsed();
        drop(cache);
        times.push((opened, read, start.elapsed()));
    }
    times.sort();
    println!("open, +get, +close: {:?}", times[times.len() / 2]);
    assert!(times[0].2.as_millis() < 500, "{times:?}");
}
