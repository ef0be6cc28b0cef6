//! What commands are told to work on, parsed before anything is opened.

use engine::{EngineError, ErrorKind};
use zk_connect::Endpoint;

use crate::exit::usage;

/// Parses an endpoint; a kind that cannot be served is refused before anything is opened.
pub fn endpoint(given: &str, verb: &str) -> anyhow::Result<Endpoint> {
    let endpoint =
        Endpoint::parse(given).map_err(|error| EngineError::with(ErrorKind::Usage, error.to_string(), error))?;
    match endpoint {
        Endpoint::DataDir(_) => Ok(endpoint),
        Endpoint::Live(_) | Endpoint::Admin(_) => Err(usage(format!(
            "{given} is not supported yet: this version can {verb} data directories only (datadir:/path)"
        ))),
    }
}
