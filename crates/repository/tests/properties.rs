//! What holds for any records: what was encoded comes back, a stack reads as a plain map would, two stacks differ where
//! two maps do, and bytes from anywhere are refused or read, never more.

// The lint knows test functions only; here everything is one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use repository::chunk::{Chunk, ChunkEncoder};
use repository::crypto::Crypto;
use repository::manifest::{ManifestBody, decode_manifest, encode_manifest, manifest_path};
use repository::record::{MAX_INLINE_VALUE, Value};
use repository::stack;
use repository::tiers::NewChanges;
use repository::{
    Change, IdentityKeys, KeyRange, LineageId, MemoryBlobs, Record, RecordFlags, RecordStat, RepositoryId, Stack,
    TableKind, TableRoot, TableSpan, advance, build_table, plan,
};

type Map = BTreeMap<Vec<u8>, Record>;

/// Few letters and short names, so that keys are prefixes of each other and are hit again.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(b'b'), Just(0xff)], 0..7)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        6 => vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
        1 => (any::<u8>(), 0..3_usize).prop_map(|(byte, more)| Value::Bytes(vec![byte; MAX_INLINE_VALUE + more].into())),
    ]
}

prop_compose! {
    fn record()(
        value in value(),
        zxids in any::<[i64; 3]>(),
        times in any::<[i64; 2]>(),
        versions in any::<[i32; 3]>(),
        ephemeral_owner in any::<i64>(),
        flags in 0_u32..32,
        acl in vec(any::<u8>(), 0..4),
    ) -> Record {
        let [czxid, mzxid, pzxid] = zxids;
        let [ctime, mtime] = times;
        let [version, cversion, aversion] = versions;
        let stat =
            RecordStat { czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner };
        Record { key: Box::default(), stat, flags: RecordFlags(flags), acl: acl.into(), value }
    }
}

/// What one backup finds: `None` deletes.
fn changes(least: usize) -> impl Strategy<Value = Vec<Change>> {
    btree_map(key(), prop::option::weighted(0.8, record()), least..12).prop_map(|changes| {
        let change = |(key, record): (Vec<u8>, Option<Record>)| match record {
            Some(record) => Change::Put(Record { key: key.into(), ..record }),
            None => Change::Delete(key.into()),
        };
        changes.into_iter().map(change).collect()
    })
}

fn apply(map: &mut Map, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(record) => drop(map.insert(record.key.to_vec(), record.clone())),
            Change::Delete(key) => drop(map.remove(&**key)),
        }
    }
}

/// A record as a table gives it back: a large value by its id.
fn stored(record: &Record, keys: &IdentityKeys) -> Record {
    let record = record.as_ref();
    repository::RecordRef { value: record.value.stored(keys), ..record }.to_owned()
}

/// Back up each set of changes; the stack after each, and the map after each.
fn history(blobs: &MemoryBlobs, keys: &IdentityKeys, backups: &[Vec<Change>]) -> Vec<(Vec<TableRoot>, Map)> {
    let mut map = Map::new();
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 0 };
    let mut tables = vec![build_table(&[] as &[Record], keys, blobs, span).unwrap().root];
    let mut states = vec![(tables.clone(), map.clone())];
    for (zxid, changes) in (1..).zip(backups) {
        let size = NewChanges { entries: changes.len() as u64, bytes: 1 };
        let stack = Stack::new(tables.clone(), blobs, keys);
        // As a small repository would never keep runs, rebases are asked for now and then only.
        let plan = match plan(&tables, size, false) {
            repository::StackPlan::Rebase(_) if zxid % 7 != 0 => repository::StackPlan::Append,
            plan => plan,
        };
        let advanced = advance(&stack, &changes[..], plan, blobs, zxid).unwrap();
        tables = advanced.tables(&tables);
        apply(&mut map, changes);
        states.push((tables.clone(), map.clone()));
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_chunk_comes_back(changes in changes(1)) {
        let keys = IdentityKeys::public();
        let bytes = ChunkEncoder::new(&keys).encode(&changes[..], 0..changes.len()).unwrap().bytes.to_vec();
        let chunk = Chunk::decode(bytes.into()).unwrap();
        prop_assert_eq!(chunk.len(), changes.len());
        for (i, change) in changes.iter().enumerate() {
            prop_assert_eq!(chunk.key(i), change.key());
            let expected = match change {
                Change::Put(record) => Some(stored(record, &keys)),
                Change::Delete(_) => None,
            };
            prop_assert_eq!(chunk.get(i).map(|record| record.to_owned()), expected);
        }
    }

    #[test]
    fn a_stack_reads_as_a_map(backups in vec(changes(0), 1..24), probes in vec(key(), 8)) {
        let (blobs, keys) = (MemoryBlobs::new(), IdentityKeys::public());
        let states = history(&blobs, &keys, &backups);
        for (tables, map) in [states.last().unwrap(), &states[states.len() / 2]] {
            let stack = Stack::new(tables.clone(), &blobs, &keys);
            let mut read = Vec::new();
            stack.for_each(&KeyRange::all(), |record| read.push(record.to_owned())).unwrap();
            let expected: Vec<Record> = map.values().map(|record| stored(record, &keys)).collect();
            prop_assert_eq!(read, expected);
            for probe in probes.iter().chain(map.keys()) {
                let expected = map.get(probe).map(|record| stored(record, &keys));
                prop_assert_eq!(stack.get(probe).unwrap(), expected);
            }
        }
    }

    #[test]
    fn stacks_differ_where_maps_do(backups in vec(changes(0), 1..20), from in any::<prop::sample::Index>()) {
        let (blobs, keys) = (MemoryBlobs::new(), IdentityKeys::public());
        let states = history(&blobs, &keys, &backups);
        let ((old, before), (new, after)) = (from.get(&states), states.last().unwrap());
        let [old, new] = [old, new].map(|tables| Stack::new(tables.clone(), &blobs, &keys));
        let mut found = Vec::new();
        stack::diff(&old, &new, &KeyRange::all(), |old, new| {
            found.push((old.map(|record| record.to_owned()), new.map(|record| record.to_owned())));
        }).unwrap();
        let mut expected = Vec::new();
        let mut all: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
        all.sort();
        all.dedup();
        for key in all {
            let [old, new] = [before, after].map(|map| map.get(key).map(|record| stored(record, &keys)));
            if old != new {
                expected.push((old, new));
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn bytes_from_anywhere_are_no_chunk_or_a_readable_one(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(chunk) = Chunk::decode(bytes.into()) {
            for i in 0..chunk.len() {
                let _ = (chunk.key(i), chunk.get(i));
            }
        }
    }

    #[test]
    fn a_damaged_manifest_is_refused(
        time_ms in any::<i64>(), seq in any::<u64>(), at in any::<prop::sample::Index>(), flip in 1_u8..
    ) {
        let crypto = Crypto::unencrypted(RepositoryId([3; 16]));
        let path = manifest_path(LineageId([5; 16]), seq);
        let body = ManifestBody::Tombstone { time_ms };
        let mut object = encode_manifest(&crypto, &path, &body).unwrap();
        prop_assert_eq!(decode_manifest(&crypto, &path, &object).unwrap().1, body);
        let at = at.index(object.len());
        object[at] ^= flip;
        prop_assert!(decode_manifest(&crypto, &path, &object).is_err());
    }
}
