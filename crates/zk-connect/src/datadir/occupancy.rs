//! Whether a server is using a directory right now.
//!
//! Two signs, each enough: a process of this host has a file below it open (`/proc`, which shows other
//! users' processes only to root), or the newest transaction log grows while we look.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long the newest log must stay as it is.
pub const QUIET: Duration = Duration::from_secs(3);

/// Why a directory counts as in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InUse {
    /// This process has this file open.
    Open {
        /// Process id.
        process: u32,
        /// The open file.
        file: PathBuf,
    },
    /// This log changed while we looked.
    Growing {
        /// The log.
        log: PathBuf,
    },
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { process, file } => write!(f, "process {process} has {} open", file.display()),
            Self::Growing { log } => write!(f, "{} is still being written", log.display()),
        }
    }
}

/// Looks for a sign that a server uses one of these directories. Takes up to [`QUIET`] when a log changed
/// less than that ago.
pub fn in_use(directories: &[&Path]) -> io::Result<Option<InUse>> {
    if let Some(open) = open_below(directories) {
        return Ok(Some(open));
    }
    let Some((log, before)) = newest_log(directories)? else { return Ok(None) };
    let recently = before.1.elapsed().map_or(true, |age| age < QUIET);
    if !recently {
        return Ok(None);
    }
    let started = Instant::now();
    while started.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(100));
        match fs::metadata(&log) {
            Ok(now) if (now.len(), now.modified()?) == before => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(Some(InUse::Growing { log })),
        }
    }
    Ok(None)
}

fn open_below(directories: &[&Path]) -> Option<InUse> {
    let real: Vec<PathBuf> = directories.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
    let own = std::process::id();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if id == own {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            if let Ok(file) = fs::read_link(descriptor.path())
                && real.iter().any(|dir| file.starts_with(dir) && file != *dir)
            {
                return Some(InUse::Open { process: id, file });
            }
        }
    }
    None
}

type Seen = (u64, SystemTime);

fn newest_log(directories: &[&Path]) -> io::Result<Option<(PathBuf, Seen)>> {
    let mut newest: Option<(PathBuf, Seen)> = None;
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b"log.") {
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            let seen = (meta.len(), meta.modified()?);
            if newest.as_ref().is_none_or(|(_, best)| seen.1 > best.1) {
                newest = Some((entry.path(), seen));
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_of_another_process_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.1");
        fs::write(&path, b"x").unwrap();
        let old = SystemTime::now() - Duration::from_mins(1);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(in_use(&[dir.path()]).unwrap(), None);
        let file = fs::File::open(&path).unwrap();
        let mut child = std::process::Command::new("sleep").arg("30").stdin(file).spawn().unwrap();
        let found = in_use(&[dir.path()]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(found, Some(InUse::Open { process, .. }) if process == child.id()));
    }

    #[test]
    fn a_growing_log_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.1");
        fs::write(&path, b"x").unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(300));
                fs::write(&path, b"more").unwrap();
            }
        });
        assert_eq!(in_use(&[dir.path()]).unwrap(), Some(InUse::Growing { log: path }));
        writer.join().unwrap();
    }
}
