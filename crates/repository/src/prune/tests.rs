use std::time::Duration;

use super::*;
use crate::backend::{Operation, StoreErrorKind};
use crate::blobs::{BlobSink, PlainBlob};
use crate::cache::CacheOptions;
use crate::crypto::fill_random;
use crate::ids::{BlobId, BlobKind, LineageId};
use crate::manifest::Manifest;
use crate::pack::pack_path;
use crate::repository::tests::{LINEAGE, back_up, fields, get, new_repository, put, reopen, table};
use crate::session::{BackupSession, CommitOutcome};
use crate::simulated::{Simulation, Verdict};
use crate::table::TableKind;

const DAY: Duration = Duration::from_hours(24);

fn prune_with(repository: &Repository, options: &PruneOptions) -> Result<Pruned, RepositoryError> {
    std::thread::scope(|scope| scope.spawn(|| repository.prune(options, &mut |_| Ok(()))).join().unwrap())
}

fn prune(repository: &Repository) -> Pruned {
    prune_with(repository, &PruneOptions::default()).unwrap()
}

fn packs(simulation: &Simulation) -> usize {
    simulation.paths().iter().filter(|path| path.starts_with("packs/")).count()
}

async fn commit_tables(session: &mut BackupSession, tables: Vec<crate::TableRoot>) -> Manifest {
    match session.commit(fields(1), tables).await.unwrap() {
        CommitOutcome::Committed(done) => done.manifest,
        CommitOutcome::Overtaken => panic!("nobody else writes"),
    }
}

/// A backup of its own, no table of the parent kept.
async fn full(repository: &Repository, text: &str) -> Manifest {
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let id = put(&session, repository, text);
    commit_tables(&mut session, vec![table(id, TableKind::Base)]).await
}

async fn readable(repository: &Repository, manifest: &Manifest, text: &str) {
    let reader = repository.reader(&[manifest]).await.unwrap();
    assert_eq!(get(&reader, manifest.tables()[0].root.unwrap()).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_in_two_steps_a_grace_period_apart() {
    let simulation = Simulation::new();
    let repository = new_repository(&simulation.store(), &CacheOptions::none()).await;
    let doomed = full(&repository, "garbage").await;
    let kept = full(&repository, "kept").await;
    repository.forget(&[&doomed], false).await.unwrap();
    let young = prune(&repository);
    assert_eq!((young.young.packs, young.condemned.packs, packs(&simulation)), (1, 0, 2));
    simulation.advance(DAY);
    let dry = prune_with(&repository, &PruneOptions { dry_run: true, ..PruneOptions::default() }).unwrap();
    let lists = simulation.paths().iter().filter(|p| p.starts_with("condemned/")).count();
    assert_eq!(lists, 2, "the first and that of forget: {dry:?}");
    let first = prune(&repository);
    assert_eq!((first.condemned.packs, first.deleted.packs, packs(&simulation)), (1, 0, 2));
    let early = prune(&repository);
    assert_eq!((early.waiting.packs, early.condemned.packs, early.deleted.packs), (1, 0, 0));
    simulation.advance(DAY);
    let second = prune(&repository);
    assert_eq!((second.deleted.packs, second.needed.packs, packs(&simulation)), (1, 1, 1));
    readable(&reopen(&simulation.store(), &CacheOptions::none()).await, &kept, "kept").await;
    assert_eq!(prune(&repository).deleted.packs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exclusive_mode_does_both_steps_at_once() {
    let simulation = Simulation::new();
    let repository = new_repository(&simulation.store(), &CacheOptions::none()).await;
    let doomed = full(&repository, "garbage").await;
    let kept = full(&repository, "kept").await;
    repository.forget(&[&doomed], false).await.unwrap();
    let done = prune_with(&repository, &PruneOptions { grace_s: Some(0), ..PruneOptions::default() }).unwrap();
    assert_eq!((done.condemned.packs, done.deleted.packs, packs(&simulation)), (1, 1, 1));
    readable(&repository, &kept, "kept").await;
    let shorter = prune_with(&repository, &PruneOptions { grace_s: Some(3600), ..PruneOptions::default() });
    assert!(matches!(shorter, Err(RepositoryError::ShortGrace { least_s: 86400, .. })));
}

/// A writer that began before the list names a condemned pack: the pack stays, is listed for good, and the next writer
/// uploads its blobs again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_became_needed_is_rescued_and_avoided() {
    let simulation = Simulation::new();
    let store = simulation.store();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let parent = full(&repository, "shared").await;
    simulation.advance(DAY);
    let mut slow = repository.begin_backup(LINEAGE).await.unwrap();
    let pruner = reopen(&store, &CacheOptions::none()).await;
    pruner.forget(&[&parent], false).await.unwrap();
    assert_eq!(prune(&pruner).condemned.packs, 1);
    // The number after the parent is a tombstone now; without the parent there is nothing to build upon, but the
    // manifest that was under way is written all the same when the tombstone is missed.
    for path in simulation.paths().iter().filter(|p| p.starts_with("snapshots/")) {
        store.delete(path).await.unwrap();
    }
    let id = put(&slow, &repository, "shared");
    let late = commit_tables(&mut slow, vec![table(id, TableKind::Base)]).await;
    assert_eq!(late.packs(), parent.packs());
    simulation.advance(DAY);
    let done = prune(&pruner);
    assert_eq!((done.rescued.packs, done.deleted.packs), (1, 0));
    let next = full(&repository, "shared").await;
    assert_ne!(next.packs(), late.packs(), "what is listed is not named again");
    pruner.forget(&[&late], false).await.unwrap();
    assert_eq!(prune(&pruner).deleted.packs, 1);
    readable(&repository, &next, "shared").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deleted_while_something_is_missing_or_unreadable() {
    let simulation = Simulation::new();
    let store = simulation.store();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let doomed = full(&repository, "garbage").await;
    let kept = full(&repository, "kept").await;
    repository.forget(&[&doomed], false).await.unwrap();
    simulation.advance(DAY);
    prune(&repository);
    simulation.advance(DAY);
    let path = pack_path(kept.packs()[0]);
    let pack = store.get(&path, 1 << 20).await.unwrap();
    store.delete(&path).await.unwrap();
    let refused = prune_with(&repository, &PruneOptions::default()).unwrap_err();
    assert!(matches!(refused, RepositoryError::PackMissing { .. }) && refused.is_damage(), "{refused}");
    store.put(&path, pack).await.unwrap();
    let manifest = store.get(&kept.path, 1 << 20).await.unwrap();
    store.put(&kept.path, "damaged".into()).await.unwrap();
    let cold = reopen(&store, &CacheOptions::none()).await;
    assert!(prune_with(&cold, &PruneOptions::default()).unwrap_err().is_damage());
    assert_eq!(packs(&simulation), 2);
    store.put(&kept.path, manifest).await.unwrap();
    assert_eq!(prune(&repository).deleted.packs, 1);
}

/// A bucket that refuses deletes: everything else goes on, and the count says what is pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_deletes_leave_prune_pending() {
    let simulation = Simulation::new();
    let repository = new_repository(&simulation.store(), &CacheOptions::none()).await;
    let doomed = full(&repository, "garbage").await;
    let kept = full(&repository, "kept").await;
    repository.forget(&[&doomed], false).await.unwrap();
    simulation.advance(DAY);
    prune(&repository);
    simulation.advance(DAY);
    simulation.judge(|operation, _| match operation {
        Operation::Delete => Verdict::Fail(StoreErrorKind::Permission),
        _ => Verdict::Do,
    });
    let pending = prune(&repository);
    assert!(pending.refused >= 1 && pending.refusal.is_some() && pending.deleted.packs == 0, "{pending:?}");
    let next = full(&repository, "next").await;
    readable(&repository, &kept, "kept").await;
    readable(&repository, &next, "next").await;
    let check = || crate::check::check(&repository, &crate::check::CheckOptions::default(), &mut |_| ()).unwrap();
    let stats = std::thread::scope(|scope| scope.spawn(check).join().unwrap());
    assert_eq!((stats.damage, stats.unused_packs), (0, 1));
    let forgotten = repository.forget(&[&next], false).await.unwrap();
    assert_eq!((forgotten.forgotten.len(), forgotten.refused.len()), (0, 1));
    readable(&repository, &next, "next").await;
    assert_eq!(prune(&repository).refused, pending.refused, "as often as one asks");
    simulation.judge(|_, _| Verdict::Do);
    assert_eq!(prune(&repository).deleted.packs, 1);
}

fn noise(session: &BackupSession, repository: &Repository, n: usize) -> Vec<(BlobId, Vec<u8>)> {
    let mut blobs = Vec::new();
    for _ in 0..n {
        let mut bytes = vec![0; 40_000];
        fill_random(&mut bytes).unwrap();
        let id = repository.identity().blob_id(BlobKind::Leaf, &bytes);
        let blob = PlainBlob { id, kind: BlobKind::Leaf, bytes: &bytes };
        std::thread::scope(|scope| scope.spawn(|| session.put(blob)).join().unwrap()).unwrap();
        blobs.push((id, bytes));
    }
    blobs
}

/// One pack of ten blobs, of which the second snapshot needs one.
async fn mostly_garbage(repository: &Repository) -> (Manifest, BlobId, Vec<u8>) {
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let blobs = noise(&session, repository, 10);
    let tables = blobs.iter().map(|(id, _)| table(*id, TableKind::Base)).collect();
    let whole = commit_tables(&mut session, tables).await;
    assert_eq!(whole.packs().len(), 1);
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let (id, bytes) = blobs[3].clone();
    let kept = commit_tables(&mut session, vec![table(id, TableKind::Base)]).await;
    assert_eq!(kept.packs(), whole.packs());
    repository.forget(&[&whole], false).await.unwrap();
    (kept, id, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_that_are_mostly_garbage_are_repacked() {
    let simulation = Simulation::new();
    let store = simulation.store();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let (kept, id, bytes) = mostly_garbage(&repository).await;
    let old = pack_path(kept.packs()[0]);
    simulation.advance(DAY);
    let none = prune_with(&repository, &PruneOptions { max_repack: 0, ..PruneOptions::default() }).unwrap();
    assert_eq!(none.repacked.packs, 0);
    let small = prune_with(&repository, &PruneOptions { max_repack: 200_000, ..PruneOptions::default() }).unwrap();
    assert_eq!(small.repacked.packs, 0, "a pack that does not fit is left");
    let dry = prune_with(&repository, &PruneOptions { dry_run: true, ..PruneOptions::default() }).unwrap();
    assert_eq!((dry.repacked.packs, packs(&simulation)), (1, 1));
    let done = prune(&repository);
    assert_eq!((done.repacked.packs, done.rewritten.packs, done.condemned.packs, done.segments), (1, 1, 1, 1));
    assert!(done.rewritten.bytes < done.repacked.bytes / 5);
    // A writer takes the copy, and does not name the old pack any more.
    let before = store.counters();
    let mut session = reopen(&store, &CacheOptions::none()).await.begin_backup(LINEAGE).await.unwrap();
    let next = commit_tables(&mut session, vec![table(id, TableKind::Base)]).await;
    assert_ne!(next.packs(), kept.packs());
    assert_eq!(store.counters().since(&before).put, 1, "the manifest alone");
    simulation.advance(DAY);
    let done = prune(&repository);
    assert_eq!((done.deleted.packs, done.repacked.packs, done.condemned.packs), (1, 0, 0));
    assert!(!simulation.paths().contains(&old));
    let cold = reopen(&store, &CacheOptions::none()).await;
    for manifest in [&kept, &next] {
        let reader = cold.reader(&[manifest]).await.unwrap();
        assert_eq!(get(&reader, id).unwrap(), bytes);
    }
    // The list stays for as long as a manifest names the old pack, so that no writer ever does again.
    assert!(cold.shared.store.head(&crate::condemned::condemned_path(1)).await.is_ok());
    let again = prune(&cold);
    assert_eq!((again.deleted.packs, again.condemned.packs, again.repacked.packs), (0, 0, 0));
    cold.forget(&[&kept, &next], false).await.unwrap();
    simulation.advance(DAY);
    prune(&cold);
    simulation.advance(DAY);
    prune(&cold);
    assert_eq!(packs(&simulation), 0, "garbage is gone in the end");
}

/// A crash at every request of a prune that condemns, deletes, repacks and tidies; then one that is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_anywhere_everything_is_readable_and_the_garbage_goes() {
    let mut reached_end = false;
    for crash in 0..200 {
        let simulation = Simulation::new();
        let store = simulation.store();
        let repository = new_repository(&store, &CacheOptions::none()).await;
        let (kept, id, bytes) = mostly_garbage(&repository).await;
        let garbage = full(&repository, "garbage").await;
        repository.forget(&[&garbage], false).await.unwrap();
        simulation.advance(DAY);
        prune(&repository);
        simulation.advance(DAY);
        let mut left = crash / 2;
        simulation.judge(move |_, _| {
            left -= 1;
            match left {
                -1 if crash % 2 == 0 => Verdict::Fail(StoreErrorKind::Other),
                -1 => Verdict::DoThenFail(StoreErrorKind::Other),
                _ => Verdict::Do,
            }
        });
        let crashed = prune_with(&repository, &PruneOptions::default());
        simulation.judge(|_, _| Verdict::Do);
        let cold = reopen(&store, &CacheOptions::none()).await;
        let reader = cold.reader(&[&kept]).await.unwrap();
        assert_eq!(get(&reader, id).unwrap(), bytes, "crash {crash}");
        for _ in 0..3 {
            prune(&cold);
            simulation.advance(DAY);
        }
        let reader = reopen(&store, &CacheOptions::none()).await.reader(&[&kept]).await.unwrap();
        assert_eq!(get(&reader, id).unwrap(), bytes, "crash {crash}");
        assert_eq!(packs(&simulation), 1, "crash {crash}");
        if crashed.is_ok() {
            reached_end = true;
            break;
        }
    }
    assert!(reached_end);
}

/// Segments, catalogs, tombstones, notes and lists do not pile up, and a listing of many snapshots costs few requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_keeps_everything_few() {
    let simulation = Simulation::new();
    let store = simulation.store();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    for n in 0..40 {
        full(&repository, &format!("a{n}")).await;
        full(&repository, &format!("b{n}")).await;
        let all = repository.snapshots().await.unwrap().snapshots;
        // Always the newest: each leaves a tombstone and a gap.
        repository.annotate(all.last().unwrap().id(), |note| note.accepted = true).await.unwrap();
        let newest = all.iter().max_by_key(|s| s.manifest.seq).unwrap();
        repository.forget(&[&newest.manifest], false).await.unwrap();
        simulation.advance(DAY / 4);
        prune(&repository);
    }
    for _ in 0..4 {
        simulation.advance(DAY);
        prune(&repository);
    }
    let count = |prefix: &str| simulation.paths().iter().filter(|path| path.starts_with(prefix)).count();
    assert_eq!((count("snapshots/"), count("packs/")), (41, 40), "40 snapshots and the last tombstone");
    assert!(count("index/") <= 9 && count("condemned/") <= 9, "{:?}", simulation.paths());
    assert!(count("catalog/") <= 1);
}

/// Deterministic and in memory: what opening and pruning a large repository costs in requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_snapshots_cost_tens_of_requests() {
    let long = std::env::var_os("ZOOARK_TEST_LONG").is_some();
    let count: u64 = if long { 50_000 } else { 5_000 };
    for lineages in [1_u64, 200] {
        let simulation = Simulation::new();
        let store = simulation.store();
        let repository = new_repository(&store, &CacheOptions::none()).await;
        let sample = full(&repository, "sample").await;
        for n in 0..count {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n % lineages).to_le_bytes());
            let path = crate::manifest::manifest_path(LineageId(id), n / lineages + 1);
            let mut body = sample.body.clone();
            body.fields.time_ms = i64::try_from(n).unwrap();
            let body = crate::manifest::ManifestBody::Snapshot(Box::new(body));
            let object = crate::manifest::encode_manifest(repository.crypto(), &path, &body).unwrap();
            store.put(&path, object.into()).await.unwrap();
        }
        let timed = |what: &str, since: std::time::Instant| {
            println!("{count} snapshots in {lineages} lineages: {what} {:.2} s", since.elapsed().as_secs_f64());
        };
        let since = std::time::Instant::now();
        prune(&repository);
        timed("first prune", since);
        let cold = reopen(&store, &CacheOptions::none()).await;
        let (before, since) = (store.counters(), std::time::Instant::now());
        let listed = cold.snapshots().await.unwrap();
        timed("snapshots", since);
        let spent = store.counters().since(&before);
        assert_eq!(listed.snapshots.len() as u64, count + 1);
        assert!(spent.get + spent.list <= 30, "snapshots: {spent:?}");
        let doomed: Vec<&Manifest> = listed.snapshots.iter().step_by(2).map(|s| &s.manifest).collect();
        let (before, since) = (store.counters(), std::time::Instant::now());
        cold.forget(&doomed, true).await.unwrap();
        timed("forget --dry-run", since);
        let spent = store.counters().since(&before);
        assert_eq!((spent.get, spent.list, spent.put, spent.delete), (0, 1, 0, 0), "forget --dry-run: {spent:?}");
        let (before, since) = (store.counters(), std::time::Instant::now());
        back_up(&reopen(&store, &CacheOptions::none()).await, "more").await;
        timed("backup", since);
        let spent = store.counters().since(&before);
        assert!(spent.get + spent.list + spent.put + spent.head <= 12, "backup: {spent:?}");
        let (before, since) = (store.counters(), std::time::Instant::now());
        prune(&cold);
        timed("prune", since);
        let spent = store.counters().since(&before);
        assert!(spent.get + spent.list + spent.put + spent.head <= 40, "prune: {spent:?}");
    }
}
