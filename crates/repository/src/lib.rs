//! The layered, encrypted, content-addressed snapshot store.
//!
//! A snapshot is a stack of tables: one base that holds a whole tree in content-defined chunks, and a
//! short list of runs that hold changed records and tombstones. `docs/format.md` gives every byte.

pub mod advance;
pub mod backend;
pub mod blobs;
pub mod cache;
pub mod catalog;
pub mod check;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod condemned;
pub mod config;
pub mod copy;
pub mod crypto;
pub mod cut;
pub mod error;
pub mod forget;
pub mod ids;
pub mod key_slots;
pub mod keys;
pub mod leader;
pub mod manifest;
pub mod notes;
pub mod pack;
pub mod probe;
pub mod prune;
pub mod reader;
pub mod record;
pub mod repair;
pub mod repository;
pub mod restored;
pub mod seal;
pub mod segment;
pub mod session;
#[cfg(any(test, feature = "conformance"))]
pub mod simulated;
pub mod snapshots;
pub mod stack;
pub mod state_digest;
pub mod stats;
pub mod table;
pub mod tiers;

mod claim;
mod locations;
mod many_hashes;
mod rules;
mod shared;

pub use advance::{Advanced, advance, rebase};
pub use blobs::{BlobError, BlobSink, BlobSource, MemoryBlobs, PlainBlob};
pub use error::RepositoryError;
pub use forget::Forgotten;
pub use ids::{BlobId, BlobKind, IdentityKeys, LineageId, PackId, RepositoryId, RestoredId, SnapshotId};
pub use prune::{Amount, PruneOptions, Pruned};
pub use record::{Change, Record, RecordFlags, RecordLens, RecordRef, RecordStat, SortedRecords, ValueRef};
pub use repository::{InitOptions, Repository};
#[cfg(any(test, feature = "conformance"))]
pub use rules::Rule;
pub use session::{BackupSession, CommitOutcome, Committed};
pub use snapshots::{Snapshot, Snapshots};
pub use stack::{ChangeSet, RunRecords, Stack};
pub use state_digest::{DigestSum, RecordHasher, StateDigest};
pub use table::{BuiltTable, KeyRange, TableError, TableKind, TableRoot, TableSpan, build_table};
pub use tiers::{RebaseReason, StackPlan, plan};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod test_records;
