//! Forgetting by policy and by id, and what may not be forgotten.

use serde_json::Value;

use crate::bed::age;
use crate::run::{Home, recorded};
use crate::stored::Stored;

/// Snapshots of these times, oldest first, of the recorded directory at two moments in turn.
fn repository(times: &[&str]) -> (Home, Vec<String>) {
    let home = Home::new();
    home.zooark("init --repo repo --new-key-file key").ends(0);
    let mut ids = Vec::new();
    for (i, time) in times.iter().enumerate() {
        let source = format!("datadir:{}", recorded(if i % 2 == 0 { "before" } else { "after" }).display());
        let line = ["backup", &source, "--time", time, "--force", "--json", "--max-shrink", "1"];
        let ran = home.run(line.into_iter().chain(ACCESS)).one_of(&[0, 5]);
        let id = ran.lines().last().unwrap()["snapshot_id"].as_str().unwrap().to_owned();
        if ran.code == 5 {
            home.run(["accept", &id].into_iter().chain(ACCESS)).ends(0);
        }
        ids.push(id);
    }
    (home, ids)
}

const ACCESS: [&str; 4] = ["--repo", "repo", "--key-file", "key"];

fn zooark(home: &Home, line: &str) -> crate::run::Ran {
    home.run(line.split_whitespace().chain(ACCESS))
}

fn left(home: &Home) -> Vec<String> {
    let listed = zooark(home, "snapshots --json").ends(0).json();
    listed.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

fn ids(report: &Value, what: &str) -> Vec<String> {
    let groups = report["groups"].as_array().unwrap();
    let of = groups.iter().flat_map(|group| group[what].as_array().unwrap());
    of.map(|decision| decision["id"].as_str().unwrap().to_owned()).collect()
}

const TIMES: [&str; 4] =
    ["2026-03-01T10:00:00Z", "2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z", "2026-03-03T10:00:00Z"];

#[test]
fn a_policy_forgets_what_no_rule_keeps_and_what_is_left_restores() {
    let (home, all) = repository(&TIMES);
    let dry = zooark(&home, "forget --keep-daily 2 --dry-run --json").ends(0).json();
    assert_eq!(ids(&dry, "keep"), [all[3].clone(), all[2].clone()]);
    assert_eq!(ids(&dry, "remove"), [all[1].clone(), all[0].clone()]);
    assert_eq!(dry["groups"][0]["keep"][0]["reasons"][0], "daily snapshot");
    assert_eq!(left(&home), all, "a dry run changes nothing");
    zooark(&home, "forget --keep-daily 2").ends(0).says("2 snapshots forgotten");
    assert_eq!(left(&home), all[2..]);
    zooark(&home, "check --read-data").ends(0);
    for (i, id) in all[2..].iter().enumerate() {
        zooark(&home, &format!("restore {id} datadir:out{i}")).ends(0);
    }
    zooark(&home, &format!("cat {}:/", all[0])).ends(1).says("no snapshot");
    zooark(&home, "forget --keep-daily 2").ends(0);
    assert_eq!(left(&home), all[2..], "what is kept once is kept again");
}

#[test]
fn named_snapshots_go_unless_something_holds_them() {
    let (home, all) = repository(&TIMES[..3]);
    zooark(&home, &format!("protect {} --until 30d", all[0])).ends(0).prints("not protected ->");
    zooark(&home, &format!("forget {}", all[0])).ends(5).says("protected until");
    zooark(&home, "forget --keep-last 1").ends(0);
    assert_eq!(left(&home), [all[0].clone(), all[2].clone()], "protection outlives a policy");
    zooark(&home, &format!("unprotect {}", all[0])).ends(0);
    zooark(&home, &format!("forget {} --dry-run", all[0])).ends(0).says("dry run");
    zooark(&home, &format!("forget {}", all[0])).ends(0);
    zooark(&home, &format!("forget {}", all[2])).ends(5).says("--unsafe-allow-remove-all");
    zooark(&home, "forget --keep-tag none").ends(0);
    assert_eq!(left(&home), all[2..]);
    zooark(&home, &format!("forget {} --unsafe-allow-remove-all", all[2])).ends(0);
    assert!(left(&home).is_empty());
    // The number of what was forgotten is not used again.
    let source = format!("datadir:{}", recorded("before").display());
    zooark(&home, &format!("backup {source}")).ends(0);
    let listed = zooark(&home, "snapshots --json").ends(0).json();
    assert!(listed[0]["seq"].as_u64().unwrap() > 3, "{listed}");
}

#[test]
fn a_verified_snapshot_says_when_and_a_damaged_one_is_no_such() {
    let (home, all) = repository(&TIMES[..2]);
    let verified = zooark(&home, "verify latest latest~1 --json --no-cache").ends(0).json();
    let listed = zooark(&home, "snapshots --json").ends(0).json();
    for (at, place) in [(0, 1), (1, 0)] {
        assert_eq!(verified[at]["snapshot_id"], all[place].as_str());
        assert_eq!(verified[at]["nodes"], listed[place]["nodes"]);
        assert_eq!(verified[at]["state_digest"], listed[place]["state_digest"]);
        assert!(listed[place]["verified_at"].is_string(), "{listed}");
    }
    let months = std::fs::read_dir(home.path("repo/packs")).unwrap().flatten();
    let packs: Vec<_> = months.flat_map(|month| std::fs::read_dir(month.path()).unwrap().flatten()).collect();
    for pack in packs {
        let mut bytes = std::fs::read(pack.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(pack.path(), bytes).unwrap();
    }
    zooark(&home, "verify latest --no-cache").ends(4);
}

#[test]
fn what_makes_no_sense_forgets_nothing() {
    let (home, all) = repository(&TIMES[..1]);
    zooark(&home, "forget").ends(2).says("--keep-daily");
    zooark(&home, "forget latest --keep-last 1").ends(2);
    zooark(&home, "forget --keep-within 3weeks").ends(2);
    zooark(&home, "forget --keep-last -1").ends(2);
    zooark(&home, "forget ffffffff").ends(1);
    zooark(&home, &format!("protect {} --until 2020-01-01", all[0])).ends(2).says("passed");
    assert_eq!(left(&home), all);
}

/// `--prune` goes on as `prune` would: what was condemned long ago goes, what only the forgotten snapshot needed is condemned.
#[test]
fn forgetting_and_pruning_in_one_run() {
    let stored = Stored::new();
    for cluster in ["one", "two"] {
        stored.zooark(&format!("backup zookeeper --full --cluster {cluster}")).ends(0);
    }
    stored.zooark("forget latest --cluster one --unsafe-allow-remove-all").ends(0);
    age(&stored);
    stored.zooark("prune").ends(0);
    age(&stored);
    let before = stored.objects();
    let line = "forget latest --cluster two --unsafe-allow-remove-all --prune --json";
    let planned = stored.zooark(&format!("{line} --dry-run")).ends(0).json();
    assert_eq!((&planned["forgotten"], &planned["prune"]["deleted"]["packs"]), (&0.into(), &1.into()), "{planned}");
    assert_eq!(stored.objects(), before);
    let done = stored.zooark(line).ends(0).json();
    assert_eq!((&done["forgotten"], &done["prune"]["deleted"]["packs"]), (&1.into(), &1.into()), "{done}");
    assert_eq!(done["prune"]["condemned"]["packs"], 1, "{done}");
    assert_eq!(stored.snapshots().len(), 2);
    stored.zooark("check --read-data --no-cache").ends(0);
    age(&stored);
    let done = stored.zooark("prune --json").ends(0).json();
    assert_eq!(done["deleted"]["packs"], 1, "{done}");
}
