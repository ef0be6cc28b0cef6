//! `AdminServer`s of real servers as a source: what one hands out is what its clients see, and it is called exact only
//! where it is; what it refuses is told with what to do.

use std::path::Path;

use serde_json::Value;
use testing::server::tls::Authority;
use testing::server::{Client, Ensemble, Server, Setup};
use zk_connect::Endpoint;
use zk_connect::admin::{self, Admin, AdminError, AdminOptions, Transfer};
use zk_connect::live::AuthInfo;
use zk_format::load::{Loaded, Proof, Tail};

use crate::client::{auth, extended, run};
use crate::compare::assert_same;
use crate::restore_live::Program;
use crate::state::assert_exact;
use crate::turn;

const VERSION: &str = "3.9.4";

/// With an `AdminServer` that hands out a snapshot whenever it is asked.
fn willing() -> Setup {
    Setup { admin: true, ..extended() }.property("zookeeper.admin.rateLimiterIntervalInMS=0")
}

pub struct Unheard;

impl Transfer for Unheard {
    fn begin(&self, _: u64) {}
    fn moved(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

pub fn to(place: &str, options: AdminOptions) -> Admin {
    let Endpoint::Admin(spec) = Endpoint::parse(place).unwrap() else { panic!("{place} is no AdminServer") };
    Admin::new(&spec, options).unwrap()
}

/// What a server hands out to this user.
fn handed_out(server: &Server, user: AuthInfo) -> Result<Loaded, AdminError> {
    let options = AdminOptions { auth: vec![user], ..AdminOptions::default() };
    let admin = to(&format!("admin+http://{}", server.admin_address()), options);
    run(admin::snapshot(&admin, &Unheard))?.load()
}

fn nodes_by_kind(program: &Program, snapshot: &str) -> Vec<(String, String)> {
    let lines = program.run(&format!("dump {snapshot}")).ends(0).lines();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    lines.iter().map(|line| (text(line, "path"), text(line, "kind"))).collect()
}

#[test]
fn a_server_hands_out_all_it_has() {
    let _turn = turn::of_a_server();
    let server = Server::start(VERSION, willing()).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.workload(300).unwrap();
    let seen = client.dump().unwrap();
    let state = handed_out(&server, auth("super:admin")).unwrap();
    assert_exact("handed out", &state);
    assert_eq!((state.proof, state.tail, state.zxid_high), (Proof::Digest, Tail::Confirmed, server.zxid().unwrap()));
    assert_same("handed out", state.tree.iter(), &seen);

    let program = Program::new();
    let from = format!("admin+http://{} --zk-auth-file auth", server.admin_address());
    assert!(program.summary(&format!("backup {from} --dry-run"), 0)["snapshot_id"].is_null());
    let first = program.summary(&format!("backup {from}"), 0);
    assert_eq!((first["consistency"].as_str(), first["proof"].as_str()), (Some("exact"), Some("digest")));
    assert_eq!((first["tail"].as_str(), first["nodes"].as_u64()), (Some("confirmed"), Some(seen.len() as u64)));
    let kinds = nodes_by_kind(&program, "latest");
    for kind in ["container", "ttl", "ephemeral", "persistent"] {
        assert!(kinds.iter().any(|(_, found)| found == kind), "no {kind} node in {kinds:?}");
    }
    assert!(!kinds.iter().any(|(_, found)| found == "unknown"));
    let listed = program.run("snapshots --json").ends(0).json();
    assert!(listed[0]["source"].as_str().unwrap().starts_with("admin+http://127.0.0.1:"), "{listed}");

    // What did not change is not stored again, and is no difference to anything.
    assert!(program.summary(&format!("backup {from}"), 0)["snapshot_id"].is_null());
    for other in [from.clone(), format!("datadir:{}", server.data_dir().display())] {
        program.run(&format!("diff latest {other} --exit-code")).ends(0);
    }
    client.run("create a /later x").unwrap();
    let second = program.summary(&format!("backup {from}"), 0);
    assert_eq!(
        (second["nodes_created"].as_u64(), second["parent_id"].clone()),
        (Some(1), first["snapshot_id"].clone())
    );
    program.run(&format!("diff latest~1 {from}")).ends(0).prints("/later");

    // Snapshots of files are of a lineage of their own.
    let files = program.summary(&format!("backup datadir:{}", server.data_dir().display()), 0);
    assert!(files["parent_id"].is_null() && files["snapshot_id"].is_string(), "{files}");
}

#[rstest::rstest]
#[case::gzip("gz")]
#[case::snappy("snappy")]
fn a_server_that_compresses_its_files_hands_them_out_so(#[case] method: &str) {
    let _turn = turn::of_a_server();
    let server =
        Server::start(VERSION, willing().property(format!("zookeeper.snapshot.compression.method={method}"))).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.workload(50).unwrap();
    let state = handed_out(&server, auth("super:admin")).unwrap();
    assert_exact(method, &state);
    assert_same(method, state.tree.iter(), &client.dump().unwrap());
}

/// A superuser, the owner of `/`, and nobody else; and once in an interval.
#[test]
fn who_may_not_and_who_asks_too_often_is_told_what_to_do() {
    let _turn = turn::of_a_server();
    let once = Setup { admin: true, ..Setup::default() }
        .property(format!("zookeeper.admin.rateLimiterIntervalInMS={}", i32::MAX));
    let server = Server::start(VERSION, once).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.run("own a / somebody").unwrap();
    let program = Program::new();
    std::fs::write(program.0.path("wrong"), "digest super:wrong\n").unwrap();
    let backup = |more: &str| program.run(&format!("backup admin+http://{} {more}", server.admin_address()));
    backup("").ends(1).says("no credentials were given").says("--zk-auth-file");
    let refused = backup("--zk-auth-file wrong").ends(1).says("every permission (cdrwa) on /").says("--zk-auth-file");
    assert!(!refused.stderr.contains("super:wrong"), "{}", refused.stderr);
    backup("--zk-auth-file auth").ends(0);
    // 3.9.4 may let a second one pass, but not one after the other.
    let refused = (0..5).map(|_| backup("--zk-auth-file auth")).find(|ran| ran.code != 0).expect("never too soon");
    refused.ends(1).says("zookeeper.admin.rateLimiterIntervalInMS").says("name another server");
    backup("--zk-auth-file auth --watch").ends(2).says("zk://");
    backup("--zk-auth-file auth --to-zxid 0x1").ends(2).says("--to-zxid");
    assert!(program.run("snapshots --json").ends(0).json().as_array().is_some_and(|listed| listed.len() == 1));
}

#[test]
fn a_command_that_is_disabled_or_not_served_is_told_as_such() {
    let _turn = turn::of_an_ensemble();
    let disabled = willing().property("zookeeper.admin.snapshot.enabled=false");
    let mut ensemble = Ensemble::prepare(VERSION, 3, &disabled).unwrap();
    ensemble.member(0).launch().unwrap();
    let alone = ensemble.members()[0].admin_address();
    let program = Program::new();
    let refused = |more: &str| program.run(&format!("backup admin+http://{alone}{more} --zk-auth-file auth")).ends(1);
    let waits = || refused("").stderr.contains("it has no quorum yet");
    testing::server::wait_until(std::time::Duration::from_mins(1), waits).unwrap();
    for index in 1..3 {
        ensemble.member(index).launch().unwrap();
    }
    ensemble.wait_ready().unwrap();
    refused("").says("admin.snapshot.enabled");
    refused("/elsewhere").says("admin.commandURL");
    // The client port speaks no HTTP.
    let client_port = ensemble.members()[0].address();
    program.run(&format!("backup admin+http://{client_port} --zk-auth-file auth")).ends(1).says(&client_port);
    program.run("backup admin+http://127.0.0.1:1 --zk-auth-file auth").ends(1).says("admin.serverPort");
}

/// Of several servers one that follows is asked; what does not answer is named and does not matter.
#[test]
fn of_an_ensemble_a_server_that_does_not_lead_is_asked() {
    let _turn = turn::of_an_ensemble();
    let ensemble = Ensemble::start(VERSION, 3, &willing()).unwrap();
    let (leader, followers) = (ensemble.leader().unwrap(), ensemble.followers());
    let mut client = Client::connect(VERSION, &ensemble.members()[leader].address()).unwrap();
    client.workload(20).unwrap();
    ensemble.wait_same_zxid().unwrap();
    let order = [leader, followers[0]].map(|index| ensemble.members()[index].admin_address());
    let place = format!("admin+http://127.0.0.1:1,{}", order.join(","));
    let options = AdminOptions { auth: vec![auth("super:admin")], ..AdminOptions::default() };
    let streamed = run(admin::snapshot(&to(&place, options), &Unheard)).unwrap();
    assert_eq!(streamed.server.host, order[1]);
    let seen = client.dump().unwrap();
    assert_same("a follower's", streamed.load().unwrap().tree.iter(), &seen);
    let program = Program::new();
    program.run(&format!("backup {place} --zk-auth-file auth")).ends(0).says("127.0.0.1:1 for srvr: no connection");
}

/// ZOOKEEPER-4872: before 3.9.4 the question itself may change the live tree.
#[test]
fn a_server_that_a_question_can_harm_is_asked_only_if_somebody_insists() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.3", willing()).unwrap();
    let mut client = Client::connect("3.9.3", &server.address()).unwrap();
    client.workload(20).unwrap();
    let program = Program::new();
    let place = format!("admin+http://{} --zk-auth-file auth", server.admin_address());
    for refused in [format!("backup {place}"), format!("diff {place} datadir:{}", server.data_dir().display())] {
        program.run(&refused).ends(5).says("3.9.3").says("ZOOKEEPER-4872").says("CVE-2025-58457");
    }
    let files = server.snapshots().unwrap();
    program.run(&format!("backup {place} --yes-really")).ends(0);
    assert!(server.snapshots().unwrap().len() > files.len(), "the refused questions reached the server");
    // Before 3.9 there is nothing to ask for.
    drop((client, server));
    let old = Server::start("3.8.4", Setup { admin: true, ..Setup::default() }).unwrap();
    let place = format!("admin+http://{} --zk-auth-file auth", old.admin_address());
    program.run(&format!("backup {place} --yes-really")).ends(1).says("3.8.4").says("has no snapshots");
}

#[test]
fn over_tls_the_server_must_be_the_one_that_was_named() {
    let _turn = turn::of_a_server();
    let authority = Authority::new().unwrap();
    let party = authority.party("server", "IP:127.0.0.1,DNS:localhost").unwrap();
    let server = Server::start(VERSION, authority.admin_setup(willing(), &party).unwrap()).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.workload(20).unwrap();
    let program = Program::new();
    let address = server.admin_address();
    let shown = |path: &Path| path.display().to_string();
    let backup = |scheme: &str, more: &str| {
        program.run(&format!("backup admin+{scheme}://{address} --zk-auth-file auth {more}"))
    };
    backup("https", &format!("--tls-ca {}", shown(&authority.ca()))).ends(0);
    backup("https", "").ends(1).says("--tls-ca");
    let stranger = Authority::new().unwrap();
    backup("https", &format!("--tls-ca {}", shown(&stranger.ca()))).ends(1).says("--tls-ca");
    backup("http", &format!("--tls-ca {}", shown(&authority.ca()))).ends(2).says("admin+https://");
    backup("http", "").ends(1).says(&address);
    let plain = Server::start(VERSION, willing()).unwrap();
    let place = format!("admin+https://{}", plain.admin_address());
    program.run(&format!("backup {place} --tls-ca {}", shown(&authority.ca()))).ends(1).says("admin+http://");
}
