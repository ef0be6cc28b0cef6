#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::replay::MissKind;
use rstest::rstest;

/// A file named 10, written until 12, with a trailer that says so, and a log up to 20 that changes nodes.
fn evidence() -> Evidence<'static> {
    Evidence {
        snapshot: Zxid(10),
        end: Some(Zxid(12)),
        own_digest: None,
        digest_trailer: Some(Zxid(12)),
        reached: Zxid(20),
        last_change: Some(Zxid(20)),
        unlisted_close: None,
        end_stated: true,
        verdict: DigestVerdict::default(),
        first_miss: None,
        boundaries: &[],
    }
}

fn verdict(last_match: i64, last_mismatch: i64) -> DigestVerdict {
    let some = |zxid| (zxid > 0).then_some(Zxid(zxid));
    DigestVerdict { last_match: some(last_match), last_mismatch: some(last_mismatch), ascii: false }
}

#[rstest]
#[case::nothing_said(verdict(0, 0), Consistency::Exact, Proof::Replay)]
#[case::held(verdict(20, 0), Consistency::Exact, Proof::Digest)]
#[case::held_in_the_end(verdict(20, 12), Consistency::Exact, Proof::Digest)]
#[case::failed_in_the_end(verdict(19, 20), Consistency::Exact, Proof::Replay)]
#[case::a_race_where_the_file_ended(verdict(0, 12), Consistency::Exact, Proof::Replay)]
fn the_newest_digest_counts(#[case] verdict: DigestVerdict, #[case] consistency: Consistency, #[case] proof: Proof) {
    let (found, how, notes) = judge(&Evidence { verdict, ..evidence() });
    assert_eq!((found, how), (consistency, proof));
    let mismatch = notes.iter().any(|note| matches!(note, Note::DigestMismatch { .. }));
    assert_eq!(mismatch, verdict.last_mismatch == Some(Zxid(20)), "{notes:?}");
    let race = notes.iter().any(|note| matches!(note, Note::DigestRace { .. }));
    assert_eq!(race, verdict.last_mismatch == Some(Zxid(12)) && verdict.last_match.is_none(), "{notes:?}");
}

#[rstest]
#[case::before_the_end(Some(Zxid(12)), None, Zxid(11), Consistency::Fuzzy)]
#[case::at_the_end(Some(Zxid(12)), None, Zxid(12), Consistency::Exact)]
#[case::unknown(None, None, Zxid(20), Consistency::Fuzzy)]
#[case::unknown_but_proven(None, Some(Zxid(12)), Zxid(12), Consistency::Exact)]
fn a_file_must_be_left_behind(
    #[case] end: Option<Zxid>,
    #[case] own_digest: Option<Zxid>,
    #[case] reached: Zxid,
    #[case] expected: Consistency,
) {
    let (found, _, notes) = judge(&Evidence { end, own_digest, reached, last_change: None, ..evidence() });
    assert_eq!(found, expected);
    assert_eq!(notes.is_empty(), expected == Consistency::Exact, "{notes:?}");
}

#[rstest]
#[case::while_written(11, Consistency::Exact)]
#[case::behind_it(13, Consistency::Fuzzy)]
fn a_miss_counts_behind_the_end_of_the_file(#[case] zxid: i64, #[case] expected: Consistency) {
    let miss = Miss { zxid: Zxid(zxid), path: b"/a".to_vec(), kind: MissKind::Missing };
    let (found, proof, _) = judge(&Evidence { first_miss: Some(&miss), ..evidence() });
    assert_eq!((found, proof), (expected, Proof::None));
    // A digest that holds says more than any miss.
    let (found, proof, _) = judge(&Evidence { first_miss: Some(&miss), verdict: verdict(20, 0), ..evidence() });
    assert_eq!((found, proof), (Consistency::Exact, Proof::Digest));
    // One that fails with it settles nothing.
    let (found, proof, _) = judge(&Evidence { first_miss: Some(&miss), verdict: verdict(0, 20), ..evidence() });
    assert_eq!((found, proof), (Consistency::Fuzzy, Proof::None));
}

#[rstest]
#[case::digest_behind_it(verdict(19, 0), Some(Zxid(18)), Consistency::Exact)]
#[case::digest_before_it(verdict(14, 0), None, Consistency::Fuzzy)]
#[case::change_behind_it(verdict(14, 0), Some(Zxid(16)), Consistency::Exact)]
#[case::change_before_it(verdict(0, 0), Some(Zxid(14)), Consistency::Fuzzy)]
fn an_epoch_needs_something_behind_its_beginning(
    #[case] verdict: DigestVerdict,
    #[case] last_change: Option<Zxid>,
    #[case] expected: Consistency,
) {
    let boundaries = [(Zxid(14), Zxid(15))];
    let (found, _, notes) = judge(&Evidence { verdict, last_change, boundaries: &boundaries, ..evidence() });
    assert_eq!(found, expected);
    assert_eq!(
        notes.contains(&Note::EpochUnproven { before: Zxid(14), first: Zxid(15) }),
        expected == Consistency::Fuzzy
    );
}

/// What does not fit behind the beginning of an epoch is said, though the file before it may have been fuzzy.
#[test]
fn a_miss_that_leaves_an_epoch_unproven_is_named() {
    let miss = Miss { zxid: Zxid(16), path: b"/a".to_vec(), kind: MissKind::Missing };
    let boundaries = [(Zxid(14), Zxid(15))];
    let known = Evidence { verdict: verdict(0, 0), first_miss: Some(&miss), boundaries: &boundaries, ..evidence() };
    let (found, _, notes) = judge(&Evidence { end: Some(Zxid(17)), ..known });
    assert_eq!(found, Consistency::Fuzzy);
    assert!(notes.contains(&Note::Miss(miss.clone())), "{notes:?}");
}
