//! Transactions held back until there are some, so that the base is told of all their nodes at once: looking thousands of
//! nodes up one by one reads the same stretches of a repository again and again.

use super::{BaseStore, Doubt, IncrementError};
use crate::file_txn_log::Record;
use crate::txn::Txn;
use crate::types::Zxid;
use std::path::{Path, PathBuf};

/// Most transactions held.
const TRANSACTIONS: usize = 16_384;
/// Most bytes held.
const BYTES: usize = 8 << 20;

/// See the module's head.
#[derive(Default)]
pub(super) struct Held {
    records: Vec<HeldRecord>,
    payloads: Vec<u8>,
    /// The logs they are from.
    paths: Vec<PathBuf>,
}

struct HeldRecord {
    zxid: Zxid,
    payload_offset: u64,
    end: usize,
    path: usize,
}

impl Held {
    pub(super) fn push(&mut self, record: &Record<'_>, path: &Path) {
        if self.paths.last().is_none_or(|last| last != path) {
            self.paths.push(path.to_owned());
        }
        self.payloads.extend_from_slice(record.payload);
        self.records.push(HeldRecord {
            zxid: record.zxid,
            payload_offset: record.payload_offset(),
            end: self.payloads.len(),
            path: self.paths.len().saturating_sub(1),
        });
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= TRANSACTIONS || self.payloads.len() >= BYTES
    }

    /// Applies and forgets them, in order. The first that cannot be read ends it, after those before it.
    pub(super) fn apply<B: BaseStore + ?Sized>(
        &mut self,
        base: &B,
        apply: &mut impl FnMut(&Txn<'_>, Zxid) -> Result<(), IncrementError<B::Error>>,
    ) -> Result<(), IncrementError<B::Error>> {
        let mut txns = Vec::with_capacity(self.records.len());
        let mut unreadable = None;
        let mut start = 0;
        for record in &self.records {
            let payload = self.payloads.get(start..record.end).unwrap_or_default();
            start = record.end;
            match Txn::decode(payload, record.payload_offset) {
                Ok(txn) => txns.push((txn, record.zxid)),
                Err(error) => {
                    let path = self.paths.get(record.path).map(|path| path.display().to_string()).unwrap_or_default();
                    unreadable = Some(Doubt::Unreadable(format!("{path}: {error}")));
                    break;
                }
            }
        }
        let mut paths = Vec::new();
        for (txn, _) in &txns {
            txn.body.visit_paths(&mut |path| paths.push(path.to_vec()));
        }
        base.prepare(paths).map_err(IncrementError::Base)?;
        for (txn, zxid) in &txns {
            apply(txn, *zxid)?;
        }
        drop(txns);
        self.records.clear();
        self.payloads.clear();
        unreadable.map_or(Ok(()), |doubt| Err(doubt.into()))
    }
}
