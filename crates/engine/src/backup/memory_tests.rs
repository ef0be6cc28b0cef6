//! How much memory snapshots of a scanned ensemble take, measured in a process of their own: less than the nodes.

use std::collections::{BTreeMap, HashMap};

use repository::backend::StoreOptions;
use repository::cache::CacheOptions;
use repository::keys::Credentials;
use repository::repository::InitOptions;
use testing::memory::{self, peak_kib};
use testing::random::Prng;
use zk_connect::Endpoint;
use zk_connect::live::scan::{Seen, Sink as _, Span};
use zk_format::{AclList, NodeRef, Stat, Zxid};

use super::source::Read;
use super::whole::Whole;
use super::{BackupRequest, lineage, run_with};
use crate::filter::Filter;
use crate::live::{Scanned, stream};
use crate::monitor::Silent;
use crate::report::BackupSummary;
use crate::{Access, Repo};

const ASKED: &str = "ZOOARK_TEST_MEMORY_OF_A_SCAN";
const NODES: u64 = 200_000;
const DATA: usize = 1_000;
/// What may be needed besides what the process had before; the data alone is 195 313 KiB.
const LIMIT_KIB: u64 = 150 << 10;

/// A scan of nodes in an order that is not that of their keys, with data that is hard to compress. Those whose number
/// is a multiple of `changed` are of this version, the others of the first.
fn scanned(version: i32, changed: u64) -> Scanned {
    let mut spool = stream::spool().unwrap();
    let acl = AclList::world();
    let root = NodeRef { path: b"", data: None, acl: Some(&acl), stat: Stat::default() };
    spool.node(&root).unwrap();
    for step in 0..NODES {
        let number = step * 7_919 % NODES;
        let version = if number.is_multiple_of(changed) { version } else { 0 };
        let data = Prng::new(number * 16 + u64::from(version.unsigned_abs())).bytes(DATA);
        let path = format!("/node-{number:06}");
        let stat = Stat { version, czxid: Zxid(7), mzxid: Zxid(7 + i64::from(version)), ..Stat::default() };
        spool.node(&NodeRef { path: path.as_bytes(), data: Some(&data), acl: Some(&acl), stat }).unwrap();
    }
    let span = Span { low: 9, high: 9 };
    let seen = Seen {
        again: HashMap::new(),
        span,
        acl_span: span,
        unreadable: BTreeMap::new(),
        caught_up: true,
        watch_lost: false,
        dropped: false,
        servers: Vec::new(),
    };
    Scanned::new(spool, seen, &Filter::default()).unwrap()
}

fn backed_up(repo: &Repo, version: i32, changed: u64) -> BackupSummary {
    let source = Endpoint::parse("zk://127.0.0.1:1").unwrap();
    let request = BackupRequest::new(source, "host".to_owned(), "test".to_owned());
    let lineage = lineage(repo, &request).unwrap();
    run_with(repo, &request, lineage, &Silent::default(), &mut |_, _| {
        Ok(Read::Full { whole: Box::new(Whole::Scanned(scanned(version, changed))), reason: None })
    })
    .unwrap()
}

/// The other process: takes three snapshots and prints its peak.
#[test]
fn measured() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let access = Access {
        location: folder.path().join("repo").to_str().unwrap().to_owned(),
        store: StoreOptions::default(),
        credentials: Credentials::None,
        cache: CacheOptions::none(),
    };
    let repo = Repo::init(&access, &InitOptions::new(Credentials::None)).unwrap();
    let before = peak_kib().unwrap();
    let first = backed_up(&repo, 0, 1);
    assert_eq!((first.nodes, first.nodes_created), (NODES + 1, NODES + 1));
    let same = backed_up(&repo, 0, 1);
    assert_eq!((same.snapshot_id, same.nodes_changed), (None, 0));
    let next = backed_up(&repo, 1, 20);
    assert_eq!((next.nodes, next.nodes_changed), (NODES + 1, NODES / 20));
    memory::tell(before).unwrap();
}

#[test]
fn a_scan_is_compared_and_stored_in_less_memory_than_it_has_nodes() {
    let (peak, before) = memory::of_test("backup::memory_tests::measured", ASKED, "yes").unwrap();
    println!("snapshots of {NODES} nodes: {peak} KiB at most, {before} KiB of it before");
    assert!(peak - before <= LIMIT_KIB, "{peak} KiB at most, {before} of it before, above {LIMIT_KIB}");
}
