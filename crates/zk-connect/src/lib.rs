//! Endpoints: the places znodes live, outside a repository.

pub mod admin;
pub mod datadir;
pub mod endpoint;
pub mod live;

pub use endpoint::{DataDirSpec, Endpoint, EndpointError};
