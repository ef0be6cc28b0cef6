use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::blobs::{BlobError, BlobSource, MemoryBlobs};
use crate::ids::{BlobId, BlobKind, IdentityKeys};
use crate::record::{Record, Value};
use crate::test_records::{key, tree};

const BASE: TableSpan = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 77 };

fn built(records: &[Record]) -> (MemoryBlobs, BuiltTable) {
    let blobs = MemoryBlobs::new();
    let table = build_table(records, &IdentityKeys::public(), &blobs, BASE).unwrap();
    (blobs, table)
}

fn leaves(blobs: &MemoryBlobs, root: &TableRoot, range: &KeyRange) -> Vec<Leaf> {
    read_leaves(blobs, root, range, &mut |_| {}).unwrap()
}

#[test]
fn a_table_reads_back_in_full() {
    let mut records = tree(11, 60_000);
    records[700].value = Value::Bytes(vec![3; 5000].into());
    records[44_000].value = Value::Bytes(vec![3; 5000].into());
    let (blobs, table) = built(&records);
    let large: std::collections::HashSet<&Value> =
        records.iter().map(|record| &record.value).filter(|value| value.as_ref().len() > Some(4096)).collect();
    let large = large.len() as u64;
    assert!(large > 1);
    assert_eq!((table.root.records, table.root.tombstones, table.root.value_blobs), (60_000, 0, large));
    assert!(table.root.height >= 1 && table.root.chunks > 100, "{:?}", table.root.height);
    let mut position = 0;
    let keys = IdentityKeys::public();
    for leaf in leaves(&blobs, &table.root, &KeyRange::all()) {
        let chunk = read_chunk(&blobs, &leaf).unwrap();
        for i in 0..chunk.len() {
            let expected = records[position].as_ref();
            let stored = crate::record::RecordRef { value: expected.value.stored(&keys), ..expected };
            assert_eq!(chunk.get(i), Some(stored));
            position += 1;
        }
    }
    assert_eq!(position, records.len());
    assert_eq!(read_refs(&blobs, &table.root).unwrap().len() as u64, large);
    let named: std::collections::HashSet<_> = table.blobs.iter().map(|(id, _)| *id).collect();
    assert_eq!(named.len(), blobs.totals().0, "a table names exactly what it wrote");
}

#[test]
fn a_range_reads_only_what_it_needs() {
    let records = tree(11, 60_000);
    let (blobs, table) = built(&records);
    let all = leaves(&blobs, &table.root, &KeyRange::all());
    for i in [0, 1, 33_333, 59_999] {
        let mut nodes = 0;
        let found = read_leaves(&blobs, &table.root, &KeyRange::only(&key(i)), &mut |_| nodes += 1).unwrap();
        assert_eq!((found.len(), nodes), (1, usize::from(table.root.height)), "record {i}");
    }
    for leaf in &all {
        assert_eq!(leaves(&blobs, &table.root, &KeyRange::only(&leaf.last_key)), std::slice::from_ref(leaf));
    }
    let prefix = KeyRange::prefix(&key(40)[..key(40).len() - 4]);
    assert!(prefix.contains(&key(40)) && prefix.contains(&key(79)) && !prefix.contains(&key(80)));
    assert_eq!(KeyRange::prefix(b"a\xff\xff").end.unwrap(), b"b");
    assert_eq!(KeyRange::prefix(b"\xff").end, None);
}

#[test]
fn equal_stretches_share_chunks_and_nodes() {
    let records = tree(11, 60_000);
    let (_, before) = built(&records);
    let mut changed = records.clone();
    changed[30_000].stat.version += 1;
    let (_, after) = built(&changed);
    let old: std::collections::HashSet<_> = before.blobs.iter().collect();
    let fresh = after.blobs.iter().filter(|blob| !old.contains(blob)).count();
    assert_eq!(fresh, 1 + usize::from(after.root.height), "one chunk and the nodes above it");
}

#[test]
fn empty_and_single_tables() {
    let (blobs, none) = built(&[]);
    assert_eq!((none.root.root, none.root.chunks), (None, 0));
    assert!(leaves(&blobs, &none.root, &KeyRange::all()).is_empty());
    let (blobs, one) = built(&tree(1, 1));
    assert_eq!((one.root.height, one.root.chunks), (0, 1));
    assert_eq!(leaves(&blobs, &one.root, &KeyRange::all()).len(), 1);
}

/// A tree of several levels: its keys are so long that few of them fit into a node.
fn built_high() -> (MemoryBlobs, BuiltTable, Vec<Record>) {
    let mut records = tree(2, 40);
    for (i, record) in records.iter_mut().enumerate() {
        let mut key = vec![b'k'; 300_000];
        key.push(u8::try_from(i).unwrap());
        record.key = key.into();
    }
    let (blobs, table) = built(&records);
    assert!(table.root.height > 2, "{}", table.root.height);
    (blobs, table, records)
}

#[test]
fn very_long_keys_still_make_a_tree() {
    let (blobs, table, _) = built_high();
    assert_eq!(leaves(&blobs, &table.root, &KeyRange::all()).len(), 40);
}

/// Blobs, and what was asked for ahead.
struct Ahead<'b> {
    blobs: &'b MemoryBlobs,
    wanted: Mutex<Vec<BlobId>>,
}

impl BlobSource for Ahead<'_> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        self.blobs.get(id, kind)
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        self.wanted.lock().unwrap().extend(ids.iter().map(|(id, _)| *id));
    }
}

#[test]
fn only_nodes_that_are_read_are_fetched_ahead() {
    let (blobs, table, records) = built_high();
    // What is alone is fetched when it is read.
    let some = KeyRange { start: records[10].key.to_vec(), end: Some(records[21].key.to_vec()) };
    for (range, ahead) in [(KeyRange::all(), true), (some, true), (KeyRange::only(&records[21].key), false)] {
        let source = Ahead { blobs: &blobs, wanted: Mutex::default() };
        let mut nodes = Vec::new();
        read_leaves(&source, &table.root, &range, &mut |id| nodes.push(id)).unwrap();
        let wanted = source.wanted.into_inner().unwrap();
        assert!(wanted.iter().all(|id| nodes.contains(id)), "{wanted:?} of {nodes:?}");
        assert_eq!(!wanted.is_empty(), ahead);
    }
}

#[test]
fn a_blob_in_the_wrong_place_is_noticed() {
    let records = tree(11, 20_000);
    let (blobs, table) = built(&records);
    let all = leaves(&blobs, &table.root, &KeyRange::all());
    let swap = |change: fn(&mut Leaf)| {
        let mut leaf = all[3].clone();
        change(&mut leaf);
        read_chunk(&blobs, &leaf).unwrap_err().to_string()
    };
    assert!(swap(|leaf| leaf.records += 1).contains("number of records"));
    assert!(swap(|leaf| leaf.last_key = (*b"x").into()).contains("last key"));
    assert!(swap(|leaf| leaf.after = Some(leaf.last_key.clone())).contains("first key"));
    assert!(swap(|leaf| leaf.id = crate::BlobId([0; 32])).contains("in no pack"));

    let range: Range<usize> = 0..1;
    let mut root = table.root.clone();
    root.records += range.len() as u64;
    assert!(read_leaves(&blobs, &root, &KeyRange::all(), &mut |_| {}).unwrap_err().to_string().contains("sums"));
    let mut root = table.root.clone();
    root.height += 1;
    assert!(read_leaves(&blobs, &root, &KeyRange::all(), &mut |_| {}).unwrap_err().to_string().contains("level"));
    root.height = 255;
    assert!(read_leaves(&blobs, &root, &KeyRange::all(), &mut |_| {}).unwrap_err().to_string().contains("high"));
}

#[test]
fn golden_node() {
    let entry = NodeEntry {
        last_key: b"\x01\x00b".to_vec(),
        id: crate::BlobId([7; 32]),
        records: 300,
        tombstones: 0,
        chunk_bytes: 65_536,
        highest_mzxid: 3,
    };
    let bytes = Node { level: 1, children: vec![entry] }.encode().unwrap();
    let mut golden = vec![1, 1, 3, 1, 0, b'b'];
    golden.extend([7; 32]);
    golden.extend([251, 44, 1, 0, 252, 0, 0, 1, 0, 6, 0]);
    assert_eq!(bytes, golden);
    crate::golden::assert_documented("node", &bytes);
}

#[test]
fn golden_root() {
    let (blobs, table) = built(&tree(1, 2));
    let id = table.root.root.unwrap();
    assert!(blobs.get(&id, crate::BlobKind::Leaf).is_ok());
    let bytes = crate::codec::encode("root", &table.root).unwrap();
    crate::golden::assert_documented("table root", &bytes);
    let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert_eq!(
        hex,
        "0001cf1ce408a6194f3783ccb8d619b5cda9ad8171fcd6f905b4634806103f6be46c00009a020001c8000033016d616e616765642d6c6564676572730174656e616e7401746f7069632d30303030303000706172746974696f6e2d3030303033016d616e616765642d6c6564676572730174656e616e7401746f7069632d30303030303000706172746974696f6e2d3030303100"
    );
}

#[test]
fn golden_value_list() {
    let mut records = tree(1, 1);
    records[0].value = Value::Bytes(vec![1; 5000].into());
    let (blobs, table) = built(&records);
    let bytes = blobs.get(&table.root.refs[0], crate::BlobKind::Refs).unwrap();
    let value = IdentityKeys::public().blob_id(crate::BlobKind::Value, &[1; 5000]);
    crate::golden::assert_documented("value list", &bytes);
    assert_eq!(bytes[..], [&[1][..], &value.0, &[251, 136, 19, 0]].concat());
}
