//! restic decides about the same times as we do: the rules are its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use engine::retention::{Policy, keep};
use jiff::Timestamp;

/// Over four years: several in an hour, at ends of days, weeks, months and years, and some years apart.
const TIMES: [&str; 30] = [
    "2022-12-31T23:59:59Z",
    "2023-01-01T00:00:00Z",
    "2023-01-02T00:00:00Z",
    "2024-02-28T12:00:00Z",
    "2024-02-29T12:00:00Z",
    "2024-12-29T10:00:00Z",
    "2024-12-30T10:00:00Z",
    "2024-12-31T10:00:00Z",
    "2025-01-01T10:00:00Z",
    "2025-01-05T23:59:59Z",
    "2025-01-06T00:00:00Z",
    "2025-03-31T08:00:00Z",
    "2025-05-31T08:00:00Z",
    "2025-06-30T08:00:00Z",
    "2025-07-31T08:00:00Z",
    "2025-08-01T00:00:00Z",
    "2025-08-01T00:10:00Z",
    "2025-08-01T00:59:59Z",
    "2025-08-01T01:00:00Z",
    "2025-08-02T01:00:00Z",
    "2025-08-03T23:00:00Z",
    "2025-08-04T00:00:00Z",
    "2025-08-29T00:00:00Z",
    "2025-08-30T05:00:00Z",
    "2025-08-31T00:00:00Z",
    "2025-08-31T06:00:00Z",
    "2025-08-31T06:30:00Z",
    "2025-08-31T07:00:00Z",
    "2025-08-31T07:00:01Z",
    "2025-08-31T09:00:00Z",
];

/// restic's flags, which are ours.
const POLICIES: [&str; 22] = [
    "--keep-last 1",
    "--keep-last 7 --keep-yearly 2",
    "--keep-hourly 3",
    "--keep-hourly 100",
    "--keep-daily 4",
    "--keep-daily 12 --keep-hourly 2",
    "--keep-weekly 3",
    "--keep-weekly 60",
    "--keep-monthly 3",
    "--keep-monthly 40",
    "--keep-yearly 2",
    "--keep-yearly 9",
    "--keep-last 2 --keep-hourly 2 --keep-daily 2 --keep-weekly 2 --keep-monthly 2 --keep-yearly 2",
    "--keep-within 1d",
    "--keep-within 2h30d",
    "--keep-within 6m",
    "--keep-within-hourly 3h",
    "--keep-within-daily 1m",
    "--keep-within-weekly 2m1d",
    "--keep-within-monthly 1y",
    "--keep-within-yearly 3y",
    "--keep-within 2h --keep-within-daily 30d --keep-monthly 1",
];

fn policy(flags: &str) -> Policy {
    let mut policy = Policy::default();
    let words: Vec<&str> = flags.split(' ').collect();
    for pair in words.chunks(2) {
        let (flag, value) = (pair[0], pair[1]);
        let (count, span) = (value.parse(), value.parse());
        match flag {
            "--keep-last" => policy.last = count.unwrap(),
            "--keep-hourly" => policy.hourly = count.unwrap(),
            "--keep-daily" => policy.daily = count.unwrap(),
            "--keep-weekly" => policy.weekly = count.unwrap(),
            "--keep-monthly" => policy.monthly = count.unwrap(),
            "--keep-yearly" => policy.yearly = count.unwrap(),
            "--keep-within" => policy.within = span.unwrap(),
            "--keep-within-hourly" => policy.within_hourly = span.unwrap(),
            "--keep-within-daily" => policy.within_daily = span.unwrap(),
            "--keep-within-weekly" => policy.within_weekly = span.unwrap(),
            "--keep-within-monthly" => policy.within_monthly = span.unwrap(),
            "--keep-within-yearly" => policy.within_yearly = span.unwrap(),
            other => panic!("{other}"),
        }
    }
    policy
}

fn restic(home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("restic");
    command.args(["--repo", "repo", "--no-lock"]).args(arguments).current_dir(home);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home).env("TZ", "UTC");
    let output = command.env("RESTIC_PASSWORD", "x").env("RESTIC_PROGRESS_FPS", "0").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn restic_keeps_the_same() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("file"), "x").unwrap();
    let init = Command::new("restic")
        .args(["--repo", "repo", "init"])
        .current_dir(home.path())
        .env("RESTIC_PASSWORD", "x")
        .env("HOME", home.path())
        .output()
        .expect("restic is installed by tests/install-deps.sh");
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    for time in TIMES {
        let time = time.replace('T', " ").replace('Z', "");
        restic(home.path(), &["backup", "--quiet", "--force", "--time", &time, "file"]);
    }
    let times: Vec<Timestamp> = TIMES.iter().rev().map(|time| time.parse().unwrap()).collect();
    let snapshots: Vec<(Timestamp, &[String])> = times.iter().map(|time| (*time, &[][..])).collect();
    for flags in POLICIES {
        let mut arguments = vec!["forget", "--dry-run", "--json"];
        arguments.extend(flags.split(' '));
        let said: serde_json::Value = serde_json::from_str(&restic(home.path(), &arguments)).unwrap();
        let kept = said[0]["keep"].as_array().unwrap().iter().map(|s| s["time"].as_str().unwrap());
        let theirs: BTreeSet<Timestamp> = kept.map(|time| time.parse().unwrap()).collect();
        let reasons = keep(&snapshots, &policy(flags), times[0]);
        let ours = |counts: fn(&String) -> bool| -> BTreeSet<Timestamp> {
            let kept = times.iter().zip(&reasons).filter(|(_, reasons)| reasons.iter().any(counts));
            kept.map(|(time, _)| *time).collect()
        };
        // Debian's restic (0.14) does not fill a rule that has room with the oldest snapshot; later ones do.
        let fills = ours(|_| true) == theirs;
        assert!(
            fills || ours(|reason| !reason.starts_with("oldest")) == theirs,
            "{flags}: {theirs:?}, we: {reasons:?}"
        );
    }
}
