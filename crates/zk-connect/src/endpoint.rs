//! One grammar for every place znodes live: `zk://`, `datadir:`, `admin+http://`.

use std::fmt;
use std::path::PathBuf;

/// A place znodes live, outside a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A live ensemble over the client protocol.
    Live(LiveSpec),
    /// A server's data directory.
    DataDir(DataDirSpec),
    /// The `AdminServer` of 3.9.
    Admin(AdminSpec),
}

/// `zk://h1:2181,h2:2181/chroot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSpec {
    /// `host:port`, in the order given.
    pub hosts: Vec<String>,
    /// Empty, or an absolute path without a trailing slash.
    pub chroot: String,
    /// `zk+tls://`.
    pub tls: bool,
}

/// `admin+http://h1:8080,h2:8080[/commands]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// `host:port`, in the order given.
    pub hosts: Vec<String>,
    /// `admin.commandURL` of the servers, `/commands` unless they say otherwise; without a slash at the end.
    pub commands: String,
    /// `admin+https://`.
    pub tls: bool,
}

/// `admin.commandURL` of a server that was not told otherwise.
const COMMANDS: &str = "/commands";
/// `clientPort` and `admin.serverPort` of a server that was not told otherwise.
const CLIENT_PORT: u16 = 2181;
const ADMIN_PORT: u16 = 8080;

/// `datadir:PATH?log=DIR&cfg=FILE&srvr=host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirSpec {
    /// The data directory, with or without `version-2`.
    pub path: PathBuf,
    /// Where the transaction logs are.
    pub log: LogDir,
    /// A server to ask what is committed.
    pub srvr: Option<String>,
}

/// Where the transaction logs of a data directory are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDir {
    /// Nothing was said: beside the snapshots, if logs are there.
    Unsaid,
    /// `log=same`.
    Same,
    /// `log=DIR`.
    At(PathBuf),
    /// `cfg=FILE`: what that `zoo.cfg` says of both directories.
    Config(PathBuf),
}

/// Why an argument is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No path, host or URL after the scheme.
    #[error("{given:?} names no place: write datadir:/path, zk://host:2181 or admin+http://host:8080")]
    Empty {
        /// The argument.
        given: String,
    },
    /// A `?key=` that means nothing here.
    #[error("{given:?} has the unknown setting {key:?}: known are log=DIR, log=same, cfg=FILE and srvr=host:port")]
    UnknownSetting {
        /// The argument.
        given: String,
        /// The key.
        key: String,
    },
    /// Both `log=` and `cfg=`.
    #[error("{given:?} names the log directory twice: give either log= or cfg=")]
    LogTwice {
        /// The argument.
        given: String,
    },
    /// User and password do not belong in a URL.
    #[error("a credential in an endpoint is visible to every user of the host: give it with --zk-auth-file")]
    Credential,
    /// A host without a valid port, or a chroot that is no path.
    #[error("{given:?} is not a connect string: write zk://host:2181,host:2181/chroot")]
    Live {
        /// The argument.
        given: String,
    },
    /// A host without a valid port, or a path that no URL has.
    #[error("{given:?} names no AdminServer: write admin+http://host:8080 or admin+https://host:8080")]
    Admin {
        /// The argument.
        given: String,
    },
}

impl Endpoint {
    /// Whether an argument that may also be a snapshot reference is written as an endpoint.
    pub fn looks_like(given: &str) -> bool {
        ["zk://", "zk+tls://", "datadir:", "admin+http://", "admin+https://", "/", "./", "../"]
            .iter()
            .any(|prefix| given.starts_with(prefix))
            || given == "."
            || given == ".."
    }

    /// Reads one; anything without a known scheme is the path of a data directory.
    pub fn parse(given: &str) -> Result<Self, EndpointError> {
        let empty = || EndpointError::Empty { given: given.to_owned() };
        if let Some(rest) = given.strip_prefix("zk://") {
            return live(given, rest, false).map(Self::Live);
        }
        if let Some(rest) = given.strip_prefix("zk+tls://") {
            return live(given, rest, true).map(Self::Live);
        }
        if let Some(rest) = given.strip_prefix("admin+http://") {
            return admin(given, rest, false).map(Self::Admin);
        }
        if let Some(rest) = given.strip_prefix("admin+https://") {
            return admin(given, rest, true).map(Self::Admin);
        }
        let rest = given.strip_prefix("datadir:").unwrap_or(given);
        let (path, settings) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(empty());
        }
        let mut spec = DataDirSpec { path: PathBuf::from(path), log: LogDir::Unsaid, srvr: None };
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            let log = match (key, value) {
                (_, "") => {
                    return Err(EndpointError::UnknownSetting { given: given.to_owned(), key: setting.to_owned() });
                }
                ("log", "same") => LogDir::Same,
                ("log", dir) => LogDir::At(PathBuf::from(dir)),
                ("cfg", file) => LogDir::Config(PathBuf::from(file)),
                ("srvr", server) => {
                    spec.srvr = Some(server.to_owned());
                    continue;
                }
                (key, _) => {
                    return Err(EndpointError::UnknownSetting { given: given.to_owned(), key: key.to_owned() });
                }
            };
            if spec.log != LogDir::Unsaid {
                return Err(EndpointError::LogTwice { given: given.to_owned() });
            }
            spec.log = log;
        }
        Ok(Self::DataDir(spec))
    }
}

fn live(given: &str, rest: &str, tls: bool) -> Result<LiveSpec, EndpointError> {
    let bad = || EndpointError::Live { given: given.to_owned() };
    if rest.contains('@') {
        return Err(EndpointError::Credential);
    }
    let (authority, chroot) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let chroot = chroot.trim_end_matches('/');
    if chroot.contains("//") {
        return Err(bad());
    }
    let hosts = hosts(authority, CLIENT_PORT).ok_or_else(bad)?;
    Ok(LiveSpec { hosts, chroot: chroot.to_owned(), tls })
}

fn admin(given: &str, rest: &str, tls: bool) -> Result<AdminSpec, EndpointError> {
    let bad = || EndpointError::Admin { given: given.to_owned() };
    if rest.contains('@') {
        return Err(EndpointError::Credential);
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let path = path.trim_end_matches('/');
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)) {
        return Err(bad());
    }
    let commands = if path.is_empty() { COMMANDS } else { path };
    let hosts = hosts(authority, ADMIN_PORT).ok_or_else(bad)?;
    Ok(AdminSpec { hosts, commands: commands.to_owned(), tls })
}

/// `host:port` of each; `None` where one is no host or has no valid port.
fn hosts(authority: &str, usual_port: u16) -> Option<Vec<String>> {
    let host = |host: &str| {
        let host = host.trim();
        match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !port.ends_with(']') => {
                port.parse::<u16>().ok().map(|_| host.to_owned())
            }
            _ if host.is_empty() || host.starts_with(':') => None,
            _ => Some(format!("{host}:{usual_port}")),
        }
    };
    authority.split(',').map(host).collect()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(spec) => {
                write!(f, "zk{}://{}{}", if spec.tls { "+tls" } else { "" }, spec.hosts.join(","), spec.chroot)
            }
            Self::Admin(spec) => {
                let path = if spec.commands == COMMANDS { "" } else { &spec.commands };
                write!(f, "admin+http{}://{}{path}", if spec.tls { "s" } else { "" }, spec.hosts.join(","))
            }
            Self::DataDir(spec) => spec.fmt(f),
        }
    }
}

impl fmt::Display for DataDirSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "datadir:{}", self.path.display())?;
        let log = match &self.log {
            LogDir::Unsaid => None,
            LogDir::Same => Some("log=same".to_owned()),
            LogDir::At(dir) => Some(format!("log={}", dir.display())),
            LogDir::Config(file) => Some(format!("cfg={}", file.display())),
        };
        let srvr = self.srvr.as_ref().map(|server| format!("srvr={server}"));
        let settings: Vec<String> = [log, srvr].into_iter().flatten().collect();
        if settings.is_empty() { Ok(()) } else { write!(f, "?{}", settings.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for given in [
            "zk://h1:2181,h2:2182/app",
            "zk+tls://h1:2281",
            "datadir:/var/lib/zookeeper",
            "datadir:/data?log=/logs&srvr=127.0.0.1:2181",
            "datadir:/data?cfg=/etc/zoo.cfg",
            "admin+https://host:8080",
            "admin+http://h1:8080,[::1]:8081/zk/admin",
        ] {
            assert_eq!(Endpoint::parse(given).unwrap().to_string(), given);
        }
    }

    #[test]
    fn what_is_usual_of_an_admin_server_needs_not_be_written() {
        let Ok(Endpoint::Admin(spec)) = Endpoint::parse("admin+http://host/commands/") else { panic!() };
        assert_eq!((spec.hosts.as_slice(), spec.commands.as_str()), (&["host:8080".to_owned()][..], "/commands"));
    }

    #[test]
    fn a_plain_path_is_a_data_directory() {
        assert_eq!(Endpoint::parse("/var/zk").unwrap(), Endpoint::parse("datadir:/var/zk").unwrap());
        assert!(Endpoint::looks_like("/var/zk") && !Endpoint::looks_like("latest:/brokers"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(matches!(Endpoint::parse("datadir:"), Err(EndpointError::Empty { .. })));
        assert!(matches!(Endpoint::parse("zk://user:pw@h:1"), Err(EndpointError::Credential)));
        assert!(matches!(Endpoint::parse("zk://h:99999"), Err(EndpointError::Live { .. })));
        assert!(matches!(Endpoint::parse("zk://,h:1"), Err(EndpointError::Live { .. })));
        assert!(matches!(Endpoint::parse("admin+http://u:p@h:1"), Err(EndpointError::Credential)));
        for wrong in ["admin+http://", "admin+http://h:x", "admin+https://h,", "admin+http://h:1/a?b=c"] {
            assert!(matches!(Endpoint::parse(wrong), Err(EndpointError::Admin { .. })), "{wrong}");
        }
        assert!(matches!(Endpoint::parse("/d?lgo=/x"), Err(EndpointError::UnknownSetting { .. })));
        assert!(matches!(Endpoint::parse("/d?log=/x&cfg=/y"), Err(EndpointError::LogTwice { .. })));
    }
}
