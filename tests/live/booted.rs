//! The whole way: the program backs up a real server's directory, restores a snapshot of it by id, and real servers
//! start from what it wrote. Their clients see what the first server's client saw, stat by stat.

use std::path::Path;

use rstest::rstest;
use serde_json::Value;
use testing::server::{Client, Ensemble, Server, Setup};

use crate::compare::{Seen, assert_same_view};
use crate::run::Home;
use crate::turn;

/// A repository, to be filled from real servers.
struct Repository(Home);

impl Repository {
    fn new() -> Self {
        let home = Home::new();
        home.zooark("init --repo repository --new-key-file key").ends(0);
        Self(home)
    }

    /// Runs the program; gives the last JSON object it printed.
    fn zooark(&self, arguments: &[&str], code: i32) -> Value {
        let access = ["--repo", "repository", "--key-file", "key", "--json"];
        self.0.run(arguments.iter().chain(&access)).ends(code).lines().pop().unwrap_or_default()
    }

    /// A snapshot of a running server, at what it says it has committed.
    fn back_up(&self, server: &Server) -> Value {
        let [data, log] = [server.data_dir(), server.log_dir()].map(|folder| folder.display().to_string());
        let summary = self.zooark(&["backup", &format!("datadir:{data}?log={log}&srvr={}", server.address())], 0);
        assert_eq!((&summary["consistency"], &summary["tail"]), (&"exact".into(), &"confirmed".into()), "{summary}");
        summary
    }

    fn restore(&self, snapshot: &Value, target: &Path, version: &str, more: &[&str]) -> Value {
        let id = snapshot["short_id"].as_str().unwrap();
        let target = format!("datadir:{}?log=same", target.display());
        let server = ["--server-version", version.rsplit_once('.').unwrap().0, "--extended-types", "true"];
        self.zooark(&[&["restore", id, &target][..], &server, more].concat(), 0)
    }
}

/// TTL nodes are kept; containers are looked after, so that an empty one would go.
fn setup() -> Setup {
    Setup::default().property("zookeeper.extendedTypesEnabled=true").property("znode.container.checkIntervalMs=500")
}

/// Counters of sequential names: what the next created child of `/next` is called.
fn next_name(client: &mut Client) -> String {
    client.run("sequential a /next/n- x").unwrap()
}

/// Those of a view that no session owns.
fn lasting(seen: &Seen) -> Seen {
    seen.iter().filter(|(_, node)| node.ephemeral_owner == 0).map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// A view below a path, that path included.
fn below(seen: &Seen, path: &[u8]) -> Seen {
    let inside = |found: &[u8]| found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    seen.iter().filter(|(found, _)| inside(found)).map(|(found, node)| (found.clone(), node.clone())).collect()
}

#[rstest]
#[case("3.4.14")]
#[case("3.5.10")]
#[case("3.6.4")]
#[case("3.7.2")]
#[case("3.8.4")]
#[case("3.9.4")]
fn a_server_boots_each_snapshot_with_every_stat(#[case] version: &str) {
    let _turn = turn::take();
    let repository = Repository::new();
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(300).unwrap();
    client.run("create a /next x").unwrap();
    for _ in 0..3 {
        next_name(&mut client);
    }
    client.run("delete a /next/n-0000000001").unwrap();
    let seen = client.dump().unwrap();
    let first = repository.back_up(&server);
    client.run("churn a 2000 1").unwrap();
    client.run("set a /next later").unwrap();
    let seen_later = client.dump().unwrap();
    let second = repository.back_up(&server);
    assert_eq!((&second["method"], &second["objects_written"]), (&"log".into(), &2.into()), "{second}");
    server.stop().unwrap();

    // With the sessions: not one stat differs. Without: ephemerals are gone, and nothing else.
    let mut with = Server::prepare(version, setup()).unwrap();
    repository.restore(&second, &with.data_dir(), version, &["--keep-ephemerals"]);
    with.start_again().unwrap();
    client.run(&format!("connect a {}", with.address())).unwrap();
    assert_same_view("the second snapshot", &seen_later, &client.dump().unwrap());
    with.stop().unwrap();

    let mut without = Server::prepare(version, setup()).unwrap();
    let restored = repository.restore(&first, &without.data_dir(), version, &[]);
    without.start_again().unwrap();
    client.run(&format!("connect a {}", without.address())).unwrap();
    let booted = client.dump().unwrap();
    let gone = seen.len() - lasting(&seen).len();
    assert_eq!(restored["ephemerals_skipped"], gone, "{restored}");
    assert_same_view(
        "the first snapshot without ephemerals",
        &child_counts_aside(&lasting(&seen)),
        &child_counts_aside(&booted),
    );
    // A name that the restored counter gave out before would be a second owner's lock.
    assert_eq!(next_name(&mut client), "/next/n-0000000003");
    without.stop().unwrap();
}

/// What the absence of ephemeral children changes in a client's view of their parents.
fn child_counts_aside(seen: &Seen) -> Seen {
    let mut seen = seen.clone();
    for node in seen.values_mut() {
        // A client is told twice the stored counter less the children.
        node.cversion += node.children;
        node.children = 0;
    }
    seen
}

/// All voters from the same file, named for an epoch above what any client saw.
#[test]
fn an_ensemble_elects_and_serves_what_was_restored_to_every_voter() {
    let _turn = turn::take();
    let (version, repository) = ("3.9.4", Repository::new());
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(100).unwrap();
    let seen = client.dump().unwrap();
    let snapshot = repository.back_up(&server);
    server.stop().unwrap();

    let saw = 0x70_0000_0021_u64;
    let mut ensemble = Ensemble::prepare(version, 3, &setup()).unwrap();
    for member in ensemble.members() {
        let seen_zxid = format!("{saw:#x}");
        repository.restore(&snapshot, &member.data_dir(), version, &["--seen-zxid", &seen_zxid, "--keep-ephemerals"]);
        assert!(member.data_dir().join("myid").exists());
    }
    for index in 0..3 {
        ensemble.member(index).launch().unwrap();
    }
    ensemble.wait_ready().unwrap();
    let leader = ensemble.leader().unwrap();
    assert_eq!(ensemble.followers().len(), 2);
    for index in 0..3 {
        client.run(&format!("connect a {}", ensemble.members()[index].address())).unwrap();
        assert_same_view("a member", &seen, &client.dump().unwrap());
    }
    client.run("create a /after restored").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let epoch = ensemble.members()[leader].zxid().unwrap().epoch();
    assert!(u64::from(epoch) > saw >> 32, "epoch {epoch:#x}");
    ensemble.stop().unwrap();
}

/// A subtree with its ancestors is a tree that a server starts from.
#[rstest]
#[case("3.4.14")]
#[case("3.9.4")]
fn a_subtree_boots(#[case] version: &str) {
    let _turn = turn::take();
    let repository = Repository::new();
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(50).unwrap();
    for command in ["create a /part x", "create a /part/of y", "create a /part/of/it z", "set a /part/of/it zz"] {
        client.run(command).unwrap();
    }
    let seen = client.dump().unwrap();
    let snapshot = repository.back_up(&server);
    server.stop().unwrap();
    let mut part = Server::prepare(version, setup()).unwrap();
    let target = format!("datadir:{}?log=same", part.data_dir().display());
    let reference = format!("{}:/part/of", snapshot["short_id"].as_str().unwrap());
    repository.zooark(&["restore", &reference, &target, "--server-version", version.rsplit_once('.').unwrap().0], 0);
    part.start_again().unwrap();
    client.run(&format!("connect a {}", part.address())).unwrap();
    let booted = client.dump().unwrap();
    assert_same_view("below the path", &below(&seen, b"/part/of"), &below(&booted, b"/part/of"));
    let outside: Vec<_> =
        booted.keys().filter(|path| !path.starts_with(b"/part") && !path.starts_with(b"/zookeeper")).collect();
    assert_eq!(outside, [&Vec::<u8>::new()], "only the root leads there");
    part.stop().unwrap();
}

/// What the server to be would delete at its start is refused before anything is written.
#[test]
fn a_version_that_would_lose_nodes_is_refused_early() {
    let _turn = turn::take();
    let repository = Repository::new();
    let mut server = Server::start("3.9.4", setup()).unwrap();
    let mut client = Client::connect("3.9.4", &server.address()).unwrap();
    client.workload(50).unwrap();
    let snapshot = repository.back_up(&server);
    server.stop().unwrap();
    let id = snapshot["short_id"].as_str().unwrap();
    for (place, version, types) in [("a", "3.4", "true"), ("b", "3.9", "false")] {
        let target = repository.0.path(place);
        let refused = repository.zooark(
            &["restore", id, target.to_str().unwrap(), "--server-version", version, "--extended-types", types],
            5,
        );
        assert_eq!(refused["code"], 5, "{refused}");
        assert!(std::fs::read_dir(&target).is_ok_and(|mut left| left.next().is_none()), "something was written");
    }
}
