//! Made-up records for the tests of this crate: like a small ensemble's, the same on every run.

use crate::record::{Record, RecordFlags, RecordStat, Value};

/// A small generator of pseudo-random numbers (splitmix64), seeded by its content.
pub(crate) struct Prng(pub u64);

impl Prng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A record under `key` with values that hang together as a server's do.
pub(crate) fn record(prng: &mut Prng, key: &[u8]) -> Record {
    let czxid = 0x2_0000_0000 + i64::try_from(prng.below(1 << 22)).unwrap();
    let ctime = 1_700_000_000_000 + (czxid & 0xffff_ffff) * 250;
    let changes = if prng.below(4) == 0 { i64::try_from(prng.below(1000)).unwrap() } else { 0 };
    let value = match prng.below(40) {
        0 => Value::Null,
        1 => Value::Bytes(Box::default()),
        2 => Value::Bytes(vec![prng.next().to_le_bytes()[0]; 4096 + usize::try_from(prng.below(3)).unwrap()].into()),
        n => {
            let text =
                format!("{{\"version\":1,\"leader\":{},\"isr\":[{},2,3],\"epoch\":{:x}}}", n, n % 4, prng.next());
            Value::Bytes(text.into_bytes().into())
        }
    };
    let acl: &[u8] = if prng.below(10) == 0 { b"acl of some application" } else { b"world" };
    Record {
        key: key.into(),
        stat: RecordStat {
            czxid,
            mzxid: czxid + changes * 77,
            pzxid: czxid,
            ctime,
            mtime: ctime + changes * 20_000,
            version: i32::try_from(changes).unwrap(),
            cversion: 0,
            aversion: 0,
            ephemeral_owner: if prng.below(20) == 0 { 0x1000_0a2b_3c4d_0001 } else { 0 },
        },
        flags: RecordFlags(0),
        acl: acl.into(),
        value,
    }
}

/// The key of the `i`th made-up znode; rises with `i`.
pub(crate) fn key(i: usize) -> Vec<u8> {
    let (dir, name) = (i / 40, i % 40);
    format!("\u{1}managed-ledgers\u{1}tenant\u{1}topic-{dir:06}\u{0}partition-{name:04}").into_bytes()
}

/// `len` records in key order.
pub(crate) fn tree(seed: u64, len: usize) -> Vec<Record> {
    let mut prng = Prng(seed);
    (0..len).map(|i| record(&mut prng, &key(i))).collect()
}
