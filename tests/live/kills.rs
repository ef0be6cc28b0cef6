//! Servers killed as `kill -9` does, in the middle of writing: what they left is read, and read again after they
//! came back and went on.

use std::time::Duration;

use testing::server::{Client, Server, Setup, long, wait_until};
use zk_format::load::{Loaded, Note};

use crate::compare::assert_same;
use crate::state::{assert_exact, load_at_rest, load_live};
use crate::turn;

/// A record is torn only if the kill lands inside a write; few kills in a row miss.
fn most_kills() -> usize {
    if long() { 60 } else { 25 }
}

fn is_torn(state: &Loaded) -> bool {
    state.notes.iter().any(|note| matches!(note, Note::Torn(_)))
}

/// After the kill the torn record stays where it is for ever, and the server writes its zxid again, into the next
/// file.
#[test]
fn a_record_torn_by_a_kill_ends_its_file_and_the_next_file_goes_on() {
    let _turn = turn::of_a_server();
    let version = "3.9.4";
    let mut server = Server::start(version, Setup::default()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    let mut torn = None;
    for round in 0..most_kills() {
        let before = server.zxid().unwrap();
        // Records far larger than a page, so that most of the time one is being written.
        client.send(&format!("flood a 60 {round}")).unwrap();
        wait_until(Duration::from_mins(1), || server.zxid().is_ok_and(|zxid| zxid.0 > before.0 + 12)).unwrap();
        server.kill9().unwrap();
        let left = load_at_rest(&server);
        assert_exact("after a kill", &left);
        server.start_again().unwrap();
        client = Client::connect(version, &server.address()).unwrap();
        let seen = client.dump().unwrap();
        let back = load_live(&server);
        assert_exact("after the server came back", &back);
        assert_same("after the server came back", back.tree.iter(), &seen);
        if is_torn(&left) {
            torn = Some(left);
            break;
        }
    }
    let torn = torn.expect("no kill landed inside a write: raise the number of kills");
    client.run("churn a 2000 5").unwrap();
    let seen = client.dump().unwrap();
    let running = load_live(&server);
    assert_exact("behind a torn record", &running);
    assert_same("behind a torn record", running.tree.iter(), &seen);
    assert!(running.zxid_high > torn.zxid_high);
}
