//! `AdminServer`s as a source: a server's whole tree as one file, read as any other.

use zk_connect::admin::{self, Admin, AdminError, AdminOptions, Transfer};
use zk_connect::endpoint::AdminSpec;
use zk_connect::live::Tls;
use zk_format::load::Loaded;

use crate::error::{EngineError, ErrorKind};
use crate::live::LiveSettings;
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::runtime;

/// A server's file, read.
#[derive(Debug)]
pub struct HandedOut {
    /// The state.
    pub loaded: Loaded,
    /// The server's version.
    pub version: String,
}

/// Asks a server for all it has.
pub fn read(spec: &AdminSpec, settings: &LiveSettings, monitor: &dyn Monitor) -> Result<HandedOut, EngineError> {
    let runtime = runtime()?;
    let failed = |error| failed("reading", spec, error);
    let admin = Admin::new(spec, options(spec, settings)?).map_err(failed)?;
    // Replaced once it is known how much there is.
    monitor.begin(Phase::Fetching, Unit::Bytes, None);
    let streamed = runtime.block_on(admin::snapshot(&admin, &Telling { monitor }));
    monitor.end(Phase::Fetching);
    let streamed = streamed.map_err(failed)?;
    monitor.check()?;
    let version =
        streamed.server.version.map_or_else(|| streamed.server.printed.clone(), |version| version.to_string());
    monitor.begin(Phase::Reading, Unit::Nodes, None);
    let loaded = streamed.load();
    monitor.end(Phase::Reading);
    Ok(HandedOut { loaded: loaded.map_err(failed)?, version })
}

/// How to reach the servers, as far as the settings say.
pub(crate) fn options(spec: &AdminSpec, settings: &LiveSettings) -> Result<AdminOptions, EngineError> {
    let tls = match (spec.tls, settings.tls.is_empty()) {
        (true, _) => Some(Tls::load(&settings.tls).map_err(|error| {
            EngineError::with(ErrorKind::Usage, "setting up TLS: no server was asked for anything", error)
        })?),
        (false, true) => None,
        (false, false) => {
            let what = "there are files for TLS and admin+http:// is plain text: write admin+https://";
            return Err(EngineError::new(ErrorKind::Usage, what));
        }
    };
    let (auth, unsafe_versions) = (settings.auth.clone(), settings.unsafe_admin_servers);
    Ok(AdminOptions { auth, tls, unsafe_versions, ..AdminOptions::default() })
}

/// A failure against the servers, with what it means for the caller.
pub(crate) fn failed(doing: &str, spec: &AdminSpec, error: AdminError) -> EngineError {
    let kind = match &error {
        AdminError::Setup { .. } => ErrorKind::Usage,
        AdminError::Unsafe { .. } | AdminError::UnknownVersion { .. } | AdminError::ReadOnly { .. } => {
            ErrorKind::Refused
        }
        AdminError::Stopped => return crate::monitor::Cancelled.into(),
        _ => ErrorKind::Failed,
    };
    EngineError::with(kind, format!("{doing} {}", zk_connect::Endpoint::Admin(spec.clone())), error)
}

/// Tells a monitor of bytes that come.
pub(crate) struct Telling<'m> {
    pub(crate) monitor: &'m dyn Monitor,
}

impl Transfer for Telling<'_> {
    fn begin(&self, bytes: u64) {
        self.monitor.begin(Phase::Fetching, Unit::Bytes, Some(bytes));
    }

    fn moved(&self, bytes: u64) {
        self.monitor.advance(Phase::Fetching, bytes);
    }

    fn note(&self, text: &str) {
        self.monitor.note(text);
    }

    fn cancelled(&self) -> bool {
        self.monitor.cancelled()
    }
}
