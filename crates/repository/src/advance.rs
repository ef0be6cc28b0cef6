//! From a parent's stack and new changes to the next stack: carries out a [`StackPlan`].

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use crate::blobs::{BlobSink, BlobSource, Layered, MemoryBlobs};
use crate::chunk::Chunk;
use crate::cut::{CHUNK_RULE, record_cuts, record_size, split_records};
use crate::ids::{BlobId, BlobKind, IdentityKeys};
use crate::record::{RecordLens, RecordRef, SortedRecords, ValueRef};
use crate::stack::{Entries, Input, Scan, Stack, merge};
use crate::table::{
    BuiltTable, KeyRange, TableBuilder, TableError, TableKind, TableRoot, TableSpan, build_table, read_chunk,
    read_leaves,
};
use crate::tiers::StackPlan;

/// The next stack: the parent's first tables, then one that was written.
#[derive(Clone, Debug)]
pub struct Advanced {
    /// How many of the parent's tables stay, counted from the base.
    pub kept: usize,
    /// The new table.
    pub built: BuiltTable,
}

impl Advanced {
    /// The tables of the next stack.
    pub fn tables(&self, parent: &[TableRoot]) -> Vec<TableRoot> {
        parent.iter().take(self.kept).chain(std::iter::once(&self.built.root)).cloned().collect()
    }
}

/// Stores changes to the stack's state as the plan says. `zxid_high` is that of the new state.
///
/// For a rebase of a state that is at hand as a whole, [`build_table`] does the same without reading the parent.
pub fn advance<S, R, K>(
    stack: &Stack<'_, S>,
    changes: &R,
    plan: StackPlan,
    sink: &K,
    zxid_high: i64,
) -> Result<Advanced, TableError>
where
    S: BlobSource,
    R: SortedRecords + ?Sized,
    K: BlobSink + ?Sized,
{
    let keys = stack.keys();
    let tables = stack.tables();
    let zxid_low = tables.last().map_or(0, |table| table.zxid_high);
    let run = TableSpan { kind: TableKind::Run { tier: 0 }, zxid_low, zxid_high };
    if plan == StackPlan::Append {
        return Ok(Advanced { kept: tables.len(), built: build_table(changes, keys, sink, run)? });
    }
    // The changes become a run in memory, so that they are merged like any other.
    let memory = MemoryBlobs::new();
    let fresh = build_table(changes, keys, &memory, run)?.root;
    forward_values(&memory, sink)?;
    let all: Vec<TableRoot> = tables.iter().map(|table| (**table).clone()).chain(std::iter::once(fresh)).collect();
    let source = Layered { first: &memory, then: stack.source() };
    match plan {
        StackPlan::Merge { from, tier } => {
            let merged = merge_runs(&source, all.get(from..).unwrap_or_default())?;
            let zxid_low = all.get(from).map_or(zxid_low, |oldest| oldest.zxid_low);
            let span = TableSpan { kind: TableKind::Run { tier }, zxid_low, zxid_high };
            Ok(Advanced { kept: from, built: build_table(&merged, keys, sink, span)? })
        }
        StackPlan::Append | StackPlan::Rebase(_) => {
            let whole = Stack::new(all, source, keys);
            Ok(Advanced { kept: 0, built: rebase(&whole, sink, zxid_high)? })
        }
    }
}

/// Large values of changes go to the sink whatever becomes of their run.
fn forward_values<K: BlobSink + ?Sized>(memory: &MemoryBlobs, sink: &K) -> Result<(), TableError> {
    let mut result = Ok(());
    memory.for_each(|blob| {
        if blob.kind == BlobKind::Value && result.is_ok() {
            result = sink.put(blob);
        }
    });
    Ok(result?)
}

/// The entries of several runs, oldest first, as one: newest wins, tombstones stay.
fn merge_runs<S: BlobSource>(source: &S, runs: &[TableRoot]) -> Result<Entries, TableError> {
    let chunks: Vec<Vec<Arc<Chunk>>> = runs
        .par_iter()
        .map(|run| {
            let leaves = read_leaves(source, run, &KeyRange::all(), &mut |_| {})?;
            leaves.iter().map(|leaf| Ok(Arc::new(read_chunk(source, leaf)?))).collect()
        })
        .collect::<Result<_, TableError>>()?;
    let inputs = chunks.into_iter().filter_map(Input::whole).collect();
    let mut entries = Entries::default();
    merge(inputs, &mut |chunk, at| entries.push(chunk, at));
    Ok(entries)
}

/// Stretches merged in one go: about 16 MiB, so that a base of any size is rewritten in little memory.
const BATCH: usize = 256;

/// Writes the state of a stack as one base, cut by the rule: chunks that nothing changed come out as they were.
pub fn rebase<S: BlobSource, K: BlobSink + ?Sized>(
    stack: &Stack<'_, S>,
    sink: &K,
    zxid_high: i64,
) -> Result<BuiltTable, TableError> {
    recut(stack, stack.keys(), sink, zxid_high, BATCH, &mut |builder, entries, ready| builder.append(entries, ready))
}

/// Stretches decoded in one go where the large values among them are at hand as well.
const RECUT_BATCH: usize = 32;

/// Writes a base again with the keys of another repository. `seen` is told what large values are called in each.
pub(crate) fn recut_base<S: BlobSource, K: BlobSink + ?Sized>(
    stack: &Stack<'_, S>,
    keys: &IdentityKeys,
    sink: &K,
    zxid_high: i64,
    seen: &mut dyn FnMut(BlobId, BlobId),
) -> Result<BuiltTable, TableError> {
    recut(stack, keys, sink, zxid_high, RECUT_BATCH, &mut |builder, entries, ready| {
        let resolved = Resolved::new(entries, ready.iter().cloned().flatten(), stack.source(), keys, seen)?;
        builder.append(&resolved, ready)
    })
}

/// Writes a run again with the keys of another repository.
pub(crate) fn recut_run<S: BlobSource, K: BlobSink + ?Sized>(
    source: &S,
    run: &TableRoot,
    keys: &IdentityKeys,
    sink: &K,
    span: TableSpan,
    seen: &mut dyn FnMut(BlobId, BlobId),
) -> Result<BuiltTable, TableError> {
    let entries = merge_runs(source, std::slice::from_ref(run))?;
    let resolved = Resolved::new(&entries, 0..entries.len(), source, keys, seen)?;
    build_table(&resolved, keys, sink, span)
}

/// Entries with their large values as bytes, so that these get the ids of another repository.
struct Resolved<'e> {
    entries: &'e Entries,
    large: HashMap<usize, Bytes>,
}

impl<'e> Resolved<'e> {
    fn new<S: BlobSource>(
        entries: &'e Entries,
        positions: impl Iterator<Item = usize>,
        source: &S,
        keys: &IdentityKeys,
        seen: &mut dyn FnMut(BlobId, BlobId),
    ) -> Result<Self, TableError> {
        let mut key = Vec::new();
        let mut wanted = Vec::new();
        for i in positions.filter(|i| !entries.is_tombstone(*i)) {
            if let ValueRef::Blob { id, .. } = entries.record(i, &mut key).value {
                wanted.push((i, id));
            }
        }
        source.prefetch(&wanted.iter().map(|(_, id)| (*id, BlobKind::Value)).collect::<Vec<_>>());
        let mut large = HashMap::with_capacity(wanted.len());
        for (i, id) in wanted {
            let bytes = source.get(&id, BlobKind::Value)?;
            seen(id, keys.blob_id(BlobKind::Value, &bytes));
            large.insert(i, bytes);
        }
        Ok(Self { entries, large })
    }
}

impl SortedRecords for Resolved<'_> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn lens(&self, i: usize) -> RecordLens {
        self.entries.lens(i)
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        self.entries.key_into(i, key);
    }

    fn record<'a>(&'a self, i: usize, key: &'a mut Vec<u8>) -> RecordRef<'a> {
        let record = self.entries.record(i, key);
        match self.large.get(&i) {
            Some(bytes) => RecordRef { value: ValueRef::Bytes(bytes), ..record },
            None => record,
        }
    }

    fn is_tombstone(&self, i: usize) -> bool {
        self.entries.is_tombstone(i)
    }
}

type Append<'f, 'b, K> =
    &'f mut dyn FnMut(&mut TableBuilder<'b, K>, &Entries, Vec<std::ops::Range<usize>>) -> Result<(), TableError>;

fn recut<'b, S: BlobSource, K: BlobSink + ?Sized>(
    stack: &Stack<'_, S>,
    keys: &'b IdentityKeys,
    sink: &'b K,
    zxid_high: i64,
    batch: usize,
    append: Append<'_, 'b, K>,
) -> Result<BuiltTable, TableError> {
    let scan = stack.scan(&KeyRange::all())?;
    let base = TableSpan { kind: TableKind::Base, zxid_low: 0, zxid_high };
    let mut builder = TableBuilder::new(keys, sink, base);
    let mut window = CutWindow { entries: Entries::default(), open: 0 };
    let mut first_key = None;
    let stretches = scan.stretches().len();
    for start in (0..stretches).step_by(batch) {
        let end = start.saturating_add(batch).min(stretches);
        read_batch(&scan, stack.source(), start..end)?.into_iter().for_each(|part| window.entries.append(part));
        if first_key.is_none() && window.entries.len() > 0 {
            let mut key = Vec::new();
            window.entries.key_into(0, &mut key);
            first_key = Some(key);
        }
        let ready = window.ready(keys, end == stretches);
        append(&mut builder, &window.entries, ready)?;
        window.forget();
    }
    builder.finish(first_key.unwrap_or_default())
}

/// Merged records of some stretches, tombstones left out.
fn read_batch<S: BlobSource>(
    scan: &Scan,
    source: &S,
    batch: std::ops::Range<usize>,
) -> Result<Vec<Entries>, TableError> {
    let step = batch.len().div_ceil(rayon::current_num_threads().saturating_mul(4)).max(1);
    let pieces: Vec<_> =
        batch.clone().step_by(step).map(|start| start..start.saturating_add(step).min(batch.end)).collect();
    pieces
        .into_par_iter()
        .map(|piece| {
            let mut reader = scan.reader(source);
            reader.prefetch(piece.clone());
            let mut entries = Entries::default();
            for i in piece {
                reader.read_entries(i, &mut |chunk, at| {
                    if !SortedRecords::is_tombstone(&**chunk, at) {
                        entries.push(chunk, at);
                    }
                })?;
            }
            Ok(entries)
        })
        .collect()
}

/// Records of which the boundaries are being found, with those before them that the rule looks at.
struct CutWindow {
    entries: Entries,
    /// Where the first segment begins that is not written yet.
    open: usize,
}

impl CutWindow {
    /// Segments whose both ends are certain: nothing that may still come can change them.
    fn ready(&mut self, keys: &IdentityKeys, complete: bool) -> Vec<std::ops::Range<usize>> {
        let len = self.entries.len();
        let mut certain = len;
        if !complete {
            // A boundary is certain once records beyond its window are known.
            let mut ahead = 0u64;
            while certain > self.open && ahead <= CHUNK_RULE.window {
                certain -= 1;
                ahead = ahead.saturating_add(record_size(self.entries.lens(certain)));
            }
        }
        let cuts = record_cuts(&self.entries, keys, self.open..certain);
        let mut ready = Vec::new();
        for end in cuts.into_iter().filter(|cut| *cut > self.open).chain(complete.then_some(len)).collect::<Vec<_>>() {
            if end > self.open {
                ready.extend(split_records(&self.entries, keys, self.open..end));
                self.open = end;
            }
        }
        ready
    }

    /// Drops what no later boundary depends on.
    fn forget(&mut self) {
        let (mut keep, mut behind) = (self.open, 0u64);
        while keep > 0 && behind <= CHUNK_RULE.window {
            keep -= 1;
            behind = behind.saturating_add(record_size(self.entries.lens(keep)));
        }
        self.entries.discard(0..keep);
        self.open -= keep;
    }
}
