use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kept(times: &[&str], policy: &Policy) -> Vec<(usize, String)> {
    let snapshots: Vec<(Timestamp, &[String])> = times.iter().map(|time| (at(time), &[][..])).collect();
    let reasons = keep(&snapshots, policy, snapshots[0].0);
    reasons.into_iter().enumerate().filter(|(_, r)| !r.is_empty()).map(|(i, r)| (i, r.join("; "))).collect()
}

const TIMES: [&str; 6] = [
    "2026-03-02T10:30:00Z",
    "2026-03-02T10:00:00Z",
    "2026-03-01T23:59:59Z",
    "2026-02-28T00:00:00Z",
    "2025-12-31T12:00:00Z",
    "2025-12-29T12:00:00Z",
];

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let of = |policy: Policy| kept(&TIMES, &policy).into_iter().map(|(i, _)| i).collect::<Vec<_>>();
    assert_eq!(of(Policy { last: 2, ..Policy::default() }), [0, 1]);
    assert_eq!(of(Policy { hourly: 2, ..Policy::default() }), [0, 2]);
    assert_eq!(of(Policy { daily: 3, ..Policy::default() }), [0, 2, 3]);
    // 1 March 2026 is a Sunday: its ISO week is that of 28 February; both of December's are of 2026's first week.
    assert_eq!(of(Policy { weekly: 3, ..Policy::default() }), [0, 2, 4]);
    assert_eq!(of(Policy { monthly: 2, ..Policy::default() }), [0, 3]);
    assert_eq!(of(Policy { yearly: 1, ..Policy::default() }), [0]);
    assert_eq!(of(Policy { within: "2d".parse().unwrap(), ..Policy::default() }), [0, 1, 2]);
    assert_eq!(of(Policy { within_daily: "2m".parse().unwrap(), ..Policy::default() }), [0, 2, 3]);
    assert_eq!(of(Policy::default()), [0; 0]);
}

#[test]
fn a_rule_with_room_keeps_the_oldest() {
    let kept = kept(&TIMES, &Policy { monthly: 9, ..Policy::default() });
    assert_eq!(kept.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 3, 4, 5]);
    assert_eq!(kept[3].1, "oldest monthly snapshot");
}

#[test]
fn tags_of_one_list_must_all_be_there() {
    let tags = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (both, one) = (tags(&["a", "b", "c"]), tags(&["a"]));
    let snapshots = [(at(TIMES[0]), one.as_slice()), (at(TIMES[1]), both.as_slice())];
    let policy = Policy { tags: vec![tags(&["a", "b"])], ..Policy::default() };
    assert_eq!(keep(&snapshots, &policy, snapshots[0].0), [vec![], vec!["has tags [a, b]".to_owned()]]);
}

/// The rule as a sentence: the newest of each of the newest `count` periods, and the oldest if fewer periods were met.
fn by_the_word(times: &[Timestamp], period: Period, count: usize) -> BTreeSet<usize> {
    let of = |i: usize| period(times[i].to_zoned(TimeZone::UTC).datetime(), i);
    let mut periods: Vec<i64> = (0..times.len()).map(of).collect();
    periods.dedup();
    let mut kept: BTreeSet<usize> =
        periods.iter().take(count).filter_map(|wanted| (0..times.len()).find(|&i| of(i) == *wanted)).collect();
    if periods.len() < count && !times.is_empty() {
        kept.insert(times.len() - 1);
    }
    kept
}

proptest! {
    #[test]
    fn rules_do_what_their_words_say(
        mut seconds in prop::collection::vec(0_i64..40_000_000, 0..60),
        counts in prop::array::uniform6(0_u32..20),
    ) {
        seconds.sort_unstable_by(|a, b| b.cmp(a));
        let times: Vec<Timestamp> =
            seconds.iter().map(|s| Timestamp::from_second(1_760_000_000 + s).unwrap()).collect();
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let policy = Policy { last, hourly, daily, weekly, monthly, yearly, ..Policy::default() };
        let snapshots: Vec<(Timestamp, &[String])> = times.iter().map(|time| (*time, &[][..])).collect();
        let newest = times.first().copied().unwrap_or_default();
        let found: BTreeSet<usize> =
            keep(&snapshots, &policy, newest).iter().enumerate().filter(|(_, r)| !r.is_empty()).map(|(i, _)| i).collect();
        let periods: [Period; 6] = [single, hour, day, week, month, year];
        let expected: BTreeSet<usize> = periods
            .iter()
            .zip(counts)
            .flat_map(|(period, count)| by_the_word(&times, *period, count as usize))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_larger_policy_keeps_no_less(
        mut seconds in prop::collection::vec(0_i64..40_000_000, 1..60),
        counts in prop::array::uniform6(0_u32..10),
        more in prop::array::uniform6(0_u32..10),
        days in 1_u32..300,
    ) {
        seconds.sort_unstable_by(|a, b| b.cmp(a));
        let snapshots: Vec<(Timestamp, &[String])> = seconds
            .iter()
            .map(|s| (Timestamp::from_second(1_760_000_000 + s).unwrap(), &[][..]))
            .collect();
        let of = |c: [u32; 6], days: u32| {
            let within_daily = Span { days, ..Span::default() };
            let policy = Policy {
                last: c[0], hourly: c[1], daily: c[2], weekly: c[3], monthly: c[4], yearly: c[5], within_daily,
                ..Policy::default()
            };
            let reasons = keep(&snapshots, &policy, snapshots[0].0);
            reasons.iter().enumerate().filter(|(_, r)| !r.is_empty()).map(|(i, _)| i).collect::<BTreeSet<_>>()
        };
        let small = of(counts, days);
        // The oldest is kept only while there is room, so it alone may go when there is more elsewhere.
        let large = of(std::array::from_fn(|i| counts[i] + more[i]), days + 30);
        prop_assert!(small.is_subset(&large), "{:?} {:?}", small, large);
    }
}
