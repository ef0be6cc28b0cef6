//! The `zooark` binary.
fn main() {}
