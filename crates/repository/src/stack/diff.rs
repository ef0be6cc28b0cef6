//! What differs between two snapshots, reading only where they can differ.

use std::cmp::Ordering;
use std::collections::HashSet;

use rayon::prelude::*;

use super::Stack;
use crate::blobs::BlobSource;
use crate::record::{Record, RecordRef};
use crate::table::{KeyRange, TableError};

/// A key whose records differ: before and after.
type Difference = (Option<Record>, Option<Record>);

/// Calls `visit` with every record of the range that differs between two states of one repository (before, after), in key
/// order. Where both stacks lead to the same chunks and the same runs, nothing is read.
pub fn diff<A: BlobSource, B: BlobSource>(
    before: &Stack<'_, A>,
    after: &Stack<'_, B>,
    range: &KeyRange,
    mut visit: impl FnMut(Option<RecordRef<'_>>, Option<RecordRef<'_>>),
) -> Result<(), TableError> {
    let common =
        before.tables().iter().zip(after.tables()).take_while(|(a, b)| a.root == b.root && a.kind == b.kind).count();
    if common == before.tables().len() && common == after.tables().len() {
        return Ok(());
    }
    let scans = (before.scan(range)?, after.scan(range)?);
    // Both are divided where both have the end of a chunk.
    let ends: HashSet<&[u8]> = scans.1.base_leaves().iter().map(|leaf| &*leaf.last_key).collect();
    let blocks = pair_blocks(&scans.0, &scans.1, &ends);
    let first_run = common.saturating_sub(1);
    for batch in blocks.chunks(256) {
        let found: Vec<Vec<Difference>> = batch
            .par_iter()
            .map(|block| block.compare(&scans, (before.source(), after.source()), first_run))
            .collect::<Result<_, _>>()?;
        for (old, new) in found.into_iter().flatten() {
            visit(old.as_ref().map(Record::as_ref), new.as_ref().map(Record::as_ref));
        }
    }
    Ok(())
}

/// Stretches of one scan and of the other that cover the same keys.
struct Block {
    before: std::ops::Range<usize>,
    after: std::ops::Range<usize>,
}

fn pair_blocks(before: &super::Scan, after: &super::Scan, ends: &HashSet<&[u8]>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut a, mut b) = (0, 0);
    for (i, stretch) in before.stretches().iter().enumerate() {
        let Some(upto) = stretch.upto.as_ref().filter(|upto| ends.contains(&***upto)) else { continue };
        // The same key ends a stretch of the other, unless that is its last, which has no end.
        let others = after.stretches().get(b..).unwrap_or_default();
        let Some(j) = others.iter().position(|other| other.upto.as_ref() == Some(upto)) else { continue };
        blocks.push(Block { before: a..i + 1, after: b..b + j + 1 });
        (a, b) = (i + 1, b + j + 1);
    }
    blocks.push(Block { before: a..before.stretches().len(), after: b..after.stretches().len() });
    blocks
}

impl Block {
    fn compare<A: BlobSource, B: BlobSource>(
        &self,
        scans: &(super::Scan, super::Scan),
        sources: (&A, &B),
        first_run: usize,
    ) -> Result<Vec<Difference>, TableError> {
        let mut before = scans.0.reader(sources.0);
        let mut after = scans.1.reader(sources.1);
        let ids = |scan: &super::Scan, range: &std::ops::Range<usize>| -> Vec<_> {
            let leaves = scan.base_leaves();
            scan.stretches()[range.clone()].iter().flat_map(|s| &leaves[s.base.clone()]).map(|leaf| leaf.id).collect()
        };
        let mut differ = ids(&scans.0, &self.before) != ids(&scans.1, &self.after);
        for i in self.before.clone() {
            differ = differ || before.has_entries_from(first_run, i)?;
        }
        for i in self.after.clone() {
            differ = differ || after.has_entries_from(first_run, i)?;
        }
        if !differ {
            return Ok(Vec::new());
        }
        let mut old = Vec::new();
        for i in self.before.clone() {
            before.read(i, &mut |record| old.push(record.to_owned()))?;
        }
        let mut differences = Vec::new();
        let mut old = old.into_iter().peekable();
        for i in self.after.clone() {
            after.read(i, &mut |record| {
                while let Some(gone) = old.next_if(|old| *old.key < *record.key) {
                    differences.push((Some(gone), None));
                }
                match old.next_if(|old| old.key.as_ref().cmp(record.key) == Ordering::Equal) {
                    Some(same) if same.as_ref() == *record => {}
                    other => differences.push((other, Some(record.to_owned()))),
                }
            })?;
        }
        differences.extend(old.map(|gone| (Some(gone), None)));
        Ok(differences)
    }
}
