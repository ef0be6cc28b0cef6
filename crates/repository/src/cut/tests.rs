use super::*;
use crate::test_records::{Prng, tree};

/// Items with made-up hashes and sizes.
struct Made(Vec<(u64, u64)>);

impl CutItems for Made {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn size(&self, i: usize) -> u64 {
        self.0[i].1
    }
    fn hash(&self, i: usize, _: &mut Vec<u8>) -> u64 {
        self.0[i].0
    }
}

/// The rule as it is worded, item by item.
fn cuts_by_the_word(items: &Made, rule: CutRule) -> Vec<usize> {
    let offsets: Vec<u64> = items
        .0
        .iter()
        .scan(0, |offset, (_, size)| {
            *offset += size;
            Some(*offset - size)
        })
        .collect();
    (1..items.count())
        .filter(|&i| {
            (0..items.count()).filter(|&j| j != i && offsets[i].abs_diff(offsets[j]) <= rule.window).all(|j| {
                let (mine, other) = (items.0[i].0, items.0[j].0);
                other < mine || (other == mine && j > i)
            })
        })
        .collect()
}

fn made(seed: u64, len: usize, hashes: u64) -> Made {
    let mut prng = Prng(seed);
    Made((0..len).map(|_| (prng.below(hashes), 1 + prng.below(40))).collect())
}

const SMALL: CutRule = CutRule { window: 100, max_segment: 400 };

#[test]
fn cuts_are_those_of_the_rule_in_any_ranges() {
    for seed in 0..60 {
        // Few different hashes make many ties.
        let items = made(seed, 700, if seed % 2 == 0 { u64::MAX } else { 7 });
        let expected = cuts_by_the_word(&items, SMALL);
        assert_eq!(natural_cuts(&items, SMALL, 0..700).positions(), expected, "seed {seed}");
        let mut prng = Prng(seed + 1000);
        let middle = usize::try_from(prng.below(700)).unwrap();
        let mut parts = natural_cuts(&items, SMALL, 0..middle).positions();
        parts.extend(natural_cuts(&items, SMALL, middle..700).positions());
        assert_eq!(parts, expected, "seed {seed}, split at {middle}");
    }
}

#[test]
fn cuts_know_how_many_bytes_lie_before_them() {
    let items = made(3, 700, u64::MAX);
    for range in [0..700, 0..1, 150..420, 420..700] {
        let found = natural_cuts(&items, SMALL, range.clone());
        assert_eq!(found.bytes, bytes_of(&items, range.clone()), "{range:?}");
        for cut in found.cuts {
            assert_eq!(cut.offset, bytes_of(&items, range.start..cut.position), "{range:?}");
        }
    }
}

#[test]
fn segments_cover_everything_and_none_is_too_large() {
    // Rising hashes give no natural cut at all but at the end.
    let rising = Made((0..1000).map(|i| (i, 10)).collect());
    for items in [made(1, 5000, u64::MAX), made(2, 5000, 3), rising, Made(vec![(1, 5000)]), Made(vec![])] {
        let parts = segments(&items, SMALL);
        assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (0..items.count()).collect::<Vec<_>>());
        for part in &parts {
            let bytes: u64 = part.clone().map(|i| items.size(i)).sum();
            assert!(bytes <= SMALL.max_segment || part.len() == 1, "{part:?} has {bytes} bytes");
        }
    }
}

#[test]
fn golden_cuts() {
    let records = tree(7, 3000);
    let keys = IdentityKeys::public();
    let starts: Vec<usize> = chunk_ranges(&records[..], &keys).iter().map(|range| range.start).collect();
    assert_eq!(format!("{starts:?}"), "[0, 26, 234, 518, 707, 988, 1283, 1449, 1777, 1991, 2244, 2743]");
}

#[test]
fn a_change_moves_only_nearby_boundaries() {
    let keys = IdentityKeys::public();
    let mut records = tree(3, 20_000);
    let starts = |records: &[crate::record::Record]| -> std::collections::BTreeSet<Box<[u8]>> {
        chunk_ranges(records, &keys).iter().map(|range| records[range.start].key.clone()).collect()
    };
    let before = starts(&records);
    records.remove(9_000);
    let after = starts(&records);
    let differing = before.symmetric_difference(&after).count();
    assert!(before.len() > 60 && differing <= 4, "{} chunks, {differing} boundaries differ", before.len());
}
