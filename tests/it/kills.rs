//! Processes that die: as `kill -9` does it, at each step of each command in turn, and as a power failure does, after which
//! what was not synced is gone.
//!
//! The program under test dies where `ZOOARK_TEST_DIE_AT` says (see `repository::backend::faults::step`): before and after each
//! request, and between the system calls of a local write. After each death the next command works, `check`
//! finds no damage, every snapshot that was there restores, and what was interrupted can be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

use crate::run::{Ran, copy_over};
use crate::stored::Stored;

/// What a death leaves to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Everything the process did is there.
    Kill,
    /// A name that was given and not synced is gone, files that were being written are empty, and deletions that were not
    /// synced did not happen.
    PowerLoss,
}

/// A repository to die in: prepared once, copied for each death.
struct Bed {
    stored: Stored,
    /// The snapshots that must be there after every death: id and dump.
    kept: BTreeMap<String, String>,
}

impl Bed {
    /// Snapshots, notes, a password's slot besides the key's, garbage that may be condemned at once.
    fn new() -> Self {
        let stored = Stored::new();
        fs::write(stored.home.path("password"), "first\n").unwrap();
        fs::write(stored.home.path("another"), "second\n").unwrap();
        stored.zooark("key add --new-password-file password").ends(0);
        for _ in 0..3 {
            stored.zooark("backup zookeeper --cluster doomed --host h --full --force").ends(0);
        }
        stored.zooark("forget latest --cluster doomed").ends(0);
        let mut kept = BTreeMap::new();
        for snapshot in stored.snapshots().iter().filter(|s| s["cluster"] == "prod") {
            let id = snapshot["id"].as_str().unwrap().to_owned();
            stored.zooark(&format!("tag --add kept {id}")).ends(0);
            kept.insert(id.clone(), stored.zooark(&format!("dump {id}")).ends(0).stdout);
        }
        copy_over(&stored.home.path("repository"), &stored.home.path("before"));
        Self { stored, kept }
    }

    /// As it was.
    fn reset(&self) {
        for below in ["repository", "cache", "restored", "new", "new-key"] {
            let path = self.stored.home.path(below);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
        copy_over(&self.stored.home.path("before"), &self.stored.home.path("repository"));
    }

    /// Runs a command that dies at this step; whether it died, and where.
    fn dies(&self, line: &str, step: u64) -> Option<(String, PathBuf)> {
        let place = self.stored.home.path("place");
        let _ = fs::remove_file(&place);
        let access: &[&str] =
            if line.starts_with("init") { &[] } else { &["--repo", "repository", "--key-file", "key"] };
        let access = if line.contains("--password-file ") { &access[..access.len().min(2)] } else { access };
        let mut command = self.stored.home.command();
        command.args(access).args(line.split_whitespace());
        command.env("ZOOARK_TEST_DIE_AT", step.to_string()).env("ZOOARK_TEST_DIED_AT", &place);
        let ran = Ran::of(&mut command);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let said = fs::read_to_string(&place).ok()?;
        assert_eq!(ran.code, -1, "step {step}: {ran:?}");
        let (what, path) = said.split_once(' ').unwrap();
        Some((what.to_owned(), self.stored.home.path(path)))
    }

    /// The power fails where the process died.
    fn lose_power(&self, (what, path): &(String, PathBuf)) {
        if what == "named" {
            // The directory was not synced: the new name is gone.
            let _ = fs::remove_file(path);
        }
        let (repository, before) = (self.stored.home.path("repository"), self.stored.home.path("before"));
        for file in files(&repository) {
            if file.file_name().unwrap().to_string_lossy().starts_with(".tmp-") {
                fs::write(&file, "").unwrap();
            }
        }
        for file in files(&before) {
            let back = repository.join(file.strip_prefix(&before).unwrap());
            // Deletions of manifests are synced one by one.
            let synced = back.starts_with(repository.join("snapshots")) && back != *path;
            if !back.exists() && !synced && back.parent().unwrap().is_dir() {
                fs::copy(&file, &back).unwrap();
            }
        }
    }

    /// What opens the repository: whoever dies while keys change may have left either way.
    fn way_in(&self, place: &str) -> &'static str {
        ["--key-file key", "--password-file password", "--password-file another"]
            .into_iter()
            .find(|access| self.stored.home.zooark(&format!("{access} --repo repository snapshots")).code == 0)
            .unwrap_or_else(|| panic!("{place}: nothing opens it"))
    }

    /// Everything that must hold after a death.
    fn holds(&self, access: &str, place: &str) {
        let zooark = |line: &str| {
            let mut command = self.stored.home.command();
            command.env("ZOOARK_REPOSITORY", "repository").args(access.split_whitespace());
            Ran::of(command.args(line.split_whitespace()))
        };
        let listed = zooark("snapshots --json");
        assert_eq!(listed.code, 0, "{place}: {}", listed.stderr);
        let listed: BTreeSet<String> =
            listed.json().as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        let check = zooark("check --read-data");
        assert_eq!(check.code, 0, "{place}: {}{}", check.stdout, check.stderr);
        for (id, dump) in &self.kept {
            assert!(listed.contains(id), "{place}: {id} is gone");
            assert_eq!(zooark(&format!("dump {id}")).ends(0).stdout, *dump, "{place}");
        }
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

/// A death at every step, or at one in `stride` where there is no time for all.
fn die_everywhere(line: &str, death: Death, again: &[i32]) {
    let bed = Bed::new();
    let stride = if testing::server::long() { 1 } else { 3 };
    let (mut step, mut deaths) = (1, 0);
    loop {
        bed.reset();
        let Some(place) = bed.dies(line, step) else { break };
        deaths += 1;
        if death == Death::PowerLoss {
            bed.lose_power(&place);
        }
        let named = format!("{line}, step {step}: {} {}", place.0, place.1.display());
        let access = bed.way_in(&named);
        bed.holds(access, &named);
        let own = if line.contains("--password-file ") { "" } else { access };
        let repeated = bed.stored.home.zooark(&format!("--repo repository {own} {line}"));
        assert!(again.contains(&repeated.code), "{named}: {repeated:?}");
        // Garbage goes, and nothing else. The command may have changed what opens it.
        let access = bed.way_in(&named);
        let prune = bed.stored.home.zooark(&format!("{access} --repo repository prune --grace 0s"));
        assert_eq!(prune.code, 0, "{named}: {}", prune.stderr);
        bed.holds(access, &named);
        step += stride;
    }
    assert!(deaths >= 1, "{line}: {deaths} deaths in {step} steps");
    eprintln!("{line}: {deaths} deaths ({death:?})");
}

const DATA: &str = "backup zookeeper --cluster prod --host h --force";
const FULL: &str = "backup zookeeper --cluster prod --host h --full";
const FORGET: &str = "forget latest --cluster doomed --unsafe-allow-remove-all";
const RESTORE: &str = "restore latest datadir:restored --cluster prod";
const PASSWD: &str = "key passwd --password-file password --new-password-file another";

#[rstest]
#[case::backup(DATA, &[0])]
#[case::full_backup(FULL, &[0])]
#[case::forget(FORGET, &[0, 1])]
#[case::prune("prune --grace 0s", &[0])]
#[case::tag("tag --add more latest --cluster prod", &[0])]
#[case::verify("verify latest --cluster prod", &[0])]
#[case::check("check --read-data", &[0])]
fn a_death_anywhere_leaves_what_the_next_command_can_use(#[case] line: &str, #[case] again: &[i32]) {
    die_everywhere(line, Death::Kill, again);
}

#[rstest]
#[case::key_add("key add --new-password-file another", &[0, 1, 2])]
#[case::key_passwd(PASSWD, &[0, 1, 2, 12])]
#[case::key_rotate("key rotate", &[0, 5])]
fn a_death_while_keys_change_leaves_a_way_in(#[case] line: &str, #[case] again: &[i32]) {
    die_everywhere(line, Death::Kill, again);
}

#[rstest]
#[case::backup(FULL, &[0])]
#[case::forget(FORGET, &[0, 1])]
#[case::prune("prune --grace 0s", &[0])]
#[case::keys(PASSWD, &[0, 1, 2, 12])]
fn what_was_not_synced_is_not_missed(#[case] line: &str, #[case] again: &[i32]) {
    die_everywhere(line, Death::PowerLoss, again);
}

/// A restore that died leaves a directory that no server takes for whole, and can be done again.
#[test]
fn a_restore_that_died_can_be_done_again() {
    let bed = Bed::new();
    let (mut step, mut deaths) = (1, 0);
    loop {
        bed.reset();
        if bed.dies(RESTORE, step).is_none() {
            break;
        }
        deaths += 1;
        let place = format!("step {step}");
        bed.holds("--key-file key", &place);
        let again = bed.stored.zooark(RESTORE);
        assert!(matches!(again.code, 0 | 5), "{place}: {again:?}");
        step += 3;
    }
    assert!(deaths > 3, "{deaths} deaths");
}

/// A place in which `init` died can be initialised, or is a repository.
#[test]
fn an_init_that_died_can_be_done_again() {
    let bed = Bed::new();
    let (mut step, mut deaths) = (1, 0);
    loop {
        bed.reset();
        if bed.dies("init --repo new --new-key-file new-key", step).is_none() {
            break;
        }
        deaths += 1;
        let home = &bed.stored.home;
        let opened = home.zooark("snapshots --repo new --key-file new-key");
        if opened.code != 0 {
            let _ = fs::remove_file(home.path("new-key"));
            home.zooark("init --repo new --new-key-file new-key").ends(0);
        }
        home.zooark("backup zookeeper --repo new --key-file new-key").ends(0);
        home.zooark("check --read-data --repo new --key-file new-key").ends(0);
        // Most of it is the probe of the store, a hundred creates.
        step += if testing::server::long() { 1 } else { 97 };
    }
    assert!(deaths >= 2, "{deaths} deaths");
}
