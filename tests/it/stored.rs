//! A repository with two snapshots of the recorded directory, a day apart.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;

use crate::run::{Home, Ran, copy_over, recorded};

/// An encrypted repository at `repository`, opened by `key`, in a home of its own.
pub struct Stored {
    pub home: Home,
}

/// Znodes of the recorded directory's later state.
pub const NODES_AFTER: usize = 169;

impl Stored {
    /// The repository, empty; the directory `zookeeper` holds the earlier state.
    pub fn empty() -> Self {
        let stored = Self { home: Home::new() };
        copy_over(&recorded("before"), &stored.home.path("zookeeper"));
        stored.home.zooark("init --repo repository --new-key-file key").ends(0);
        stored
    }

    /// With a snapshot of each state.
    pub fn new() -> Self {
        let stored = Self::empty();
        stored.zooark("backup zookeeper --cluster prod --host h --time 2025-11-20T10:00Z").ends(0);
        copy_over(&recorded("after"), &stored.home.path("zookeeper"));
        stored.zooark("backup zookeeper --cluster prod --host h --time 2025-11-21T10:00Z").ends(0);
        stored
    }

    /// The program, told where the repository is and how to open it.
    pub fn command(&self) -> Command {
        Command::from_std(self.process())
    }

    /// The same, to be started and not waited for.
    pub fn process(&self) -> std::process::Command {
        let mut process = self.home.process();
        process.env("ZOOARK_REPOSITORY", "repository").env("ZOOARK_KEY_FILE", "key");
        process
    }

    /// The program with this line's arguments, started; what it prints on standard error can be read.
    pub fn spawn(&self, line: &str) -> Child {
        let mut process = self.process();
        process.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        process.spawn().unwrap()
    }

    /// Runs with this line's arguments.
    pub fn zooark(&self, line: &str) -> Ran {
        Ran::of(self.command().args(line.split_whitespace()))
    }

    /// The snapshots as listed, oldest first.
    pub fn snapshots(&self) -> Vec<serde_json::Value> {
        self.zooark("snapshots --json").ends(0).json().as_array().unwrap().clone()
    }

    /// The objects of the repository.
    pub fn objects(&self) -> Vec<PathBuf> {
        files_below(&self.home.path("repository"))
    }
}

/// All files in a directory and below, by path.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

/// The fields of a snapshot's time, place and content, as `snapshots --json` and summaries call them.
pub const SNAPSHOT_FIELDS: [&str; 12] = [
    "time",
    "cluster",
    "host",
    "tags",
    "source",
    "zxid_low",
    "zxid_high",
    "consistency",
    "incomplete",
    "suspect",
    "nodes",
    "raw_bytes",
];
