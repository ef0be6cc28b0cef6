//! A server's `AdminServer`: what it says of itself, and its whole tree as one snapshot file, over HTTP.
//!
//! The commands and what they answer are those of `org.apache.zookeeper.server.admin.Commands` of 3.9, looked at on
//! running servers: `srvr` needs no credentials; `snapshot` needs every permission on `/`, says where
//! the file begins in the header `last_zxid` and how long it is in `snapshot_size`, and is refused for
//! `zookeeper.admin.rateLimiterIntervalInMS` (5 minutes) after the last one. A refusal is JSON, some of it with status 200.
//!
//! A server of 3.9.0 to 3.9.3 may change its live tree when it is asked for a snapshot (ZOOKEEPER-4872) and does not check
//! who asks as it should (CVE-2025-58457): it is not asked unless somebody insists.

mod answer;
mod error;
mod http;
mod restore;
mod snapshot;

use std::path::PathBuf;
use std::time::Duration;

pub use answer::{ServerInfo, Version};
pub use error::AdminError;
pub use restore::Member;
pub use snapshot::{Streamed, snapshot};

use crate::endpoint::AdminSpec;
use crate::live::{AuthInfo, Tls};
use http::Http;

/// How to reach servers, how long to wait, and how much to take.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Credentials: the first of the scheme `digest` is sent, with the commands that need any.
    pub auth: Vec<AuthInfo>,
    /// How to speak TLS, for `admin+https://`.
    pub tls: Option<Tls>,
    /// For the connection, TLS included.
    pub connect_time_out: Duration,
    /// From a question to its answer.
    pub answer_time_out: Duration,
    /// From asking for a snapshot until it begins: a server writes all of it to its own disk first. Also for the whole of an
    /// upload and its answer.
    pub snapshot_time_out: Duration,
    /// For the next bytes of a transfer.
    pub silence_time_out: Duration,
    /// In the middle of a restore: how long it is tried again where a server takes one request per interval.
    pub patience: Duration,
    /// A transfer brings at least this much in each `silence_time_out`.
    pub least_bytes: u64,
    /// The largest snapshot accepted.
    pub max_bytes: u64,
    /// Where snapshots are kept while they are read, in a file without a name.
    pub folder: PathBuf,
    /// Ask servers of 3.9.0 to 3.9.3 too.
    pub unsafe_versions: bool,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self {
            auth: Vec::new(),
            tls: None,
            connect_time_out: Duration::from_secs(5),
            answer_time_out: Duration::from_secs(20),
            snapshot_time_out: Duration::from_mins(10),
            silence_time_out: Duration::from_secs(30),
            // A little more than the interval of a server that was not told otherwise.
            patience: Duration::from_secs(330),
            least_bytes: 256 << 10,
            max_bytes: zk_format::file_snap::ReadLimits::default().file_bytes,
            folder: std::env::temp_dir(),
            unsafe_versions: false,
        }
    }
}

/// Told how a transfer goes; asked whether to go on.
pub trait Transfer {
    /// It will have so many bytes.
    fn begin(&self, bytes: u64);
    /// So many more have been moved.
    fn moved(&self, bytes: u64);
    /// Something a person should know.
    fn note(&self, text: &str);
    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

/// The servers of an endpoint.
#[derive(Debug)]
pub struct Admin {
    http: Http,
    hosts: Vec<String>,
    options: AdminOptions,
}

impl Admin {
    /// Nothing is sent yet.
    pub fn new(spec: &AdminSpec, options: AdminOptions) -> Result<Self, AdminError> {
        Ok(Self { http: Http::new(spec, &options)?, hosts: spec.hosts.clone(), options })
    }

    /// What one server says of itself; it is not asked who we are.
    pub async fn server(&self, host: &str, control: &dyn Transfer) -> Result<ServerInfo, AdminError> {
        let said = self.http.ask(host, "srvr", None, control).await?;
        answer::server(host, &said)
    }

    /// The server to take a snapshot from: one that does not lead, if there is one; they are tried in the order given.
    async fn choose(&self, control: &dyn Transfer) -> Result<ServerInfo, AdminError> {
        let mut usable: Vec<ServerInfo> = Vec::new();
        let mut failures = Vec::new();
        for host in &self.hosts {
            match self.server(host, control).await.and_then(|server| self.admitted(server)) {
                Ok(server) => usable.push(server),
                Err(AdminError::Stopped) => return Err(AdminError::Stopped),
                Err(error) => failures.push(error),
            }
        }
        for error in failures.iter().filter(|_| !usable.is_empty()) {
            control.note(&error.to_string());
        }
        usable.sort_by_key(|server| server.state == "leader");
        match (usable.into_iter().next(), failures.into_iter().next()) {
            (Some(server), _) => Ok(server),
            (None, Some(error)) => Err(error),
            (None, None) => Err(AdminError::Setup { what: "no server was named".to_owned(), source: None }),
        }
    }

    /// A server that may be asked for a snapshot.
    fn admitted(&self, server: ServerInfo) -> Result<ServerInfo, AdminError> {
        let ServerInfo { host, printed, .. } = &server;
        let (host, version) = (host.clone(), printed.clone());
        match server.version {
            None if !self.options.unsafe_versions => Err(AdminError::UnknownVersion { host, version }),
            Some(found) if found < Version::FIRST => Err(AdminError::TooOld { host, version }),
            Some(found) if found < Version::SAFE && !self.options.unsafe_versions => {
                Err(AdminError::Unsafe { host, version })
            }
            _ if server.read_only => Err(AdminError::ReadOnly { host }),
            _ => Ok(server),
        }
    }
}
