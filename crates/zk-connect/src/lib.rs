//! Endpoints: the places znodes live, outside a repository.

pub mod endpoint;
pub mod live;

pub use endpoint::{DataDirSpec, Endpoint, EndpointError};
