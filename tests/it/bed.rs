//! A repository to fail in, prepared once and set back for each failure, and the commands that fail in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use assert_cmd::Command;

use crate::run::{Ran, copy_over};
use crate::stored::{Stored, files_below};

/// One test for each command that changes what is stored, and for further ones.
macro_rules! on_changing_scenes {
    ($test:ident $(, $name:ident $scene:ident)*) => {
        $crate::each::each!(
            $test:
            forget $crate::bed::FORGET,
            forget_and_prune $crate::bed::FORGET_PRUNE,
            prune $crate::bed::PRUNE,
            tag $crate::bed::TAG,
            protect $crate::bed::PROTECT,
            copy $crate::bed::COPY,
            repair_index $crate::bed::REPAIR_INDEX,
            repair_snapshots $crate::bed::REPAIR_SNAPSHOTS,
            key_add $crate::bed::KEY_ADD,
            key_passwd $crate::bed::KEY_PASSWD,
            key_rotate $crate::bed::KEY_ROTATE
            $(, $name $crate::bed::$scene)*
        );
    };
}
pub(crate) use on_changing_scenes;

/// A command, and what there has to be for it.
#[derive(Clone, Copy)]
pub struct Scene {
    pub line: &'static str,
    pub prepare: fn(&Stored),
    /// How it may end when it is run again after it failed.
    pub again: &'static [i32],
    /// Whether the repository is whole before.
    pub is_whole: bool,
    /// What must be true when it is done.
    pub done: fn(&Bed),
}

pub const PLAIN: Scene = Scene { line: "", prepare: |_| (), again: &[0], is_whole: true, done: |_| () };

pub const BACKUP: Scene = Scene { line: "backup zookeeper --cluster prod --host h --force", ..PLAIN };
pub const FULL: Scene = Scene { line: "backup zookeeper --cluster prod --host h --full", ..PLAIN };
pub const CHECK: Scene = Scene { line: "check --read-data", ..PLAIN };
pub const VERIFY: Scene = Scene { line: "verify latest --cluster prod", ..PLAIN };
pub const PRUNE: Scene = Scene { line: "prune --grace 0s", ..PLAIN };
pub const FORGET: Scene =
    Scene { line: "forget latest --cluster doomed --unsafe-allow-remove-all", again: &[0, 1], ..PLAIN };
/// What it deletes was condemned long ago.
pub const FORGET_PRUNE: Scene = Scene {
    line: "forget --cluster doomed --keep-last 1 --prune",
    prepare: |stored| {
        age(stored);
        stored.zooark("prune").ends(0);
        age(stored);
    },
    ..PLAIN
};
pub const TAG: Scene = Scene {
    line: "tag --add more latest --cluster prod",
    done: |bed| {
        let all = bed.snapshots("repository", "key");
        let newest = all.iter().rfind(|s| s["cluster"] == "prod").unwrap();
        assert_eq!(newest["tags"], serde_json::json!(["kept", "more"]));
    },
    ..PLAIN
};
pub const PROTECT: Scene =
    Scene { line: "protect latest --until 2099-01-01", done: |bed| assert_eq!(bed.protected(), 1), ..PLAIN };
pub const UNPROTECT: Scene = Scene {
    line: "unprotect latest",
    prepare: |stored| drop(stored.zooark(PROTECT.line).ends(0)),
    done: |bed| assert_eq!(bed.protected(), 0),
    ..PLAIN
};
pub const KEY_ADD: Scene = Scene { line: "key add --new-password-file another", again: &[0, 1, 2], ..PLAIN };
pub const KEY_PASSWD: Scene =
    Scene { line: "key passwd --password-file password --new-password-file another", again: &[0, 1, 2, 12], ..PLAIN };
pub const KEY_ROTATE: Scene = Scene { line: "key rotate --remove-others", ..PLAIN };
pub const COPY: Scene = Scene {
    line: "copy --to-repo second --to-key-file other --cluster prod",
    prepare: |stored| drop(stored.home.zooark("init --repo second --new-key-file other").ends(0)),
    done: |bed| {
        let copies = bed.snapshots("second", "other");
        assert_eq!(copies.len(), 2, "each once");
        assert!(copies.iter().all(|copy| copy["tags"] == serde_json::json!(["kept"])), "{copies:?}");
        bed.stored.home.zooark("check --read-data --repo second --key-file other").ends(0);
    },
    ..PLAIN
};
/// A pack is lost whose chunks another cluster has, in a pack that is condemned; a list, a segment and a catalog cannot be read.
pub const REPAIR_INDEX: Scene = Scene {
    line: "repair index",
    prepare: |stored| {
        let before = stored.objects();
        stored.zooark("backup zookeeper --cluster twin --host h --full").ends(0);
        let new: Vec<PathBuf> = stored.objects().into_iter().filter(|path| !before.contains(path)).collect();
        let pack = new.iter().find(|path| path.to_string_lossy().contains("/packs/")).unwrap();
        stored.zooark("backup zookeeper --cluster other --host h --full").ends(0);
        stored.zooark("forget latest --cluster other --unsafe-allow-remove-all").ends(0);
        age(stored);
        stored.zooark("prune").ends(0);
        fs::remove_file(pack).unwrap();
        for folder in ["condemned", "index"] {
            let newest = files_below(&stored.home.path("repository").join(folder)).pop().unwrap();
            fs::write(newest, "nonsense").unwrap();
        }
        let catalogs = stored.home.path("repository/catalog");
        fs::create_dir_all(&catalogs).unwrap();
        fs::write(catalogs.join("01ARZ3NDEKTSV4RRFFQ69G5FAV"), "nonsense").unwrap();
    },
    is_whole: false,
    ..PLAIN
};
/// A byte of a snapshot with a note has changed.
pub const REPAIR_SNAPSHOTS: Scene = Scene {
    line: "repair snapshots --read-data --forget",
    prepare: |stored| {
        let before = stored.objects();
        stored.zooark("backup zookeeper --cluster harmed --host h --full --tag noted").ends(0);
        stored.zooark("tag latest --cluster harmed --add later").ends(0);
        let mut new = stored.objects().into_iter().filter(|path| !before.contains(path));
        let pack = new.find(|path| path.to_string_lossy().contains("/packs/")).unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        bytes[200] ^= 1;
        fs::write(&pack, bytes).unwrap();
    },
    is_whole: false,
    done: |bed| {
        let all = bed.snapshots("repository", "key");
        let left: Vec<_> = all.iter().filter(|s| s["cluster"] == "harmed").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0]["tags"], serde_json::json!(["later", "noted"]));
    },
    ..PLAIN
};

/// Lets everything in the repository be three days older, for a prune that has waited.
pub fn age(stored: &Stored) {
    were_written(stored.objects(), Duration::from_hours(72));
}

/// What was claimed for a minute is free again, as if that time had passed.
fn a_minute_passes(stored: &Stored) {
    let claims = stored.objects().into_iter().filter(|path| path.to_string_lossy().contains("/lease/"));
    were_written(claims, Duration::from_mins(1));
}

fn were_written(files: impl IntoIterator<Item = PathBuf>, ago: Duration) {
    let then = SystemTime::now() - ago;
    for file in files {
        fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
    }
}

/// The repository, prepared for a scene.
pub struct Bed {
    pub stored: Stored,
    pub scene: Scene,
    /// The snapshots that must be there after every failure: id and dump.
    kept: BTreeMap<String, String>,
    passwords: bool,
}

/// What is set back: repositories as they were, everything else gone.
const REPOSITORIES: [&str; 2] = ["repository", "second"];
const LITTER: [&str; 4] = ["cache", "restored", "new", "new-key"];

impl Bed {
    /// Snapshots, notes, a password's slot besides the key's, garbage that may be condemned at once, and what the scene needs.
    pub fn new(scene: Scene) -> Self {
        let stored = Stored::new();
        fs::write(stored.home.path("password"), "first\n").unwrap();
        fs::write(stored.home.path("another"), "second\n").unwrap();
        let passwords = scene.line.starts_with("key");
        if passwords {
            stored.zooark("key add --new-password-file password").ends(0);
        }
        for _ in 0..4 {
            stored.zooark("backup zookeeper --cluster doomed --host h --full --force").ends(0);
        }
        stored.zooark("forget latest --cluster doomed").ends(0);
        let mut kept = BTreeMap::new();
        for snapshot in stored.snapshots().iter().filter(|s| s["cluster"] == "prod") {
            let id = snapshot["id"].as_str().unwrap().to_owned();
            stored.zooark(&format!("tag --add kept {id}")).ends(0);
            kept.insert(id.clone(), stored.zooark(&format!("dump {id}")).ends(0).stdout);
        }
        (scene.prepare)(&stored);
        for repository in REPOSITORIES {
            let path = stored.home.path(repository);
            if path.exists() {
                copy_times_over(&path, &stored.home.path(&format!("{repository}-before")));
            }
        }
        Self { stored, scene, kept, passwords }
    }

    /// As it was.
    pub fn reset(&self) {
        for below in REPOSITORIES.iter().chain(&LITTER) {
            let path = self.stored.home.path(below);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
        for repository in REPOSITORIES {
            self.set_back(repository);
        }
    }

    /// A repository as it was, in an empty place.
    pub fn set_back(&self, repository: &str) {
        let before = self.stored.home.path(&format!("{repository}-before"));
        if before.exists() {
            copy_times_over(&before, &self.stored.home.path(repository));
        }
    }

    /// The program with the scene's arguments, not run yet.
    pub fn command(&self) -> Command {
        let line = self.scene.line;
        let mut command = self.stored.home.command();
        if !line.starts_with("init") {
            command.args(["--repo", "repository"]);
            if !line.contains("--password-file ") {
                command.args(["--key-file", "key"]);
            }
        }
        command.args(line.split_whitespace());
        command
    }

    /// Runs the scene's command, opened in this way.
    pub fn run_again(&self, access: &str) -> Ran {
        let own = if self.scene.line.contains("--password-file ") { "" } else { access };
        self.stored.home.zooark(&format!("--repo repository {own} {}", self.scene.line))
    }

    /// What opens the repository: whoever fails while keys change may have left either way.
    pub fn way_in(&self, place: &str) -> &'static str {
        if !self.passwords {
            return "--key-file key";
        }
        ["--key-file key", "--password-file password", "--password-file another"]
            .into_iter()
            .find(|access| self.stored.home.zooark(&format!("{access} --repo repository snapshots")).code == 0)
            .unwrap_or_else(|| panic!("{place}: nothing opens it"))
    }

    pub fn snapshots(&self, repository: &str, key: &str) -> Vec<serde_json::Value> {
        let line = format!("snapshots --json --repo {repository} --key-file {key}");
        self.stored.home.zooark(&line).ends(0).json().as_array().unwrap().clone()
    }

    /// How many snapshots are protected.
    fn protected(&self) -> usize {
        self.snapshots("repository", "key").iter().filter(|s| !s["protected_until"].is_null()).count()
    }

    /// Everything that must hold after a failure. A repository that was damaged before may be damaged still, but what
    /// can be read is right.
    pub fn holds(&self, access: &str, place: &str, is_whole: bool) {
        let zooark = |line: &str| self.stored.home.zooark(&format!("--repo repository {access} {line}"));
        let listed = zooark("snapshots --json");
        assert_eq!(listed.code, 0, "{place}: {}", listed.stderr);
        let listed: BTreeSet<String> =
            listed.json().as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        let check = zooark("check --read-data --no-cache");
        let allowed: &[i32] = if is_whole { &[0] } else { &[0, 4] };
        assert!(allowed.contains(&check.code), "{place}: {}{}", check.stdout, check.stderr);
        for (id, right) in &self.kept {
            assert!(listed.contains(id), "{place}: {id} is gone");
            let dump = zooark(&format!("dump {id} --no-cache"));
            assert!(dump.code == 0 && dump.stdout == *right, "{place}: {}", dump.stderr);
        }
    }

    /// After a failure: what was there holds, the command can be done again, and all that is left over is garbage.
    pub fn recovers(&self, place: &str) {
        let access = self.way_in(place);
        self.holds(access, place, self.scene.is_whole);
        a_minute_passes(&self.stored);
        let again = self.run_again(access);
        assert!(self.scene.again.contains(&again.code), "{place}: {again:?}");
        assert!(!again.stderr.contains("panicked"), "{place}: {again:?}");
        if again.code == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.scene.done)(self)));
            assert!(done.is_ok(), "{place}: not done when run again: {again:?}");
        }
        // The command may have changed what opens it.
        let access = self.way_in(place);
        let prune = self.stored.home.zooark(&format!("{access} --repo repository prune --grace 0s"));
        assert_eq!(prune.code, 0, "{place}: {}", prune.stderr);
        self.holds(access, place, true);
        let left = self.stored.home.zooark(&format!("{access} --repo repository prune --grace 0s --dry-run --json"));
        let left = left.ends(0).json();
        assert_eq!(left["found"], left["needed"], "{place}: garbage is left");
    }
}

/// Copies a directory and when its files were written.
fn copy_times_over(from: &Path, to: &Path) {
    copy_over(from, to);
    for file in files_below(from) {
        let modified = file.metadata().unwrap().modified().unwrap();
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::File::options().write(true).open(copy).unwrap().set_modified(modified).unwrap();
    }
}
