//! What tests and benches stand on: deterministic trees, data directories that evolve as a live server's do,
//! and real `ZooKeeper` servers.
//!
//! - [`generate`]: the bench tree (Pulsar, `BookKeeper`, Kafka, `ClickHouse` shaped) and transactions over it.
//! - [`server_files`]: writes snapshot and log files as a server does, apart from `zk-format`, so that an error
//!   in one is not mirrored in the other.
//! - [`evolving`]: a data directory on disk that goes from state to state.
//! - [`server`]: `ZooKeeper` servers from Maven Central and their own client.
//! - [`stores`]: object-store servers that others wrote.
//! - [`memory`]: what a piece of work takes, in a process of its own.
//! - [`random`]: the one source of randomness, seeded.

// Generated sizes and counts are far below the limits of the narrower types.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

pub mod evolving;
pub mod generate;
pub mod memory;
pub mod random;
pub mod server;
pub mod server_files;
pub mod stores;
