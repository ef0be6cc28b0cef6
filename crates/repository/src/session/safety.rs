//! Whether a manifest that was just written may stand: its writer was in time, and nothing it names was or will be deleted.

use std::collections::HashSet;
use std::time::Duration;

use super::base::Base;
use super::{BackupSession, CommitOutcome};
use crate::condemned::{FIRST, generation_of_path, is_newest, read_condemned};
use crate::error::RepositoryError;
use crate::ids::PackId;
use crate::manifest::{Manifest, parse_path};
use crate::pack::pack_path;
use crate::rules::Rule;

impl BackupSession {
    /// Time since the lists were read, by whichever clock says more: a virtual machine that was frozen shows it on the wall
    /// clock alone.
    pub(super) fn elapsed(&self) -> Duration {
        if !self.shared.rules.have(Rule::BoundedWriter) {
            return Duration::ZERO;
        }
        let wall = self.shared.clock.wall().duration_since(self.base.began_wall).unwrap_or_default();
        self.shared.clock.since(self.base.began).max(wall)
    }

    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_secs(self.shared.config.writers_grace_s() / 2)
    }

    /// Finds the base anew. The time that was taken counts on: packs were uploaded in it.
    pub(super) async fn overtaken(&mut self) -> Result<CommitOutcome, RepositoryError> {
        let (began, began_wall) = (self.base.began, self.base.began_wall);
        self.base = Base { began, began_wall, ..Base::find(&self.shared, self.lineage).await? };
        Ok(CommitOutcome::Overtaken)
    }

    /// After the manifest's PUT: whether its number is its own, and nothing it refers to was or will be deleted. While there
    /// is no list but those it knows, nothing can be on its way out and no number was given back.
    pub(super) async fn is_safe(
        &self,
        manifest: &Manifest,
        named: &HashSet<PackId>,
        limit: Duration,
    ) -> Result<bool, RepositoryError> {
        let (shared, store) = (&self.shared, &self.shared.store);
        if !shared.rules.have(Rule::LookAfterwards) {
            return Ok(true);
        }
        if self.elapsed() < limit && is_newest(store, self.base.avoid.newest).await? {
            return Ok(true);
        }
        if self.elapsed() >= limit || !self.lists_are_young(manifest, limit).await? {
            tracing::warn!(began = ?self.base.began_wall, "the backup took longer than half the grace period; verifying");
            let avoid = read_condemned(store, &shared.crypto, Some(self.base.avoid.clone())).await?;
            for pack in named {
                let gone = match store.head(&pack_path(*pack)).await {
                    Ok(_) => avoid.packs.contains(pack),
                    Err(e) if e.is_not_found() => true,
                    Err(e) => return Err(e.into()),
                };
                if gone {
                    shared.forget_manifests(&[manifest.into()], false).await?;
                    return Err(RepositoryError::PrunedMeanwhile { pack: pack.to_string() });
                }
            }
        }
        // A number that others used and gave back has a higher one behind it.
        let listed = store.list_sorted(&format!("snapshots/{}/", self.lineage)).await?;
        let highest = listed.iter().filter_map(|o| parse_path(&o.path)).map(|(_, seq)| seq).max();
        Ok(!self.base.exclusive || highest.is_none_or(|highest| highest <= manifest.seq))
    }

    /// Whether every list that came since the lists were read is so young, by the store's time, that the manifest was there
    /// long before anything on it is deleted.
    async fn lists_are_young(&self, manifest: &Manifest, limit: Duration) -> Result<bool, RepositoryError> {
        let written = match self.shared.store.head(&manifest.path).await {
            Ok(object) => object.modified,
            Err(e) if e.is_not_found() => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let known = self.base.avoid.newest.max(FIRST);
        let mut expected = known;
        for list in self.shared.store.list_sorted("condemned/").await? {
            let Some(generation) = generation_of_path(&list.path).filter(|generation| *generation > known) else {
                continue;
            };
            expected = expected.saturating_add(1);
            let is_young = written.duration_since(list.modified).unwrap_or_default() < limit;
            // One that is missing was old enough to be removed.
            if generation != expected || !is_young {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
