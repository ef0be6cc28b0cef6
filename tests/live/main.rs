//! Tests on real `ZooKeeper` servers: what they wrote is read, what their clients saw is what comes out, and
//! what we write they start from.
//!
//! [`stores`] has the repository on object-store servers instead, from `tests/live/fetch-stores.sh`.
//!
//! Servers come from `tests/live/fetch-zookeeper.sh`; without them these tests fail. All tests here take turns ([`turn`]): two
//! with one server each and its client at a time, or one alone.
//! `ZOOARK_TEST_LONG=1` runs the same assertions at full sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod admin_hostile;
mod admin_restore;
mod booted;
mod client;
mod compare;
#[path = "../it/daemon.rs"]
#[allow(dead_code, reason = "the tests of `it` need all of it")]
mod daemon;
mod diff;
#[path = "../it/each.rs"]
mod each;
mod ensembles;
mod hostile;
mod kills;
mod matrix;
mod names;
mod one_time;
mod proxy;
mod restore_live;
mod restore_live_faults;
mod restore_once;
mod retention;
#[path = "../it/run.rs"]
#[allow(dead_code, reason = "the tests of `it` need all of it")]
mod run;
mod sasl;
mod scan;
mod second_reader;
mod service;
mod service_described;
mod setups;
mod state;
mod stores;
mod tls;
mod turn;
mod versions;
mod watch;
mod watch_troubled;
mod withheld;
