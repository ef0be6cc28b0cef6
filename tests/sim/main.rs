//! What may run at once, in two ways. `model` is the protocol alone, its rules as a few hundred lines that try a million schedules;
//! `real` plays the repository's own code against a store in memory. `docs/concurrency.md` has the rules in words. A seed
//! that fails is printed; `ZOOARK_TEST_LONG=1` tries many more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod model;
mod random;
mod real;

/// The seeds to try: a few, or many where there is time, or as many as `ZOOARK_SIM_SEEDS` says; `1000..2000` are those.
fn seeds(few: u64, many: u64) -> std::ops::Range<u64> {
    let long = std::env::var_os("ZOOARK_TEST_LONG").is_some();
    let Ok(given) = std::env::var("ZOOARK_SIM_SEEDS") else { return 0..if long { many } else { few } };
    let (from, to) = given.split_once("..").unwrap_or(("0", &given));
    from.parse().unwrap()..to.parse().unwrap()
}
