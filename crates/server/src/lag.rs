//! How far an ensemble has gone on since it was last read: its servers are asked for their last zxid, which costs them nothing
//! and opens no session.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use engine::EngineError;
use zk_connect::Endpoint;
use zk_connect::live::scan::survey;
use zk_format::Zxid;

use crate::config::ClusterConfig;
use crate::daemon::Daemon;

const ASK_EVERY: Duration = Duration::from_secs(30);
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// Asks again and again, until the daemon stops.
pub async fn run(daemon: Arc<Daemon>) {
    tokio::time::sleep(FIRST_AFTER).await;
    while !daemon.is_stopping() {
        let holding = daemon.holding();
        for cluster in &holding.config.clusters {
            if !daemon.is_leading() {
                daemon.metrics.lag(&cluster.name, None);
                continue;
            }
            let newest = newest(cluster).await.unwrap_or_else(|error| {
                tracing::debug!(cluster = cluster.name, "its last zxid is not known: {error}");
                None
            });
            let read = daemon.status(&cluster.name).read_up_to;
            let lag = newest.zip(read).map(|(newest, read)| behind(newest, read).into());
            daemon.metrics.lag(&cluster.name, lag);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The highest zxid that any of its servers names; `None` where none does, or it is no ensemble.
async fn newest(cluster: &ClusterConfig) -> Result<Option<Zxid>, EngineError> {
    let Ok(Endpoint::Live(spec)) = Endpoint::parse(&cluster.source) else { return Ok(None) };
    let live = cluster.live();
    // Reads files.
    let connect = tokio::task::spawn_blocking(move || live.settings()?.connect(&spec)).await;
    let Ok(connect) = connect else { return Ok(None) };
    let servers = survey(&connect?).await;
    Ok(servers.iter().filter_map(|server| server.zxid).max())
}

/// Transactions from one zxid to another. How many an epoch had that is over, nobody knows: only those of the newer one count.
fn behind(newest: Zxid, read: Zxid) -> u32 {
    match newest.epoch().cmp(&read.epoch()) {
        Ordering::Equal => newest.counter().saturating_sub(read.counter()),
        Ordering::Greater => newest.counter(),
        Ordering::Less => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted_within_an_epoch() {
        let behind = |newest, read| behind(Zxid(newest), Zxid(read));
        assert_eq!(behind(0x5_0000_0010, 0x5_0000_0001), 15);
        assert_eq!(behind(0x6_0000_0003, 0x5_0000_0fff), 3);
        assert_eq!((behind(7, 7), behind(0x5_0000_0000, 0x6_0000_0001)), (0, 0));
    }
}
