//! Backup, restore, diff and search: the only place that turns a znode into a stored record and back.
//!
//! Nothing here prints, reads the environment or exits: progress goes to a [`Monitor`], results are values.
//! Functions block; they are called from a thread outside the async runtime.

pub mod acls;
pub mod admin;
pub mod annotate;
pub mod backup;
pub mod check;
pub mod convert;
pub mod copy;
pub mod diff;
pub mod error;
pub mod filter;
pub mod find;
pub mod forget;
pub mod history;
pub mod identity;
pub mod inspect;
pub mod keys;
pub mod live;
pub mod monitor;
pub mod own;
pub mod pipeline;
pub mod prune;
pub mod reference;
pub mod repair;
pub mod repo;
pub mod report;
pub mod restore;
pub mod restore_admin;
pub mod restore_live;
pub mod restore_once;
pub mod retention;
pub mod secrets;
pub mod snapshots;
pub mod state;
pub mod stats;
pub mod tree;
pub mod verify;
pub mod znode;
pub mod znode_json;

pub use error::{EngineError, ErrorKind};
pub use filter::Filter;
pub use monitor::{Cancelled, Monitor, Phase, Silent, Unit};
pub use reference::SnapshotRef;
pub use repo::{Access, Repo};
pub use repository;
