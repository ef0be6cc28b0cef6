//! `restore --once`, as the container before a server runs it: again and again, and dying in between.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use rstest::rstest;
use serde_json::Value;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::Tree;

use crate::run::{Ran, copy_over, recorded};
use crate::stored::{Stored, files_below};

/// The command's line for a member whose directory has its name.
fn line(number: u64, member: &str) -> String {
    format!("restore latest datadir:{member} --cluster prod --once {number} --member {member}")
}

fn once(stored: &Stored, number: u64, member: &str) -> Value {
    let ran = stored.zooark(&format!("{} --json", line(number, member))).ends(0);
    ran.lines().pop().unwrap()
}

/// The one file of a restored directory: name and bytes.
fn file(stored: &Stored, member: &str) -> (String, Vec<u8>) {
    let found = files_below(&stored.home.path(member).join("version-2"));
    assert_eq!(found.len(), 1, "{found:?}");
    (found[0].file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&found[0]).unwrap())
}

fn records(stored: &Stored) -> Vec<PathBuf> {
    stored.objects().into_iter().filter(|path| path.to_string_lossy().contains("/restored/")).collect()
}

#[test]
fn each_decision_is_said_in_words_and_in_json() {
    let stored = Stored::new();
    let dry = stored.zooark(&format!("{} --json --dry-run", line(1, "zk-0"))).ends(0).lines().pop().unwrap();
    assert_eq!((&dry["decision"], &dry["dry_run"]), (&"restored".into(), &true.into()));
    assert!(dry["restore"]["nodes"].as_u64().unwrap() > 100 && dry["restore"]["file"].is_null(), "{dry}");
    assert!(!stored.home.path("zk-0").exists() && records(&stored).is_empty());

    let done = once(&stored, 1, "zk-0");
    assert_eq!(done["message_type"], "summary");
    let said = ["decision", "number", "cluster", "member"].map(|field| done[field].clone());
    assert_eq!(said, ["restored".into(), 1.into(), Value::from("prod"), "zk-0".into()]);
    assert_eq!(done["restore"]["read_back"], true);
    assert_eq!(done["snapshot_id"], stored.snapshots()[1]["id"]);
    assert_eq!(done["file_zxid"], done["restore"]["file_zxid"]);
    assert_eq!(records(&stored).len(), 2, "what is restored, and who was");
    assert_eq!(once(&stored, 1, "zk-0")["decision"], "already-done");
    stored.zooark(&line(1, "zk-0")).ends(0).prints("was restored for number 1").prints("nothing was restored");
    stored.zooark(&line(2, "zk-0")).ends(0).prints("raised from 1 to 2").prints("the old directory is now");

    fs::remove_dir_all(stored.home.path("zk-0")).unwrap();
    assert_eq!(once(&stored, 2, "zk-0")["decision"], "volume-replaced");
    assert!(!stored.home.path("zk-0/version-2").exists());

    copy_over(&recorded("before"), &stored.home.path("zk-1"));
    let present = once(&stored, 2, "zk-1");
    assert_eq!(present["decision"], "data-present");
    assert!(present["reason"].as_str().unwrap().contains("stay") && present["restore"].is_null(), "{present}");
    assert!(!stored.home.path("zk-1/zooark-restore").exists());
}

/// A server must be able to start again while the store is away.
#[test]
fn what_the_directory_settles_is_settled_without_the_repository() {
    let stored = Stored::new();
    once(&stored, 1, "zk-0");
    copy_over(&recorded("before"), &stored.home.path("zk-1"));
    fs::rename(stored.home.path("repository"), stored.home.path("away")).unwrap();
    assert_eq!(once(&stored, 1, "zk-0")["decision"], "already-done");
    assert_eq!(once(&stored, 1, "zk-1")["decision"], "data-present");
    stored.zooark(&line(2, "zk-0")).ends(10);
    stored.zooark(&line(1, "zk-2")).ends(10);
    assert!(!stored.home.path("zk-2").exists());
}

#[rstest]
#[case::no_member("restore latest datadir:new --once 1", "--member")]
#[case::no_number("restore latest datadir:new --member zk-0", "--once")]
#[case::zero("restore latest datadir:new --once 0 --member zk-0", "0")]
#[case::no_name("restore latest datadir:new --once 1 --member=", "--member")]
#[case::an_ensemble("restore latest zk://localhost:1 --once 1 --member zk-0", "data directory")]
#[case::an_admin_server("restore latest admin+http://localhost:1 --once 1 --member zk-0", "data directory")]
#[case::a_path("restore latest:/brokers datadir:new --once 1 --member zk-0", "whole snapshots")]
#[case::a_filter("restore latest datadir:new --once 1 --member zk-0 --exclude /brokers", "whole snapshots")]
#[case::another_filter("restore latest datadir:new --once 1 --member zk-0 --include /brokers", "whole snapshots")]
#[case::force("restore latest datadir:new --once 1 --member zk-0 --force", "--force")]
#[case::a_live_flag("restore latest datadir:new --once 1 --member zk-0 --delete", "--delete")]
fn what_makes_no_sense_with_it_is_refused(#[case] line: &str, #[case] words: &str) {
    let stored = Stored::new();
    stored.zooark(line).ends(2).says(words);
    assert!(!stored.home.path("new").exists() && records(&stored).is_empty());
}

#[test]
fn another_snapshot_needs_another_number() {
    let stored = Stored::new();
    once(&stored, 1, "zk-0");
    let other = line(1, "zk-1").replace("latest", "latest~1");
    stored.zooark(&other).ends(5).says("raise the number");
    assert!(!stored.home.path("zk-1").exists());
    // Where it is done, a start of the server does not fail for that.
    let again = stored.zooark(&line(1, "zk-0").replace("latest", "latest~1")).ends(0);
    again.says("raise the number").prints("nothing was restored");
    stored.zooark(&line(2, "zk-1").replace("latest", "latest~1")).ends(0);
    stored.zooark(&line(2, "zk-0")).ends(5).says("latest~1").says("raise the number");
    assert_eq!(once(&stored, 3, "zk-0")["decision"], "restored");
}

#[test]
fn a_marker_that_says_nothing_is_not_guessed_at() {
    let stored = Stored::new();
    once(&stored, 1, "zk-0");
    fs::write(stored.home.path("zk-0/zooark-restore"), "{").unwrap();
    stored.zooark(&line(1, "zk-0")).ends(5).says("zk-0/zooark-restore").says("move it away");
    stored.zooark(&line(2, "zk-0")).ends(5);
}

/// Members that begin at the same moment, each looking up `latest` itself.
#[test]
fn members_that_begin_together_get_the_same_file() {
    let stored = Stored::new();
    let members = ["zk-0", "zk-1", "zk-2"];
    let all: Vec<_> = members
        .iter()
        .map(|member| {
            let mut process = stored.process();
            process.args(line(1, member).split_whitespace()).stdin(Stdio::null());
            process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in all {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let files = members.map(|member| file(&stored, member));
    assert!(files[0] == files[1] && files[1] == files[2]);
    assert_eq!(records(&stored).len(), 4);
}

/// Killed before and after each request to the store, and between the system calls of each write there.
#[test]
fn a_death_anywhere_ends_with_the_same_file() {
    let stored = Stored::new();
    once(&stored, 1, "right");
    let right = file(&stored, "right");
    let stride = if testing::server::long() { 1 } else { 3 };
    let (mut deaths, mut states) = (0, std::collections::BTreeSet::new());
    for step in (1_u64..).step_by(stride) {
        // A number and a directory of its own: nothing of what an earlier death left helps this one.
        let (number, member) = (step + 1, format!("zk-{step}"));
        let place = stored.home.path("place");
        let _ = fs::remove_file(&place);
        let mut command = stored.command();
        command.args(line(number, &member).split_whitespace());
        command.env("ZOOARK_TEST_DIE_AT", step.to_string()).env("ZOOARK_TEST_DIED_AT", &place);
        let ran = Ran::of(&mut command);
        let Ok(place) = fs::read_to_string(&place) else {
            assert_eq!(ran.code, 0, "{ran:?}");
            break;
        };
        deaths += 1;
        let marker = fs::read(stored.home.path(&member).join("zooark-restore")).ok();
        let marker: Option<Value> = marker.map(|text| serde_json::from_slice(&text).unwrap());
        states.insert(marker.map(|marker| marker["state"].as_str().unwrap().to_owned()));
        let next = once(&stored, number, &member);
        assert_eq!(next["decision"], "restored", "step {step}, {place}: {next}");
        assert_eq!(file(&stored, &member), right, "step {step}, {place}");
        assert_eq!(once(&stored, number, &member)["decision"], "already-done", "step {step}, {place}");
    }
    assert!(deaths > 5, "{deaths} deaths");
    assert!(states.len() >= 2, "{states:?}");
    stored.zooark("check --read-data").ends(0);
}

/// Killed while the file is written: more than one crash, and one more copy aside for none of them.
#[test]
fn a_death_while_it_writes_ends_with_the_same_file() {
    let stored = Stored::empty();
    let source = stored.home.path("large");
    EvolvingDir::create(&source, Tree::build(20_000, 1), Setup::default()).unwrap();
    stored.zooark("backup large --cluster prod").ends(0);
    once(&stored, 1, "right");
    let right = file(&stored, "right");
    let marker = stored.home.path("zk-0/zooark-restore");
    let mut killed = 0;
    for number in 1..8 {
        let mut child = stored.spawn(&line(number, "zk-0"));
        let began = || -> bool {
            let said = fs::read(&marker).unwrap_or_default();
            serde_json::from_slice::<Value>(&said).is_ok_and(|said| said["number"] == number)
        };
        while child.try_wait().unwrap().is_none() && !began() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let said: Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
        killed += u32::from(said["state"] == "started");
        let next = once(&stored, number, "zk-0");
        assert!(next["decision"] == "restored" || said["state"] == "done", "{next}");
        assert_eq!(file(&stored, "zk-0").1, right.1, "number {number}");
    }
    assert!(killed > 0, "none was killed while it wrote");
}

/// Nothing that maintains a repository takes the records for garbage, and damage to one is found and said.
#[test]
fn maintenance_knows_the_records() {
    let stored = Stored::new();
    once(&stored, 1, "zk-0");
    let before = records(&stored);
    stored.zooark("prune --grace 0s").ends(0);
    stored.zooark("repair index").ends(0);
    stored.zooark("repair snapshots").ends(0);
    stored.zooark("check --read-data").ends(0);
    stored.home.zooark("init --repo second --new-key-file other").ends(0);
    stored.zooark("copy --to-repo second --to-key-file other --cluster prod").ends(0);
    assert!(!stored.home.path("second/restored").exists());
    // What is restored is protected: other members need it.
    stored.zooark("forget --cluster prod --keep-last 1 --prune").ends(0);
    assert_eq!(records(&stored), before);
    for path in &before {
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
        let name = path.strip_prefix(stored.home.path("repository")).unwrap().display().to_string();
        stored.zooark("check").ends(4).prints(&name).prints("a higher number");
        // The choice is needed by a member that comes later, the member's own record by its new volume.
        let member = if name.ends_with("choice") { "zk-9" } else { "zk-0" };
        let _ = fs::rename(stored.home.path("zk-0"), stored.home.path("kept"));
        stored.zooark(&line(1, member)).ends(4).says(&name);
        assert!(!stored.home.path(member).exists());
        let _ = fs::rename(stored.home.path("kept"), stored.home.path("zk-0"));
        assert_eq!(once(&stored, 1, "zk-0")["decision"], "already-done");
        fs::write(path, whole).unwrap();
    }
    stored.zooark("check").ends(0);
}
