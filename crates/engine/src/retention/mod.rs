//! Which snapshots to keep: restic's rules, as a pure function of snapshots, policy and now.
//!
//! [`keep`] has restic's rules alone and knows nothing of `ZooKeeper`. [`decide`] adds what a backup of an ensemble must not
//! lose: protected snapshots, the last complete one of each lineage, and anything of a cluster with a suspect snapshot
//! that nobody has judged yet.

mod decide;
mod rules;
mod span;

pub use decide::{Candidate, Decision, Group, GroupBy, Request, decide};
pub use rules::{Policy, keep};
pub use span::{Span, SpanError};
