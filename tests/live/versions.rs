//! Each version under every kind of transaction: its files hold what its client saw, while it runs and at rest,
//! the logs alone lead from one state to the next, and it starts from files that we write.

use testing::server::{Client, Server, Setup, at_least, long};
use zk_format::increment::{IncrementOptions, load_increment};
use zk_format::load::{Loaded, Proof, Tail};
use zk_format::replay::MergedTree;

use crate::compare::{assert_same, assert_same_view};
use crate::matrix::on_every_version;
use crate::state::{Base, assert_exact, assert_same_nodes, dir, load_at_rest, load_live, load_to, write};
use crate::turn;

const CHILDREN: usize = 30_000;

/// Writes that overlap while snapshot files are written.
fn churn() -> usize {
    if long() { 300_000 } else { 10_000 }
}

/// Snapshot files often, so that most are written under load; containers and TTLs looked after at once.
fn setup() -> Setup {
    Setup::default().property("zookeeper.extendedTypesEnabled=true").property("zookeeper.snapCount=9000")
}

on_every_version!(every_version_under_a_full_workload);

fn every_version_under_a_full_workload(version: &str) {
    let _turn = turn::of_a_server();
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    let proof = if at_least(version, 6) { Proof::Digest } else { Proof::Replay };
    client.workload(CHILDREN).unwrap();

    let first = load_live(&server);
    assert_exact("after the workload", &first);
    assert_eq!(first.tail, Tail::Confirmed);
    assert_same("after the workload", first.tree.iter(), &client.dump().unwrap());

    let during = load_while_writing(&server, &mut client);
    let seen = client.dump().unwrap();
    assert_exact("running", &load_live(&server));
    assert_same("running", load_live(&server).tree.iter(), &seen);

    increment_reaches_the_same(&server, &first, proof);

    server.stop().unwrap();
    let rested = load_at_rest(&server);
    assert_exact("at rest", &rested);
    assert_eq!(rested.tail, Tail::Unconfirmed);
    assert_same("at rest", rested.tree.iter(), &seen);
    for state in during {
        let again = load_to(&server, state.zxid_high);
        assert_exact("up to a transaction of the past", &again);
        assert_same_nodes("a state read while the server wrote", &state.tree, &again.tree);
    }

    let mut other = Server::prepare(version, setup()).unwrap();
    write(&rested, &other.data_dir());
    other.start_again().unwrap();
    client.run(&format!("connect a {}", other.address())).unwrap();
    assert_same_view("after a start from our file", &seen, &client.dump().unwrap());
}

/// States read from the files while the server writes them: each exact, for the server says how far it is.
fn load_while_writing(server: &Server, client: &mut Client) -> Vec<Loaded> {
    let command = format!("churn a {} 1", churn());
    client.send(&command).unwrap();
    let states: Vec<Loaded> = (0..6).map(|_| load_live(server)).collect();
    client.answer(&command).unwrap();
    for state in &states {
        assert_exact("while the server wrote", state);
    }
    states
}

/// From the first state on, the logs alone lead to what a full read gives.
fn increment_reaches_the_same(server: &Server, first: &Loaded, proof: Proof) {
    let full = load_live(server);
    let base = Base(first);
    let options = IncrementOptions { to_zxid: Some(full.zxid_high), ..IncrementOptions::default() };
    let increment = load_increment(&dir(server), &base, &base.state(), &options).unwrap();
    assert_eq!(increment.proof, proof);
    assert_eq!(increment.zxid, full.zxid_high);
    assert_eq!(increment.digest, Some(full.digest));
    let stat = |tree: &MergedTree, path: &[u8]| tree.find(path).map(|node| node.stat);
    for touched in &increment.touched {
        assert_eq!(touched.old.as_ref().map(|node| node.stat), stat(&first.tree, &touched.path));
        assert_eq!(touched.new.as_ref().map(|node| node.stat), stat(&full.tree, &touched.path));
    }
    let created = increment.touched.iter().filter(|touched| touched.old.is_none()).count();
    let deleted = increment.touched.iter().filter(|touched| touched.new.is_none()).count();
    assert_eq!(first.tree.len() + created - deleted, full.tree.len());
}
