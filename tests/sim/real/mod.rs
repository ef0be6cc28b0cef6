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

use play::{Told, play, report};

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
    let (told, result) = play(seed);
    if let Err(problem) = result {
        panic!("{}", report(seed, &told, &problem, 60));
    }
}

#[test]
fn every_snapshot_restores_whatever_happens() {
    if let Some(seed) = std::env::var("ZOOARK_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let (told, result) = play(seed);
        println!("{}\n{result:?}", told.lines.join("\n"));
        return result.unwrap();
    }
    let seeds = crate::seeds(300, 12_000);
    let plays = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (sum, failures) = (Mutex::new(Told::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= ENOUGH {
                        return;
                    }
                    let (told, result) = play(seed);
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
    if let Some((seed, problem, told)) = failures.first() {
        let all: Vec<String> = failures.iter().map(|(seed, problem, _)| format!("seed {seed}: {problem}")).collect();
        panic!("{}\n\n{}", report(*seed, told, problem, 60), all.join("\n"));
    }
    let sum = sum.into_inner().unwrap();
    println!("{sum:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(sum.commits > 4 * plays && sum.deleted_packs > plays / 2 && sum.crashes > plays, "{sum:?}");
}
