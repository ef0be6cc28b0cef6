//! `ZooKeeper`'s own bytes: jute values, snapshot files, transaction logs, replay and the tree digest.
//!
//! Pure: bytes in, values out. No sockets, no clocks, no policy; files are read through `std::fs` only
//! where a whole data directory is the unit ([`data_dir`]).

pub mod acl;
pub mod data_dir;
pub mod digest;
pub mod file_snap;
pub mod file_snap_writer;
pub mod file_txn_log;
pub mod increment;
pub mod jute;
pub mod key;
pub mod load;
mod log_chain;
#[cfg(test)]
mod model;
pub mod path;
pub mod replay;
pub mod tree;
pub mod txn;
pub mod types;

pub use types::{Acl, AclList, NODE_OVERHEAD_BYTES, Node, NodeOutline, NodeRef, OwnerKind, Stat, Zxid};
