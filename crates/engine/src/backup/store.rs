//! A state that was compared becomes tables: a new base, or runs on top of the parent's.

use repository::advance::advance;
use repository::cut::record_size;
use repository::manifest::Manifest;
use repository::session::BackupSession;
use repository::stack::{RunRecords, Stack};
use repository::table::{TableKind, TableRoot, TableSpan, build_table};
use repository::tiers::{self, NewChanges, StackPlan};
use repository::{SortedRecords, StateDigest};

use super::BackupRequest;
use super::prepare::{Difference, Prepared, sound};
use super::whole::WholeRecords;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::Repo;

/// The tables of the new snapshot.
#[derive(Debug)]
pub struct Stored {
    /// Base first.
    pub tables: Vec<TableRoot>,
    /// Whether the base is new.
    pub rebase: bool,
    pub(super) digest: StateDigest,
}

impl Prepared {
    /// Writes the tables.
    pub fn store(
        &self,
        repo: &Repo,
        session: &BackupSession,
        request: &BackupRequest,
        monitor: &dyn Monitor,
    ) -> Result<Stored, EngineError> {
        monitor.begin(Phase::Encoding, Unit::Nodes, None);
        let stored = match &self.difference {
            Difference::Changes(changes) => {
                let changes = changes.as_slice();
                self.append(repo, session, plan(session, changes, request.full), changes)
            }
            Difference::Whole(whole) => {
                let records = whole.records();
                self.base(repo, session, &records)
            }
            Difference::Set { whole, set } => {
                let records = whole.records();
                let changes = RunRecords::new(&records, set);
                match plan(session, &changes, request.full) {
                    // Everything is at hand: no need to read the parent.
                    StackPlan::Rebase(_) => self.base(repo, session, &records),
                    plan => {
                        let appended = self.append(repo, session, plan, &changes);
                        sound(&records)?;
                        appended
                    }
                }
            }
        };
        monitor.end(Phase::Encoding);
        stored
    }

    /// A new base from records that are all at hand.
    fn base(&self, repo: &Repo, session: &BackupSession, records: &WholeRecords<'_>) -> Result<Stored, EngineError> {
        let span = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high: self.facts.zxid_high.0 };
        let built = build_table(records, repo.inner.identity(), &session.base_sink(), span);
        sound(records)?;
        let built = built?;
        let digest = built.digest.or(self.state_digest).unwrap_or_default();
        same_state(digest, self.state_digest.unwrap_or(digest))?;
        Ok(Stored { tables: vec![built.root], rebase: true, digest })
    }

    /// The parent's stack with the changes on top, merged as the plan says.
    fn append<R: SortedRecords + ?Sized>(
        &self,
        repo: &Repo,
        session: &BackupSession,
        plan: StackPlan,
        changes: &R,
    ) -> Result<Stored, EngineError> {
        let parent = parent_tables(session);
        let stack = Stack::new(parent.clone(), session.reader(), repo.inner.identity());
        let rebase = matches!(plan, StackPlan::Rebase(_));
        let zxid = self.facts.zxid_high.0;
        let advanced = if rebase {
            advance(&stack, changes, plan, &session.base_sink(), zxid)?
        } else {
            advance(&stack, changes, plan, session, zxid)?
        };
        if let (Some(built), Some(expected)) = (advanced.built.digest.filter(|_| rebase), self.state_digest) {
            same_state(built, expected)?;
        }
        Ok(Stored { tables: advanced.tables(&parent), rebase, digest: self.state_digest.unwrap_or_default() })
    }
}

/// The same state, added up in two ways.
fn same_state(built: StateDigest, expected: StateDigest) -> Result<(), EngineError> {
    if built == expected {
        return Ok(());
    }
    Err(EngineError::new(
        ErrorKind::Damage,
        format!(
            "the records add up to {built}, the parent snapshot and its changes to {expected}: nothing was stored; run \
             `zooark check --read-data`, and `zooark backup --full` if the parent is damaged"
        ),
    ))
}

/// What to do with the changes.
fn plan<R: SortedRecords + ?Sized>(session: &BackupSession, changes: &R, requested: bool) -> StackPlan {
    let bytes = (0..changes.len()).map(|place| record_size(changes.lens(place))).sum();
    tiers::plan(&parent_tables(session), NewChanges { entries: changes.len() as u64, bytes }, requested)
}

fn parent_tables(session: &BackupSession) -> Vec<TableRoot> {
    session.parent().map(Manifest::tables).unwrap_or_default()
}
