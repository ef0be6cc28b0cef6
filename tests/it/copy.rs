//! `copy`: snapshots in a second repository, with other keys and ids or with the same, once and only once.

use std::collections::BTreeSet;
use std::fs;

use rstest::rstest;
use serde_json::Value;

use crate::run::{Ran, copy_over, recorded};
use crate::stored::{SNAPSHOT_FIELDS, Stored, files_below};

/// Makes a second repository: one that shares content ids, or a stranger.
fn second(stored: &Stored, like: bool) {
    let like = if like { " --like repository --like-key-file key" } else { "" };
    Ran::of(stored.home.command().args(format!("init --repo second --new-key-file other{like}").split_whitespace()))
        .ends(0);
}

fn copy(stored: &Stored, more: &str) -> Ran {
    stored.zooark(&format!("copy --to-repo second --to-key-file other {more}"))
}

fn there(stored: &Stored, line: &str) -> Ran {
    stored.home.zooark(&format!("{line} --repo second --key-file other"))
}

fn list(stored: &Stored) -> Vec<Value> {
    there(stored, "snapshots --json").ends(0).json().as_array().unwrap().clone()
}

fn packs(stored: &Stored, repository: &str) -> Vec<(String, u64)> {
    let folder = stored.home.path(repository).join("packs");
    if !folder.exists() {
        return Vec::new();
    }
    files_below(&folder).iter().map(|path| (path.display().to_string(), path.metadata().unwrap().len())).collect()
}

#[rstest]
#[case::that_shares_ids(true)]
#[case::of_a_stranger(false)]
fn a_copy_is_the_snapshot_in_all_but_its_id(#[case] like: bool) {
    let stored = Stored::new();
    second(&stored, like);
    let originals = stored.snapshots();
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    stored.zooark(&format!("tag {} --add nightly", id(&originals[0]))).ends(0);
    stored.zooark(&format!("protect {} --until 2099-01-01", id(&originals[1]))).ends(0);
    stored.zooark("verify latest").ends(0);
    let originals = stored.snapshots();
    let before = packs(&stored, "second");
    copy(&stored, "--dry-run").ends(0).prints("2 snapshots would be copied");
    assert_eq!(packs(&stored, "second"), before);

    let summary = copy(&stored, "--json").ends(0).lines().pop().unwrap();
    assert_eq!((summary["copied"].as_array().unwrap().len(), &summary["present"]), (2, &Value::from(0)));
    assert_eq!(summary["shares_ids"], Value::from(like));
    let copies = list(&stored);
    assert_eq!(copies.len(), 2);
    for (original, copied) in originals.iter().zip(&copies) {
        for field in SNAPSHOT_FIELDS.into_iter().chain(["protected_until"]) {
            assert_eq!(original[field], copied[field], "{field}");
        }
        assert_ne!(original["id"], copied["id"]);
        assert_eq!(original["state_digest"] == copied["state_digest"], like);
        assert_eq!(copied["verified_at"], Value::Null, "a copy was not verified yet");
        let dump = |ran: Ran| ran.ends(0).stdout;
        let right = dump(stored.zooark(&format!("dump {}", id(original))));
        assert_eq!(dump(there(&stored, &format!("dump {}", id(copied)))), right);
        there(&stored, &format!("verify {}", id(copied))).ends(0);
    }
    there(&stored, "check --read-data").ends(0);
    // Chunks are there once: about what the first repository needs.
    let bytes = |repository: &str| packs(&stored, repository).iter().map(|(_, size)| size).sum::<u64>();
    let (here, other) = (bytes("repository"), bytes("second"));
    assert!(other < here + here / 4, "{other} bytes for {here}");
    assert!(packs(&stored, "second").len() <= packs(&stored, "repository").len());

    // Again: nothing to do, nothing written.
    let before = packs(&stored, "second");
    copy(&stored, "").ends(0).prints("0 snapshots copied, 2 were there already");
    assert_eq!(packs(&stored, "second"), before);

    // A backup into the second goes on from the copies, and one more copy from the first is no parent of it.
    fs::write(stored.home.path("letter"), "x").unwrap();
    let next = there(&stored, "backup zookeeper --cluster prod --host h --force --json").ends(0);
    let summary = next.lines().pop().unwrap();
    assert_eq!(summary["parent_id"], copies[1]["id"]);
    assert_eq!(summary["nodes_changed"], Value::from(0));
    there(&stored, "check --read-data").ends(0);
}

#[test]
fn what_is_copied_can_be_chosen() {
    let stored = Stored::new();
    stored.zooark("backup zookeeper --cluster test --tag a --time 2025-11-19").ends(0);
    second(&stored, true);
    copy(&stored, "--last 1 --cluster prod").ends(0).prints("1 snapshots copied");
    assert_eq!(list(&stored)[0]["time"], stored.snapshots()[2]["time"]);
    copy(&stored, "--tag a").ends(0).prints("1 snapshots copied");
    // The older one of the same lineage: it must not become what the next backup builds upon.
    let oldest = stored.snapshots()[1]["id"].as_str().unwrap().to_owned();
    copy(&stored, &oldest).ends(0).prints("1 snapshots copied");
    assert_eq!(list(&stored).len(), 3);
    let newest = list(&stored).into_iter().find(|s| s["time"] == stored.snapshots()[2]["time"]).unwrap();
    let next = there(&stored, "backup zookeeper --cluster prod --host h --force --json").ends(0);
    assert_eq!(next.lines().pop().unwrap()["parent_id"], newest["id"]);
    there(&stored, "check --read-data").ends(0);
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let stored = Stored::new();
    second(&stored, false);
    stored.zooark("copy --to-repo repository --to-key-file key").ends(2).says("itself");
    stored.zooark("copy --to-repo second --to-key-file key").ends(12);
    stored.zooark("copy --to-repo nowhere --to-key-file key").ends(10);
    let pack = stored.objects().into_iter().find(|path| path.to_string_lossy().contains("/packs/")).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[100] ^= 1;
    fs::write(&pack, bytes).unwrap();
    stored.zooark("--no-cache copy --to-repo second --to-key-file other").ends(4);
    assert_eq!(list(&stored).len(), 0, "damage is not copied");
}

/// Killed at any moment, a copy leaves whole snapshots, and the next run copies the rest.
#[rstest]
#[case::that_shares_ids(true)]
#[case::of_a_stranger(false)]
fn a_killed_copy_goes_on(#[case] like: bool) {
    let stored = Stored::new();
    for n in 0..10 {
        copy_over(&recorded(if n % 2 == 0 { "before" } else { "after" }), &stored.home.path("zookeeper"));
        let line = format!("backup zookeeper --cluster c{n} --time 2025-12-01T10:{n:02}");
        stored.zooark(&line).ends(0);
    }
    second(&stored, like);
    let mut killed = 0;
    for round in 0..12_u64 {
        let mut child = stored.spawn("copy --to-repo second --to-key-file other");
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        there(&stored, "--no-cache check --read-data").ends(0);
    }
    assert!(killed > 0, "every copy was faster than its death");
    copy(&stored, "").ends(0);
    let copies = list(&stored);
    let times: BTreeSet<String> = copies.iter().map(|s| s["time"].to_string()).collect();
    assert_eq!((copies.len(), times.len()), (12, 12), "each once");
    there(&stored, "check --read-data").ends(0);
}
