//! Checks of repositories whose store fails meanwhile, or whose blobs are sealed but not what they should be.

use super::tests::{ALL, repository_with};
use super::*;
use crate::backend::faults::{Effect, Plan, faulty};
use crate::backend::{Operation, Store, StoreErrorKind, StoreOptions};
use crate::blobs::{BlobError, BlobSink, BlobSource, PlainBlob};
use crate::cache::CacheOptions;
use crate::ids::{BlobId, BlobKind, LineageId};
use crate::manifest::{Manifest, NewPack};
use crate::repository::tests::{LINEAGE, fields, new_repository, reopen};
use crate::session::CommitOutcome;
use crate::table::{TableKind, TableSpan, build_table};
use crate::test_records::tree;

/// How a check ends over a store that fails as planned, what it found till then, and whether the fault has struck.
async fn run_over(
    store: &Store,
    plan: impl FnOnce(&Plan),
) -> (Result<CheckStats, RepositoryError>, Vec<Finding>, bool) {
    let (failing, faults) = faulty(store, &StoreOptions::default());
    let repository = reopen(&failing, &CacheOptions::none()).await;
    plan(&faults);
    let work = move || {
        let mut findings = Vec::new();
        let ended = check(&repository, &ALL, &mut |finding| findings.push(finding));
        (ended, findings)
    };
    let (ended, findings) = tokio::task::spawn_blocking(work).await.unwrap();
    (ended, findings, faults.left() == 0)
}

/// The disk gives back all but one object: that is a finding, and the rest is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_cannot_read_is_a_finding() {
    let store = Store::memory();
    let (_, id) = repository_with(&store, 1_000).await;
    for prefix in ["packs/", "snapshots/"] {
        let mut told = 0;
        for after in 0.. {
            let unreadable = Effect::Fail(StoreErrorKind::Unreadable);
            let (ended, findings, struck) =
                run_over(&store, |faults| faults.add_after(Operation::Get, prefix, after, unreadable)).await;
            ended.unwrap();
            if !struck {
                break;
            }
            // What was to be fetched ahead is asked for again, and then it comes.
            for finding in &findings {
                assert!(finding.problem.contains("the disk cannot read it"), "{finding:?}");
                assert_eq!(finding.severity, Severity::Damage);
                assert!(prefix != "packs/" || finding.snapshots == [id], "{finding:?}");
                told += 1;
            }
        }
        assert!(told > 0, "{prefix}");
    }
}

/// A store that fails ends the check, but what the others of the batch were found to be is told before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_beside_a_failure_is_told() {
    let store = Store::memory();
    repository_with(&store, 1_000).await;
    back_up(&store, LineageId([1; 16]), tree(8, 1_000), &|_, _| {}).await;
    let packs = store.list_sorted("packs/").await.unwrap();
    let [failing, damaged] = &packs[..] else { panic!("{packs:?}") };
    let mut bytes = store.get(&damaged.path, 1 << 24).await.unwrap().to_vec();
    bytes[200] ^= 1;
    store.put(&damaged.path, bytes.into()).await.unwrap();
    let mut told = 0;
    for after in 0.. {
        let fail = Effect::Fail(StoreErrorKind::Permission);
        let (ended, findings, struck) =
            run_over(&store, |faults| faults.add_after(Operation::Get, &failing.path, after, fail)).await;
        let found = findings.iter().any(|f| f.object.contains(&format!("in {} at byte", damaged.path)));
        match ended {
            Err(RepositoryError::Store(_)) => told += u32::from(found),
            Err(other) => assert!(matches!(other, RepositoryError::Table { .. } | RepositoryError::Blob(_)), "{other}"),
            Ok(_) => assert!(found, "{findings:?}"),
        }
        if !struck {
            break;
        }
    }
    assert_eq!(told, 1, "the pack is read whole once");
}

/// A sink that may change a blob after its id was computed.
struct Changing<'a, S>(S, &'a (dyn Fn(BlobKind, &mut Vec<u8>) + Sync));

impl<S: BlobSink> BlobSink for Changing<'_, S> {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        let mut bytes = blob.bytes.to_vec();
        self.1(blob.kind, &mut bytes);
        self.0.put(PlainBlob { bytes: &bytes, ..blob })
    }
}

pub(super) async fn back_up(
    store: &Store,
    lineage: LineageId,
    records: Vec<crate::record::Record>,
    change: &(dyn Fn(BlobKind, &mut Vec<u8>) + Sync),
) -> Manifest {
    let repository = reopen(store, &CacheOptions::none()).await;
    let mut session = repository.begin_backup(lineage).await.unwrap();
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 9 };
    let (keys, sink) = (repository.identity(), Changing(&session, change));
    let built =
        std::thread::scope(|s| s.spawn(|| build_table(&records[..], keys, &sink, span)).join().unwrap()).unwrap();
    let mut fields = fields(1);
    fields.state_digest = built.digest.unwrap().0;
    let CommitOutcome::Committed(done) = session.commit(fields, vec![built.root]).await.unwrap() else {
        panic!("nobody else writes")
    };
    let listed = repository.snapshots().await.unwrap();
    listed.find(&done.id().to_string()).unwrap().manifest.clone()
}

/// A leaf that was spoilt between its hashing and its sealing, as by bad memory: who holds it against its id reads another copy;
/// who sums up is told by the sum alone, and reads again by the ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_that_is_sealed_but_wrong_is_read_from_another_pack() {
    let store = Store::memory();
    new_repository(&store, &CacheOptions::none()).await;
    let spoil = |kind, bytes: &mut Vec<u8>| {
        if kind == BlobKind::Leaf {
            bytes[0] ^= 1;
        }
    };
    let spoilt = back_up(&store, LINEAGE, tree(7, 50), &spoil).await;
    let alone = run_over(&store, |_| {}).await.1;
    assert!(alone.iter().any(|f| f.severity == Severity::Damage && f.snapshots == [spoilt.id]), "{alone:?}");
    back_up(&store, LineageId([1; 16]), tree(7, 50), &|_, _| {}).await;
    let packs = store.list_sorted("packs/").await.unwrap();
    assert_eq!(packs.len(), 2, "one lineage takes nothing from the other");
    let repository = reopen(&store, &CacheOptions::none()).await;
    let reader = repository.reader(&[&spoilt]).await.unwrap();
    let leaf = spoilt.body.new_packs.iter().filter_map(NewPack::index).flat_map(|index| index.blobs);
    let leaf: BlobId = leaf.into_iter().find(|blob| blob.kind == BlobKind::Leaf).unwrap().id;
    let keys = repository.identity().clone();
    let read = move || {
        let summing = reader.clone().for_summing_up().get(&leaf, BlobKind::Leaf).unwrap();
        assert_ne!(keys.blob_id(BlobKind::Leaf, &summing), leaf);
        let careful = reader.get(&leaf, BlobKind::Leaf).unwrap();
        assert_eq!(keys.blob_id(BlobKind::Leaf, &careful), leaf);
    };
    tokio::task::spawn_blocking(read).await.unwrap();
}
