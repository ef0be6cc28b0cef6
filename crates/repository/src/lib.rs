//! The layered, encrypted, content-addressed snapshot store.
//!
//! A snapshot is a stack of tables: one base that holds a whole tree in content-defined chunks, and a
//! short list of runs that hold changed records and tombstones. `docs/format.md` gives every byte.

pub mod advance;
pub mod blobs;
pub mod chunk;
pub mod codec;
pub mod cut;
pub mod ids;
pub mod record;
pub mod stack;
pub mod state_digest;
pub mod table;
pub mod tiers;

pub use advance::{Advanced, advance, rebase};
pub use blobs::{BlobError, BlobSink, BlobSource, MemoryBlobs, PlainBlob};
pub use ids::{BlobId, BlobKind, IdentityKeys, LineageId, PackId, RepositoryId, SnapshotId};
pub use record::{Change, Record, RecordFlags, RecordLens, RecordRef, RecordStat, SortedRecords, ValueRef};
pub use stack::{ChangeSet, RunRecords, Stack};
pub use state_digest::{RecordHasher, StateDigest};
pub use table::{BuiltTable, KeyRange, TableError, TableKind, TableRoot, TableSpan, build_table};
pub use tiers::{RebaseReason, StackPlan, plan};

#[cfg(test)]
mod test_records;
