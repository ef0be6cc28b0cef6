//! What has to survive a restart and is not in the repository: when each task last began and succeeded, and what is paused. One
//! small file, replaced atomically.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::planner::{Task, Work};

/// More clusters than anybody has would still be smaller.
const LIMIT_BYTES: u64 = 16 << 20;

/// What is remembered of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Its schedules are set aside.
    pub paused: bool,
    /// When each task last began.
    pub began: BTreeMap<Work, Timestamp>,
    /// When it was last known to be backed up, whether or not something had changed.
    pub last_success: Option<Timestamp>,
    /// Backups that ended well, for `full = { every = n }`.
    pub backups: u64,
    /// Failures since then.
    pub failures: u32,
}

/// The file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    clusters: BTreeMap<String, Remembered>,
}

impl StateFile {
    /// Reads it; where there is none, or none that can be understood, all begins anew and the second text says why.
    pub fn open(directory: &Path) -> io::Result<(Self, Option<String>)> {
        fs::create_dir_all(directory)?;
        let path = directory.join("state.json");
        let read = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                io::Read::read_to_string(&mut io::Read::take(file, LIMIT_BYTES), &mut text)
                    .map_err(|error| error.to_string())
                    .and_then(|_| serde_json::from_str(&text).map_err(|error| error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let (clusters, wrong) = match read {
            Ok(clusters) => (clusters, None),
            Err(error) => {
                let aside = path.with_extension("json.unreadable");
                fs::rename(&path, &aside)?;
                (
                    BTreeMap::new(),
                    Some(format!("{} cannot be understood ({error}) and was moved aside", path.display())),
                )
            }
        };
        Ok((Self { path, clusters }, wrong))
    }

    /// What is known of a cluster.
    pub fn of(&self, cluster: &str) -> Remembered {
        self.clusters.get(cluster).cloned().unwrap_or_default()
    }

    /// When a task last began.
    pub fn began(&self, task: &Task) -> Option<Timestamp> {
        self.clusters.get(&task.cluster)?.began.get(&task.work).copied()
    }

    /// Changes it and writes it down. What could not be written holds until the next restart.
    pub fn change(&mut self, cluster: &str, change: impl FnOnce(&mut Remembered)) -> io::Result<()> {
        let known = self.clusters.entry(cluster.to_owned()).or_default();
        let before = known.clone();
        change(known);
        if *known == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(&self.clusters)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_broken_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, wrong) = StateFile::open(directory.path()).unwrap();
        assert_eq!((wrong, state.of("a")), (None, Remembered::default()));
        let began = Timestamp::UNIX_EPOCH;
        state.change("a", |known| assert_eq!(known.began.insert(Work::Check, began), None)).unwrap();
        state.change("b", |known| known.paused = true).unwrap();
        let (state, wrong) = StateFile::open(directory.path()).unwrap();
        assert_eq!((wrong, state.of("b").paused), (None, true));
        assert_eq!(state.began(&Task { cluster: "a".to_owned(), work: Work::Check }), Some(began));
        fs::write(directory.path().join("state.json"), "{\"a\": 3").unwrap();
        let (state, wrong) = StateFile::open(directory.path()).unwrap();
        assert!(wrong.is_some_and(|text| text.contains("moved aside")) && !state.of("b").paused);
        assert!(directory.path().join("state.json.unreadable").exists());
    }
}
