//! Stores that misbehave, under the real program: one request in so many fails before or after its effect, is told to come
//! again, is slow, or is answered with a success that never was (`ZOOARK_TEST_STORE`, see `repository::backend::faults`).

use rstest::rstest;

use crate::bed::{self, Bed, Scene};
use crate::run::Ran;
use crate::stored::Stored;

const SCENES: [Scene; 12] = [
    bed::BACKUP,
    bed::FULL,
    bed::FORGET,
    bed::FORGET_PRUNE,
    bed::PRUNE,
    bed::TAG,
    bed::CHECK,
    bed::VERIFY,
    bed::COPY,
    bed::REPAIR_INDEX,
    bed::REPAIR_SNAPSHOTS,
    bed::KEY_ROTATE,
];

/// Every so-manieth request fails: the command says so, or works; whatever it did, the next one works and nothing is damaged.
#[rstest]
#[case::before_the_effect("fail")]
#[case::after_the_effect("do-then-fail")]
#[case::of_the_disk("unreadable")]
fn requests_that_fail_leave_what_the_next_command_can_use(#[case] how: &str) {
    let often: &[u64] = if testing::server::long() { &[1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 18, 25] } else { &[4] };
    let mut failed = 0;
    for scene in SCENES {
        let bed = Bed::new(scene);
        for every in often {
            bed.reset();
            let ran = Ran::of(bed.command().env("ZOOARK_TEST_STORE", format!("{how} {every}")));
            let place = format!("{}, every {every}: {ran:?}", scene.line);
            assert!(!ran.stderr.contains("panicked"), "{place}");
            assert!((0..=12).contains(&ran.code), "{place}");
            if ran.code != 0 {
                failed += 1;
                assert!(!ran.stderr.is_empty() || ran.stdout.contains("DAMAGE: "), "{place}");
            }
            bed.recovers(&place);
        }
    }
    assert!(failed >= SCENES.len() / 2, "{failed} failed");
}

/// What a disk cannot read is found, one object after the other, and nothing is given up for it.
#[test]
fn what_a_disk_cannot_read_is_named_and_kept() {
    let stored = Stored::new();
    let before = stored.objects();
    let with = |line: &str| {
        let words = line.split_whitespace();
        Ran::of(stored.command().args(words).env("ZOOARK_TEST_STORE", "unreadable 1 packs/"))
    };
    let packs = before.iter().filter(|path| path.to_string_lossy().contains("/packs/")).count();
    let found = with("--no-cache check").ends(4).stdout;
    assert_eq!(found.matches("DAMAGE: packs/").count(), packs, "{found}");
    assert!(found.contains("the disk cannot read it"), "{found}");
    with("--no-cache dump latest").ends(1).says("the disk cannot read it");
    for repair in ["repair index", "repair snapshots --forget", "prune --grace 0s --yes"] {
        with(&format!("--no-cache {repair}"));
        let left = stored.objects();
        assert!(before.iter().all(|path| left.contains(path)), "{repair}");
    }
    stored.zooark("--no-cache check --read-data").ends(0);
}

/// What a store asks for again is asked again: the command works as ever.
#[rstest]
#[case::busy("busy 5")]
#[case::slow("slow 2")]
fn a_store_that_is_busy_or_slow_is_only_slow(#[case] how: &str) {
    for scene in [bed::BACKUP, bed::FORGET_PRUNE, bed::COPY] {
        let bed = Bed::new(scene);
        bed.reset();
        let ran = Ran::of(bed.command().env("ZOOARK_TEST_STORE", how));
        assert_eq!(ran.code, 0, "{} {how}: {ran:?}", scene.line);
        bed.recovers(scene.line);
    }
}

fn lying(stored: &Stored, what: &str, line: &str) -> Ran {
    Ran::of(stored.command().args(line.split_whitespace()).env("ZOOARK_TEST_STORE", format!("lie 1 {what}")))
}

/// A pack that was never stored: nothing can be promised of its snapshot, but `check` names it, prune deletes nothing, what
/// was there before restores, and a backup of everything is whole again.
#[test]
fn a_pack_that_was_never_stored_is_found() {
    let stored = Stored::new();
    let before = stored.zooark("dump latest").ends(0).stdout;
    lying(&stored, "packs/", "backup zookeeper --cluster prod --host h --full").ends(0);
    stored.zooark("--no-cache check").ends(4).prints("it is missing");
    stored.zooark("--no-cache dump latest").ends(4);
    stored.zooark("prune").ends(4).says("is missing");
    assert_eq!(stored.zooark("--no-cache dump latest~1").ends(0).stdout, before);
    stored.zooark("--no-cache repair index").one_of(&[0, 4]);
    stored.zooark("--no-cache repair snapshots --forget").one_of(&[0, 3]);
    stored.zooark("backup zookeeper --cluster prod --host h --full").ends(0);
    stored.zooark("--no-cache check --read-data").ends(0);
    assert_eq!(stored.zooark("--no-cache dump latest").ends(0).stdout, before);
}

/// A manifest that was never stored: the snapshot is not listed, and the next backup builds upon what is there.
#[test]
fn a_manifest_that_was_never_stored_is_no_snapshot() {
    let stored = Stored::new();
    let before = stored.zooark("dump latest").ends(0).stdout;
    lying(&stored, "snapshots/", "backup zookeeper --cluster prod --host h --force").ends(0);
    assert_eq!(stored.snapshots().len(), 2);
    stored.zooark("check --read-data").ends(0);
    stored.zooark("backup zookeeper --cluster prod --host h --force").ends(0);
    assert_eq!(stored.snapshots().len(), 3);
    stored.zooark("--no-cache check --read-data").ends(0);
    assert_eq!(stored.zooark("--no-cache dump latest").ends(0).stdout, before);
}

/// Deletions, lists and segments that only seem to be there: nothing that is needed goes, and the next run does it.
#[rstest]
#[case::packs_that_stay("packs/")]
#[case::lists("condemned/")]
#[case::segments("index/")]
#[case::manifests_that_stay("snapshots/")]
#[case::everything("")]
fn maintenance_on_a_store_that_lies_is_only_not_done(#[case] what: &str) {
    for scene in [bed::FORGET, bed::FORGET_PRUNE, bed::PRUNE] {
        let bed = Bed::new(scene);
        bed.reset();
        let ran = Ran::of(bed.command().env("ZOOARK_TEST_STORE", format!("lie 1 {what}")));
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        bed.recovers(&format!("{} lying about {what}: {ran:?}", scene.line));
    }
}
