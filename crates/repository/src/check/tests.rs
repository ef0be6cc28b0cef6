use super::fault_tests::back_up;
use super::*;
use crate::backend::Store;
use crate::cache::CacheOptions;
use crate::repository::tests::{LINEAGE, fields, new_repository, reopen};
use crate::stack::Stack;
use crate::state_digest::{RecordHasher, StateDigest};
use crate::table::{KeyRange, TableKind, TableSpan, build_table};
use crate::test_records::tree;

/// A repository with a base of `len` records and its digest recorded.
pub(super) async fn repository_with(store: &Store, len: usize) -> (Repository, SnapshotId) {
    let repository = new_repository(store, &CacheOptions::none()).await;
    let manifest = back_up(store, LINEAGE, tree(7, len), &|_, _| {}).await;
    (repository, manifest.id)
}

async fn run(store: &Store, options: CheckOptions) -> (CheckStats, Vec<Finding>) {
    let repository = reopen(store, &CacheOptions::none()).await;
    let work = move || {
        let mut findings = Vec::new();
        let stats = check(&repository, &options, &mut |finding| findings.push(finding)).unwrap();
        (stats, findings)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

pub(super) const ALL: CheckOptions = CheckOptions { read_data: ReadData::All, digests: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_repository_has_no_findings_and_its_records_come_back() {
    let store = Store::memory();
    let (repository, id) = repository_with(&store, 5_000).await;
    let (stats, findings) = run(&store, ALL).await;
    assert_eq!(findings, []);
    assert_eq!((stats.snapshots, stats.packs, stats.packs_read, stats.digests, stats.unused_packs), (1, 1, 1, 1, 0));
    assert!(stats.blobs_read > 10);
    let listed = repository.snapshots().await.unwrap();
    let manifest = listed.find(&id.to_string()).unwrap().manifest.clone();
    let reader = reopen(&store, &CacheOptions::none()).await.reader(&[&manifest]).await.unwrap();
    let keys = repository.identity().clone();
    let digest = tokio::task::spawn_blocking(move || {
        let stack = Stack::new(manifest.tables(), reader, &keys);
        let (mut hasher, mut sum, mut count) = (RecordHasher::new(&keys), StateDigest::default(), 0);
        let visited = stack.for_each(&KeyRange::all(), |record| {
            sum = sum.plus(hasher.hash(record));
            count += 1;
        });
        visited.unwrap();
        assert_eq!(count, 5_000);
        sum.0 == manifest.body.fields.state_digest
    });
    assert!(digest.await.unwrap());
    let totals = repository.stats().await.unwrap();
    assert_eq!((totals.objects, totals.packs, totals.manifests), (4, 1, 1));
    assert!(totals.kinds[&crate::ids::BlobKind::Leaf].blobs > 10);
}

/// Each object damaged in each way gives at least one finding that names the snapshot, or makes opening fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_is_found() {
    let pristine = Store::memory();
    let (_, id) = repository_with(&pristine, 1_000).await;
    let objects = pristine.list_sorted("").await.unwrap();
    for victim in objects.iter().filter(|o| o.path.starts_with("packs/") || o.path.starts_with("snapshots/")) {
        let bytes = pristine.get(&victim.path, 1 << 24).await.unwrap();
        let mut variants: Vec<Option<Vec<u8>>> = vec![None, Some(vec![]), Some(bytes[..bytes.len() - 1].to_vec())];
        for part in 0..16 {
            let mut changed = bytes.to_vec();
            changed[bytes.len() * part / 16] ^= 1;
            variants.push(Some(changed));
        }
        for (n, variant) in variants.into_iter().enumerate() {
            let store = Store::memory();
            for object in &objects {
                store.put(&object.path, pristine.get(&object.path, 1 << 24).await.unwrap()).await.unwrap();
            }
            let gone = variant.is_none();
            match variant {
                None => store.delete(&victim.path).await.unwrap(),
                Some(bytes) => store.put(&victim.path, bytes.into()).await.unwrap(),
            }
            let (stats, findings) = run(&store, ALL).await;
            if victim.path.starts_with("snapshots/") && gone {
                // A manifest that is gone is a snapshot that is gone: what it needed is unused.
                assert_eq!((stats.snapshots, stats.unused_packs), (0, 1));
                continue;
            }
            let harmful: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Damage).collect();
            assert!(!harmful.is_empty(), "{} variant {n}", victim.path);
            if victim.path.starts_with("packs/") {
                assert!(harmful.iter().any(|f| f.snapshots == [id]), "{harmful:?}");
            } else {
                assert!(harmful.iter().any(|f| f.object == victim.path), "{harmful:?}");
            }
            assert!(harmful.iter().all(|f| !f.meaning.is_empty() && !f.remedy.is_empty()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_cover_every_pack_once_and_strangers_are_noticed() {
    let store = Store::memory();
    repository_with(&store, 500).await;
    store.put("somebody/elses", bytes::Bytes::from_static(b"x")).await.unwrap();
    let mut read = 0;
    for part in 1..=3 {
        let options = CheckOptions { read_data: ReadData::Part { part, of: 3 }, digests: false };
        let (stats, findings) = run(&store, options).await;
        read += stats.packs_read;
        assert_eq!(findings.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Notice]);
        assert_eq!(findings[0].object, "somebody/elses");
    }
    assert_eq!(read, 1);
    for (read_data, expected) in [
        (ReadData::None, 0),
        (ReadData::Percent { percent: 100.0, seed: 1 }, 1),
        (ReadData::Bytes { bytes: 1, seed: 1 }, 1),
        (ReadData::Bytes { bytes: 0, seed: 1 }, 0),
    ] {
        assert_eq!(run(&store, CheckOptions { read_data, digests: false }).await.0.packs_read, expected);
    }
}

/// A manifest that was sealed with a wrong digest: only level 3 can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_digest_is_found() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let records = tree(7, 100);
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 9 };
    let keys = repository.identity();
    let built =
        std::thread::scope(|s| s.spawn(|| build_table(&records[..], keys, &session, span)).join().unwrap()).unwrap();
    session.commit(fields(1), vec![built.root]).await.unwrap();
    assert_eq!(run(&store, CheckOptions::default()).await.1, []);
    let (_, findings) = run(&store, CheckOptions { digests: true, ..CheckOptions::default() }).await;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].problem.contains("digest"), "{findings:?}");
}
