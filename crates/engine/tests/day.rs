//! A day of minutely backups of the bench tree, 100 changes each, through files, logs and an encrypted repository:
//! what every backup uploads and asks of the store, how high the stack grows, and that what was stored comes back.
//!
//! Five hours of it, so that runs of the second tier are merged; `ZOOARK_TEST_LONG=1` has the whole day.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod setting;

use engine::report::{BackupSummary, Method};
use engine::{Access, Repo, Silent, backup};
use repository::backend::Counters;
use repository::condemned::{Condemned, condemned_path, encode_condemned};
use repository::keys::{Credentials, KeyFile};
use repository::manifest::Manifest;
use repository::repository::InitOptions;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{BENCH_NODES, BENCH_SEED, Change, Tree};
use testing::server::long;
use zk_format::Zxid;

use crate::setting::{access, assert_same, request, restore_to};

/// Bytes that a backup of 100 changes uploads at most, manifest and all, where it merges no tier: in the first hours,
/// and late in the day, when the manifest names more than thirty tables.
const APPEND: [u64; 2] = [12_000, 12_288];
/// Minutes after which a manifest may name that many.
const LATE: u64 = 300;
/// The same where sixteen runs become one of the next tier, and where sixteen of those do.
const MERGES: [u64; 2] = [140_000, 1_750_000];
/// When the first list of condemned packs appears.
const PRUNED: u64 = 100;
/// Tables at most: a base, and fifteen runs in each of three tiers.
const STACK: usize = 1 + 3 * 15;

struct Day {
    access: Access,
    directory: EvolvingDir,
}

impl Day {
    /// One backup by a program that starts anew, as a timer has it: the summary, and what it asked of the store.
    fn back_up(&self) -> (BackupSummary, Counters) {
        let repo = Repo::open(&self.access).unwrap();
        let summary = backup::run(&repo, &request(self.directory.root()), &Silent::default()).unwrap();
        (summary, repo.repository().store().counters())
    }
}

#[test]
fn a_day_of_minutely_backups_keeps_its_promises() {
    let minutes = if long() { 1440 } else { 300 };
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("source");
    let directory = EvolvingDir::create(&source, Tree::build(BENCH_NODES, BENCH_SEED), Setup::default()).unwrap();
    let credentials = || Credentials::KeyFile(KeyFile::parse(&[7; 32]).unwrap());
    let place = tmp.path().join("repository");
    let access = |cache| access(&place, cache, credentials());
    let cache = tmp.path().join("cache");
    drop(Repo::init(&access(Some(&cache)), &InitOptions::new(credentials())).unwrap());
    let mut day = Day { access: access(Some(&cache)), directory };
    let (first, counted) = day.back_up();
    assert!(first.uploaded_bytes <= 60_000_000, "the first backup takes {} bytes", first.uploaded_bytes);
    assert!(counted.bytes_up <= 60_000_000);

    let (mut total, mut largest) = (0, [0; 3]);
    let mut moments = Vec::new();
    for minute in 1..=minutes {
        day.directory.commit(Change::Random(100)).unwrap();
        if minute == PRUNED {
            condemn_nothing(&day.access);
        }
        let (summary, counted) = day.back_up();
        assert_eq!((&summary.method, summary.objects_written), (&Method::Log, 2), "{minute}: {summary:?}");
        // Sixteen runs of a tier are one of the next; the run that makes sixteen is that backup's own.
        let merges = usize::from(minute % 16 == 0) + usize::from(minute % 256 == 0);
        let bound = merges.checked_sub(1).map_or(APPEND[usize::from(minute > LATE)], |tier| MERGES[tier]);
        assert!(counted.bytes_up <= bound, "minute {minute}: {} bytes of at most {bound}", counted.bytes_up);
        assert_eq!(counted.bytes_up, summary.uploaded_bytes);
        // Whoever meets the first lists lists them, reads them, and lists the lineage once, for `forget` may have left a
        // gap; from then on the newest is looked for, and only the next one asked for.
        assert_eq!((counted.put, counted.list), (2, 2 * u64::from(minute == PRUNED)), "minute {minute}: {counted:?}");
        assert!(counted.get <= 4 + 2 * u64::from(minute == PRUNED), "minute {minute}: {counted:?}");
        let looks = if minute < PRUNED { 1 } else { 2 + u64::from(minute > PRUNED) };
        assert_eq!(counted.head, looks, "minute {minute}: {counted:?}");
        total += counted.bytes_up;
        largest[merges] = largest[merges].max(counted.bytes_up);
        if minute % (minutes / 3) == 0 {
            moments.push((summary.snapshot_id.unwrap(), day.directory.tree().zxid()));
        }
    }
    eprintln!("{minutes} minutes: {total} bytes; at most {largest:?} by merges");
    assert!(total <= 40_000_000 * minutes / 1440 + 2 * MERGES[1], "{total} bytes in {minutes} minutes");

    let cold = Repo::open(&access(None)).unwrap();
    let snapshots = cold.snapshots().unwrap().snapshots;
    assert_eq!(snapshots.len() as u64, minutes + 1);
    let tallest = snapshots.iter().map(|snapshot| snapshot.manifest.body.stack.len()).max().unwrap();
    assert!(tallest <= STACK, "{tallest} tables");
    for snapshot in snapshots.iter().rev().step_by(101) {
        a_cold_reader_reads_footers(&Repo::open(&access(None)).unwrap(), &snapshot.manifest);
    }
    for (id, zxid) in moments {
        restores_as_it_was(&cold, &day, &id, zxid);
    }
}

/// Prune has run and found nothing: from then on writers have a list to look for.
fn condemn_nothing(access: &Access) {
    let repo = Repo::open(access).unwrap();
    let (store, crypto) = (repo.repository().store(), repo.repository().crypto());
    for generation in 1..=2 {
        let path = condemned_path(generation);
        let object = encode_condemned(crypto, &path, &Condemned::default()).unwrap();
        repo.block_on(store.put_if_absent(&path, object.into())).unwrap();
    }
}

/// Whoever has a manifest needs one footer per pack that it names, and a look-up one chunk per table and the base's path.
fn a_cold_reader_reads_footers(repo: &Repo, manifest: &Manifest) {
    let store = repo.repository().store();
    let opened = store.counters();
    let tree = repo.tree(manifest).unwrap();
    let known = store.counters();
    let footers = known.since(&opened);
    let packs = manifest.packs().len() as u64;
    assert!(footers.get <= packs && footers.list == 0, "{footers:?} for {packs} packs");
    assert!(tree.node(b"/zookeeper/quota").unwrap().is_some());
    let found = store.counters().since(&known);
    let tables = manifest.body.stack.len() as u64;
    let height = u64::from(manifest.body.stack[0].root.height);
    assert!(found.get <= height + tables && found.list == 0, "{found:?} for {tables} tables");
}

fn restores_as_it_was(repo: &Repo, day: &Day, id: &str, zxid: Zxid) {
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("restored");
    let summary = restore_to(repo, id, &target).unwrap();
    assert_eq!(summary.state_digest_verified, Some(true));
    assert_same(day.directory.root(), Some(zxid), &target);
}
