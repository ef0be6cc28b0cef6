//! Which repository was seen at which location. A swapped repository is noticed by it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::ids::RepositoryId;

fn pin_path(root: &Path, store_identity: &str) -> PathBuf {
    let name = blake3::hash(store_identity.as_bytes()).to_hex();
    root.join(format!("location-{}", name.get(..32).unwrap_or_default()))
}

/// The repository seen at a location before.
pub(crate) fn pinned(root: &Path, store_identity: &str) -> Option<RepositoryId> {
    fs::read_to_string(pin_path(root, store_identity)).ok()?.trim().parse().ok()
}

/// Remembers the repository at a location. Failing that, the next change there goes unnoticed.
pub(crate) fn remember(root: &Path, store_identity: &str, repository: RepositoryId) {
    let write = || -> io::Result<()> {
        make_private(root)?;
        let path = pin_path(root, store_identity);
        let temporary = path.with_extension(ulid::Ulid::generate().to_string());
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{repository}")?;
        fs::rename(&temporary, &path)
    };
    if let Err(error) = write() {
        tracing::debug!(%error, "the location of the repository could not be remembered");
    }
}

/// Makes a directory that only its owner can read.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
