//! A repository with two snapshots of the recorded directory, a day apart.

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
        let mut command = self.home.command();
        command.env("ZOOARK_REPOSITORY", "repository").env("ZOOARK_KEY_FILE", "key");
        command
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
    pub fn objects(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.path("repository")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found.sort();
        found
    }
}
