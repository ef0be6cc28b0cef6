#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::file_snap;
use crate::file_txn_log::{HEADER_BYTES, LogError};
use crate::model::{Model, Op, Trailers, Writing, ops, write_log};
use proptest::prelude::*;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory of one server, with both kinds of files in `version-2`.
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

fn write_snapshot(folder: &Path, zxid: Zxid, bytes: &[u8]) -> PathBuf {
    let path = folder.join(file_snap::name(zxid, file_snap::Compression::None));
    fs::write(&path, bytes).unwrap();
    path
}

fn load_all(place: &Place) -> Result<Loaded, LoadError> {
    load(&place.dir, &LoadOptions::default())
}

fn load_to(place: &Place, zxid: Zxid) -> Result<Loaded, LoadError> {
    load(&place.dir, &LoadOptions { to_zxid: Some(zxid), ..LoadOptions::default() })
}

/// Ten nodes, snapshot, ten more changes.
fn story(digests: bool, trailers: Trailers) -> (Place, Model, Model) {
    let mut model = Model::new();
    model.digests = digests;
    for index in 0..10 {
        model.create(&format!("/a{index}"));
    }
    let place = place();
    write_snapshot(&place.folder, model.zxid, &model.snapshot(trailers));
    let middle = model.clone();
    for index in 0..10 {
        model.create(&format!("/a{index}/b"));
    }
    write_log(&place.folder, &model.log);
    (place, middle, model)
}

fn model_at(model: &Model, zxid: Zxid) -> Model {
    // The story's transactions are all creates, so a prefix of them is a state of it.
    let mut model = model.clone();
    let gone: Vec<_> =
        model.nodes.iter().filter(|(_, node)| node.stat.czxid > zxid).map(|(path, _)| path.clone()).collect();
    for path in gone {
        model.nodes.remove(&path);
        let parent = path[..path.iter().rposition(|&byte| byte == b'/').unwrap()].to_vec();
        let node = model.nodes.get_mut(&parent).unwrap();
        node.stat.cversion -= 1;
        node.stat.pzxid = if parent.is_empty() { Zxid(10) } else { node.stat.czxid };
    }
    model
}

#[test]
fn a_digest_proves_the_state_and_the_anchor_names_its_last_record() {
    let (place, _, model) = story(true, Trailers::Digest);
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert_eq!((loaded.consistency, loaded.proof, loaded.tail), (Consistency::Exact, Proof::Digest, Tail::Unconfirmed));
    assert_eq!((loaded.zxid_low, loaded.zxid_high), (model.zxid, model.zxid));
    let last = &model.log.last().unwrap().1;
    assert_eq!(loaded.anchor, Some(Anchor { zxid: model.zxid, adler: simd_adler32::adler32(&last.as_slice()) }));
    assert_eq!(loaded.digest, model.digest());
    assert_eq!(loaded.state_time_ms, model.time());
    assert_eq!(loaded.notes, []);
}

#[test]
fn strict_replay_proves_what_has_no_digest() {
    let (place, _, model) = story(false, Trailers::None);
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert_eq!((loaded.consistency, loaded.proof), (Consistency::Exact, Proof::Replay));
}

#[test]
fn a_file_alone_is_exact_only_if_its_digest_says_so() {
    let (place, middle, _) = story(true, Trailers::Digest);
    fs::remove_file(place.folder.join("log.1")).unwrap();
    let loaded = load_all(&place).unwrap();
    middle.assert_same(&loaded.tree);
    assert_eq!((loaded.consistency, loaded.proof, loaded.anchor), (Consistency::Exact, Proof::Digest, None));

    let (place, middle, _) = story(false, Trailers::None);
    fs::remove_file(place.folder.join("log.1")).unwrap();
    let loaded = load_all(&place).unwrap();
    assert_eq!((loaded.consistency, loaded.proof), (Consistency::Fuzzy, Proof::None));
    assert_eq!(loaded.notes, [Note::Unsettled { snapshot: middle.zxid }]);

    let server = || Some(middle.zxid);
    let options = LoadOptions { server_zxid: Some(&server), ..LoadOptions::default() };
    let loaded = load(&place.dir, &options).unwrap();
    assert_eq!((loaded.consistency, loaded.tail), (Consistency::Exact, Tail::Confirmed));
}

#[test]
fn nothing_beyond_the_servers_own_zxid_is_taken() {
    let (place, _, model) = story(true, Trailers::LastZxid);
    let asked = Cell::new(0);
    let server = || {
        asked.set(asked.get() + 1);
        Some(Zxid(14))
    };
    let options = LoadOptions { server_zxid: Some(&server), ..LoadOptions::default() };
    let loaded = load(&place.dir, &options).unwrap();
    model_at(&model, Zxid(14)).assert_same(&loaded.tree);
    assert_eq!((loaded.zxid_high, loaded.tail, asked.get()), (Zxid(14), Tail::Confirmed, 1));
    let behind = || Some(Zxid(3));
    let options = LoadOptions { server_zxid: Some(&behind), ..LoadOptions::default() };
    assert!(matches!(load(&place.dir, &options), Err(LoadError::ServerBehind { server: Zxid(3), snapshot: Zxid(10) })));
}

#[test]
fn a_state_can_be_asked_for() {
    let (place, _, model) = story(true, Trailers::Digest);
    for zxid in 10..=20 {
        let loaded = load_to(&place, Zxid(zxid)).unwrap();
        model_at(&model, Zxid(zxid)).assert_same(&loaded.tree);
        assert_eq!((loaded.zxid_high, loaded.consistency), (Zxid(zxid), Consistency::Exact));
    }
    assert!(matches!(load_to(&place, Zxid(9)), Err(LoadError::TooEarly { asked: Zxid(9), oldest: Zxid(10) })));
    assert!(matches!(load_to(&place, Zxid(21)), Err(LoadError::TooLate { asked: Zxid(21), end: Zxid(20) })));
}

#[test]
fn a_gap_is_named_unless_the_state_asked_for_is_before_it() {
    let (place, _, model) = story(true, Trailers::Digest);
    fs::remove_file(place.folder.join("log.1")).unwrap();
    write_log(&place.folder, &model.log[..14]);
    write_log(&place.folder, &model.log[16..]);
    match load_all(&place) {
        Err(LoadError::Chain(ChainError::Gap { path, offset, after, found })) => {
            assert_eq!((path, offset), (place.folder.join("log.11"), HEADER_BYTES));
            assert_eq!((after, found), (Zxid(14), Zxid(17)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(load_to(&place, Zxid(14)).unwrap().zxid_high, Zxid(14));
    assert!(matches!(load_to(&place, Zxid(15)), Err(LoadError::Chain(ChainError::Gap { .. }))));
    // A gap before the file in use is an everyday sight.
    fs::remove_file(place.folder.join("log.1")).unwrap();
    fs::remove_file(place.folder.join("log.11")).unwrap();
    write_log(&place.folder, &model.log[..5]);
    write_log(&place.folder, &model.log[10..]);
    model.assert_same(&load_all(&place).unwrap().tree);
}

#[test]
fn a_log_torn_at_any_byte_yields_the_state_before_the_torn_record() {
    let (place, _, model) = story(true, Trailers::Digest);
    let path = place.folder.join("log.1");
    let whole = fs::read(&path).unwrap();
    let records = 16 + model.log.iter().map(|(_, payload)| payload.len() + 13).sum::<usize>();
    let mut ends = vec![16usize];
    for (_, payload) in &model.log {
        ends.push(ends.last().unwrap() + payload.len() + 13);
    }
    for cut in ends[10]..records {
        fs::write(&path, &whole[..cut]).unwrap();
        let applied = ends.iter().filter(|&&end| end <= cut).count() - 1;
        let loaded = load_all(&place).unwrap();
        assert_eq!(loaded.zxid_high, model.log[applied - 1].0, "cut at {cut}");
        model_at(&model, loaded.zxid_high).assert_same(&loaded.tree);
        let torn = loaded.notes.iter().any(|note| matches!(note, Note::Torn(_)));
        // A checksum starts with four zeros, and zeros are padding.
        assert_eq!(torn, cut > ends[applied] + 4, "cut at {cut}: {:?}", loaded.notes);
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_the_end_and_never_another_state() {
    let (place, _, model) = story(true, Trailers::Digest);
    let path = place.folder.join("log.1");
    let whole = fs::read(&path).unwrap();
    let records = 16 + model.log.iter().map(|(_, payload)| payload.len() + 13).sum::<usize>();
    let last = records - model.log.last().unwrap().1.len() - 13;
    for at in 0..records + 20 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        match load_all(&place) {
            Ok(loaded) => {
                model_at(&model, loaded.zxid_high).assert_same(&loaded.tree);
                // Only in the last record, or behind it, can damage look like a torn end; the header's dbid is unused.
                assert!(at >= last || (8..16).contains(&at), "byte {at}: silently at {}", loaded.zxid_high);
            }
            Err(LoadError::Chain(ChainError::Log(LogError::Corrupt { offset, next_offset, .. }))) => {
                assert!(offset <= at as u64 && (at as u64) < next_offset, "byte {at}: {offset}..{next_offset}");
            }
            Err(LoadError::Chain(ChainError::Log(LogError::NotALog { .. }))) => assert!(at < 8),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn an_unfinished_record_written_again_in_the_next_file_is_taken_once() {
    let (place, _, model) = story(true, Trailers::Digest);
    let first = place.folder.join("log.1");
    write_log(&place.folder, &model.log[14..]);
    // Whole in both files.
    write_log(&place.folder, &model.log[..15]);
    model.assert_same(&load_all(&place).unwrap().tree);
    // Torn in the first.
    let records = 16 + model.log[..15].iter().map(|(_, payload)| payload.len() + 13).sum::<usize>();
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..records - 4]).unwrap();
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert!(matches!(loaded.notes.as_slice(), [Note::Torn(_)]), "{:?}", loaded.notes);
    // Another transaction under the same zxid.
    let mut other = model.log[..15].to_vec();
    other[14].1[8] ^= 1;
    write_log(&place.folder, &other);
    assert!(matches!(load_all(&place), Err(LoadError::Chain(ChainError::TwoHistories { zxid: Zxid(15), .. }))));
}

#[test]
fn a_broken_newest_file_falls_back_and_says_so() {
    let (place, _, model) = story(true, Trailers::Digest);
    let newest = model.snapshot(Trailers::Digest);
    let path = write_snapshot(&place.folder, model.zxid, &newest[..newest.len() / 2]);
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert_eq!(loaded.notes, [Note::SnapshotInProgress { path: path.clone() }]);
    let mut damaged = newest.clone();
    damaged[60] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert!(matches!(loaded.notes.as_slice(), [Note::BrokenSnapshot { .. }]), "{:?}", loaded.notes);
    // A file that is no point of the logs' history: the member was given a state by another.
    fs::rename(&path, place.folder.join("snapshot.63")).unwrap();
    assert!(matches!(load_all(&place), Err(LoadError::NotJoined { used: Zxid(10), .. })));
    assert_eq!(load_to(&place, Zxid(20)).unwrap().zxid_high, Zxid(20));
    fs::remove_file(place.folder.join("snapshot.a")).unwrap();
    assert!(matches!(load_all(&place), Err(LoadError::NoSnapshot { count: 1, .. })));
}

#[test]
fn logs_alone_make_a_state_only_from_the_beginning() {
    let (place, _, model) = story(false, Trailers::None);
    fs::remove_file(place.folder.join("snapshot.a")).unwrap();
    let loaded = load_all(&place).unwrap();
    model.assert_same(&loaded.tree);
    assert_eq!((loaded.consistency, loaded.proof), (Consistency::Exact, Proof::Replay));
    assert_eq!(loaded.notes, [Note::LogOnly]);
    fs::remove_file(place.folder.join("log.1")).unwrap();
    write_log(&place.folder, &model.log[3..]);
    assert!(matches!(load_all(&place), Err(LoadError::LogOnly { .. })));
    fs::remove_file(place.folder.join("log.4")).unwrap();
    assert!(matches!(load_all(&place), Err(LoadError::Dir(crate::data_dir::DataDirError::Empty { .. }))));
}

/// A follower that re-joined by a full sync logs the first transaction of a new epoch right behind its last one,
/// however many are missing between.
#[test]
fn a_new_epoch_needs_proof() {
    for digests in [true, false] {
        let (place, _, mut model) = story(digests, Trailers::LastZxid);
        let missing = model.log.len();
        model.create("/missed");
        model.run(&Op::Epoch);
        model.set("/a1", "after");
        fs::remove_file(place.folder.join("log.1")).unwrap();
        let gap: Vec<_> =
            model.log.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, record)| record.clone()).collect();
        write_log(&place.folder, &gap[..missing]);
        write_log(&place.folder, &gap[missing..]);
        let loaded = load_all(&place).unwrap();
        if digests {
            assert_eq!(loaded.consistency, Consistency::Exact, "every transaction fits");
            assert!(
                matches!(loaded.notes[..], [Note::DigestMismatch { replay_holds: true, .. }]),
                "{:?}",
                loaded.notes
            );
        }
        // A session alone proves nothing.
        let mut idle = model_at(&model, Zxid(20));
        idle.zxid = Zxid(20);
        idle.log.truncate(20);
        idle.digests = false;
        idle.run(&Op::Epoch);
        idle.run(&Op::Open(1));
        fs::remove_file(place.folder.join(crate::file_txn_log::name(Zxid::new(1, 1)))).unwrap();
        write_log(&place.folder, &idle.log[20..]);
        let loaded = load_all(&place).unwrap();
        assert_eq!(loaded.consistency, Consistency::Fuzzy);
        let expected = Note::EpochUnproven { before: Zxid(20), first: Zxid::new(1, 1) };
        assert_eq!(loaded.notes, [expected]);
    }
}

/// The first file of an ensemble is named 0, and the first epoch begins behind it.
#[test]
fn a_file_of_nothing_is_the_state_at_zero() {
    for is_empty in [true, false] {
        let mut model = Model::new();
        model.digests = false;
        let place = place();
        let empty = model.snapshot(Trailers::None);
        model.run(&Op::Epoch);
        model.create("/a");
        // A server that began to write at 0 may have seen this.
        write_snapshot(&place.folder, Zxid(0), &if is_empty { empty } else { model.snapshot(Trailers::None) });
        model.create("/a/b");
        write_log(&place.folder, &model.log);
        let server = || Some(model.zxid);
        let options = LoadOptions { server_zxid: Some(&server), ..LoadOptions::default() };
        let loaded = load(&place.dir, &options).unwrap();
        model.assert_same(&loaded.tree);
        if is_empty {
            assert_eq!((loaded.consistency, loaded.proof), (Consistency::Exact, Proof::Replay));
            assert_eq!(loaded.notes, []);
        } else {
            assert_eq!(loaded.consistency, Consistency::Fuzzy);
            assert_eq!(loaded.notes, [Note::EpochUnproven { before: Zxid(0), first: Zxid::new(1, 1) }]);
        }
    }
}

#[test]
fn a_digest_that_is_not_the_trees_is_said() {
    let (place, mut middle, _) = story(true, Trailers::Digest);
    middle.nodes.get_mut(b"/a3".as_slice()).unwrap().data = Some((*b"other").into());
    let mut bytes = middle.snapshot(Trailers::Digest);
    write_snapshot(&place.folder, Zxid(10), &bytes);
    let loaded = load_all(&place).unwrap();
    let mismatch = Note::DigestMismatch { zxid: Zxid(20), replay_holds: true };
    assert_eq!((loaded.consistency, loaded.proof, loaded.notes), (Consistency::Exact, Proof::Replay, vec![mismatch]));
    // Where replay does not hold either, it is not a state.
    middle.nodes.get_mut(b"/a3".as_slice()).unwrap().stat.cversion = 7;
    bytes = middle.snapshot(Trailers::Digest);
    write_snapshot(&place.folder, Zxid(10), &bytes);
    let loaded = load_all(&place).unwrap();
    assert_eq!((loaded.consistency, loaded.proof), (Consistency::Fuzzy, Proof::None));
    assert!(loaded.notes.contains(&Note::DigestMismatch { zxid: Zxid(20), replay_holds: false }), "{:?}", loaded.notes);
}

#[test]
fn acl_lists_that_the_file_lacks_come_from_the_log() {
    let mut model = Model::new();
    model.create("/a");
    let mut writing = Writing::start(&model);
    model.create("/aa");
    model.create("/aaa");
    while !writing.step(&model) {}
    let place = place();
    write_snapshot(&place.folder, writing.zxid, &writing.finish(&model, Trailers::Digest));
    write_log(&place.folder, &model.log);
    let loaded = load_all(&place).unwrap();
    assert_eq!(loaded.unresolved_acls, Vec::<Vec<u8>>::new());
    model.assert_same(&loaded.tree);
    fs::remove_file(place.folder.join("log.1")).unwrap();
    let loaded = load_all(&place).unwrap();
    assert_eq!(loaded.consistency, Consistency::Exact);
    assert!(loaded.notes.contains(&Note::SessionsIncomplete { snapshot: Zxid(1) }));
    assert!(!loaded.unresolved_acls.is_empty());
}

/// Servers from 3.6 list the nodes that a session takes with it.
fn listed(op: &Op) -> Op {
    if let Op::Close(session, _) = op { Op::Close(*session, true) } else { op.clone() }
}

/// Before 3.6 the log does not say which nodes a session took with it. One that was removed while the file was written,
/// behind its parent and before itself, leaves no trace of the parent's change: the servers' own loss.
#[test]
fn a_session_that_ends_without_a_list_while_the_file_is_written_is_told() {
    for (trailers, consistency) in [(Trailers::None, Consistency::Exact), (Trailers::LastZxid, Consistency::Fuzzy)] {
        let mut model = Model::new();
        model.digests = false;
        model.run(&Op::Open(1));
        model.run(&Op::Create { parent: 0, name: 1, kind: 3, session: 1, data: None });
        let mut writing = Writing::start(&model);
        writing.step(&model);
        model.run(&Op::Close(1, false));
        while !writing.step(&model) {}
        let place = place();
        write_snapshot(&place.folder, writing.zxid, &writing.finish(&model, trailers));
        write_log(&place.folder, &model.log);
        let loaded = load_all(&place).unwrap();
        assert_eq!(loaded.tree.find(b"/").unwrap().stat.pzxid, Zxid(2), "the close at 3 left no trace");
        assert_eq!(loaded.consistency, consistency);
        assert_eq!(loaded.notes, [Note::UnlistedClose { zxid: Zxid(3) }]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A file written while the server goes on, whatever it does, becomes exact with the log.
    #[test]
    fn a_fuzzy_file_becomes_exact(
        before in ops(30),
        during in ops(30),
        after in ops(10),
        pace in 1usize..4,
        trailers in prop::sample::select(vec![Trailers::None, Trailers::Digest, Trailers::LastZxid]),
        digests: bool,
        split in any::<prop::sample::Index>(),
    ) {
        let mut model = Model::new();
        model.digests = digests;
        model.create("/first");
        model.run_all(&before);
        let mut writing = Writing::start(&model);
        let mut rest = during.iter();
        while !writing.step(&model) {
            rest.by_ref().take(pace).for_each(|op| model.run(&listed(op)));
        }
        let place = place();
        write_snapshot(&place.folder, writing.zxid, &writing.finish(&model, trailers));
        model.run_all(&after);
        let cut = split.index(model.log.len());
        if cut > 0 {
            write_log(&place.folder, &model.log[..cut]);
        }
        write_log(&place.folder, &model.log[cut..]);
        let loaded = load_all(&place).unwrap();
        prop_assert_eq!(loaded.zxid_high, model.zxid);
        model.assert_same(&loaded.tree);
        prop_assert_eq!(&loaded.unresolved_acls, &Vec::<Vec<u8>>::new());
        let sessions: Vec<_> = loaded.sessions.iter().map(|session| (session.id, session.timeout_ms)).collect();
        prop_assert_eq!(sessions, model.sessions.clone().into_iter().collect::<Vec<_>>());
        let unproven = loaded.notes.iter().any(|note| matches!(note, Note::EpochUnproven { .. }));
        prop_assert_eq!(loaded.consistency == Consistency::Exact, !unproven, "{:?}", loaded.notes);
        prop_assert_eq!(loaded.digest, model.digest());
    }
}
