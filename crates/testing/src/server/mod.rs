//! Real `ZooKeeper` servers and their own client, started by a test and gone with it.
//!
//! Jars come from Maven Central through `tests/live/fetch-zookeeper.sh`, which `make test` runs; a test that
//! finds none fails and says so. Every process binds loopback, and is killed when its handle is dropped or
//! when the thread that started it ends, however it ends.

mod admin;
mod client;
mod ensemble;
pub(crate) mod process;
mod proxy;
mod standalone;
pub mod tls;

pub use admin::{Status, ask, ready, status};
pub use client::{Client, ClientNode};
pub use ensemble::Ensemble;
pub use process::{Jars, free_port, wait_until};
pub use proxy::{Fault, Frames, Proxy, Side, Then};
pub use standalone::{Server, Setup};

/// The versions under test, oldest first.
pub const VERSIONS: [&str; 6] = ["3.4.14", "3.5.10", "3.6.4", "3.7.2", "3.8.4", "3.9.4"];

/// Whether the version is at least `major.minor`: `at_least("3.5.10", 5)`.
pub fn at_least(version: &str, minor: u32) -> bool {
    version.split('.').nth(1).and_then(|text| text.parse::<u32>().ok()).is_some_and(|found| found >= minor)
}

/// `ZOOARK_TEST_LONG=1`: the same assertions at full sizes.
pub fn long() -> bool {
    std::env::var_os("ZOOARK_TEST_LONG").is_some_and(|value| value == "1")
}
