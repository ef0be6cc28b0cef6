//! The binary under test: the same entry point as `zooark`.
fn main() {}
