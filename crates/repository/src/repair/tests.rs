use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::advance::advance;
use crate::backend::Store;
use crate::cache::CacheOptions;
use crate::check::{CheckOptions, Finding, ReadData, Severity, check};
use crate::condemned::{Condemned, condemned_path, encode_condemned};
use crate::ids::{BlobKind, LineageId, SnapshotId};
use crate::manifest::Gap;
use crate::record::{Change, Record, RecordFlags, RecordRef, Value};
use crate::repository::Repository;
use crate::repository::tests::{LINEAGE, fields, new_repository, reopen};
use crate::segment::Segment;
use crate::session::CommitOutcome;
use crate::stack::Stack;
use crate::state_digest::DigestSum;
use crate::table::{KeyRange, TableKind, TableRoot, TableSpan, build_table};
use crate::test_records::{Prng, record};
use crate::tiers::StackPlan;

mod beside;

const ELSEWHERE: LineageId = LineageId([0xcd; 16]);

/// Keys stand for themselves.
struct Plain;

impl Describe for Plain {
    fn gap(&self, lost: &Lost) -> Gap {
        Gap { path: Vec::new(), reason: format!("{lost:?}") }
    }

    fn raw_bytes(&self, record: &RecordRef<'_>) -> u64 {
        record.key.len() as u64
    }
}

fn key(path: &str) -> Vec<u8> {
    zk_format::key::encode(path.as_bytes())
}

/// The root, twenty directories, and `len` znodes in them; every hundredth has a value that lies apart.
fn records(len: usize) -> Vec<Record> {
    let mut prng = Prng(11);
    let mut all = vec![record(&mut prng, b"")];
    all.extend((0..20).map(|dir| record(&mut prng, &key(&format!("/d{dir:02}")))));
    all.extend((0..len).map(|i| {
        let mut one = record(&mut prng, &key(&format!("/d{:02}/n{i:010}", i % 20)));
        if i % 100 == 0 {
            one.value = Value::Bytes((0..6000).map(|_| prng.next().to_le_bytes()[0]).collect());
        }
        one
    }));
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

async fn store_tables(
    repository: &Repository,
    lineage: LineageId,
    make: impl FnOnce(&crate::BackupSession) -> Vec<TableRoot> + Send,
) -> SnapshotId {
    let mut session = repository.begin_backup(lineage).await.unwrap();
    let tables = std::thread::scope(|scope| scope.spawn(|| make(&session)).join().unwrap());
    session.upload_all().await.unwrap();
    let (keys, mut stored) = (repository.identity(), fields(1));
    let digest = std::thread::scope(|scope| {
        let work = || {
            let stack = Stack::new(tables.clone(), session.reader(), keys);
            let (mut sum, mut count) = (DigestSum::new(keys), 0);
            let add = |record: &RecordRef<'_>| {
                sum.add(record);
                count += 1;
            };
            stack.for_each(&KeyRange::all(), add).unwrap();
            (sum.take(), count)
        };
        scope.spawn(work).join().unwrap()
    });
    (stored.state_digest, stored.nodes) = (digest.0.0, digest.1);
    stored.time_ms = i64::try_from(session.parent().map_or(1, |p| p.seq + 1)).unwrap();
    match session.commit(stored, tables).await.unwrap() {
        CommitOutcome::Committed(done) => done.id(),
        CommitOutcome::Overtaken => panic!("nobody else writes"),
    }
}

const BASE: TableSpan = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 9 };

async fn full(repository: &Repository, lineage: LineageId, records: &[Record]) -> SnapshotId {
    let keys = repository.identity();
    store_tables(repository, lineage, |session| vec![build_table(records, keys, session, BASE).unwrap().root]).await
}

async fn more(repository: &Repository, changes: &[Change]) -> SnapshotId {
    let keys = repository.identity();
    let make = |session: &crate::BackupSession| {
        let parent = session.parent().unwrap().tables();
        let stack = Stack::new(parent.clone(), session.reader(), keys);
        advance(&stack, changes, StackPlan::Append, session, 10).unwrap().tables(&parent)
    };
    store_tables(repository, LINEAGE, make).await
}

/// Runs something that waits for the store outside its runtime.
fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn findings(repository: &Repository) -> Vec<Finding> {
    let mut all = Vec::new();
    let options = CheckOptions { read_data: ReadData::All, digests: true };
    outside(|| check(repository, &options, &mut |finding| all.push(finding)).unwrap());
    all.retain(|finding| finding.severity == Severity::Damage);
    all
}

fn repair(repository: &Repository, options: &SnapshotRepair) -> SnapshotsRepaired {
    outside(|| repository.repair_snapshots(options, &Plain, &mut |_| Ok(())).unwrap())
}

fn index(repository: &Repository, dry_run: bool) -> IndexRepaired {
    outside(|| repository.repair_index(dry_run, &mut |_| Ok(())).unwrap())
}

async fn manifest(repository: &Repository, id: SnapshotId) -> Manifest {
    repository.snapshots().await.unwrap().find(&id.to_string()).unwrap().manifest.clone()
}

async fn content(repository: &Repository, id: SnapshotId) -> BTreeMap<Vec<u8>, Record> {
    let manifest = manifest(repository, id).await;
    let reader = repository.reader(&[&manifest]).await.unwrap();
    let mut all = BTreeMap::new();
    outside(|| {
        let stack = Stack::new(manifest.tables(), reader, repository.identity());
        let add = |record: &RecordRef<'_>| {
            all.insert(record.key.to_vec(), record.to_owned());
        };
        stack.for_each(&KeyRange::all(), add).unwrap();
    });
    all
}

/// Changes one byte of a blob of the kind, in the pack that holds most of them.
async fn flip(store: &Store, repository: &Repository, kind: BlobKind, which: usize) {
    let stock = Stock::take(&repository.shared).await.unwrap();
    let packs: Vec<PackId> = stock.packs.keys().copied().collect();
    let indexes = stock.scratch.indexes(&packs).await.unwrap();
    let count = |index: &&PackIndex| index.blobs.iter().filter(|blob| blob.kind == kind).count();
    let index = indexes.iter().max_by_key(count).unwrap();
    // The largest first: where chunks end differs from one repository to another, and the smallest hold a few parents only.
    let mut blobs: Vec<_> = index.located().filter(|(_, blob)| blob.kind == kind).collect();
    blobs.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.raw_len));
    let (offset, blob) = blobs[which];
    let path = crate::pack::pack_path(index.pack);
    let mut bytes = store.get(&path, 1 << 27).await.unwrap().to_vec();
    bytes[usize::try_from(offset).unwrap() + blob.len as usize / 2] ^= 1;
    store.put(&path, bytes.into()).await.unwrap();
}

async fn spoil(store: &Store, path: &str) {
    let mut bytes = store.get(path, 1 << 27).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(path, bytes.into()).await.unwrap();
}

async fn paths(store: &Store, prefix: &str) -> Vec<String> {
    store.list_sorted(prefix).await.unwrap().into_iter().map(|o| o.path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_repository_is_left_as_it_is() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    full(&repository, LINEAGE, &records(500)).await;
    let before = store.counters();
    assert_eq!(index(&repository, false).replaced, []);
    let done = repair(&repository, &SnapshotRepair { read_data: true, forget: true, ..SnapshotRepair::default() });
    assert_eq!((done.snapshots, done.mended.len(), done.deleted), (1, 0, 0));
    assert_eq!(store.counters().since(&before).put, 0);
}

/// One chunk of the base is damaged in its place: the rest is saved, what is lost is named, the next backup does not
/// build upon it, and the damaged snapshot stays until it is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_damaged_base_is_saved() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(4000);
    let old = full(&repository, LINEAGE, &all).await;
    let mut changed = all[all.len() - 1].clone();
    changed.value = Value::Bytes(b"changed".to_vec().into());
    let new = more(&repository, &[Change::Put(changed)]).await;
    let (right_old, right_new) = (content(&repository, old).await, content(&repository, new).await);
    flip(&store, &repository, BlobKind::Leaf, 0).await;
    assert_eq!(repair(&repository, &SnapshotRepair::default()).mended, [], "shows only where all is read");
    let dry = SnapshotRepair { dry_run: true, read_data: true, ..SnapshotRepair::default() };
    let before = store.counters();
    assert_eq!(repair(&repository, &dry).mended.len(), 2);
    assert_eq!(store.counters().since(&before).put, 0);

    let done = repair(&repository, &SnapshotRepair { dry_run: false, ..dry.clone() });
    assert_eq!((done.mended.len(), done.avoided_packs.len()), (2, 1));
    for (mended, right) in done.mended.iter().zip([&right_old, &right_new]) {
        let saved = mended.repaired.unwrap();
        let left = content(&repository, saved).await;
        assert_eq!(left.len() as u64, mended.nodes);
        let mut differing = 0;
        for (key, record) in &left {
            if record.flags == RecordFlags(0) {
                assert_eq!(record, &right[key]);
            } else {
                assert!(record.flags.contains(RecordFlags::INCOMPLETE), "a stand-in for a parent");
                differing += 1;
            }
        }
        assert!(right.len() > left.len() && left.len() > right.len() / 2, "{} of {}", left.len(), right.len());
        // Every record that is left has its parent.
        assert!(left.keys().all(|key| rewrite::parent_key(key).is_none_or(|parent| left.contains_key(&parent))));
        let stored = manifest(&repository, saved).await.body.fields;
        assert_eq!(stored.incomplete, mended.gaps);
        let ranges = stored.incomplete.iter().filter(|gap| gap.reason.starts_with("Records")).count();
        assert_eq!((ranges, stored.incomplete.len() - ranges), (1, differing));
    }
    // The newest one is where the next backup finds it; the other is nobody's parent.
    let [first, second] = &done.mended[..] else { panic!() };
    let next = repository.begin_backup(LINEAGE).await.unwrap();
    assert_eq!(next.parent().map(|p| p.id), second.repaired);
    assert_ne!(manifest(&repository, first.repaired.unwrap()).await.lineage, LINEAGE);
    drop(next);
    let again = repair(&repository, &SnapshotRepair { forget: true, read_data: true, ..SnapshotRepair::default() });
    assert!(again.mended.iter().all(|m| m.earlier), "{again:?}");
    assert_eq!(again.deleted, 2);
    assert_eq!(findings(&repository), []);
    assert_eq!(repository.snapshots().await.unwrap().snapshots.len(), 2);
    for old in [old, new] {
        assert!(repository.snapshots().await.unwrap().find(&old.to_string()).is_err());
    }
    // The same state again is whole: nothing of the damaged pack is referred to.
    let healed = full(&repository, LINEAGE, &all).await;
    assert_eq!(content(&repository, healed).await, right_old);
    assert_eq!(findings(&repository), []);
}

/// What is damaged in one pack and whole in another is read from there, and written again so that nothing names the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_replaced_by_a_whole_one() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(2000);
    let id = full(&repository, LINEAGE, &all).await;
    let right = content(&repository, id).await;
    flip(&store, &repository, BlobKind::Leaf, 0).await;
    full(&repository, ELSEWHERE, &all).await;
    let fresh = reopen(&store, &CacheOptions::none()).await;
    assert_eq!(content(&fresh, id).await, right);
    assert!(!findings(&fresh).is_empty());
    let done = repair(&fresh, &SnapshotRepair { read_data: true, forget: true, ..SnapshotRepair::default() });
    let [mended] = &done.mended[..] else { panic!("{done:?}") };
    assert_eq!((mended.damaged, mended.gaps.len()), (id, 0));
    assert_eq!(content(&fresh, mended.repaired.unwrap()).await, right);
    assert_eq!(findings(&fresh), []);
}

/// A lost run: the older state stays, and is not passed off as the snapshot's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_changes_leave_the_older_state_marked() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(300);
    let base = full(&repository, LINEAGE, &all).await;
    let before: BTreeSet<String> = paths(&store, "packs/").await.into_iter().collect();
    let newer = more(&repository, &[Change::Delete(all[40].key.clone())]).await;
    let run = paths(&store, "packs/").await.into_iter().find(|path| !before.contains(path)).unwrap();
    store.delete(&run).await.unwrap();
    assert!(findings(&repository).iter().all(|finding| finding.snapshots == [newer]));
    let done = repair(&repository, &SnapshotRepair { forget: true, ..SnapshotRepair::default() });
    let [mended] = &done.mended[..] else { panic!("{done:?}") };
    assert_eq!(mended.damaged, newer);
    assert!(mended.gaps[0].reason.starts_with("Changes"), "{:?}", mended.gaps);
    let saved = mended.repaired.unwrap();
    assert_eq!(content(&repository, saved).await, content(&repository, base).await);
    assert!(!manifest(&repository, saved).await.body.fields.incomplete.is_empty());
    assert_eq!(findings(&repository), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_value_becomes_null_and_is_named() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let id = full(&repository, LINEAGE, &records(1000)).await;
    let right = content(&repository, id).await;
    flip(&store, &repository, BlobKind::Value, 3).await;
    let done = repair(&repository, &SnapshotRepair { read_data: true, forget: true, ..SnapshotRepair::default() });
    let left = content(&repository, done.mended[0].repaired.unwrap()).await;
    let differing: Vec<_> = right.iter().filter(|(key, record)| left.get(*key) != Some(record)).collect();
    let [(key, _)] = differing[..] else { panic!("{differing:?}") };
    assert_eq!(left[key].value, Value::Null);
    assert!(left[key].flags.contains(RecordFlags::VALUE_UNREADABLE));
    assert_eq!(done.mended[0].gaps.len(), 1);
    assert_eq!(findings(&repository), []);
}

/// A pack that is lost heals when the same records are backed up again, from anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_found_in_other_packs() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(2000);
    let id = full(&repository, LINEAGE, &all).await;
    let right = content(&repository, id).await;
    let lost = paths(&store, "packs/").await;
    for path in &lost {
        store.delete(path).await.unwrap();
    }
    let found = index(&repository, true);
    assert!(found.lost_blobs > 0 && found.damaged_snapshots == [id], "{found:?}");
    full(&repository, ELSEWHERE, &all).await;
    assert!(!findings(&repository).is_empty());
    let found = index(&repository, false);
    assert_eq!((found.lost_blobs, found.found_elsewhere.len(), found.segments), (0, lost.len(), 1));
    assert_eq!(findings(&repository), []);
    let fresh = reopen(&store, &CacheOptions::none()).await;
    assert_eq!(content(&fresh, id).await, right);
    assert_eq!(index(&repository, false).segments, 0, "once is enough");
    assert_eq!(repair(&repository, &SnapshotRepair::default()).mended, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_derived_is_made_anew() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    full(&repository, LINEAGE, &records(200)).await;
    let garbage = crate::PackId(ulid::Ulid(7));
    let shared = &repository.shared;
    let segment = Segment { packs: Vec::new(), replaced: vec![(garbage, vec![garbage])] };
    let segment = shared.write_segment(&segment).await.unwrap();
    let list = condemned_path(1);
    let object = encode_condemned(&shared.crypto, &list, &Condemned::default()).unwrap();
    store.put(&list, object.into()).await.unwrap();
    for path in [&segment, &list] {
        spoil(&store, path).await;
    }
    store.put("catalog/01ARZ3NDEKTSV4RRFFQ69G5FAV", Bytes::from_static(b"nonsense")).await.unwrap();
    assert!(repository.begin_backup(LINEAGE).await.is_err(), "a writer must know what is condemned");
    assert_eq!(index(&repository, true).replaced.len(), 3);
    assert_eq!(index(&repository, false).replaced.len(), 3);
    assert_eq!(findings(&repository), []);
    assert!(paths(&store, "catalog/").await.is_empty());
    repository.begin_backup(LINEAGE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_comes_back_from_the_cache_and_is_given_up_without() {
    let store = Store::memory();
    let folder = tempfile::tempdir().unwrap();
    let cached = CacheOptions::at(folder.path().to_path_buf());
    let repository = new_repository(&store, &cached).await;
    let all = records(100);
    let first = full(&repository, LINEAGE, &all).await;
    let second = more(&repository, &[Change::Delete(all[70].key.clone())]).await;
    let path = manifest(&repository, second).await.path;
    let object = store.get(&path, 1 << 20).await.unwrap();
    spoil(&store, &path).await;
    let done = repair(&repository, &SnapshotRepair::default());
    assert_eq!(done.rewritten, std::slice::from_ref(&path));
    assert_eq!(store.get(&path, 1 << 20).await.unwrap(), object);

    spoil(&store, &path).await;
    let poor = reopen(&store, &CacheOptions::none()).await;
    assert!(poor.begin_backup(LINEAGE).await.is_err());
    let kept = repair(&poor, &SnapshotRepair::default());
    assert_eq!((kept.unreadable_manifests.len(), kept.deleted), (1, 0));
    let gone = repair(&poor, &SnapshotRepair { forget: true, ..SnapshotRepair::default() });
    assert_eq!((gone.unreadable_manifests.len(), gone.deleted), (1, 1));
    assert_eq!(findings(&poor), []);
    // Its number is not used again.
    let next = full(&poor, LINEAGE, &all).await;
    assert_eq!(manifest(&poor, next).await.seq, 4);
    assert_eq!(content(&poor, first).await, content(&poor, next).await);
}

/// A catalog has the words of a manifest that is damaged; its bytes, and so its id, are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_written_anew_from_a_catalog() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let all = records(100);
    let id = full(&repository, LINEAGE, &all).await;
    let right = content(&repository, id).await;
    let one = manifest(&repository, id).await;
    let body = crate::manifest::ManifestBody::Snapshot(Box::new(one.body.clone()));
    let entry = CatalogEntry { path: one.path.clone(), id, body };
    let path = crate::catalog::catalog_path(ulid::Ulid::generate());
    let object = crate::catalog::encode_catalog(&repository.shared.crypto, &path, &[entry]).unwrap();
    store.put(&path, object.into()).await.unwrap();
    spoil(&store, &one.path).await;
    let done = repair(&repository, &SnapshotRepair { forget: true, ..SnapshotRepair::default() });
    let [mended] = &done.mended[..] else { panic!("{done:?}") };
    assert_eq!((mended.damaged, mended.gaps.len()), (id, 0));
    assert_eq!(content(&repository, mended.repaired.unwrap()).await, right);
    assert_eq!(findings(&repository), []);
}
