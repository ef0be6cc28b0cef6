//! Servers set up in other ways than the default: their files are read as well, and what proves the state is what
//! such a server leaves to prove it with.

use std::fs;
use std::path::PathBuf;

use rstest::rstest;
use testing::server::{Client, Server, Setup};
use zk_format::data_dir::DataDir;
use zk_format::file_snap::{self, Compression};
use zk_format::increment::{IncrementOptions, load_increment};
use zk_format::load::{self, LoadOptions, Loaded, Note, Proof};

use crate::compare::{Seen, assert_same};
use crate::state::{Base, assert_exact, dir, load_at_rest, load_live};
use crate::turn;

const CHILDREN: usize = 500;
const CHURN: &str = "churn a 8000 3";

/// A server that has seen a workload under load, still running, and what its client sees.
fn worked(version: &str, setup: Setup) -> (Server, Seen) {
    let setup = setup.property("zookeeper.extendedTypesEnabled=true");
    let server = Server::start(version, setup).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(CHILDREN).unwrap();
    client.run(CHURN).unwrap();
    // Its sessions stay open on the server, so that its ephemerals are in the files.
    let seen = client.dump().unwrap();
    (server, seen)
}

/// Reads the running server's files and again those of the stopped one; both must be what the client saw.
fn read_both(server: &mut Server, seen: &Seen) -> Loaded {
    let running = load_live(server);
    assert_exact("running", &running);
    assert_same("running", running.tree.iter(), seen);
    server.stop().unwrap();
    let rested = load_at_rest(server);
    assert_exact("at rest", &rested);
    assert_same("at rest", rested.tree.iter(), seen);
    rested
}

fn often() -> Setup {
    Setup::default().property("zookeeper.snapCount=2000")
}

#[rstest]
#[case("3.6.4")]
#[case("3.9.4")]
fn without_digests_strict_replay_is_the_proof(#[case] version: &str) {
    let _turn = turn::of_a_server();
    // Now and then a server's fuzzy file lacks an ACL that was new while it was written. We read the log past that; a 3.9 server
    // ends at its next start, a 3.6 server cannot read that node any more, and there is nothing to compare with. Another is asked.
    assert!((0..6).any(|_| strict_replay_proves(version)), "no server could read its own files");
}

/// Whether the server could read its own files after a start; then all the rest was looked at.
fn strict_replay_proves(version: &str) -> bool {
    let (mut server, seen) = worked(version, often().property("zookeeper.digest.enabled=false"));
    let state = read_both(&mut server, &seen);
    assert_eq!(state.tree.base().stated_digest(), None);
    assert_ne!(state.proof, Proof::Digest);
    // A start writes a snapshot file of a state at rest; what follows continues it strictly.
    match server.start_again() {
        Err(e) if format!("{e:#}").contains("before it was serving") => return false,
        other => other.unwrap(),
    }
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.run(CHURN).unwrap();
    let seen = match client.dump() {
        Err(e) if format!("{e:#}").contains("getData -5") => return false,
        other => other.unwrap(),
    };
    let after = load_live(&server);
    assert_exact("after a start", &after);
    assert_same("after a start", after.tree.iter(), &seen);
    let base = Base(&state);
    let increment = load_increment(&dir(&server), &base, &base.state(), &IncrementOptions::default()).unwrap();
    assert_eq!(increment.proof, Proof::Replay);
    assert_eq!(increment.digest, Some(after.digest));
    true
}

/// A JVM in a locale without UTF-8 reads `?` for each other character when it computes digests.
#[rstest]
#[case("3.6.4")]
#[case("3.9.4")]
fn a_server_without_utf8_still_proves_its_tree_by_digests(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let (mut server, seen) = worked(version, Setup { locale: Some("C"), ..often() });
    let state = read_both(&mut server, &seen);
    assert_eq!(state.proof, Proof::Digest, "{:?}", state.notes);
    assert!(state.notes.contains(&Note::AsciiDigest), "{:?}", state.notes);
}

#[rstest]
#[case("gz", Compression::Gzip)]
#[case("snappy", Compression::Snappy)]
fn compressed_snapshot_files(#[case] method: &str, #[case] compression: Compression) {
    let _turn = turn::of_a_server();
    let setup = often().property(format!("zookeeper.snapshot.compression.method={method}"));
    let (mut server, seen) = worked("3.9.4", setup);
    let newest = server.snapshots().unwrap().pop().unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert_eq!(file_snap::parse_name(name).unwrap().1, compression);
    let state = read_both(&mut server, &seen);
    assert_eq!(state.proof, Proof::Digest);
}

#[test]
fn logs_in_a_directory_of_their_own_are_found_through_zoo_cfg() {
    let _turn = turn::of_a_server();
    let (mut server, seen) = worked("3.9.4", Setup { own_log_dir: true, ..often() });
    read_both(&mut server, &seen);
    let by_config = DataDir::from_config(&server.config_file()).unwrap();
    let state = load::load(&by_config, &LoadOptions::default()).unwrap();
    assert_exact("by zoo.cfg", &state);
    assert_same("by zoo.cfg", state.tree.iter(), &seen);
}

/// 3.4 writes its first snapshot file only after `snapCount` transactions.
#[test]
fn a_directory_of_3_4_with_a_log_and_no_snapshot_file() {
    let _turn = turn::of_a_server();
    let (mut server, seen) = worked("3.4.14", Setup::default());
    assert_eq!(server.snapshots().unwrap(), Vec::<PathBuf>::new());
    let state = read_both(&mut server, &seen);
    assert_eq!(state.proof, Proof::Replay);
    assert!(state.notes.contains(&Note::LogOnly));
}

/// A newest snapshot file that is damaged or was never finished: an older one and the logs lead to the same state.
#[rstest]
#[case(false)]
#[case(true)]
fn a_broken_newest_snapshot_file_is_passed_over_and_named(#[case] cut: bool) {
    let _turn = turn::of_a_server();
    let (mut server, seen) = worked("3.9.4", often());
    server.stop().unwrap();
    let newest = server.snapshots().unwrap().pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    if cut {
        bytes.truncate(middle);
    } else {
        bytes[middle] ^= 1;
    }
    fs::write(&newest, bytes).unwrap();
    let state = load_at_rest(&server);
    assert_exact("from an older file", &state);
    assert_same("from an older file", state.tree.iter(), &seen);
    let named = |note: &Note| match note {
        Note::BrokenSnapshot { problem } => problem.contains(newest.file_name().unwrap().to_str().unwrap()),
        Note::SnapshotInProgress { path } => *path == newest,
        _ => false,
    };
    assert!(state.notes.iter().any(named), "{:?}", state.notes);
}

/// `PurgeTxnLog`, as `autopurge` and `zkCleanup.sh` run it, while the directory is read again and again.
#[test]
fn files_purged_while_they_are_read() {
    let _turn = turn::of_a_server();
    let (mut server, seen) = worked("3.9.4", Setup::default().property("zookeeper.snapCount=500"));
    let before = server.snapshots().unwrap().len();
    let mut purge = server.java_tool("org.apache.zookeeper.server.PurgeTxnLog");
    let data = server.data_dir();
    let mut purge = purge.arg(&data).arg(&data).args(["-n", "3"]).spawn().unwrap();
    let mut reads = 0;
    while purge.try_wait().unwrap().is_none() || reads == 0 {
        let state = load_live(&server);
        assert_exact("while files were purged", &state);
        assert_same("while files were purged", state.tree.iter(), &seen);
        reads += 1;
    }
    assert!(purge.wait().unwrap().success());
    assert!(server.snapshots().unwrap().len() < before, "nothing was purged");
    read_both(&mut server, &seen);
}
