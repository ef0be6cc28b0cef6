//! `backup --watch` where something is in its way: a store that is away, nodes that nobody may read, an ensemble that was wiped.

use std::fs;

use serde_json::Value;
use testing::server::{Server, Setup};
use zk_connect::live::{Client, CreateMode, Op};
use zk_format::{Acl, AclList};

use crate::client::run;
use crate::scan::{program, ran};
use crate::turn;
use crate::watch::{Watch, assert_as_scanned, connect};

const VERSION: &str = "3.9.4";

/// A server with some nodes that everybody may read.
fn server_with_nodes(count: usize) -> Server {
    let server = Server::start(VERSION, Setup::default()).unwrap();
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        let world = AclList::world();
        client.create(b"/open", None, &world, CreateMode::Persistent).await.unwrap();
        for number in 0..count {
            let path = format!("/open/{number}");
            client.create(path.as_bytes(), Some(b"x"), &world, CreateMode::Persistent).await.unwrap();
        }
        client.close().await;
    });
    server
}

fn set(server: &Server, path: &str, data: &str) -> i64 {
    run(async {
        let client = Client::connect(connect(server)).await.unwrap();
        client.set_data(path.as_bytes(), Some(data.as_bytes()), -1).await.unwrap();
        client.close().await;
    });
    server.zxid().unwrap().0
}

fn create(server: &Server, path: &str, acl: &AclList) -> i64 {
    run(async {
        let client = Client::connect(connect(server)).await.unwrap();
        client.create(path.as_bytes(), Some(b"secret"), acl, CreateMode::Persistent).await.unwrap();
        client.close().await;
    });
    server.zxid().unwrap().0
}

/// What changed while the store was away is in the first snapshot after it is back.
#[test]
fn a_store_that_is_away_for_a_while_is_waited_for() {
    let _turn = turn::of_a_server();
    let server = server_with_nodes(20);
    let home = program();
    let source = format!("zk://{}", server.address());
    let watch = Watch::start(&home, &source, "--interval 100ms");
    watch.next();
    let [there, away] = ["repo", "elsewhere"].map(|name| home.path(name));
    fs::rename(&there, &away).unwrap();
    fs::write(&there, "no folder").unwrap();
    set(&server, "/open/1", "while it was away");
    let failed = watch.next_of("error");
    assert!(failed["message"].as_str().is_some_and(|text| !text.is_empty()), "{failed}");
    let zxid = set(&server, "/open/2", "still away");
    fs::remove_file(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    let after = watch.up_to(zxid);
    assert_as_scanned(&home, &after, &source, "scanned");
    let last = watch_one_more(&watch, &server);
    assert_as_scanned(&home, &last, &source, "scanned-2");
    assert_eq!(watch.stop(), 0);
    ran(&home, "check --read-data").ends(0);
}

fn watch_one_more(watch: &Watch, server: &Server) -> Value {
    watch.up_to(set(server, "/open/3", "back"))
}

/// A node that may not be read is said, and nothing is stored while it is there; unless incomplete snapshots will do. A server
/// of 3.9.4 tells nobody of a node that he may not read, so it is the next scan that finds it.
#[test]
fn what_may_not_be_read_is_said_each_time() {
    let _turn = turn::of_a_server();
    let server = server_with_nodes(20);
    let home = program();
    let source = format!("zk://{}", server.address());
    let closed = AclList::encode(&[Acl { perms: 31, scheme: b"ip".to_vec(), id: b"10.0.0.1".to_vec() }]);
    let strict = Watch::start_as_anybody(&home, &source, "--interval 100ms --scan-every 1s");
    strict.next();
    create(&server, "/closed", &closed);
    let refused = strict.next_of("error").to_string();
    assert!(refused.contains("/closed") && refused.contains("othing was stored"), "{refused}");
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        client.delete(b"/closed", -1).await.unwrap();
        client.close().await;
    });
    let after = strict.up_to(set(&server, "/open/1", "again"));
    assert_eq!(after["incomplete_paths"], Value::Array(Vec::new()), "{after}");
    assert_as_scanned(&home, &after, &source, "scanned");
    assert_eq!(strict.stop(), 0);

    // Of nodes that it may not read nobody tells it: what a watch told is no exact state to it.
    let anybody = Watch::start_as_anybody(&home, &source, "--interval 100ms");
    anybody.up_to(set(&server, "/open/1", "scanned or told"));
    let told = anybody.up_to(set(&server, "/open/1", "told"));
    assert_eq!((&told["method"], &told["consistency"]), (&"watch".into(), &"fuzzy".into()), "{told}");
    assert_eq!(anybody.stop(), 0);

    create(&server, "/closed", &closed);
    let lenient = Watch::start_as_anybody(&home, &source, "--interval 100ms --scan-every 1s --allow-partial");
    let partial = lenient.next();
    assert_eq!(partial["incomplete_paths"], serde_json::json!(["/closed"]), "{partial}");
    // It stays incomplete, whatever else is told.
    let later = lenient.up_to(set(&server, "/open/2", "later"));
    assert_eq!(later["incomplete_paths"], serde_json::json!(["/closed"]), "{later}");
    assert_eq!(lenient.stop(), 0);
}

/// Most nodes went at once: that snapshot is suspect, and somebody has to decide.
#[test]
fn a_wiped_ensemble_ends_it() {
    let _turn = turn::of_a_server();
    let server = server_with_nodes(200);
    let home = program();
    let source = format!("zk://{}", server.address());
    let watch = Watch::start(&home, &source, "--interval 100ms");
    let first = watch.next();
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        let paths: Vec<String> = (0..200).map(|number| format!("/open/{number}")).collect();
        let gone: Vec<Op<'_>> = paths.iter().map(|path| Op::Delete { path: path.as_bytes(), version: -1 }).collect();
        client.multi_plain(&gone).await.unwrap();
        client.close().await;
    });
    let suspect = watch.up_to(server.zxid().unwrap().0);
    assert!(suspect["suspect"].as_str().is_some_and(|why| !why.is_empty()), "{suspect}");
    assert_eq!(watch.ends(), 5);
    let latest = ran(&home, "snapshots --json --latest 1").ends(0).json();
    assert!(latest.to_string().contains(first["snapshot_id"].as_str().unwrap()), "{latest}");
    ran(&home, "dump latest").ends(0).prints("/open/199");
}

/// More is told while a snapshot goes up than is kept: the next one is a scan, and lacks nothing.
#[test]
fn more_events_than_are_kept_lead_to_a_scan() {
    let _turn = turn::to_wait();
    let server = server_with_nodes(20);
    let path = format!("/open/{}", "long".repeat(230));
    create(&server, &path, &AclList::world());
    let home = program();
    let source = format!("zk://{}", server.address());
    // At this rate the large value below keeps it from looking for half a minute.
    let watch = Watch::start(&home, &source, "--interval 100ms --limit-upload 20");
    watch.next();
    let mut seed = 1_u32;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(600_000)
    .collect();
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        client.create(b"/open/large", Some(&large), &AclList::world(), CreateMode::Persistent).await.unwrap();
        client.close().await;
    });
    let going_up = server.zxid().unwrap().0;
    // Seconds, so that it is read before the flood; 40,000 events of 968 bytes are more than 32 MiB.
    std::thread::sleep(std::time::Duration::from_secs(3));
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        let set = Op::SetData { path: path.as_bytes(), data: Some(b"told often"), version: -1 };
        for _ in 0..80 {
            client.multi_plain(&vec![set.clone(); 500]).await.unwrap();
        }
        client.close().await;
    });
    let flooded = set(&server, "/open/3", "last");
    let slow = watch.up_to(going_up);
    assert_eq!(slow["method"], "watch", "{slow}");
    let after = watch.up_to(flooded);
    assert_eq!(after["method"], "scan", "{after}");
    assert!(after["full_reason"].as_str().unwrap().contains("told more than is kept"), "{after}");
    assert_as_scanned(&home, &after, &source, "scanned");
    // And it goes on as before.
    let last = watch_one_more(&watch, &server);
    assert_eq!(last["method"], "watch", "{last}");
    assert_eq!(watch.stop(), 0);
}
