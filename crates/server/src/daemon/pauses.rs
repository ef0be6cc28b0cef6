//! Schedules that are set aside, here or for all daemons that share the work.

use engine::{EngineError, Repo};
use jiff::Timestamp;

use super::{Daemon, Holding, lock};

impl Daemon {
    /// Sets a cluster's schedules aside, or lets them hold again; where several daemons share the work, for all of them. Blocks.
    pub fn set_paused(&self, cluster: &str, paused: bool) -> Result<(), EngineError> {
        let _one_at_a_time = lock(&self.pausing);
        if self.shares {
            let repo = self.holding().repos.primary()?;
            repo.block_on(repo.repository().set_paused(cluster, paused))?;
        }
        self.note_paused(cluster, paused);
        Ok(())
    }

    fn note_paused(&self, cluster: &str, paused: bool) {
        if self.remembered(cluster).paused != paused {
            tracing::info!(cluster, paused, "schedules");
        }
        self.remember(cluster, |known| known.paused = paused);
        self.planner().pause(cluster, paused, Timestamp::now());
        self.metrics.of_cluster("zooark_paused", cluster, u64::from(paused));
    }

    /// What another daemon set aside is set aside here. Blocks.
    pub(super) fn learn_pauses(&self, repo: &Repo, holding: &Holding) -> Result<(), EngineError> {
        if !self.shares {
            return Ok(());
        }
        let _one_at_a_time = lock(&self.pausing);
        let names = || holding.config.clusters.iter().map(|cluster| cluster.name.as_str());
        let paused = repo.block_on(repo.repository().paused(names()))?;
        for name in names().filter(|name| self.remembered(name).paused != paused.contains(name)) {
            self.note_paused(name, paused.contains(name));
        }
        Ok(())
    }
}
