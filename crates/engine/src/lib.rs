//! Backup, restore, diff and search: the only place that turns a znode into a stored record and back.
//!
//! Nothing here prints, reads the environment or exits: progress goes to a [`Monitor`], results are values.
//! Functions block; they are called from a thread outside the async runtime.

pub mod error;
pub mod filter;
pub mod monitor;
pub mod reference;
pub mod report;

pub use error::{EngineError, ErrorKind};
pub use filter::Filter;
pub use monitor::{Cancelled, Monitor, Phase, Silent, Unit};
pub use reference::SnapshotRef;
