//! `inspect` on a directory that a real server wrote, and on damaged copies of it.

use std::fs;

use crate::run::{Home, copy_over, recorded};

#[test]
fn a_directory_is_summarised() {
    let home = Home::new();
    let directory = recorded("after");
    let ran = home.run(["inspect", directory.to_str().unwrap()]).ends(0);
    assert!(ran.stdout.contains("a backup would take") && ran.stdout.contains("exact at"), "{}", ran.stdout);
    let report = home.run(["inspect", directory.to_str().unwrap(), "--json"]).ends(0).json();
    assert_eq!(report["directory"]["state"]["consistency"], "exact");
    let types: Vec<_> = report["files"].as_array().unwrap().iter().map(|file| file["file_type"].clone()).collect();
    assert_eq!(types, ["snapshot", "snapshot", "log", "log"]);
    assert!(report["directory"]["problem"].is_null());
}

#[test]
fn transactions_are_listed_one_a_line_before_the_summary() {
    let home = Home::new();
    let log = recorded("after").join("version-2/log.a2");
    let ran = home.run(["inspect", log.to_str().unwrap(), "--transactions", "--json"]).ends(0);
    let mut lines = ran.lines();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(summary["files"][0]["transactions"].as_u64().unwrap(), lines.len() as u64);
    assert_eq!(lines[0]["zxid"], "0xa2");
    assert!(lines.iter().all(|line| line["type"].is_string() && line["time_ms"].is_i64()));
}

#[test]
fn damage_is_told_and_the_rest_still_shown() {
    let home = Home::new();
    copy_over(&recorded("after"), &home.path("zk"));
    let newest = home.path("zk/version-2/snapshot.a1");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&newest, bytes).unwrap();
    let ran = home.zooark("inspect zk").ends(4);
    assert!(ran.stdout.contains("DAMAGED") && ran.stdout.contains("snapshot.0"), "{}", ran.stdout);
}

#[test]
fn what_is_no_file_of_zookeeper_is_refused() {
    let home = Home::new();
    fs::write(home.path("letter"), "dear reader").unwrap();
    fs::create_dir(home.path("empty")).unwrap();
    home.zooark("inspect letter").ends(1).says("neither a snapshot file nor a transaction log");
    home.zooark("inspect empty").ends(1).says("empty");
    home.zooark("inspect absent").ends(1).says("absent");
}
