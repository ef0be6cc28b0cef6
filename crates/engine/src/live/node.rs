//! One node as a live ensemble has it now.

use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::is_masked;
use zk_connect::live::{Client, Code, ConnectOptions, LiveError};
use zk_format::{OwnerKind, Stat};

use super::LiveSettings;
use crate::convert::is_quota_stats;
use crate::error::{EngineError, ErrorKind};
use crate::repo::runtime;
use crate::znode::Znode;

/// A node as it is.
#[derive(Clone, Debug)]
pub struct NodeNow {
    /// The node, without an ACL that may not be seen; `None` where it does not exist.
    pub node: Option<Znode>,
}

impl NodeNow {
    /// Asks for it, after everything that was committed by now.
    pub fn read(spec: &LiveSpec, settings: &LiveSettings, path: &[u8]) -> Result<Self, EngineError> {
        let connect = settings.connect(spec)?;
        let node = runtime()?.block_on(read(connect, path)).map_err(|error| {
            let place = zk_connect::Endpoint::Live(spec.clone());
            let what = format!("reading {} from {place}", zk_format::path::display(path));
            EngineError::with(ErrorKind::Failed, what, error)
        })?;
        Ok(Self { node })
    }

    /// Whether a snapshot has the same, as far as clients are shown it.
    pub fn is(&self, stored: Option<&Znode>) -> bool {
        let (Some(now), Some(stored)) = (&self.node, stored) else { return self.node.is_none() && stored.is_none() };
        let stat = |node: &Znode| Stat { ephemeral_owner: 0, ..node.stat };
        let same_acl = now.acl.is_none() || stored.acl.is_none() || now.acl == stored.acl;
        now.data == stored.data && stat(now) == stat(stored) && same_acl
    }
}

async fn read(connect: ConnectOptions, path: &[u8]) -> Result<Option<Znode>, LiveError> {
    let client = Client::connect(connect).await?;
    let read = async {
        client.sync(path).await?;
        let (data, stat) = client.get_data(path).await?.value;
        let acl = match client.get_acl(path).await {
            Ok(read) => Some(read.value.0).filter(|list| !is_masked(list)),
            Err(error) if error.is(Code::NO_AUTH) => None,
            Err(error) => return Err(error),
        };
        let data = if is_quota_stats(path) { None } else { data };
        let stat = stat.persisted();
        let kind_known = stat.kind() != OwnerKind::Persistent;
        Ok(Znode { path: path.to_vec(), data, acl, stat, kind_known })
    };
    let outcome = read.await;
    client.close().await;
    match outcome {
        Err(error) if error.is(Code::NO_NODE) => Ok(None),
        outcome => outcome.map(Some),
    }
}
