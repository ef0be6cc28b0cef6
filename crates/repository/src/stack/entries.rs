//! Entries of chunks, gathered in key order: what a merge makes, before it becomes a table again. The chunks are shared,
//! nothing is copied.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::chunk::Chunk;
use crate::record::{RecordLens, RecordRef, SortedRecords};

/// Entries by position, each in its chunk.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<(Arc<Chunk>, u32)>);

impl Entries {
    pub(crate) fn push(&mut self, chunk: &Arc<Chunk>, at: usize) {
        // A chunk has far fewer entries than 2^32: it is at most 16 MiB.
        self.0.push((Arc::clone(chunk), u32::try_from(at).unwrap_or(u32::MAX)));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn discard(&mut self, range: Range<usize>) {
        self.0.drain(range);
    }
}

impl SortedRecords for Entries {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn lens(&self, i: usize) -> RecordLens {
        let (chunk, at) = &self.0[i];
        chunk.lens(*at as usize)
    }

    fn key_into(&self, i: usize, key: &mut Vec<u8>) {
        let (chunk, at) = &self.0[i];
        chunk.key_into(*at as usize, key);
    }

    fn record<'a>(&'a self, i: usize, key: &'a mut Vec<u8>) -> RecordRef<'a> {
        let (chunk, at) = &self.0[i];
        chunk.record(*at as usize, key)
    }

    fn is_tombstone(&self, i: usize) -> bool {
        let (chunk, at) = &self.0[i];
        SortedRecords::is_tombstone(&**chunk, *at as usize)
    }

    fn compare_key(&self, i: usize, key: &[u8], _: &mut Vec<u8>) -> Ordering {
        let (chunk, at) = &self.0[i];
        chunk.key(*at as usize).cmp(key)
    }
}
