//! Which nodes a restored file gets, and what the server that loads it would do to them.

use std::fmt;
use std::str::FromStr;

use repository::RecordFlags;
use zk_format::{OwnerKind, path};

use super::DatadirRequest;
use crate::convert::is_quota_stats;
use crate::error::{EngineError, ErrorKind};

/// A server's version, as far as a restore cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// 3, so far.
    pub major: u32,
    /// 4 to 9.
    pub minor: u32,
}

impl Default for ServerVersion {
    fn default() -> Self {
        Self { major: 3, minor: 9 }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Not a version of `ZooKeeper`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a server version that a snapshot can be restored for: 3.4 to 3.9, as in 3.8.4")]
pub struct ServerVersionError(String);

impl FromStr for ServerVersion {
    type Err = ServerVersionError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let wrong = || ServerVersionError(given.to_owned());
        let mut parts = given.split(['.', '-']);
        let mut number = || parts.next()?.parse::<u32>().ok();
        let (major, minor) = (number().ok_or_else(wrong)?, number().ok_or_else(wrong)?);
        if major == 3 && minor >= 4 { Ok(Self { major, minor }) } else { Err(wrong()) }
    }
}

/// The server that will load the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its version.
    pub version: ServerVersion,
    /// Its `jute.maxbuffer` in bytes.
    pub jute_max_buffer: u32,
    /// Whether it runs with `zookeeper.extendedTypesEnabled=true`; `None` where nobody said.
    pub extended_types: Option<bool>,
}

impl Default for Server {
    fn default() -> Self {
        let jute_max_buffer = zk_format::file_snap_writer::DEFAULT_JUTE_MAX_BUFFER;
        Self { version: ServerVersion::default(), jute_max_buffer, extended_types: None }
    }
}

/// What to do with one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Write it.
    Keep,
    /// It is not part of what was asked for.
    Outside,
    /// Ephemeral, and its session is gone.
    Ephemeral,
}

/// Decides for every node, and counts what deserves a word.
#[derive(Debug, Default)]
pub struct Keeper {
    containers: u64,
    ttls: u64,
    first_refused: Option<String>,
    /// Nodes looked at.
    pub nodes: u64,
    /// Ephemeral nodes left out.
    pub ephemerals: u64,
    /// Whether the server's configuration node is among those kept.
    pub config: bool,
}

impl Keeper {
    /// The fate of a node.
    pub fn fate(&mut self, request: &DatadirRequest, node_path: &[u8], kind: OwnerKind) -> Fate {
        self.nodes += 1;
        if !wanted(request, node_path) {
            return Fate::Outside;
        }
        self.config |= node_path == path::CONFIG;
        match kind {
            OwnerKind::Ephemeral { .. } if !request.keep_ephemerals => {
                self.ephemerals += 1;
                return Fate::Ephemeral;
            }
            OwnerKind::Container => {
                self.containers += 1;
                if request.server.version.minor < 5 {
                    self.refuse(node_path);
                }
            }
            OwnerKind::Ttl { .. } => {
                self.ttls += 1;
                if request.server.version.minor < 5 || request.server.extended_types == Some(false) {
                    self.refuse(node_path);
                }
            }
            _ => {}
        }
        Fate::Keep
    }

    /// Adds what became of the nodes of the next piece.
    pub fn add(&mut self, next: Self) {
        self.containers += next.containers;
        self.ttls += next.ttls;
        self.first_refused = self.first_refused.take().or(next.first_refused);
        self.nodes += next.nodes;
        self.ephemerals += next.ephemerals;
        self.config |= next.config;
    }

    fn refuse(&mut self, node_path: &[u8]) {
        self.first_refused.get_or_insert_with(|| path::display(node_path).to_string());
    }

    /// Refuses, or says what to see to, once every node has passed.
    pub fn verdict(&self, request: &DatadirRequest) -> Result<Vec<String>, EngineError> {
        if let Some(node_path) = self.first_refused.as_ref().filter(|_| !request.yes_really) {
            return Err(EngineError::new(
                ErrorKind::Refused,
                format!(
                    "a {} server{} would delete {} container and {} TTL nodes when it starts, {node_path} first: leave \
                     them out with --exclude, restore for another server (--server-version), or add --yes-really",
                    request.server.version,
                    if request.server.extended_types == Some(false) { " without extended types" } else { "" },
                    self.containers,
                    self.ttls
                ),
            ));
        }
        let mut notes = Vec::new();
        if self.ttls > 0 && request.server.extended_types.is_none() {
            notes.push(format!(
                "{} TTL nodes: start every server with -Dzookeeper.extendedTypesEnabled=true, or it deletes them",
                self.ttls
            ));
        }
        Ok(notes)
    }
}

/// Whether the node is asked for, an ancestor of what is, or one of the server's own.
fn wanted(request: &DatadirRequest, node_path: &[u8]) -> bool {
    // All of it, most often.
    if request.path.is_empty() && request.filter.is_empty() {
        return true;
    }
    if node_path.is_empty() || [path::ZOOKEEPER, path::QUOTA, path::CONFIG].contains(&node_path) {
        return true;
    }
    // Quota limits lie under the path they are for.
    let about = node_path.strip_prefix(path::QUOTA).filter(|_| is_quota(node_path)).map(quota_subject);
    let about = about.unwrap_or(node_path);
    (path::is_within(about, &request.path) && (request.filter.selects(about) || request.filter.leads_to(about)))
        || (path::is_within(&request.path, about) && request.filter.leads_to(about))
}

fn is_quota(node_path: &[u8]) -> bool {
    node_path.starts_with(path::QUOTA)
}

fn quota_subject(rest: &[u8]) -> &[u8] {
    [&b"/zookeeper_limits"[..], b"/zookeeper_stats"].iter().find_map(|tail| rest.strip_suffix(*tail)).unwrap_or(rest)
}

/// What a node's data is in the restored file.
pub fn restored_data(node_path: &[u8]) -> Option<&'static [u8]> {
    // Without it the limits beside it are not enforced; the server counts anew when it loads the file.
    is_quota_stats(node_path).then_some(b"count=0,bytes=0")
}

/// The error for a node that was not read whole: a server needs all of it, and nothing may be made up.
pub fn not_whole(node_path: &[u8], flags: RecordFlags) -> EngineError {
    let what = if flags.contains(RecordFlags::VALUE_UNREADABLE) {
        "the data"
    } else if flags.contains(RecordFlags::ACL_MASKED) {
        "the digests in the ACL"
    } else {
        "the ACL"
    };
    EngineError::new(
        ErrorKind::Incomplete,
        format!(
            "{what} of {} could not be read when the snapshot was taken, and a server cannot load a node without; \
             leave it out with --exclude, or restore from a backup of the data directory",
            path::display(node_path)
        ),
    )
}
