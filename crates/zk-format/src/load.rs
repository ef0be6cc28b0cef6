//! From a server's directories to one state, by rules and without policy.
//!
//! A server writes a snapshot file while transactions apply, so a file alone is usually no state that ever was. It
//! becomes one by replaying the log until past the end of its writing. [`load`] does that, says how sure the result is
//! and why ([`Consistency`], [`Proof`], [`Tail`]), and notes what it met on the way ([`Note`]). It never calls exact
//! what nothing settles, and never leaves out a transaction in silence. The rules are in `docs/consistency.md`.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod alone;
mod attempt;
mod error;
mod judge;
mod loaded;
mod note;
mod state;

pub use crate::log_chain::{Anchor, ChainError, LogPlace, TornEnd};
pub use alone::alone;
pub use error::LoadError;
pub use loaded::{Consistency, Loaded, Proof, Tail};
pub use note::Note;

use crate::data_dir::DataDir;
use crate::file_snap::ReadLimits;
use crate::types::Zxid;
use attempt::{Attempt, Outcome};

/// A live directory moves under the reader; a reader that keeps losing the race says so.
pub(crate) const ATTEMPTS: u32 = 5;

/// What to load.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// The state right after this transaction instead of the newest.
    pub to_zxid: Option<Zxid>,
    /// Asks the server whose directory this is for its own zxid: what is beyond it may never be committed. It is
    /// called once a snapshot file has been chosen and before the logs are read, because the order matters. `None`
    /// from it means that the server did not answer.
    pub server_zxid: Option<&'a dyn Fn() -> Option<Zxid>>,
    /// Bounds for snapshot files.
    pub limits: ReadLimits,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions")
            .field("to_zxid", &self.to_zxid)
            .field("server_zxid", &self.server_zxid.map(|_| "asked"))
            .field("limits", &self.limits)
            .finish()
    }
}

/// Reads a directory into one state.
pub fn load(dir: &DataDir, options: &LoadOptions<'_>) -> Result<Loaded, LoadError> {
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        match Attempt::new(dir, options)?.run() {
            Ok(Outcome::Loaded(loaded)) => return Ok(*loaded),
            Ok(Outcome::Moved(path)) => last = Some(LoadError::Unstable { path }),
            // What looks like damage can be a server writing this very moment; damage looks the same twice.
            Err(error) if attempt == 0 && error.may_be_motion() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| LoadError::Unstable { path: dir.log_folder().to_owned() }))
}

#[cfg(test)]
mod tests;
