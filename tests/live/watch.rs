//! `backup --watch` on real servers: each snapshot is what a scan of everything would have found, and whatever keeps
//! the watch from telling all of it leads to such a scan.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use testing::server::{Client as JavaClient, Ensemble, Proxy, Server, Setup, wait_until};
use zk_connect::live::{Client, ConnectOptions, CreateMode};
use zk_format::{Acl, AclList};

use crate::client::{extended, options, run};
use crate::run::Home;
use crate::scan::{process, program, ran, summary};
use crate::turn;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The program, watching; killed when it goes out of scope.
pub struct Watch {
    process: Child,
    messages: Receiver<Value>,
}

impl Watch {
    pub fn start(home: &Home, source: &str, more: &str) -> Self {
        Self::start_as_anybody(home, source, &format!("--zk-auth-file auth {more}"))
    }

    pub fn start_as_anybody(home: &Home, source: &str, more: &str) -> Self {
        let line = format!("--json backup {source} --cluster watched --watch {more}");
        let mut process = process(home, &line).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).unwrap();
                if message["message_type"] != "status" && sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self { process, messages }
    }

    /// The next snapshot.
    pub fn next(&self) -> Value {
        self.next_of("snapshot")
    }

    /// The next message of this type.
    pub fn next_of(&self, kind: &str) -> Value {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).unwrap();
            println!("{message}");
            if message["message_type"] == kind {
                return message;
            }
        }
    }

    /// The first snapshot that has everything up to this transaction.
    pub fn up_to(&self, zxid: i64) -> Value {
        loop {
            let next = self.next();
            if zxid_of(&next, "zxid_high") >= zxid {
                return next;
            }
        }
    }

    /// Asks it to end and gives its exit code.
    pub fn stop(self) -> i32 {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.ends()
    }

    /// Waits for it to end and gives its exit code.
    pub fn ends(mut self) -> i32 {
        self.process.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // After an orderly end there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn zxid_of(summary: &Value, field: &str) -> i64 {
    i64::from_str_radix(summary[field].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn digest(home: &Home, id: &str) -> Value {
    let snapshots = ran(home, "snapshots --json").ends(0).json();
    let found = snapshots.as_array().unwrap().iter().find(|snapshot| snapshot["id"] == id).unwrap();
    found["state_digest"].clone()
}

/// Fails unless the snapshot is what a scan of everything finds now.
pub fn assert_as_scanned(home: &Home, watched: &Value, source: &str, cluster: &str) {
    let scanned = summary(home, &format!("backup {source} --cluster {cluster} --zk-auth-file auth --full"), 0);
    let [watched_id, scanned_id] = [watched, &scanned].map(|summary| summary["snapshot_id"].as_str().unwrap());
    if digest(home, watched_id) != digest(home, scanned_id) {
        let [one, other] = [watched_id, scanned_id].map(|id| ran(home, &format!("dump {id}")).ends(0).stdout);
        let only =
            |here: &str, there: &str| here.lines().filter(|line| !there.contains(line)).collect::<Vec<_>>().join("\n");
        panic!("{watched}\nonly watched:\n{}\nonly scanned:\n{}", only(&one, &other), only(&other, &one));
    }
    assert_eq!((&watched["nodes"], &watched["raw_bytes"]), (&scanned["nodes"], &scanned["raw_bytes"]));
}

pub fn connect(server: &Server) -> ConnectOptions {
    options(&[server.address()])
}

/// Nodes come, change and go below a node of its own. ACLs stay: no event tells of them.
async fn stir(client: &Client, root: &str, count: usize) {
    let world = AclList::world();
    client.create(root.as_bytes(), None, &world, CreateMode::Persistent).await.unwrap();
    for number in 0..count {
        let path = format!("{root}/{}", number % 97);
        let data = number.to_string();
        match number % 5 {
            _ if client.exists(path.as_bytes()).await.unwrap().is_none() => {
                client.create(path.as_bytes(), Some(data.as_bytes()), &world, CreateMode::Persistent).await.unwrap();
            }
            0 => client.delete(path.as_bytes(), -1).await.unwrap(),
            _ => {
                client.set_data(path.as_bytes(), Some(data.as_bytes()), -1).await.unwrap();
            }
        }
    }
}

#[test]
fn watched_snapshots_are_what_a_scan_finds() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(2_000).unwrap();
    let home = program();
    let source = format!("zk://{}", server.address());
    let watch = Watch::start(&home, &source, "--interval 200ms");
    let first = watch.next();
    assert_eq!((&first["method"], &first["consistency"]), (&"scan".into(), &"exact".into()), "{first}");

    // One node, one answer: the state at one zxid, but for ACLs.
    java.run("set a /plain/text first").unwrap();
    let one = watch.up_to(server.zxid().unwrap().0);
    assert_eq!((&one["method"], &one["consistency"]), (&"watch".into(), &"exact".into()), "{one}");
    assert_eq!((&one["acl_consistency"], &one["acl_zxid"]), (&"fuzzy".into(), &first["acl_zxid"]), "{one}");

    // Nodes of every kind come, change and go.
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        let world = AclList::world();
        let ours = AclList::encode(&[Acl { perms: 31, scheme: b"digest".to_vec(), id: b"u:hash".to_vec() }]);
        client.set_data(b"/plain/text", Some(b"other"), -1).await.unwrap();
        client.set_data(b"/plain/text", None, -1).await.unwrap();
        client.create(b"/new", Some(&vec![7; 300_000]), &ours, CreateMode::Persistent).await.unwrap();
        for child in 0..300 {
            let path = format!("/new/{child}");
            client.create(path.as_bytes(), Some(b"x"), &world, CreateMode::Persistent).await.unwrap();
        }
        for child in 0..100 {
            client.delete(format!("/new/{child}").as_bytes(), -1).await.unwrap();
        }
        client.create(b"/new/n-", None, &world, CreateMode::PersistentSequential).await.unwrap();
        client.create(b"/gone", None, &world, CreateMode::Persistent).await.unwrap();
        client.create(b"/gone/too", None, &world, CreateMode::Persistent).await.unwrap();
        client.delete(b"/gone/too", -1).await.unwrap();
        client.delete(b"/gone", -1).await.unwrap();
        // Away and back: another node at the same path.
        client.delete(b"/many/c3", -1).await.unwrap();
        client.create(b"/many/c3", Some(b"again"), &world, CreateMode::Persistent).await.unwrap();
        stir(&client, "/stirred", 1_000).await;
        client.close().await;
    });
    java.run("ephemeral a /plain/here x").unwrap();
    let second = watch.up_to(server.zxid().unwrap().0);
    assert_eq!((&second["method"], &second["full_reason"]), (&"watch".into(), &Value::Null), "{second}");
    assert_as_scanned(&home, &second, &source, "scanned");
    assert_eq!(second["acl_zxid"], first["acl_zxid"], "no ACL was scanned since");
    ran(&home, "check --read-data").ends(0);

    // A later snapshot builds on this one.
    java.run("set a /plain/text third").unwrap();
    let third = watch.up_to(server.zxid().unwrap().0);
    assert_eq!((&third["method"], &third["parent_id"]), (&"watch".into(), &second["snapshot_id"]));
    assert_eq!((&third["nodes_changed"], &third["nodes_created"]), (&1.into(), &0.into()), "{third}");
    assert_as_scanned(&home, &third, &source, "scanned-2");

    // Another backup between two snapshots: what it stored is not what the watch continues.
    java.run("set a /plain/text fourth").unwrap();
    let between = format!("backup {source} --cluster watched --zk-auth-file auth --force");
    summary(&home, &between, 0);
    java.run("set a /plain/text fifth").unwrap();
    let last = watch.up_to(server.zxid().unwrap().0);
    assert_as_scanned(&home, &last, &source, "scanned-3");
    assert_eq!(watch.stop(), 0);
}

/// No event tells of an ACL: the scan that comes every so often does.
#[test]
fn acls_are_seen_by_the_scans_in_between() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.6.4", Setup::default()).unwrap();
    let mut java = JavaClient::connect("3.6.4", &server.address()).unwrap();
    java.workload(100).unwrap();
    let home = program();
    let source = format!("zk://{}", server.address());
    let watch = Watch::start(&home, &source, "--interval 100ms --scan-every 1s");
    let first = watch.next();
    run(async {
        let client = Client::connect(connect(&server)).await.unwrap();
        let closed = AclList::encode(&[Acl { perms: 31, scheme: b"ip".to_vec(), id: b"10.0.0.1".to_vec() }]);
        client.set_acl(b"/plain/text", &closed, -1).await.unwrap();
        client.close().await;
    });
    let zxid = server.zxid().unwrap().0;
    let second = watch.up_to(zxid);
    assert_eq!((&second["method"], &second["nodes_changed"]), (&"scan".into(), &1.into()), "{second}");
    assert!(zxid_of(&second, "acl_zxid") > zxid_of(&first, "acl_zxid"));
    assert_as_scanned(&home, &second, &source, "scanned");
    assert_eq!(watch.stop(), 0);
}

/// What happens while the watch has no connection nobody tells, and after an expired session there is no watch.
#[test]
fn a_lost_connection_and_an_expired_session_lead_to_a_scan() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default().line("maxSessionTimeout=6000")).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(500).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let home = program();
    let direct = format!("zk://{}", server.address());
    let watch = Watch::start(&home, &format!("zk://{}", proxy.address()), "--interval 200ms");
    watch.next();
    java.run("set a /plain/text watched").unwrap();
    assert_eq!(watch.up_to(server.zxid().unwrap().0)["method"], "watch");

    // Away for a moment.
    proxy.sever(true);
    java.run("set a /plain/text unheard").unwrap();
    java.run("delete a /many/c3").unwrap();
    proxy.sever(false);
    let after = watch.up_to(server.zxid().unwrap().0);
    assert_eq!(after["method"], "scan", "{after}");
    assert!(after["full_reason"].as_str().unwrap().contains("watches replay nothing"), "{after}");
    assert_as_scanned(&home, &after, &direct, "scanned");

    // Away until the server has given the session up.
    proxy.sever(true);
    java.run("set a /plain/text in-vain").unwrap();
    java.run("create a /plain/unheard x").unwrap();
    let before = server.zxid().unwrap();
    wait_until(PATIENCE, || server.zxid().is_ok_and(|zxid| zxid > before)).unwrap();
    proxy.sever(false);
    let after = watch.up_to(before.0);
    assert_eq!(after["method"], "scan", "{after}");
    assert_as_scanned(&home, &after, &direct, "scanned-2");

    // And the new watch tells what comes.
    java.run("set a /plain/text heard").unwrap();
    let last = watch.up_to(server.zxid().unwrap().0);
    assert_eq!(last["method"], "watch", "{last}");
    assert_as_scanned(&home, &last, &direct, "scanned-3");
    assert_eq!(watch.stop(), 0);
}

#[test]
fn watching_outlives_the_leader() {
    let _turn = turn::of_an_ensemble();
    let mut ensemble = Ensemble::start("3.9.4", 3, &Setup::default()).unwrap();
    let leader = ensemble.leader().unwrap();
    let hosts: Vec<String> = ensemble.members().iter().map(Server::address).collect();
    let survivor = ensemble.followers()[0];
    let mut java = JavaClient::connect("3.9.4", &hosts[survivor]).unwrap();
    java.workload(500).unwrap();
    let home = program();
    let source = format!("zk://{}", hosts.join(","));
    // When a member read its own configuration is its own affair.
    let but = "--exclude /zookeeper/config";
    let watch = Watch::start(&home, &source, &format!("--interval 200ms {but}"));
    watch.next();
    ensemble.member(leader).kill9().unwrap();
    ensemble.wait_ready().unwrap();
    java.run(&format!("connect b {}", hosts[survivor])).unwrap();
    java.run("set b /plain/text elected").unwrap();
    run(async {
        let client = Client::connect(options(&hosts)).await.unwrap();
        stir(&client, "/stirred", 300).await;
        client.close().await;
    });
    java.run("set b /plain/text settled").unwrap();
    let zxid = ensemble.members()[survivor].zxid().unwrap().0;
    let after = watch.up_to(zxid);
    assert_as_scanned(&home, &after, &format!("zk://{} {but}", hosts[survivor]), "scanned");
    assert_eq!(watch.stop(), 0);
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.5.10", Setup::default()).unwrap();
    let home = program();
    ran(&home, &format!("backup zk://{} --watch", server.address())).ends(2).says("3.6");
    ran(&home, "backup datadir:here --watch").ends(2).says("only a live ensemble");
    ran(&home, &format!("backup zk://{} --watch --interval 0s", server.address())).ends(2);
    ran(&home, &format!("backup zk://{} --interval 5s", server.address())).ends(2);
}
