//! What backups of the bench tree cost: plaintext blobs as tables hand them on, compressed as the repository does.
//!
//! The manifest and the pack's own frame come on top; the bounds leave room for them.

// The lint knows test functions only; here everything is one.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use repository::record::Value;
use repository::tiers::NewChanges;
use repository::{
    BlobError, BlobSink, Change, IdentityKeys, MemoryBlobs, PlainBlob, Record, RecordFlags, RecordStat, Stack,
    StackPlan, TableKind, TableRoot, TableSpan, advance, build_table, plan,
};
use testing::generate::{BENCH_NODES, BENCH_SEED, Change as Generated, Tree};
use testing::server_files::{LoggedTxn, TxnBody};
use zk_format::{Acl, key};

/// Nonce, tag and the footer's entry of a sealed blob, bytes.
const FRAME: u64 = 110;
/// Room for what a manifest holds besides its tables and for a pack's header and footer, bytes.
const ROOM: u64 = 2500;

/// Keeps blobs and adds up what they take sealed.
#[derive(Default)]
struct Measured {
    blobs: MemoryBlobs,
    bytes: AtomicU64,
}

impl Measured {
    fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

impl BlobSink for Measured {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        if !self.blobs.contains(&blob.id) {
            let sealed = zstd::bulk::compress(blob.bytes, 3).unwrap().len() as u64 + FRAME;
            self.bytes.fetch_add(sealed, Ordering::Relaxed);
            self.blobs.put(blob)?;
        }
        Ok(())
    }
}

fn acl_bytes(list: &[Acl]) -> Box<[u8]> {
    let mut bytes = u32::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    for acl in list {
        bytes.extend(acl.perms.to_be_bytes());
        for part in [&acl.scheme, &acl.id] {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(part);
        }
    }
    bytes.into()
}

fn value(data: Option<&[u8]>) -> Value {
    data.map_or(Value::Null, |data| Value::Bytes(data.into()))
}

/// The bench tree's records by key, kept up to date as a server keeps its tree.
struct Model(HashMap<Vec<u8>, Record>);

impl Model {
    fn of(tree: &Tree) -> Self {
        let mut records = HashMap::with_capacity(tree.len());
        let visit = tree.visit(|path, data, acl, stat| {
            let stat = RecordStat {
                czxid: stat.czxid.0,
                mzxid: stat.mzxid.0,
                pzxid: stat.pzxid.0,
                ctime: stat.ctime,
                mtime: stat.mtime,
                version: stat.version,
                cversion: stat.cversion,
                aversion: stat.aversion,
                ephemeral_owner: stat.ephemeral_owner,
            };
            let key = key::encode(path);
            let record = Record {
                key: key.as_slice().into(),
                stat,
                flags: RecordFlags(0),
                acl: acl_bytes(tree.acl(acl)),
                value: value(data),
            };
            records.insert(key, record);
            Ok::<(), ()>(())
        });
        assert_eq!(visit, Ok(()));
        Self(records)
    }

    fn sorted(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.0.values().cloned().collect();
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        records
    }

    /// Applies transactions and gives the records they touched.
    fn apply(&mut self, txns: &[LoggedTxn]) -> Vec<Change> {
        let mut touched = BTreeSet::new();
        for txn in txns {
            let zxid = txn.zxid.0;
            match &txn.body {
                TxnBody::Create { path, data, acl, parent_cversion, .. } => {
                    let key = key::encode(path);
                    let (ctime, mtime) = (txn.time_ms, txn.time_ms);
                    let stat =
                        RecordStat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime, mtime, ..RecordStat::default() };
                    let record = Record {
                        key: key.as_slice().into(),
                        stat,
                        flags: RecordFlags(0),
                        acl: acl_bytes(acl),
                        value: value(data.as_deref()),
                    };
                    self.0.insert(key.clone(), record);
                    touched.insert(key);
                    let parent = self.parent(path, &mut touched);
                    (parent.stat.pzxid, parent.stat.cversion) = (zxid, *parent_cversion);
                }
                TxnBody::Delete { path } => {
                    let key = key::encode(path);
                    self.0.remove(&key);
                    touched.insert(key);
                    self.parent(path, &mut touched).stat.pzxid = zxid;
                }
                TxnBody::SetData { path, data, version } => {
                    let key = key::encode(path);
                    let record = self.0.get_mut(&key).unwrap();
                    record.value = value(data.as_deref());
                    (record.stat.mzxid, record.stat.mtime, record.stat.version) = (zxid, txn.time_ms, *version);
                    touched.insert(key);
                }
                _ => {}
            }
        }
        touched
            .into_iter()
            .map(|key| match self.0.get(&key) {
                Some(record) => Change::Put(record.clone()),
                None => Change::Delete(key.into()),
            })
            .collect()
    }

    fn parent(&mut self, path: &[u8], touched: &mut BTreeSet<Vec<u8>>) -> &mut Record {
        let key = key::encode(key::parent(path).unwrap());
        touched.insert(key.clone());
        self.0.get_mut(&key).unwrap()
    }
}

struct Bench {
    keys: IdentityKeys,
    sink: Measured,
}

impl Bench {
    /// Backs up changes as the tiers say: bytes, and the plan.
    fn back_up(&self, tables: &mut Vec<TableRoot>, changes: &[Change]) -> (u64, StackPlan) {
        let size = NewChanges { entries: changes.len() as u64, bytes: changes.len() as u64 * 300 };
        let plan = plan(tables, size, false);
        let stack = Stack::new(tables.clone(), &self.sink.blobs, &self.keys);
        let advanced = advance(&stack, changes, plan, &self.sink, 1).unwrap();
        *tables = advanced.tables(tables);
        (self.sink.take(), plan)
    }
}

#[test]
fn backups_of_the_bench_tree_cost_what_is_promised() {
    let bench = Bench { keys: IdentityKeys::public(), sink: Measured::default() };
    let first = Tree::build(BENCH_NODES, BENCH_SEED);
    let model = Model::of(&first);
    let records = model.sorted();
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 0 };
    let base = build_table(&records[..], &bench.keys, &bench.sink, span).unwrap().root;
    let bytes = bench.sink.take();
    assert!(bytes < 55_000_000, "the base takes {bytes} bytes");

    let cases = [
        (Generated::Random(100), 12_000),
        (Generated::Random(10_000), 700_000),
        (Generated::Clustered(100_000), 6_500_000),
    ];
    for (change, bound) in cases {
        let mut tree = first.clone();
        let mut model = Model(model.0.clone());
        let changes = model.apply(&tree.change(change));
        let (bytes, plan) = bench.back_up(&mut vec![base.clone()], &changes);
        assert_eq!(plan, StackPlan::Append);
        assert!(bytes + ROOM <= bound, "{change:?}: {bytes} bytes");
        eprintln!("{change:?}: {bytes} bytes of at most {bound}");
    }

    // A day of minutes.
    let (mut tree, mut model, mut tables) = (first, model, vec![base]);
    let (mut total, mut tallest) = (0, 0);
    for minute in 0..1440 {
        let changes = model.apply(&tree.change(Generated::Random(100)));
        let (bytes, plan) = bench.back_up(&mut tables, &changes);
        let bound = match plan {
            StackPlan::Append => 10_500,
            StackPlan::Merge { tier: 1, .. } => 130_000,
            StackPlan::Merge { .. } => 1_700_000,
            StackPlan::Rebase(reason) => panic!("minute {minute}: {reason}"),
        };
        assert!(bytes <= bound, "minute {minute}, {plan}: {bytes} bytes");
        // The manifest grows with the stack: about eighty bytes a table.
        let roots = repository::codec::encode("the tables", &tables).unwrap();
        total += bytes + zstd::bulk::compress(&roots, 3).unwrap().len() as u64 + ROOM;
        tallest = tallest.max(tables.len());
    }
    eprintln!("a day: {total} bytes, at most {tallest} tables");
    assert!(total <= 40_000_000, "a day takes {total} bytes");
    assert!(tallest <= 1 + 3 * 15, "{tallest} tables");

    // And the day's last state is the model's.
    let stack = Stack::new(tables, &bench.sink.blobs, &bench.keys);
    let differences = stack.changes_to(&model.sorted()[..], &|_, _| {}).unwrap();
    assert_eq!(differences.entries.len(), 0);
}
