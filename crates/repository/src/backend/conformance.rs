//! What every store must do, as one suite that any store can be put through.
//!
//! Each check panics with a description on the first difference. The store must be empty and writable.

use bytes::Bytes;
use futures::future::join_all;

use super::{Store, StoreErrorKind};

/// Runs every check.
///
/// # Panics
/// When the store does not behave as the repository needs.
pub async fn run(store: &Store) {
    run_without_exclusive_creates(store).await;
    creating(store).await;
}

/// Runs every check but that of exclusive creation, for stores known to lack it: repositories work around that.
///
/// # Panics
/// When the store does not behave as the repository needs.
pub async fn run_without_exclusive_creates(store: &Store) {
    absence(store).await;
    reading(store).await;
    listing(store).await;
    deleting(store).await;
}

async fn absence(store: &Store) {
    let kind = |r: Result<Bytes, super::StoreError>| r.expect_err("an absent object was read").kind;
    assert_eq!(kind(store.get("packs/202611/absent", 10).await), StoreErrorKind::NotFound, "get of an absent object");
    assert_eq!(kind(store.get_range("absent", 0..1).await), StoreErrorKind::NotFound, "range of an absent object");
    assert!(store.get_tail("absent", 8).await.expect_err("tail of an absent object").is_not_found());
    assert!(store.head("absent").await.expect_err("head of an absent object").is_not_found());
    assert!(store.list_sorted("snapshots/").await.expect("an empty prefix lists").is_empty());
    store.delete("absent").await.expect("deleting an absent object is no error");
}

async fn reading(store: &Store) {
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    store.put("packs/202611/body", body.clone().into()).await.expect("put");
    assert_eq!(store.get("packs/202611/body", 200_000).await.expect("get"), body);
    let refused = store.get("packs/202611/body", 199_999).await.expect_err("the limit holds").kind;
    assert_eq!(refused, StoreErrorKind::TooLarge { size: 200_000, limit: 199_999 });
    for (start, end) in [(0, 1), (0, 200_000), (199_999, 200_000), (70_000, 150_001)] {
        let bytes = store.get_range("packs/202611/body", start as u64..end as u64).await.expect("range");
        assert_eq!(bytes, body[start..end], "bytes {start}..{end}");
    }
    for range in [199_990..200_001, 300_000..300_010] {
        let past = store.get_range("packs/202611/body", range.clone()).await;
        assert_eq!(past.expect_err("a range past the end").kind, StoreErrorKind::TooShort, "{range:?}");
    }
    for length in [1_usize, 100, 200_000, 300_000] {
        let piece = store.get_tail("packs/202611/body", length as u64).await.expect("tail");
        assert_eq!(piece.object_size, 200_000, "tail of {length}");
        assert_eq!(piece.bytes, body[200_000 - length.min(200_000)..], "tail of {length}");
    }
    store.put("packs/202611/body", Bytes::from_static(b"other")).await.expect("put replaces");
    assert_eq!(store.get("packs/202611/body", 100).await.expect("get"), "other");
    store.put("empty", Bytes::new()).await.expect("an empty object");
    assert_eq!(store.get("empty", 0).await.expect("get of an empty object"), "");
    let piece = store.get_tail("empty", 8).await.expect("tail of an empty object");
    assert_eq!((piece.object_size, piece.bytes.len()), (0, 0), "tail of an empty object");
    assert_eq!(store.head("packs/202611/body").await.expect("head").size, 5);
    store.delete("empty").await.expect("delete");
    store.delete("packs/202611/body").await.expect("delete");
}

async fn creating(store: &Store) {
    store.put_if_absent("snapshots/l/1", Bytes::from_static(b"one")).await.expect("create");
    let again = store.put_if_absent("snapshots/l/1", Bytes::from_static(b"two")).await;
    assert!(again.expect_err("a second create must fail").is_already_exists());
    assert_eq!(store.get("snapshots/l/1", 10).await.expect("get"), "one", "the first create stands");
    for round in 0..4 {
        let path = format!("snapshots/race/{round}");
        let racers = (0..16).map(|i| store.put_if_absent(&path, Bytes::from(format!("writer {i}"))));
        let results = join_all(racers).await;
        let winners: Vec<usize> = results.iter().enumerate().filter(|(_, r)| r.is_ok()).map(|(i, _)| i).collect();
        assert_eq!(winners.len(), 1, "exactly one concurrent create wins, not {winners:?}");
        assert_eq!(store.get(&path, 100).await.expect("get"), format!("writer {}", winners[0]));
        store.delete(&path).await.expect("delete");
    }
    store.delete("snapshots/l/1").await.expect("delete");
}

async fn listing(store: &Store) {
    let mut paths: Vec<String> = (0..30).map(|i| format!("notes/{:02}/x{i}", i % 3)).collect();
    paths.extend(["notes/00".to_owned() + "-flat", "notesnot/x".to_owned(), "config".to_owned()]);
    for path in &paths {
        store.put(path, Bytes::from(path.clone())).await.expect("put");
    }
    let mut expected: Vec<&String> = paths.iter().filter(|p| p.starts_with("notes/")).collect();
    expected.sort();
    let found = store.list_sorted("notes/").await.expect("list");
    assert_eq!(found.iter().map(|o| &o.path).collect::<Vec<_>>(), expected, "objects below notes/");
    assert!(found.iter().all(|o| o.size == o.path.len() as u64), "listings carry sizes");
    assert_eq!(store.list_sorted("").await.expect("list all").len(), paths.len());
    let head = store.head("config").await.expect("head");
    let listed = store.list_sorted("").await.expect("list").into_iter().find(|o| o.path == "config");
    assert_eq!(Some(head.size), listed.map(|o| o.size));
    for path in &paths {
        store.delete(path).await.expect("delete");
    }
    assert!(store.list_sorted("").await.expect("list").is_empty(), "nothing is left");
}

async fn deleting(store: &Store) {
    store.put("packs/202611/gone", Bytes::from_static(b"x")).await.expect("put");
    store.delete("packs/202611/gone").await.expect("delete");
    store.delete("packs/202611/gone").await.expect("delete twice");
    assert!(store.get("packs/202611/gone", 9).await.expect_err("deleted").is_not_found());
}
