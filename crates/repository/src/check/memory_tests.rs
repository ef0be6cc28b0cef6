//! How much memory a check and a prune of a million blobs take: measured in a process of their own.

use testing::memory::{self, peak_kib};

use crate::backend::{Store, StoreOptions};
use crate::blobs::BlobSink;
use crate::cache::CacheOptions;
use crate::check::{CheckOptions, check};
use crate::crypto::fill_random;
use crate::ids::{BlobId, BlobKind};
use crate::keys::Credentials;
use crate::prune::PruneOptions;
use crate::repository::tests::{LINEAGE, fields, options};
use crate::repository::{InitOptions, Repository};
use crate::session::CommitOutcome;
use crate::table::{Leaf, TableBuilder, TableKind, TableSpan};
use crate::{BackupSession, PlainBlob};

const PLACE: &str = "ZOOARK_TEST_MEMORY_OF";
const LIMIT_KIB: u64 = 300 << 10;
/// Tables, each a base of its own, and chunks in each.
const TABLES: u64 = 100;

fn chunks() -> u64 {
    let all: u64 = if std::env::var_os("ZOOARK_TEST_LONG").is_some() { 1_000_000 } else { 200_000 };
    all / TABLES
}

/// A table whose chunks are tiny: how many there are is what counts here. Nobody reads them.
fn fill(session: &BackupSession, repository: &Repository) -> crate::TableRoot {
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 9 };
    let mut builder = TableBuilder::new(repository.identity(), session, span);
    let mut text = [0; 16];
    fill_random(&mut text).unwrap();
    for n in 0..chunks() {
        text[..8].copy_from_slice(&n.to_le_bytes());
        let id: BlobId = repository.identity().blob_id(BlobKind::Leaf, &text);
        session.put(PlainBlob { id, kind: BlobKind::Leaf, bytes: &text }).unwrap();
        let last_key = format!("\u{1}brokers\u{1}topics\u{1}some-topic-of-usual-length-{n:012}\u{0}partitions");
        let leaf = Leaf {
            id,
            after: None,
            last_key: last_key.into_bytes().into(),
            fenced: false,
            records: 200,
            tombstones: 0,
            chunk_bytes: 64 << 10,
            highest_mzxid: 1,
        };
        builder.keep(&leaf, []);
    }
    builder.finish(Vec::new()).unwrap().root
}

fn open(place: &str) -> (tokio::runtime::Runtime, Repository) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let repository = runtime.block_on(async {
        let store = Store::open(place, &StoreOptions::default()).unwrap();
        Repository::open(&store, &Credentials::None, &CacheOptions::none()).await.unwrap()
    });
    (runtime, repository)
}

/// The other process: does what it is told and prints its peak.
#[test]
fn measured() {
    let Ok(told) = std::env::var(PLACE) else { return };
    let (what, place) = told.split_once(' ').unwrap();
    let (_runtime, repository) = open(place);
    let before = peak_kib().unwrap();
    let snapshots = if what == "check" {
        check(&repository, &CheckOptions::default(), &mut |finding| panic!("{finding:?}")).unwrap().snapshots
    } else {
        repository.prune(&PruneOptions::default(), &mut |_| Ok(())).unwrap().snapshots
    };
    assert_eq!(snapshots, TABLES);
    memory::tell(before).unwrap();
}

#[test]
fn a_million_blobs_are_checked_and_pruned_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let repository = runtime.block_on(async {
            let store = Store::open(place, &StoreOptions::default()).unwrap();
            let options: InitOptions = options(Credentials::None);
            Repository::init(&store, &options, &CacheOptions::none()).await.unwrap()
        });
        for _ in 0..TABLES {
            let mut session = runtime.block_on(repository.begin_backup(LINEAGE)).unwrap();
            let root = fill(&session, &repository);
            let done = runtime.block_on(session.commit(fields(1), vec![root])).unwrap();
            assert!(matches!(done, CommitOutcome::Committed(_)));
        }
    }
    for what in ["check", "prune"] {
        let told = format!("{what} {place}");
        let (peak, before) = memory::of_test("check::memory_tests::measured", PLACE, &told).unwrap();
        println!("{what} of {} blobs: {peak} KiB at most, {before} KiB of it before", chunks() * TABLES);
        let limit = LIMIT_KIB * (chunks() * TABLES) / 1_000_000;
        assert!(peak - before <= limit, "{what}: {peak} KiB at most, {before} of it before, above {limit}");
        assert!(peak <= LIMIT_KIB, "{what}: {peak} KiB");
    }
}
