//! Accounts that may do only some things, with the policies that `docs/security.md` shows, on a server that keeps to them.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};
use testing::stores::Kind;

use super::program::Place;
use crate::run::Ran;
use crate::turn;

/// The policy that is shown for S3, for an account and with further or fewer rights to objects.
fn policy(change: impl Fn(&mut Vec<Value>)) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let text = std::fs::read_to_string(document).unwrap();
    let shown = text.split("**S3**").nth(1).and_then(|rest| rest.split("```json\n").nth(1)).unwrap();
    let shown = shown.split("\n```").next().unwrap().replace("BUCKET", "backups").replace("PREFIX", "prod");
    let mut policy: Value = serde_json::from_str(&shown).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Principal"] = json!({ "AWS": ["host"] });
        if let Some(actions) = statement["Action"].as_array_mut() {
            change(actions);
        }
    }
    policy.to_string()
}

struct Host(Place);

impl Host {
    /// A repository of the owner's, and an account that may do what the policy says.
    fn new(policy: &str) -> Option<Self> {
        let place = Place::new(Kind::Versitygw)?.with_repository();
        place.server.make_account("host", "secret-of-the-host").unwrap();
        place.server.set_policy("backups", policy).unwrap();
        Some(Self(place))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.0.command(line);
        command.env("AWS_ACCESS_KEY_ID", "host").env("AWS_SECRET_ACCESS_KEY", "secret-of-the-host");
        command
    }

    fn zooark(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// Three clusters, so that each has packs of its own.
    fn back_up_three(&self) {
        for cluster in ["one", "two", "three"] {
            self.zooark(&format!("backup zookeeper --cluster {cluster}")).ends(0);
        }
    }

    /// The ids of all snapshots.
    fn ids(&self) -> Vec<String> {
        self.0.snapshots().iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// A host that may not delete backs up, restores and checks; `forget` and `prune` say what the store keeps, and do nothing
/// else amiss: whoever has the right finishes it.
#[test]
fn whoever_may_not_delete_can_do_everything_else() {
    let _turn = turn::of_a_server();
    let Some(host) = Host::new(&policy(|_| ())) else { return };
    host.back_up_three();
    let ids = host.ids();
    let forget = format!("forget {} {} --unsafe-allow-remove-all", ids[0], ids[1]);
    host.zooark(&forget).ends(3).says("the store keeps 2 snapshots that were to go");
    assert_eq!(host.ids(), ids);
    // The owner forgets; what is garbage then stays, and that is said.
    host.0.zooark(&forget).ends(0);
    let refused = host.zooark("prune --grace 0s --json").ends(3);
    let report = refused.json();
    assert!(report["refused"].as_u64().unwrap() > 0 && report["deleted"]["packs"] == 0, "{report}");
    host.zooark("prune --grace 0s").ends(3).prints("PENDING");
    for line in [
        "backup zookeeper --force --cluster three",
        "check --read-data",
        "restore latest datadir:restored",
        "tag latest --add x",
    ] {
        host.zooark(line).ends(0);
    }
    host.0.zooark("prune --grace 0s").ends(0);
    let left = host.0.zooark("prune --grace 0s --dry-run --json").ends(0).json();
    assert_eq!(left["found"], left["needed"]);
    host.zooark("check --read-data --no-cache").ends(0);
}

/// With the right to delete and no more, prune does it all; with the right to read alone, restores and checks work.
#[test]
fn the_policies_for_prune_and_for_restore_are_enough() {
    let _turn = turn::of_a_server();
    let Some(host) = Host::new(&policy(|actions| actions.push("s3:DeleteObject".into()))) else { return };
    host.back_up_three();
    let ids = host.ids();
    host.zooark(&format!("forget {} {} --unsafe-allow-remove-all", ids[0], ids[1])).ends(0);
    let done = host.zooark("prune --grace 0s --json").ends(0).json();
    assert_eq!(done["deleted"]["packs"], 2, "{done}");
    let only_reads = policy(|actions| actions.retain(|action| action != "s3:PutObject"));
    host.0.server.set_policy("backups", &only_reads).unwrap();
    for line in ["check --read-data", "restore latest datadir:restored", "snapshots", "prune --dry-run"] {
        host.zooark(line).ends(0);
    }
    host.zooark("backup zookeeper --force --cluster three").ends(1).says("permission denied");
    host.zooark("check --read-data --no-cache").ends(0);
}

/// In a bucket where everything stays as it was written: what is to go is pending, and all else goes on.
#[test]
fn in_a_bucket_that_keeps_everything_only_deletions_are_pending() {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::Versitygw) else { return };
    place.server.lock_bucket("backups", true).unwrap();
    let host = Host(place.with_repository());
    let owner = |line: &str| host.0.zooark(line);
    for cluster in ["one", "two", "three"] {
        owner(&format!("backup zookeeper --cluster {cluster}")).ends(0);
    }
    let ids = host.ids();
    let forget = format!("forget {} --unsafe-allow-remove-all", ids[0]);
    owner(&forget).ends(3).says("the store keeps 1 snapshots that were to go");
    assert_eq!(host.ids(), ids);

    // What was forgotten before the lock is garbage that stays.
    host.0.server.lock_bucket("backups", false).unwrap();
    owner(&forget).ends(0);
    host.0.server.lock_bucket("backups", true).unwrap();
    for _ in 0..2 {
        let report = owner("prune --grace 0s --json").ends(3).json();
        assert!(report["refused"].as_u64().unwrap() > 0 && report["deleted"]["packs"] == 0, "{report}");
    }
    for line in [
        "backup zookeeper --force --cluster three",
        "check --read-data",
        "check --read-data --no-cache",
        "restore latest datadir:restored",
        "tag latest --add x",
        "tag latest --add y",
    ] {
        owner(line).ends(0);
    }
    owner("key rotate --with-key-file key").ends(1).says("permission denied");
    assert_eq!(host.ids().len(), 3);

    host.0.server.lock_bucket("backups", false).unwrap();
    owner("prune --grace 0s").ends(0);
    let left = owner("prune --grace 0s --dry-run --json").ends(0).json();
    assert_eq!(left["found"], left["needed"]);
    owner("check --read-data --no-cache").ends(0);
}
