//! Another client, written by others: it reads back what ours wrote, so that a mistake of ours in reading does not hide
//! one in writing.
//!
//! It is used for nothing else. It matches answers to requests by their order, so credentials are added before the first
//! read and reads are made one after the other; it knows neither TLS nor SASL, and not null from empty data.

use std::time::Duration;

use zk_format::Acl;
use zookeeper_async::{Permission, WatchedEvent, Watcher, ZkError, ZooKeeper};

use super::options::ConnectOptions;

/// A session of the second client.
pub struct SecondClient {
    zk: ZooKeeper,
    patience: Duration,
}

/// A node as it sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenBySecond {
    /// Null data is empty here; `None` where it may not be read.
    pub data: Option<Vec<u8>>,
    /// `None` where the ACL may not be read.
    pub acl: Option<Vec<Acl>>,
}

/// Why the second client could not say anything.
#[derive(Debug, thiserror::Error)]
pub enum SecondError {
    /// TLS, SASL, or credentials of another scheme than digest.
    #[error("the second client connects in plain and with digest credentials only: verify with our own")]
    Unsupported,
    /// It got no session.
    #[error("the second client could not connect to {hosts}")]
    Connect {
        /// As given.
        hosts: String,
        /// What it says.
        source: ZkError,
    },
    /// A read failed.
    #[error("the second client could not read {path}")]
    Read {
        /// As shown to people.
        path: String,
        /// What it says.
        source: ZkError,
    },
}

/// It sets no watches.
struct Deaf;

impl Watcher for Deaf {
    fn handle(&self, _: WatchedEvent) {}
}

impl SecondClient {
    /// Opens a session.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, SecondError> {
        if options.tls.is_some() || options.sasl.is_some() || options.auth.iter().any(|auth| auth.scheme != "digest") {
            return Err(SecondError::Unsupported);
        }
        let hosts = format!("{}{}", options.hosts.join(","), String::from_utf8_lossy(&options.chroot));
        let failed = |source| SecondError::Connect { hosts: hosts.clone(), source };
        let patience = options.request_time_out;
        let connecting = ZooKeeper::connect(&hosts, options.session_time_out, Deaf);
        let zk = within(patience, connecting).await.map_err(failed)?;
        for auth in &options.auth {
            within(patience, zk.add_auth("digest", auth.secret.clone())).await.map_err(failed)?;
        }
        Ok(Self { zk, patience })
    }

    /// Reads a node; `None` where it is not there, or its path is none that this client can write.
    pub async fn node(&self, path: &[u8]) -> Result<Option<SeenBySecond>, SecondError> {
        let Ok(text) = std::str::from_utf8(path) else { return Ok(None) };
        let text = if text.is_empty() { "/" } else { text };
        let failed = |source| SecondError::Read { path: zk_format::path::display(path).to_string(), source };
        let data = match within(self.patience, self.zk.get_data(text, false)).await {
            Ok((data, _)) => Some(data),
            Err(ZkError::NoAuth) => None,
            Err(ZkError::NoNode) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let acl = match within(self.patience, self.zk.get_acl(text)).await {
            Ok((list, _)) => Some(list.into_iter().map(entry).collect()),
            Err(ZkError::NoAuth) => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(SeenBySecond { data, acl }))
    }

    /// Ends the session.
    pub async fn close(&self) {
        // Where the server does not answer the session ends by its time-out.
        let _ = within(self.patience, self.zk.close()).await;
    }
}

async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, ZkError>>) -> Result<T, ZkError> {
    tokio::time::timeout(patience, answer).await.unwrap_or(Err(ZkError::OperationTimeout))
}

fn entry(acl: zookeeper_async::Acl) -> Acl {
    let bits = [
        (Permission::READ, 1),
        (Permission::WRITE, 2),
        (Permission::CREATE, 4),
        (Permission::DELETE, 8),
        (Permission::ADMIN, 16),
    ];
    let perms = bits.iter().filter(|(bit, _)| acl.perms.can(*bit)).map(|(_, value)| value).sum();
    Acl { perms, scheme: acl.scheme.into_bytes(), id: acl.id.into_bytes() }
}
