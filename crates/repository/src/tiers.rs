//! When runs are merged, and when a new base is made: decided from the sizes of tables alone.
//!
//! A backup adds one run to tier 0. The sixteenth run of a tier does not stay: the tier's runs become one run of
//! the next, in the same backup, and if that makes sixteen there, they go up too. So a tier never keeps more than fifteen, a
//! record is rewritten once per tier, and a reader meets a few dozen tables at most.

use std::fmt;

use crate::stack::MAX_TABLES;
use crate::table::{TableKind, TableRoot};

/// Runs that make a tier full.
pub const RUNS_PER_TIER: usize = 16;

/// What a backup does with its changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackPlan {
    /// Add a run of tier 0.
    Append,
    /// Merge the tables from this position on with the changes, into one run.
    Merge {
        /// Position in the stack of the oldest table merged.
        from: usize,
        /// Tier of the run that comes of it.
        tier: u8,
    },
    /// Write a new base and keep no table.
    Rebase(RebaseReason),
}

/// Why a new base is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebaseReason {
    /// The stack has no base.
    FirstBackup,
    /// It was asked for.
    Requested,
    /// More than 30 % of the records changed.
    ManyChanges,
    /// The runs would weigh more than half the base.
    HeavyRuns,
    /// The stack would have too many tables.
    TallStack,
}

impl fmt::Display for RebaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstBackup => "there is no base yet",
            Self::Requested => "it was asked for",
            Self::ManyChanges => "more than 30 % of the records changed",
            Self::HeavyRuns => "the runs outweigh half the base",
            Self::TallStack => "the stack has too many tables",
        })
    }
}

impl fmt::Display for StackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append => f.write_str("add a run"),
            Self::Merge { from, tier } => write!(f, "merge the tables from {from} on into a run of tier {tier}"),
            Self::Rebase(reason) => write!(f, "write a new base: {reason}"),
        }
    }
}

/// The changes a backup is about to store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewChanges {
    /// Puts and tombstones.
    pub entries: u64,
    /// Plaintext bytes they will take, about: the sum of [`crate::cut::record_size`] will do.
    pub bytes: u64,
}

/// Decides from the parent's tables (the base first) and the new changes.
pub fn plan(tables: &[TableRoot], changes: NewChanges, requested: bool) -> StackPlan {
    let Some((base, runs)) = tables.split_first().filter(|(base, _)| base.kind == TableKind::Base) else {
        return StackPlan::Rebase(RebaseReason::FirstBackup);
    };
    if requested {
        return StackPlan::Rebase(RebaseReason::Requested);
    }
    if changes.entries.saturating_mul(10) > base.records.saturating_mul(3) {
        return StackPlan::Rebase(RebaseReason::ManyChanges);
    }
    let run_bytes = runs.iter().map(|run| run.chunk_bytes).fold(changes.bytes, u64::saturating_add);
    if run_bytes > base.chunk_bytes / 2 {
        return StackPlan::Rebase(RebaseReason::HeavyRuns);
    }
    let (mut from, mut tier) = (tables.len(), 0u8);
    loop {
        let before = tables.get(1..from).unwrap_or_default();
        let alike = before.iter().rev().take_while(|table| table.kind == TableKind::Run { tier }).count();
        if alike + 1 < RUNS_PER_TIER {
            break;
        }
        from -= alike;
        tier = tier.saturating_add(1);
    }
    match from {
        _ if from >= MAX_TABLES => StackPlan::Rebase(RebaseReason::TallStack),
        _ if from == tables.len() => StackPlan::Append,
        _ => StackPlan::Merge { from, tier },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: TableKind, records: u64, chunk_bytes: u64) -> TableRoot {
        TableRoot {
            kind,
            root: None,
            height: 0,
            zxid_low: 0,
            zxid_high: 0,
            records,
            tombstones: 0,
            chunks: 0,
            chunk_bytes,
            value_blobs: 0,
            value_bytes: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
            refs: Vec::new(),
        }
    }

    fn base() -> TableRoot {
        table(TableKind::Base, 1000, 100_000)
    }

    fn run(tier: u8) -> TableRoot {
        table(TableKind::Run { tier }, 1, 10)
    }

    const FEW: NewChanges = NewChanges { entries: 1, bytes: 10 };

    #[test]
    fn a_new_base_is_written_when_it_pays() {
        let rebase = StackPlan::Rebase;
        assert_eq!(plan(&[], FEW, false), rebase(RebaseReason::FirstBackup));
        assert_eq!(plan(&[base()], FEW, true), rebase(RebaseReason::Requested));
        assert_eq!(plan(&[base()], NewChanges { entries: 300, bytes: 0 }, false), StackPlan::Append);
        let many = NewChanges { entries: 301, bytes: 0 };
        assert_eq!(plan(&[base()], many, false), rebase(RebaseReason::ManyChanges));
        let heavy = table(TableKind::Run { tier: 0 }, 1, 40_000);
        assert_eq!(plan(&[base(), heavy.clone()], NewChanges { entries: 1, bytes: 10_000 }, false), StackPlan::Append);
        let more = NewChanges { entries: 1, bytes: 10_001 };
        assert_eq!(plan(&[base(), heavy], more, false), rebase(RebaseReason::HeavyRuns));
    }

    /// Thousands of backups: tiers behave as a counter in base sixteen, and the stack stays low.
    #[test]
    fn tiers_count_in_sixteens() {
        let mut tables = vec![table(TableKind::Base, 1 << 40, 1 << 50)];
        for backup in 1..=5000usize {
            match plan(&tables, FEW, false) {
                StackPlan::Append => tables.push(run(0)),
                StackPlan::Merge { from, tier } => {
                    tables.truncate(from);
                    tables.push(run(tier));
                }
                StackPlan::Rebase(reason) => panic!("backup {backup}: {reason}"),
            }
            let tier = |tier| tables.iter().filter(|table| table.kind == TableKind::Run { tier }).count();
            let digits = [backup % 16, backup / 16 % 16, backup / 256 % 16, backup / 4096];
            assert_eq!([tier(0), tier(1), tier(2), tier(3)], digits, "after {backup} backups");
        }
    }

    #[test]
    fn a_stack_never_grows_past_its_bound() {
        let mut tables = vec![table(TableKind::Base, 1 << 40, 1 << 50)];
        tables.extend((0..MAX_TABLES - 1).map(|i| run(u8::try_from(200 - i).unwrap())));
        assert_eq!(plan(&tables, FEW, false), StackPlan::Rebase(RebaseReason::TallStack));
        tables.pop();
        assert_eq!(plan(&tables, FEW, false), StackPlan::Append);
    }
}
