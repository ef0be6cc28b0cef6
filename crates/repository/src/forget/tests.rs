use crate::backend::faults::{Effect, faulty};
use crate::backend::{Operation, Store, StoreErrorKind, StoreOptions};
use crate::cache::CacheOptions;
use crate::ids::SnapshotId;
use crate::manifest::{Manifest, manifest_path};
use crate::repository::tests::{LINEAGE, back_up, get, new_repository, reopen};
use crate::repository::{Repository, Snapshot};

async fn ids(repository: &Repository) -> Vec<SnapshotId> {
    repository.snapshots().await.unwrap().snapshots.iter().map(Snapshot::id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_snapshot_can_be_forgotten_and_the_others_are_read_as_before() {
    for victim in 0..3 {
        let store = Store::memory();
        let repository = new_repository(&store, &CacheOptions::none()).await;
        let mut all = Vec::new();
        for text in ["one", "two", "three"] {
            all.push(back_up(&repository, text).await.manifest);
        }
        let doomed = all.remove(victim);
        repository.annotate(doomed.id, |note| note.accepted = true).await.unwrap();
        repository.annotate(all[0].id, |note| note.accepted = true).await.unwrap();
        let dry = repository.forget(&[&doomed], true).await.unwrap();
        assert_eq!((dry.forgotten.len(), ids(&repository).await.len()), (1, 3), "a dry run changes nothing");
        let before = store.counters();
        let done = repository.forget(&[&doomed], false).await.unwrap();
        let newest = victim == 2;
        assert_eq!((done.forgotten, done.notes, done.tombstones), (vec![doomed.id], 1, u64::from(newest)));
        // A segment, the first list and one of its own.
        assert_eq!(store.counters().since(&before).put, 3 + u64::from(newest));
        assert_eq!(store.list_sorted("index/").await.unwrap().len(), 1);
        let cold = reopen(&store, &CacheOptions::none()).await;
        assert_eq!(ids(&cold).await, all.iter().map(|m| m.id).collect::<Vec<_>>());
        for manifest in &all {
            let reader = cold.reader(&[manifest]).await.unwrap();
            for (table, text) in manifest.tables().iter().zip(["one", "two", "three"]) {
                assert_eq!(get(&reader, table.root.unwrap()).unwrap(), text);
            }
        }
        let next = back_up(&cold, "four").await.manifest;
        assert_eq!(next.seq, if newest { 5 } else { 4 }, "a number is never used again");
        assert_eq!(next.body.parent, Some(all[1].id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_all_snapshots_were_forgotten_the_next_is_a_full_one() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = [back_up(&repository, "one").await.manifest, back_up(&repository, "two").await.manifest];
    repository.forget(&all.each_ref(), false).await.unwrap();
    assert!(ids(&repository).await.is_empty());
    let next = back_up(&repository, "three").await.manifest;
    assert_eq!((next.seq, next.body.parent, next.body.stack.len()), (4, None, 1));
    // The tombstone is not the newest any more: forgetting the newest takes a number of its own again.
    assert_eq!(repository.forget(&[&next], false).await.unwrap().tombstones, 1);
    assert!(store.head(&manifest_path(LINEAGE, 5)).await.is_ok());
}

/// Forgetting twice, or what another process forgot meanwhile, is done already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_forgotten() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let one = back_up(&repository, "one").await.manifest;
    assert_eq!(repository.forget(&[&one], false).await.unwrap().tombstones, 1);
    let again = repository.forget(&[&one], false).await.unwrap();
    assert_eq!((again.forgotten.len(), again.tombstones), (1, 0));
    assert_eq!(repository.forget(&[], false).await.unwrap(), super::Forgotten::default());
}

/// A bucket that keeps objects for a time refuses to delete them: the snapshots stay, and the answer says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_deletes_are_reported_and_leave_the_snapshots() {
    let inner = Store::memory();
    let (store, plan) = faulty(&inner, &StoreOptions::default());
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all: Vec<Manifest> =
        vec![back_up(&repository, "one").await.manifest, back_up(&repository, "two").await.manifest];
    plan.add(Operation::Delete, "snapshots/", Effect::Fail(StoreErrorKind::Permission));
    let done = repository.forget(&[&all[0], &all[1]], false).await.unwrap();
    assert_eq!((done.forgotten.len(), done.refused.len()), (1, 1));
    assert!(done.refusal.is_some());
    assert_eq!(ids(&repository).await, done.refused);
}

/// A crash at every request of `forget`: the others can be read, and doing it again finishes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_anywhere_leaves_what_can_be_finished() {
    let places = [
        (Operation::List, 0),
        (Operation::Create, 0),
        (Operation::Put, 0),
        (Operation::Delete, 0),
        (Operation::Delete, 1),
        (Operation::Delete, 2),
    ];
    for (crash, (operation, after)) in places.into_iter().flat_map(|place| [(false, place), (true, place)]) {
        let inner = Store::memory();
        let options = StoreOptions { retries: 0, ..StoreOptions::default() };
        let (store, plan) = faulty(&inner, &options);
        let repository = new_repository(&store, &CacheOptions::none()).await;
        let keep = back_up(&repository, "keep").await.manifest;
        let doomed = [back_up(&repository, "two").await.manifest, back_up(&repository, "three").await.manifest];
        repository.annotate(doomed[0].id, |note| note.accepted = true).await.unwrap();
        let other = StoreErrorKind::Other;
        let effect = if crash { Effect::DoThenFail(other) } else { Effect::Fail(other) };
        plan.add_after(operation, "", after, effect);
        assert!(repository.forget(&doomed.each_ref(), false).await.is_err(), "{operation} {after}");
        let cold = reopen(&inner, &CacheOptions::none()).await;
        let reader = cold.reader(&[&keep]).await.unwrap();
        assert_eq!(get(&reader, keep.tables()[0].root.unwrap()).unwrap(), "keep");
        let listed = cold.snapshots().await.unwrap();
        assert!(listed.damaged.is_empty());
        cold.forget(&doomed.each_ref(), false).await.unwrap();
        assert_eq!(ids(&cold).await, [keep.id]);
        assert!(inner.list_sorted("notes/").await.unwrap().is_empty());
        assert!(back_up(&cold, "next").await.manifest.seq >= 4);
    }
}

/// A host whose cache ends at snapshot 1 looks whether number 2 is free. Another host made 2 and 3, and 2 was forgotten: the
/// number must not be used again, for caches and catalogs know snapshots by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_not_filled_by_a_writer_that_remembers_what_was_before_it() {
    for keep_last in [true, false] {
        let (store, root) = (Store::memory(), tempfile::tempdir().unwrap());
        let host = CacheOptions::at(root.path());
        let repository = new_repository(&store, &host).await;
        back_up(&repository, "one").await;
        drop(repository);
        let other = reopen(&store, &CacheOptions::none()).await;
        let mut doomed = vec![back_up(&other, "two").await.manifest];
        let last = back_up(&other, "three").await.manifest;
        if !keep_last {
            doomed.push(last);
        }
        other.forget(&doomed.iter().collect::<Vec<_>>(), false).await.unwrap();
        let next = back_up(&reopen(&store, &host).await, "four").await.manifest;
        assert_eq!(next.seq, if keep_last { 4 } else { 5 });
    }
}
