//! The real code of the repository, played against a store in memory: several hosts back up, forget, prune, repack, read and
//! check at once, and between any two requests of one lie any number of requests of others. Requests fail before and after
//! their effect, processes die at a request, hosts are suspended, frozen and slow, clocks are wrong, stores cannot
//! create exclusively. A play depends on its seed alone.

mod deeds;
mod host;
mod oracle;
mod play;
mod stage;
mod trees;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use play::{Told, Variant, play, report};
use repository::Rule;

/// The grace period of the repositories: the shortest there is.
const GRACE: Duration = Duration::from_hours(1);
/// Schedules at once.
const THREADS: usize = 3;

/// So many failures are looked for before the end.
const ENOUGH: usize = 8;

/// The error and everything that caused it, in one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Schedules that something was found with, and what.
#[rstest::rstest]
#[case::a_gap_before_a_tombstone_was_filled(296)]
#[case::a_gap_was_filled_while_it_opened(212)]
#[case::a_snapshot_was_forgotten_before_its_writer_looked_again(993)]
#[case::a_note_went_while_another_was_written(1838)]
fn what_failed_once_holds(#[case] seed: u64) {
    let (told, result) = play(seed, Variant::default());
    if let Err(problem) = result {
        panic!("{}", report(seed, &told, &problem, 60));
    }
}

#[test]
fn every_snapshot_restores_whatever_happens() {
    let seeds = crate::seeds(300, 12_000);
    let plays = seeds.end - seeds.start;
    let sum = play_all(seeds, Variant::default());
    // A simulation in which nothing happens proves nothing.
    assert!(sum.commits > 4 * plays && sum.deleted_packs > plays / 2 && sum.crashes > plays, "{sum:?}");
}

/// The same while condemned lists are spoilt and `repair index` makes them anew, beside everything else.
#[test]
fn every_snapshot_restores_while_lists_are_repaired() {
    let seeds = crate::seeds(100, 4_000);
    let plays = seeds.end - seeds.start;
    let sum = play_all(seeds, Variant { repairs: true, ..Variant::default() });
    assert!(sum.commits > plays && sum.deleted_packs > plays / 4 && sum.spoilt > plays / 2, "{sum:?}");
}

fn play_all(seeds: std::ops::Range<u64>, variant: Variant) -> Told {
    if let Some(seed) = std::env::var("ZOOARK_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let (told, result) = play(seed, variant);
        println!("{}\n{result:?}", told.lines.join("\n"));
        result.unwrap();
        std::process::exit(0);
    }
    let (sum, failures) = play_until(seeds, variant, ENOUGH);
    if let Some((seed, problem, told)) = failures.first() {
        let all: Vec<String> = failures.iter().map(|(seed, problem, _)| format!("seed {seed}: {problem}")).collect();
        panic!("{}\n\n{}", report(*seed, told, problem, 60), all.join("\n"));
    }
    println!("{sum:?}");
    sum
}

/// Plays these seeds, until so many failed: what happened in those that went well, and those that failed, by their seeds.
fn play_until(seeds: std::ops::Range<u64>, variant: Variant, enough: usize) -> (Told, Vec<(u64, String, Told)>) {
    let next = AtomicU64::new(seeds.start);
    let (sum, failures) = (Mutex::new(Told::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= enough {
                        return;
                    }
                    let (told, result) = play(seed, variant);
                    match result {
                        Ok(()) => sum.lock().unwrap().add(&told),
                        Err(problem) => failures.lock().unwrap().push((seed, problem, told)),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|(seed, ..)| *seed);
    (sum.into_inner().unwrap(), failures)
}

/// Each rule of the real code is needed: without it this schedule ends badly, and with it well. With `ZOOARK_SIM_FIND` such a
/// schedule is looked for, among as many as it says: whoever changes how the repository asks its store changes what a seed means.
#[rstest::rstest]
#[case::lists_first(Rule::ListsFirst, 23)]
#[case::look_afterwards(Rule::LookAfterwards, 28)]
#[case::tombstone_first(Rule::TombstoneFirst, 0)]
#[case::list_before_forgetting(Rule::ListBeforeForgetting, 29)]
fn without_a_rule_a_schedule_ends_badly(#[case] rule: Rule, #[case] seed: u64) {
    let variant = Variant { without: Some(rule), repairs: rule == Rule::FurtherList };
    if let Some(many) = std::env::var("ZOOARK_SIM_FIND").ok().and_then(|many| many.parse::<u64>().ok()) {
        let (_, failures) = play_until(0..many, variant, 1);
        let found: Vec<_> = failures.iter().map(|(seed, problem, _)| (seed, problem)).collect();
        println!("{rule:?}: {found:?}");
        return;
    }
    play(seed, variant).1.expect_err("it ends well");
    play(seed, Variant { without: None, ..variant }).1.unwrap();
}
