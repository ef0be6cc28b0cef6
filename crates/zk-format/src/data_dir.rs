//! The directories of one server: where its snapshot files and logs lie, and what else is beside them.
//!
//! A server keeps snapshot files under `dataDir` and logs under `dataLogDir` (the same unless configured), both in a
//! folder `version-2`. Here either the folder or its parent may be named. A running server rotates and purges files at
//! any moment: a [`Listing`] is what was there once, and whoever reads by it lists again afterwards.

mod config;

pub use config::{ServerConfig, ServerEntry};

use crate::file_snap::{self, Compression};
use crate::file_txn_log;
use crate::types::Zxid;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

const VERSION_FOLDER: &str = "version-2";
/// `myid` and the epoch files hold one number.
const NUMBER_FILE_LIMIT_BYTES: u64 = 64;

/// Why a server's directories could not be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was being read.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Neither a folder of that name nor files of a server in it.
    #[error("{} is not a ZooKeeper data directory: it has no version-2 folder and no snapshot or log files", path.display())]
    NotADataDir {
        /// What was named.
        path: PathBuf,
    },
    /// A server's directory without a snapshot file and without a log.
    #[error("{} holds neither a snapshot file nor a transaction log: nothing was ever written there, or it was emptied", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A configuration that cannot be read.
    #[error("{}, line {line}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which line, from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A file that should hold one number holds something else.
    #[error("{} does not hold a number", path.display())]
    NotANumber {
        /// The file.
        path: PathBuf,
    },
}

/// A snapshot file by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// The zxid in its name.
    pub zxid: Zxid,
    /// By its extension.
    pub compression: Compression,
    /// Its length when listed.
    pub bytes: u64,
}

/// A log by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The zxid of its first record, by its name.
    pub first: Zxid,
    /// Its length when listed, padding included.
    pub bytes: u64,
}

/// What the directories held when they were listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Newest first, as a server tries them.
    pub snapshots: Vec<SnapshotFile>,
    /// Oldest first, as they are replayed.
    pub logs: Vec<LogFile>,
}

impl Listing {
    /// The logs that can hold a record at or after `zxid`: from the last file whose first record is not above it.
    pub fn logs_from(&self, zxid: Zxid) -> &[LogFile] {
        let start = self.logs.iter().rposition(|log| log.first <= zxid).unwrap_or(0);
        self.logs.get(start..).unwrap_or_default()
    }
}

/// The two folders of one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataDir {
    snapshots: PathBuf,
    logs: PathBuf,
}

impl DataDir {
    /// The directories of a server: `data` is its dataDir, `log` its dataLogDir where that is another.
    pub fn open(data: &Path, log: Option<&Path>) -> Result<Self, DataDirError> {
        let logs = log.map(|log| version_folder(log, log)).transpose()?;
        // A dataDir whose server writes its logs elsewhere may have no snapshot file yet.
        let snapshots = version_folder(data, data).or_else(|error| match &logs {
            Some(_) if data.is_dir() => Ok(data.to_owned()),
            _ => Err(error),
        })?;
        let logs = logs.unwrap_or_else(|| snapshots.clone());
        Ok(Self { snapshots, logs })
    }

    /// The directories that a `zoo.cfg` names.
    pub fn from_config(path: &Path) -> Result<Self, DataDirError> {
        let config = ServerConfig::read(path)?;
        Self::open(&config.data_dir, config.data_log_dir.as_deref())
    }

    /// The folder with the snapshot files.
    pub fn snapshot_folder(&self) -> &Path {
        &self.snapshots
    }

    /// The folder with the logs.
    pub fn log_folder(&self) -> &Path {
        &self.logs
    }

    /// What is there now. Files with other names are left out; a file that vanishes while it is looked at, too.
    pub fn list(&self) -> Result<Listing, DataDirError> {
        let mut listing = Listing::default();
        each_file(&self.snapshots, |name, path, bytes| {
            if let Some((zxid, compression)) = file_snap::parse_name(name) {
                listing.snapshots.push(SnapshotFile { path, zxid, compression, bytes });
            }
        })?;
        each_file(&self.logs, |name, path, bytes| {
            if let Some(first) = file_txn_log::parse_name(name) {
                listing.logs.push(LogFile { path, first, bytes });
            }
        })?;
        // The same zxid can be there plain and compressed after a server's settings changed.
        listing.snapshots.sort_by(|a, b| b.zxid.cmp(&a.zxid).then_with(|| a.path.cmp(&b.path)));
        listing.logs.sort_by_key(|log| log.first);
        Ok(listing)
    }

    /// As [`DataDir::list`]; an empty directory is an error that says so.
    pub fn list_some(&self) -> Result<Listing, DataDirError> {
        let listing = self.list()?;
        if listing.snapshots.is_empty() && listing.logs.is_empty() {
            return Err(DataDirError::Empty { path: self.snapshots.clone() });
        }
        Ok(listing)
    }

    /// The last epoch this server promised to follow; `None` where the file is absent (standalone, or before 3.4).
    pub fn accepted_epoch(&self) -> Result<Option<u32>, DataDirError> {
        number_file(&self.snapshots.join("acceptedEpoch"))
    }

    /// The last epoch this server worked in.
    pub fn current_epoch(&self) -> Result<Option<u32>, DataDirError> {
        number_file(&self.snapshots.join("currentEpoch"))
    }

    /// The server's number within its ensemble, from `myid` beside `version-2`.
    pub fn my_id(&self) -> Result<Option<u32>, DataDirError> {
        let beside = if self.snapshots.file_name().is_some_and(|name| name == VERSION_FOLDER) {
            self.snapshots.parent().unwrap_or(&self.snapshots)
        } else {
            &self.snapshots
        };
        number_file(&beside.join("myid"))
    }

    /// The highest epoch that files of these directories speak of: names and epoch files.
    pub fn highest_epoch(&self) -> Result<u32, DataDirError> {
        let listing = self.list()?;
        let names = listing.snapshots.iter().map(|file| file.zxid).chain(listing.logs.iter().map(|log| log.first));
        let by_name = names.map(Zxid::epoch).max().unwrap_or(0);
        let accepted = self.accepted_epoch()?.unwrap_or(0);
        Ok(by_name.max(accepted).max(self.current_epoch()?.unwrap_or(0)))
    }
}

/// `path/version-2`, or `path` itself where it holds a server's files.
fn version_folder(path: &Path, named: &Path) -> Result<PathBuf, DataDirError> {
    let below = path.join(VERSION_FOLDER);
    if below.is_dir() {
        return Ok(below);
    }
    let mut own = path.file_name().is_some_and(|name| name == VERSION_FOLDER) && path.is_dir();
    each_file(path, |name, _, _| {
        own |= file_snap::parse_name(name).is_some() || file_txn_log::parse_name(name).is_some();
    })?;
    if own { Ok(path.to_owned()) } else { Err(DataDirError::NotADataDir { path: named.to_owned() }) }
}

fn each_file(folder: &Path, mut take: impl FnMut(&str, PathBuf, u64)) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => take(name, entry.path(), metadata.len()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DataDirError::Io { path: entry.path(), source }),
        }
    }
    Ok(())
}

fn number_file(path: &Path) -> Result<Option<u32>, DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io(source)),
    };
    let mut text = String::new();
    match io::Read::read_to_string(&mut io::Read::take(file, NUMBER_FILE_LIMIT_BYTES), &mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(DataDirError::NotANumber { path: path.to_owned() });
        }
        Err(source) => return Err(io(source)),
    }
    text.trim().parse().map(Some).map_err(|_| DataDirError::NotANumber { path: path.to_owned() })
}

#[cfg(test)]
mod tests;
