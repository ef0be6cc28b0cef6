//! `check`: is everything there, and is it what was written?
//!
//! Three levels: (1) every object opens, every pack's footer accounts for it, and every blob of every snapshot is in a
//! pack the snapshot names; (2) the packs' bytes, each blob's id, each chunk's order and place; (3) the digest of each
//! snapshot's merged records. What is found is reported as it is found, never only the first, each with what it means
//! and what to do. The local cache is not used: it could hide what the store has lost.

mod data;
mod objects;

use std::sync::Arc;

use serde::Serialize;

use crate::error::RepositoryError;
use crate::ids::SnapshotId;
use crate::repository::Repository;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Notice,
    /// Data are lost or cannot be trusted.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object, by its path, or the blob, by kind and id.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What that means for the user.
    pub meaning: String,
    /// The command that mends it, or what to do.
    pub remedy: String,
    /// Snapshots that it harms.
    pub snapshots: Vec<SnapshotId>,
}

/// How much of the packs to read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// Footers only.
    #[default]
    None,
    /// Everything.
    All,
    /// Part `part` of `of`, from 1: over `of` checks everything is read once.
    Part {
        /// Which part.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// About this share of the packs, chosen by the seed.
    Percent {
        /// 0 to 100.
        percent: f64,
        /// What decides which.
        seed: u64,
    },
    /// Packs up to about this many bytes, chosen by the seed.
    Bytes {
        /// How many.
        bytes: u64,
        /// What decides which.
        seed: u64,
    },
}

/// What to check.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CheckOptions {
    /// How much of the packs to read.
    pub read_data: ReadData,
    /// Whether to merge every snapshot and compare its digest.
    pub digests: bool,
}

/// What is being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Footers of packs, and tables.
    Footers,
    /// Packs, in full.
    Packs,
    /// Digests of snapshots.
    Snapshots,
}

/// Told that so many of so many are done; an error ends the check.
pub type Step<'a> = &'a mut dyn FnMut(Stage, u64, u64) -> Result<(), RepositoryError>;

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CheckStats {
    /// Objects listed.
    pub objects: u64,
    /// Snapshots whose manifest could be read.
    pub snapshots: u64,
    /// Packs listed, and their bytes.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Packs that no snapshot names: what prune may take.
    pub unused_packs: u64,
    /// Bytes of those.
    pub unused_bytes: u64,
    /// Packs read in full.
    pub packs_read: u64,
    /// Blobs verified in them.
    pub blobs_read: u64,
    /// Snapshots whose digest was computed.
    pub digests: u64,
    /// Findings that are damage.
    pub damage: u64,
    /// Other findings.
    pub notices: u64,
}

/// Checks a repository. Fails only if the store cannot be used; damage is reported, not returned. Must not be called on
/// a thread of the runtime the repository was opened on.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<CheckStats, RepositoryError> {
    check_stepped(repository, options, report, &mut |_, _, _| Ok(()))
}

/// The same, telling how far it is.
pub fn check_stepped(
    repository: &Repository,
    options: &CheckOptions,
    report: &mut dyn FnMut(Finding),
    step: Step<'_>,
) -> Result<CheckStats, RepositoryError> {
    let shared = Arc::new(repository.shared.without_cache());
    let mut stats = CheckStats::default();
    let mut counts = (0_u64, 0_u64);
    let mut tell = |finding: Finding| {
        match finding.severity {
            Severity::Damage => counts.0 = counts.0.saturating_add(1),
            Severity::Notice => counts.1 = counts.1.saturating_add(1),
        }
        report(finding);
    };
    let inventory = objects::check_objects(&shared, options, &mut stats, &mut tell, step)?;
    data::check_packs(&shared, &inventory, &mut stats, &mut tell, step)?;
    if options.digests {
        data::check_digests(&shared, &inventory, &mut stats, &mut tell, step)?;
    }
    (stats.damage, stats.notices) = counts;
    Ok(stats)
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
