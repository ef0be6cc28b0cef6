//! A server's data directory as an endpoint: read by a backup, written by a restore.

pub mod marker;
pub mod occupancy;
pub mod target;
