#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::load::{Consistency, LoadOptions, load};
use crate::model::{Model, Op, Trailers, ops, write_log};
use crate::types::Node;
use proptest::prelude::*;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A state as a repository keeps it: nodes by path, and no idea whose they are.
impl BaseStore for Model {
    type Error = Infallible;

    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, Infallible> {
        Ok(self.nodes.get(path).cloned())
    }

    fn ephemerals_of(&self, _session: i64) -> Result<Option<Vec<Vec<u8>>>, Infallible> {
        Ok(None)
    }
}

struct Place {
    _root: TempDir,
    folder: PathBuf,
    dir: DataDir,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("version-2");
    fs::create_dir(&folder).unwrap();
    let dir = DataDir::open(root.path(), None).unwrap();
    Place { _root: root, folder, dir }
}

fn anchor(model: &Model) -> Anchor {
    let (zxid, payload) = model.log.last().unwrap();
    Anchor { zxid: *zxid, adler: simd_adler32::adler32(&payload.as_slice()) }
}

fn state(model: &Model) -> BaseState {
    BaseState { anchor: anchor(model), place: None, digest: Some(model.digest()) }
}

fn increment(place: &Place, base: &Model) -> Result<Increment, IncrementError<Infallible>> {
    load_increment(&place.dir, base, &state(base), &IncrementOptions::default())
}

fn doubt(place: &Place, base: &Model) -> Doubt {
    match increment(place, base) {
        Err(IncrementError::NeedFull(doubt)) => doubt,
        Ok(increment) => panic!("{increment:?}"),
    }
}

/// Five nodes, then five changes, one log.
fn story(digests: bool) -> (Place, Model, Model) {
    let mut model = Model::new();
    model.digests = digests;
    for index in 0..5 {
        model.create(&format!("/a{index}"));
    }
    let base = model.clone();
    for index in 0..5 {
        model.set(&format!("/a{index}"), "new");
    }
    let place = place();
    write_log(&place.folder, &model.log);
    (place, base, model)
}

fn assert_leads(base: &Model, increment: &Increment, model: &Model) {
    let mut nodes = base.nodes.clone();
    for touched in &increment.touched {
        assert_eq!(nodes.get(&*touched.path), touched.old.as_ref());
        match &touched.new {
            Some(node) => drop(nodes.insert(touched.path.to_vec(), node.clone())),
            None => drop(nodes.remove(&*touched.path)),
        }
    }
    assert_eq!(nodes, model.nodes);
    assert!(increment.touched.is_sorted_by(|a, b| crate::key::compare(&a.path, &b.path).is_lt()));
    let mut sessions = base.sessions.clone();
    for (id, change) in &increment.sessions {
        match change {
            Some(timeout) => drop(sessions.insert(*id, *timeout)),
            None => drop(sessions.remove(id)),
        }
    }
    assert_eq!(sessions, model.sessions);
}

#[test]
fn the_log_alone_leads_to_the_next_state() {
    for (digests, proof) in [(true, Proof::Digest), (false, Proof::Replay)] {
        let (place, base, model) = story(digests);
        let increment = increment(&place, &base).unwrap();
        assert_leads(&base, &increment, &model);
        assert_eq!(increment.touched.len(), 5, "the nodes set and nothing else");
        assert_eq!((increment.proof, increment.tail, increment.transactions), (proof, Tail::Unconfirmed, 5));
        assert_eq!((increment.anchor, increment.zxid), (anchor(&model), model.zxid));
        assert_eq!(increment.digest, Some(model.digest()));
        assert_eq!(increment.state_time_ms, model.time());
    }
}

#[test]
fn a_remembered_place_saves_reading_and_a_wrong_one_does_no_harm() {
    let (place, base, model) = story(true);
    let before = 16 + base.log[..4].iter().map(|(_, payload)| payload.len() as u64 + 13).sum::<u64>();
    for offset in [before, 0, 16, before + 1, before + 300, 1 << 40] {
        for file in [Zxid(1), Zxid(2)] {
            let state = BaseState { place: Some(LogPlace { file, offset }), ..state(&base) };
            let increment = load_increment(&place.dir, &base, &state, &IncrementOptions::default()).unwrap();
            assert_leads(&base, &increment, &model);
        }
    }
}

#[test]
fn nothing_new_is_no_change() {
    let (place, _, model) = story(true);
    let increment = increment(&place, &model).unwrap();
    assert_eq!((increment.touched.len(), increment.transactions, increment.zxid), (0, 0, model.zxid));
    assert_eq!((increment.anchor, increment.digest), (anchor(&model), Some(model.digest())));
}

#[test]
fn the_servers_own_zxid_and_a_state_asked_for_cut_the_log() {
    let (place, base, _) = story(true);
    let at = |zxid| move || Some(Zxid(zxid));
    let (seven, three) = (at(7), at(3));
    let options = IncrementOptions { server_zxid: Some(&seven), ..IncrementOptions::default() };
    let increment = load_increment(&place.dir, &base, &state(&base), &options).unwrap();
    assert_eq!((increment.zxid, increment.tail, increment.touched.len()), (Zxid(7), Tail::Confirmed, 2));
    let options = IncrementOptions { server_zxid: Some(&three), ..IncrementOptions::default() };
    let error = load_increment(&place.dir, &base, &state(&base), &options).unwrap_err();
    assert!(matches!(error, IncrementError::NeedFull(Doubt::ServerBehind { server: Zxid(3), base: Zxid(5) })));
    for (asked, expected) in [
        (3, Doubt::BeforeBase { asked: Zxid(3), base: Zxid(5) }),
        (30, Doubt::NotReached { asked: Zxid(30), end: Zxid(10) }),
    ] {
        let options = IncrementOptions { to_zxid: Some(Zxid(asked)), ..IncrementOptions::default() };
        match load_increment(&place.dir, &base, &state(&base), &options) {
            Err(IncrementError::NeedFull(doubt)) => assert_eq!(doubt, expected),
            Ok(increment) => panic!("{increment:?}"),
        }
    }
}

#[test]
fn every_doubt_asks_for_a_full_read() {
    let (place, base, model) = story(true);
    let log = place.folder.join("log.1");
    // Purged.
    fs::remove_file(&log).unwrap();
    write_log(&place.folder, &model.log[6..]);
    assert_eq!(doubt(&place, &base), Doubt::AnchorMissing { anchor: anchor(&base) });
    // Truncated before it.
    fs::remove_file(place.folder.join("log.7")).unwrap();
    write_log(&place.folder, &model.log[..4]);
    assert_eq!(doubt(&place, &base), Doubt::AnchorMissing { anchor: anchor(&base) });
    // Another history.
    let mut other = model.log.clone();
    other[4].1[8] ^= 1;
    write_log(&place.folder, &other);
    assert_eq!(doubt(&place, &base), Doubt::OtherHistory { anchor: anchor(&base) });
    // A gap.
    write_log(&place.folder, &model.log[..7]);
    write_log(&place.folder, &model.log[8..]);
    assert!(matches!(doubt(&place, &base), Doubt::Unreadable(text) if text.contains("0x9 after 0x7")));
    fs::remove_file(place.folder.join("log.9")).unwrap();
    write_log(&place.folder, &model.log);
    // A base that is not the state at its zxid, in a node that is touched and in one that is not.
    let mut wrong = base.clone();
    wrong.nodes.get_mut(b"/a0".as_slice()).unwrap().stat.version = 5;
    assert!(matches!(doubt(&place, &wrong), Doubt::Miss(_)));
    let mut wrong = base.clone();
    wrong.nodes.get_mut(b"".as_slice()).unwrap().stat.cversion = 50;
    assert!(matches!(doubt(&place, &wrong), Doubt::DigestMismatch { zxid: Zxid(6) }));
    let none = BaseState { digest: None, ..state(&base) };
    let error = load_increment(&place.dir, &base, &none, &IncrementOptions::default()).unwrap_err();
    assert!(matches!(error, IncrementError::NeedFull(Doubt::NoBaseDigest)));
    // A snapshot file of another history.
    fs::write(place.folder.join("snapshot.14"), b"").unwrap();
    assert!(matches!(doubt(&place, &base), Doubt::NotJoined { .. }));
    fs::remove_file(place.folder.join("snapshot.14")).unwrap();
    // Damage.
    let mut bytes = fs::read(&log).unwrap();
    let at = 16 + model.log[..7].iter().map(|(_, payload)| payload.len() + 13).sum::<usize>() + 40;
    bytes[at] ^= 1;
    fs::write(&log, &bytes).unwrap();
    assert!(matches!(doubt(&place, &base), Doubt::Unreadable(_)));
    fs::remove_file(&log).unwrap();
    assert_eq!(doubt(&place, &base), Doubt::AnchorMissing { anchor: anchor(&base) });
}

#[test]
fn a_session_that_may_own_nodes_and_ends_without_a_list_needs_a_full_read() {
    for listed in [true, false] {
        let mut model = Model::new();
        model.run(&Op::Open(1));
        model.run(&Op::Create { parent: 0, name: 1, kind: 3, session: 1, data: None });
        let base = model.clone();
        // Opened after the base: everything it owns is in the range.
        model.run(&Op::Open(2));
        model.run(&Op::Create { parent: 0, name: 2, kind: 3, session: 2, data: None });
        model.run(&Op::Close(2, false));
        model.run(&Op::Close(1, listed));
        let place = place();
        write_log(&place.folder, &model.log);
        if listed {
            assert_leads(&base, &increment(&place, &base).unwrap(), &model);
        } else {
            assert_eq!(doubt(&place, &base), Doubt::SessionNodes { zxid: model.zxid, session: 0x1001 });
        }
    }
}

#[test]
fn a_new_epoch_is_proven_by_a_digest_or_by_changes_that_fit() {
    for (digests, change, holds) in [(true, false, true), (false, false, false), (false, true, true)] {
        let (place, base, mut model) = story(digests);
        model.run(&Op::Epoch);
        model.run(&Op::Open(1));
        if change {
            model.set("/a1", "later");
        }
        write_log(&place.folder, &model.log);
        match increment(&place, &base) {
            Ok(increment) => {
                assert!(holds);
                assert_leads(&base, &increment, &model);
            }
            Err(IncrementError::NeedFull(doubt)) => {
                assert!(!holds, "{doubt}");
                assert_eq!(doubt, Doubt::EpochUnproven { before: Zxid(10), first: Zxid::new(1, 1) });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever the server did, an increment is what lies between two states, and the same as a full read says.
    #[test]
    fn an_increment_is_the_difference(before in ops(30), during in ops(30), digests: bool, split in any::<prop::sample::Index>()) {
        let listed = |ops: &[Op]| -> Vec<Op> {
            ops.iter().map(|op| if let Op::Close(session, _) = op { Op::Close(*session, true) } else { op.clone() }).collect()
        };
        let mut model = Model::new();
        model.digests = digests;
        model.create("/first");
        model.run_all(&listed(&before));
        let base = model.clone();
        model.run_all(&listed(&during));
        model.set("", "last");
        let place = place();
        let cut = split.index(model.log.len());
        if cut > 0 {
            write_log(&place.folder, &model.log[..cut]);
        }
        write_log(&place.folder, &model.log[cut..]);
        let increment = increment(&place, &base).unwrap();
        assert_leads(&base, &increment, &model);
        prop_assert_eq!(increment.proof, if digests { Proof::Digest } else { Proof::Replay });
        let snapshot = place.folder.join(crate::file_snap::name(base.zxid, crate::file_snap::Compression::None));
        fs::write(snapshot, base.snapshot(Trailers::LastZxid)).unwrap();
        let full = load(&place.dir, &LoadOptions::default()).unwrap();
        model.assert_same(&full.tree);
        prop_assert_eq!(full.consistency, Consistency::Exact);
        prop_assert_eq!((full.anchor, full.place, Some(full.digest)), (Some(increment.anchor), Some(increment.place), increment.digest));
    }
}
