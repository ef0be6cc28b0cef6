//! Backups over the client protocol from real servers: what was scanned is what the server has on disk, what changed
//! meanwhile is caught up with, and what could not be seen is said.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use testing::server::{Client as JavaClient, Ensemble, Server, Setup};
use zk_connect::live::scan::{AclMemory, Control, Scan, ScanOptions, Unreadable, is_masked, scan};
use zk_connect::live::{Client, ConnectOptions, CreateMode};
use zk_format::{AclList, NodeRef, OwnerKind, path};

use crate::client::{extended, options, run};
use crate::matrix::{on_every_version, on_oldest_and_newest};
use crate::run::{Home, Ran};
use crate::state::load_live;
use crate::turn;

/// Keeps what it is told.
#[derive(Default)]
pub struct Heard {
    pub nodes: Mutex<u64>,
    pub notes: Mutex<Vec<String>>,
}

impl Control for Heard {
    fn read(&self, nodes: u64) {
        *self.nodes.lock().unwrap() += nodes;
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn cancelled(&self) -> bool {
        false
    }
}

pub async fn scanned(connect: &ConnectOptions, known: &AclMemory, max_rate: Option<u32>) -> (Scan, Heard) {
    let heard = Heard::default();
    let all = |_: &[u8]| true;
    let options = ScanOptions { connections: None, max_rate, known, wanted: &all, control: &heard };
    let found = scan(connect, &options).await.unwrap();
    (found, heard)
}

/// What a client can see of a node that a server has on disk.
fn as_clients_see(node: NodeRef<'_>) -> NodeRef<'_> {
    let mut node = node;
    if matches!(node.stat.kind(), OwnerKind::Container | OwnerKind::Ttl { .. }) {
        node.stat.ephemeral_owner = 0;
    }
    node
}

/// Fails unless the scan has exactly the nodes that the server has on disk.
pub fn assert_same_as_files(what: &str, found: &Scan, server: &Server) {
    let files = load_live(server);
    let on_disk: BTreeMap<&[u8], NodeRef<'_>> =
        files.tree.iter().map(|node| (node.path, as_clients_see(node))).collect();
    let seen: BTreeMap<&[u8], NodeRef<'_>> = found.tree.iter().map(|node| (node.path, node)).collect();
    assert_eq!(seen.len(), found.tree.len(), "{what}: a path twice");
    let missing: Vec<_> = on_disk.keys().filter(|path| !seen.contains_key(*path)).take(9).collect();
    let added: Vec<_> = seen.keys().filter(|path| !on_disk.contains_key(*path)).take(9).collect();
    assert!(missing.is_empty() && added.is_empty(), "{what}: missing {missing:?}, too many {added:?}");
    for (path, node) in &seen {
        let disk = &on_disk[path];
        assert_eq!(node.stat, disk.stat, "{what}: {}", path::display(path));
        if !path::is_volatile(path) {
            assert_eq!(node.data, disk.data, "{what}: {}", path::display(path));
        }
        assert_eq!(node.acl, disk.acl, "{what}: {}", path::display(path));
    }
}

on_every_version!(a_scan_is_what_the_server_has_on_disk);

fn a_scan_is_what_the_server_has_on_disk(version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(30_000).unwrap();
    run(async {
        let connect = options(&[server.address()]);
        let (found, heard) = scanned(&connect, &AclMemory::default(), None).await;
        assert!(found.is_exact(), "{:?} {:?}", found.span, found.acl_span);
        assert_eq!(*heard.nodes.lock().unwrap(), found.tree.len() as u64);
        assert!(found.caught_up);
        assert_eq!(found.unreadable, BTreeMap::new());
        assert_same_as_files("first", &found, &server);

        // With the ACLs known there is nothing to ask about them, and one that changed is seen.
        let mut known = AclMemory::default();
        for node in found.tree.iter() {
            known.insert(node.path, &node.stat, node.acl.unwrap());
        }
        let client = Client::connect(connect.clone()).await.unwrap();
        let closed = AclList::encode(&[zk_format::Acl { perms: 31, scheme: b"ip".to_vec(), id: b"10.0.0.1".to_vec() }]);
        client.set_acl(b"/many/c7", &closed, -1).await.unwrap();
        client.close().await;
        let (again, _) = scanned(&connect, &known, None).await;
        assert!(again.is_exact());
        assert_same_as_files("with ACLs known", &again, &server);
    });
}

/// Reading is held back until the writes are over; in the end everything they changed must have been read again.
#[test]
fn what_changes_during_a_scan_is_read_again() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(6_000).unwrap();
    java.run("churn a 2000 1").unwrap();
    java.send("churn a 6000 2").unwrap();
    let (found, heard) =
        run(async { scanned(&options(&[server.address()]), &AclMemory::default(), Some(15_000)).await });
    java.answer("churn").unwrap();
    assert!(!found.is_exact() && found.caught_up, "{:?} {:?}", found.span, heard.notes.lock().unwrap());
    assert!(found.read_again > 0);
    assert_same_as_files("after the churn", &found, &server);
}

/// The servers that are read from die one after the other; others take over, and nothing is lost or there twice.
#[test]
fn a_scan_outlives_the_servers_it_reads_from() {
    let _turn = turn::of_an_ensemble();
    let mut ensemble = Ensemble::start("3.9.4", 3, &Setup::default()).unwrap();
    let hosts: Vec<String> = ensemble.members().iter().map(Server::address).collect();
    let leader = ensemble.leader().unwrap();
    let mut java = JavaClient::connect("3.9.4", &hosts[leader]).unwrap();
    java.workload(5_000).unwrap();
    drop(java);
    let connect = options(&hosts);
    for victim in [ensemble.followers()[0], leader] {
        let task = std::thread::spawn({
            let connect = connect.clone();
            move || run(async { scanned(&connect, &AclMemory::default(), Some(20_000)).await.0 })
        });
        std::thread::sleep(Duration::from_millis(1500));
        ensemble.member(victim).kill9().unwrap();
        let found = task.join().unwrap();
        let follower = (0..3).find(|index| *index != victim).unwrap();
        ensemble.member(victim).start_again().unwrap();
        ensemble.wait_ready().unwrap();
        ensemble.wait_same_zxid().unwrap();
        assert_same_paths(&found, &ensemble.members()[follower]);
    }
}

/// Sessions end while servers die, and their ephemeral nodes with them; everything else stays.
fn assert_same_paths(found: &Scan, server: &Server) {
    let files = load_live(server);
    let lasting = |node: &NodeRef<'_>| !node.stat.kind().is_ephemeral() && node.path != path::CONFIG;
    let on_disk: Vec<Vec<u8>> = files.tree.iter().filter(lasting).map(|node| node.path.to_vec()).collect();
    let seen: Vec<Vec<u8>> = found.tree.iter().filter(lasting).map(|node| node.path.to_vec()).collect();
    assert_eq!(seen, on_disk);
}

#[test]
fn what_may_not_be_seen_is_named() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(10).unwrap();
    run(async {
        let anonymous = ConnectOptions { auth: Vec::new(), ..options(&[server.address()]) };
        let (found, _) = scanned(&anonymous, &AclMemory::default(), None).await;
        let closed = Unreadable { data: true, children: true, acl: true };
        assert_eq!(found.unreadable.get(&b"/acl/creator"[..]), Some(&closed), "{:?}", found.unreadable);
        assert!(found.tree.find(b"/acl/creator").unwrap().acl.is_none());
        let mixed = found.tree.find(b"/acl/mixed").unwrap();
        assert!(is_masked(mixed.acl.unwrap()), "the server hides bob's digest");
        assert_eq!(mixed.data, Some(&b"c"[..]));
    });
}

/// The program, with a repository of its own.
pub fn program() -> Home {
    let home = Home::new();
    std::fs::write(home.path("auth"), "digest super:admin\n").unwrap();
    ran(&home, "init").ends(0);
    home
}

/// The program with its repository, to be started and not waited for.
pub fn process(home: &Home, line: &str) -> std::process::Command {
    let mut process = home.process();
    process.env("ZOOARK_REPOSITORY", home.path("repo")).env("ZOOARK_PASSWORD", "pw").args(line.split_whitespace());
    process
}

pub fn ran(home: &Home, line: &str) -> Ran {
    Ran::of(&mut assert_cmd::Command::from_std(process(home, line)))
}

pub fn summary(home: &Home, line: &str, code: i32) -> serde_json::Value {
    ran(home, &format!("--json {line}")).ends(code).lines().pop().unwrap()
}

on_oldest_and_newest!(the_program_backs_up_an_ensemble);

fn the_program_backs_up_an_ensemble(version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(2_000).unwrap();
    let home = program();
    let backup = format!("backup zk://{} --cluster live --zk-auth-file auth", server.address());
    let first = summary(&home, &backup, 0);
    assert_eq!((&first["consistency"], &first["acl_consistency"]), (&"exact".into(), &"exact".into()), "{first}");
    assert_eq!((&first["method"], &first["proof"]), (&"scan".into(), &"none".into()));
    // Servers count their root twice.
    assert_eq!(first["nodes"], server.status().unwrap().nodes - 1);
    assert!(first["uploaded_bytes"].as_u64().unwrap() > 0);

    let same = summary(&home, &backup, 0);
    assert_eq!((&same["snapshot_id"], &same["uploaded_bytes"]), (&serde_json::Value::Null, &0.into()), "{same}");
    assert_eq!(same["parent_id"], first["snapshot_id"]);

    java.run("set /plain/text other").unwrap_err();
    java.run("set a /plain/text other").unwrap();
    java.run("create a /plain/new x").unwrap();
    java.run("delete a /many/c3").unwrap();
    let third = summary(&home, &backup, 0);
    assert_eq!((&third["nodes_created"], &third["nodes_deleted"]), (&1.into(), &1.into()), "{third}");
    // The node itself, and both parents, whose children changed.
    assert_eq!(third["nodes_changed"], 3, "{third}");

    // The server's files hold the same, but for what clients are not shown.
    let files = server.data_dir();
    let diff = ran(&home, &format!("diff --stat latest {}", files.display())).ends(0);
    diff.prints("0 created, 0 changed, 0 deleted");
    ran(&home, "check --read-data").ends(0);
    ran(&home, "cat latest:/plain/text").ends(0).prints("other");

    // Compared with the ensemble itself, and the ensemble with itself.
    let here = format!("zk://{} --zk-auth-file auth", server.address());
    ran(&home, &format!("diff --stat --exit-code latest {here}")).ends(0).prints("0 created, 0 changed, 0 deleted");
    ran(&home, &format!("diff --stat --exit-code {} {here}", files.display())).ends(0);
    java.run("set a /plain/text third").unwrap();
    java.run("create a /plain/newer x").unwrap();
    java.run("delete a /plain/new").unwrap();
    let diff = ran(&home, &format!("diff --exit-code latest:/plain {here}")).ends(1);
    assert_eq!(diff.stdout, "-    /plain/new\n+    /plain/newer\nM    /plain/text\n", "{}", diff.stderr);
    let diff = ran(&home, &format!("diff --exit-code zk://{}/plain {here}", server.address())).ends(1);
    assert!(diff.stdout.contains("/plain/text"), "{}", diff.stdout);
    let blind = ran(&home, &format!("diff latest zk://{}", server.address())).ends(3);
    blind.says("could not be read whole");
    java.run("set a /plain/text other").unwrap();

    // A chroot is a view of its own.
    let below = format!("backup zk://{}/plain --cluster live --zk-auth-file auth", server.address());
    let below = summary(&home, &below, 0);
    assert_eq!(below["parent_id"], serde_json::Value::Null);
    let id = below["short_id"].as_str().unwrap();
    ran(&home, &format!("cat {id}:/text")).ends(0).prints("other");
}

#[test]
fn a_backup_that_may_not_see_all_says_so_by_its_exit_code() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    run(async {
        let client = Client::connect(options(&[server.address()])).await.unwrap();
        let closed = AclList::encode(&[zk_format::Acl { perms: 31, scheme: b"ip".to_vec(), id: b"10.0.0.1".to_vec() }]);
        client.create(b"/open", Some(b"x"), &AclList::world(), CreateMode::Persistent).await.unwrap();
        client.create(b"/open/closed", Some(b"y"), &closed, CreateMode::Persistent).await.unwrap();
        client.create(b"/open/closed/child", None, &AclList::world(), CreateMode::Persistent).await.unwrap();
        client.close().await;
    });
    let home = program();
    let backup = format!("backup zk://{}", server.address());
    ran(&home, &backup).ends(1).says("/open/closed: no permission to read its data, children, ACL");
    assert!(ran(&home, "snapshots --json").ends(0).json().as_array().unwrap().is_empty());
    let partial = summary(&home, &format!("{backup} --allow-partial"), 3);
    assert_eq!(partial["incomplete_paths"], serde_json::json!(["/open/closed"]));
    let id = partial["short_id"].as_str().unwrap();
    ran(&home, &format!("restore {id} datadir:back")).ends(3).says("/open/closed");
    ran(&home, &format!("{backup} --exclude /open/closed")).ends(0);
    let whole = summary(&home, &format!("{backup} --zk-auth-file auth"), 0);
    assert_eq!(whole["incomplete_paths"], serde_json::json!([]));
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error_in_seconds() {
    let home = program();
    let nobody = testing::server::free_port().unwrap();
    ran(&home, &format!("backup zk://127.0.0.1:{nobody}")).ends(1).says("refused");
    ran(&home, "backup zk://127.0.0.1:1 --to-zxid 0x5").ends(2).says("--to-zxid");
    std::fs::write(home.path("auth"), "digest hunter2\n").unwrap();
    let wrong = ran(&home, "backup zk://127.0.0.1:1 --zk-auth-file auth").ends(2).says("line 1");
    assert!(!wrong.stderr.contains("hunter2"));
}
