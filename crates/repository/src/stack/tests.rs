use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::advance::{advance, rebase};
use crate::blobs::{BlobError, MemoryBlobs};
use crate::record::{Change, Value, ValueRef};
use crate::state_digest::{RecordHasher, StateDigest};
use crate::table::{TableKind, TableSpan, build_table, read_value};
use crate::test_records::{Prng, key, record, tree};
use crate::tiers::{NewChanges, RebaseReason, StackPlan, plan};

type Model = BTreeMap<Box<[u8]>, Record>;

/// Counts what is read.
struct Counting<'a>(&'a MemoryBlobs, AtomicUsize);

impl BlobSource for Counting<'_> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(id, kind)
    }
}

fn stored(record: &Record, keys: &IdentityKeys) -> Record {
    RecordRef { value: record.value.as_ref().stored(keys), ..record.as_ref() }.to_owned()
}

fn model_records(model: &Model, keys: &IdentityKeys) -> Vec<Record> {
    model.values().map(|record| stored(record, keys)).collect()
}

fn digest(model: &Model, keys: &IdentityKeys) -> StateDigest {
    let mut hasher = RecordHasher::new(keys);
    model.values().fold(StateDigest::ZERO, |sum, record| sum.plus(hasher.hash(&record.as_ref())))
}

fn scanned<S: BlobSource>(stack: &Stack<'_, S>, range: &KeyRange) -> Vec<Record> {
    let mut all = Vec::new();
    stack.for_each(range, |record| all.push(record.to_owned())).unwrap();
    all
}

/// Changes some records of the model: sets, creates (between, before and after all others) and deletes.
fn mutate(model: &mut Model, prng: &mut Prng, changes: usize, space: usize) {
    for _ in 0..changes {
        let at = key(usize::try_from(prng.below(1 + space as u64)).unwrap());
        match prng.below(10) {
            0 => drop(model.remove(at.as_slice())),
            1 => {
                let mut fresh = record(prng, &[&at[..], b"-x"].concat());
                fresh.value = Value::Bytes(vec![9; 5000].into());
                model.insert(fresh.key.clone(), fresh);
            }
            2 => drop(model.insert([].into(), record(prng, b""))),
            3 => drop(model.insert([0x02, 1].into(), record(prng, b"\x02\x01"))),
            _ => drop(model.insert(at.as_slice().into(), record(prng, &at))),
        }
    }
}

struct History {
    blobs: MemoryBlobs,
    keys: IdentityKeys,
    states: Vec<(Vec<TableRoot>, Model)>,
}

/// Backups of a changing model, each by a full comparison with its parent.
fn history(seed: u64, len: usize, backups: usize, force: impl Fn(usize) -> Option<StackPlan>) -> History {
    let keys = IdentityKeys::public();
    let blobs = MemoryBlobs::new();
    let mut prng = Prng(seed);
    let mut model: Model = tree(seed, len).into_iter().map(|record| (record.key.clone(), record)).collect();
    let records: Vec<Record> = model.values().cloned().collect();
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 0 };
    let base = build_table(&records[..], &keys, &blobs, span).unwrap();
    assert_eq!(base.digest, Some(digest(&model, &keys)));
    let mut states = vec![(vec![base.root], model.clone())];
    for backup in 0..backups {
        let before = digest(&model, &keys);
        let changes = 1 + usize::try_from(prng.below(60)).unwrap();
        mutate(&mut model, &mut prng, changes, len + len / 10);
        let records: Vec<Record> = model.values().cloned().collect();
        let parent = states.last().unwrap().0.clone();
        let stack = Stack::new(parent.clone(), &blobs, &keys);
        let visits = Mutex::new(0);
        let set = stack.changes_to(&records[..], &|_, _| *visits.lock().unwrap() += 1).unwrap();
        assert_eq!(*visits.lock().unwrap(), set.entries.len());
        assert_eq!(set.created + set.updated + set.deleted, set.entries.len() as u64);
        assert_eq!(before.plus(set.digest_delta), digest(&model, &keys), "seed {seed}, backup {backup}");
        let size = NewChanges { entries: set.entries.len() as u64, bytes: 0 };
        let plan = force(backup).unwrap_or_else(|| plan(&parent, size, false));
        let run = RunRecords::new(&records[..], &set);
        let advanced = advance(&stack, &run, plan, &blobs, i64::try_from(backup).unwrap()).unwrap();
        states.push((advanced.tables(&parent), model.clone()));
    }
    History { blobs, keys, states }
}

#[test]
fn every_state_of_a_long_history_reads_back() {
    for seed in 0..3 {
        let history = history(seed, 3000, 40, |_| None);
        let mut merged = false;
        for (n, (tables, model)) in history.states.iter().enumerate() {
            let stack = Stack::new(tables.clone(), &history.blobs, &history.keys);
            merged |= tables.iter().any(|table| matches!(table.kind, TableKind::Run { tier: 1.. }));
            assert!(scanned(&stack, &KeyRange::all()) == model_records(model, &history.keys), "seed {seed}, state {n}");
        }
        assert!(merged, "sixteen runs were merged, seed {seed}");
    }
}

#[test]
fn lookups_ranges_and_values() {
    let history = history(5, 5000, 20, |_| None);
    let (tables, model) = history.states.last().unwrap();
    let stack = Stack::new(tables.clone(), &history.blobs, &history.keys);
    let keys: Vec<Vec<u8>> = (0..5600).step_by(7).flat_map(|i| [key(i), [&key(i)[..], b"-x"].concat()]).collect();
    let expected: Vec<Option<Record>> =
        keys.iter().map(|key| model.get(key.as_slice()).map(|record| stored(record, &history.keys))).collect();
    for (key, expected) in keys.iter().zip(&expected) {
        assert_eq!(stack.get(key).unwrap(), *expected);
    }
    let mut found = Vec::new();
    stack.get_sorted(keys.iter().map(Vec::as_slice), |_, record| found.push(record.map(|r| r.to_owned()))).unwrap();
    assert_eq!(found, expected);
    for (from, to) in [(0, 0), (100, 101), (37, 2222), (4990, 9999)] {
        let range = KeyRange { start: key(from), end: Some(key(to)) };
        let expected: Vec<Record> =
            model.range(Box::from(key(from))..Box::from(key(to))).map(|(_, r)| stored(r, &history.keys)).collect();
        assert_eq!(scanned(&stack, &range), expected, "{from}..{to}");
    }
    for record in scanned(&stack, &KeyRange::all()) {
        let bytes = read_value(stack.source(), &record.value).unwrap();
        let ValueRef::Bytes(original) = model[&record.key].value.as_ref() else {
            assert_eq!(bytes, None);
            continue;
        };
        assert_eq!(bytes.as_deref(), Some(original));
    }
}

#[test]
fn a_lookup_reads_one_path() {
    let history = history(5, 5000, 5, |_| Some(StackPlan::Append));
    let (tables, _) = history.states.last().unwrap();
    let counting = Counting(&history.blobs, AtomicUsize::new(0));
    let stack = Stack::new(tables.clone(), &counting, &history.keys);
    stack.get(&key(2500)).unwrap();
    let bound = usize::from(tables[0].height) + tables.len();
    assert!(counting.1.load(Ordering::Relaxed) <= bound);
}

/// Differences between any two states are those of the models, whatever was merged or rebased between.
#[test]
fn diffs_between_any_states() {
    let rebase_at = |backup| (backup == 18).then_some(StackPlan::Rebase(RebaseReason::Requested));
    let history = history(8, 3000, 24, rebase_at);
    for (a, b) in [(0, 0), (0, 1), (3, 4), (4, 3), (0, 17), (14, 17), (17, 18), (18, 19), (2, 24), (24, 0)] {
        let stack = |n: usize| Stack::new(history.states[n].0.clone(), &history.blobs, &history.keys);
        let (before, after) = (&history.states[a].1, &history.states[b].1);
        let mut expected: Vec<(Option<Record>, Option<Record>)> = Vec::new();
        for key in before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>() {
            let pair = (before.get(key), after.get(key));
            if pair.0 != pair.1 {
                expected.push((pair.0.map(|r| stored(r, &history.keys)), pair.1.map(|r| stored(r, &history.keys))));
            }
        }
        let mut found = Vec::new();
        diff(&stack(a), &stack(b), &KeyRange::all(), |old, new| {
            found.push((old.map(|r| r.to_owned()), new.map(|r| r.to_owned())));
        })
        .unwrap();
        assert!(found == expected, "{a} to {b}: {} found, {} expected", found.len(), expected.len());
    }
}

#[test]
fn a_diff_of_neighbours_reads_only_what_changed() {
    let keys = IdentityKeys::public();
    let blobs = MemoryBlobs::new();
    let records = tree(1, 30_000);
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 0 };
    let base = build_table(&records[..], &keys, &blobs, span).unwrap().root;
    let changes = [Change::Delete(key(500).into()), Change::Delete(key(20_000).into())];
    let stack = Stack::new(vec![base.clone()], &blobs, &keys);
    let next = advance(&stack, &changes[..], StackPlan::Append, &blobs, 1).unwrap().tables(std::slice::from_ref(&base));
    let counting = Counting(&blobs, AtomicUsize::new(0));
    let (before, after) = (Stack::new(vec![base.clone()], &counting, &keys), Stack::new(next, &counting, &keys));
    let mut found = 0;
    diff(&before, &after, &KeyRange::all(), |_, _| found += 1).unwrap();
    assert_eq!(found, 2);
    let chunks = usize::try_from(base.chunks).unwrap();
    assert!(counting.1.load(Ordering::Relaxed) < chunks, "{:?} of {chunks}", counting.1);
}

#[test]
fn an_unchanged_state_is_compared_without_reading_a_chunk() {
    let keys = IdentityKeys::public();
    let blobs = MemoryBlobs::new();
    let records = tree(1, 30_000);
    let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 0 };
    let base = build_table(&records[..], &keys, &blobs, span).unwrap().root;
    let mut changed = records.clone();
    changed[12_345].stat.version += 1;
    for (records, expected) in [(&records, 0), (&changed, 1)] {
        let counting = Counting(&blobs, AtomicUsize::new(0));
        let stack = Stack::new(vec![base.clone()], &counting, &keys);
        let set = stack.changes_to(&records[..], &|_, _| {}).unwrap();
        assert_eq!((set.entries.len(), set.chunks_read), (expected, expected as u64));
    }
}

#[test]
fn a_rebase_is_the_table_a_full_backup_makes() {
    let keys = IdentityKeys::public();
    for (seed, len) in [(1, 40_000), (2, 100), (3, 0)] {
        let history = history(seed, len, 10, |_| Some(StackPlan::Append));
        let (tables, model) = history.states.last().unwrap();
        let stack = Stack::new(tables.clone(), &history.blobs, &keys);
        let known = stack.blobs().unwrap();
        let fresh = MemoryBlobs::new();
        let rebased = rebase(&stack, &fresh, 9).unwrap();
        let records: Vec<Record> = model.values().cloned().collect();
        let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: 9 };
        let full = build_table(&records[..], &keys, &MemoryBlobs::new(), span).unwrap();
        assert_eq!(rebased.root, full.root, "{len} records");
        assert_eq!(rebased.digest, full.digest);
        if len > 10_000 {
            let shared = full.blobs.iter().filter(|blob| known.contains(blob)).count();
            assert!(shared * 3 > full.blobs.len(), "{shared} of {} blobs were there", full.blobs.len());
        }
    }
}

#[test]
fn a_missing_chunk_is_an_error_everywhere() {
    let history = history(4, 3000, 2, |_| Some(StackPlan::Append));
    let (tables, model) = history.states.last().unwrap();
    let empty = MemoryBlobs::new();
    let stack = Stack::new(tables.clone(), &empty, &history.keys);
    assert!(stack.get(&key(5)).is_err());
    assert!(stack.for_each(&KeyRange::all(), |_| {}).is_err());
    let records: Vec<Record> = model.values().cloned().collect();
    assert!(stack.changes_to(&records[..], &|_, _| {}).is_err());
    assert!(rebase(&stack, &MemoryBlobs::new(), 1).is_err());
}
