//! The local cache: sealed blobs, pack indexes and manifests in `RocksDB`, and which repository lives where.
//!
//! It is only ever a cache. Deleting it costs time and nothing else; every failure inside it turns into "not cached";
//! blobs stay sealed, so it is as unreadable as the store. Contents are named by what they are and cannot be wrong,
//! locations can be old: the reader drops those. One process has it open at a time, the second does without.
//!
//! Nothing is logged ahead: rows that a crash takes are fetched again.

mod pins;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use rocksdb::{ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::clock::now_ms;
use crate::codec::{decode, encode};
use crate::crypto::{WRAPPED_KEY_LEN, WrappedKey};
use crate::ids::{BlobId, PackId, RepositoryId};
use crate::pack::{BlobEntry, PackIndex};

pub(crate) use pins::{pinned, remember};

const BLOBS: &str = "blobs";
const INDEX: &str = "index";
const MANIFESTS: &str = "manifests";
const DAY_MS: i64 = 24 * 3600 * 1000;
const MAX_INDEX_ROW: usize = 64 << 20;
const TOTAL_ROW: &[u8] = b"total";

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
    /// Another process has it open.
    Busy,
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
    db: DB,
    budget: u64,
    total: AtomicU64,
    changed: AtomicBool,
    today: u32,
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
        match open_or_renew(&folder) {
            Ok(db) => {
                let stored = db.get_pinned(TOTAL_ROW).ok().flatten();
                let total = stored.and_then(|v| v.as_ref().try_into().ok()).map_or(0, u64::from_le_bytes);
                let today = u32::try_from(now_ms() / DAY_MS).unwrap_or(0);
                let open = OpenCache {
                    db,
                    budget: options.budget_bytes,
                    total: AtomicU64::new(total),
                    changed: AtomicBool::new(false),
                    today,
                };
                Self { open: Some(open), status: CacheStatus::Open }
            }
            Err(status) => Self { open: None, status },
        }
    }

    /// Whether it is in use, and why not.
    pub fn status(&self) -> &CacheStatus {
        &self.status
    }

    /// Whether it is in use.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn read(&self, family: &str, key: &[u8]) -> Option<Vec<u8>> {
        let db = &self.open.as_ref()?.db;
        db.get_cf(db.cf_handle(family)?, key).ok().flatten()
    }

    fn write(&self, family: &str, key: &[u8], value: &[u8]) {
        let Some(open) = &self.open else { return };
        let Some(handle) = open.db.cf_handle(family) else { return };
        forgive(open.db.put_cf_opt(handle, key, value, &unlogged()));
    }

    fn remove(&self, family: &str, key: &[u8]) {
        let Some(open) = &self.open else { return };
        let Some(handle) = open.db.cf_handle(family) else { return };
        forgive(open.db.delete_cf_opt(handle, key, &unlogged()));
    }

    /// A sealed blob and the wrapped key of its pack.
    pub fn blob(&self, id: &BlobId) -> Option<(WrappedKey, Bytes)> {
        let row = Bytes::from(self.read(BLOBS, &id.0)?);
        let wrapped = *row.first_chunk::<WRAPPED_KEY_LEN>()?;
        self.touch(id, row.len());
        Some((wrapped, row.slice(WRAPPED_KEY_LEN..)))
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, id: &BlobId) -> bool {
        let present = || {
            let db = &self.open.as_ref()?.db;
            let handle = db.cf_handle(BLOBS)?;
            Some(db.key_may_exist_cf(handle, id.0) && db.get_pinned_cf(handle, id.0).ok()?.is_some())
        };
        present().unwrap_or(false)
    }

    /// Notes that a blob was used today, at most once a day.
    fn touch(&self, id: &BlobId, size: usize) {
        let Some(open) = &self.open else { return };
        let key = touch_key(id);
        let row = touch_row(open.today, size);
        let known = open.db.get_pinned(key).ok().flatten();
        if known.is_none_or(|r| *r != row[..]) {
            forgive(open.db.put_opt(key, row, &unlogged()));
        }
    }

    /// Keeps sealed blobs of one pack.
    pub fn put_blobs(&self, wrapped: &WrappedKey, blobs: &[(BlobId, Bytes)]) {
        let Some(open) = &self.open else { return };
        let Some(handle) = open.db.cf_handle(BLOBS) else { return };
        let mut batch = WriteBatch::default();
        let mut added = 0_u64;
        for (id, sealed) in blobs {
            let row = [&wrapped[..], sealed].concat();
            added = added.saturating_add(row.len() as u64);
            batch.put_cf(handle, id.0, &row);
            batch.put(touch_key(id), touch_row(open.today, row.len()));
        }
        forgive(open.db.write_opt(batch, &unlogged()));
        let total = open.total.fetch_add(added, Ordering::Relaxed).saturating_add(added);
        open.changed.store(true, Ordering::Relaxed);
        if total > open.budget {
            forgive(open.evict());
        }
    }

    /// Drops a blob that proved damaged.
    pub fn forget_blob(&self, id: &BlobId) {
        self.remove(BLOBS, &id.0);
    }

    /// The entries of a pack.
    pub fn pack(&self, pack: PackId) -> Option<PackIndex> {
        let row = self.read(INDEX, &pack.0.to_bytes())?;
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
            self.write(INDEX, &index.pack.0.to_bytes(), &row);
        }
    }

    /// Drops the entries of a pack that is gone.
    pub fn forget_pack(&self, pack: PackId) {
        self.remove(INDEX, &pack.0.to_bytes());
    }

    /// A manifest object by its path: a path is used once, so it cannot be another.
    pub fn manifest(&self, path: &str) -> Option<Bytes> {
        self.read(MANIFESTS, path.as_bytes()).map(Bytes::from)
    }

    /// Keeps a manifest object.
    pub fn put_manifest(&self, path: &str, object: &[u8]) {
        self.write(MANIFESTS, path.as_bytes(), object);
    }

    /// Drops a manifest that is gone.
    pub fn forget_manifest(&self, path: &str) {
        self.remove(MANIFESTS, path.as_bytes());
    }

    /// Something small by name.
    pub fn fact(&self, name: &str) -> Option<Vec<u8>> {
        self.read(MANIFESTS, format!("fact/{name}").as_bytes())
    }

    /// Keeps something small by name.
    pub fn put_fact(&self, name: &str, value: &[u8]) {
        self.write(MANIFESTS, format!("fact/{name}").as_bytes(), value);
    }
}

impl OpenCache {
    /// Deletes the blobs not used for the longest time until four fifths of the budget are left.
    fn evict(&self) -> Result<(), rocksdb::Error> {
        let mut by_day: BTreeMap<u32, Vec<([u8; 32], u32)>> = BTreeMap::new();
        let mut total = 0_u64;
        for row in self.db.iterator(IteratorMode::From(b"t", rocksdb::Direction::Forward)) {
            let (key, value) = row?;
            let id = key.strip_prefix(b"t").and_then(|k| <[u8; 32]>::try_from(k).ok());
            let Some((id, (day, size))) = id.zip(value.split_first_chunk::<4>()) else { continue };
            let size = size.try_into().map_or(0, u32::from_le_bytes);
            total = total.saturating_add(u64::from(size));
            by_day.entry(u32::from_le_bytes(*day)).or_default().push((id, size));
        }
        let Some(handle) = self.db.cf_handle(BLOBS) else { return Ok(()) };
        let target = self.budget / 5 * 4;
        let mut batch = WriteBatch::default();
        for (id, size) in by_day.into_values().flatten() {
            if total <= target {
                break;
            }
            batch.delete_cf(handle, id);
            batch.delete(touch_key(&BlobId(id)));
            total = total.saturating_sub(u64::from(size));
        }
        self.db.write_opt(batch, &unlogged())?;
        self.total.store(total, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for OpenCache {
    fn drop(&mut self) {
        if self.changed.load(Ordering::Relaxed) {
            let total = self.total.load(Ordering::Relaxed).to_le_bytes();
            forgive(self.db.put_opt(TOTAL_ROW, total, &unlogged()));
        }
    }
}

fn touch_key(id: &BlobId) -> [u8; 33] {
    let mut key = [b't'; 33];
    key[1..].copy_from_slice(&id.0);
    key
}

fn touch_row(day: u32, size: usize) -> [u8; 8] {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut row = [0; 8];
    let (first, last) = row.split_at_mut(4);
    first.copy_from_slice(&day.to_le_bytes());
    last.copy_from_slice(&size.to_le_bytes());
    row
}

/// A cache that cannot be written is slower, not wrong.
fn forgive(result: Result<(), rocksdb::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the cache could not be written");
    }
}

fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn open_or_renew(folder: &Path) -> Result<DB, CacheStatus> {
    if let Some(root) = folder.parent() {
        pins::make_private(root).map_err(|e| CacheStatus::Failed(e.to_string()))?;
    }
    pins::make_private(folder).map_err(|e| CacheStatus::Failed(e.to_string()))?;
    match open_db(folder) {
        Ok(db) => Ok(db),
        Err(e) if is_locked(&e) => Err(CacheStatus::Busy),
        Err(first) => {
            // Damaged, or written by an incompatible version: it is only a cache.
            tracing::warn!(error = %first, "the cache cannot be opened and is made anew");
            DB::destroy(&Options::default(), folder).map_err(|e| CacheStatus::Failed(e.to_string()))?;
            open_db(folder)
                .map_err(|e| if is_locked(&e) { CacheStatus::Busy } else { CacheStatus::Failed(e.to_string()) })
        }
    }
}

fn is_locked(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    text.contains("lock")
}

/// Tuned for processes that live for milliseconds: few threads, small memory, no statistics, no log.
fn open_db(folder: &Path) -> Result<DB, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_max_file_opening_threads(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(1);
    options.set_log_level(rocksdb::LogLevel::Fatal);
    options.set_use_fsync(false);
    options.set_paranoid_checks(false);
    let family = |name: &str, write_buffer: usize| {
        let mut options = Options::default();
        options.set_write_buffer_size(write_buffer);
        options.set_compression_type(DBCompressionType::None);
        options.set_level_zero_file_num_compaction_trigger(8);
        if name == BLOBS {
            // What compaction moves about are keys; sealed blobs lie beside them.
            options.set_enable_blob_files(true);
            options.set_min_blob_size(1024);
            options.set_enable_blob_gc(true);
        }
        ColumnFamilyDescriptor::new(name, options)
    };
    let families =
        [family("default", 1 << 20), family(BLOBS, 16 << 20), family(INDEX, 2 << 20), family(MANIFESTS, 2 << 20)];
    DB::open_cf_descriptors(&options, folder, families)
}

#[cfg(test)]
mod tests;
