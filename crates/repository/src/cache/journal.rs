//! Small additions to the cache, one file per process that made them.
//!
//! A file is `rows ‖ BLAKE3 of them (32)`; a row is `family (1) ‖ 0 delete or 1 put (1) ‖ key length (4) ‖ value length (4) ‖
//! key ‖ value`. One that is torn or damaged is deleted: what it held is fetched again.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use super::db::Family;
use super::pins::make_private;

/// A row to put, or to delete where there is no value.
pub(super) type Row = (Family, Box<[u8]>, Option<Bytes>);

const HASH_LEN: usize = 32;
/// Longest journal that is read, bytes.
const MAX_FILE: u64 = 16 << 20;
/// Most bytes of all journals that are read.
const MAX_ALL: u64 = 64 << 20;

/// Rows in memory, the latest of each key.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<Family, HashMap<Box<[u8]>, Option<Bytes>>>);

impl Rows {
    /// The row, if there is one: a value, or its deletion.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<&Option<Bytes>> {
        self.0.get(&family)?.get(key)
    }

    pub(super) fn insert(&mut self, family: Family, key: Box<[u8]>, value: Option<Bytes>) {
        self.0.entry(family).or_default().insert(key, value);
    }

    /// All rows; none are left.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Row> + use<> {
        let rows = std::mem::take(&mut self.0);
        rows.into_iter().flat_map(|(family, rows)| rows.into_iter().map(move |(key, value)| (family, key, value)))
    }
}

/// Reads every journal, oldest first: their rows, files and bytes.
pub(super) fn read_all(folder: &Path) -> (Rows, Vec<PathBuf>, u64) {
    let mut rows = Rows::default();
    let mut files: Vec<(PathBuf, u64)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_journal = !entry.file_name().to_string_lossy().starts_with('.');
            Some((entry.path(), entry.metadata().ok()?.len())).filter(|_| is_journal)
        })
        .collect();
    files.sort();
    let mut read = 0_u64;
    files.retain(|(path, size)| {
        let whole = read.saturating_add(*size);
        if *size > MAX_FILE || whole > MAX_ALL || read_one(path, &mut rows).is_none() {
            // Nothing is lost: its rows are fetched again.
            let _ = fs::remove_file(path);
            return false;
        }
        read = whole;
        true
    });
    (rows, files.into_iter().map(|(path, _)| path).collect(), read)
}

fn read_one(path: &Path, rows: &mut Rows) -> Option<()> {
    let bytes = Bytes::from(fs::read(path).ok()?);
    let (body, hash) = bytes.split_last_chunk::<HASH_LEN>()?;
    if blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let mut body = bytes.slice(..body.len());
    while body.has_remaining() {
        let family = Family::from_u8(body.try_get_u8().ok()?)?;
        let is_put = body.try_get_u8().ok()? == 1;
        let key_len = body.try_get_u32_le().ok()? as usize;
        let value_len = body.try_get_u32_le().ok()? as usize;
        if key_len.checked_add(value_len)? > body.len() {
            return None;
        }
        let key = body.split_to(key_len);
        let value = body.split_to(value_len);
        rows.insert(family, Box::from(&*key), is_put.then_some(value));
    }
    Some(())
}

/// Writes the rows of these keys as a new journal. Not synced: after a crash it is whole, or damaged and deleted.
/// It sorts after `newest`, whose rows this process has seen, also when both were made in one millisecond.
pub(super) fn write(
    folder: &Path,
    rows: &Rows,
    keys: &[(Family, Box<[u8]>)],
    newest: Option<&PathBuf>,
) -> io::Result<()> {
    make_private(folder)?;
    let mut body = Vec::new();
    let mut written = std::collections::HashSet::new();
    for (family, key) in keys {
        let Some(value) = rows.get(*family, key).filter(|_| written.insert((*family, key))) else { continue };
        let bytes = value.as_deref().unwrap_or_default();
        let lens = u32::try_from(key.len()).ok().zip(u32::try_from(bytes.len()).ok());
        let Some((key_len, value_len)) = lens else { continue };
        body.extend_from_slice(&[*family as u8, u8::from(value.is_some())]);
        body.extend_from_slice(&key_len.to_le_bytes());
        body.extend_from_slice(&value_len.to_le_bytes());
        body.extend_from_slice(key);
        body.extend_from_slice(bytes);
    }
    let hash = blake3::hash(&body);
    body.extend_from_slice(hash.as_bytes());
    let newest = newest.and_then(|path| ulid::Ulid::from_string(path.file_name()?.to_str()?).ok());
    let mut name = ulid::Ulid::generate();
    if let Some(newest) = newest.filter(|newest| *newest >= name) {
        name = newest.increment().unwrap_or(newest);
    }
    let name = name.to_string();
    let temporary = folder.join(format!(".{name}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&body)?;
    fs::rename(temporary, folder.join(name))
}
