use std::fs;
use std::path::{Path, PathBuf};

use repository::keys::Credentials;
use repository::repository::InitOptions;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{Change, Tree};
use zk_connect::Endpoint;

use super::*;
use crate::annotate;
use crate::backup::{self, BackupRequest};
use crate::monitor::Silent;
use crate::repo::{self, Access};

const STEPS: [Step; 6] = [Step::Chosen, Step::Started, Step::InPlace, Step::Restored, Step::Recorded, Step::Done];

/// An ensemble's source of backups, a repository, and directories of members below a folder.
struct Scene {
    folder: tempfile::TempDir,
    source: EvolvingDir,
    repo: Repo,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = EvolvingDir::create(&folder.path().join("source"), Tree::build(300, 7), Setup::default()).unwrap();
        let access = Access {
            location: folder.path().join("repo").to_str().unwrap().to_owned(),
            store: repository::backend::StoreOptions::default(),
            credentials: Credentials::None,
            cache: repository::cache::CacheOptions::none(),
        };
        let repo = Repo::init(&access, &InitOptions::new(Credentials::None)).unwrap();
        let mut scene = Self { folder, source, repo };
        scene.back_up();
        scene
    }

    /// Changes something and backs it up: `latest` moves. Gives its id.
    fn back_up(&mut self) -> String {
        self.source.commit(Change::Random(20)).unwrap();
        let source = Endpoint::parse(self.source.root().to_str().unwrap()).unwrap();
        let request = BackupRequest::new(source, "host".to_owned(), "test".to_owned());
        backup::run(&self.repo, &request, &Silent::default()).unwrap().snapshot_id.unwrap()
    }

    fn dir(&self, member: &str) -> PathBuf {
        self.folder.path().join(member)
    }

    fn request(&self, number: u64, member: &str) -> OnceRequest {
        let Ok(Endpoint::DataDir(target)) = Endpoint::parse(self.dir(member).to_str().unwrap()) else { panic!() };
        OnceRequest {
            number,
            cluster: "default".to_owned(),
            member: member.to_owned(),
            snapshot: "latest".parse().unwrap(),
            scope: Scope::default(),
            target,
            bump_epoch: BumpEpoch::Auto,
            seen_zxid: None,
            keep_ephemerals: false,
            server: Server::default(),
            yes_really: false,
            dry_run: false,
            now: repo::now(),
        }
    }

    fn run(&self, request: &OnceRequest) -> Result<OnceSummary, EngineError> {
        run(&self.repo, request, &Silent::default())
    }

    fn once(&self, number: u64, member: &str) -> OnceSummary {
        self.run(&self.request(number, member)).unwrap()
    }

    /// Runs until this step is done, and no further.
    fn dies_after(&self, last: Step, request: &OnceRequest) {
        let mut after = |step| {
            if step == last { Err(EngineError::new(ErrorKind::Interrupted, "killed")) } else { Ok(()) }
        };
        let error = steps(&self.repo, request, &Silent::default(), &mut after).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Interrupted, "{error}");
    }

    fn recorded(&self, number: u64, member: &str) -> bool {
        self.repo.block_on(self.repo.repository().restored_member("default", number, member)).unwrap().is_some()
    }

    fn marker(&self, member: &str) -> Option<(u64, State)> {
        let dirs = TargetDirs { data: self.dir(member), log: None };
        Marker::read(&dirs).unwrap().map(|marker| (marker.number, marker.state))
    }

    /// The restored file, which must be alone: its name and bytes.
    fn file(&self, member: &str) -> (PathBuf, Vec<u8>) {
        let found = names(&self.dir(member).join("version-2"));
        assert_eq!(found.len(), 1, "{found:?}");
        (PathBuf::from(found[0].file_name().unwrap()), fs::read(&found[0]).unwrap())
    }

    /// As a server leaves a directory: it has a later snapshot, a log and epochs.
    fn serve(&self, member: &str) {
        let dir = self.dir(member).join("version-2");
        for name in ["snapshot.3ee00000005", "log.3ee00000001", "currentEpoch", "acceptedEpoch"] {
            fs::write(dir.join(name), "1006").unwrap();
            let old = std::time::SystemTime::now() - std::time::Duration::from_mins(1);
            fs::File::options().write(true).open(dir.join(name)).unwrap().set_modified(old).unwrap();
        }
    }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Everything below, with what it holds.
fn everything(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in names(root) {
        if path.is_dir() {
            found.extend(everything(&path));
        }
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
    }
    found
}

#[test]
fn all_members_get_one_file_although_latest_moves() {
    let mut scene = Scene::new();
    let first = scene.once(1, "zk-0");
    assert_eq!((first.decision, first.notes.len()), (Decision::Restored, 0), "{first:?}");
    assert_eq!(scene.marker("zk-0"), Some((1, State::Done)));
    scene.back_up();
    let second = scene.once(1, "zk-1");
    assert_eq!((second.decision, &second.snapshot_id), (Decision::Restored, &first.snapshot_id));
    assert!(second.notes[0].contains("member zk-0 was the first"), "{second:?}");
    assert_eq!(scene.file("zk-0"), scene.file("zk-1"));
    fs::create_dir_all(scene.dir("zk-2").join("version-2")).unwrap();
    scene.once(1, "zk-2");
    assert_eq!(scene.file("zk-0"), scene.file("zk-2"));

    for member in ["zk-0", "zk-1", "zk-2"] {
        let again = scene.once(1, member);
        assert_eq!((again.decision, &again.snapshot_id), (Decision::AlreadyDone, &first.snapshot_id));
    }
    assert_eq!(scene.once(1, "zk-0").decision, Decision::AlreadyDone);
    let chosen = scene.repo.snapshots().unwrap();
    let chosen = chosen.find(first.snapshot_id.as_ref().unwrap()).unwrap();
    assert!(crate::snapshots::info(chosen).protected_until.is_some(), "until the last member has it");
}

#[test]
fn what_the_directory_settles_needs_no_repository() {
    let scene = Scene::new();
    let fresh = scene.request(1, "zk-0");
    assert!(settled(&fresh).unwrap().is_none());
    scene.run(&fresh).unwrap();
    assert_eq!(settled(&fresh).unwrap().unwrap().decision, Decision::AlreadyDone);
    let raised = scene.request(2, "zk-0");
    assert!(settled(&raised).unwrap().is_none());
    scene.run(&raised).unwrap();
    let lowered = settled(&fresh).unwrap().unwrap();
    assert_eq!(lowered.decision, Decision::AlreadyDone);
    assert!(lowered.reason.contains("number 2"), "{}", lowered.reason);
}

#[test]
fn data_without_a_marker_stay() {
    let scene = Scene::new();
    fs::create_dir_all(scene.dir("zk-0").join("version-2")).unwrap();
    scene.serve("zk-0");
    let before = everything(&scene.dir("zk-0"));
    let objects = everything(&scene.dir("repo"));
    assert_eq!(scene.once(1, "zk-0").decision, Decision::DataPresent);
    assert_eq!((everything(&scene.dir("zk-0")), everything(&scene.dir("repo"))), (before, objects));
}

#[test]
fn a_raised_number_restores_again_and_deletes_nothing() {
    let mut scene = Scene::new();
    scene.once(1, "zk-0");
    fs::write(scene.dir("zk-0").join("myid"), "1\n").unwrap();
    let restored = scene.file("zk-0");
    scene.serve("zk-0");
    let old = everything(&scene.dir("zk-0").join("version-2"));
    scene.back_up();
    let again = scene.once(2, "zk-0");
    assert_eq!(again.decision, Decision::Restored);
    assert!(again.reason.contains("from 1 to 2"), "{}", again.reason);
    let aside = &again.restore.unwrap().moved_aside;
    let kept = everything(&aside[0]);
    assert_eq!(
        kept.iter().map(|(_, held)| held).collect::<Vec<_>>(),
        old.iter().map(|(_, held)| held).collect::<Vec<_>>()
    );
    assert_ne!(scene.file("zk-0"), restored);
    // What a server of epoch 1006 told its clients is older than the file.
    assert!(parse_zxid(&again.file_zxid.unwrap()).unwrap().epoch() > 1006);
    assert_eq!(fs::read(scene.dir("zk-0").join("myid")).unwrap(), b"1\n");
    assert!(scene.recorded(1, "zk-0") && scene.recorded(2, "zk-0"));
}

#[test]
fn a_new_volume_of_a_restored_member_starts_empty() {
    let scene = Scene::new();
    let first = scene.once(1, "zk-0");
    fs::remove_dir_all(scene.dir("zk-0")).unwrap();
    let replaced = scene.once(1, "zk-0");
    assert_eq!((replaced.decision, &replaced.snapshot_id), (Decision::VolumeReplaced, &first.snapshot_id));
    assert_eq!(names(&scene.dir("zk-0")).len(), 1, "the marker alone");
    assert_eq!(scene.marker("zk-0"), Some((1, State::Done)));
    let again = scene.once(1, "zk-0");
    assert_eq!((again.decision, again.notes.len()), (Decision::AlreadyDone, 1), "{again:?}");
    // Another member's volume is its own, and so is another number.
    assert_eq!(scene.once(1, "zk-1").decision, Decision::Restored);
    assert_eq!(scene.once(2, "zk-0").decision, Decision::Restored);
}

/// A crash after each step, into an empty directory and over an earlier number's data, while `latest` moves on: the next run
/// ends with the file that all members have, and everything that was there is still there.
#[test]
fn after_a_crash_at_any_step_the_next_run_ends_with_the_right_tree() {
    for raised in [false, true] {
        let mut scene = Scene::new();
        let number = if raised { 2 } else { 1 };
        for at in 0..STEPS.len() {
            let member = format!("zk-{at}");
            if raised {
                scene.once(1, &member);
                scene.serve(&member);
            }
        }
        let mut right = None;
        for (at, step) in STEPS.into_iter().enumerate() {
            let place = format!("raised: {raised}, after {step:?}");
            let request = scene.request(number, &format!("zk-{at}"));
            scene.dies_after(step, &request);
            // More than one crash, and the same snapshot however often `latest` moves.
            scene.back_up();
            if step == Step::InPlace {
                scene.dies_after(step, &request);
            }
            let next = scene.run(&request).unwrap();
            let member = &request.member;
            let expected = if step == Step::Done { Decision::AlreadyDone } else { Decision::Restored };
            assert_eq!(next.decision, expected, "{place}");
            let restores = !matches!(step, Step::Restored | Step::Recorded | Step::Done);
            assert_eq!(next.restore.is_some(), restores, "{place}");
            let file = scene.file(member);
            assert_eq!(right.get_or_insert_with(|| file.clone()), &file, "{place}");
            assert_eq!(scene.marker(member), Some((number, State::Done)), "{place}");
            assert!(scene.recorded(number, member), "{place}");
            if raised {
                let all = everything(&scene.dir(member));
                assert!(all.iter().any(|(path, _)| path.ends_with("log.3ee00000001")), "{place}: the old log is gone");
            }
            assert_eq!(scene.once(number, member).decision, Decision::AlreadyDone, "{place}");
        }
    }
}

/// A number that is raised before any server has started finds the file of the earlier one, alone: no log is missing there.
#[test]
fn numbers_that_are_raised_before_a_server_starts_restore_after_each_crash() {
    let scene = Scene::new();
    scene.once(1, "zk-0");
    for (at, step) in STEPS.into_iter().take(4).enumerate() {
        let request = scene.request(2 + at as u64, "zk-0");
        scene.dies_after(step, &request);
        assert_eq!(scene.run(&request).unwrap().decision, Decision::Restored, "{step:?}");
        scene.file("zk-0");
    }
}

/// A new volume after a crash is a member that was never restored, until the record is there.
#[test]
fn a_volume_that_is_lost_half_way_is_restored_unless_the_record_is_there() {
    let scene = Scene::new();
    for (at, step) in STEPS.into_iter().enumerate() {
        let request = scene.request(1, &format!("zk-{at}"));
        scene.dies_after(step, &request);
        let _ = fs::remove_dir_all(scene.dir(&request.member));
        let expected =
            if matches!(step, Step::Recorded | Step::Done) { Decision::VolumeReplaced } else { Decision::Restored };
        assert_eq!(scene.run(&request).unwrap().decision, expected, "{step:?}");
    }
}

/// A file that was put in place and whose server ran meanwhile is not taken away again.
#[test]
fn what_a_server_made_of_a_restored_file_stays() {
    let scene = Scene::new();
    let request = scene.request(1, "zk-0");
    scene.dies_after(Step::Restored, &request);
    scene.serve("zk-0");
    let before = everything(&scene.dir("zk-0").join("version-2"));
    let next = scene.run(&request).unwrap();
    assert!(next.restore.is_none());
    assert_eq!(everything(&scene.dir("zk-0").join("version-2")), before);
    assert_eq!(scene.marker("zk-0"), Some((1, State::Done)));
}

fn refused(result: Result<OnceSummary, EngineError>, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_number_means_one_snapshot_and_one_kind_of_file() {
    let mut scene = Scene::new();
    let first = scene.once(1, "zk-0").snapshot_id.unwrap();
    let later = scene.back_up();
    let asking = |words: &str| OnceRequest { snapshot: words.parse().unwrap(), ..scene.request(1, "zk-1") };
    refused(scene.run(&asking(&later)), "raise the number");
    refused(scene.run(&asking("@2199-01-01")), "raise the number");
    refused(scene.run(&OnceRequest { keep_ephemerals: true, ..scene.request(1, "zk-1") }), "raise the number");
    let old = Server { version: "3.4".parse().unwrap(), ..Server::default() };
    refused(scene.run(&OnceRequest { server: old, ..scene.request(1, "zk-1") }), "raise the number");
    assert!(!scene.dir("zk-1").exists(), "refused before anything was written");
    // Other words for the same snapshot will do.
    assert_eq!(scene.run(&asking(&first[..12])).unwrap().decision, Decision::Restored);
    assert_eq!(scene.file("zk-0"), scene.file("zk-1"));
    // The zxid agreed upon is below what this member's clients have seen.
    let seen = OnceRequest { seen_zxid: Some(Zxid::new(5000, 1)), ..scene.request(1, "zk-2") };
    let error = scene.run(&seen).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(!scene.dir("zk-2").exists());
}

#[test]
fn a_chosen_snapshot_that_was_forgotten_is_not_replaced_by_another() {
    let mut scene = Scene::new();
    let first = scene.once(1, "zk-0").snapshot_id.unwrap();
    scene.back_up();
    let listed = scene.repo.snapshots().unwrap();
    let doomed = listed.find(&first).unwrap();
    annotate::protect(&scene.repo, doomed, None, false).unwrap();
    scene.repo.block_on(scene.repo.repository().forget(&[&doomed.manifest], false)).unwrap();
    refused(scene.run(&scene.request(1, "zk-1")), "without --once");
    assert!(!scene.dir("zk-1").exists());
    assert_eq!(scene.once(1, "zk-0").decision, Decision::AlreadyDone);
    assert_eq!(scene.once(2, "zk-1").decision, Decision::Restored);
}

#[test]
fn a_dry_run_decides_and_writes_nothing() {
    let mut scene = Scene::new();
    let dry = |scene: &Scene, number, member: &str| {
        let before = (everything(scene.folder.path()), scene.dir(member).exists());
        let request = OnceRequest { dry_run: true, ..scene.request(number, member) };
        let summary = scene.run(&request).unwrap();
        assert!(summary.dry_run);
        assert_eq!((everything(scene.folder.path()), scene.dir(member).exists()), before, "{summary:?}");
        summary.decision
    };
    assert_eq!(dry(&scene, 1, "zk-0"), Decision::Restored);
    scene.dies_after(Step::Restored, &scene.request(1, "zk-0"));
    assert_eq!(dry(&scene, 1, "zk-0"), Decision::Restored);
    scene.once(1, "zk-0");
    scene.back_up();
    assert_eq!(dry(&scene, 1, "zk-0"), Decision::AlreadyDone);
    assert_eq!(dry(&scene, 2, "zk-0"), Decision::Restored);
    assert_eq!(dry(&scene, 1, "zk-1"), Decision::Restored);
    fs::remove_dir_all(scene.dir("zk-0")).unwrap();
    assert_eq!(dry(&scene, 1, "zk-0"), Decision::VolumeReplaced);
}
