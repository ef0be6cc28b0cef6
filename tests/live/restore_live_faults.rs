//! Restores into ensembles that do not hold still: other clients write meanwhile, the program is killed, servers are.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use engine::restore_live::plan::Plan;
use engine::restore_live::{self, LiveRequest, LiveRestoreSummary, Offer, Policy, ReadBack};
use engine::snapshots::{self, Scope};
use engine::{Access, Repo, Silent, SnapshotRef};
use repository::backend::StoreOptions;
use repository::cache::CacheOptions;
use repository::keys::{Credentials, KeyFile};
use testing::server::{Client as JavaClient, Ensemble, Fault, Proxy, Server, Setup, Side, Then, long, wait_until};
use zk_connect::Endpoint;
use zk_connect::live::CreateMode;
use zk_format::AclList;

use crate::client::{extended, options};
use crate::names::{count_with_a_gap, next_name};
use crate::restore_live::{Hand, Program, assert_restored, digest};
use crate::turn;

fn repo(program: &Program) -> Repo {
    let access = Access {
        location: program.0.path("repository").display().to_string(),
        store: StoreOptions::default(),
        credentials: Credentials::KeyFile(KeyFile::parse(&std::fs::read(program.0.path("key")).unwrap()).unwrap()),
        cache: CacheOptions::none(),
    };
    Repo::open(&access).unwrap()
}

fn request(repo: &Repo, program: &Program, target: &Server) -> LiveRequest {
    let latest: SnapshotRef = "latest".parse().unwrap();
    let Endpoint::Live(spec) = Endpoint::parse(&format!("zk://{}", target.address())).unwrap() else { unreachable!() };
    LiveRequest {
        snapshot: snapshots::resolve(repo, &latest, &Scope::default(), &Silent::default()).unwrap(),
        path: Vec::new(),
        target: spec,
        live: engine::live::LiveSettings { auth: options(&[]).auth, ..Default::default() },
        filter: engine::Filter::default(),
        remap: Vec::new(),
        policy: Policy::Overwrite,
        delete: true,
        data_only: false,
        counter_limit: Some(1000),
        accept_lower_counters: false,
        preserve_versions: Vec::new(),
        resume: false,
        verify: ReadBack::Own,
        safety_snapshot: false,
        dry_run: false,
        yes_really: true,
        jute_max_buffer: 1_048_575,
        state_dir: program.0.path("state"),
        host: "host".to_owned(),
        program: "test".to_owned(),
        now: engine::repo::now(),
    }
}

/// Between the plan and its application somebody else writes: every such node stays as that somebody left it, and is
/// told.
#[test]
fn what_others_changed_after_the_plan_is_left_to_them() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let hand = Hand::of(&server);
    for path in ["/a", "/a/set", "/a/listed", "/a/gone", "/a/made", "/b"] {
        hand.create(path, "old");
    }
    let closed = digest(31, "bob:hash");
    for path in ["/c", "/d"] {
        hand.create_as(path, "old", &closed, CreateMode::Persistent);
    }
    program.back_up(&server);
    let repo = repo(&program);
    let request = request(&repo, &program, &server);
    hand.delete("/c");
    hand.delete("/d");
    hand.set("/a/set", "ours");
    hand.set("/a/gone", "ours");
    hand.delete("/a/made");
    hand.set_acl("/a/listed", &AclList::world());
    hand.create("/b/too-much", "ours");
    hand.create("/b/stays", "ours");
    let mut meanwhile = |offer: &Offer, _: &Plan| {
        assert_eq!((offer.plan.set, offer.plan.create, offer.plan.delete), (2, 3, 2), "{offer:?}");
        hand.set("/a/set", "theirs");
        hand.delete("/a/gone");
        hand.create("/a/made", "theirs");
        hand.set("/b/too-much", "theirs");
        hand.create("/b/stays/for", "theirs");
        hand.create("/c", "theirs");
        hand.create("/d", "old");
        Ok(true)
    };
    let restored = restore_live::run(&repo, &request, &mut meanwhile, &Silent::default()).unwrap();
    let failed: Vec<&str> = restored.failures.iter().map(|said| said.path.as_str()).collect();
    assert_eq!(failed, ["/c", "/a/gone", "/a/made", "/a/set", "/b/too-much", "/b/stays"], "{:?}", restored.failures);
    assert!(restored.is_incomplete());
    for path in ["/a/set", "/a/made", "/b/too-much", "/b/stays/for"] {
        assert_eq!(hand.text(path), "theirs", "{path}");
    }
    let differs: Vec<&str> = restored.differences.iter().map(|said| said.path.as_str()).collect();
    // Who made it with a list of his own is not locked out, also where the data is as it was.
    for path in ["/c", "/d"] {
        assert_eq!(hand.acl(path), AclList::world(), "{path}");
    }
    for path in ["/a/set", "/a/gone", "/a/made", "/b/too-much", "/b/stays", "/c", "/d"] {
        assert!(differs.contains(&path), "{path} is not among {differs:?}");
    }
    // Nobody interferes any more.
    let restored: LiveRestoreSummary =
        restore_live::run(&repo, &request, &mut |_, _| Ok(true), &Silent::default()).unwrap();
    assert!(!restored.is_incomplete(), "{restored:?}");
    assert_eq!((hand.text("/a/set"), hand.names("/b")), ("old".to_owned(), Vec::new()));
}

/// A transaction that is refused as a whole takes the steps of a counter with it, and the next ones go through: in the end
/// none is missing and none too many.
#[test]
fn a_counter_keeps_its_steps_where_others_interfere() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let hand = Hand::of(&server);
    for path in ["/before", "/queue", "/queue/child"] {
        hand.create(path, "old");
    }
    // Three transactions: the first with the write before it, the last with the one after it.
    for _ in 0..950 {
        hand.create("/queue/gone", "");
        hand.delete("/queue/gone");
    }
    let counter = || hand.stat("/queue").unwrap().persisted_cversion();
    let was = counter();
    program.back_up(&server);
    for path in ["/before", "/queue/child", "/queue"] {
        hand.delete(path);
    }
    hand.create("/queue", "old");
    let repo = repo(&program);
    let mut meanwhile = |offer: &Offer, _: &Plan| {
        assert_eq!((offer.plan.create, offer.plan.counters), (2, 1), "{offer:?}");
        hand.create("/before", "theirs");
        Ok(true)
    };
    let restored =
        restore_live::run(&repo, &request(&repo, &program, &server), &mut meanwhile, &Silent::default()).unwrap();
    let failed: Vec<&str> = restored.failures.iter().map(|said| said.path.as_str()).collect();
    assert_eq!(failed, ["/before"], "{:?}", restored.failures);
    assert_eq!((counter(), hand.text("/queue/child")), (was, "old".to_owned()));
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Program, arguments: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zooark-under-test"));
    let home = program.0.path("");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &home).current_dir(&home);
    command.args(["--repo", "repository", "--key-file", "key"]).args(arguments.split_whitespace());
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Killed after ever more transactions, and resumed: in the end every node is there once, as it was, with its ACL.
#[test]
fn a_restore_killed_anywhere_is_resumed() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let mut source = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &source.address()).unwrap();
    java.workload(if long() { 30_000 } else { 3_000 }).unwrap();
    // Each ACL is a transaction of its own: room for a kill among them.
    let hand = Hand::of(&source);
    hand.create("/closed", "c");
    let list = digest(31, "bob:hash");
    for index in 0..500 {
        hand.create_as(&format!("/closed/{index}"), "x", &list, CreateMode::Persistent);
    }
    drop(hand);
    let seen = java.dump().unwrap();
    let snapshot = program.back_up(&source);
    source.stop().unwrap();

    let target = Server::start("3.9.4", extended()).unwrap();
    let line = format!("restore {snapshot} zk://{} --zk-auth-file auth --yes --no-safety-snapshot", target.address());
    let mut killed = 0;
    for writes in [1, 3, 9, 20, 60, 200, 400] {
        let before = target.zxid().unwrap().0;
        let mut running = start(&program, &format!("{line} --resume"));
        let over = || target.zxid().is_ok_and(|zxid| zxid.0 >= before + 8 + writes);
        wait_until(Duration::from_mins(2), || over() || running.0.try_wait().is_ok_and(|ended| ended.is_some()))
            .unwrap();
        killed += usize::from(running.0.try_wait().unwrap().is_none());
        drop(running);
    }
    assert!(killed >= 3, "only {killed} runs were killed before their end");
    let restored = program.summary(&format!("{line} --resume"), 0);
    assert_eq!((&restored["verified"], &restored["differences"]), (&true.into(), &serde_json::json!([])), "{restored}");
    java.run(&format!("connect a {}", target.address())).unwrap();
    assert_restored(&seen, &java.dump().unwrap());
    assert_eq!(program.summary(&line, 0)["empty"], true);
}

/// Every connection is cut after a while, in the middle of whatever is under way; each restore goes on over others.
#[rstest::rstest]
#[case::of_requests(Side::Requests, 40_000)]
#[case::of_answers(Side::Answers, 4_000)]
fn a_restore_survives_its_connections(#[case] side: Side, #[case] bytes: u64) {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let source = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &source.address()).unwrap();
    java.workload(6_000).unwrap();
    count_with_a_gap(&mut java);
    let seen = java.dump().unwrap();
    let snapshot = program.back_up(&source);
    drop(source);
    let target = Server::start("3.9.4", extended()).unwrap();
    let proxy = Proxy::start(target.port()).unwrap();
    proxy.then((0..40).map(|round| Some(Fault { side, after: bytes * (1 + round % 7), then: Then::Cut })));
    let line = format!("restore {snapshot} zk://{} --zk-auth-file auth --yes --no-safety-snapshot", proxy.address());
    let restored = program.summary(&line, 0);
    assert_eq!((&restored["verified"], &restored["differences"]), (&true.into(), &serde_json::json!([])), "{restored}");
    let connections = proxy.frames().len();
    assert!(connections > 5, "only {connections} connections");
    java.run(&format!("connect a {}", target.address())).unwrap();
    assert_restored(&seen, &java.dump().unwrap());
    assert_eq!(next_name(&mut java), "/next/n-0000000003");
}

/// The leader dies while it is written to, and another one takes over.
#[test]
fn a_restore_outlives_the_leader() {
    let _turn = turn::of_an_ensemble();
    let program = Program::new();
    let mut source = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &source.address()).unwrap();
    java.workload(if long() { 30_000 } else { 8_000 }).unwrap();
    let seen = java.dump().unwrap();
    let snapshot = program.back_up(&source);
    source.stop().unwrap();

    let mut ensemble =
        Ensemble::start("3.9.4", 3, &Setup { properties: extended().properties, ..Setup::default() }).unwrap();
    let hosts: Vec<String> = ensemble.members().iter().map(Server::address).collect();
    let leader = ensemble.leader().unwrap();
    let begun = ensemble.members()[leader].status().unwrap().nodes;
    let line = format!("restore {snapshot} zk://{} --zk-auth-file auth --yes --no-safety-snapshot", hosts.join(","));
    let mut running = start(&program, &line);
    let follower = ensemble.followers()[0];
    wait_until(Duration::from_mins(2), || {
        ensemble.members()[follower].status().is_ok_and(|status| status.nodes > begun + 20)
    })
    .unwrap();
    ensemble.member(leader).kill9().unwrap();
    let ended = running.0.wait().unwrap();
    ensemble.member(leader).start_again().unwrap();
    ensemble.wait_ready().unwrap();
    ensemble.wait_same_zxid().unwrap();
    java.run(&format!("connect a {}", hosts[leader])).unwrap();
    assert_restored(&seen, &java.dump().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(program.summary(&line, 0)["empty"], true);
}

/// Whoever holds `/zooark/lock` restores alone: another waits, in case that one was killed, and then says who it is.
#[test]
fn one_restores_at_a_time() {
    let _turn = turn::to_wait();
    let program = Program::new();
    let server = Server::start("3.9.4", extended()).unwrap();
    let hand = Hand::of(&server);
    hand.create("/app", "there");
    let snapshot = program.back_up(&server);
    hand.delete("/app");
    let world = AclList::world();
    hand.create("/zooark", "");
    let says = r#"{"name":"01ARZ3NDEKTSV4RRFFQ69G5FAV","program":"zooark 1","host":"elsewhere","snapshot":"ff","since":"2026-01-01T00:00:00Z"}"#;
    hand.create_as("/zooark/lock", says, &world, CreateMode::Ephemeral);
    let line = format!("restore {snapshot} zk://{} --zk-auth-file auth --yes --no-safety-snapshot", server.address());
    let refused = program.run(&line).ends(11);
    assert!(refused.stderr.contains("elsewhere") && refused.stderr.contains("nothing was restored"), "{refused:?}");
    assert!(hand.stat("/app").is_none());
    // The other one ends while this one waits.
    let mut waiting = start(&program, &line);
    std::thread::sleep(Duration::from_secs(3));
    assert!(waiting.0.try_wait().unwrap().is_none() && hand.stat("/app").is_none());
    let state = std::fs::read_dir(program.0.path(".local/state/zooark")).unwrap();
    let mut files = state.map(|entry| entry.unwrap().path());
    let alive = files.find(|path| path.extension().is_some_and(|end| end == "lock")).unwrap();
    hand.delete("/zooark/lock");
    assert_eq!(waiting.0.wait().unwrap().code(), Some(0));
    assert_eq!(hand.text("/app"), "there");
    assert!(hand.stat("/zooark").is_none(), "the lock leaves nothing behind");
    // Of a run that was killed after its last write, the next one removes what it left, though there is nothing to do.
    hand.create("/zooark", "");
    hand.create_as("/zooark/lock", says, &world, CreateMode::Ephemeral);
    std::fs::write(&alive, "01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    assert_eq!(program.summary(&line, 0)["empty"], true);
    assert!(hand.stat("/zooark").is_none() && !alive.exists());
    // What is ours is in no backup over the protocol, no restore, no delete and no comparison.
    hand.create("/zooark", "");
    hand.create("/zooark/kept", "x");
    let seen = program.summary(&format!("backup zk://{} --zk-auth-file auth", server.address()), 0);
    let listed = program.run(&format!("ls {}", seen["short_id"].as_str().unwrap())).ends(0).stdout;
    assert!(listed.contains("app") && !listed.contains("zooark"), "{listed}");
    let again = program.summary(&format!("{line} --delete --conflict overwrite --dry-run"), 0);
    assert_eq!(again["empty"], true, "{again}");
    let compared =
        program.run(&format!("diff {snapshot} zk://{} --zk-auth-file auth", server.address())).ends(0).stdout;
    assert!(compared.contains("/app") && !compared.contains("zooark"), "{compared}");
    let with = program.back_up(&server);
    assert!(program.run(&format!("ls {with}:/zooark")).ends(0).stdout.contains("kept"));
    program.run(&format!("restore {with}:/zooark zk://{} --zk-auth-file auth --yes", server.address())).ends(2);
}

/// Cut off for longer than its session lives, a restore writes nothing more: somebody else may hold the lock by now.
#[test]
fn a_restore_that_loses_its_session_stops() {
    let _turn = turn::of_a_server();
    let program = Program::new();
    let mut source = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &source.address()).unwrap();
    java.workload(8_000).unwrap();
    let seen = java.dump().unwrap();
    let snapshot = program.back_up(&source);
    source.stop().unwrap();
    let target = Server::start("3.9.4", extended().line("maxSessionTimeout=4000")).unwrap();
    let proxy = Proxy::start(target.port()).unwrap();
    let line = |place: &str| {
        format!("restore {snapshot} zk://{place} --zk-auth-file auth --yes --no-safety-snapshot --conflict overwrite")
    };
    let begun = target.status().unwrap().nodes;
    let mut running = start(&program, &line(&proxy.address()));
    wait_until(Duration::from_mins(2), || target.status().is_ok_and(|status| status.nodes > begun + 20)).unwrap();
    proxy.sever(true);
    // The server ends the session, and the lock goes.
    wait_until(Duration::from_secs(30), || Hand::of(&target).stat("/zooark/lock").is_none()).unwrap();
    assert!(running.0.try_wait().unwrap().is_none(), "it was to be in the middle");
    let nodes = target.status().unwrap().nodes;
    proxy.sever(false);
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
    assert_eq!(target.status().unwrap().nodes, nodes, "it wrote without the lock");
    // The same goes on where it stopped.
    let restored = program.summary(&format!("{} --resume", line(&proxy.address())), 0);
    assert_eq!(restored["verified"], true, "{restored}");
    java.run(&format!("connect a {}", target.address())).unwrap();
    assert_restored(&seen, &java.dump().unwrap());
}
