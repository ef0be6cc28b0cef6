//! Transactions from any bytes over a fresh server's tree, in each mode. Whatever a log says, the result is a tree: in
//! key order, with every parent there, found by path, and with the digest that its nodes have.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zk_format::replay::{MergedTree, Mode, Replay};
use zk_format::tree::FlatTree;
use zk_format::txn::Txn;
use zk_format::{Zxid, digest, key};

const TYPES: [i32; 14] = [-11, -10, -1, 1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21];

fuzz_target!(|bytes: &[u8]| {
    for mode in [Mode::Strict, Mode::Fuzzy, Mode::Contained] {
        let base = FlatTree::empty();
        let mut replay = Replay::new(&base, Zxid(0), base.digest());
        let mut rest = bytes;
        let mut zxid = 0i64;
        while let [kind, session, length, after @ ..] = rest {
            let (body, after) = after.split_at(after.len().min(usize::from(*length)));
            rest = after;
            zxid += 1;
            let mut payload = Vec::new();
            payload.extend_from_slice(&i64::from(*session % 4).to_be_bytes());
            payload.extend_from_slice(&0i32.to_be_bytes());
            payload.extend_from_slice(&zxid.to_be_bytes());
            payload.extend_from_slice(&zxid.to_be_bytes());
            payload.extend_from_slice(&TYPES[usize::from(*kind) % TYPES.len()].to_be_bytes());
            payload.extend_from_slice(body);
            if let Ok(txn) = Txn::decode(&payload, 0) {
                replay.apply(&txn, mode).expect("the base can tell everything");
            }
        }
        let replayed = replay.finish().expect("the base can be read");
        if replayed.verdict.ascii {
            continue;
        }
        let tree = MergedTree::new(base, replayed.touched);
        assert_eq!(tree.node(0).path, b"");
        let mut sum = 0i64;
        for (index, node) in tree.iter().enumerate() {
            sum = sum.wrapping_add(digest::node_hash(node.path, node.data, &node.stat));
            assert_eq!(tree.find(node.path).map(|found| found.stat), Some(node.stat));
            if let Some(parent) = key::parent(node.path) {
                assert!(tree.find(parent).is_some());
                assert!(key::compare(tree.node(index - 1).path, node.path).is_lt());
            }
        }
        assert_eq!(sum, replayed.digest);
    }
});
