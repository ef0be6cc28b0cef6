//! The main job on a directory that evolves as a server's does: back up, back up again, restore, compare.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod setting;

use engine::report::Method;
use engine::{Repo, Silent, backup};
use repository::keys::Credentials;
use repository::repository::InitOptions;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{Change, Tree};

use crate::setting::{access, assert_same, request, restore_to};

#[test]
fn every_snapshot_of_an_evolving_directory_restores_exactly() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("source");
    let mut directory = EvolvingDir::create(&source, Tree::build(5000, 7), Setup::default()).unwrap();
    let access = access(&tmp.path().join("repo"), Some(&tmp.path().join("cache")), Credentials::None);
    let repo = Repo::init(&access, &InitOptions::new(Credentials::None)).unwrap();
    let monitor = Silent::default();
    let first = backup::run(&repo, &request(&source), &monitor).unwrap();
    assert!(first.snapshot_id.is_some() && first.rebase && first.method == Method::Full, "{first:?}");
    let again = backup::run(&repo, &request(&source), &monitor).unwrap();
    assert_eq!((again.snapshot_id, again.objects_written), (None, 0));
    let mut states = vec![];
    for round in 0..40 {
        directory.commit(Change::Random(20)).unwrap();
        if round % 7 == 3 {
            directory.roll().unwrap();
        }
        let full = round % 5 == 4;
        let mut request = request(&source);
        request.full = false;
        let summary = backup::run(&repo, &request, &monitor).unwrap();
        assert!(summary.snapshot_id.is_some(), "{summary:?}");
        assert_eq!(summary.method, Method::Log, "round {round}: {:?}", summary.full_reason);
        assert_eq!(summary.objects_written, 2);
        if full {
            let copy = tmp.path().join(format!("state{round}"));
            restore_to(&repo, "latest", &copy).unwrap();
            assert_same(&source, None, &copy);
            states.push((summary.snapshot_id.unwrap(), copy));
        }
    }
    // Long after, each of them still restores to what it was.
    for (id, copy) in states {
        let later = tmp.path().join("later");
        let summary = restore_to(&repo, &id, &later).unwrap();
        assert_eq!(summary.state_digest_verified, Some(true));
        assert_same(&copy, None, &later);
        std::fs::remove_dir_all(&later).unwrap();
    }
}
