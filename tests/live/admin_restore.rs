//! A whole ensemble restored through its `AdminServer`s: every server has the restored tree before and after it is
//! restarted, writes go on, and whatever would tear the ensemble apart is refused before anything is changed.

use serde_json::Value;
use testing::server::{Client, Ensemble, Server, Setup};

use crate::client::extended;
use crate::compare::{Seen, assert_same_view};
use crate::names::{count_with_a_gap, next_name};
use crate::restore_live::Program;
use crate::turn;

const VERSION: &str = "3.9.4";

fn willing() -> Setup {
    Setup { admin: true, ..extended() }.property("zookeeper.admin.rateLimiterIntervalInMS=0")
}

/// What a client sees on a server. Its session is gone afterwards, and what was logged for it is everywhere.
fn view(address: &str) -> Seen {
    let mut client = Client::connect(VERSION, address).unwrap();
    let seen = client.dump().unwrap();
    client.run("close a").unwrap();
    seen
}

fn place(servers: &[&Server]) -> String {
    let hosts: Vec<String> = servers.iter().map(|server| server.admin_address()).collect();
    format!("admin+http://{}", hosts.join(","))
}

fn all(ensemble: &Ensemble) -> String {
    place(&ensemble.members().iter().collect::<Vec<_>>())
}

const SURE: &str = "--experimental-admin-restore --zk-auth-file auth --yes";

#[test]
fn every_server_has_the_restored_tree_after_a_rolling_restart() {
    let _turn = turn::of_an_ensemble();
    let mut ensemble = Ensemble::start(VERSION, 3, &willing()).unwrap();
    let leader = ensemble.leader().unwrap();
    let at_leader = ensemble.members()[leader].address();
    let mut client = Client::connect(VERSION, &at_leader).unwrap();
    client.workload(100).unwrap();
    count_with_a_gap(&mut client);
    client.run("close a").unwrap();
    let before = view(&at_leader);
    ensemble.wait_same_zxid().unwrap();
    let program = Program::new();
    let wanted = program.back_up(&ensemble.members()[leader]);

    let mut client = Client::connect(VERSION, &at_leader).unwrap();
    client.run("churn a 300 5").unwrap();
    client.run("create a /lost x").unwrap();
    next_name(&mut client);
    let target = all(&ensemble);

    // Refused, each for its reason, and nothing changed.
    let refused = |to: &str, words: &str| {
        program.run(&format!("restore {wanted} {to} {SURE}")).ends(5).says(words);
    };
    refused(&target, "1 clients are connected");
    client.run("close a").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let zxid = ensemble.members()[leader].zxid().unwrap();
    let [one, two, three] = [0, 1, 2].map(|index| &ensemble.members()[index]);
    refused(&place(&[one, two]), "name all");
    refused(&place(&[one, two, two]), "each named once");
    let other = Server::start(VERSION, willing()).unwrap();
    refused(&place(&[one, two, three, &other]), "not one ensemble");
    refused(&place(&[&other]), "which they have not reached");
    drop(other);
    let flags = "--zk-auth-file auth";
    program.run(&format!("restore {wanted} {target} {flags} --yes")).ends(2).says("seeding the data directories");
    program.run(&format!("restore {wanted} {target} {flags} --experimental-admin-restore")).ends(2).says("--dry-run");
    program.run(&format!("restore {wanted}:/next {target} {SURE}")).ends(2).says("the whole tree");
    program.run(&format!("restore {wanted} {target} {SURE} --delete")).ends(2).says("--delete means nothing");
    program.run(&format!("restore {wanted} {target} {SURE} --dry-run")).ends(0).prints("nothing was changed");
    assert_eq!(ensemble.members()[leader].zxid().unwrap(), zxid);

    let done = program.summary(&format!("restore {wanted} {target} {SURE}"), 0);
    assert_eq!((done["verified"].as_bool(), done["nodes"].as_u64()), (Some(true), Some(before.len() as u64)));
    assert_eq!(done["zxid"].as_str().unwrap(), zxid.to_string());
    let safety = done["safety_snapshot"].as_str().unwrap();
    program.run(&format!("ls {safety}:/")).ends(0).prints("lost");
    let order: Vec<String> = done["servers"].as_array().unwrap().iter().map(|one| text(one, "host")).collect();
    assert_eq!(order.last(), Some(&ensemble.members()[leader].admin_address()));

    for host in &order {
        let index = ensemble.members().iter().position(|member| member.admin_address() == *host).unwrap();
        ensemble.member(index).stop().unwrap();
        ensemble.member(index).start_again().unwrap();
    }
    ensemble.wait_ready().unwrap();
    for member in ensemble.members() {
        assert_same_view("after the restart", &before, &view(&member.address()));
    }
    let mut client = Client::connect(VERSION, &ensemble.members()[0].address()).unwrap();
    assert_eq!(next_name(&mut client), "/next/n-0000000003");
    client.run("churn a 300 6").unwrap();
    client.run("close a").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let seen = view(&ensemble.members()[0].address());
    for member in ensemble.members() {
        assert_same_view("writes go on", &seen, &view(&member.address()));
    }
    // The logs of before tell of what was undone; a backup that reads everything is not misled.
    let index = ensemble.leader().unwrap();
    let server = &ensemble.members()[index];
    let line = format!("backup datadir:{}?srvr={} --full", server.data_dir().display(), server.address());
    let after = program.summary(&line, 0);
    assert_eq!(after["consistency"].as_str(), Some("exact"));
    program.run("ls latest:/").ends(0).prints("next");
    assert!(!program.run("ls latest:/").ends(0).stdout.contains("lost"));
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap().to_owned()
}

/// A server that keeps no digests takes the file of another for damaged: it gets one without.
#[rstest::rstest]
#[case::with_digests(true)]
#[case::without_digests(false)]
fn a_server_alone_starts_from_what_it_was_given(#[case] digests: bool) {
    let _turn = turn::of_a_server();
    let setup = willing().property(format!("zookeeper.digest.enabled={digests}"));
    let mut server = Server::start(VERSION, setup).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.workload(50).unwrap();
    client.run("close a").unwrap();
    let before = view(&server.address());
    let program = Program::new();
    let wanted = program.back_up(&server);
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.run("churn a 100 5").unwrap();
    client.run("close a").unwrap();
    let line = format!("restore {wanted} {} {SURE} --no-safety-snapshot", place(&[&server]));
    let done = program.summary(&line, 0);
    assert!(done["safety_snapshot"].is_null() && done["verified"].as_bool() == Some(true), "{done}");
    assert_same_view("before the restart", &before, &view(&server.address()));
    server.stop().unwrap();
    server.start_again().unwrap();
    assert_same_view("after the restart", &before, &view(&server.address()));
}

#[test]
fn a_server_before_3_9_4_is_not_restored_so() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.3", willing()).unwrap();
    let mut client = Client::connect("3.9.3", &server.address()).unwrap();
    client.workload(20).unwrap();
    client.run("close a").unwrap();
    let program = Program::new();
    let wanted = program.back_up(&server);
    let zxid = server.zxid().unwrap();
    for more in ["", "--yes-really"] {
        let line = format!("restore {wanted} {} {SURE} {more}", place(&[&server]));
        program.run(&line).ends(5).says("3.9.4 or later").says("seed the data directories");
    }
    assert_eq!(server.zxid().unwrap(), zxid);
}
