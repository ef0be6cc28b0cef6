//! Manifests: `snapshots/<lineage>/<seq>`, the commit point of a snapshot.
//!
//! A snapshot exists when its manifest does. The manifest names every table and every pack the snapshot needs, so a
//! reader, the writer's rule and prune's mark need nothing else than manifests and pack footers. Its id is a keyed hash
//! of the object's bytes. A tombstone takes a number so that it is never used again; it is no snapshot.

mod columns;

use serde::{Deserialize, Serialize};

use crate::codec::{ObjectKind, decode_body, encode, encode_body};
use crate::crypto::{Crypto, WRAPPED_KEY_LEN, WrappedKey};
use crate::error::RepositoryError;
use crate::ids::{LineageId, PackId, SnapshotId};
use crate::pack::{BlobEntry, PackIndex};
use crate::seal::{open_object, seal_object};
use crate::table::TableRoot;

/// Longest manifest, bytes.
pub const MAX_MANIFEST: u64 = 64 << 20;
/// Most tables in a stack.
pub const MAX_TABLES: usize = 128;
/// Index entries up to this many bytes are kept in the manifest.
pub const MAX_INLINE_INDEX: usize = 16 << 10;
const VERSION: u8 = 1;
const MAX_BODY: usize = 64 << 20;

/// How sure it is that the snapshot is one state of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// The state at exactly one zxid.
    Exact,
    /// Records of different moments between two zxids.
    Fuzzy,
}

/// What proves the consistency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// Nothing.
    None,
    /// Strict replay of every transaction.
    Replay,
    /// `ZooKeeper`'s own digest of the whole tree.
    Digest,
}

/// Whether the end of the log was known to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tail {
    /// A later record or the server itself confirms it.
    Confirmed,
    /// Nothing does.
    Unconfirmed,
}

/// Where the records came from, and how it can be recognised again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceInfo {
    /// What the user named, without credentials.
    pub location: String,
    /// Kind of endpoint, such as `datadir`.
    pub kind: String,
    /// Version of the server, where known.
    pub version: Option<String>,
    /// How the changes were obtained: `full`, `log`, `scan`, `watch`.
    pub method: String,
    /// Path that the stored paths are relative to.
    pub chroot: String,
    /// Canonical text of the filter; empty for none.
    pub filter: String,
    /// Well-known nodes and the oldest nodes: whatever identifies the ensemble, as the engine encodes it.
    pub identity: Vec<u8>,
    /// Where the transaction logs can be taken up by the next backup, as the engine encodes it.
    pub anchor: Vec<u8>,
}

/// What the snapshot does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The path, as `ZooKeeper`'s bytes.
    pub path: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// Counts of one backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackupCounters {
    /// Nodes new since the parent.
    pub nodes_created: u64,
    /// Nodes changed since the parent.
    pub nodes_changed: u64,
    /// Nodes gone since the parent.
    pub nodes_deleted: u64,
    /// Bytes of packs written.
    pub added_bytes: u64,
    /// Blobs written.
    pub added_blobs: u64,
    /// How long it took until the manifest, milliseconds.
    pub duration_ms: u64,
    /// Whether the whole tree was chunked again.
    pub rebase: bool,
}

/// Everything about a snapshot but its stack: what the engine knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFields {
    /// Name of the ensemble.
    pub cluster: String,
    /// The snapshot's time, milliseconds since 1970.
    pub time_ms: i64,
    /// Time of the last transaction, milliseconds since 1970.
    pub state_time_ms: Option<i64>,
    /// Host that made it.
    pub host: String,
    /// Tags given at the backup; notes change them later.
    pub tags: Vec<String>,
    /// Program and version that made it.
    pub program: String,
    /// Where it came from.
    pub source: SourceInfo,
    /// Every change up to here is in it.
    pub zxid_low: i64,
    /// No change above this is in it.
    pub zxid_high: i64,
    /// One state or not.
    pub consistency: Consistency,
    /// Likewise of the ACLs.
    pub acl_consistency: Consistency,
    /// What proves it.
    pub proof: Proof,
    /// Whether the end of the log was committed.
    pub tail: Tail,
    /// Why it may be the wrong tree; empty if it is not suspect.
    pub suspect: Vec<String>,
    /// What could not be read; empty if it is complete.
    pub incomplete: Vec<Gap>,
    /// Sum over all records: see `state_digest`.
    pub state_digest: [u8; 32],
    /// `ZooKeeper`'s own digest and its version, where the state is exact and has one.
    pub tree_digest: Option<(i64, i32)>,
    /// Nodes.
    pub nodes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Bytes of paths, values, stats and ACLs as `ZooKeeper` stores them.
    pub raw_bytes: u64,
    /// Counts of this backup.
    pub counters: BackupCounters,
    /// Id in the repository it was copied from with other keys.
    pub original: Option<SnapshotId>,
    /// Anything else the engine wants to find again, by name.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// A table of the stack and the packs that hold its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackTable {
    /// The table.
    pub root: TableRoot,
    /// Every pack that holds a node, chunk or value of it, sorted.
    pub packs: Vec<PackId>,
}

/// Where the entries of a pack are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexPlace {
    /// Here.
    Inline(Vec<BlobEntry>),
    /// In the pack: where its sealed footer starts, and the footer's length, bytes.
    Footer(u64, u32),
}

/// A pack that this snapshot introduced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPack {
    /// The pack.
    pub pack: PackId,
    /// Size, bytes.
    pub size: u64,
    /// Its wrapped key.
    pub wrapped: Vec<u8>,
    /// Its entries.
    pub place: IndexPlace,
}

impl NewPack {
    /// The index, where the manifest holds it.
    pub fn index(&self) -> Option<PackIndex> {
        let IndexPlace::Inline(blobs) = &self.place else { return None };
        let wrapped = WrappedKey::try_from(self.wrapped.as_slice()).ok()?;
        Some(PackIndex { pack: self.pack, size: self.size, wrapped, blobs: blobs.clone() })
    }
}

/// A snapshot as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// The snapshot it was compared with; information only.
    pub parent: Option<SnapshotId>,
    /// What the engine said.
    pub fields: SnapshotFields,
    /// Base first, newest run last.
    #[serde(with = "columns")]
    pub stack: Vec<StackTable>,
    /// Packs that came with it.
    pub new_packs: Vec<NewPack>,
}

/// What a manifest object holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ManifestBody {
    /// A snapshot.
    Snapshot(Box<SnapshotManifest>),
    /// A number that is taken and stands for nothing; when it was written, milliseconds since 1970.
    Tombstone {
        /// When.
        time_ms: i64,
    },
}

/// A snapshot with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its id.
    pub id: SnapshotId,
    /// Its lineage.
    pub lineage: LineageId,
    /// Its number.
    pub seq: u64,
    /// Where it is stored.
    pub path: String,
    /// Its content.
    pub body: SnapshotManifest,
}

impl Manifest {
    /// Every pack the snapshot needs, sorted.
    pub fn packs(&self) -> Vec<PackId> {
        let mut packs: Vec<PackId> = self.body.stack.iter().flat_map(|t| t.packs.iter().copied()).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// The tables, base first.
    pub fn tables(&self) -> Vec<TableRoot> {
        self.body.stack.iter().map(|t| t.root.clone()).collect()
    }
}

/// Path of number `seq` of a lineage.
pub fn manifest_path(lineage: LineageId, seq: u64) -> String {
    format!("snapshots/{lineage}/{seq:020}")
}

/// Path where the store cannot create exclusively: two writers of one number both stand.
pub fn shared_manifest_path(lineage: LineageId, seq: u64, ulid: ulid::Ulid) -> String {
    format!("{}-{}", manifest_path(lineage, seq), ulid.to_string())
}

/// Lineage and number a path names.
pub fn parse_path(path: &str) -> Option<(LineageId, u64)> {
    let (lineage, name) = path.strip_prefix("snapshots/")?.split_once('/')?;
    let (number, ulid) = match name.split_once('-') {
        Some((number, ulid)) => (number, Some(ulid)),
        None => (name, None),
    };
    if ulid.is_some_and(|u| ulid::Ulid::from_string(u).is_err()) {
        return None;
    }
    let digits = number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit());
    Some((lineage.parse().ok()?, number.parse().ok().filter(|_| digits)?))
}

/// The object's bytes.
pub fn encode_manifest(crypto: &Crypto, path: &str, body: &ManifestBody) -> Result<Vec<u8>, RepositoryError> {
    let fail = |e: crate::seal::SealError| RepositoryError::writing(path, e);
    let bytes = encode_body("manifest", body).map_err(|e| fail(e.into()))?;
    seal_object(crypto, ObjectKind::Manifest, VERSION, path, b"", &bytes, MAX_BODY).map_err(fail)
}

/// Reads an object; its id is that of the bytes given.
pub fn decode_manifest(
    crypto: &Crypto,
    path: &str,
    object: &[u8],
) -> Result<(SnapshotId, ManifestBody), RepositoryError> {
    let damaged = |e: crate::seal::SealError| RepositoryError::reading(path, e);
    let wrong = |what: &str| RepositoryError::Inconsistent { object: path.to_owned(), what: what.to_owned() };
    let bytes =
        open_object(crypto, "manifest", ObjectKind::Manifest, VERSION, path, 0, object, MAX_BODY).map_err(damaged)?;
    let body: ManifestBody = decode_body::<_, MAX_BODY>("manifest", &bytes).map_err(|e| damaged(e.into()))?;
    if let ManifestBody::Snapshot(snapshot) = &body {
        if snapshot.stack.len() > MAX_TABLES {
            return Err(wrong("its stack has more tables than the format allows"));
        }
        if snapshot.new_packs.iter().any(|p| p.wrapped.len() != WRAPPED_KEY_LEN) {
            return Err(wrong("a wrapped key has the wrong length"));
        }
    }
    Ok((crypto.identity().snapshot_id(object), body))
}

/// Decides which entries of new packs go into the manifest: as many packs, smallest first, as fit.
pub fn place_indexes(packs: &[(PackIndex, (u64, u32))]) -> Result<Vec<NewPack>, RepositoryError> {
    let mut order: Vec<&(PackIndex, (u64, u32))> = packs.iter().collect();
    order.sort_by_key(|(index, _)| (index.blobs.len(), index.pack));
    let mut room = MAX_INLINE_INDEX;
    let mut placed = Vec::with_capacity(order.len());
    for (index, (footer_at, footer_len)) in order {
        let size = encode("index entries", &index.blobs).map_err(|e| RepositoryError::writing("the index", e))?.len();
        let place = match room.checked_sub(size) {
            Some(left) => {
                room = left;
                IndexPlace::Inline(index.blobs.clone())
            }
            None => IndexPlace::Footer(*footer_at, *footer_len),
        };
        placed.push(NewPack { pack: index.pack, size: index.size, wrapped: index.wrapped.to_vec(), place });
    }
    Ok(placed)
}

#[cfg(test)]
mod tests;
