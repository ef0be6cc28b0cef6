//! The whole way: the program backs up a real server's directory, restores a snapshot of it by id, and real servers
//! start from what it wrote. Their clients see what the first server's client saw, stat by stat.

use std::path::Path;

use serde_json::Value;
use testing::server::{Client, Ensemble, Server, Setup, at_least, long, wait_until};

use crate::compare::{Seen, assert_same_view};
use crate::matrix::{on_every_version, on_oldest_and_newest};
use crate::names::{count_with_a_gap, next_name, next_name_of};
use crate::run::Home;
use crate::turn;

/// How long an election and a client's way back may take on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(2);

/// A repository, to be filled from real servers.
pub struct Repository(pub Home);

impl Repository {
    pub fn new() -> Self {
        let home = Home::new();
        home.zooark("init --repo repository --new-key-file key").ends(0);
        Self(home)
    }

    /// Runs the program; gives the last JSON object it printed.
    pub fn zooark(&self, arguments: &[&str], code: i32) -> Value {
        let access = ["--repo", "repository", "--key-file", "key", "--json"];
        self.0.run(arguments.iter().chain(&access)).ends(code).lines().pop().unwrap_or_default()
    }

    /// A snapshot of a running server, at what it says it has committed.
    pub fn back_up(&self, server: &Server) -> Value {
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
pub fn setup() -> Setup {
    Setup::default().property("zookeeper.extendedTypesEnabled=true")
}

/// Those of a view that no session owns.
pub fn lasting(seen: &Seen) -> Seen {
    seen.iter().filter(|(_, node)| node.ephemeral_owner == 0).map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// A view below a path, that path included.
fn below(seen: &Seen, path: &[u8]) -> Seen {
    let inside = |found: &[u8]| found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    seen.iter().filter(|(found, _)| inside(found)).map(|(found, node)| (found.clone(), node.clone())).collect()
}

on_every_version!(a_server_boots_each_snapshot_with_every_stat);

fn a_server_boots_each_snapshot_with_every_stat(version: &str) {
    let _turn = turn::of_a_server();
    let repository = Repository::new();
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(300).unwrap();
    count_with_a_gap(&mut client);
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
pub fn child_counts_aside(seen: &Seen) -> Seen {
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
    let _turn = turn::of_an_ensemble();
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

/// Waits until the client that stays has come this far.
fn wait_for(client: &mut Client, state: &str) {
    let mut last = String::new();
    let reached = wait_until(PATIENCE, || {
        last = client.run("state f").unwrap();
        last.contains(state)
    });
    assert!(reached.is_ok(), "{last}, waiting for {state}");
}

/// Starts a voter after a stop, and waits until all serve and agree: another election, another epoch. Before its first
/// transaction not every member names the new epoch.
fn restart(ensemble: &mut Ensemble, index: usize, client: &mut Client) {
    ensemble.member(index).stop().unwrap();
    ensemble.wait_ready().unwrap();
    ensemble.member(index).start_again().unwrap();
    ensemble.wait_ready().unwrap();
    // The first attempts may find the connection gone.
    wait_until(PATIENCE, || client.run("set b /clients again").is_ok()).unwrap();
    ensemble.wait_same_zxid().unwrap();
}

/// `docs/operations/restore-ensemble.md`, step by step, with clients that stay through all of it.
#[test]
fn a_whole_ensemble_goes_back_and_its_clients_come_back() {
    let ends_of_the_matrix = ["3.4.14", "3.9.4"];
    let between = ["3.5.10", "3.6.4", "3.7.2", "3.8.4"];
    for version in ends_of_the_matrix.into_iter().chain(between.into_iter().filter(|_| long())) {
        let _turn = turn::of_an_ensemble();
        go_back_and_forth(version);
    }
}

fn go_back_and_forth(version: &str) {
    let repository = Repository::new();
    let enforced = setup().property("zookeeper.enforceQuota=true");
    let mut ensemble = Ensemble::prepare_with_observers(version, 3, 1, &enforced).unwrap();
    for index in 0..4 {
        ensemble.member(index).launch().unwrap();
    }
    ensemble.wait_ready().unwrap();
    let all: Vec<String> = ensemble.members().iter().map(Server::address).collect();
    let mut client = Client::connect(version, &all[0]).unwrap();
    client.workload(200).unwrap();
    client.run("create a /next x").unwrap();
    next_name(&mut client);
    next_name(&mut client);
    for (path, data) in [
        ("/clients", "x"),
        ("/hard", "x"),
        ("/zookeeper/quota/hard", "x"),
        ("/zookeeper/quota/hard/zookeeper_limits", "count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=3"),
        ("/zookeeper/quota/hard/zookeeper_stats", "count=1,bytes=1"),
    ] {
        client.run(&format!("create a {path} {data}")).unwrap();
    }
    ensemble.wait_same_zxid().unwrap();
    let seen = client.dump().unwrap();
    let snapshot = repository.back_up(&ensemble.members()[0]);

    // Much happens after the backup: elections, and clients that see later epochs than the snapshot's.
    client.run(&format!("faithful f {} /plain/text /clients/f", all[..3].join(","))).unwrap();
    let state = |client: &mut Client| client.run("state f").unwrap();
    wait_for(&mut client, "registered=1 ");
    client.run(&format!("connect b {}", all.join(","))).unwrap();
    for _ in 0..2 {
        let leader = ensemble.leader().unwrap();
        restart(&mut ensemble, leader, &mut client);
    }
    client.run("churn b 500 1").unwrap();
    next_name_of(&mut client, "b");
    let epoch = ensemble.members()[0].zxid().unwrap().epoch();

    // All are stopped, every voter gets the file, the observer is emptied; then all are started.
    ensemble.stop().unwrap();
    for index in 0..3 {
        repository.restore(&snapshot, &ensemble.members()[index].data_dir(), version, &["--force"]);
    }
    std::fs::remove_dir_all(ensemble.members()[3].data_dir().join("version-2")).unwrap();
    for index in 0..4 {
        ensemble.member(index).launch().unwrap();
    }
    ensemble.wait_ready().unwrap();

    // The client comes back by itself: its session is over, and it registers anew.
    wait_for(&mut client, "expired=1 registered=2 ");
    ensemble.wait_same_zxid().unwrap();
    assert!(ensemble.members()[0].zxid().unwrap().epoch() > epoch);
    assert!(state(&mut client).contains("problem=none"), "{}", state(&mut client));
    for (index, address) in all.iter().enumerate() {
        client.run(&format!("connect a {address}")).unwrap();
        let own = |seen: &Seen| without(&child_counts_aside(&lasting(seen)), b"/clients");
        assert_same_view(&format!("member {index}"), &own(&seen), &own(&client.dump().unwrap()));
    }
    client.run("set a /plain/text again").unwrap();
    wait_for(&mut client, "fired=1 ");
    client.run("delete a /clients/f").unwrap();
    assert_eq!(next_name(&mut client), "/next/n-0000000002");

    // A quota of three nodes counts, and is enforced where the server can do that.
    client.run("create a /hard/a x").unwrap();
    client.run("create a /hard/b x").unwrap();
    if at_least(version, 7) {
        let refused = client.run("create a /hard/c x").unwrap_err();
        assert!(refused.to_string().contains("Quota"), "{refused}");
    }
    if at_least(version, 5) {
        let leaving = ensemble.followers()[0] + 1;
        let config = client.run(&format!("reconfig a - {leaving} -")).unwrap();
        assert!(!config.contains(&format!("server.{leaving}=")), "{config}");
    }
    ensemble.stop().unwrap();
}

/// A view without a node and what lies below it.
fn without(seen: &Seen, path: &[u8]) -> Seen {
    let kept = |found: &[u8]| !found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    seen.iter().filter(|(found, _)| kept(found)).map(|(found, node)| (found.clone(), node.clone())).collect()
}

on_oldest_and_newest!(a_subtree_boots);

/// A subtree with its ancestors is a tree that a server starts from.
fn a_subtree_boots(version: &str) {
    let _turn = turn::of_a_server();
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
    let _turn = turn::of_a_server();
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
