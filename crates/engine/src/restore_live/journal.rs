//! What a restore that was interrupted has to know when it is resumed: one small file, replaced as a whole.
//!
//! Before the first node is created with the temporary ACL the file names that node, so that the ACL can be read from
//! it; afterwards it holds the ACL. Whatever was killed when, the nodes of the target and this file tell what is left.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use repository::codec::{decode_body, encode_body};
use serde::{Deserialize, Serialize};
use zk_format::AclList;

use crate::error::{EngineError, ErrorKind};

const MOST_BYTES: usize = 1 << 20;

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The first node created with the temporary ACL.
    first: Option<Vec<u8>>,
    /// That ACL.
    temporary: Option<Vec<u8>>,
    /// Whether final ACLs are being set: data was verified before.
    tightening: bool,
}

/// The file and what it holds.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What holds.
    state: State,
    /// Whether an earlier run left it.
    pub found: bool,
}

impl Journal {
    /// Opens the file of this name, if it is there.
    pub fn open(dir: &Path, name: &str) -> Result<Self, EngineError> {
        let path = dir.join(name);
        let failed = |error: &dyn std::error::Error| {
            let text = format!("reading what an earlier restore left in {}; delete it to start anew", path.display());
            EngineError::with(ErrorKind::Failed, text, error.to_string())
        };
        let state = match fs::read(&path) {
            Ok(bytes) => {
                Some(decode_body::<State, MOST_BYTES>("restore state", &bytes).map_err(|error| failed(&error))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&error)),
        };
        Ok(Self { found: state.is_some(), state: state.unwrap_or_default(), path })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what an earlier run left.
    pub fn start_anew(&mut self) {
        self.state = State::default();
    }

    /// The temporary ACL, where an earlier run got that far; `acl_of` reads one from the target.
    pub fn temporary(&self, acl_of: impl FnOnce(&[u8]) -> Option<AclList>) -> Option<AclList> {
        let known = self.state.temporary.as_ref().map(|list| AclList(list.as_slice().into()));
        known.or_else(|| acl_of(self.state.first.as_ref()?))
    }

    /// Whether an earlier run had begun to set final ACLs.
    pub const fn tightening(&self) -> bool {
        self.state.tightening
    }

    /// The first node with a temporary ACL is about to be created.
    pub fn creates_first(&mut self, path: &[u8]) -> Result<(), EngineError> {
        self.state.first = Some(path.to_vec());
        self.save()
    }

    /// The temporary ACL is known.
    pub fn learnt(&mut self, list: &AclList) -> Result<(), EngineError> {
        self.state.temporary = Some(list.0.to_vec());
        self.save()
    }

    /// From now on final ACLs are set.
    pub fn tightens(&mut self) -> Result<(), EngineError> {
        self.state.tightening = true;
        self.save()
    }

    /// Writes the file.
    pub fn save(&mut self) -> Result<(), EngineError> {
        let failed = |error: std::io::Error| {
            let text = format!("writing {}, which a restore needs to be resumed", self.path.display());
            EngineError::with(ErrorKind::Failed, text, error)
        };
        let bytes = encode_body("restore state", &self.state)
            .map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(failed)?;
        let fresh = self.path.with_extension("new");
        // It tells who restores: nobody else's business.
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, &self.path).map_err(failed)?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// The restore is over: nothing is left to resume.
    pub fn remove(&self) -> Result<(), EngineError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EngineError::with(ErrorKind::Failed, format!("removing {}", self.path.display()), error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut journal = Journal::open(&state, "a").unwrap();
        assert!(!journal.found && journal.temporary(|_| Some(AclList::world())).is_none());
        journal.creates_first(b"/a").unwrap();
        let again = Journal::open(&state, "a").unwrap();
        assert_eq!(again.temporary(|path| (path == b"/a").then(AclList::world)), Some(AclList::world()));
        journal.learnt(&AclList::null()).unwrap();
        journal.tightens().unwrap();
        let again = Journal::open(&state, "a").unwrap();
        assert!(again.found && again.tightening());
        assert_eq!(again.temporary(|_| None), Some(AclList::null()));
        again.remove().unwrap();
        again.remove().unwrap();
        assert!(!Journal::open(&state, "a").unwrap().found);
        fs::write(state.join("a"), b"nonsense").unwrap();
        assert!(Journal::open(&state, "a").is_err());
    }
}
