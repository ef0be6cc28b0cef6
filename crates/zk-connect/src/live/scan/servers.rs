//! Which servers to read from: those that have the least else to do.

use std::time::Duration;

use zk_format::Zxid;

use crate::live::dial::open;
use crate::live::error::LiveError;
use crate::live::four_letter::srvr_over;
use crate::live::options::ConnectOptions;
use crate::live::{Client, Code, Op};

/// A server that does not say what it is within this is asked no more.
const SRVR_TIME_OUT: Duration = Duration::from_secs(2);
/// Connections to servers that are read from, unless told otherwise.
const MOST_CONNECTIONS: usize = 4;
/// Servers without multiRead answer one read at a time: two connections keep them busy.
const LEAST_PIPELINED: usize = 2;

/// What a server does in its ensemble; those to read from first come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Serves clients and has no vote.
    Observer,
    /// Follows a leader.
    Follower,
    /// The only one.
    Standalone,
    /// It does not say: `srvr` is not allowed.
    Unknown,
    /// Every write goes through it.
    Leader,
    /// It does not answer.
    Silent,
}

/// A server as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// `host:port` as given.
    pub host: String,
    /// What it does.
    pub role: Role,
    /// As it prints it.
    pub version: Option<String>,
    /// The last transaction it has applied.
    pub zxid: Option<Zxid>,
}

/// Asks every server what it is; those to read from first come first.
pub async fn survey(connect: &ConnectOptions) -> Vec<ServerInfo> {
    let mut servers = futures::future::join_all(connect.hosts.iter().map(|host| ask(host, connect))).await;
    servers.sort_by_key(|server| server.role);
    servers
}

async fn ask(host: &str, connect: &ConnectOptions) -> ServerInfo {
    let asking = async {
        let mut stream = open(host, connect).await.ok()?;
        srvr_over(&mut *stream).await.ok()
    };
    let answer = tokio::time::timeout(SRVR_TIME_OUT, asking).await.ok().flatten();
    let role = match answer.as_ref().map(|state| state.as_ref().map(|state| state.mode.as_str())) {
        None => Role::Silent,
        Some(Some("observer")) => Role::Observer,
        Some(Some("follower")) => Role::Follower,
        Some(Some("standalone")) => Role::Standalone,
        Some(Some("leader")) => Role::Leader,
        Some(_) => Role::Unknown,
    };
    let (version, zxid) = answer.flatten().map(|state| (state.version, state.zxid)).unzip();
    ServerInfo { host: host.to_owned(), role, version, zxid }
}

/// Whether all servers know multiRead, as far as their versions tell. Servers of two versions run side by side during
/// an upgrade.
fn versions_know_multi_read(servers: &[ServerInfo]) -> Option<bool> {
    let answering = servers.iter().filter(|server| server.role != Role::Silent);
    let known: Option<Vec<bool>> =
        answering.map(|server| server.version.as_deref().and_then(numbers).map(|minor| minor >= [3, 6])).collect();
    known.filter(|known| !known.is_empty()).map(|known| known.iter().all(|known| *known))
}

/// Whether any of these may keep from a session what happens to nodes that it may not read: those with the mend of CVE-2024-23944
/// (3.8.4, 3.9.2 and later), and those that do not say what they are.
pub fn withhold_events(servers: &[ServerInfo]) -> bool {
    let may = |version: [u32; 3]| version >= [3, 9, 2] || ([3, 8, 4]..[3, 9, 0]).contains(&version);
    servers.iter().any(|server| server.version.as_deref().and_then(numbers).is_none_or(may))
}

/// The first numbers of a version.
fn numbers<const N: usize>(version: &str) -> Option<[u32; N]> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = parts.next()??;
    }
    Some(numbers)
}

/// Whether all servers know multiRead and recursive watches.
pub async fn know_multi_read(connect: &ConnectOptions, servers: &[ServerInfo]) -> Result<bool, LiveError> {
    match versions_know_multi_read(servers) {
        Some(known) => Ok(known),
        None => try_multi_read(connect, servers).await,
    }
}

/// Tries multiRead. A server that does not know it ends the session, so it is one of its own.
async fn try_multi_read(connect: &ConnectOptions, servers: &[ServerInfo]) -> Result<bool, LiveError> {
    let hosts = servers.iter().map(|server| server.host.clone()).collect();
    let client = Client::connect(ConnectOptions { hosts, ..connect.clone() }).await?;
    let outcome = client.multi_read(&[Op::GetChildren { path: b"" }], 1024).await;
    client.close().await;
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.is(Code::UNIMPLEMENTED) => Ok(false),
        // Some versions only close the connection.
        Err(LiveError::Lost { .. } | LiveError::SessionExpired { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the connections to read over, each to a server of its own as far as there are enough; each may go to another
/// server when its own fails. `first` is one of them that is there already.
pub async fn connect(
    options: &ConnectOptions,
    servers: &[ServerInfo],
    batched: bool,
    wanted: Option<usize>,
    first: Option<Client>,
) -> Result<Vec<Client>, LiveError> {
    let spare = |server: &&ServerInfo| !matches!(server.role, Role::Leader | Role::Silent);
    let readers = servers.iter().filter(spare).count().max(1);
    let usual = if batched { readers } else { readers.max(LEAST_PIPELINED) };
    let count = wanted.unwrap_or(usual.min(MOST_CONNECTIONS)).max(1);
    let mut clients: Vec<Client> = first.into_iter().collect();
    for index in clients.len()..count {
        let first = index % readers;
        let mut hosts: Vec<String> = servers.iter().map(|server| server.host.clone()).collect();
        if first < hosts.len() {
            let own = hosts.remove(first);
            hosts.insert(0, own);
        }
        clients.push(Client::connect(ConnectOptions { hosts, ..options.clone() }).await?);
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_server_decides() {
        let server = |version: Option<&str>, role| ServerInfo {
            host: "h:1".to_owned(),
            role,
            version: version.map(ToOwned::to_owned),
            zxid: None,
        };
        let new = server(Some("3.9.4-7246445a, built on 2025"), Role::Follower);
        let old = server(Some("3.5.10-1"), Role::Leader);
        let gone = server(None, Role::Silent);
        assert_eq!(versions_know_multi_read(&[new.clone(), gone.clone()]), Some(true));
        assert_eq!(versions_know_multi_read(&[new.clone(), old]), Some(false));
        assert_eq!(versions_know_multi_read(&[new, server(None, Role::Unknown)]), None);
        assert_eq!(versions_know_multi_read(&[gone]), None);
        let one = |version| [server(Some(version), Role::Standalone)];
        for (version, withholds) in [
            ("3.6.4--d65253dcf68e9097c6e95a126463fd5fdeb4521c, built on 12/18/2022", false),
            ("3.8.3-6ad6d364c7c0bcf0de452d54ebefa3058098ab56, built on 2023", false),
            ("3.8.4-9316c2a7a97e1666d8f4593f34dd6fc36ecc436c, built on 2024", true),
            ("3.9.1-1, built on 2023", false),
            ("3.9.4-7246445ab1b2, built on 2025", true),
            ("3.10.0-1", true),
        ] {
            assert_eq!(withhold_events(&one(version)), withholds, "{version}");
        }
        assert!(withhold_events(&[server(None, Role::Unknown)]));
    }
}
