//! A directory that a real server wrote, before and after a change: read in full, and by the log alone.

use std::path::Path;
use zk_format::data_dir::DataDir;
use zk_format::increment::{BaseState, IncrementOptions, load_increment};
use zk_format::load::{Consistency, LoadOptions, Loaded, Proof, load};
use zk_format::{Zxid, key};

fn directory(name: &str) -> DataDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/recorded").join(name);
    DataDir::open(&root, None).expect("recorded with the project")
}

fn full(name: &str) -> Loaded {
    load(&directory(name), &LoadOptions::default()).expect("a server wrote it")
}

#[test]
fn both_states_are_exact_and_proven_by_the_servers_digest() {
    for name in ["before", "after"] {
        let loaded = full(name);
        assert_eq!(
            (loaded.consistency, loaded.proof),
            (Consistency::Exact, Proof::Digest),
            "{name}: {:?}",
            loaded.notes
        );
        assert!(loaded.anchor.is_some_and(|anchor| anchor.zxid == loaded.zxid_high));
        assert!(loaded.unresolved_acls.is_empty());
        let paths: Vec<_> = loaded.tree.iter().map(|node| key::encode(node.path)).collect();
        assert!(paths.is_sorted() && paths.len() == loaded.tree.len());
    }
}

#[test]
fn every_state_that_can_be_asked_for_is_exact() {
    let last = full("after").zxid_high;
    for zxid in 1..=last.0 {
        let options = LoadOptions { to_zxid: Some(Zxid(zxid)), ..LoadOptions::default() };
        match load(&directory("after"), &options) {
            Ok(loaded) => {
                assert_eq!(
                    (loaded.zxid_high, loaded.consistency),
                    (Zxid(zxid), Consistency::Exact),
                    "{:?}",
                    loaded.notes
                );
                assert_ne!(loaded.proof, Proof::None, "{zxid:#x}: {:?}", loaded.notes);
            }
            Err(error) => panic!("{zxid:#x}: {error}"),
        }
    }
}

#[test]
fn the_log_leads_from_any_state_to_the_last() {
    let last = full("after");
    for zxid in 1..last.zxid_high.0 {
        let options = LoadOptions { to_zxid: Some(Zxid(zxid)), ..LoadOptions::default() };
        let base = load(&directory("after"), &options).expect("asked for above");
        let anchor = base.anchor.expect("the log is whole");
        let state = BaseState { anchor, place: base.place, digest: Some(base.digest) };
        let step = load_increment(&directory("after"), &base.tree, &state, &IncrementOptions::default());
        let step = step.unwrap_or_else(|error| panic!("from {zxid:#x}: {error}"));
        assert_eq!((step.zxid, step.digest), (last.zxid_high, Some(last.digest)), "from {zxid:#x}");
        for touched in &step.touched {
            let there = last.tree.find(&touched.path);
            let new = touched.new.as_ref();
            assert_eq!(
                there.map(|node| (node.data, node.acl, node.stat)),
                new.map(|node| (node.data.as_deref(), node.acl.as_ref(), node.stat))
            );
        }
        let added =
            |new: bool| step.touched.iter().filter(|t| t.old.is_some() != new && t.new.is_some() == new).count();
        assert_eq!(base.tree.len() + added(true) - added(false), last.tree.len());
    }
}
