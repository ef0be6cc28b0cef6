//! A data directory on disk that goes from state to state as a live server's does: a sealed snapshot file,
//! and logs that are appended to and rolled.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::generate::{Change, Tree};
use crate::server_files::{LOG_PADDING, LoggedTxn, SnapshotFile, Trailers, log_header, log_record};

/// Transactions logged before the first snapshot file, so that its zxid is a logged record.
const WARM_UP: usize = 200;

/// A server starts the next padding step when it comes this near to the end of the last.
const PADDING_MARGIN: u64 = 4096;

/// How the imagined server is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `dataLogDir`, where it is not the data directory itself.
    pub log_dir: Option<PathBuf>,
    /// Digests in the log and in a snapshot trailer (3.6 and later; on by default there).
    pub digests: bool,
    /// The last-zxid trailer (3.9 and later).
    pub last_zxid: bool,
}

impl Default for Setup {
    /// As 3.9 is by default.
    fn default() -> Self {
        Self { log_dir: None, digests: true, last_zxid: true }
    }
}

/// A data directory and the tree that it holds.
#[derive(Debug)]
pub struct EvolvingDir {
    root: PathBuf,
    setup: Setup,
    tree: Tree,
    log: Option<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    end: u64,
    padded: u64,
}

impl EvolvingDir {
    /// Writes the tree below `root` (`version-2/snapshot.<zxid>`) with the log that led to it.
    pub fn create(root: &Path, tree: Tree, setup: Setup) -> Result<Self> {
        let mut directory = Self { root: root.to_owned(), setup, tree, log: None };
        for path in [directory.snapshot_dir(), directory.log_dir()] {
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        }
        directory.commit(Change::Sets(WARM_UP))?;
        directory.roll()?;
        Ok(directory)
    }

    /// The tree as the directory holds it.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What a server has as `dataDir`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the snapshot files.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.root.join("version-2")
    }

    /// The folder of the log files.
    pub fn log_dir(&self) -> PathBuf {
        self.setup.log_dir.as_ref().unwrap_or(&self.root).join("version-2")
    }

    /// Changes the tree and logs it.
    pub fn commit(&mut self, change: Change) -> Result<Vec<LoggedTxn>> {
        let mut txns = self.tree.change(change);
        if !self.setup.digests {
            for txn in &mut txns {
                txn.digest = None;
            }
        }
        self.append(&txns)?;
        Ok(txns)
    }

    /// Appends records as they are: also ones that a healthy server would not write.
    pub fn append(&mut self, txns: &[LoggedTxn]) -> Result<()> {
        let Some(first) = txns.first() else { return Ok(()) };
        let path = self.log_dir().join(format!("log.{:x}", first.zxid.0));
        if self.log.is_none() {
            let mut file = File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
            file.write_all(&log_header())?;
            self.log = Some(OpenLog { file, end: log_header().len() as u64, padded: 0 });
        }
        let bytes: Vec<u8> = txns.iter().flat_map(log_record).collect();
        let log = self.log.as_mut().context("a log was opened just above")?;
        log.write(&bytes).with_context(|| format!("appending to the log in {}", self.log_dir().display()))
    }

    /// Writes a snapshot file of the state as it is; the next transaction starts a new log.
    pub fn roll(&mut self) -> Result<PathBuf> {
        let path = self.snapshot_dir().join(format!("snapshot.{:x}", self.tree.zxid().0));
        let out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut file = SnapshotFile::begin(out, self.tree.sessions(), &self.tree.acl_table())?;
        self.tree.visit(|path, data, acl, stat| file.node(path, data, acl, stat))?;
        let zxid = self.tree.zxid();
        file.finish(Trailers {
            digest: self.setup.digests.then(|| (zxid, self.tree.digest())),
            last_zxid: self.setup.last_zxid.then_some(zxid),
        })?;
        self.log = None;
        Ok(path)
    }

    /// A new leader's epoch: the log is rolled too, without a snapshot.
    pub fn next_epoch(&mut self) {
        self.tree.next_epoch();
        self.log = None;
    }
}

impl OpenLog {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.end + bytes.len() as u64;
        if end + PADDING_MARGIN > self.padded {
            self.padded = (end + PADDING_MARGIN).next_multiple_of(LOG_PADDING);
            self.file.set_len(self.padded)?;
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)?;
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_evolves_with_logs_that_start_after_each_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = EvolvingDir::create(folder.path(), Tree::build(2000, 1), Setup::default()).unwrap();
        let base = directory.tree().zxid().0;
        directory.commit(Change::Random(10)).unwrap();
        directory.commit(Change::Random(10)).unwrap();
        directory.roll().unwrap();
        directory.commit(Change::Random(1)).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.snapshot_dir())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let mut expected = vec![
            format!("log.{:x}", base - WARM_UP as i64 + 1),
            format!("log.{:x}", base + 1),
            format!("log.{:x}", base + 21),
            format!("snapshot.{base:x}"),
            format!("snapshot.{:x}", base + 20),
        ];
        expected.sort();
        assert_eq!(names, expected);
    }
}
