//! `RocksDB`, for reading or for writing. Nothing is logged ahead: rows that a crash takes are fetched again.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::journal::Row;
use super::read_use_row;

/// The column families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Family {
    /// Blob id → wrapped key and sealed blob.
    Blobs = 1,
    /// Blob id → when it was last used, and its size.
    Uses = 2,
    /// Pack → its entries.
    Index = 3,
    /// Path → manifest or note; `fact/<name>` → something small.
    Manifests = 4,
}

const FAMILIES: [Family; 4] = [Family::Blobs, Family::Uses, Family::Index, Family::Manifests];

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Uses => "uses",
            Self::Index => "index",
            Self::Manifests => "manifests",
        }
    }

    pub(super) fn from_u8(number: u8) -> Option<Self> {
        FAMILIES.into_iter().find(|f| *f as u8 == number)
    }
}

#[derive(Debug)]
pub(super) enum Database {
    /// Not made yet, or unreadable.
    Absent,
    Reading(DB),
    Writing {
        db: DB,
        /// Bytes of blobs in it; counted on the first writing.
        total: Option<u64>,
    },
}

impl Database {
    pub(super) fn for_reading(folder: &Path) -> Self {
        if !folder.join("CURRENT").exists() {
            return Self::Absent;
        }
        let names = FAMILIES.map(Family::name).into_iter().chain(["default"]);
        match DB::open_cf_for_read_only(&options(), folder, names, false) {
            Ok(db) => Self::Reading(db),
            Err(error) => {
                tracing::debug!(%error, "the cache cannot be read");
                Self::Absent
            }
        }
    }

    /// Opens it for writing; gives back what can be read if another process writes.
    pub(super) fn for_writing(self, folder: &Path) -> Result<Self, Self> {
        drop(self);
        let opened = open(folder).or_else(|first| {
            if is_locked(&first) {
                return Err(first);
            }
            // Damaged, or written by an incompatible version: it is only a cache.
            tracing::warn!(error = %first, "the cache cannot be opened and is made anew");
            DB::destroy(&Options::default(), folder)?;
            open(folder)
        });
        match opened {
            Ok(db) => Ok(Self::Writing { db, total: None }),
            Err(error) => {
                tracing::debug!(%error, "the cache cannot be written");
                Err(Self::for_reading(folder))
            }
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        matches!(self, Self::Writing { .. })
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        let (Self::Reading(db) | Self::Writing { db, .. }) = self else { return None };
        let handle = db.cf_handle(family.name())?;
        let mut options = ReadOptions::default();
        // A blob is opened with its key and hashed to its id whenever it is read.
        options.set_verify_checksums(family != Family::Blobs);
        db.get_cf_opt(handle, key, &options).ok().flatten().map(Bytes::from)
    }

    /// Writes rows, then makes room if there are more bytes of blobs than the budget allows.
    pub(super) fn write(&mut self, rows: impl IntoIterator<Item = Row>, budget: u64) {
        let Self::Writing { db, total } = self else { return };
        let mut added = 0_u64;
        let mut batch = WriteBatch::default();
        for (family, key, value) in rows {
            let Some(handle) = db.cf_handle(family.name()) else { continue };
            match value {
                Some(value) => {
                    if family == Family::Blobs {
                        added = added.saturating_add(value.len() as u64);
                    }
                    batch.put_cf(handle, key, value);
                }
                None => batch.delete_cf(handle, key),
            }
        }
        let known = *total;
        let result = db.write_opt(batch, &unlogged()).and_then(|()| {
            let sum = match known {
                Some(sum) => sum.saturating_add(added),
                None => uses(db)?.values().flatten().map(|(_, size)| size).sum(),
            };
            if sum > budget { evict(db, budget) } else { Ok(sum) }
        });
        match result {
            Ok(sum) => *total = Some(sum),
            // A cache that cannot be written is slower, not wrong.
            Err(error) => tracing::debug!(%error, "the cache could not be written"),
        }
    }
}

type Uses = BTreeMap<u32, Vec<([u8; 32], u64)>>;

/// Every blob and its size, by the day of its last use.
fn uses(db: &DB) -> Result<Uses, rocksdb::Error> {
    let mut by_day = Uses::new();
    let Some(handle) = db.cf_handle(Family::Uses.name()) else { return Ok(by_day) };
    for row in db.iterator_cf(handle, IteratorMode::Start) {
        let (key, value) = row?;
        if let Some((id, (day, size))) = <[u8; 32]>::try_from(&*key).ok().zip(read_use_row(&value)) {
            by_day.entry(day).or_default().push((id, size));
        }
    }
    Ok(by_day)
}

/// Deletes the blobs not used for the longest time until four fifths of the budget are left.
fn evict(db: &DB, budget: u64) -> Result<u64, rocksdb::Error> {
    let by_day = uses(db)?;
    let mut total: u64 = by_day.values().flatten().map(|(_, size)| size).sum();
    let families = db.cf_handle(Family::Blobs.name()).zip(db.cf_handle(Family::Uses.name()));
    let Some((blobs, used)): Option<(&ColumnFamily, &ColumnFamily)> = families else { return Ok(total) };
    let target = budget / 5 * 4;
    let mut batch = WriteBatch::default();
    for (id, size) in by_day.into_values().flatten() {
        if total <= target {
            break;
        }
        batch.delete_cf(blobs, id);
        batch.delete_cf(used, id);
        total = total.saturating_sub(size);
    }
    db.write_opt(batch, &unlogged())?;
    Ok(total)
}

fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// `RocksDB` gives no kind for this, only its text.
fn is_locked(error: &rocksdb::Error) -> bool {
    error.to_string().contains("lock")
}

/// For processes that live for milliseconds: few threads, small memory, no statistics, no log.
fn options() -> Options {
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
    options
}

fn open(folder: &Path) -> Result<DB, rocksdb::Error> {
    let families = FAMILIES.map(|family| {
        let mut options = Options::default();
        options.set_write_buffer_size(if family == Family::Blobs { 16 << 20 } else { 2 << 20 });
        options.set_compression_type(DBCompressionType::None);
        options.set_level_zero_file_num_compaction_trigger(8);
        // Rows are found by a hash: of each block that is read, one row is of use.
        let mut table = BlockBasedOptions::default();
        table.set_block_size(512);
        options.set_block_based_table_factory(&table);
        if family == Family::Blobs {
            // What compaction moves about are keys; sealed blobs lie beside them.
            options.set_enable_blob_files(true);
            options.set_min_blob_size(1024);
            options.set_enable_blob_gc(true);
        }
        ColumnFamilyDescriptor::new(family.name(), options)
    });
    DB::open_cf_descriptors(&options(), folder, families)
}
