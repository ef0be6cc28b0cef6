//! The bench tree and the transactions that change it, the same bytes for a seed on every run.
//!
//! [`Tree::build`] makes a tree shaped like the metadata of Pulsar, `BookKeeper`, Kafka and `ClickHouse`: at
//! [`BENCH_NODES`] it has paths of 54 bytes and values of 197 bytes on average, 338 MB as a snapshot file, of
//! which `zstd -3` leaves about 19 %. [`Tree::change`] moves it on as a server would, with consecutive zxids
//! and the digest after each transaction.

mod changes;
mod shapes;
mod tree;
mod values;

pub use changes::Change;
pub use shapes::{BENCH_NODES, BENCH_SEED};
pub use tree::Tree;
