//! The local cache: sealed blobs, pack indexes and manifests in `RocksDB`, and which repository lives where.
//!
//! It is only ever a cache. Deleting it costs time and nothing else; every failure inside it turns into "not cached";
//! blobs stay sealed, so it is as unreadable as the store. Contents are named by what they are and cannot be wrong,
//! locations can be old: the reader drops those.
//!
//! ```text
//! <root>/<repository id>/db        RocksDB, opened for reading: one millisecond
//! <root>/<repository id>/journal   small files, one per process that had little to add
//! <root>/location-<hash>           the repository seen at a location
//! ```
//!
//! Opening the database for writing costs some thirty milliseconds and a dozen syncs, too much for a command that adds a
//! manifest and a few blobs. Such a process leaves one journal file, which later ones read into memory; whoever has much
//! to add, or finds many journals, opens for writing and merges them. Any number of processes read; one writes, and
//! another that would write at that time keeps what it has in memory only.

mod db;
mod journal;
mod pins;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use crate::clock::now_ms;
use crate::codec::{decode, encode};
use crate::crypto::{WRAPPED_KEY_LEN, WrappedKey};
use crate::ids::{BlobId, PackId, RepositoryId};
use crate::pack::{BlobEntry, PackIndex};
use db::{Database, Family};
use journal::{Row, Rows};

pub(crate) use pins::{pinned, remember};

const DAY_MS: i64 = 24 * 3600 * 1000;
const MAX_INDEX_ROW: usize = 64 << 20;
/// What a process may add, bytes, before it opens the database for writing.
const MAX_FRESH: usize = 4 << 20;
/// Journals that are merged when there are more, or more bytes.
const MAX_JOURNALS: usize = 32;
const MAX_JOURNAL_BYTES: u64 = 4 << 20;

/// Bytes of blobs kept unless told otherwise.
pub const DEFAULT_BUDGET: u64 = 4 << 30;

/// Where the cache is, and how much it may hold.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Directory that holds the caches of all repositories; `None` for no cache.
    pub root: Option<PathBuf>,
    /// Bytes of blobs kept.
    pub budget_bytes: u64,
}

/// So many blobs that a command reads are each noted as used, and of the others one in so many.
const ALL_TOUCHED: u32 = 32;
const TOUCHED_OF_MANY: u32 = 8;

impl CacheOptions {
    /// No cache.
    pub fn none() -> Self {
        Self { root: None, budget_bytes: 0 }
    }

    /// A cache below this directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: Some(root.into()), budget_bytes: DEFAULT_BUDGET }
    }
}

/// Whether the cache is in use, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheStatus {
    /// In use.
    Open,
    /// Not wanted.
    Off,
    /// It cannot be used.
    Failed(String),
}

/// The cache of one repository, or the absence of one.
#[derive(Debug)]
pub struct Cache {
    open: Option<OpenCache>,
    status: CacheStatus,
}

#[derive(Debug)]
struct OpenCache {
    folder: PathBuf,
    budget: u64,
    today: u32,
    /// Blobs read so far.
    touched: AtomicU32,
    /// Another number in each process: which blobs stand for the others.
    draw: u8,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    database: Database,
    /// What the journals and this process add to the database while it is open for reading.
    rows: Rows,
    /// Rows of this process alone.
    fresh: Vec<(Family, Box<[u8]>)>,
    fresh_bytes: usize,
    journals: Vec<PathBuf>,
    journal_bytes: u64,
    /// Another process writes: nothing more is kept.
    is_shut: bool,
}

impl Cache {
    /// No cache.
    pub fn off() -> Self {
        Self { open: None, status: CacheStatus::Off }
    }

    /// Opens the cache of a repository. Never fails: the status says what came of it.
    pub fn open(options: &CacheOptions, repository: RepositoryId) -> Self {
        let Some(root) = &options.root else { return Self::off() };
        let folder = root.join(repository.to_string());
        for made in [root, &folder] {
            if let Err(e) = pins::make_private(made) {
                return Self { open: None, status: CacheStatus::Failed(format!("{}: {e}", made.display())) };
            }
        }
        let database = Database::for_reading(&db_folder(&folder));
        let (rows, journals, journal_bytes) = journal::read_all(&journal_folder(&folder));
        let state =
            State { database, rows, fresh: Vec::new(), fresh_bytes: 0, journals, journal_bytes, is_shut: false };
        let today = u32::try_from(now_ms() / DAY_MS).unwrap_or(0);
        let [draw, ..] = now_ms().to_le_bytes();
        let (touched, state) = (AtomicU32::new(0), RwLock::new(state));
        let open = OpenCache { folder, budget: options.budget_bytes, today, touched, draw, state };
        Self { open: Some(open), status: CacheStatus::Open }
    }

    /// Whether it is in use, and why not.
    pub fn status(&self) -> &CacheStatus {
        &self.status
    }

    /// Whether it is in use.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn read(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.open.as_ref()?.read(family, key)
    }

    fn write(&self, family: Family, key: &[u8], value: Option<Bytes>) {
        if let Some(open) = &self.open {
            open.write([(family, Box::from(key), value)]);
        }
    }

    /// A sealed blob and the wrapped key of its pack.
    pub fn blob(&self, id: &BlobId) -> Option<(WrappedKey, Bytes)> {
        let row = self.read(Family::Blobs, &id.0)?;
        let wrapped = *row.first_chunk::<WRAPPED_KEY_LEN>()?;
        self.touch(id, row.len());
        Some((wrapped, row.slice(WRAPPED_KEY_LEN..)))
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, id: &BlobId) -> bool {
        self.read(Family::Uses, &id.0).is_some()
    }

    /// Notes that a blob was used today, at most once a day. Of many that one command reads, some stand for all: to know
    /// what is noted costs a read each.
    fn touch(&self, id: &BlobId, size: usize) {
        let Some(open) = &self.open else { return };
        let [first, ..] = id.0;
        let earlier = open.touched.fetch_add(1, Ordering::Relaxed);
        if earlier >= ALL_TOUCHED && u32::from(first ^ open.draw) % TOUCHED_OF_MANY != 0 {
            return;
        }
        let row = use_row(open.today, size);
        if open.read(Family::Uses, &id.0).is_none_or(|known| known != row[..]) {
            open.write([(Family::Uses, Box::from(id.0), Some(Bytes::copy_from_slice(&row)))]);
        }
    }

    /// Keeps sealed blobs of one pack.
    pub fn put_blobs(&self, wrapped: &WrappedKey, blobs: &[(BlobId, Bytes)]) {
        let Some(open) = &self.open else { return };
        let rows = blobs.iter().flat_map(|(id, sealed)| {
            let row = Bytes::from([&wrapped[..], sealed].concat());
            let used = Bytes::copy_from_slice(&use_row(open.today, row.len()));
            [(Family::Blobs, Box::from(id.0), Some(row)), (Family::Uses, Box::from(id.0), Some(used))]
        });
        open.write(rows);
    }

    /// Drops a blob that proved damaged.
    pub fn forget_blob(&self, id: &BlobId) {
        self.write(Family::Blobs, &id.0, None);
        self.write(Family::Uses, &id.0, None);
    }

    /// The entries of a pack.
    pub fn pack(&self, pack: PackId) -> Option<PackIndex> {
        let row = self.read(Family::Index, &pack.0.to_bytes())?;
        let decoded = decode::<(u64, Vec<u8>, Vec<BlobEntry>), MAX_INDEX_ROW>("cached index", &row).ok()?;
        let (size, wrapped, blobs) = decoded;
        Some(PackIndex { pack, size, wrapped: wrapped.try_into().ok()?, blobs })
    }

    /// Keeps the entries of a pack.
    pub fn put_pack(&self, index: &PackIndex) {
        if !self.is_open() {
            return;
        }
        if let Ok(row) = encode("cached index", &(index.size, &index.wrapped[..], &index.blobs)) {
            self.write(Family::Index, &index.pack.0.to_bytes(), Some(row.into()));
        }
    }

    /// Drops the entries of a pack that is gone.
    pub fn forget_pack(&self, pack: PackId) {
        self.write(Family::Index, &pack.0.to_bytes(), None);
    }

    /// A manifest object by its path: a path is used once, so it cannot be another.
    pub fn manifest(&self, path: &str) -> Option<Bytes> {
        self.read(Family::Manifests, path.as_bytes())
    }

    /// Keeps a manifest object.
    pub fn put_manifest(&self, path: &str, object: &[u8]) {
        if self.manifest(path).is_none_or(|known| known != object) {
            self.write(Family::Manifests, path.as_bytes(), Some(Bytes::copy_from_slice(object)));
        }
    }

    /// Drops a manifest that is gone.
    pub fn forget_manifest(&self, path: &str) {
        self.write(Family::Manifests, path.as_bytes(), None);
    }

    /// Something small by name.
    pub fn fact(&self, name: &str) -> Option<Bytes> {
        self.read(Family::Manifests, format!("fact/{name}").as_bytes())
    }

    /// Keeps something small by name.
    pub fn put_fact(&self, name: &str, value: &[u8]) {
        self.put_manifest(&format!("fact/{name}"), value);
    }
}

impl OpenCache {
    fn read(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match state.rows.get(family, key) {
            Some(row) => row.clone(),
            None => state.database.get(family, key),
        }
    }

    fn write(&self, rows: impl IntoIterator<Item = Row>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_shut {
            return;
        }
        if state.database.is_writing() {
            state.database.write(rows, self.budget);
            return;
        }
        for (family, key, value) in rows {
            let size = value.as_ref().map_or(0, Bytes::len).saturating_add(key.len());
            state.fresh_bytes = state.fresh_bytes.saturating_add(size);
            state.fresh.push((family, key.clone()));
            state.rows.insert(family, key, value);
        }
        if state.fresh_bytes > MAX_FRESH {
            state.merge(&self.folder, self.budget);
        }
    }
}

impl State {
    /// Opens the database for writing and puts everything there.
    fn merge(&mut self, folder: &Path, budget: u64) {
        match std::mem::replace(&mut self.database, Database::Absent).for_writing(&db_folder(folder)) {
            Ok(database) => {
                self.database = database;
                self.database.write(self.rows.take(), budget);
                self.fresh.clear();
                for path in self.journals.drain(..) {
                    // A journal that stays is read again: the same rows.
                    let _ = std::fs::remove_file(path);
                }
            }
            Err(database) => {
                self.database = database;
                self.is_shut = true;
            }
        }
    }
}

impl Drop for OpenCache {
    fn drop(&mut self) {
        let folder = &self.folder;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.fresh.is_empty() || state.is_shut || state.database.is_writing() {
            return;
        }
        let bytes = state.journal_bytes.saturating_add(state.fresh_bytes as u64);
        if state.journals.len() >= MAX_JOURNALS || bytes > MAX_JOURNAL_BYTES {
            state.merge(folder, self.budget);
        } else if let Err(error) =
            journal::write(&journal_folder(folder), &state.rows, &state.fresh, state.journals.last())
        {
            tracing::debug!(%error, "the cache could not be written");
        }
    }
}

fn db_folder(folder: &Path) -> PathBuf {
    folder.join("db")
}

fn journal_folder(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// When a blob was last used, in days since 1970, and how much room it takes.
fn use_row(day: u32, size: usize) -> [u8; 8] {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut row = [0; 8];
    let (first, last) = row.split_at_mut(4);
    first.copy_from_slice(&day.to_le_bytes());
    last.copy_from_slice(&size.to_le_bytes());
    row
}

fn read_use_row(row: &[u8]) -> Option<(u32, u64)> {
    let (day, size) = row.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*day), u64::from(u32::from_le_bytes(size.try_into().ok()?))))
}

#[cfg(test)]
mod tests;
