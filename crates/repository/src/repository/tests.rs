use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::backend::faults::{Effect, Plan, faulty};
use crate::backend::{Operation, StoreErrorKind, StoreOptions};
use crate::blobs::{BlobError, BlobSink, PlainBlob};
use crate::ids::{BlobId, BlobKind};
use crate::manifest::{
    BackupCounters, Consistency, ManifestBody, Proof, SnapshotFields, SourceInfo, Tail, encode_manifest, manifest_path,
};
use crate::session::{BackupSession, CommitOutcome, Committed};
use crate::table::{TableKind, TableRoot};

pub(crate) const QUICK: Costs = Costs { memory_kib: 64, passes: 1, lanes: 4 };
pub(crate) const LINEAGE: LineageId = LineageId([0xab; 16]);

pub(crate) fn options(credentials: Credentials) -> InitOptions {
    InitOptions { costs: QUICK, ..InitOptions::new(credentials) }
}

pub(crate) fn password() -> Credentials {
    Credentials::password("correct horse")
}

pub(crate) fn fields(time_ms: i64) -> SnapshotFields {
    SnapshotFields {
        cluster: "c".to_owned(),
        time_ms,
        state_time_ms: None,
        host: "h".to_owned(),
        tags: vec!["first".to_owned()],
        program: "test".to_owned(),
        source: SourceInfo::default(),
        zxid_low: 1,
        zxid_high: 1,
        consistency: Consistency::Exact,
        acl_consistency: Consistency::Exact,
        proof: Proof::None,
        tail: Tail::Confirmed,
        suspect: vec![],
        incomplete: vec![],
        state_digest: [0; 32],
        tree_digest: None,
        nodes: 1,
        sessions: 0,
        raw_bytes: 1,
        counters: BackupCounters::default(),
        original: None,
        extra: vec![],
    }
}

pub(crate) fn table(root: BlobId, kind: TableKind) -> TableRoot {
    TableRoot {
        kind,
        root: Some(root),
        height: 0,
        zxid_low: 0,
        zxid_high: 1,
        records: 1,
        tombstones: 0,
        chunks: 1,
        chunk_bytes: 1,
        value_blobs: 0,
        value_bytes: 0,
        first_key: vec![],
        last_key: vec![],
        refs: vec![],
    }
}

/// Puts a blob from a thread of its own, as computing threads do.
pub(crate) fn put(session: &BackupSession, repository: &Repository, text: &str) -> BlobId {
    let id = repository.identity().blob_id(BlobKind::Leaf, text.as_bytes());
    let blob = PlainBlob { id, kind: BlobKind::Leaf, bytes: text.as_bytes() };
    std::thread::scope(|scope| scope.spawn(|| session.put(blob)).join().unwrap()).unwrap();
    id
}

pub(crate) fn get(reader: &impl BlobSource, id: BlobId) -> Result<Bytes, BlobError> {
    let reader = &reader;
    std::thread::scope(|scope| scope.spawn(|| reader.get(&id, BlobKind::Leaf)).join().unwrap())
}

/// One backup: the parent's stack and one more table that holds `text`.
pub(crate) async fn back_up(repository: &Repository, text: &str) -> Committed {
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    match commit(&mut session, repository, text).await.unwrap() {
        CommitOutcome::Committed(done) => *done,
        CommitOutcome::Overtaken => panic!("nobody else writes"),
    }
}

pub(crate) async fn commit(
    session: &mut BackupSession,
    repository: &Repository,
    text: &str,
) -> Result<CommitOutcome, RepositoryError> {
    let id = put(session, repository, text);
    let mut tables = session.parent().map(Manifest::tables).unwrap_or_default();
    let kind = if tables.is_empty() { TableKind::Base } else { TableKind::Run { tier: 0 } };
    tables.push(table(id, kind));
    session.commit(fields(i64::try_from(tables.len()).unwrap()), tables).await
}

pub(crate) async fn new_repository(store: &Store, cache: &CacheOptions) -> Repository {
    Repository::init(store, &options(password()), cache).await.unwrap()
}

pub(crate) async fn reopen(store: &Store, cache: &CacheOptions) -> Repository {
    Repository::open(store, &password(), cache).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_is_read_back_with_and_without_a_cache() {
    let store = Store::memory();
    let root = tempfile::tempdir().unwrap();
    for cache in [CacheOptions::none(), CacheOptions::at(root.path())] {
        let store = if cache.root.is_some() { Store::memory() } else { store.clone() };
        let repository = new_repository(&store, &cache).await;
        let first = back_up(&repository, "one").await;
        let second = back_up(&repository, "two").await;
        assert_eq!((first.manifest.seq, second.manifest.seq), (1, 2));
        assert_eq!(second.manifest.body.parent, Some(first.id()));
        drop(repository);
        let repository = reopen(&store, &cache).await;
        let listed = repository.snapshots().await.unwrap();
        assert!(listed.damaged.is_empty());
        let ids: Vec<SnapshotId> = listed.snapshots.iter().map(Snapshot::id).collect();
        assert_eq!(ids, [first.id(), second.id()]);
        let found = listed.find(&second.id().to_string()[..12]).unwrap();
        let reader = repository.reader(&[&found.manifest]).await.unwrap();
        for (text, table) in ["one", "two"].into_iter().zip(found.manifest.tables()) {
            assert_eq!(get(&reader, table.root.unwrap()).unwrap(), text);
        }
    }
}

/// The promise of the design: two PUTs, at most four GETs, no LIST.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_backup_costs_two_puts_and_with_a_warm_cache_at_most_four_gets() {
    let store = Store::memory();
    let root = tempfile::tempdir().unwrap();
    let cache = CacheOptions::at(root.path());
    let repository = new_repository(&store, &cache).await;
    back_up(&repository, "one").await;
    drop(repository);
    let before = store.counters();
    let repository = reopen(&store, &cache).await;
    let done = back_up(&repository, "two").await;
    let spent = store.counters().since(&before);
    assert_eq!((spent.put, spent.list, done.objects_written), (2, 0, 2));
    assert!(spent.get <= 4, "{spent:?}");
    assert_eq!(spent.bytes_up, done.uploaded_bytes);
    drop(repository);
    let before = store.counters();
    let repository = reopen(&store, &CacheOptions::none()).await;
    let third = back_up(&repository, "three").await;
    let cold = store.counters().since(&before);
    assert_eq!((cold.put, third.manifest.seq), (2, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_reader_needs_the_manifest_and_the_footers_of_its_packs() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    back_up(&repository, "one").await;
    let second = back_up(&repository, "two").await;
    let cold = reopen(&store, &CacheOptions::none()).await;
    let before = store.counters();
    let reader = cold.reader(&[&second.manifest]).await.unwrap();
    // The second pack's entries are in the manifest.
    assert_eq!(store.counters().since(&before).get, 1);
    for table in second.manifest.tables() {
        get(&reader, table.root.unwrap()).unwrap();
    }
    let spent = store.counters().since(&before);
    assert_eq!((spent.get, spent.list), (2, 0), "a small pack comes along with its footer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_that_the_parent_holds_are_not_uploaded_again() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    back_up(&repository, "same").await;
    let before = store.counters();
    let again = back_up(&repository, "same").await;
    assert_eq!(store.counters().since(&before).put, 1, "the manifest alone");
    assert_eq!(again.objects_written, 1);
    let reader = reopen(&store, &CacheOptions::none()).await.reader(&[&again.manifest]).await.unwrap();
    assert_eq!(get(&reader, again.manifest.tables()[1].root.unwrap()).unwrap(), "same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_is_first_and_the_other_follows_it() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let base = back_up(&repository, "base").await;
    let mut left = repository.begin_backup(LINEAGE).await.unwrap();
    let mut right = reopen(&store, &CacheOptions::none()).await.begin_backup(LINEAGE).await.unwrap();
    assert_eq!(left.parent().map(|p| p.id), Some(base.id()));
    let CommitOutcome::Committed(winner) = commit(&mut left, &repository, "left").await.unwrap() else {
        panic!("nobody was before")
    };
    assert!(matches!(commit(&mut right, &repository, "right").await.unwrap(), CommitOutcome::Overtaken));
    assert_eq!(right.parent().map(|p| p.id), Some(winner.id()));
    let CommitOutcome::Committed(second) = commit(&mut right, &repository, "right").await.unwrap() else {
        panic!("the way is free now")
    };
    assert_eq!((winner.manifest.seq, second.manifest.seq), (2, 3));
    let texts = ["base", "left", "right"];
    let reader = reopen(&store, &CacheOptions::none()).await.reader(&[&second.manifest]).await.unwrap();
    for (table, text) in second.manifest.tables().iter().zip(texts) {
        assert_eq!(get(&reader, table.root.unwrap()).unwrap(), text);
    }
}

/// The manifest was written, the answer was lost: the repeated create finds the name taken, by ourselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_a_success() {
    let inner = Store::memory();
    let (store, plan) = faulty(&inner, &StoreOptions::default());
    let repository = new_repository(&store, &CacheOptions::none()).await;
    plan.add(Operation::Create, "snapshots/", Effect::DoThenFail(StoreErrorKind::TimedOut));
    let done = back_up(&repository, "x").await;
    assert_eq!((done.manifest.seq, plan.left()), (1, 0));
    assert_eq!(repository.snapshots().await.unwrap().snapshots.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_for_good_leaves_no_snapshot() {
    let inner = Store::memory();
    let quick = StoreOptions { retries: 0, ..StoreOptions::default() };
    for (operation, prefix, kind) in [
        (Operation::Put, "packs/", StoreErrorKind::Full),
        (Operation::Put, "packs/", StoreErrorKind::Throttled),
        (Operation::Create, "snapshots/", StoreErrorKind::Permission),
    ] {
        let (store, plan): (Store, Plan) = faulty(&inner, &quick);
        let repository = match Repository::open(&store, &password(), &CacheOptions::none()).await {
            Ok(repository) => repository,
            Err(_) => new_repository(&store, &CacheOptions::none()).await,
        };
        plan.add(operation, prefix, Effect::Fail(kind));
        let mut session = repository.begin_backup(LINEAGE).await.unwrap();
        let failed = commit(&mut session, &repository, "x").await.unwrap_err();
        assert!(matches!(&failed, RepositoryError::Store(e) if e.kind == kind), "{failed}");
        assert!(repository.snapshots().await.unwrap().snapshots.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_must_fit() {
    let store = Store::memory();
    let none = CacheOptions::none();
    let open =
        async |store: &Store, c: Credentials| Repository::open(store, &c, &CacheOptions::none()).await.unwrap_err();
    assert!(matches!(open(&store, password()).await, RepositoryError::NoRepository { .. }));
    let repository = new_repository(&store, &none).await;
    assert!(matches!(open(&store, Credentials::password("wrong")).await, RepositoryError::WrongPassword { .. }));
    assert!(matches!(open(&store, Credentials::None).await, RepositoryError::CredentialsNeeded { .. }));
    let file = crate::keys::KeyFile::generate().unwrap();
    let file = Credentials::KeyFile(file);
    assert!(matches!(open(&store, file.clone()).await, RepositoryError::WrongPassword { .. }));
    let path = repository.add_key(&file, QUICK, "key file").await.unwrap();
    Repository::open(&store, &file, &none).await.unwrap();
    assert_eq!(repository.key_slots().await.unwrap().0.len(), 2);
    repository.remove_key(&path).await.unwrap();
    assert!(matches!(open(&store, file).await, RepositoryError::WrongPassword { .. }));
    let last = repository.key_slots().await.unwrap().0.remove(0).path;
    assert!(matches!(repository.remove_key(&last).await, Err(RepositoryError::KeyRefused { .. })));
    let again = Repository::init(&store, &options(password()), &none).await.unwrap_err();
    assert!(matches!(again, RepositoryError::AlreadyInitialised { .. }));
}

/// A swapped config must not make the next backup upload plaintext.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_config_is_refused() {
    let store = Store::memory();
    let root = tempfile::tempdir().unwrap();
    let cache = CacheOptions::at(root.path());
    new_repository(&store, &cache).await;
    let other = Store::memory();
    Repository::init(&other, &options(Credentials::None), &CacheOptions::none()).await.unwrap();
    let config = other.get(CONFIG_PATH, MAX_CONFIG).await.unwrap();
    store.put(CONFIG_PATH, config).await.unwrap();
    let refused = Repository::open(&store, &password(), &CacheOptions::none()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Unencrypted { .. }), "{refused}");
    let refused = Repository::open(&store, &Credentials::None, &cache).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::OtherRepository { .. }), "{refused}");
}

/// Every object of a small repository, damaged in every way: an error that names it or the right data, never other data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_always_noticed() {
    let pristine = Store::memory();
    let repository = new_repository(&pristine, &CacheOptions::none()).await;
    let done = back_up(&repository, "the only right answer").await;
    let id = done.manifest.tables()[0].root.unwrap();
    let objects = pristine.list_sorted("").await.unwrap();
    assert_eq!(objects.len(), 4, "config, key slot, pack, manifest");
    for victim in &objects {
        let bytes = pristine.get(&victim.path, 1 << 20).await.unwrap();
        let mut variants: Vec<Option<Vec<u8>>> = vec![None, Some(vec![]), Some(bytes[..bytes.len() / 2].to_vec())];
        for at in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x20;
            variants.push(Some(changed));
        }
        for (n, variant) in variants.into_iter().enumerate() {
            let store = Store::memory();
            for object in &objects {
                store.put(&object.path, pristine.get(&object.path, 1 << 20).await.unwrap()).await.unwrap();
            }
            // Costs of a key slot may be changed to others that take long; they are tested with the slot.
            if victim.path.starts_with("keys/") && n > 2 {
                continue;
            }
            match variant {
                None => store.delete(&victim.path).await.unwrap(),
                Some(bytes) => store.put(&victim.path, bytes.into()).await.unwrap(),
            }
            let outcome = read_all(&store, &done, id).await;
            match outcome {
                Ok(answer) => assert_eq!(answer, "the only right answer", "{} variant {n}", victim.path),
                Err(e) => assert!(!e.is_empty()),
            }
        }
    }
}

async fn read_all(store: &Store, done: &Committed, id: BlobId) -> Result<Bytes, String> {
    let repository = Repository::open(store, &password(), &CacheOptions::none()).await.map_err(|e| e.to_string())?;
    let listed = repository.snapshots().await.map_err(|e| e.to_string())?;
    if let Some((path, error)) = listed.damaged.first() {
        return Err(format!("{path}: {error}"));
    }
    let snapshot = listed.find(&done.id().to_string()).map_err(|e| e.to_string())?;
    let reader = repository.reader(&[&snapshot.manifest]).await.map_err(|e| e.to_string())?;
    get(&reader, id).map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_is_gone_is_looked_for_once_and_then_reported() {
    let store = Store::memory();
    let root = tempfile::tempdir().unwrap();
    let cache = CacheOptions { root: Some(root.path().to_owned()), budget_bytes: 0 };
    let repository = new_repository(&store, &cache).await;
    let done = back_up(&repository, "gone").await;
    let id = done.manifest.tables()[0].root.unwrap();
    // The same blob in another pack, and the first pack deleted: as after a repack.
    let elsewhere = LineageId([1; 16]);
    let mut session = repository.begin_backup(elsewhere).await.unwrap();
    assert!(matches!(commit(&mut session, &repository, "gone").await.unwrap(), CommitOutcome::Committed(_)));
    let pack = done.manifest.packs()[0];
    store.delete(&crate::pack::pack_path(pack)).await.unwrap();
    let reader = repository.reader(&[&done.manifest]).await.unwrap();
    assert_eq!(get(&reader, id).unwrap(), "gone");
    for object in store.list_sorted("packs/").await.unwrap() {
        store.delete(&object.path).await.unwrap();
    }
    let cold = reopen(&store, &CacheOptions::none()).await;
    let reader = cold.reader(&[&done.manifest]).await.unwrap();
    let before = store.counters();
    assert!(matches!(get(&reader, id), Err(BlobError::Missing { .. })));
    assert_eq!(store.counters().since(&before).list, 2, "for successors, then for any pack");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_fetched_ahead_come_in_few_requests() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let mut noise = vec![0; 40_000];
    let mut ids = Vec::new();
    for n in 0..50_u8 {
        fill_random(&mut noise).unwrap();
        noise[0] = n;
        let id = repository.identity().blob_id(BlobKind::Value, &noise);
        let blob = PlainBlob { id, kind: BlobKind::Value, bytes: &noise };
        std::thread::scope(|scope| scope.spawn(|| session.put(blob)).join().unwrap()).unwrap();
        ids.push((id, BlobKind::Value));
    }
    let base = put(&session, &repository, "base");
    let CommitOutcome::Committed(done) = session.commit(fields(1), vec![table(base, TableKind::Base)]).await.unwrap()
    else {
        panic!("nobody else writes")
    };
    let cold = reopen(&store, &CacheOptions::none()).await;
    let reader = cold.reader(&[&done.manifest]).await.unwrap();
    let before = store.counters();
    let read = tokio::task::spawn_blocking(move || {
        reader.prefetch(&ids);
        ids.iter().enumerate().all(|(n, (id, kind))| usize::from(reader.get(id, *kind).unwrap()[0]) == n)
    });
    assert!(read.await.unwrap());
    let spent = store.counters().since(&before);
    assert!(spent.get <= 4, "2 MB in ranges of at most 4 MiB: {spent:?}");
}

/// What a whole tree is made of would push everything else out of the cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sums_up_leaves_the_cache_as_it_is() {
    let store = Store::memory();
    let done = back_up(&new_repository(&store, &CacheOptions::none()).await, "one").await;
    let root = tempfile::tempdir().unwrap();
    let repository = reopen(&store, &CacheOptions::at(root.path())).await;
    let reader = repository.reader(&[&done.manifest]).await.unwrap();
    let leaf = repository.identity().blob_id(BlobKind::Leaf, b"one");
    for ahead in [false, true] {
        let summing = reader.clone().for_summing_up();
        if ahead {
            summing.prefetch(&[(leaf, BlobKind::Leaf)]);
        }
        assert_eq!(get(&summing, leaf).unwrap(), "one");
        assert!(!repository.shared.cache.has_blob(&leaf), "fetched ahead: {ahead}");
    }
    assert_eq!(get(&reader, leaf).unwrap(), "one");
    assert!(repository.shared.cache.has_blob(&leaf));
}

/// From a disk of this host a whole tree is read as it lies there, though the cache has it; and from the cache if it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sums_up_reads_a_near_store_itself() {
    let root = tempfile::tempdir().unwrap();
    let limited = StoreOptions { limit_download: Some(1 << 20), ..StoreOptions::default() };
    let open =
        |name: &str, options: &StoreOptions| Store::open(root.path().join(name).to_str().unwrap(), options).unwrap();
    let near = open("near", &StoreOptions::default());
    for (store, may_be) in [(near, true), (open("slowed", &limited), false), (Store::memory(), false)] {
        let done = back_up(&new_repository(&store, &CacheOptions::none()).await, "one").await;
        // The folder for temporary files may lie on another host.
        assert!(may_be || !store.is_near());
        let requests = u64::from(store.is_near());
        let repository = reopen(&store, &CacheOptions::at(root.path().join("cache"))).await;
        let reader = repository.reader(&[&done.manifest]).await.unwrap();
        let leaf = repository.identity().blob_id(BlobKind::Leaf, b"one");
        assert_eq!(get(&reader, leaf).unwrap(), "one");
        assert!(repository.shared.cache.has_blob(&leaf));
        let summing = reader.for_summing_up();
        let read = || {
            summing.prefetch(&[(leaf, BlobKind::Leaf)]);
            get(&summing, leaf).unwrap()
        };
        let before = store.counters();
        assert_eq!(read(), "one");
        assert_eq!(store.counters().since(&before).get, requests, "{}", store.name());
        for pack in store.list_sorted("packs/").await.unwrap() {
            store.delete(&pack.path).await.unwrap();
        }
        assert_eq!(read(), "one", "{}", store.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_change_what_is_known_about_a_snapshot() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let done = back_up(&repository, "x").await;
    repository.annotate(done.id(), |note| note.tags = Some(vec!["second".to_owned()])).await.unwrap();
    repository.annotate(done.id(), |note| note.accepted = true).await.unwrap();
    let listed = repository.snapshots().await.unwrap();
    assert_eq!(listed.snapshots[0].tags(), ["second"]);
    assert!(listed.snapshots[0].note.as_ref().unwrap().accepted);
    assert!(matches!(listed.find("0"), Err(RepositoryError::PrefixTooShort { .. })));
    assert!(matches!(listed.find("zzzz"), Err(RepositoryError::NoSuchSnapshot { .. })));
}

/// Numbers are never used again, and a forgotten newest snapshot is nobody's parent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_takes_its_number() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let first = back_up(&repository, "one").await;
    let path = manifest_path(LINEAGE, 2);
    let tombstone = encode_manifest(repository.crypto(), &path, &ManifestBody::Tombstone { time_ms: 1 }).unwrap();
    store.put_if_absent(&path, tombstone.into()).await.unwrap();
    store.delete(&first.manifest.path).await.unwrap();
    assert!(repository.snapshots().await.unwrap().snapshots.is_empty());
    let session = repository.begin_backup(LINEAGE).await.unwrap();
    assert!(session.parent().is_none());
    drop(session);
    assert_eq!(back_up(&repository, "three").await.manifest.seq, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_is_waited_for_within_its_time() {
    let inner = Store::memory();
    let (store, plan) = faulty(&inner, &StoreOptions::default());
    let repository = new_repository(&store, &CacheOptions::none()).await;
    plan.add(Operation::Put, "packs/", Effect::Slow(Duration::from_millis(50)));
    plan.add(Operation::Create, "snapshots/", Effect::Slow(Duration::from_millis(50)));
    assert_eq!(back_up(&repository, "x").await.manifest.seq, 1);
}

/// Rule (b) of writers: what lies in a condemned pack is uploaded again rather than referred to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_of_condemned_packs_are_uploaded_again() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let first = back_up(&repository, "one").await;
    let condemned = first.manifest.packs();
    let path = crate::condemned::condemned_path(1);
    let list = crate::condemned::Condemned { since_ms: 1, packs: condemned.clone(), objects: vec![] };
    let object = crate::condemned::encode_condemned(repository.crypto(), &path, &list).unwrap();
    store.put_if_absent(&path, object.into()).await.unwrap();
    let second = back_up(&repository, "two").await;
    assert!(second.manifest.packs().iter().all(|p| !condemned.contains(p)), "no condemned pack is named");
    for pack in condemned {
        store.delete(&crate::pack::pack_path(pack)).await.unwrap();
    }
    let cold = reopen(&store, &CacheOptions::none()).await;
    let reader = cold.reader(&[&second.manifest]).await.unwrap();
    for (table, text) in second.manifest.tables().iter().zip(["one", "two"]) {
        assert_eq!(get(&reader, table.root.unwrap()).unwrap(), text);
    }
}

/// A snapshot must never name a blob that is nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_with_a_blob_that_was_never_put_is_refused() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    let nowhere = table(BlobId([9; 32]), TableKind::Base);
    let refused = session.commit(fields(1), vec![nowhere]).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Blob(BlobError::Missing { .. })), "{refused}");
    assert!(repository.snapshots().await.unwrap().snapshots.is_empty());
}

/// Where a store does not create exclusively, two writers of one number both stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_exclusive_creates_both_snapshots_stand() {
    let store = Store::memory();
    let repository = new_repository(&store, &CacheOptions::none()).await;
    let facts = StoreFacts { creates_exclusively: false, ..repository.config().store.clone() };
    let config = Config { store: facts, ..repository.config().clone() };
    store.put(CONFIG_PATH, encode_config(repository.crypto(), &config).unwrap().into()).await.unwrap();
    let repository = reopen(&store, &CacheOptions::none()).await;
    let mut left = repository.begin_backup(LINEAGE).await.unwrap();
    let mut right = repository.begin_backup(LINEAGE).await.unwrap();
    for (session, text) in [(&mut left, "left"), (&mut right, "right")] {
        assert!(matches!(commit(session, &repository, text).await.unwrap(), CommitOutcome::Committed(_)));
    }
    assert_eq!(repository.snapshots().await.unwrap().snapshots.len(), 2);
    assert_eq!(back_up(&repository, "next").await.manifest.seq, 2);
}

/// What was found out about one store says nothing about another: a moved repository is probed again, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_repository_is_probed_again() {
    let old = Store::memory();
    new_repository(&old, &CacheOptions::none()).await;
    let folder = tempfile::tempdir().unwrap();
    let new = Store::open(folder.path().join("r").to_str().unwrap(), &StoreOptions::default()).unwrap();
    for object in old.list_sorted("").await.unwrap() {
        new.put(&object.path, old.get(&object.path, 1 << 20).await.unwrap()).await.unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let cache = CacheOptions::at(root.path());
    for (text, puts) in [("one", 128 + 2), ("two", 2)] {
        let before = new.counters();
        back_up(&reopen(&new, &cache).await, text).await;
        assert_eq!(new.counters().since(&before).put, puts);
    }
}

/// A repository in a bucket: the same calls, over HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_lives_in_an_s3_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::backend::tests::s3(folder.path(), StoreOptions::default()).await;
    let repository = new_repository(&store, &CacheOptions::none()).await;
    back_up(&repository, "one").await;
    let second = back_up(&repository, "two").await;
    let cold = reopen(&store, &CacheOptions::none()).await;
    assert_eq!(cold.snapshots().await.unwrap().snapshots.len(), 2);
    let reader = cold.reader(&[&second.manifest]).await.unwrap();
    for (table, text) in second.manifest.tables().iter().zip(["one", "two"]) {
        assert_eq!(get(&reader, table.root.unwrap()).unwrap(), text);
    }
}

/// Four digits may fit two of a few hundred snapshots: then neither is taken, and both are named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_of_several_snapshots_names_them() {
    let repository = new_repository(&Store::memory(), &CacheOptions::none()).await;
    let mut seen = std::collections::HashMap::new();
    let (earlier, later) = loop {
        let mut session = repository.begin_backup(LINEAGE).await.unwrap();
        let root = table(put(&session, &repository, &seen.len().to_string()), TableKind::Base);
        let CommitOutcome::Committed(done) = session.commit(fields(1), vec![root]).await.unwrap() else {
            panic!("nobody else writes")
        };
        let id = done.id();
        if let Some(earlier) = seen.insert(id.to_string()[..4].to_owned(), id) {
            break (earlier, id);
        }
        assert!(seen.len() < 5000, "ids are not spread");
    };
    let listed = repository.snapshots().await.unwrap();
    let prefix = later.to_string()[..4].to_owned();
    match listed.find(&prefix).unwrap_err() {
        RepositoryError::AmbiguousSnapshot { prefix: said, mut candidates } => {
            candidates.sort();
            let mut both = vec![earlier, later];
            both.sort();
            assert_eq!((said, candidates), (prefix, both));
        }
        other => panic!("{other}"),
    }
    assert_eq!(listed.find(&later.to_string()).unwrap().id(), later);
}
