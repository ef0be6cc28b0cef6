//! Where blobs come from and go to, as the tables see it.
//!
//! Both traits are synchronous and called from many threads at once: encoding, hashing and compressing are
//! computation. Whoever implements them over a network bridges to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::backend::StoreError;
use crate::ids::{BlobId, BlobKind, IdentityKeys};

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Nothing stored has this id.
    #[error("the {kind} {id} is in no pack of the repository; run `zooark check` to see which snapshots need it")]
    Missing {
        /// The id.
        id: BlobId,
        /// Its kind.
        kind: BlobKind,
    },
    /// What is stored under the id is not what was written.
    #[error("the {kind} {id} is damaged ({location}): {what}; run `zooark check --read-data`")]
    Damaged {
        /// The id.
        id: BlobId,
        /// Its kind.
        kind: BlobKind,
        /// Pack and offset, or the cache.
        location: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store failed; the cause says how.
    #[error("reading or writing the {kind} {id} failed")]
    Store {
        /// The id.
        id: BlobId,
        /// Its kind.
        kind: BlobKind,
        /// The store's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BlobError {
    /// Whether this blob, or the pack it is in, is at fault, not the store: others may well be read.
    pub fn is_of_the_object(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } => true,
            Self::Store { source, .. } => source.downcast_ref::<StoreError>().is_some_and(StoreError::is_of_the_object),
        }
    }
}

/// Gives plaintext blobs by id. What it returns hashes to the id: implementations verify on every read.
pub trait BlobSource: Sync {
    /// The plaintext of a blob.
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError>;

    /// Says which blobs will be read soon, in that order. May do nothing.
    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        let _ = ids;
    }
}

impl<S: BlobSource + ?Sized> BlobSource for &S {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        (**self).get(id, kind)
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        (**self).prefetch(ids);
    }
}

/// Plaintexts of the nodes read last: whoever looks keys up one after the other reads the same ones from the root down
/// again and again.
#[derive(Debug, Default)]
pub struct NodeMemory {
    nodes: Mutex<HashMap<BlobId, Bytes>>,
}

impl NodeMemory {
    /// Bytes remembered at most; then it begins anew.
    const MOST_BYTES: usize = 4 << 20;

    /// Reads a blob; a node from here, where it is.
    pub fn get<S: BlobSource + ?Sized>(&self, source: &S, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        if kind != BlobKind::Node {
            return source.get(id, kind);
        }
        if let Some(known) = self.nodes().get(id) {
            return Ok(known.clone());
        }
        let read = source.get(id, kind)?;
        let mut nodes = self.nodes();
        if nodes.values().map(Bytes::len).sum::<usize>().saturating_add(read.len()) > Self::MOST_BYTES {
            nodes.clear();
        }
        nodes.insert(*id, read.clone());
        Ok(read)
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<BlobId, Bytes>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source whose nodes are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Remembering<'a, S: ?Sized> {
    /// Where blobs come from.
    pub source: &'a S,
    /// What is remembered of them.
    pub nodes: &'a NodeMemory,
}

impl<S: BlobSource + ?Sized> BlobSource for Remembering<'_, S> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        self.nodes.get(self.source, id, kind)
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        self.source.prefetch(ids);
    }
}

/// A blob before compression and sealing.
#[derive(Clone, Copy, Debug)]
pub struct PlainBlob<'a> {
    /// Its id, already computed.
    pub id: BlobId,
    /// Its kind.
    pub kind: BlobKind,
    /// The plaintext.
    pub bytes: &'a [u8],
}

/// Takes plaintext blobs, from many threads, in no particular order, the same id possibly more than once.
pub trait BlobSink: Sync {
    /// Stores the blob, unless the repository already reaches it. Compresses and seals in the calling thread.
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError>;
}

impl<S: BlobSink + ?Sized> BlobSink for &S {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        (**self).put(blob)
    }
}

/// Blobs in memory: for tests, and for tables that are made and read within one backup.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: RwLock<HashMap<BlobId, (BlobKind, Bytes)>>,
}

impl MemoryBlobs {
    /// No blobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many blobs there are, and their plaintext bytes together.
    pub fn totals(&self) -> (usize, usize) {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        (blobs.len(), blobs.values().map(|(_, bytes)| bytes.len()).sum())
    }

    /// Calls `visit` with every blob, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(PlainBlob<'_>)) {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        for (id, (kind, bytes)) in blobs.iter() {
            visit(PlainBlob { id: *id, kind: *kind, bytes });
        }
    }

    /// Whether a blob is there.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.blobs.read().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Adds a blob that has no id yet.
    pub fn insert(&self, keys: &IdentityKeys, kind: BlobKind, bytes: Bytes) -> BlobId {
        let id = keys.blob_id(kind, &bytes);
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).insert(id, (kind, bytes));
        id
    }
}

impl BlobSink for MemoryBlobs {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        blobs.entry(blob.id).or_insert_with(|| (blob.kind, Bytes::copy_from_slice(blob.bytes)));
        Ok(())
    }
}

impl BlobSource for MemoryBlobs {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        match blobs.get(id) {
            Some((found, bytes)) if *found == kind => Ok(bytes.clone()),
            _ => Err(BlobError::Missing { id: *id, kind }),
        }
    }
}

/// Looks in one source first and, for what it lacks, in another.
#[derive(Debug)]
pub struct Layered<'a, S> {
    /// Asked first.
    pub first: &'a MemoryBlobs,
    /// Asked for everything else.
    pub then: S,
}

impl<S: BlobSource> BlobSource for Layered<'_, S> {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        self.first.get(id, kind).or_else(|_| self.then.get(id, kind))
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        self.then.prefetch(ids);
    }
}
