#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::model::{Model, Op, ops};
use crate::tree::FlatTree;
use crate::txn::Txn;
use proptest::prelude::*;

fn replay_all<'b>(base: &'b FlatTree, model: &Model, mode: Mode) -> Replay<'b, FlatTree> {
    let mut replay = Replay::new(base, Zxid(0), base.digest());
    for (_, payload) in &model.log {
        replay.apply(&Txn::decode(payload, 0).unwrap(), mode).unwrap();
    }
    replay
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// From the beginning, strict replay of what a server did is the server's tree, digest by digest.
    #[test]
    fn replay_is_what_the_server_did(ops in ops(60)) {
        let mut model = Model::new();
        model.run_all(&ops);
        let base = FlatTree::empty();
        let replay = replay_all(&base, &model, Mode::Strict);
        prop_assert_eq!(replay.first_miss(), None);
        prop_assert_eq!(replay.verdict().last_mismatch, None);
        let replayed = replay.finish().unwrap();
        prop_assert_eq!(replayed.digest, model.digest());
        prop_assert_eq!(replayed.zxid, model.zxid);
        model.assert_same(&MergedTree::new(base, replayed.touched));
    }

    /// Replaying everything again over the end changes nothing but what comes back to the same: servers rely on it.
    #[test]
    fn a_transaction_left_out_is_missed_or_had_no_effect(ops in ops(40), at in any::<prop::sample::Index>()) {
        let mut model = Model::new();
        model.run_all(&ops);
        prop_assume!(!model.log.is_empty());
        let at = at.index(model.log.len());
        let whole = model.clone();
        model.log.remove(at);
        let base = FlatTree::empty();
        let replay = replay_all(&base, &model, Mode::Strict);
        let verdict = replay.verdict();
        let missed = replay.first_miss().is_some();
        let replayed = replay.finish().unwrap();
        let same = replayed.digest == whole.digest();
        // The last transaction is the one whose loss nothing behind it can show.
        let last_digest = model.log.iter().rev().any(|(_, payload)| Txn::decode(payload, 0).unwrap().digest.is_some());
        if !same && !missed && last_digest && at < model.log.len() {
            prop_assert!(verdict.fails() || later_have_no_digest(&model, at));
        }
    }
}

fn later_have_no_digest(model: &Model, at: usize) -> bool {
    model.log[at..].iter().all(|(_, payload)| Txn::decode(payload, 0).unwrap().digest.is_none())
}

#[test]
fn strict_replay_says_what_does_not_fit() {
    let mut model = Model::new();
    model.create("/a");
    model.create("/a/b");
    model.set("/a/b", "1");
    model.run(&Op::Multi(vec![Op::Create { parent: 0, name: 1, kind: 2, session: 0, data: None }]));
    let miss = |skip: &[usize]| {
        let mut short = model.clone();
        short.log = model.log.iter().enumerate().filter(|(at, _)| !skip.contains(at)).map(|(_, r)| r.clone()).collect();
        replay_all(&FlatTree::empty(), &short, Mode::Strict).first_miss().cloned().map(|miss| (miss.zxid.0, miss.kind))
    };
    assert_eq!(miss(&[]), None);
    assert_eq!(miss(&[0]), Some((2, MissKind::ParentMissing)));
    assert_eq!(miss(&[1]), Some((3, MissKind::Missing)));
    assert_eq!(miss(&[0, 1, 2]), Some((4, MissKind::ParentVersion { found: 0, stated: 2 })));
    let mut twice = model.clone();
    twice.log.insert(1, model.log[0].clone());
    let base = FlatTree::empty();
    let replay = replay_all(&base, &twice, Mode::Strict);
    assert_eq!(replay.first_miss().map(|miss| miss.kind), Some(MissKind::Exists));
    let mut twice = model.clone();
    twice.log.insert(3, model.log[2].clone());
    let replay = replay_all(&base, &twice, Mode::Strict);
    assert_eq!(replay.first_miss().map(|miss| miss.kind), Some(MissKind::Version { found: 1, stated: 1 }));
    // Over a fuzzy base none of it is worth a word.
    assert_eq!(replay_all(&base, &twice, Mode::Fuzzy).first_miss(), None);
}

/// A server in the C locale reads `?` for every character beyond ASCII when it computes digests.
#[test]
fn digests_of_a_server_without_utf8_are_recognised() {
    let mut model = Model::new();
    model.run(&Op::Create { parent: 0, name: 1, kind: 0, session: 0, data: None });
    let ascii: i64 = model
        .nodes
        .iter()
        .map(|(path, node)| crate::digest::node_hash_ascii(path, node.data.as_deref(), &node.stat))
        .fold(0, i64::wrapping_add);
    assert_ne!(ascii, model.digest());
    let base = FlatTree::empty();
    let mut replay = Replay::new(&base, Zxid(0), base.digest());
    let mut txn = Txn::decode(&model.log[0].1, 0).unwrap();
    txn.digest = Some(crate::txn::TxnDigest { version: 2, digest: ascii });
    replay.apply(&txn, Mode::Strict).unwrap();
    assert!(replay.verdict().holds() && replay.verdict().ascii);
    assert_eq!(replay.finish().unwrap().digest, ascii);
}

/// 100,000 transactions take a fraction of a second: the bound is loose, for machines under load.
#[test]
fn replay_is_fast_enough_for_a_log_between_two_snapshot_files() {
    let mut model = Model::new();
    model.digests = false;
    for index in 0..100 {
        model.create(&format!("/n{index}"));
    }
    let paths: Vec<String> = (0..100_000).map(|index| format!("/n{}/c{index}", index % 100)).collect();
    for path in &paths {
        model.create(path);
    }
    let base = FlatTree::empty();
    let started = std::time::Instant::now();
    let replayed = replay_all(&base, &model, Mode::Strict).finish().unwrap();
    let took = started.elapsed();
    println!("{} transactions in {took:?}", model.log.len());
    assert_eq!(replayed.first_miss, None);
    assert!(took.as_secs() < 5, "{took:?}");
}
