//! How to reach an ensemble and how much to ask of it at a time.

use std::fmt;
use std::time::Duration;

use super::sasl::SaslUser;
use super::tls::Tls;
use crate::endpoint::LiveSpec;

/// Credentials that are added to a session (`addAuth`).
#[derive(Clone, PartialEq, Eq)]
pub struct AuthInfo {
    /// `digest`, …
    pub scheme: String,
    /// `user:password` for `digest`.
    pub secret: Vec<u8>,
}

impl fmt::Debug for AuthInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthInfo({}, hidden)", self.scheme)
    }
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `host:port`, tried in this order.
    pub hosts: Vec<String>,
    /// Empty, or an absolute path without a slash at the end: the root of every path given and shown.
    pub chroot: Vec<u8>,
    /// How to speak TLS; plain text where `None`.
    pub tls: Option<Tls>,
    /// Who we are to SASL; before anything else on every connection.
    pub sasl: Option<SaslUser>,
    /// Replayed first on every connection, in this order.
    pub auth: Vec<AuthInfo>,
    /// The session time-out wished for; the server has the last word.
    pub session_time_out: Duration,
    /// For one server: connecting, TLS and the handshake.
    pub server_time_out: Duration,
    /// For all servers together, with pauses between rounds.
    pub connect_time_out: Duration,
    /// From sending a request to its answer.
    pub request_time_out: Duration,
    /// Whether a server without quorum will do. What it shows may be old, so never for a backup.
    pub allow_read_only: bool,
    /// Requests under way on a connection, at most.
    pub max_requests: usize,
    /// Bytes of requests and of the answers expected, under way on a connection, at most.
    pub max_bytes: usize,
    /// The servers' `jute.maxbuffer`: larger requests are not sent.
    pub max_request_bytes: usize,
    /// Larger answers break the connection. A list of children may be far larger than `jute.maxbuffer`.
    pub max_answer_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            chroot: Vec::new(),
            tls: None,
            sasl: None,
            auth: Vec::new(),
            session_time_out: Duration::from_secs(30),
            server_time_out: Duration::from_secs(5),
            connect_time_out: Duration::from_secs(15),
            request_time_out: Duration::from_secs(30),
            allow_read_only: false,
            max_requests: 512,
            max_bytes: 16 << 20,
            max_request_bytes: zk_format::file_snap_writer::DEFAULT_JUTE_MAX_BUFFER as usize,
            max_answer_bytes: 64 << 20,
        }
    }
}

impl ConnectOptions {
    /// For the servers and the chroot of an endpoint.
    pub fn new(spec: &LiveSpec) -> Self {
        Self { hosts: spec.hosts.clone(), chroot: spec.chroot.clone().into_bytes(), ..Self::default() }
    }

    /// The same for one of the servers alone.
    #[must_use]
    pub fn only(&self, host: &str) -> Self {
        Self { hosts: vec![host.to_owned()], ..self.clone() }
    }
}
