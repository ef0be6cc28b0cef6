//! Small trees that change: what the snapshots of a play hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use repository::record::Value;
use repository::{Record, RecordFlags, RecordStat};

use crate::random::Random;

/// Znodes at first.
const NODES: u32 = 24;
/// One value in so many lies in a blob of its own. Together they make a pack large enough to be repacked.
const LARGE: u32 = 2;
const LARGE_VALUE: usize = 14_000;

type Map = BTreeMap<Vec<u8>, Record>;

/// A source: its states so far, numbered. Sources of one play have numbers of their own.
pub struct Source {
    now: Map,
    random: Random,
}

/// A state of a source.
#[derive(Debug)]
pub struct Tree {
    pub version: usize,
    pub records: Vec<Record>,
}

impl Source {
    pub fn new(seed: u64) -> Self {
        let mut source = Self { now: Map::new(), random: Random::new(seed) };
        for node in 0..NODES {
            source.set(node);
        }
        source
    }

    /// The state now, under this number.
    pub fn tree(&self, version: usize) -> Arc<Tree> {
        Arc::new(Tree { version, records: self.now.values().cloned().collect() })
    }

    /// Changes some znodes; sometimes most.
    pub fn evolve(&mut self) {
        let changes = match self.random.below(8) {
            0 => NODES,
            1 => 0,
            _ => 1 + self.random.below(3),
        };
        for _ in 0..changes {
            let node = self.random.below(NODES + 4);
            if self.random.one_in(6) && self.now.len() > 4 {
                self.now.remove(&key(node));
            } else {
                self.set(node);
            }
        }
    }

    fn set(&mut self, node: u32) {
        let len = if node.is_multiple_of(LARGE) { LARGE_VALUE } else { 40 };
        // Content returns now and then, so that blobs of forgotten snapshots are needed again.
        let mut noise = Random::new(u64::from(node) << 32 | u64::from(self.random.below(5)));
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&noise.next().to_le_bytes());
        }
        let zxid = i64::from(self.random.below(1 << 20));
        let record = Record {
            key: key(node).into(),
            stat: RecordStat { czxid: 1, mzxid: zxid, pzxid: 1, version: 3, ..RecordStat::default() },
            flags: RecordFlags(0),
            acl: b"world".as_slice().into(),
            value: Value::Bytes(bytes.into()),
        };
        self.now.insert(key(node), record);
    }
}

fn key(node: u32) -> Vec<u8> {
    format!("\u{1}dir{}\u{0}node-{node:03}", node / 10).into_bytes()
}
