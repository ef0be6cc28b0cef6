//! What the commands answer: JSON objects, with what went wrong in `error`.

use serde_json::{Map, Value};
use zk_format::Zxid;

use super::AdminError;

/// A server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3, so far.
    pub major: u32,
    /// 9, where there is anything to ask for.
    pub minor: u32,
    /// The last part.
    pub patch: u32,
}

impl Version {
    /// The first with the commands `snapshot` and `restore`.
    pub const FIRST: Self = Self { major: 3, minor: 9, patch: 0 };
    /// The first whose `snapshot` leaves the live tree alone (ZOOKEEPER-4872).
    pub const SAFE: Self = Self { major: 3, minor: 9, patch: 4 };

    /// From what a server prints: `3.9.4-7246445…, built on 2025-08-19 19:53 UTC`.
    pub fn parse(printed: &str) -> Option<Self> {
        let numbers = printed.split(['-', ',', ' ']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
        let mut next = || parts.next().flatten();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What `srvr` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// `host:port` of its `AdminServer`.
    pub host: String,
    /// `None` where it prints something else.
    pub version: Option<Version>,
    /// As it prints its version, at most 80 characters of it.
    pub printed: String,
    /// `standalone`, `leader`, `follower`, `observer`.
    pub state: String,
    /// The last transaction it has applied.
    pub zxid: Zxid,
    /// Whether it has lost its quorum and shows what it had.
    pub read_only: bool,
    /// Znodes, as it counts them.
    pub nodes: u64,
    /// Clients connected to it.
    pub connections: u64,
}

const PRINTED: usize = 80;

/// Reads the answer to `srvr`.
pub(super) fn server(host: &str, said: &Map<String, Value>) -> Result<ServerInfo, AdminError> {
    let stats = said.get("server_stats").and_then(Value::as_object);
    let number = |name: &str| stats.and_then(|stats| stats.get(name)).and_then(Value::as_i64);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| text.chars().take(PRINTED).collect());
    let printed: Option<String> = text(said.get("version"));
    let (Some(printed), Some(zxid)) = (printed, number("last_processed_zxid")) else {
        return Err(AdminError::answer(host, "srvr", "neither the version nor the zxid of a ZooKeeper server"));
    };
    let role: Option<String> = text(stats.and_then(|stats| stats.get("server_state")));
    Ok(ServerInfo {
        host: host.to_owned(),
        version: Version::parse(&printed),
        printed,
        state: role.unwrap_or_default(),
        zxid: Zxid(zxid),
        read_only: said.get("read_only").and_then(Value::as_bool).unwrap_or(false),
        nodes: said.get("node_count").and_then(Value::as_u64).unwrap_or(0),
        connections: number("num_alive_client_connections").and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_print_them() {
        let of = |printed| Version::parse(printed).map(|version| version.to_string());
        assert_eq!(of("3.9.4-7246445ec281, built on 2025-08-19 19:53 UTC").as_deref(), Some("3.9.4"));
        assert_eq!(of("3.10.0").as_deref(), Some("3.10.0"));
        assert!(Version::parse("3.10.0") > Some(Version::SAFE) && Version::parse("3.9.3") < Some(Version::SAFE));
        for wrong in ["", "3.9", "three", "3.9.x-1", "99999999999.1.1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_of_something_else_is_an_error() {
        let read = |text: &str| server("h:1", serde_json::from_str::<Value>(text).unwrap().as_object().unwrap());
        let said = r#"{"version":"3.9.4-1","read_only":false,"node_count":5,
                       "server_stats":{"server_state":"leader","last_processed_zxid":21474836513}}"#;
        let found = read(said).unwrap();
        assert_eq!((found.zxid, found.state.as_str(), found.nodes), (Zxid(0x5_0000_0021), "leader", 5));
        for wrong in ["{}", r#"{"version":1}"#, r#"{"version":"3.9.4","server_stats":{"last_processed_zxid":"x"}}"#] {
            assert!(read(wrong).unwrap_err().to_string().contains("neither"), "{wrong}");
        }
    }
}
