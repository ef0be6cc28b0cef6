//! The program on each kind of store: what it writes, with how many requests, and what comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use rstest::rstest;
use serde_json::Value;
use testing::stores::{Kind, StoreServer};

use super::started;
use crate::run::{Home, Ran, copy_over, recorded};
use crate::turn;

/// A server with an empty bucket, and a home with the recorded directory's earlier state in `zookeeper`.
pub(super) struct Place {
    pub(super) server: StoreServer,
    pub(super) home: Home,
    url: String,
}

impl Place {
    pub(super) fn new(kind: Kind) -> Option<Self> {
        let server = started(kind)?;
        let url = format!("{}://backups/prod", server.scheme());
        Some(Self { server, home: Home::new(), url }.with_source("before"))
    }

    pub(super) fn at(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    /// With a repository.
    pub(super) fn with_repository(self) -> Self {
        self.zooark("init --new-key-file key").ends(0);
        self
    }

    pub(super) fn with_source(self, moment: &str) -> Self {
        copy_over(&recorded(moment), &self.home.path("zookeeper"));
        self
    }

    /// The arguments of a line and, after the command's name, those that lead to the store.
    fn arguments(&self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut arguments: Vec<String> = words.by_ref().take(1).collect();
        for (key, value) in self.server.options() {
            arguments.extend(["-o".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(words);
        arguments
    }

    /// The program with these arguments, told where the repository is and how to open it.
    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = self.home.command();
        command.env("ZOOARK_REPOSITORY", &self.url).envs(self.server.environment()).args(self.arguments(line));
        if !line.starts_with("init") {
            command.env("ZOOARK_KEY_FILE", "key");
        }
        command
    }

    pub(super) fn zooark(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// The program, started and not waited for.
    pub(super) fn spawn(&self, line: &str) -> std::process::Child {
        let mut process = Process::new(env!("CARGO_BIN_EXE_zooark-under-test"));
        process
            .args(self.arguments(line))
            .current_dir(self.home.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        process.env("ZOOARK_REPOSITORY", &self.url).env("ZOOARK_KEY_FILE", "key").envs(self.server.environment());
        process.env("XDG_CACHE_HOME", self.home.path("cache")).spawn().unwrap()
    }

    /// The last line of a command with `--json`.
    pub(super) fn summary(&self, line: &str) -> Value {
        self.zooark(&format!("{line} --json")).ends(0).lines().pop().unwrap()
    }

    pub(super) fn snapshots(&self) -> Vec<Value> {
        self.zooark("snapshots --json").ends(0).json().as_array().unwrap().clone()
    }

    /// Every node of a snapshot that outlives its session and a start of the server, with its stat, data and ACL.
    fn lasting_nodes(&self, snapshot: &str) -> Vec<Value> {
        let nodes = self.zooark(&format!("dump {snapshot}")).ends(0).lines().into_iter();
        nodes.filter(|node| node["kind"] != "ephemeral" && node["path"] != "/zookeeper/config").collect()
    }

    /// How many requests of each kind the server has answered since `earlier`, by the S3 name of the operation.
    fn requests_since(&self, earlier: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.server.requests().unwrap().iter().skip(earlier) {
            let operation = line.split_whitespace().find(|word| word.starts_with("s3_")).unwrap_or(line);
            *counts.entry(operation.to_owned()).or_default() += 1;
        }
        counts
    }
}

#[rstest]
#[case::s3(Kind::Versitygw, "s3://backups/prod")]
#[case::obs(Kind::Versitygw, "obs://backups/prod")]
#[case::gs(Kind::FakeGcs, "gs://backups/prod")]
#[case::az(Kind::Azurite, "az://backups/prod")]
fn backups_come_back_whole(#[case] kind: Kind, #[case] url: &str) {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(kind) else { return };
    let place = place.at(url).with_repository();
    let first = place.summary("backup zookeeper --cluster prod");
    assert_eq!((&first["method"], &first["objects_written"]), (&"full".into(), &2.into()));
    let place = place.with_source("after");
    let second = place.summary("backup zookeeper --cluster prod");
    assert_eq!((&second["method"], &second["objects_written"]), (&"log".into(), &2.into()));
    assert_eq!(second["parent_id"], first["snapshot_id"]);
    assert_eq!(place.snapshots().len(), 2);
    place.zooark("check --read-data").ends(0);
    place.zooark("check --read-data --no-cache").ends(0);

    for (reference, directory) in [("latest~1", "earlier"), ("latest", "later")] {
        place.zooark(&format!("restore {reference} datadir:{directory} --cluster prod")).ends(0);
        let copy = place.summary(&format!("backup {directory} --cluster {directory}"));
        let nodes = place.lasting_nodes(&format!("{reference} --cluster prod"));
        assert!(nodes.len() > 150, "{} nodes", nodes.len());
        assert_eq!(place.lasting_nodes(copy["snapshot_id"].as_str().unwrap()), nodes);
    }
}

/// A backup with a warm cache: two PUTs, four GETs and no LIST, as the server counts them.
#[test]
fn a_backup_with_a_warm_cache_asks_for_little() {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::Versitygw) else { return };
    let place = place.with_repository();
    place.zooark("backup zookeeper").ends(0);
    let place = place.with_source("after");
    let earlier = place.server.requests().unwrap().len();
    assert!(earlier > 0, "the server writes down its requests");
    let summary = place.summary("backup zookeeper");
    assert_eq!((&summary["method"], &summary["objects_written"]), (&"log".into(), &2.into()));
    // The HEAD looks for a condemned list that came while the backup ran.
    let expected = [("s3_PutObject", 2), ("s3_GetObject", 4), ("s3_HeadObject", 1)];
    assert_eq!(place.requests_since(earlier), expected.map(|(name, count)| (name.to_owned(), count)).into());
    // Nothing changed: nothing is written.
    let earlier = place.server.requests().unwrap().len();
    assert!(place.summary("backup zookeeper")["snapshot_id"].is_null());
    assert!(place.requests_since(earlier).keys().all(|name| name == "s3_GetObject"));
}

/// Where a store ignores the condition of a create, `init` says what that means, and backups go on.
#[test]
fn on_a_store_that_ignores_the_condition_both_of_two_backups_stand() {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::CarelessGcs) else { return };
    place.zooark("init --new-key-file key").ends(0).says("does not create objects exclusively");
    place.zooark("backup zookeeper").ends(0);
    let place = place.with_source("after");
    let both = [place.spawn("backup zookeeper --no-cache"), place.spawn("backup zookeeper --no-cache")];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!((2..=3).contains(&place.snapshots().len()));
    place.zooark("check --read-data").ends(0);
    for snapshot in place.snapshots() {
        place.zooark(&format!("dump {}", snapshot["id"].as_str().unwrap())).ends(0);
    }
}

/// `docs/operations/backup-restore.md`, "Object stores": the block of each kind runs as written but for the endpoint.
#[rstest]
#[case("s3", Kind::Versitygw, &["https://s3.example.com"])]
#[case("obs", Kind::Versitygw, &["https://obs.example.com"])]
#[case("gs", Kind::FakeGcs, &["http://127.0.0.1:4443"])]
#[case("az", Kind::Azurite, &["http://127.0.0.1:10000/devstoreaccount1"])]
fn the_documented_examples_run(#[case] name: &str, #[case] kind: Kind, #[case] endpoints: &[&str]) {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(kind) else { return };
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/backup-restore.md");
    let text = std::fs::read_to_string(runbook).unwrap();
    let block = text.split(&format!("\n```sh {name}\n")).nth(1).and_then(|rest| rest.split("\n```").next());
    let mut script = block.unwrap_or_else(|| panic!("no block for {name}")).to_owned();
    for endpoint in endpoints {
        assert!(script.contains(endpoint), "{endpoint} is not in:\n{script}");
        script = script.replace(endpoint, &place.server.endpoint());
    }
    std::fs::create_dir(place.home.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_zooark-under-test"), place.home.path("bin/zooark")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.args(["-eux", "-c", &script]).env_clear().envs(place.server.environment());
    shell.env("PATH", format!("{}:{path}", place.home.path("bin").display())).env("HOME", place.home.path("home"));
    shell.env("ZOOKEEPER", place.home.path("zookeeper")).current_dir(place.home.path(""));
    Ran::of(&mut shell).ends(0).prints("saved");
}
