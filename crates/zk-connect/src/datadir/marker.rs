//! The marker of a restore that happens once: `zooark-restore`, beside `version-2`. It says for which number the directory
//! was restored, and how far that came.
//!
//! It is written under another name, synced, and renamed, and the directory is synced: a crash leaves the marker before or the
//! marker after, and perhaps the other name, which goes with the next marker.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::target::{TargetDirs, TargetError, io_error, sync_dir};

/// The marker's name.
pub const MARKER: &str = "zooark-restore";
/// Its name until it is whole.
const PART: &str = ".zooark-marker.part";
/// A marker has some hundred bytes.
const MAX_BYTES: u64 = 64 << 10;

/// How far a restore came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It began: the directory may hold anything.
    Started,
    /// The restored file is in place, and it is not known that the repository knows.
    Restored,
    /// It ended.
    Done,
}

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The number.
    pub number: u64,
    /// How far it came.
    pub state: State,
    /// The cluster the number counts in.
    pub cluster: String,
    /// The member whose directory this was then.
    pub member: String,
    /// The snapshot as it was asked for.
    pub asked: String,
    /// The snapshot's id.
    pub snapshot: String,
    /// The zxid the file is named for, `0x…`.
    pub file_zxid: String,
    /// The zxids of the files it was restored to for earlier numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
    /// When this was written.
    pub time: String,
    /// What else a person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Marker {
    /// Where it lies.
    pub fn path(dirs: &TargetDirs) -> PathBuf {
        dirs.data.join(MARKER)
    }

    /// Reads it; `None` where there is none. One that cannot be understood is no reason to restore, nor not to.
    pub fn read(dirs: &TargetDirs) -> Result<Option<Self>, TargetError> {
        let path = Self::path(dirs);
        let wrong = |what: String| TargetError::Marker { path: path.clone(), what };
        match fs::metadata(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(io_error("reading", &path)(error)),
            Ok(meta) if !meta.is_file() => return Err(wrong("it is no file".to_owned())),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(wrong(format!("it has {} bytes", meta.len()))),
            Ok(_) => {}
        }
        let text = fs::read(&path).map_err(io_error("reading", &path))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| wrong(error.to_string()))
    }

    /// Writes it; it is on the disk when this returns.
    pub fn write(&self, dirs: &TargetDirs) -> Result<(), TargetError> {
        make_dir(&dirs.data)?;
        let (path, part) = (Self::path(dirs), dirs.data.join(PART));
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| io_error("writing", &path)(io::Error::other(error)))?;
        text.push(b'\n');
        // Of a crash, and perhaps another user's.
        match fs::remove_file(&part) {
            Err(error) if !is_absent(&error) => return Err(io_error("removing", &part)(error)),
            _ => {}
        }
        let written = File::create_new(&part).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(io_error("writing", &part))?;
        fs::rename(&part, &path).map_err(io_error("putting in place", &path))?;
        sync_dir(&dirs.data)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the data directory where it is missing, and its parents, each on the disk before what lies in it.
fn make_dir(dir: &Path) -> Result<(), TargetError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error("making", dir)(error)),
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(state: State) -> Marker {
        Marker {
            number: 3,
            state,
            cluster: "prod".to_owned(),
            member: "zk-0".to_owned(),
            asked: "latest".to_owned(),
            snapshot: "ab".repeat(32),
            file_zxid: "0x3e800000000".to_owned(),
            earlier: vec!["0x7d000000000".to_owned()],
            time: "2026-11-20T10:00:00Z".to_owned(),
            note: None,
        }
    }

    #[test]
    fn what_is_written_is_read_and_replaces_what_was() {
        let tmp = tempfile::tempdir().unwrap();
        let dirs = TargetDirs { data: tmp.path().join("some/where"), log: None };
        assert_eq!(Marker::read(&dirs).unwrap(), None);
        for state in [State::Started, State::Restored, State::Done] {
            // A crash while the one before was written.
            fs::create_dir_all(&dirs.data).unwrap();
            fs::write(dirs.data.join(PART), "half a mar").unwrap();
            marker(state).write(&dirs).unwrap();
            assert_eq!(Marker::read(&dirs).unwrap(), Some(marker(state)));
        }
        assert_eq!(fs::read_dir(&dirs.data).unwrap().count(), 1);
    }

    #[test]
    fn what_a_later_version_adds_is_no_hindrance() {
        let tmp = tempfile::tempdir().unwrap();
        let dirs = TargetDirs { data: tmp.path().to_owned(), log: None };
        let mut said = serde_json::to_value(marker(State::Done)).unwrap();
        said["more"] = "words".into();
        fs::write(Marker::path(&dirs), said.to_string()).unwrap();
        assert_eq!(Marker::read(&dirs).unwrap(), Some(marker(State::Done)));
    }

    #[test]
    fn what_is_no_marker_is_not_taken_for_none() {
        let tmp = tempfile::tempdir().unwrap();
        let dirs = TargetDirs { data: tmp.path().to_owned(), log: None };
        let unknown = serde_json::to_string(&marker(State::Done)).unwrap().replace("done", "elsewhere");
        for said in ["", "{", "null", "done", &unknown, &"x".repeat(1 << 17)] {
            fs::write(Marker::path(&dirs), said).unwrap();
            let error = Marker::read(&dirs).unwrap_err();
            assert!(error.is_refusal() && error.to_string().contains("zooark-restore"), "{error}");
        }
        fs::remove_file(Marker::path(&dirs)).unwrap();
        fs::create_dir(Marker::path(&dirs)).unwrap();
        assert!(Marker::read(&dirs).is_err());
    }
}
