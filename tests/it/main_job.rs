//! Back up, browse, compare and restore, on a directory that a real server wrote.

use std::fs;

use rstest::rstest;

use crate::run::{copy_over, recorded};
use crate::stored::{NODES_AFTER, SNAPSHOT_FIELDS, Stored};

/// The fields a summary has are an interface: none may vanish.
#[test]
fn a_backup_s_summary_has_the_documented_fields() {
    let stored = Stored::empty();
    let lines = stored.zooark("backup zookeeper --cluster prod --json").ends(0).lines();
    let summary = lines.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    for field in [
        "snapshot_id",
        "short_id",
        "parent_id",
        "cluster",
        "time",
        "zxid_low",
        "zxid_high",
        "consistency",
        "acl_consistency",
        "proof",
        "tail",
        "suspect",
        "state_time",
        "method",
        "nodes",
        "nodes_created",
        "nodes_changed",
        "nodes_deleted",
        "raw_bytes",
        "uploaded_bytes",
        "objects_written",
        "rebase",
        "incomplete_paths",
        "duration_ms",
    ] {
        assert!(summary.get(field).is_some(), "no {field} in {summary}");
    }
    assert_eq!(summary["zxid_high"], "0xa2");
    assert_eq!((&summary["consistency"], &summary["proof"]), (&"exact".into(), &"digest".into()));
    assert_eq!(summary["method"], "full");
}

#[test]
fn a_second_backup_reads_the_log_and_writes_two_objects() {
    let stored = Stored::empty();
    let first = stored.zooark("backup zookeeper --json").ends(0).lines().pop().unwrap();
    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let second = stored.zooark("backup zookeeper --json").ends(0).lines().pop().unwrap();
    assert_eq!((&second["method"], &second["objects_written"]), (&"log".into(), &2.into()));
    assert_eq!((&second["nodes"], &second["parent_id"]), (&NODES_AFTER.into(), &first["snapshot_id"]));

    let third = stored.zooark("backup zookeeper --json").ends(0).lines().pop().unwrap();
    assert!(third["snapshot_id"].is_null());
    assert_eq!((&third["parent_id"], &third["objects_written"]), (&second["snapshot_id"], &0.into()));
    stored.zooark("backup zookeeper").ends(0).prints("nothing changed");

    let full = stored.zooark("backup zookeeper --full --force --json").ends(0).lines().pop().unwrap();
    assert_eq!((&full["method"], &full["rebase"]), (&"full".into(), &true.into()));
    assert_eq!(stored.snapshots().len(), 3);
}

#[test]
fn a_dry_run_writes_nothing() {
    let stored = Stored::empty();
    let before = stored.objects();
    stored.zooark("backup zookeeper --dry-run").ends(0).prints("nothing was written");
    assert_eq!(stored.objects(), before);
}

#[test]
fn snapshots_have_the_documented_fields() {
    let stored = Stored::new();
    let snapshots = stored.snapshots();
    assert_eq!(snapshots.len(), 2);
    let others =
        ["id", "short_id", "parent_id", "seq", "added_bytes", "state_digest", "protected_until", "verified_at"];
    for field in SNAPSHOT_FIELDS.into_iter().chain(others) {
        assert!(snapshots[0].get(field).is_some(), "no {field}");
    }
    assert_eq!(snapshots[0]["time"], "2025-11-20T10:00:00Z");
    assert_eq!(snapshots[1]["parent_id"], snapshots[0]["id"]);
    let listed = stored.zooark("snapshots").ends(0).stdout;
    assert!(listed.contains("0xa2") && listed.contains("0xb3") && listed.contains("2025-11-21 10:00:00"), "{listed}");
    assert_eq!(stored.zooark("snapshots --json --latest 1").ends(0).json().as_array().unwrap().len(), 1);
    assert_eq!(stored.zooark("snapshots --json --cluster other").ends(0).json(), serde_json::json!([]));
}

#[rstest]
#[case::latest("latest", "8")]
#[case::the_one_before("latest~1", "7")]
#[case::at_a_time("@2025-11-20T23:00Z", "7")]
#[case::at_a_zxid("zxid:0xb2", "7")]
#[case::at_the_last_zxid("zxid:0xb3", "8")]
fn references_find_their_snapshot(#[case] reference: &str, #[case] value: &str) {
    assert_eq!(Stored::new().zooark(&format!("cat {reference}:/controller_epoch")).ends(0).stdout, value);
}

#[test]
fn a_prefix_of_four_digits_is_enough_and_what_is_not_there_is_said() {
    let stored = Stored::new();
    let id = stored.snapshots()[0]["id"].as_str().unwrap().to_owned();
    for digits in [4, 8, 64] {
        let ran = stored.zooark(&format!("cat {}:/controller_epoch", &id[..digits])).ends(0);
        assert_eq!(ran.stdout, "7");
    }
    let other = if id.starts_with("0000") { "ffff" } else { "0000" };
    stored.zooark(&format!("ls {}", &id[..3])).ends(2).says("at least four digits");
    stored.zooark(&format!("ls {other}")).ends(1).says(other);
    stored.zooark("ls latest~2").ends(1).says("latest~2");
    stored.zooark("ls @2020-01-01").ends(1);
    stored.zooark("ls latest:/nowhere").ends(1).says("/nowhere");
    Stored::empty().zooark("ls latest").ends(1).says("backup");
}

#[test]
fn browsing() {
    let stored = Stored::new();
    let listed = stored.zooark("ls latest").ends(0).stdout;
    assert_eq!(listed, "admin\nbrokers\ncluster\nconfig\ncontroller\ncontroller_epoch\nzookeeper\n");
    assert_eq!(stored.zooark("ls -R latest").ends(0).stdout.lines().count(), NODES_AFTER - 1);
    let children = stored.zooark("ls --json latest:/brokers").ends(0).lines();
    assert_eq!(
        children.iter().map(|node| node["path"].clone()).collect::<Vec<_>>(),
        ["/brokers/ids", "/brokers/topics"]
    );

    let stat = stored.zooark("stat --json latest:/controller").ends(0).json();
    assert_eq!((&stat["kind"], &stat["czxid"], &stat["data_bytes"]), (&"ephemeral".into(), &"0xe".into(), &26.into()));
    assert_eq!(stat["acl"], serde_json::json!([{"perms": "cdrwa", "scheme": "world", "id": "anyone"}]));
    let shown = stored.zooark("stat --decode latest:/controller").ends(0).stdout;
    assert!(shown.contains("\"brokerid\": 0"), "{shown}");

    let raw = stored.command().args(["cat", "latest:/controller"]).output().unwrap();
    assert_eq!(raw.stdout, br#"{"version":2,"brokerid":0}"#);
}

#[test]
fn a_dump_has_every_node_with_the_documented_fields_parents_first() {
    let stored = Stored::new();
    let nodes = stored.zooark("dump latest").ends(0).lines();
    assert_eq!(nodes.len(), NODES_AFTER);
    let mut seen = std::collections::BTreeSet::new();
    for node in &nodes {
        for field in [
            "path",
            "data",
            "acl",
            "czxid",
            "mzxid",
            "pzxid",
            "ctime",
            "mtime",
            "version",
            "cversion",
            "aversion",
            "ephemeral_owner",
            "kind",
            "ttl_ms",
        ] {
            assert!(node.get(field).is_some(), "no {field} in {node}");
        }
        let path = node["path"].as_str().unwrap();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        assert!(path == "/" || seen.contains(if parent.is_empty() { "/" } else { parent }), "{path} before its parent");
        assert!(seen.insert(path.to_owned()), "{path} twice");
    }
    assert!(stored.zooark("dump latest:/brokers/ids").ends(0).lines().len() < NODES_AFTER);
}

#[test]
fn comparing() {
    let stored = Stored::new();
    let changes = stored.zooark("diff latest~1 latest --json").ends(0).lines();
    let of = |kind: &str| changes.iter().filter(|change| change["change"] == kind).count();
    assert_eq!((of("created"), of("deleted")), (9, 2));
    let shown = stored.zooark("diff latest~1 latest").ends(0).stdout;
    for line in ["-    /brokers/ids/2", "M    /config/topics/orders", "A    /config/users/alice"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
    }
    stored.zooark("diff latest~1 latest --exit-code").ends(1);
    stored.zooark("diff latest latest --exit-code").ends(0);
    stored.zooark("diff latest datadir:zookeeper --exit-code").ends(0);
    stored.zooark("diff latest~1 datadir:zookeeper --exit-code").ends(1);
    let stat = stored.zooark("diff latest~1 latest --stat --json").ends(0).json();
    assert_eq!((&stat["created"], &stat["deleted"]), (&9.into(), &2.into()));
}

#[test]
fn searching() {
    let stored = Stored::new();
    let versions = stored.zooark("history /controller_epoch --json").ends(0).lines();
    assert_eq!(versions.iter().map(|version| version["node"]["data"].clone()).collect::<Vec<_>>(), ["Nw==", "OA=="]);
    let gone = stored.zooark("history /brokers/ids/2 --json").ends(0).lines();
    assert_eq!(gone.last().unwrap()["exists"], false);
    let found = stored.zooark("find /brokers/ids/2 --json").ends(0).lines();
    assert_eq!((found.len(), &found[0]["snapshots"]), (1, &1.into()));
    assert_eq!(stored.zooark("find /no/such --json").ends(0).stdout, "");
    stored.zooark("stats --json").ends(0).prints("\"snapshots\": 2");
    assert_eq!(stored.zooark("stats latest --json").ends(0).json()["total"]["nodes"], NODES_AFTER);
}

#[test]
fn tags_narrow_what_is_meant() {
    let stored = Stored::new();
    stored.zooark("tag latest~1 --add keep,old").ends(0);
    assert_eq!(stored.zooark("cat --tag keep latest:/controller_epoch").ends(0).stdout, "7");
    assert_eq!(stored.snapshots()[0]["tags"], serde_json::json!(["keep", "old"]));
    stored.zooark("tag latest~1 --remove old").ends(0);
    assert_eq!(stored.snapshots()[0]["tags"], serde_json::json!(["keep"]));
    stored.zooark("tag latest").ends(2).says("--add");
}

#[test]
fn a_filtered_backup_holds_what_was_asked_for_and_what_leads_there() {
    let stored = Stored::empty();
    stored.zooark("backup zookeeper --cluster part --include /brokers/topics/orders --exclude /brokers/topics/orders/partitions").ends(0);
    let paths = stored.zooark("ls -R latest --json").ends(0).lines();
    let paths: Vec<_> = paths.iter().map(|node| node["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/brokers", "/brokers/topics", "/brokers/topics/orders"]);
}

/// An ensemble that went back in time is stored but held back until somebody says it is right.
#[test]
fn a_rolled_back_ensemble_is_suspect_until_accepted() {
    let stored = Stored::new();
    copy_over(&recorded("before"), &stored.home.path("old"));
    let ran = stored.zooark("backup old --cluster prod").ends(5).says("SUSPECT").says("zooark accept");
    assert!(ran.stdout.contains("saved"), "{}", ran.stdout);
    let snapshots = stored.snapshots();
    let suspect = snapshots.iter().find(|snapshot| !snapshot["suspect"].is_null()).unwrap();
    assert_eq!(stored.zooark("cat latest:/controller_epoch").ends(0).stdout, "8");
    let id = suspect["short_id"].as_str().unwrap();
    stored.zooark(&format!("cat {id}:/controller_epoch")).ends(0).prints("7");
    stored.zooark(&format!("accept {id}")).ends(0);
    assert_eq!(stored.zooark("cat latest:/controller_epoch").ends(0).stdout, "7");
    stored.zooark(&format!("accept {id}")).ends(1);
}

#[test]
fn a_restored_directory_holds_the_snapshot_with_every_stat() {
    let stored = Stored::new();
    let ran = stored.zooark("restore latest~1 datadir:restored").ends(0).prints("What to do now").prints("EVERY voter");
    assert!(ran.stdout.contains("ephemeral"), "{}", ran.stdout);
    stored.zooark("backup restored --cluster restored --allow-partial");
    let kept = |line: &str| -> Vec<String> {
        let lines = stored.zooark(line).ends(0).lines();
        let lines = lines.into_iter().filter(|node| node["kind"] != "ephemeral");
        // The server writes this node anew at every start.
        lines.filter(|node| node["path"] != "/zookeeper/config").map(|node| node.to_string()).collect()
    };
    assert!(kept("dump latest~1 --cluster prod").len() > 150);
    let id =
        stored.snapshots().into_iter().find(|s| s["cluster"] == "restored").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(kept(&format!("dump {id}")), kept("dump latest~1 --cluster prod"));
}

#[test]
fn a_restore_refuses_what_is_not_empty_and_never_deletes() {
    let stored = Stored::new();
    copy_over(&recorded("after"), &stored.home.path("target"));
    stored.zooark("restore latest~1 datadir:target").ends(5).says("--force");
    stored.zooark("restore latest~1 datadir:target?log=same --force --dry-run").ends(0).prints("nothing was written");
    assert!(stored.home.path("target/version-2/log.a2").exists());
    stored.zooark("restore latest~1 datadir:target?log=same --force").ends(0).prints("the old directory is now");
    assert_eq!(fs::read_dir(stored.home.path("target/version-2")).unwrap().count(), 1);
    let mut aside = fs::read_dir(stored.home.path("target")).unwrap().map(|entry| entry.unwrap().path());
    let old = aside.find(|path| path.join("log.a2").exists()).expect("the old log is kept");
    assert_eq!(fs::read(old.join("log.a2")).unwrap(), fs::read(recorded("after").join("version-2/log.a2")).unwrap());
}

#[test]
fn dangerous_restores_are_refused() {
    let stored = Stored::new();
    stored.zooark("restore latest datadir:new --bump-epoch off").ends(5).says("--yes-really");
    stored.zooark("restore latest datadir:new --bump-epoch sometimes").ends(2);
    stored.zooark("restore latest zk://localhost:2181").ends(2).says("nobody can be asked");
    stored.zooark("restore latest admin+http://localhost:8080").ends(2).says("--experimental-admin-restore");
    assert!(!stored.home.path("new").exists());
}

#[test]
fn a_part_is_restored_with_what_leads_to_it() {
    let stored = Stored::new();
    let summary = stored.zooark("restore latest:/brokers/topics datadir:part --json").ends(0).lines().pop().unwrap();
    assert_eq!(summary["message_type"], "summary");
    assert_eq!(summary["read_back"], true);
    let changes = stored.zooark("diff latest datadir:part --json").ends(0).lines();
    let topics = |change: &&serde_json::Value| change["path"].as_str().unwrap().starts_with("/brokers/topics");
    assert_eq!(changes.iter().filter(topics).count(), 0);
}

#[test]
fn quiet_leaves_words_out_and_words_never_mix_with_data() {
    let stored = Stored::new();
    assert_eq!(stored.zooark("--quiet snapshots").ends(0).stderr, "");
    assert!(stored.zooark("snapshots").ends(0).stderr.contains("2 snapshots"));
    assert!(!stored.zooark("snapshots").ends(0).stdout.contains("2 snapshots"));
}
