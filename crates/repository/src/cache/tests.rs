use super::*;
use crate::ids::BlobKind;

const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
const KEY: WrappedKey = [5; WRAPPED_KEY_LEN];

fn blob(n: u8, size: usize) -> (BlobId, Bytes) {
    (BlobId([n; 32]), vec![n; size].into())
}

fn open(root: &Path) -> Cache {
    Cache::open(&CacheOptions::at(root), REPOSITORY)
}

fn folder(root: &Path) -> PathBuf {
    root.join(REPOSITORY.to_string())
}

fn journals(root: &Path) -> usize {
    std::fs::read_dir(journal_folder(&folder(root))).map_or(0, Iterator::count)
}

/// Little goes through a journal, much through the database: neither must show.
#[rstest::rstest]
#[case::journal(5_000, 1)]
#[case::database(5_000_000, 0)]
fn what_was_kept_is_there_after_reopening(#[case] size: usize, #[case] files: usize) {
    let root = tempfile::tempdir().unwrap();
    let index = PackIndex {
        pack: PackId(ulid::Ulid(8)),
        size: 99,
        wrapped: KEY,
        blobs: vec![BlobEntry { id: BlobId([1; 32]), kind: BlobKind::Leaf, len: 7, raw_len: 8 }],
    };
    {
        let cache = open(root.path());
        assert_eq!(cache.status(), &CacheStatus::Open);
        cache.put_manifest("snapshots/x/1", b"m");
        cache.put_blobs(&KEY, &[blob(1, 50), blob(2, size)]);
        cache.put_pack(&index);
        cache.put_fact("newest", b"1");
    }
    assert_eq!(journals(root.path()), files);
    let cache = open(root.path());
    for (id, bytes) in [blob(1, 50), blob(2, size)] {
        assert!(cache.has_blob(&id));
        assert_eq!(cache.blob(&id), Some((KEY, bytes)));
    }
    assert_eq!(cache.blob(&BlobId([3; 32])), None);
    assert_eq!(cache.pack(index.pack), Some(index));
    assert_eq!(cache.manifest("snapshots/x/1").unwrap(), "m");
    assert_eq!(cache.fact("newest").unwrap(), "1");
    cache.forget_manifest("snapshots/x/1");
    cache.forget_blob(&BlobId([1; 32]));
    assert_eq!(cache.manifest("snapshots/x/1"), None);
    drop(cache);
    let cache = open(root.path());
    assert_eq!((cache.manifest("snapshots/x/1"), cache.has_blob(&BlobId([1; 32]))), (None, false));
}

#[test]
fn many_journals_are_merged_and_the_latest_row_counts() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..=MAX_JOURNALS + 3 {
        let cache = open(root.path());
        cache.put_fact("latest", n.to_string().as_bytes());
        cache.put_fact(&format!("own {n}"), b"x");
    }
    assert!(journals(root.path()) <= 3, "{}", journals(root.path()));
    let cache = open(root.path());
    assert_eq!(cache.fact("latest").unwrap(), (MAX_JOURNALS + 3).to_string().as_bytes());
    assert!((0..=MAX_JOURNALS + 3).all(|n| cache.fact(&format!("own {n}")).is_some()));
}

#[test]
fn what_does_not_change_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let cache = open(root.path());
        cache.put_fact("x", b"1");
        cache.put_manifest("snapshots/x/1", b"m");
    }
    assert_eq!(journals(root.path()), 1);
}

#[test]
fn while_one_writes_others_read_and_keep_nothing() {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).put_blobs(&KEY, &[blob(1, 5_000_000)]);
    let first = open(root.path());
    let second = open(root.path());
    first.put_blobs(&KEY, &[blob(2, 5_000_000)]);
    second.put_blobs(&KEY, &[blob(3, 5_000_000)]);
    assert!(second.has_blob(&BlobId([1; 32])), "what was there before is read");
    drop((first, second));
    let third = open(root.path());
    assert_eq!((third.has_blob(&BlobId([2; 32])), third.has_blob(&BlobId([3; 32]))), (true, false));
}

#[rstest::rstest]
#[case::database("db/CURRENT")]
#[case::journal("journal/01KAHQ5W00ZZZZZZZZZZZZZZZZ")]
fn a_damaged_cache_is_made_anew(#[case] victim: &str) {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).put_blobs(&KEY, &[blob(1, 5_000_000)]);
    open(root.path()).put_fact("x", b"1");
    std::fs::write(folder(root.path()).join(victim), "nonsense that is longer than a hash of thirty-two bytes")
        .unwrap();
    let cache = open(root.path());
    assert_eq!(cache.status(), &CacheStatus::Open);
    assert_eq!(cache.fact("x").unwrap(), "1", "the other journal is whole");
    cache.put_blobs(&KEY, &[blob(2, 5_000_000)]);
    drop(cache);
    let cache = open(root.path());
    assert_eq!((cache.fact("x").unwrap(), cache.has_blob(&BlobId([2; 32]))), (Bytes::from("1"), true));
}

#[test]
fn torn_journals_are_dropped() {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).put_blobs(&KEY, &[blob(1, 100)]);
    let file = std::fs::read_dir(journal_folder(&folder(root.path()))).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&file, &whole[..len]).unwrap();
        assert_eq!(open(root.path()).blob(&BlobId([1; 32])), None, "cut to {len}");
        assert!(!file.exists());
    }
    std::fs::write(&file, &whole).unwrap();
    assert!(open(root.path()).has_blob(&BlobId([1; 32])));
}

#[test]
fn an_unusable_place_is_reported_not_fatal() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let cache = open(&file);
    assert!(matches!(cache.status(), CacheStatus::Failed(_)));
    assert_eq!(cache.blob(&BlobId([1; 32])), None);
}

#[test]
fn blobs_not_used_for_longest_go_first() {
    let root = tempfile::tempdir().unwrap();
    let options = CacheOptions { budget_bytes: 10_000_000, ..CacheOptions::at(root.path()) };
    let mut cache = Cache::open(&options, REPOSITORY);
    for n in 0..9 {
        cache.put_blobs(&KEY, &[blob(n, 1_000_000)]);
    }
    cache.open.as_mut().unwrap().today += 1;
    let used = BlobId([0; 32]);
    assert!(cache.blob(&used).is_some());
    cache.put_blobs(&KEY, &[blob(20, 1_000_000)]);
    let left = (0..9).filter(|n| cache.has_blob(&BlobId([*n; 32]))).count();
    assert!(cache.has_blob(&used) && cache.has_blob(&BlobId([20; 32])), "what was used later stays");
    assert!((5..=6).contains(&left), "{left} of nine old blobs are left within four fifths of the budget");
}

/// Command lines open it for a few milliseconds at a time; the bound leaves room for a busy machine.
#[test]
fn opening_adding_a_little_and_closing_is_quick() {
    let root = tempfile::tempdir().unwrap();
    open(root.path()).put_blobs(&KEY, &(0..200).map(|n| blob(n, 50_000)).collect::<Vec<_>>());
    let mut times = Vec::new();
    for n in 0..9 {
        let start = std::time::Instant::now();
        let cache = open(root.path());
        let opened = start.elapsed();
        assert!(cache.blob(&BlobId([n; 32])).is_some());
        cache.put_fact("newest", &[n; 10_000]);
        drop(cache);
        times.push((start.elapsed(), opened));
    }
    times.sort();
    println!("whole, open: {:?}", times[times.len() / 2]);
    assert!(times[0].0.as_millis() < 25, "{times:?}");
}
