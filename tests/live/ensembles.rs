//! Members of an ensemble: their directories differ, their tree must not.

use testing::server::{Client, Ensemble, Setup};
use zk_format::increment::{Doubt, IncrementError, IncrementOptions, load_increment};
use zk_format::load::Tail;

use crate::compare::assert_same;
use crate::state::{Base, assert_exact, assert_same_nodes, dir, load_at_rest, load_live};
use crate::turn;

const VERSION: &str = "3.9.4";

/// A follower that was away for long gets the leader's whole tree: its log has a gap, and across the next epoch
/// nothing in the numbers says that transactions are missing.
#[test]
fn a_follower_that_rejoined_by_a_full_sync() {
    let _turn = turn::of_an_ensemble();
    // A leader that may not send its log instead must send a snapshot.
    let setup = Setup::default().property("zookeeper.snapshotSizeFactor=-1");
    let mut ensemble = Ensemble::start(VERSION, 3, &setup).unwrap();
    let leader = ensemble.leader().unwrap();
    let away = ensemble.followers()[0];
    let mut client = Client::connect(VERSION, &ensemble.members()[leader].address()).unwrap();
    client.workload(200).unwrap();
    ensemble.wait_same_zxid().unwrap();
    let before = load_live(&ensemble.members()[away]);
    assert_exact("the follower before", &before);
    ensemble.member(away).stop().unwrap();
    client.run("churn a 3000 1").unwrap();
    ensemble.member(away).start_again().unwrap();
    client.run("churn a 500 2").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let seen = client.dump().unwrap();
    for index in [leader, away] {
        let state = load_live(&ensemble.members()[index]);
        assert_exact("a member", &state);
        assert_same("a member", state.tree.iter(), &seen);
    }
    // Its log does not lead from the state before to now, and an increment must not pretend so.
    let base = Base(&before);
    let increment = load_increment(&dir(&ensemble.members()[away]), &base, &base.state(), &IncrementOptions::default());
    assert!(matches!(increment, Err(IncrementError::NeedFull(_))), "{increment:?}");

    // A new epoch over the gap.
    ensemble.member(leader).stop().unwrap();
    let other = (0..3).find(|&index| index != leader && index != away).unwrap();
    ensemble.wait_ready().unwrap();
    let address = ensemble.members()[other].address();
    client.run(&format!("connect b {address}")).unwrap();
    client.run("churn b 500 3").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let [a, b] = [away, other].map(|index| load_live(&ensemble.members()[index]));
    assert_exact("the follower in the new epoch", &a);
    assert_exact("the member that was there all the time", &b);
    assert_eq!(a.zxid_high, b.zxid_high);
    assert!(a.zxid_high.epoch() > before.zxid_high.epoch());
    assert_same_nodes("two members", &a.tree, &b.tree);
}

/// A leader cut off from its followers logs what is never committed; back among them, it cuts its log.
#[test]
fn a_tail_that_was_never_committed_and_is_truncated() {
    let _turn = turn::alone();
    // A leader whose followers are silent for longer steps down, and answers nothing more.
    let mut ensemble = Ensemble::start(VERSION, 3, &Setup::default().line("syncLimit=60")).unwrap();
    let leader = ensemble.leader().unwrap();
    let followers = ensemble.followers();
    let mut client = Client::connect(VERSION, &ensemble.members()[leader].address()).unwrap();
    client.run("create a /x one").unwrap();
    client.run("churn a 300 1").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let seen = client.dump().unwrap();
    for &follower in &followers {
        ensemble.member(follower).pause().unwrap();
    }
    // From here on nothing can be committed, the end of somebody's session neither.
    let committed = ensemble.members()[leader].zxid().unwrap();
    client.send("set a /x never").unwrap();
    let proposed = || load_at_rest(&ensemble.members()[leader]).zxid_high > committed;
    testing::server::wait_until(std::time::Duration::from_secs(20), proposed).unwrap();

    // The leader says how far it is: what it only proposed is left out.
    let asked = load_live(&ensemble.members()[leader]);
    assert_eq!((asked.zxid_high, asked.tail), (committed, Tail::Confirmed));
    assert_exact("cut at what the leader says", &asked);
    assert_same("cut at what the leader says", asked.tree.iter(), &seen);

    // Nobody says so of a directory at rest.
    ensemble.member(leader).kill9().unwrap();
    let unasked = load_at_rest(&ensemble.members()[leader]);
    assert!(unasked.zxid_high > committed);
    assert_eq!(unasked.tail, Tail::Unconfirmed);

    // Killed while paused, the followers never read the proposal that waits for them in their sockets.
    for &follower in &followers {
        ensemble.member(follower).kill9().unwrap();
    }
    for &follower in &followers {
        ensemble.member(follower).launch().unwrap();
    }
    ensemble.wait_ready().unwrap();
    // Once the new epoch has a transaction, the leader would send a snapshot instead of cutting the log.
    ensemble.member(leader).start_again().unwrap();
    client = Client::connect(VERSION, &ensemble.members()[followers[0]].address()).unwrap();
    client.run("set a /x committed").unwrap();
    ensemble.wait_same_zxid().unwrap();
    let seen = client.dump().unwrap();
    let truncated = load_live(&ensemble.members()[leader]);
    assert_exact("after the truncation", &truncated);
    assert_same("after the truncation", truncated.tree.iter(), &seen);
    let base = Base(&unasked);
    let increment =
        load_increment(&dir(&ensemble.members()[leader]), &base, &base.state(), &IncrementOptions::default());
    let doubt = match increment {
        Err(IncrementError::NeedFull(doubt)) => doubt,
        other => panic!("an increment on a tail that was cut off: {other:?}"),
    };
    assert!(matches!(doubt, Doubt::AnchorMissing { .. } | Doubt::OtherHistory { .. }), "{doubt}");
}

/// Reconfigurations are transactions on a node of the server's own.
#[test]
fn a_reconfigured_ensemble() {
    let _turn = turn::of_an_ensemble();
    let mut ensemble = Ensemble::start(VERSION, 3, &Setup::default()).unwrap();
    let leader = ensemble.leader().unwrap();
    let leaving = ensemble.followers()[0];
    let mut client = Client::connect(VERSION, &ensemble.members()[leader].address()).unwrap();
    client.run("churn a 500 1").unwrap();
    let config = client.run(&format!("reconfig a - {} -", leaving + 1)).unwrap();
    assert!(!config.contains(&format!("server.{}=", leaving + 1)), "{config}");
    client.run("churn a 500 2").unwrap();
    let seen = client.dump().unwrap();
    let state = load_live(&ensemble.members()[leader]);
    assert_exact("the leader", &state);
    assert_same("the leader", state.tree.iter(), &seen);
    let stored = state.tree.find(zk_format::path::CONFIG).unwrap().data.unwrap_or_default().to_vec();
    assert!(String::from_utf8_lossy(&stored).contains(&format!("server.{}=", leader + 1)));
    ensemble.stop().unwrap();
}
