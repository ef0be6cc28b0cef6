//! Restores into running ensembles: what real clients see afterwards is what they saw before, node by node, and a second
//! plan has nothing to do.

use rstest::rstest;
use serde_json::Value;
use testing::server::{Client as JavaClient, ClientNode, Server, Setup, long};
use zk_connect::live::{Client, ConnectOptions, CreateMode, NodeStat};
use zk_format::{Acl, AclList, OwnerKind, path};

use crate::client::{extended, options};
use crate::compare::Seen;
use crate::matrix::on_every_version;
use crate::names::{count_with_a_gap, next_name};
use crate::run::{Home, Ran};
use crate::state::load_live;
use crate::turn;

/// The program with a repository, and the superuser's credentials in `auth`.
pub struct Program(pub Home);

impl Program {
    pub fn new() -> Self {
        let home = Home::new();
        std::fs::write(home.path("auth"), "digest super:admin\n").unwrap();
        home.zooark("init --repo repository --new-key-file key").ends(0);
        Self(home)
    }

    pub fn run(&self, line: &str) -> Ran {
        self.0.zooark(&format!("--repo repository --key-file key {line}"))
    }

    /// The last JSON object that a command prints.
    pub fn summary(&self, line: &str, code: i32) -> Value {
        self.run(&format!("--json {line}")).ends(code).lines().pop().unwrap_or_default()
    }

    /// Backs up a running server's files.
    pub fn back_up(&self, server: &Server) -> String {
        let [data, log] = [server.data_dir(), server.log_dir()].map(|folder| folder.display().to_string());
        let summary = self.summary(&format!("backup datadir:{data}?log={log}&srvr={}", server.address()), 0);
        summary["short_id"].as_str().unwrap().to_owned()
    }

    /// Restores as the superuser.
    pub fn restore(&self, what: &str, target: &str, more: &str, code: i32) -> Value {
        self.summary(&format!("restore {what} zk://{target} --zk-auth-file auth --yes {more}"), code)
    }
}

/// A node without what no client can set: zxids, times and versions. The counter of sequential names stays.
fn lasting(node: &ClientNode) -> ClientNode {
    ClientNode {
        times: [0; 5],
        version: 0,
        aversion: 0,
        cversion: node.cversion.wrapping_add(node.children) / 2,
        children: 0,
        ..node.clone()
    }
}

/// What a restore brings back of a view: nothing of sessions, nothing of the server's own.
fn restorable(seen: &Seen) -> Seen {
    let kept = |(path, node): &(&Vec<u8>, &ClientNode)| node.ephemeral_owner == 0 && !path::is_reserved(path);
    seen.iter().filter(kept).map(|(path, node)| (path.clone(), lasting(node))).collect()
}

/// Fails with a list of what differs.
#[track_caller]
pub fn assert_restored(before: &Seen, after: &Seen) {
    let (before, after) = (restorable(before), restorable(after));
    let shown = |path: &Vec<u8>| path::display(path).to_string();
    let mut wrong: Vec<String> = before
        .keys()
        .filter(|path| !after.contains_key(*path))
        .map(|path| format!("{} is missing", shown(path)))
        .collect();
    wrong.extend(after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("{} is new", shown(path))));
    for (path, node) in &before {
        // Nobody asked for the root to be changed.
        if let Some(now) = after.get(path).filter(|now| *now != node && !path.is_empty()) {
            wrong.push(format!("{}: {node:?} became {now:?}", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

/// Path and type of all lasting nodes in a server's files: clients are not shown containers and TTLs.
fn kinds(server: &Server) -> Vec<(Vec<u8>, OwnerKind)> {
    let files = load_live(server);
    let lasting = files.tree.iter().filter(|node| !node.stat.kind().is_ephemeral() && !path::is_reserved(node.path));
    lasting.map(|node| (node.path.to_vec(), node.stat.kind())).collect()
}

on_every_version!(a_whole_tree_comes_back_in_an_empty_ensemble);

fn a_whole_tree_comes_back_in_an_empty_ensemble(version: &str) {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let mut server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(if long() { 30_000 } else { 2_000 }).unwrap();
    count_with_a_gap(&mut java);
    let seen = java.dump().unwrap();
    let snapshot = program.back_up(&server);
    let types = kinds(&server);
    server.stop().unwrap();

    let target = Server::start(version, extended()).unwrap();
    let planned =
        program.summary(&format!("restore {snapshot} zk://{} --zk-auth-file auth --dry-run", target.address()), 0);
    assert_eq!((&planned["dry_run"], &planned["plan"]["conflict"]), (&true.into(), &0.into()), "{planned}");
    assert!(planned["plan"]["create"].as_u64().unwrap() > 2_000, "{planned}");
    java.run(&format!("connect a {}", target.address())).unwrap();
    assert!(java.dump().unwrap().keys().all(|path| path.is_empty() || path::is_reserved(path)), "a dry run wrote");

    let restored = program.restore(&snapshot, &target.address(), "--verify-with second-client", 0);
    assert_eq!(restored["plan"], planned["plan"]);
    assert_eq!(
        (&restored["verified"], &restored["differences"]),
        (&true.into(), &Value::Array(Vec::new())),
        "{restored}"
    );
    assert_restored(&seen, &java.dump().unwrap());
    assert_eq!(kinds(&target), types);

    let again = program.restore(&snapshot, &target.address(), "", 0);
    assert_eq!((&again["empty"], &again["writes"]), (&true.into(), &0.into()), "{again}");
    assert_eq!(next_name(&mut java), "/next/n-0000000003");
    // The quota counts what is there, and goes on counting.
    java.run("create a /limited/more 123").unwrap();
    let usage = Hand::of(&target).text("/zookeeper/quota/limited/zookeeper_stats");
    assert!(usage.contains("count=3,") && usage.contains("bytes=13"), "{usage}");
}

/// A session of our own client, for tests that write between two steps.
pub struct Hand {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Hand {
    pub fn of(server: &Server) -> Self {
        Self::with(options(&[server.address()]))
    }

    pub fn with(options: ConnectOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(options)).unwrap();
        Self { runtime, client }
    }

    pub fn create(&self, path: &str, data: &str) {
        self.create_as(path, data, &AclList::world(), CreateMode::Persistent);
    }

    pub fn create_as(&self, path: &str, data: &str, acl: &AclList, mode: CreateMode) {
        let creating = self.client.create_plain(path.as_bytes(), Some(data.as_bytes()), acl, mode);
        self.runtime.block_on(creating).unwrap();
    }

    pub fn set(&self, path: &str, data: &str) {
        self.runtime.block_on(self.client.set_data(path.as_bytes(), Some(data.as_bytes()), -1)).unwrap();
    }

    pub fn delete(&self, path: &str) {
        self.runtime.block_on(self.client.delete(path.as_bytes(), -1)).unwrap();
    }

    pub fn set_acl(&self, path: &str, acl: &AclList) {
        self.runtime.block_on(self.client.set_acl(path.as_bytes(), acl, -1)).unwrap();
    }

    pub fn acl(&self, path: &str) -> AclList {
        self.runtime.block_on(self.client.get_acl(path.as_bytes())).unwrap().value.0
    }

    pub fn stat(&self, path: &str) -> Option<NodeStat> {
        self.runtime.block_on(self.client.exists(path.as_bytes())).unwrap().map(|read| read.value)
    }

    pub fn text(&self, path: &str) -> String {
        let read = self.runtime.block_on(self.client.get_data(path.as_bytes())).unwrap();
        String::from_utf8(read.value.0.unwrap_or_default()).unwrap()
    }

    /// The names below a node, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let read = self.runtime.block_on(self.client.get_children(path.as_bytes())).unwrap();
        let mut names: Vec<String> = read.value.0.into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        names.sort();
        names
    }
}

/// A list of one entry of the digest scheme.
pub fn digest(perms: i32, id: &str) -> AclList {
    AclList::encode(&[Acl { perms, scheme: b"digest".to_vec(), id: id.as_bytes().to_vec() }])
}

fn paths(found: &Value) -> Vec<&str> {
    found.as_array().unwrap().iter().map(|said| said["path"].as_str().unwrap()).collect()
}

#[test]
fn what_differs_is_treated_as_told() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let (hand, target) = (Hand::of(&server), server.address());
    for (path, data) in [("/app", "a"), ("/app/one", "1"), ("/app/two", "2"), ("/app/two/deep", "d"), ("/else", "e")] {
        hand.create(path, data);
    }
    hand.set_acl("/app/one", &digest(31, "bob:hash"));
    let snapshot = program.back_up(&server);
    assert_eq!(program.restore(&snapshot, &target, "", 0)["empty"], true);

    hand.set("/app/one", "changed");
    hand.set_acl("/app/two", &digest(31, "eve:hash"));
    hand.delete("/app/two/deep");
    hand.set("/else", "also changed");
    hand.create("/app/new", "n");
    let zxid = server.zxid().unwrap();
    let refused = program.run(&format!("restore {snapshot}:/app zk://{target} --zk-auth-file auth --yes")).ends(5);
    refused.says("2 nodes conflict").prints("/app/one: other data").prints("/app/two: another ACL");
    let questions = program.run(&format!("restore {snapshot} zk://{target}")).ends(2);
    questions.says("nobody can be asked");
    assert_eq!(hand.text("/app/one"), "changed");
    assert!(server.zxid().unwrap().counter() - zxid.counter() < 20, "no node was written");

    let skipped = program.restore(&format!("{snapshot}:/app"), &target, "--conflict skip", 0);
    assert_eq!(paths(&skipped["skipped"]), ["/app/one", "/app/two"], "{skipped}");
    assert_eq!((hand.text("/app/one"), hand.text("/app/two/deep")), ("changed".to_owned(), "d".to_owned()));

    // What was written here after the snapshot is newer.
    let newer = program.restore(&format!("{snapshot}:/app"), &target, "--conflict newer", 0);
    assert_eq!((&newer["empty"], hand.text("/app/one")), (&true.into(), "changed".to_owned()), "{newer}");

    let overwritten = program.restore(&format!("{snapshot}:/app"), &target, "--conflict overwrite", 0);
    assert_eq!((&overwritten["plan"]["set"], &overwritten["plan"]["acl"]), (&1.into(), &1.into()), "{overwritten}");
    assert_eq!((hand.text("/app/one"), hand.acl("/app/two")), ("1".to_owned(), AclList::world()));
    assert_eq!((hand.text("/else"), hand.text("/app/new")), ("also changed".to_owned(), "n".to_owned()));

    // What was there before is a snapshot of its own, and not the latest.
    let before = overwritten["safety_snapshot"].as_str().unwrap();
    program.run(&format!("cat {before}:/app/one")).ends(0).prints("changed");
    program.run("cat latest:/app/one").ends(0).prints("1");
    let listed = program.run("snapshots --json").ends(0).json();
    let listed = listed.as_array().unwrap().iter().find(|one| one["id"] == before).unwrap();
    assert_eq!(listed["tags"], serde_json::json!(["pre-restore"]));
    assert!(listed["protected_until"].is_string(), "{listed}");

    // Other places and parts.
    let line = format!("restore {snapshot}:/app zk://{target} --zk-auth-file auth --yes --remap /app=/copy/app");
    program.run(&line).ends(5).says("the target has no /copy");
    hand.create("/copy", "c");
    let moved = program.restore(&format!("{snapshot}:/app"), &target, "--remap /app=/copy/app --include /app/two", 0);
    assert_eq!(moved["plan"]["create"], 3, "{moved}");
    assert_eq!((hand.names("/copy/app"), hand.text("/copy/app/two/deep")), (vec!["two".to_owned()], "d".to_owned()));
    program.restore(&format!("{snapshot}:/app"), &target, "--remap /app=/copy/app", 0);
    assert_eq!((hand.text("/copy/app/one"), hand.acl("/copy/app/one")), ("1".to_owned(), digest(31, "bob:hash")));
    let single = program.restore(&format!("{snapshot}:/else"), &target, "--conflict overwrite", 0);
    assert_eq!((&single["plan"]["set"], hand.text("/else")), (&1.into(), "e".to_owned()), "{single}");

    // An ephemeral node in the place of a lasting one.
    hand.delete("/app/two/deep");
    hand.create_as("/app/two/deep", "d", &AclList::world(), CreateMode::Ephemeral);
    let typed = program.restore(&format!("{snapshot}:/app"), &target, "--conflict overwrite --no-safety-snapshot", 0);
    assert_eq!((&typed["plan"]["type_change"], &typed["safety_snapshot"]), (&1.into(), &Value::Null), "{typed}");
    assert_eq!(hand.stat("/app/two/deep").unwrap().ephemeral_owner, 0);
}

#[test]
fn deletes_stay_within_their_limits() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let (hand, target) = (Hand::of(&server), server.address());
    hand.create("/app", "a");
    for index in 0..30 {
        hand.create(&format!("/app/n{index:02}"), "x");
    }
    hand.create("/aside", "a");
    let snapshot = program.back_up(&server);
    for path in ["/app/extra", "/app/extra/deep", "/app/held", "/aside/extra"] {
        hand.create(path, "x");
    }
    hand.create_as("/app/held/by", "x", &AclList::world(), CreateMode::Ephemeral);
    let restored = program.restore(&format!("{snapshot}:/app"), &target, "--delete", 0);
    assert_eq!(restored["plan"]["deletes"], serde_json::json!({ "/app": 2 }), "{restored}");
    assert_eq!(paths(&restored["kept"]), ["/app/held/by", "/app/held"], "{restored}");
    assert_eq!(hand.names("/app").len(), 31);
    assert_eq!(hand.names("/aside"), ["extra"]);

    for index in 0..8 {
        hand.create(&format!("/app/many{index}"), "x");
    }
    let line = format!("restore {snapshot}:/app zk://{target} --zk-auth-file auth --yes --delete");
    program.run(&line).ends(5).says("would remove 8 of 40 nodes");
    assert_eq!(hand.names("/app").len(), 39);
    program.run(&format!("{line} --yes-really")).ends(0);
    assert_eq!(hand.names("/app").len(), 31);
    // Paths below a chroot are other paths.
    hand.create("/root", "r");
    let line = format!("restore {snapshot}:/app zk://{target}/root --zk-auth-file auth --yes");
    program.run(&format!("{line} --delete")).ends(5).says("--remap");
    program.run(&line).ends(0);
    assert_eq!(hand.names("/root/app").len(), 30);
}

/// Nodes that deny the restorer come in all the same, and are open to nobody else meanwhile.
#[test]
fn access_is_closed_until_it_is_final() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let (hand, target) = (Hand::of(&server), server.address());
    hand.create("/app", "a");
    hand.create("/app/open", "o");
    hand.create("/app/closed", "c");
    hand.create("/app/closed/child", "cc");
    for (path, id) in [("/app/closed/child", "bob:hash"), ("/app/closed", "bob:hash")] {
        hand.set_acl(path, &digest(31, id));
    }
    let snapshot = program.back_up(&server);
    for path in ["/app/closed/child", "/app/closed", "/app/open", "/app"] {
        hand.delete(path);
    }
    let line = format!("restore {snapshot}:/app zk://{target} --yes --no-safety-snapshot");
    program.run(&line).ends(5).says("without credentials");
    std::fs::write(program.0.path("restorer"), "digest restorer:secret\n").unwrap();
    let restored = program.summary(&format!("{line} --zk-auth-file restorer"), 0);
    assert_eq!((&restored["verified"], &restored["acls_unreadable"]), (&true.into(), &2.into()), "{restored}");
    assert_eq!(
        (hand.acl("/app/closed/child"), hand.text("/app/closed/child")),
        (digest(31, "bob:hash"), "cc".to_owned())
    );
    // Nothing shows the restorer what is in there: it cannot say that all is well.
    program.run(&format!("{line} --zk-auth-file restorer")).ends(5).says("its data may not be read");
    assert_eq!(program.restore(&format!("{snapshot}:/app"), &target, "", 0)["empty"], true);
}

#[test]
fn counters_and_versions_are_what_they_were() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let (hand, target) = (Hand::of(&server), server.address());
    hand.create("/q", "q");
    for _ in 0..900 {
        hand.create_as("/q/n-", "x", &AclList::world(), CreateMode::PersistentSequential);
    }
    for index in 3..900 {
        hand.delete(&format!("/q/n-{index:010}"));
    }
    hand.create("/drained", "d");
    for index in 0..7 {
        hand.create_as("/drained/n-", "x", &AclList::world(), CreateMode::PersistentSequential);
        hand.delete(&format!("/drained/n-{index:010}"));
        hand.set("/drained", &format!("value {index}"));
    }
    let snapshot = program.back_up(&server);
    for path in ["/q/n-0000000000", "/q/n-0000000001", "/q/n-0000000002", "/q", "/drained"] {
        hand.delete(path);
    }
    let line = format!("restore {snapshot} zk://{target} --zk-auth-file auth --yes --counter-limit 100");
    program.run(&line).ends(5).says("/q (its counter of sequential names would end at 3 instead of 900");
    let restored = program.restore(&snapshot, &target, "--preserve-versions /drained", 0);
    assert_eq!(restored["plan"]["counter_steps"], 897 + 7, "{restored}");
    assert_eq!((hand.stat("/drained").unwrap().version, hand.text("/drained")), (7, "value 6".to_owned()));
    for (parent, next) in [("/q", "/q/n-0000000900"), ("/drained", "/drained/n-0000000007")] {
        hand.create_as(&format!("{parent}/n-"), "x", &AclList::world(), CreateMode::PersistentSequential);
        assert!(hand.stat(next).is_some(), "{parent} counted on elsewhere: {:?}", hand.names(parent));
    }
}

#[test]
fn another_ensemble_is_not_written_to() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let (hand, target) = (Hand::of(&server), server.address());
    for (path, data) in [("/cluster", ""), ("/cluster/id", "{\"id\":\"ours\"}"), ("/app", "a")] {
        hand.create(path, data);
    }
    let snapshot = program.back_up(&server);
    hand.delete("/app");
    hand.set("/cluster/id", "{\"id\":\"theirs\"}");
    let line = format!("restore {snapshot}:/app zk://{target} --zk-auth-file auth --yes");
    program.run(&line).ends(5).says("/cluster/id").says("--yes-really");
    assert!(hand.stat("/app").is_none());
    program.run(&format!("{line} --yes-really")).ends(0).says("may be another ensemble");
    assert_eq!(hand.text("/app"), "a");
}

/// What the target cannot hold is found before anything is written.
#[rstest]
#[case("3.4.14", "knows no container nodes")]
#[case("3.9.4", "takes no TTL nodes")]
fn what_the_target_cannot_hold_is_refused_early(#[case] version: &str, #[case] why: &str) {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let mut source = Server::start("3.9.4", extended()).unwrap();
    let hand = Hand::of(&source);
    hand.create("/app", &"a".repeat(5000));
    hand.create_as("/app/container", "c", &AclList::world(), CreateMode::Container);
    hand.create("/app/container/child", "c");
    hand.create_as("/app/ttl", "t", &AclList::world(), CreateMode::Ttl(3_600_000));
    let snapshot = program.back_up(&source);
    source.stop().unwrap();
    let target = Server::start(version, Setup::default()).unwrap();
    let line = format!("restore {snapshot} zk://{} --zk-auth-file auth --yes", target.address());
    program.run(&line).ends(5).says(why);
    assert!(Hand::of(&target).stat("/app").is_none());
    program
        .run(&format!("{line} --jute-maxbuffer 5000 --exclude /app/container --exclude /app/ttl"))
        .ends(5)
        .says("too large");
    program.run(&format!("{line} --exclude /app/container --exclude /app/ttl")).ends(0);
}
