//! What speaks to running servers over the client protocol; the only place with sockets but for [`crate::admin`].
//!
//! - [`Client`]: a session with an ensemble, and every operation of the client protocol that a backup or a restore
//!   needs.
//! - [`four_letter`]: what a server says of itself, without a session.
//!
//! Paths are bytes, relative to the chroot, and the root is empty, as everywhere in this program.

mod client;
mod code;
mod connection;
mod dial;
mod error;
mod events;
pub mod four_letter;
mod frame;
mod once;
mod options;
mod sasl;
pub mod scan;
pub mod second;
mod tls;
pub mod wire;

pub use client::{Client, KeptSession, Read};
pub use code::Code;
pub use error::{Broken, LiveError};
pub use events::{Event, Events};
pub use options::{AuthInfo, ConnectOptions};
pub use sasl::SaslUser;
pub(crate) use tls::explained as explained_tls;
pub use tls::{Tls, TlsFiles};
pub use wire::{CreateMode, EventKind, NodeStat, Op, OpResult, WatchEvent};
