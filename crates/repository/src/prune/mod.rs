//! `prune`: giving back the space that no snapshot needs, while backups, restores and other prunes go on.
//!
//! ```text
//! survey   condemned lists, then packs, then manifests: what is named, what is not
//! sweep    packs on lists older than the grace period that nothing names are deleted; finished lists are removed
//! repack   needed blobs of packs that are mostly garbage are copied; a segment says which packs replace which
//! tidy     segments and catalogs are merged, tombstones and notes that mean nothing any more deleted
//! condemn  packs that nothing names and that are older than the grace period go on the next list
//! ```
//!
//! Nothing is deleted that was not on a list for a grace period, and writers never name what is on a list. So a crash
//! between any two requests leaves work for the next prune and nothing else: a repacked pack without a segment is garbage,
//! a segment or catalog beside those it supersedes says the same twice, a list without deletions is what every prune leaves.
//! A store that refuses to delete leaves prune pending.

mod condemn;
mod repack;
mod survey;
mod sweep;
mod tidy;

use std::sync::Arc;

use crate::config::Config;
use crate::error::RepositoryError;
use crate::repository::Repository;

pub(crate) use condemn::write_list;
pub(crate) use repack::upload;
use survey::Survey;

/// How to prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneOptions {
    /// Whether to change nothing and say what would be done.
    pub dry_run: bool,
    /// Another grace period than the repository's, seconds: a longer one, or 0 where nothing else uses the repository.
    pub grace_s: Option<u64>,
    /// Repack packs up to this many bytes together; 0 for none.
    pub max_repack: u64,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { dry_run: false, grace_s: None, max_repack: u64::MAX }
    }
}

/// A number of packs and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Packs.
    pub packs: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.packs = self.packs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What prune found and did; on a dry run, would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The grace period that was used, seconds.
    pub grace_s: u64,
    /// Snapshots found.
    pub snapshots: u64,
    /// Packs found.
    pub found: Amount,
    /// Packs that a snapshot needs.
    pub needed: Amount,
    /// Packs deleted.
    pub deleted: Amount,
    /// Packs put on a list by this run: the next one after the grace period deletes them.
    pub condemned: Amount,
    /// Packs that were on a list already, for less than the grace period.
    pub waiting: Amount,
    /// Packs that nothing names and that are too young to be condemned: a backup under way may be writing them.
    pub young: Amount,
    /// Packs on a list that became needed: they stay, and no new snapshot will name them.
    pub rescued: Amount,
    /// Packs whose needed blobs were copied.
    pub repacked: Amount,
    /// Packs written by that.
    pub rewritten: Amount,
    /// Segments, catalogs, lists, notes and tombstones deleted.
    pub other_deleted: u64,
    /// Index segments written.
    pub segments: u64,
    /// Catalogs written.
    pub catalogs: u64,
    /// Objects that the store refuses to delete: it keeps them for a time, or the credentials may not.
    pub refused: u64,
    /// What it said to the first of them.
    pub refusal: Option<String>,
}

impl Repository {
    /// Prunes once. Fails without having deleted anything if a manifest cannot be read or a pack that a snapshot needs is
    /// nowhere. Must not be called on a thread of the runtime the repository was opened on.
    pub fn prune(
        &self,
        options: &PruneOptions,
        step: &mut (dyn FnMut(&'static str) -> Result<(), RepositoryError> + Send),
    ) -> Result<Pruned, RepositoryError> {
        let shared = Arc::clone(&self.shared);
        let wait = shared.handle.clone();
        let began = shared.clock.moment();
        step("looking through the repository")?;
        let mut survey = wait.block_on(Survey::take(&shared, options))?;
        let mut done = survey.amounts();
        step("deleting what was condemned")?;
        let nodes = repack::NodeReader::new(&shared);
        let deletable = repack::superseded(&nodes, &survey)?;
        wait.block_on(sweep::delete_ripe(&shared, &mut survey, &deletable, options.dry_run, &mut done))?;
        step("repacking")?;
        let repacked = repack::repack(&nodes, &survey, options, began, &mut done)?;
        step("merging indexes")?;
        let superseded = wait.block_on(tidy::tidy(&shared, &mut survey, &repacked, options.dry_run, &mut done))?;
        step("condemning what nothing needs")?;
        let listed =
            wait.block_on(condemn::condemn(&shared, &mut survey, &repacked, superseded, options, &mut done))?;
        if survey.grace.is_zero() && listed && !options.dry_run {
            // Nothing else uses the repository: what was condemned can go at once.
            step("deleting what was condemned")?;
            let mut survey = wait.block_on(Survey::take(&shared, options))?;
            let deletable = repack::superseded(&nodes, &survey)?;
            wait.block_on(sweep::delete_ripe(&shared, &mut survey, &deletable, false, &mut done))?;
        }
        wait.block_on(sweep::remove_finished_lists(&shared, &survey, options.dry_run, &mut done))?;
        Ok(done)
    }
}

/// The grace period that holds: the repository's, a longer one until it ends, or what was asked for.
fn grace_s(config: &Config, now_ms: i64, asked: Option<u64>) -> Result<u64, RepositoryError> {
    let earlier = config.earlier_grace.filter(|(_, until)| now_ms < *until).map_or(0, |(grace, _)| grace);
    let least = config.grace_s.max(crate::config::MIN_GRACE_S).max(earlier);
    match asked {
        Some(0) => Ok(0),
        Some(asked_s) if asked_s < least => Err(RepositoryError::ShortGrace { asked_s, least_s: least }),
        asked => Ok(asked.unwrap_or(least)),
    }
}

#[cfg(test)]
mod tests;
