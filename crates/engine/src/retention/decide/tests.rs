use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_790_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A snapshot `age` seconds old.
fn aged(id: u8, age: i64) -> Candidate {
    Candidate {
        id: SnapshotId([id; 32]),
        time: Timestamp::from_second(NOW - age).unwrap(),
        cluster: "prod".to_owned(),
        host: "h".to_owned(),
        tags: Vec::new(),
        lineage: LineageId([1; 16]),
        seq: u64::from(id),
        suspect: false,
        incomplete: false,
        protected_until: None,
    }
}

fn last(count: u32) -> Request {
    let policy = Policy { last: count, ..Policy::default() };
    Request { policy, group_by: vec![GroupBy::Cluster], ..Request::default() }
}

fn removed(candidates: &[Candidate], request: &Request) -> Vec<u8> {
    let groups = decide(candidates, request, now());
    let mut ids: Vec<u8> = groups.iter().flat_map(|g| &g.remove).map(|d| d.snapshot.0[0]).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn groups_have_counts_of_their_own() {
    let other = Candidate { cluster: "test".to_owned(), lineage: LineageId([2; 16]), ..aged(9, 900) };
    let all = [aged(1, 100), aged(2, 200), other, aged(3, 300)];
    assert_eq!(removed(&all, &last(2)), [3]);
    assert_eq!(removed(&all, &Request { group_by: vec![], ..last(2) }), [3], "9 is the last of its lineage");
    let groups = decide(&all, &last(1), now());
    assert_eq!(groups.iter().map(|g| g.group["cluster"].as_str()).collect::<Vec<_>>(), ["prod", "test"]);
    assert_eq!(groups[0].keep[0].reasons, ["last snapshot"]);
}

#[test]
fn the_last_complete_snapshot_of_a_lineage_stays() {
    let all = [Candidate { incomplete: true, ..aged(1, 100) }, aged(2, 200), aged(3, 300)];
    let nothing = Request { policy: Policy { tags: vec![vec!["none".to_owned()]], ..Policy::default() }, ..last(0) };
    assert_eq!(removed(&all, &nothing), [1, 3]);
    assert_eq!(removed(&all, &Request { may_remove_all: true, ..nothing }), [1, 2, 3]);
}

#[test]
fn incomplete_and_future_snapshots_displace_nothing() {
    let all = [aged(1, -3600), Candidate { incomplete: true, ..aged(2, 10) }, aged(3, 300), aged(4, 400)];
    assert_eq!(removed(&all, &last(1)), [4]);
    let groups = decide(&all, &last(1), now());
    assert!(groups[0].keep[0].reasons.contains(&"dated in the future".to_owned()));
}

#[test]
fn a_suspect_snapshot_makes_its_cluster_wait() {
    let all = [Candidate { suspect: true, ..aged(1, 100) }, aged(2, 200), aged(3, 300)];
    assert_eq!(removed(&all, &last(1)), [0; 0]);
    assert!(decide(&all, &last(1), now())[0].held.as_deref().is_some_and(|held| held.contains("zooark accept")));
    let unseen = Request { waiting: ["prod".to_owned()].into(), ..last(1) };
    assert_eq!(removed(&all[1..], &unseen), [0; 0]);
    let elsewhere = Candidate { cluster: "test".to_owned(), ..all[0].clone() };
    assert_eq!(removed(&[elsewhere, all[1].clone(), all[2].clone()], &last(1)), [3]);
}

#[test]
fn protection_ends() {
    let until = |age: i64| Some(Timestamp::from_second(NOW - age).unwrap());
    let all = [
        aged(1, 100),
        Candidate { protected_until: until(-10), ..aged(2, 200) },
        Candidate { protected_until: until(10), ..aged(3, 300) },
    ];
    assert_eq!(removed(&all, &last(1)), [3]);
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (0_i64..5_000_000, 0_u8..3, 0_u8..3, prop::bool::weighted(0.1), prop::option::of(-1_000_000_i64..1_000_000))
        .prop_map(|(age, cluster, lineage, incomplete, protected)| Candidate {
            cluster: cluster.to_string(),
            lineage: LineageId([cluster * 3 + lineage; 16]),
            incomplete,
            protected_until: protected.map(|age| Timestamp::from_second(NOW + age).unwrap()),
            ..aged(0, age - 100_000)
        })
}

proptest! {
    #[test]
    fn nothing_is_lost_that_must_stay(
        mut all in prop::collection::vec(candidate(), 0..60),
        counts in prop::array::uniform3(0_u32..6),
    ) {
        for (i, candidate) in all.iter_mut().enumerate() {
            candidate.id = SnapshotId([u8::try_from(i).unwrap(); 32]);
            candidate.seq = i as u64;
        }
        let policy = Policy { last: counts[0], daily: counts[1], weekly: counts[2], ..Policy::default() };
        let request = Request { policy, group_by: vec![GroupBy::Cluster], ..Request::default() };
        let groups = decide(&all, &request, now());
        let mut seen: Vec<SnapshotId> = groups.iter().flat_map(|g| g.keep.iter().chain(&g.remove)).map(|d| d.snapshot).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen.len(), all.len(), "each has one fate");
        let gone: BTreeSet<SnapshotId> = groups.iter().flat_map(|g| &g.remove).map(|d| d.snapshot).collect();
        for candidate in &all {
            if candidate.protected_until.is_some_and(|until| until > now()) || candidate.time > now() {
                prop_assert!(!gone.contains(&candidate.id));
            }
            let same = |c: &&Candidate| c.lineage == candidate.lineage && !c.incomplete;
            prop_assert!(candidate.incomplete || all.iter().filter(same).any(|c| !gone.contains(&c.id)));
        }
        // What a second run decides about what is left is to leave it.
        let left: Vec<Candidate> = all.iter().filter(|c| !gone.contains(&c.id)).cloned().collect();
        let again = decide(&left, &Request { policy: Policy { last: counts[0], ..Policy::default() }, ..request.clone() }, now());
        let once = decide(&all, &Request { policy: Policy { last: counts[0], ..Policy::default() }, ..request }, now());
        if counts[1] == 0 && counts[2] == 0 {
            let kept = |groups: &[Group]| groups.iter().flat_map(|g| &g.keep).map(|d| d.snapshot).collect::<BTreeSet<_>>();
            prop_assert_eq!(kept(&again), kept(&once));
        }
    }
}
