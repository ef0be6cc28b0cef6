//! What commands are told to work on, parsed before anything is opened.

use std::time::Duration;

use engine::reference::{SnapshotPath, node_path};
use engine::repository::Snapshot;
use engine::snapshots::{self, Scope};
use engine::{EngineError, ErrorKind, Repo};
use zk_connect::{DataDirSpec, Endpoint};

use crate::context::Context;
use crate::exit::usage;

/// Parses a data directory; any other endpoint is refused before anything is opened.
pub fn datadir(given: &str, verb: &str) -> anyhow::Result<DataDirSpec> {
    match source(given)? {
        Endpoint::DataDir(spec) => Ok(spec),
        Endpoint::Live(_) | Endpoint::Admin(_) => {
            Err(usage(format!("{given} is no data directory: this command can {verb} files only (datadir:/path)")))
        }
    }
}

/// Parses what to read znodes from, or to write them to.
pub fn source(given: &str) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::parse(given).map_err(|error| EngineError::with(ErrorKind::Usage, error.to_string(), error))?)
}

/// The cluster to write to: as told, else `default`.
pub fn cluster(given: Option<&str>, context: &Context) -> String {
    given
        .map(ToOwned::to_owned)
        .or_else(|| context.settings.get(|layer| layer.cluster.clone()))
        .unwrap_or_else(|| "default".to_owned())
}

/// This host's name in snapshots: as configured, else the system's.
pub fn host(context: &Context) -> String {
    let configured = context.settings.get(|layer| layer.host.clone());
    configured.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Parses a duration.
pub fn duration(given: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as 0s, 36h or 7d".to_owned();
    let span: jiff::SignedDuration = match given.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => jiff::SignedDuration::from_hours(i64::from(days) * 24),
        _ => given.parse().map_err(|_| wrong())?,
    };
    Duration::try_from(span).map_err(|_| wrong())
}

/// Narrows which snapshots are meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ScopeArgs {
    /// Only snapshots of this cluster [env: ZOOARK_CLUSTER]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,

    /// Only snapshots with this tag; may be given several times
    #[arg(long)]
    pub tag: Vec<String>,
}

impl ScopeArgs {
    /// The scope.
    pub fn scope(&self, context: &Context) -> Scope {
        let cluster = self.cluster.clone().or_else(|| context.settings.get(|layer| layer.cluster.clone()));
        Scope { cluster, tags: self.tag.clone() }
    }
}

/// Parses `SNAPSHOT[:/path]`.
pub fn snapshot_path(given: &str) -> Result<SnapshotPath, String> {
    given.parse().map_err(|error: engine::reference::ReferenceError| error.to_string())
}

/// Finds the snapshot and the node's path as stored.
pub fn resolve(
    repo: &Repo,
    given: &SnapshotPath,
    scope: &Scope,
    context: &Context,
) -> anyhow::Result<(Snapshot, Vec<u8>)> {
    let snapshot = snapshots::resolve(repo, &given.snapshot, scope, &context.monitor)?;
    Ok((snapshot, node_path(&given.path)?))
}

/// No such node in that snapshot.
pub fn missing(snapshot: &Snapshot, path: &[u8]) -> anyhow::Error {
    EngineError::new(
        ErrorKind::Failed,
        format!(
            "snapshot {} has no node {}; `zooark find` tells which snapshots have it",
            snapshot.id().short(),
            zk_format::path::display(path)
        ),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_people_write_them() {
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("36h"), Ok(Duration::from_hours(36)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(7 * 24)));
        for wrong in ["", "-1h", "soon", "7"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
