//! A table: chunks of records under a small Merkle tree of nodes. `docs/format.md` §7 gives the bytes.
//!
//! Nodes are cut by the ids of their children, as chunks are by keys: where two tables share a stretch of chunks
//! they share its nodes too.

mod build;
mod fence;
mod node;
mod read;

use serde::{Deserialize, Serialize};

use crate::blobs::BlobError;
use crate::chunk::ChunkError;
use crate::codec::CodecError;
use crate::ids::{BlobId, BlobKind};

pub use build::{BuiltTable, TableBuilder, TableSpan, build_table};
pub use node::{MAX_NODE, MAX_REFS, Node, NodeEntry, RefsEntry};
pub use read::{
    KeyRange, Leaf, LostPart, read_chunk, read_leaves, read_leaves_left, read_refs, read_value, visit_blobs,
};

/// Why a table could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The store failed, or a blob is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The records do not make a chunk.
    #[error("the records cannot be stored")]
    Encode(#[from] ChunkError),
    /// A body cannot be encoded.
    #[error("the table cannot be stored")]
    Codec(#[from] CodecError),
    /// A chunk matches its id but is not a chunk.
    #[error("the chunk {id} cannot be read; run `zooark check --read-data`")]
    Chunk {
        /// Its id.
        id: BlobId,
        /// What is wrong.
        source: ChunkError,
    },
    /// A node or list matches its id but does not decode.
    #[error("the {kind} {id} cannot be read; run `zooark check --read-data`")]
    Body {
        /// Its id.
        id: BlobId,
        /// Its kind.
        kind: BlobKind,
        /// What is wrong.
        source: CodecError,
    },
    /// A blob contradicts the one that names it.
    #[error("the {kind} {id} contradicts the table that holds it: {what}; run `zooark check --read-data`")]
    Inconsistent {
        /// Its id.
        id: BlobId,
        /// Its kind.
        kind: BlobKind,
        /// What differs.
        what: &'static str,
    },
}

impl TableError {
    /// Whether what was to be read is lost, as opposed to out of reach just now.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Blob(BlobError::Missing { .. } | BlobError::Damaged { .. })
            | Self::Chunk { .. }
            | Self::Body { .. }
            | Self::Inconsistent { .. } => true,
            Self::Blob(BlobError::Store { .. }) | Self::Encode(_) | Self::Codec(_) => false,
        }
    }

    /// Whether what was to be read is lost, or lies where a disk cannot read it; the store can be used otherwise.
    pub fn is_of_the_object(&self) -> bool {
        self.is_loss() || matches!(self, Self::Blob(error) if error.is_of_the_object())
    }
}

/// Whether a table holds a whole tree or changes to the tables below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum TableKind {
    /// Every record; no tombstones.
    Base,
    /// Changes. The tier says how often its content was merged: 0 for the run of one backup.
    Run {
        /// Tier, from 0.
        tier: u8,
    },
}

/// What a manifest says of a table: everything needed to read it, and to decide whether to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableRoot {
    /// Base or run.
    pub kind: TableKind,
    /// Id of the topmost blob: a node, or the chunk itself where `height` is 0. `None` for an empty table.
    pub root: Option<BlobId>,
    /// Levels of nodes above the chunks.
    pub height: u8,
    /// The highest zxid before the table's changes; 0 for a base.
    pub zxid_low: i64,
    /// The highest zxid in the state it leads to.
    pub zxid_high: i64,
    /// Records, tombstones not counted.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Chunks.
    pub chunks: u64,
    /// Plaintext bytes of its chunks.
    pub chunk_bytes: u64,
    /// Values stored as blobs of their own, and the sum of their lengths in bytes.
    pub value_blobs: u64,
    /// Bytes of those values.
    pub value_bytes: u64,
    /// Smallest key; of a run that is one chunk, a fence that is not above it.
    pub first_key: Vec<u8>,
    /// Largest key; of a run that is one chunk, a fence that is not below it.
    pub last_key: Vec<u8>,
    /// Lists of the values stored as blobs ([`BlobKind::Refs`]), in order.
    pub refs: Vec<BlobId>,
}

impl TableRoot {
    /// The kind of the topmost blob.
    pub fn root_kind(&self) -> BlobKind {
        if self.height == 0 { BlobKind::Leaf } else { BlobKind::Node }
    }

    /// Records and tombstones.
    pub fn entries(&self) -> u64 {
        self.records.saturating_add(self.tombstones)
    }
}

#[cfg(test)]
mod tests;
