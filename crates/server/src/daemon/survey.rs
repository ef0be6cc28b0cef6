//! What the repository has of each cluster, and how old that has become.

use std::sync::atomic::Ordering;

use engine::reference::parse_zxid;
use engine::repository::Snapshot;
use engine::snapshots::{self, Scope};
use engine::{EngineError, Repo, Silent};
use jiff::Timestamp;

use super::{Daemon, Holding};
use crate::config::Occasion;

impl Daemon {
    /// Looks through the repository: the newest snapshot of each cluster, and what all of them added. Blocks.
    pub fn survey(&self) -> Result<(), EngineError> {
        let holding = self.holding();
        let repo = holding.repos.primary()?;
        self.ready.store(true, Ordering::Relaxed);
        self.look(&repo, &holding)
    }

    fn look(&self, repo: &Repo, holding: &Holding) -> Result<(), EngineError> {
        self.learn_pauses(repo, holding)?;
        let all = snapshots::list(repo, &Scope::default(), &Silent::default())?;
        for cluster in &holding.config.clusters {
            let own = all.iter().filter(|snapshot| snapshot.manifest.body.fields.cluster == cluster.name);
            let mut infos =
                own.clone().filter(|snapshot| !engine::backup::is_before_restore(&snapshot.manifest.body.fields));
            let latest = infos.next_back();
            let suspect = own.clone().any(Snapshot::is_suspect);
            let added = own.map(|snapshot| snapshot.manifest.body.fields.counters.added_bytes).sum();
            let info = latest.map(snapshots::info);
            self.metrics.snapshots(&cluster.name, info.as_ref(), suspect, added);
            if let Some(latest) = latest {
                let tables = latest.manifest.tables();
                self.metrics.of_cluster("zooark_runs_in_stack", &cluster.name, tables.len() as u64);
                let bytes = tables.iter().map(|table| table.chunk_bytes + table.value_bytes).sum();
                self.metrics.of_cluster("zooark_restore_bytes_needed", &cluster.name, bytes);
            }
            if let Some(info) = info.as_ref().filter(|info| info.suspect.is_none() && !info.incomplete) {
                let time = info.time;
                self.remember(&cluster.name, |known| known.last_success = known.last_success.max(Some(time)));
            }
            self.change_status(&cluster.name, |status| {
                status.read_up_to = status.read_up_to.or_else(|| parse_zxid(&info.as_ref()?.zxid_high));
                status.suspect = suspect;
                status.latest = info;
            });
        }
        Ok(())
    }

    /// Age figures, which change without anything happening; and who has to be told that something is too old.
    pub fn grow_older(&self, now: Timestamp) {
        let holding = self.holding();
        self.metrics.take_in();
        self.metrics.set("zooark_leader", &[], f64::from(u8::from(self.is_leading())));
        for cluster in &holding.config.clusters {
            let Some(last) = self.remembered(&cluster.name).last_success else { continue };
            let age = now.duration_since(last).as_secs().max(0);
            let seconds = u64::try_from(age).unwrap_or(0);
            self.metrics.of_cluster("zooark_seconds_since_last_success", &cluster.name, seconds);
            let when = u64::try_from(last.as_second()).unwrap_or(0);
            self.metrics.of_cluster("zooark_last_success_timestamp_seconds", &cluster.name, when);
            let too_old = cluster.max_age.is_some_and(|most| seconds > most.0.as_secs());
            let told = self.status(&cluster.name).told_of_age;
            if too_old && !told && self.is_leading() {
                let text = format!("cluster {} was last backed up {seconds} s ago", cluster.name);
                tracing::warn!(cluster = cluster.name, "{text}");
                let message = self.message(Occasion::Age, Some(&cluster.name), text);
                self.notifier.tell(&holding.config.notify, &message);
            }
            self.change_status(&cluster.name, |status| status.told_of_age = too_old);
        }
    }
}
