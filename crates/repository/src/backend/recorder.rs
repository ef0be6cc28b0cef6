//! What the local backend asks of the file system, written down for a test that lets the power fail at any point of it.
//!
//! Where `ZOOARK_TEST_RECORD` names a directory, each call that changes something is a line of its `log`: what, where, and for
//! a link or a rename from where. What was written to a file is kept in a file with the line's number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

struct Record {
    folder: PathBuf,
    log: File,
    lines: u64,
}

static RECORD: LazyLock<Option<Mutex<Record>>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os("ZOOARK_TEST_RECORD")?);
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).ok()?;
    Some(Mutex::new(Record { folder, log, lines: 0 }))
});

/// Does something and writes it down if it succeeded; others do nothing meanwhile, so that the order is that of the effects.
pub(super) fn act<T>(
    what: &str,
    at: &Path,
    from: Option<&Path>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(record) = &*RECORD else { return work() };
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    let done = work()?;
    if what == "write" {
        fs::copy(at, record.folder.join(record.lines.to_string()))?;
    }
    let from = from.map(|path| path.display().to_string()).unwrap_or_default();
    writeln!(record.log, "{what}\t{}\t{from}", at.display())?;
    record.lines = record.lines.saturating_add(1);
    Ok(done)
}
