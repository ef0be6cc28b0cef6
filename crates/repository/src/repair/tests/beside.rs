//! Repairs while others go on: backups that commit, prunes that read everything before, processes that die.

use std::sync::Mutex;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};

use super::*;
use crate::backend::{Driver, ObjectInfo, Operation, Part, Piece, StoreError, StoreErrorKind, StoreOptions};
use crate::condemned::read_condemned;
use crate::notes::Note;
use crate::pack::pack_of_path;
use crate::prune::write_list;
use crate::simulated::{Simulation, Verdict};

/// What is put into a store while it is being listed.
type Meanwhile = Mutex<Vec<(String, Bytes)>>;

/// A store whose listing of everything takes long: between its packs and its manifests a backup commits.
#[derive(Debug)]
struct SlowListing(Simulation, Meanwhile);

impl Driver for SlowListing {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        self.0.get(path, part)
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.put(path, bytes, create)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let listed = async move {
            let mut found: Vec<ObjectInfo> = self.0.list(prefix).try_collect().await?;
            let new = std::mem::take(&mut *self.1.lock().unwrap());
            for (path, bytes) in new {
                self.0.put(&path, bytes, true).await?;
            }
            let later: Vec<ObjectInfo> = self.0.list(prefix).try_collect().await?;
            found.retain(|o| pack_of_path(&o.path).is_some());
            found.extend(later.into_iter().filter(|o| pack_of_path(&o.path).is_none()));
            Ok(futures::stream::iter(found.into_iter().map(Ok)))
        };
        listed.try_flatten_stream().boxed()
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.delete(path)
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        self.0.head(path)
    }
}

/// A listing of packs that was over before a backup uploaded, and one of manifests that shows the backup, made of a
/// snapshot a damaged one: `repair snapshots --forget` would have deleted it, and `check` reported it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_commits_meanwhile_is_not_taken_for_damaged() {
    for look in ["check", "repair index", "repair snapshots"] {
        let simulation = Simulation::new();
        let store = simulation.store();
        let repository = new_repository(&store, &CacheOptions::none()).await;
        let old = full(&repository, LINEAGE, &records(300)).await;
        let before: BTreeSet<String> = simulation.paths().into_iter().collect();
        let new = full(&repository, ELSEWHERE, &records(400)).await;
        let mut late = Vec::new();
        for path in simulation.paths().into_iter().filter(|path| !before.contains(path)) {
            late.push((path.clone(), store.get(&path, 1 << 27).await.unwrap()));
            store.delete(&path).await.unwrap();
        }
        assert_eq!(late.len(), 2);
        let driver = Box::new(SlowListing(simulation.clone(), Mutex::new(late)));
        let slow = Store::with_driver(driver, "simulated store", &StoreOptions::default());
        let slow = reopen(&slow, &CacheOptions::none()).await;
        match look {
            "check" => assert_eq!(findings(&slow), []),
            "repair index" => assert_eq!(index(&slow, false).lost_blobs, 0),
            _ => {
                let done = repair(&slow, &SnapshotRepair { forget: true, ..SnapshotRepair::default() });
                assert_eq!((done.mended.len(), done.deleted), (0, 0));
            }
        }
        for id in [old, new] {
            content(&reopen(&store, &CacheOptions::none()).await, id).await;
        }
    }
}

/// What is found in a condemned pack only is copied: the prune that deletes the pack may have read everything before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_for_a_lost_pack_is_on_no_list() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(2000);
    let id = full(&repository, LINEAGE, &all).await;
    let right = content(&repository, id).await;
    let gone = paths(&store, "packs/").await;
    let other = full(&repository, ELSEWHERE, &all).await;
    let there: Vec<String> = paths(&store, "packs/").await.into_iter().filter(|path| !gone.contains(path)).collect();
    let listed = there.iter().filter_map(|path| pack_of_path(path)).collect();
    let other = manifest(&repository, other).await;
    repository.forget(&[&other], false).await.unwrap();
    let list = Condemned { since_ms: 1, packs: listed, objects: Vec::new() };
    write_list(&repository.shared, &list).await.unwrap();
    for path in &gone {
        store.delete(path).await.unwrap();
    }
    let found = index(&repository, false);
    assert_eq!((found.lost_blobs, found.found_elsewhere.len()), (0, gone.len()), "{found:?}");
    for path in &there {
        store.delete(path).await.unwrap();
    }
    let fresh = reopen(&store, &CacheOptions::none()).await;
    assert_eq!(content(&fresh, id).await, right);
    assert_eq!(findings(&fresh), []);
}

/// A list that cannot be read may have had packs that snapshots name by now, and a prune that read it may be about to
/// delete them. Whoever begins after the repair refers to none of them, and a death at any request leaves either a list that cannot
/// be read, which stops writers, or the further one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_list_nothing_old_is_referred_to() {
    let all = records(300);
    for fails_at in 0.. {
        let simulation = Simulation::new();
        let store = simulation.store();
        let repository = new_repository(&store, &CacheOptions::none()).await;
        full(&repository, LINEAGE, &all).await;
        let old: BTreeSet<String> = paths(&store, "packs/").await.into_iter().collect();
        let packs = old.iter().filter_map(|path| pack_of_path(path)).collect();
        let rescued = Condemned { since_ms: 1, packs, objects: Vec::new() };
        let generation = write_list(&repository.shared, &rescued).await.unwrap();
        spoil(&store, &condemned_path(generation)).await;
        let mut changes = 0;
        simulation.judge(move |operation, _| {
            changes += i32::from(matches!(operation, Operation::Put | Operation::Create | Operation::Delete));
            if changes == fails_at + 1 { Verdict::Fail(StoreErrorKind::Other) } else { Verdict::Do }
        });
        let first = outside(|| repository.repair_index(false, &mut |_| Ok(())));
        simulation.judge(|_, _| Verdict::Do);
        let crypto = &repository.shared.crypto;
        if let Ok(avoid) = read_condemned(&store, crypto, None).await {
            assert!(avoid.newest > generation && rescued.packs.iter().all(|pack| avoid.packs.contains(pack)));
        } else {
            assert!(first.is_err(), "it cannot be read");
            index(&repository, false);
        }
        let next = full(&repository, LINEAGE, &all).await;
        let named = manifest(&repository, next).await.packs();
        assert!(named.iter().all(|pack| !old.contains(&crate::pack::pack_path(*pack))), "{named:?}");
        assert_eq!(findings(&repository), []);
        if first.is_ok() {
            assert!(fails_at >= 2, "a list and one that takes the damaged one's place");
            break;
        }
    }
}

/// A repair that dies between a snapshot and its note: the next run makes up for the note, and not for one that somebody
/// took away on purpose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_that_was_not_written_is_made_up_for() {
    let simulation = Simulation::new();
    let store = simulation.store();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let id = full(&repository, LINEAGE, &records(1000)).await;
    let protect = |note: &mut Note| note.protected_until_ms = Some(i64::MAX);
    repository.annotate(id, protect).await.unwrap();
    flip(&store, &repository, BlobKind::Leaf, 0).await;
    let options = SnapshotRepair { read_data: true, ..SnapshotRepair::default() };
    simulation.judge(|operation, path| {
        let is_note = matches!(operation, Operation::Put | Operation::Create) && path.starts_with("notes/");
        if is_note { Verdict::Fail(StoreErrorKind::Other) } else { Verdict::Do }
    });
    outside(|| repository.repair_snapshots(&options, &Plain, &mut |_| Ok(())).unwrap_err());
    simulation.judge(|_, _| Verdict::Do);
    let done = repair(&repository, &options);
    let [mended] = &done.mended[..] else { panic!("{done:?}") };
    let saved = mended.repaired.unwrap();
    assert!(mended.earlier);
    let listed = repository.snapshots().await.unwrap();
    let note = listed.find(&saved.to_string()).unwrap().note.as_ref();
    assert_eq!(note.and_then(|note| note.protected_until_ms), Some(i64::MAX));
    repository.annotate(saved, |note| note.protected_until_ms = None).await.unwrap();
    repair(&repository, &options);
    let listed = repository.snapshots().await.unwrap();
    assert_eq!(listed.find(&saved.to_string()).unwrap().note.as_ref().unwrap().protected_until_ms, None);
}
