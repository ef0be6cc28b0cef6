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

/// `admin+http://host:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// The URL without `admin+`.
    pub url: String,
}

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
        if let Some(url) = given.strip_prefix("admin+") {
            let authority = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"))
                .filter(|rest| !rest.is_empty())
                .ok_or_else(empty)?;
            if authority.contains('@') {
                return Err(EndpointError::Credential);
            }
            return Ok(Self::Admin(AdminSpec { url: url.trim_end_matches('/').to_owned() }));
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
    let hosts = authority
        .split(',')
        .map(|host| {
            let host = host.trim();
            let with_port = match host.rsplit_once(':') {
                Some((name, port)) if !name.is_empty() && !port.ends_with(']') => {
                    port.parse::<u16>().map_err(|_| bad())?;
                    host.to_owned()
                }
                _ if host.is_empty() || host.starts_with(':') => return Err(bad()),
                _ => format!("{host}:2181"),
            };
            Ok(with_port)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(LiveSpec { hosts, chroot: chroot.to_owned(), tls })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(spec) => {
                write!(f, "zk{}://{}{}", if spec.tls { "+tls" } else { "" }, spec.hosts.join(","), spec.chroot)
            }
            Self::Admin(spec) => write!(f, "admin+{}", spec.url),
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
        ] {
            assert_eq!(Endpoint::parse(given).unwrap().to_string(), given);
        }
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
        assert!(matches!(Endpoint::parse("/d?lgo=/x"), Err(EndpointError::UnknownSetting { .. })));
        assert!(matches!(Endpoint::parse("/d?log=/x&cfg=/y"), Err(EndpointError::LogTwice { .. })));
    }
}
