//! The repository of format version 1 that is kept in `tests/data/v1`: every later program reads it as it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Home, Ran, copy_over, recorded};

/// Both ways to open it.
const OPENED_BY: [&str; 2] = ["--password-file password", "--key-file key"];

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/v1")
}

/// A copy of all of it: what is kept must not change.
fn copied() -> Home {
    let home = Home::new();
    copy_over(&kept(), &home.path(""));
    home
}

fn zooark(home: &Home, line: &str) -> Ran {
    home.zooark(&format!("--repo repository --key-file key {line}"))
}

fn ids(home: &Home) -> Vec<String> {
    let listed = zooark(home, "snapshots --json").ends(0).json();
    listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_snapshot_is_what_it_was() {
    let home = copied();
    let ids = ids(&home);
    assert_eq!(ids.len(), fs::read_dir(kept().join("expected")).unwrap().count());
    for opened in OPENED_BY {
        for (number, id) in (1..).zip(&ids) {
            let dumped = home.zooark(&format!("--repo repository {opened} --no-cache dump {id}")).ends(0).stdout;
            let expected = fs::read_to_string(kept().join(format!("expected/{number}.jsonl"))).unwrap();
            assert!(dumped == expected, "snapshot {number}, opened by {opened}, reads otherwise than it was written");
        }
    }
    zooark(&home, "check --read-data").ends(0);
}

#[test]
fn what_is_known_of_its_snapshots_is_read() {
    let home = copied();
    let listed = zooark(&home, "snapshots --json").ends(0).json();
    let field = |name: &str| listed.as_array().unwrap().iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("cluster"), ["kafka", "kafka", "kafka", "corners"]);
    assert_eq!(field("host"), ["kept"; 4]);
    assert_eq!(field("time")[0], "2025-11-20T10:00:00Z");
    assert_eq!(field("zxid_high"), ["0xa2", "0xb3", "0xa2", "0x200000040"]);
    assert_eq!(field("tags")[1], serde_json::json!(["nightly"]));
    assert_eq!(field("parent_id")[1], field("id")[0]);
    assert_eq!(field("suspect").iter().map(|why| !why.is_null()).collect::<Vec<_>>(), [false, false, true, false]);
}

#[test]
fn it_restores_and_takes_another_backup() {
    let home = copied();
    for (number, id) in (1..).zip(ids(&home)) {
        let summary = format!("restore {id} datadir:restored{number} --keep-ephemerals --extended-types true --json");
        let summary = zooark(&home, &summary).ends(0).lines().pop().unwrap();
        assert_eq!((&summary["state_digest_verified"], &summary["read_back"]), (&true.into(), &true.into()));
        zooark(&home, &format!("diff {id} datadir:restored{number} --exit-code --all-stats")).ends(0);
    }
    copy_over(&recorded("after"), &home.path("zookeeper"));
    let id = &ids(&home)[2];
    zooark(&home, &format!("accept {id}")).ends(0);
    let next = zooark(&home, "backup zookeeper --cluster kafka --json").ends(0).lines().pop().unwrap();
    // What changed back is stored already: the pack of the run before the rollback serves again.
    assert_eq!((&next["method"], &next["parent_id"]), (&"log".into(), &id.as_str().into()));
    zooark(&home, "check --read-data").ends(0);
}
