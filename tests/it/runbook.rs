//! `docs/operations/backup-restore.md`: every block marked `sh` runs as written, in order, in one shell.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::run::{Home, copy_over, recorded};

/// Where the runbook lets time pass; the recorded directory then gets its later state.
const LATER: &str = "# A day later:";

#[test]
fn the_runbook_runs_as_written() {
    let home = Home::new();
    copy_over(&recorded("before"), &home.path("zookeeper"));
    std::fs::create_dir(home.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_zooark-under-test"), home.path("bin/zooark")).unwrap();

    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/backup-restore.md");
    let text = std::fs::read_to_string(runbook).unwrap();
    let blocks: Vec<&str> =
        text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 7, "only {} blocks found", blocks.len());
    let script = blocks.join("\n");
    assert!(script.contains(LATER));
    let script = script.replace(LATER, &format!("cp -R '{}/.' \"$ZOOKEEPER\"", recorded("after").display()));

    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-eux", "-c", &script])
        .env_clear()
        .env("PATH", format!("{}:{path}", home.path("bin").display()))
        .env("HOME", home.path("home"))
        .env("ZOOKEEPER", home.path("zookeeper"))
        .env("BACKUPS", home.path("repository"))
        .current_dir(home.path(""))
        .output()
        .unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    for expected in ["What to do now", "restored/version-2/snapshot."] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    // Ephemeral znodes end with their sessions; nothing else may differ from the snapshot.
    assert!(home.path("brokers-only/version-2").is_dir() && home.path("tree.ndjson").metadata().unwrap().len() > 0);
}
