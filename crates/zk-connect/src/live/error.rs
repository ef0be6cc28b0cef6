//! Every way to fail against a live ensemble, each with the operation, the path, the server and the next step.

use std::io;
use std::time::Duration;

use zk_format::jute::JuteError;

use super::code::Code;
use super::tls::explained;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The server answered with an error.
    #[error("{operation} {path} on {host}: {code}")]
    Server {
        /// `getData`, `create`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
        /// The server.
        host: String,
        /// What it said.
        code: Code,
    },
    /// The connection ended before the answer came. A write may have happened or not.
    #[error("{operation} {path} on {host}: the connection was lost before the answer; look at the server's log")]
    Lost {
        /// `getData`, `create`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
        /// The server.
        host: String,
        /// What happened to the connection.
        source: Broken,
    },
    /// None of the servers took the connection.
    #[error("connecting to {hosts}: no server took the connection within {}; {causes}", seconds(*waited))]
    Unreachable {
        /// As given.
        hosts: String,
        /// How long it was tried.
        waited: Duration,
        /// What each server did, the last time.
        causes: String,
    },
    /// Credentials were refused.
    #[error("authenticating to {host} with {scheme}: the server refused the credentials; check user and password")]
    AuthFailed {
        /// The server.
        host: String,
        /// `digest`, `sasl`, …
        scheme: String,
    },
    /// The session is over; its ephemeral nodes and watches are gone.
    #[error("{operation} {path}: the session expired; start again")]
    SessionExpired {
        /// `getData`, `create`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
    },
    /// The session is over, and this client must not open another: what it held is gone.
    #[error("{operation} {path}: the session is over, and with it the lock that it held")]
    SessionGone {
        /// `create`, `multi`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
    },
    /// The request is larger than what was agreed.
    #[error("{operation} {path}: the request has {bytes} bytes and the limit is {limit} (jute.maxbuffer)")]
    TooLarge {
        /// `create`, `multi`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The server's answer is not one to this request.
    #[error("{operation} {path} on {host}: the answer cannot be read; is that a ZooKeeper server?")]
    Answer {
        /// `getData`, `create`, …
        operation: &'static str,
        /// As shown to people.
        path: String,
        /// The server.
        host: String,
        /// What is wrong with it.
        source: JuteError,
    },
    /// The set-up for TLS or SASL cannot be used.
    #[error("{what}")]
    Setup {
        /// What, of which file, and what to do.
        what: String,
        /// The cause, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// How a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// The socket failed.
    #[error("{0}")]
    Io(String),
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// TLS failed: a certificate, or what the other side speaks.
    #[error("{0}")]
    Tls(String),
    /// Nothing arrived for too long.
    #[error("nothing arrived for {}", seconds(*.0))]
    Silent(Duration),
    /// An answer that nobody asked for, or a frame that cannot be one.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// We ended it.
    #[error("the connection was closed here")]
    Dropped,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        if let Some(within) = error.get_ref().and_then(|within| within.downcast_ref()) {
            return Self::Tls(explained(within));
        }
        match error.kind() {
            // A server that closes without having read everything resets, and one that is asked after that breaks the pipe.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl LiveError {
    /// What the server said, where it said anything.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server answered with this code.
    pub fn is(&self, wanted: Code) -> bool {
        self.code() == Some(wanted)
    }

    /// Whether a read may be tried again on a new connection.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lost { source, .. } => !matches!(source, Broken::Dropped),
            Self::SessionExpired { .. } => true,
            Self::Server { code, .. } => {
                matches!(*code, Code::THROTTLED | Code::SESSION_MOVED | Code::SESSION_EXPIRED)
            }
            _ => false,
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
