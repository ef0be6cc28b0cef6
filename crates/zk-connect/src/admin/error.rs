//! Every way to fail against an `AdminServer`, each with the command, the server and the next step.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use zk_format::Zxid;
use zk_format::file_snap::SnapProblem;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No connection came about.
    #[error(
        "asking the AdminServer {host} for {command}: no connection: {cause}; check that it is enabled \
         (admin.enableServer) and listens there (admin.serverPort)"
    )]
    Unreachable {
        /// `host:port`.
        host: String,
        /// `srvr`, `snapshot`, …
        command: String,
        /// What happened.
        cause: String,
    },
    /// Nothing came for too long.
    #[error("asking the AdminServer {host} for {command}: nothing arrived for {}; look at the server's log", seconds(*.waited))]
    Silent {
        /// `host:port`.
        host: String,
        /// `srvr`, `snapshot`, …
        command: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection ended within the answer.
    #[error(
        "asking the AdminServer {host} for {command}: the connection broke: {cause}; look at the server's log and try again"
    )]
    Lost {
        /// `host:port`.
        host: String,
        /// `srvr`, `snapshot`, …
        command: String,
        /// What happened.
        cause: String,
    },
    /// Credentials are missing, wrong, or not enough.
    #[error(
        "asking the AdminServer {host} for {command}: refused with status {status} ({said}): it needs every permission \
         (cdrwa) on /; give `digest user:password` of the superuser or of such a user with --zk-auth-file"
    )]
    Denied {
        /// `host:port`.
        host: String,
        /// `snapshot` or `restore`.
        command: String,
        /// 401 or 403.
        status: u16,
        /// What the server said.
        said: String,
    },
    /// It was asked too soon after the last time.
    #[error(
        "asking the AdminServer {host} for {command}: it takes one such request per interval, and the last was too \
         recent: try again once zookeeper.admin.rateLimiterIntervalInMS (5 minutes unless configured) has passed, or name \
         another server"
    )]
    TooSoon {
        /// `host:port`.
        host: String,
        /// `snapshot` or `restore`.
        command: String,
    },
    /// It answered, with something else than what was asked for.
    #[error("asking the AdminServer {host} for {command}: it answered with status {status}: {said}{}", advice(*.status, .said, .command))]
    Said {
        /// `host:port`.
        host: String,
        /// `srvr`, `snapshot`, …
        command: String,
        /// Of HTTP; 200 does not mean that it worked.
        status: u16,
        /// What the server said, or the beginning of it.
        said: String,
    },
    /// What it answered is not what an `AdminServer` says.
    #[error(
        "asking the AdminServer {host} for {command}: the answer is {what}; is that the AdminServer of a ZooKeeper server?"
    )]
    Answer {
        /// `host:port`.
        host: String,
        /// `srvr`, `snapshot`, …
        command: String,
        /// What is wrong with it.
        what: String,
    },
    /// Before 3.9 there is no such command.
    #[error(
        "{host} runs ZooKeeper {version}, whose AdminServer has no snapshots; 3.9.4 has. Back up zk:// or the server's data \
         directory"
    )]
    TooOld {
        /// `host:port`.
        host: String,
        /// As it prints it.
        version: String,
    },
    /// Asking for a snapshot can change the server's tree.
    #[error(
        "{host} runs ZooKeeper {version}: before 3.9.4 a snapshot over HTTP can change the live tree (ZOOKEEPER-4872), and \
         anybody who reaches the port may ask for it (CVE-2025-58457). Back up zk:// or the server's data directory, \
         upgrade the servers, or accept that with --yes-really"
    )]
    Unsafe {
        /// `host:port`.
        host: String,
        /// As it prints it.
        version: String,
    },
    /// Nobody can say whether asking is safe.
    #[error(
        "{host} prints {version:?} for its version: whether it can be asked for a snapshot without changing its tree \
         (ZOOKEEPER-4872, 3.9.0 to 3.9.3) is not known; add --yes-really if it can"
    )]
    UnknownVersion {
        /// `host:port`.
        host: String,
        /// As it prints it.
        version: String,
    },
    /// It has no quorum and shows what it had.
    #[error("{host} is read-only: it has lost its quorum and may show an old state; name a server that has one")]
    ReadOnly {
        /// `host:port`.
        host: String,
    },
    /// Larger than accepted.
    #[error("the snapshot of {host} has {bytes} bytes and {limit} are accepted; back up the server's data directory")]
    TooLarge {
        /// `host:port`.
        host: String,
        /// As announced.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Other bytes than announced.
    #[error(
        "the snapshot of {host} was announced with {announced} bytes and {arrived} arrived: nothing of it was used; try \
         again"
    )]
    Length {
        /// `host:port`.
        host: String,
        /// In the header `snapshot_size`.
        announced: u64,
        /// How many came, or at least came.
        arrived: u64,
    },
    /// It cannot be kept while it is read.
    #[error("keeping the snapshot of {host} in {}: {what}; name a folder with room by TMPDIR", folder.display())]
    Keeping {
        /// `host:port`.
        host: String,
        /// The folder.
        folder: PathBuf,
        /// What is wrong there.
        what: String,
        /// The cause, if there is one.
        source: Option<io::Error>,
    },
    /// The bytes are not a snapshot file.
    #[error("the snapshot of {host} cannot be read: nothing of it was used; look at the server's log and try again")]
    Snapshot {
        /// `host:port`.
        host: String,
        /// What is wrong with it.
        source: SnapProblem,
    },
    /// The file ends before it begins.
    #[error(
        "the snapshot of {host} begins at {begin} by its header and ends at {end} by its trailer: nothing of it was used; \
         try again"
    )]
    Backwards {
        /// `host:port`.
        host: String,
        /// The header `last_zxid`.
        begin: Zxid,
        /// The last trailer.
        end: Zxid,
    },
    /// The set-up cannot be used.
    #[error("{what}")]
    Setup {
        /// What, and what to do.
        what: String,
        /// The cause, if there is one.
        source: Option<Cause>,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What to do about an answer.
fn advice(status: u16, said: &str, command: &str) -> String {
    if said.contains("not currently serving") {
        return "; it has no quorum yet: wait for one, or name a server that has one".to_owned();
    }
    match status {
        503 => format!("; the command is disabled there (admin.{command}.enabled)"),
        301..=308 => "; it sends us elsewhere, and we do not follow: write the address it names".to_owned(),
        404 => "; is this the AdminServer's port, and its path (admin.commandURL)?".to_owned(),
        _ => "; look at the server's log".to_owned(),
    }
}

impl AdminError {
    /// Whether the server certainly did nothing of what it was asked.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Denied { .. }
                | Self::TooSoon { .. }
                | Self::Said { .. }
                | Self::Setup { .. }
                | Self::Stopped
        )
    }

    pub(super) fn answer(host: &str, command: &str, what: impl Into<String>) -> Self {
        Self::Answer { host: host.to_owned(), command: command.to_owned(), what: what.into() }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
