//! Writing a restored snapshot file where a server will boot from it.
//!
//! The file is written into a staging directory beside `version-2`, flushed, and the staging directory
//! takes the place of `version-2`. Nothing of the old directories is deleted: they move aside, together.
//!
//! What a crash leaves behind: before the swap, the old directories untouched and a staging directory whose
//! unfinished file the next restore removes; just after it, the old `version-2` under the staging name. Where snapshots and logs share one `version-2` the swap is one rename. Where
//! they do not, the old snapshots move aside first, then the old logs, then the new file takes its place: a
//! server started in between finds logs without a snapshot and refuses to start (3.5 and later), or
//! replays only its own old history (3.4); it never replays old logs over the restored file.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use zk_format::Zxid;

use super::occupancy::{InUse, in_use};

pub(super) const VERSION_DIR: &str = "version-2";
const ASIDE_PREFIX: &str = "version-2.";
const STAGING_PREFIX: &str = ".zooark-restore-";
/// Ends the name of a staged file until it is whole; only such files are ever removed.
const PART: &str = ".part";

/// The two directories of one server, `version-2` not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDirs {
    /// `dataDir`.
    pub data: PathBuf,
    /// `dataLogDir`; `None` where nobody said.
    pub log: Option<PathBuf>,
}

/// What stands in the directories before a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupied {
    /// Entries of both `version-2`, by path.
    pub entries: Vec<PathBuf>,
    /// Snapshot files among them.
    pub snapshots: usize,
    /// Transaction logs among them.
    pub logs: usize,
    /// Highest epoch named by any snapshot, log or epoch file there.
    pub highest_epoch: u32,
}

/// Why a restore into a data directory was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There are files already.
    #[error(
        "restoring into {}: it holds {snapshots} snapshot files and {logs} transaction logs; give an empty \
         directory, or --force to move the old ones aside (nothing is deleted)", .dir.display()
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// Snapshot files found.
        snapshots: usize,
        /// Logs found.
        logs: usize,
    },
    /// Snapshots without logs: the logs are elsewhere and would be replayed over the restored file.
    #[error(
        "restoring into {}: it held snapshots but no transaction logs, so the logs lie elsewhere and a server \
         would replay them over the restored file; name their directory with ?log=DIR or ?cfg=zoo.cfg, or say \
         ?log=same", .dir.display()
    )]
    LogsElsewhere {
        /// The directory.
        dir: PathBuf,
    },
    /// A server runs on it.
    #[error("restoring into {}: it is in use ({reason}); stop the server first", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The sign.
        reason: InUse,
    },
    /// The marker of a restore that happens once says nothing that can be understood.
    #[error(
        "{} does not say how far a restore came ({what}): look at what lies beside it, and move it away if the \
         directory holds what it should", .path.display()
    )]
    Marker {
        /// The marker.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file system refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl TargetError {
    /// Whether a safety check said no, as opposed to something failing.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TargetError {
    let path = path.to_owned();
    move |source| TargetError::Io { doing, path, source }
}

/// Where the new files stand and where the old ones went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The restored snapshot file.
    pub file: PathBuf,
    /// Old directories, moved aside.
    pub moved_aside: Vec<PathBuf>,
    /// What a person should know, e.g. an owner that could not be set.
    pub notes: Vec<String>,
}

impl TargetDirs {
    fn log_dir(&self) -> &Path {
        self.log.as_deref().unwrap_or(&self.data)
    }

    fn version_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.data.join(VERSION_DIR)];
        if !same_place(&self.data, self.log_dir()) {
            dirs.push(self.log_dir().join(VERSION_DIR));
        }
        dirs
    }

    /// Where a restored file named for this zxid stands.
    pub fn restored_file(&self, zxid: Zxid) -> PathBuf {
        self.data.join(VERSION_DIR).join(snapshot_name(zxid))
    }

    /// Looks at what is there.
    pub fn occupied(&self) -> Result<Occupied, TargetError> {
        let mut found = Occupied::default();
        for dir in self.version_dirs() {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("listing", &dir)(error)),
            };
            for entry in entries {
                let path = entry.map_err(io_error("listing", &dir))?.path();
                found.count(&path);
                found.entries.push(path);
            }
        }
        found.entries.sort();
        Ok(found)
    }

    /// Refuses what would lose data or not be read by the server; `force` allows a directory with files.
    pub fn admit(&self, force: bool) -> Result<Occupied, TargetError> {
        let occupied = self.occupied()?;
        if !occupied.entries.is_empty() && !force {
            let (snapshots, logs) = (occupied.snapshots, occupied.logs);
            return Err(TargetError::NotEmpty { dir: self.data.clone(), snapshots, logs });
        }
        if self.log.is_none() && occupied.snapshots > 0 && occupied.logs == 0 {
            return Err(TargetError::LogsElsewhere { dir: self.data.clone() });
        }
        let dirs = self.version_dirs();
        let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
        if let Some(reason) = in_use(&dirs).map_err(io_error("looking for open files in", &self.data))? {
            return Err(TargetError::InUse { dir: self.data.clone(), reason });
        }
        Ok(occupied)
    }

    /// Makes the staging directory and an empty snapshot file in it, for the caller to fill.
    pub fn stage(&self, zxid: Zxid) -> Result<Staging, TargetError> {
        fs::create_dir_all(&self.data).map_err(io_error("making", &self.data))?;
        for entry in fs::read_dir(&self.data).map_err(io_error("listing", &self.data))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
                discard_staged(&entry.path());
            }
        }
        let dir = free_name(&self.data, STAGING_PREFIX, &std::process::id().to_string());
        fs::create_dir(&dir).map_err(io_error("making", &dir))?;
        let name = snapshot_name(zxid);
        let part = dir.join(format!("{name}{PART}"));
        let file = File::create_new(&part).map_err(io_error("making", &part))?;
        Ok(Staging { dirs: self.clone(), dir, name, file: Some(file) })
    }
}

impl Occupied {
    fn count(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let zxid = |rest: &str| {
            let hex = rest.split('.').next().unwrap_or("");
            u64::from_str_radix(hex, 16).ok().map(|zxid| u32::try_from(zxid >> 32).unwrap_or(u32::MAX))
        };
        let epoch = if let Some(rest) = name.strip_prefix("snapshot.") {
            self.snapshots += 1;
            zxid(rest)
        } else if let Some(rest) = name.strip_prefix("log.") {
            self.logs += 1;
            zxid(rest)
        } else if ["currentEpoch", "acceptedEpoch"].contains(&name.as_ref()) {
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok())
        } else {
            None
        };
        self.highest_epoch = self.highest_epoch.max(epoch.unwrap_or(0));
    }
}

fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

fn same_place(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A restored file before it takes its place; dropped, it disappears.
#[derive(Debug)]
pub struct Staging {
    dirs: TargetDirs,
    dir: PathBuf,
    name: String,
    file: Option<File>,
}

impl Staging {
    /// The file to write.
    pub const fn file(&mut self) -> Option<&mut File> {
        self.file.as_mut()
    }

    /// Path of the file while it is written.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}{PART}", self.name))
    }

    /// Flushes the file and swaps it in; `aside` names the old directories (`version-2.<aside>`).
    pub fn install(mut self, aside: &str) -> Result<Installed, TargetError> {
        let staged = self.path();
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(io_error("flushing", &staged))?;
        }
        let data = self.dirs.data.join(VERSION_DIR);
        let mut notes = Vec::new();
        self.take_owner(&data, &mut notes);
        let whole = self.dir.join(&self.name);
        fs::rename(&staged, &whole).map_err(io_error("naming", &whole))?;
        sync_dir(&self.dir)?;
        let mut moved_aside = Vec::new();
        let separate_log = !same_place(&self.dirs.data, self.dirs.log_dir());
        let swapped = !separate_log && exchange(&self.dir, &data);
        if swapped {
            // The old directory now has the staging name: give it the name people look for.
            let old = free_name(&self.dirs.data, ASIDE_PREFIX, aside);
            fs::rename(&self.dir, &old).map_err(io_error("moving aside", &self.dir))?;
            moved_aside.push(old);
        } else {
            for dir in self.dirs.version_dirs() {
                let Some(parent) = dir.parent().filter(|_| dir.exists()) else { continue };
                let old = free_name(parent, ASIDE_PREFIX, aside);
                fs::rename(&dir, &old).map_err(io_error("moving aside", &dir))?;
                sync_dir(parent)?;
                moved_aside.push(old);
            }
            fs::rename(&self.dir, &data).map_err(io_error("putting in place", &data))?;
        }
        sync_dir(&self.dirs.data)?;
        Ok(Installed { file: data.join(&self.name), moved_aside, notes })
    }

    /// Owner and mode of what it replaces, else of the data directory itself.
    fn take_owner(&self, old: &Path, notes: &mut Vec<String>) {
        let Ok(model) = fs::metadata(old).or_else(|_| fs::metadata(&self.dirs.data)) else { return };
        let set = |path: &Path, mode: u32| -> io::Result<()> {
            let (owner, group) = (model.uid(), model.gid());
            let now = fs::metadata(path)?;
            if (now.uid(), now.gid()) != (owner, group) {
                std::os::unix::fs::chown(path, Some(owner), Some(group))?;
            }
            fs::set_permissions(path, Permissions::from_mode(mode))
        };
        let mode = model.mode() & 0o7777;
        for (path, mode) in [(self.dir.clone(), mode), (self.path(), mode & 0o666)] {
            if let Err(error) = set(&path, mode) {
                notes.push(format!(
                    "owner and mode of {} could not be set ({error}): make it readable and writable for the server's user",
                    path.display()
                ));
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        discard_staged(&self.dir);
    }
}

/// Removes an unfinished restore. Once the swap has begun the directory of this name may be the old
/// `version-2`: so only a part file and an empty directory ever go.
fn discard_staged(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().ends_with(PART.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

fn exchange(new: &Path, old: &Path) -> bool {
    rustix::fs::renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok()
}

fn free_name(parent: &Path, prefix: &str, name: &str) -> PathBuf {
    let mut path = parent.join(format!("{prefix}{name}"));
    let mut n = 2_u32;
    while path.exists() {
        path = parent.join(format!("{prefix}{name}.{n}"));
        n += 1;
    }
    path
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), TargetError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("flushing", dir))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn old_server(dir: &Path, names: &[&str]) {
        fs::create_dir_all(dir.join(VERSION_DIR)).unwrap();
        for name in names {
            let path = dir.join(VERSION_DIR).join(name);
            fs::write(&path, b"7").unwrap();
            let old = SystemTime::now() - Duration::from_mins(1);
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        }
    }

    fn restore(dirs: &TargetDirs) -> Installed {
        let mut staging = dirs.stage(Zxid::new(0x3e8, 0)).unwrap();
        staging.file().unwrap().write_all(b"tree").unwrap();
        staging.install("before-test").unwrap()
    }

    #[test]
    fn an_absent_directory_is_made() {
        let tmp = tempfile::tempdir().unwrap();
        let dirs = TargetDirs { data: tmp.path().join("new"), log: None };
        assert_eq!(dirs.admit(false).unwrap(), Occupied::default());
        let installed = restore(&dirs);
        assert_eq!(installed.file, tmp.path().join("new/version-2/snapshot.3e800000000"));
        assert_eq!(fs::read(&installed.file).unwrap(), b"tree");
        assert_eq!(fs::read_dir(tmp.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn the_old_directories_move_aside_together() {
        let tmp = tempfile::tempdir().unwrap();
        let (data, log) = (tmp.path().join("data"), tmp.path().join("log"));
        old_server(&data, &["snapshot.500000003", "currentEpoch"]);
        old_server(&log, &["log.700000001"]);
        fs::write(data.join("myid"), b"1").unwrap();
        let dirs = TargetDirs { data: data.clone(), log: Some(log.clone()) };
        assert!(matches!(dirs.admit(false), Err(TargetError::NotEmpty { snapshots: 1, logs: 1, .. })));
        assert_eq!(dirs.admit(true).unwrap().highest_epoch, 7);
        let installed = restore(&dirs);
        assert_eq!(installed.moved_aside, [data.join("version-2.before-test"), log.join("version-2.before-test")]);
        assert!(log.join("version-2.before-test/log.700000001").exists() && !log.join(VERSION_DIR).exists());
        assert!(data.join("myid").exists() && data.join("version-2.before-test/snapshot.500000003").exists());
        assert_eq!(fs::read_dir(data.join(VERSION_DIR)).unwrap().count(), 1);
    }

    #[test]
    fn one_directory_is_swapped_and_names_are_never_reused() {
        let tmp = tempfile::tempdir().unwrap();
        old_server(tmp.path(), &["snapshot.5", "log.1"]);
        let dirs = TargetDirs { data: tmp.path().to_owned(), log: None };
        dirs.admit(true).unwrap();
        restore(&dirs);
        let second = restore(&dirs);
        assert_eq!(second.moved_aside, [tmp.path().join("version-2.before-test.2")]);
        assert!(tmp.path().join("version-2.before-test/log.1").exists());
    }

    #[test]
    fn snapshots_without_logs_need_a_word() {
        let tmp = tempfile::tempdir().unwrap();
        old_server(tmp.path(), &["snapshot.5"]);
        let unsaid = TargetDirs { data: tmp.path().to_owned(), log: None };
        assert!(matches!(unsaid.admit(true), Err(TargetError::LogsElsewhere { .. })));
        let same = TargetDirs { log: Some(tmp.path().to_owned()), ..unsaid };
        assert_eq!(same.admit(true).unwrap().snapshots, 1);
    }

    #[test]
    fn leftovers_of_a_crash_lose_their_part_file_only() {
        let tmp = tempfile::tempdir().unwrap();
        let (unfinished, swapped) = (tmp.path().join(".zooark-restore-1"), tmp.path().join(".zooark-restore-2"));
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("snapshot.1.part"), b"x").unwrap();
        fs::create_dir(&swapped).unwrap();
        fs::write(swapped.join("snapshot.1"), b"old").unwrap();
        let dirs = TargetDirs { data: tmp.path().to_owned(), log: None };
        restore(&dirs);
        assert!(!unfinished.exists() && swapped.join("snapshot.1").exists());
    }

    #[test]
    fn an_abandoned_restore_leaves_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let dirs = TargetDirs { data: tmp.path().to_owned(), log: None };
        drop(dirs.stage(Zxid(1)).unwrap());
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }
}
