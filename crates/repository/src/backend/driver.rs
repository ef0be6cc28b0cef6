//! What a kind of store has to provide. Limits, retries, counting and naming are added once, by
//! [`Store`](super::Store).

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::error::StoreError;

/// One object of a listing or a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Path inside the repository.
    pub path: String,
    /// Size, bytes.
    pub size: u64,
    /// The store's time of the last write.
    pub modified: SystemTime,
}

/// Bytes of an object and the size of the whole object.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The bytes asked for.
    pub bytes: Bytes,
    /// Size of the whole object, bytes.
    pub object_size: u64,
}

/// Which part of an object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it, refused if longer than this many bytes.
    Whole {
        /// Longest acceptable object, bytes.
        limit: u64,
    },
    /// Exactly these bytes.
    Range(Range<u64>),
    /// The last bytes, fewer if the object is shorter.
    Tail(u64),
}

/// The operations of one kind of store. Each is one request where the store has such a request.
pub trait Driver: std::fmt::Debug + Send + Sync + 'static {
    /// Reads part of an object.
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>>;
    /// Writes an object, over an existing one unless `create`.
    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Lists all objects whose path starts with `prefix` (empty, or ending in `/`).
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>>;
    /// Deletes an object; an absent one is no error.
    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Whether reading is as quick as from a disk of this host.
    fn is_near(&self) -> bool {
        false
    }
    /// Size and time of an object.
    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>>;
}
