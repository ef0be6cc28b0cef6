//! Two writers of one lineage: whoever commits second compares with the first's snapshot and goes on, and one that is
//! overtaken again and again says that somebody else holds what it needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod setting;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::backup::{self, BackupRequest};
use engine::{Access, ErrorKind, Monitor, Phase, Repo, Silent, Unit};
use repository::keys::Credentials;
use repository::repository::InitOptions;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::Tree;

use crate::setting::{access, request};

/// Whenever the backup begins to read, another one is made from start to end, so many times.
struct Overtaking<'a> {
    access: &'a Access,
    source: &'a Path,
    left: AtomicUsize,
}

impl Monitor for Overtaking<'_> {
    fn begin(&self, phase: Phase, _: Unit, _: Option<u64>) {
        let goes = |left: usize| left.checked_sub(1);
        let reads = matches!(phase, Phase::Reading | Phase::Replaying);
        if reads && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, goes).is_ok() {
            let other = Repo::open(self.access).unwrap();
            let made = backup::run(&other, &forced(self.source), &Silent::default()).unwrap();
            assert!(made.snapshot_id.is_some());
        }
    }
    fn advance(&self, _: Phase, _: u64) {}
    fn end(&self, _: Phase) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

fn forced(source: &Path) -> BackupRequest {
    BackupRequest { force: true, ..request(source) }
}

fn snapshots(repo: &Repo) -> Vec<u64> {
    repo.snapshots().unwrap().snapshots.iter().map(|snapshot| snapshot.manifest.seq).collect()
}

#[test]
fn an_overtaken_backup_follows_and_one_overtaken_for_ever_gives_up() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("source");
    EvolvingDir::create(&source, Tree::build(500, 3), Setup::default()).unwrap();
    let access = access(&tmp.path().join("repository"), None, Credentials::None);
    let repo = Repo::init(&access, &InitOptions::new(Credentials::None)).unwrap();
    let overtaking = |times| Overtaking { access: &access, source: &source, left: AtomicUsize::new(times) };

    let once = overtaking(1);
    let summary = backup::run(&repo, &forced(&source), &once).unwrap();
    assert_eq!(once.left.into_inner(), 0, "nobody overtook it");
    assert_eq!(snapshots(&repo), [1, 2]);
    let second = repo.snapshots().unwrap().snapshots.pop().unwrap();
    assert_eq!(summary.snapshot_id, Some(second.id().to_string()));
    let first = repo.snapshots().unwrap().snapshots.remove(0);
    assert_eq!(second.manifest.body.parent, Some(first.id()), "compared anew with the one that was faster");

    let given_up = backup::run(&repo, &forced(&source), &overtaking(100)).unwrap_err();
    assert_eq!(given_up.kind, ErrorKind::Busy, "{given_up}");
    let stored = snapshots(&repo);
    assert_eq!(stored, (1..=stored.len() as u64).collect::<Vec<_>>(), "only the others' snapshots are there");
}
