//! `copy` between a local repository and one in S3, both ways, killed in the middle and taken up again.

use std::process::{Command as Process, Stdio};
use std::time::Duration;

use rstest::rstest;
use testing::stores::Kind;

use super::program::Place;
use crate::run::{Ran, copy_over, recorded};
use crate::turn;

/// The arguments that lead to the second repository, in S3.
fn target(place: &Place) -> Vec<String> {
    let mut words: Vec<String> =
        ["--to-repo", "s3://backups/second", "--to-key-file", "other"].map(str::to_owned).into();
    for (key, value) in place.server.options() {
        words.extend(["--to-option".to_owned(), format!("{key}={value}")]);
    }
    words
}

fn there(place: &Place, line: &str) -> Ran {
    let mut command = place.home.command();
    command.args(line.split_whitespace()).args(["--repo", "s3://backups/second", "--key-file", "other"]);
    for (key, value) in place.server.options() {
        command.args(["-o", &format!("{key}={value}")]);
    }
    Ran::of(command.envs(place.server.environment()))
}

#[rstest]
#[case::that_shares_ids(true)]
#[case::of_a_stranger(false)]
fn a_copy_to_s3_is_taken_up_again(#[case] like: bool) {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::Versitygw) else { return };
    place.home.zooark("init --repo local --new-key-file key").ends(0);
    for n in 0..8 {
        copy_over(&recorded(if n % 2 == 0 { "before" } else { "after" }), &place.home.path("zookeeper"));
        let line = format!("backup zookeeper --repo local --key-file key --cluster c{n} --time 2025-12-01T10:{n:02}");
        place.home.zooark(&line).ends(0);
    }
    let mut init = place.home.command();
    init.args(["init", "--repo", "s3://backups/second", "--new-key-file", "other"]);
    if like {
        init.args(["--like", "local", "--like-key-file", "key"]);
    }
    for (key, value) in place.server.options() {
        init.args(["-o", &format!("{key}={value}")]);
    }
    Ran::of(init.envs(place.server.environment())).ends(0);
    let mut killed = 0;
    for round in 0..6_u64 {
        let mut child = Process::new(env!("CARGO_BIN_EXE_zooark-under-test"))
            .args(["copy", "--repo", "local", "--key-file", "key"])
            .args(target(&place))
            .envs(place.server.environment())
            .env("XDG_CACHE_HOME", place.home.path("cache"))
            .current_dir(place.home.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(round * 25));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed > 0, "every copy was faster than its death");
    let mut command = place.home.command();
    command.args(["copy", "--repo", "local", "--key-file", "key"]).args(target(&place));
    Ran::of(command.envs(place.server.environment())).ends(0);
    let copies = there(&place, "snapshots --json").ends(0).json().as_array().unwrap().clone();
    assert_eq!(copies.len(), 8);
    there(&place, "check --read-data --no-cache").ends(0);

    // And back, into a third.
    place.home.zooark("init --repo third --new-key-file third-key").ends(0);
    let back = there(&place, "copy --to-repo third --to-key-file third-key --json").ends(0);
    assert_eq!(back.lines().pop().unwrap()["copied"].as_array().unwrap().len(), 8);
    let list = |repo: &str, key: &str| {
        place.home.zooark(&format!("snapshots --repo {repo} --key-file {key} --json")).ends(0).json()
    };
    let (first, third) = (list("local", "key"), list("third", "third-key"));
    for (a, b) in first.as_array().unwrap().iter().zip(third.as_array().unwrap()) {
        let dump = |repo: &str, key: &str, id: &str| {
            place.home.zooark(&format!("dump {id} --repo {repo} --key-file {key}")).ends(0).stdout
        };
        assert_eq!(a["time"], b["time"]);
        let (right, copied) = (a["id"].as_str().unwrap(), b["id"].as_str().unwrap());
        assert_eq!(dump("local", "key", right), dump("third", "third-key", copied));
    }
}
