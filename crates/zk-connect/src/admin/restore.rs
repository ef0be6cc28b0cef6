//! What a restore over HTTP asks of the servers: who they are and where they stand, to take a file for their tree, and to
//! write what they have to disk.
//!
//! The command `restore` (3.9.4) replaces the tree in memory, and nothing else: neither the log nor the zxid counter knows
//! of it. It takes the file's last-zxid trailer for the zxid of its tree, reads a digest trailer before that if and only if
//! `zookeeper.digest.enabled` is not false, and is let once in `zookeeper.admin.rateLimiterIntervalInMS` (5
//! minutes); a file that it cannot read counts too. All of that was seen on running servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek as _};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use zk_format::Zxid;

use super::{Admin, AdminError, ServerInfo, Transfer};

const COMMAND: &str = "restore";
/// Between two tries where a server says that it is too soon.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One server of an ensemble, as it is before a restore.
#[derive(Clone, Debug)]
pub struct Member {
    /// What `srvr` says.
    pub server: ServerInfo,
    /// Its `myid`; `None` of a standalone server.
    pub id: Option<i64>,
    /// The voters that it knows: their ids, and where they speak to each other (`host:port:port`).
    pub voters: BTreeMap<i64, String>,
    /// Observers that it leads.
    pub observers: u64,
    /// Sessions that it keeps: of a leader all but local ones.
    pub sessions: u64,
    /// Whether it keeps digests, and so expects one in a file.
    pub digest: bool,
    /// Whether it writes the zxid of its tree into its files, without which it takes none (`restore` says so).
    pub last_zxid: bool,
    /// `zookeeper.extendedTypesEnabled`.
    pub extended_types: bool,
}

impl Admin {
    /// Asks one server for all of it. None of it needs credentials.
    pub async fn member(&self, host: &str, control: &dyn Transfer) -> Result<Member, AdminError> {
        let server = self.server(host, control).await?;
        let ask = async |command: &'static str| self.http.ask(host, command, None, control).await;
        let standalone = server.state == "standalone";
        let missing = |command: &str, what: &str| AdminError::answer(host, command, format!("without {what}"));
        let (mut id, mut voters, mut observers) = (None, BTreeMap::new(), 0);
        if !standalone {
            let said = ask("zabstate").await?;
            id = Some(said.get("myid").and_then(Value::as_i64).ok_or_else(|| missing("zabstate", "myid"))?);
            let said = ask("voting_view").await?;
            voters = self::voters(&said).ok_or_else(|| missing("voting_view", "current_config"))?;
            if server.state == "leader" {
                let said = ask("observers").await?;
                observers = said.get("observers").and_then(Value::as_array).map_or(0, |list| list.len() as u64);
            }
        }
        let said = ask("dump").await?;
        let sessions = said.get("expiry_time_to_session_ids").and_then(Value::as_object);
        let sessions = sessions.ok_or_else(|| missing("dump", "expiry_time_to_session_ids"))?;
        let sessions = sessions.values().filter_map(Value::as_array).map(|ids| ids.len() as u64).sum();
        let said = ask("system_properties").await?;
        let is = |name: &str, value: &str| {
            said.get(name).and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        Ok(Member {
            id,
            voters,
            observers,
            sessions,
            digest: !is("zookeeper.digest.enabled", "false"),
            last_zxid: !is("zookeeper.serializeLastProcessedZxid.enabled", "false"),
            extended_types: is("zookeeper.extendedTypesEnabled", "true"),
            server,
        })
    }

    /// Replaces the tree of a server by a file of `bytes`; gives the zxid that it takes the new tree for.
    pub async fn restore(
        &self,
        host: &str,
        (file, bytes): (&File, u64),
        control: &dyn Transfer,
    ) -> Result<Zxid, AdminError> {
        self.patiently(host, control, async || {
            let file = rewound(file).map_err(unreadable)?;
            let response =
                self.http.post(host, COMMAND, (file, bytes), self.options.snapshot_time_out, control).await?;
            let said = self.http.object(host, COMMAND, response, control).await?;
            let zxid = said.get("last_zxid").and_then(Value::as_i64).map(Zxid);
            zxid.ok_or_else(|| AdminError::answer(host, COMMAND, "without last_zxid"))
        })
        .await
    }

    /// Has a server write its tree to its disk, and takes a copy.
    pub async fn written(&self, member: &Member, control: &dyn Transfer) -> Result<super::Streamed, AdminError> {
        let host = &member.server.host;
        self.patiently(host, control, async || super::snapshot::of(self, member.server.clone(), control).await).await
    }

    /// Tries again where a server takes no more for now: in the middle of a restore to wait is better than to give up.
    async fn patiently<T>(
        &self,
        host: &str,
        control: &dyn Transfer,
        mut work: impl AsyncFnMut() -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let began = Instant::now();
        let mut told = false;
        loop {
            match work().await {
                Err(AdminError::TooSoon { .. }) if began.elapsed() < self.options.patience => {
                    if !told {
                        let most = self.options.patience.as_secs();
                        control.note(&format!(
                            "{host} takes no such request so soon after the last: waiting, {most} s at most"
                        ));
                        told = true;
                    }
                    let until = Instant::now() + TRY_AGAIN;
                    while Instant::now() < until {
                        if control.cancelled() {
                            return Err(AdminError::Stopped);
                        }
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

impl Member {
    /// The ids of all voters.
    pub fn voter_ids(&self) -> BTreeSet<i64> {
        self.voters.keys().copied().collect()
    }
}

fn rewound(file: &File) -> io::Result<File> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(file)
}

fn unreadable(source: io::Error) -> AdminError {
    AdminError::Setup { what: "the file to restore cannot be read again".to_owned(), source: Some(source.into()) }
}

/// The voters of `voting_view`, with `host:port:port` where each has one address.
fn voters(said: &Map<String, Value>) -> Option<BTreeMap<i64, String>> {
    let mut voters = BTreeMap::new();
    for (id, server) in said.get("current_config")?.as_object()? {
        let first = |field: &str| server.get(field)?.as_array()?.first()?.as_str();
        let quorum = first("server_addresses").unwrap_or_default();
        let election = first("election_addresses").and_then(|address| Some(address.rsplit_once(':')?.1));
        voters.insert(id.parse().ok()?, format!("{quorum}:{}", election.unwrap_or_default()));
    }
    Some(voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_read_with_their_addresses() {
        let said = r#"{"current_config":{"3":{"server_addresses":["zk3:2888"],"election_addresses":["zk3:3888"]},
                       "1":{"server_addresses":[]}}}"#;
        let read = |text: &str| voters(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap());
        let expected = BTreeMap::from([(1, ":".to_owned()), (3, "zk3:2888:3888".to_owned())]);
        assert_eq!(read(said), Some(expected));
        for wrong in ["{}", r#"{"current_config":[]}"#, r#"{"current_config":{"x":{}}}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
