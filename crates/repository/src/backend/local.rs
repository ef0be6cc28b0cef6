//! A directory as a store.
//!
//! A file appears whole or not at all: it is written under a temporary name, synced, then given its name by `link`
//! (which fails if the name is taken), else by a rename that does not replace, else, on file systems that have
//! neither, by a rename under an exclusive claim file. The directory is synced afterwards, and so are directories
//! that had to be made. A crash leaves at most a temporary or claim file; listings do not show either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::driver::{Driver, ObjectInfo, Part, Piece};
use super::error::{Operation, StoreError, StoreErrorKind};
#[cfg(any(test, feature = "conformance"))]
use super::{faults::step, recorder::act};

const TEMPORARY: &str = ".tmp-";
const CLAIM: &str = ".claim-";
/// A claim is held for one rename; one this old belongs to a writer that died.
const CLAIM_AGE: Duration = Duration::from_mins(10);

/// What `statfs(2)` calls ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs and overlayfs. Directories of other hosts have other numbers.
const LOCAL_FILE_SYSTEMS: [u32; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994, 0x794c_7630];

/// A place where a test may let the process die.
#[cfg(not(any(test, feature = "conformance")))]
fn step(_: &str, _: &Path) {}

/// Does something to the file system, which a test may write down.
#[cfg(not(any(test, feature = "conformance")))]
fn act<T>(_: &str, _: &Path, _: Option<&Path>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

/// A local directory.
#[derive(Debug)]
pub(super) struct LocalDirectory {
    root: Arc<PathBuf>,
}

impl LocalDirectory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root: Arc::new(root) }
    }

    fn run<'a, T: Send + 'static>(
        &self,
        operation: Operation,
        path: &'a str,
        work: impl FnOnce(&Path, &str) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let root = Arc::clone(&self.root);
        let owned = path.to_owned();
        async move {
            let work = move || {
                step("before", &root.join(&owned));
                work(&root, &owned)
            };
            let result = tokio::task::spawn_blocking(work).await;
            match result {
                Ok(done) => done.map_err(|e| classify(operation, path, e)),
                Err(join) => Err(StoreError::new(StoreErrorKind::Other, operation, path).because(join)),
            }
        }
        .boxed()
    }
}

impl Driver for LocalDirectory {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        let limit = if let Part::Whole { limit } = part { limit } else { u64::MAX };
        async move {
            let piece = self.run(Operation::Get, path, move |root, path| read(&root.join(path), &part)).await?;
            if piece.object_size > limit {
                let kind = StoreErrorKind::TooLarge { size: piece.object_size, limit };
                return Err(StoreError::new(kind, Operation::Get, path));
            }
            Ok(piece)
        }
        .boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        let operation = if create { Operation::Create } else { Operation::Put };
        self.run(operation, path, move |root, path| write(root, path, &bytes, create))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let (send, receive) = tokio::sync::mpsc::channel(1024);
        let root = Arc::clone(&self.root);
        let owned = prefix.to_owned();
        tokio::task::spawn_blocking(move || {
            let found = walk(&root, &owned, &mut |info| send.blocking_send(Ok(info)).is_ok());
            if let Err(e) = found {
                // Nobody listens any more if this fails, so there is nobody to tell.
                let _ = send.blocking_send(Err(classify(Operation::List, &owned, e)));
            }
        });
        stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|item| (item, receive)) }).boxed()
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.run(Operation::Delete, path, |root, path| delete(&root.join(path)))
    }

    fn is_near(&self) -> bool {
        let found = rustix::fs::statfs(self.root.as_path());
        found.is_ok_and(|found| u32::try_from(found.f_type).is_ok_and(|kind| LOCAL_FILE_SYSTEMS.contains(&kind)))
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        self.run(Operation::Head, path, |root, path| {
            let meta = fs::metadata(root.join(path))?;
            Ok(ObjectInfo { path: path.to_owned(), size: meta.len(), modified: meta.modified()? })
        })
    }
}

fn classify(operation: Operation, path: &str, error: io::Error) -> StoreError {
    let kind = match error.kind() {
        // A bad sector, or a checksum of the file system that does not hold.
        _ if operation == Operation::Get && is_unreadable(&error) => StoreErrorKind::Unreadable,
        ErrorKind::NotFound | ErrorKind::NotADirectory => StoreErrorKind::NotFound,
        ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
        ErrorKind::PermissionDenied => StoreErrorKind::Permission,
        ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreErrorKind::Full,
        ErrorKind::UnexpectedEof => StoreErrorKind::TooShort,
        ErrorKind::TimedOut => StoreErrorKind::TimedOut,
        _ => StoreErrorKind::Other,
    };
    StoreError::new(kind, operation, path).because(error)
}

fn is_unreadable(error: &io::Error) -> bool {
    [Errno::IO, Errno::BADMSG].iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

fn read(path: &Path, part: &Part) -> io::Result<Piece> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(ErrorKind::NotFound, "not a regular file"));
    }
    let object_size = meta.len();
    let (start, length) = match part {
        Part::Whole { limit } if object_size > *limit => (0, 0),
        Part::Whole { .. } => (0, object_size),
        Part::Range(range) => {
            let inside = range.start <= range.end && range.end <= object_size;
            if !inside {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{range:?} of {object_size} bytes")));
            }
            (range.start, range.end.saturating_sub(range.start))
        }
        Part::Tail(length) => {
            let length = object_size.min(*length);
            (object_size.saturating_sub(length), length)
        }
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(Piece { bytes: bytes.into(), object_size })
}

fn write(root: &Path, path: &str, bytes: &[u8], create: bool) -> io::Result<()> {
    let target = root.join(path);
    let folder = target.parent().unwrap_or(root).to_owned();
    let temporary = folder.join(format!("{TEMPORARY}{}", ulid::Ulid::generate().to_string()));
    let mut file = match new_file(&temporary) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make_folders(root, &folder)?;
            new_file(&temporary)?
        }
        other => other?,
    };
    let written = act("write", &temporary, None, || file.write_all(bytes)).and_then(|()| {
        step("written", &temporary);
        act("sync", &temporary, None, || file.sync_all())
    });
    let named = written.and_then(|()| {
        step("synced", &temporary);
        if create { name_if_absent(&temporary, &target, &folder) } else { rename(&temporary, &target) }
    });
    step("named", &target);
    // After a link the temporary name is superfluous, after a failure it is litter; after a rename it is gone.
    match remove(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => named.and(Err(e))?,
        _ => named?,
    }
    sync_folder(&folder)
}

/// Deletes a file. That of a snapshot is synced: what it needed may be deleted next, and must not go before it.
fn delete(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    step("deleted", path);
    match path.parent().filter(|folder| folder.parent().is_some_and(|above| above.ends_with("snapshots"))) {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    act("create", path, None, || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
}

fn remove(path: &Path) -> io::Result<()> {
    act("remove", path, None, || fs::remove_file(path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    act("rename", to, Some(from), || fs::rename(from, to))
}

/// Makes missing directories down to `folder` and syncs each one's parent. The root's own parents are not ours to make.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    if folder != root {
        make_folders(root, parent)?;
    }
    match act("make folder", folder, None, || fs::DirBuilder::new().mode(0o700).create(folder)) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match act("sync folder", folder, None, || File::open(folder)?.sync_all()) {
        // Some network and FUSE file systems cannot sync a directory; they have nothing stronger to offer.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

fn name_if_absent(temporary: &Path, target: &Path, folder: &Path) -> io::Result<()> {
    match act("link", target, Some(temporary), || fs::hard_link(temporary, target)) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(e),
        Err(e) if !lacks_feature(&e) => return Err(e),
        Err(_) => {}
    }
    let renamed = act("rename", target, Some(temporary), || {
        Ok(renameat_with(CWD, temporary, CWD, target, RenameFlags::NOREPLACE)?)
    });
    match renamed {
        Err(e) if lacks_flags(&e) => rename_under_claim(temporary, target, folder),
        other => other,
    }
}

/// How file systems say that they have no hard links.
fn lacks_feature(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(|e| {
        matches!(e, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL | Errno::XDEV)
    })
}

/// How they say that they cannot rename without replacing.
fn lacks_flags(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|e| matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}

fn rename_under_claim(temporary: &Path, target: &Path, folder: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let claim = folder.join(format!("{CLAIM}{name}"));
    match new_file(&claim) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let age = fs::metadata(&claim)?.modified()?.elapsed().unwrap_or_default();
            if age < CLAIM_AGE {
                return Err(e);
            }
            remove(&claim)?;
            new_file(&claim)?;
        }
        other => {
            other?;
        }
    }
    let done = match fs::symlink_metadata(target) {
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "the name is taken")),
        Err(e) if e.kind() == ErrorKind::NotFound => rename(temporary, target),
        Err(e) => Err(e),
    };
    remove(&claim)?;
    done
}

/// Visits files in the byte order of their paths until `visit` returns false.
fn walk(root: &Path, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> bool) -> io::Result<()> {
    let start = prefix.trim_end_matches('/');
    walk_folder(&root.join(start), start, visit).map(|_| ())
}

fn walk_folder(folder: &Path, path: &str, visit: &mut dyn FnMut(ObjectInfo) -> bool) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && !path.is_empty() => {
            return Ok(true);
        }
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(TEMPORARY) || name.starts_with(CLAIM) {
            continue;
        }
        let is_folder = entry.file_type()?.is_dir();
        // A directory sorts as its contents do: with the slash.
        names.push(if is_folder { name + "/" } else { name });
    }
    names.sort_unstable();
    for name in names {
        let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let go_on = if let Some(inner) = name.strip_suffix('/') {
            walk_folder(&folder.join(inner), child.trim_end_matches('/'), visit)?
        } else {
            match fs::metadata(folder.join(&name)) {
                Ok(meta) => {
                    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    visit(ObjectInfo { path: child, size: meta.len(), modified })
                }
                // Deleted since the directory was read.
                Err(e) if e.kind() == ErrorKind::NotFound => true,
                Err(e) => return Err(e),
            }
        };
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_naming_refuses_a_taken_name() {
        type Way = fn(&Path, &Path, &Path) -> io::Result<()>;
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("x");
        for way in [name_if_absent as Way, rename_under_claim as Way] {
            let _ = fs::remove_file(&target);
            let first = root.path().join(".tmp-1");
            fs::write(&first, "first").unwrap();
            way(&first, &target, root.path()).unwrap();
            let second = root.path().join(".tmp-2");
            fs::write(&second, "second").unwrap();
            assert_eq!(way(&second, &target, root.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&target).unwrap(), b"first");
        }
        assert!(!root.path().join(".claim-x").exists());
    }

    #[test]
    fn a_claim_held_by_another_writer_is_respected_until_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let (target, claim, ours) = (root.path().join("x"), root.path().join(".claim-x"), root.path().join(".tmp-1"));
        fs::write(&claim, "").unwrap();
        fs::write(&ours, "ours").unwrap();
        assert_eq!(rename_under_claim(&ours, &target, root.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!target.exists());
        let old = SystemTime::now() - CLAIM_AGE * 2;
        File::options().write(true).open(&claim).unwrap().set_modified(old).unwrap();
        rename_under_claim(&ours, &target, root.path()).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"ours");
    }

    #[test]
    fn a_disk_of_this_host_is_near() {
        for (folder, near) in [("/dev/shm", true), ("/proc", false), ("/dev/shm/there-is-none", false)] {
            assert_eq!(LocalDirectory::new(folder.into()).is_near(), near, "{folder}");
        }
    }

    #[test]
    fn files_and_directories_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "packs/202611/a", b"x", true).unwrap();
        let mode = |p: &str| fs::metadata(root.path().join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("packs"), mode("packs/202611"), mode("packs/202611/a")), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_dir(root.path().join("packs/202611")).unwrap().count(), 1, "no temporary file stays");
    }
}
