//! Processes that die as `kill -9` lets them: at each step of each command in turn, and at any moment.
//!
//! The program under test dies where `ZOOARK_TEST_DIE_AT` says (see `repository::backend::faults::step`): before and after each
//! request, and between the system calls of a local write. After each death the next command works, `check`
//! finds no damage, every snapshot that was there restores, what was interrupted can be done again, and prune leaves no garbage.

use std::fs;
use std::path::Path;

use testing::evolving::{EvolvingDir, Setup};
use testing::generate::Tree;
use testing::random::Prng;

use crate::bed::{Bed, PLAIN, Scene, on_changing_scenes};
use crate::run::Ran;
use crate::stored::{Stored, files_below};

impl Bed {
    /// Runs the command, which dies at this step; where it died, if it came to that.
    fn dies(&self, step: u64) -> Option<String> {
        let place = self.stored.home.path("place");
        let _ = fs::remove_file(&place);
        let mut command = self.command();
        command.env("ZOOARK_TEST_DIE_AT", step.to_string()).env("ZOOARK_TEST_DIED_AT", &place);
        let ran = Ran::of(&mut command);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        let said = fs::read_to_string(&place).ok()?;
        assert_eq!(ran.code, -1, "step {step}: {ran:?}");
        Some(format!("{}, step {step}: {said}", self.scene.line))
    }

    /// How many steps the command has.
    fn steps(&self) -> u64 {
        let place = self.stored.home.path("place");
        self.reset();
        let mut command = self.command();
        command.env("ZOOARK_TEST_DIE_AT", u64::MAX.to_string()).env("ZOOARK_TEST_STEPS", &place);
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, 0, "{ran:?}");
        // One byte a step: it is appended to.
        fs::metadata(&place).unwrap().len()
    }
}

/// Deaths of one command where there is no time for one at each step.
const DEATHS: u64 = 5;

/// The steps to die at: all, or one in each of so many equal parts of them, as a seed has it.
fn chosen(steps: u64) -> Vec<u64> {
    if testing::server::long() || steps <= DEATHS {
        return (1..=steps).collect();
    }
    let seed = std::env::var("ZOOARK_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Prng::new(seed);
    (0..DEATHS)
        .map(|part| {
            let (from, to) = (part * steps / DEATHS, (part + 1) * steps / DEATHS);
            1 + from + random.below(to - from)
        })
        .collect()
}

on_changing_scenes!(
    a_death_anywhere_leaves_what_the_next_command_can_use,
    backup BACKUP, full_backup FULL, unprotect UNPROTECT, verify VERIFY, check CHECK
);

fn a_death_anywhere_leaves_what_the_next_command_can_use(scene: Scene) {
    let bed = Bed::new(scene);
    let steps = bed.steps();
    let mut deaths = 0;
    for step in chosen(steps) {
        bed.reset();
        // The number of steps may differ by one or two: uploads wait for each other.
        let Some(place) = bed.dies(step) else { continue };
        deaths += 1;
        bed.recovers(&place);
    }
    assert!(deaths >= steps.min(DEATHS) / 2, "{}: {deaths} deaths in {steps} steps", scene.line);
    eprintln!("{}: {deaths} deaths in {steps} steps", scene.line);
}

const RESTORE: Scene = Scene { line: "restore latest datadir:restored --cluster prod", ..PLAIN };

/// A restore that dies while it reads leaves the repository as it was, and can be done again.
#[test]
fn a_restore_that_died_reading_can_be_done_again() {
    let bed = Bed::new(RESTORE);
    let steps = bed.steps();
    for step in chosen(steps) {
        bed.reset();
        let Some(place) = bed.dies(step) else { continue };
        bed.holds("--key-file key", &place, true);
        restores(&bed.stored, "prod", &place);
    }
}

/// A restore that is killed while it writes: no server takes what it leaves for a whole one, and the next one works.
#[test]
fn a_restore_that_died_writing_leaves_nothing_that_looks_whole() {
    let stored = Stored::empty();
    // Large enough for a kill to land in it.
    let source = stored.home.path("large");
    EvolvingDir::create(&source, Tree::build(60_000, 1), Setup::default()).unwrap();
    stored.zooark("backup large --cluster large").ends(0);
    stored.zooark("restore latest datadir:whole").ends(0);
    stored.zooark("backup whole --cluster again").ends(0);
    let right = stored.zooark("dump latest --cluster again").ends(0).stdout;
    let rounds = if testing::server::long() { 60 } else { 12 };
    let (mut killed, mut half) = (0, 0);
    for round in 0..rounds {
        let _ = fs::remove_dir_all(stored.home.path("restored"));
        let mut child = stored.spawn("restore latest datadir:restored --cluster large");
        let wanted = 1 + round * 600_000 / rounds;
        while child.try_wait().unwrap().is_none() && written(&stored.home.path("restored")) < wanted {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        if child.wait().unwrap().code().is_some() {
            continue;
        }
        killed += 1;
        let left = stored.home.path("restored");
        half += u32::from(written(&left) > 0);
        // What a server would find is whole.
        if left.join("version-2").exists() {
            stored.zooark("backup restored --cluster again --force --full").ends(0);
            assert_eq!(stored.zooark("dump latest --cluster again").ends(0).stdout, right);
        }
        restores(&stored, "large", &format!("round {round}"));
    }
    assert!(killed > 0 && half > 0, "{killed} killed, {half} while it wrote");
    eprintln!("restore: {killed} killed, {half} of them while it wrote");
    stored.zooark("check --read-data").ends(0);
}

/// Bytes of files below.
fn written(root: &Path) -> u64 {
    if !root.exists() {
        return 0;
    }
    files_below(root).iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum()
}

/// The next restore works: into what is left if that is let, else beside it.
fn restores(stored: &Stored, cluster: &str, place: &str) {
    let line = format!("restore latest datadir:restored --cluster {cluster}");
    let again = stored.zooark(&line);
    assert!(matches!(again.code, 0 | 5), "{place}: {again:?}");
    if again.code == 5 {
        let _ = fs::remove_dir_all(stored.home.path("restored"));
        stored.zooark(&line).ends(0);
    }
}

/// A place in which `init` died can be initialised, or is a repository.
#[test]
fn an_init_that_died_can_be_done_again() {
    let bed = Bed::new(Scene { line: "init --repo new --new-key-file new-key", ..PLAIN });
    let steps = bed.steps();
    let mut deaths = 0;
    // Most of it is the probe of the store, a hundred creates.
    let stride = if testing::server::long() { 7 } else { 97 };
    for step in (1..=steps).step_by(stride) {
        bed.reset();
        if bed.dies(step).is_none() {
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
    }
    assert!(deaths >= 2, "{deaths} deaths");
}
