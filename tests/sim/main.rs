//! The rules that let backups, `forget` and `prune` run at once, as a model of the protocol alone: `docs/concurrency.md` in
//! words. The real code is crashed at each of its requests in `crates/repository`. A failing seed is printed; `ZOOARK_TEST_LONG=1` runs many more of them.

mod model;
mod random;

/// How many seeds to try: a few, or many where there is time.
fn seeds(few: u64, many: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("ZOOARK_TEST_LONG").is_some() { many } else { few }
}
