//! Reading a range of a stack in stretches, merged.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::blobs::BlobSource;
use crate::chunk::Chunk;
use crate::ids::BlobKind;
use crate::record::RecordRef;
use crate::table::{KeyRange, Leaf, TableError, read_chunk};

/// A range of a stack, divided where chunks of the base end.
#[derive(Debug)]
pub struct Scan {
    range: KeyRange,
    /// Chunks per table that overlap the range, the base first.
    leaves: Vec<Vec<Leaf>>,
    stretches: Vec<Stretch>,
    /// Chunks of runs that have only one, read once for all readers: most runs are such, and every stretch asks them.
    single: Vec<OnceLock<Arc<Chunk>>>,
}

/// Keys above `after` (from the beginning where `None`) up to and including `upto` (to the end where `None`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Exclusive lower bound.
    pub after: Option<Arc<[u8]>>,
    /// Inclusive upper bound.
    pub upto: Option<Arc<[u8]>>,
    /// The base's chunks in it, by position among the scan's.
    pub base: Range<usize>,
}

impl Stretch {
    /// Whether the key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.after.as_ref().is_none_or(|after| key > &**after) && self.upto.as_ref().is_none_or(|upto| key <= &**upto)
    }
}

impl Scan {
    pub(super) fn new(leaves: Vec<Vec<Leaf>>, range: KeyRange) -> Self {
        let base = leaves.first().map(Vec::as_slice).unwrap_or_default();
        let mut stretches: Vec<Stretch> = base
            .iter()
            .enumerate()
            .map(|(i, leaf)| Stretch {
                after: i.checked_sub(1).and_then(|before| base.get(before)).map(|before| Arc::clone(&before.last_key)),
                upto: Some(Arc::clone(&leaf.last_key)),
                base: i..i + 1,
            })
            .collect();
        match stretches.last_mut() {
            Some(last) => last.upto = None,
            None => stretches.push(Stretch { after: None, upto: None, base: 0..0 }),
        }
        let single = leaves.iter().map(|_| OnceLock::new()).collect();
        Self { range, leaves, stretches, single }
    }

    /// Its stretches, in key order; together they are the whole range.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The base's chunks, in key order.
    pub fn base_leaves(&self) -> &[Leaf] {
        self.leaves.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Positions of stretches in about `parts` parts of equal weight, each for one thread.
    pub fn parts(&self, parts: usize) -> Vec<Range<usize>> {
        let len = self.stretches.len();
        let size = len.div_ceil(parts.max(1)).max(1);
        (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
    }

    /// A reader for one thread; cheapest when its stretches are read in rising order.
    pub fn reader<'s, S: BlobSource + ?Sized>(&'s self, source: &'s S) -> StretchReader<'s, S> {
        let tables = self.leaves.iter().zip(&self.single).skip(1);
        let runs = tables.map(|(leaves, single)| RunCursor { leaves, single, chunk: None }).collect();
        StretchReader { scan: self, source, runs }
    }
}

/// Reads stretches of a scan, one after another.
pub struct StretchReader<'s, S: ?Sized> {
    scan: &'s Scan,
    source: &'s S,
    /// Oldest run first.
    runs: Vec<RunCursor<'s>>,
}

/// The chunk of a run that was read last: runs are read front to back.
struct RunCursor<'s> {
    leaves: &'s [Leaf],
    single: &'s OnceLock<Arc<Chunk>>,
    chunk: Option<(usize, Arc<Chunk>)>,
}

impl RunCursor<'_> {
    fn chunk<S: BlobSource + ?Sized>(&mut self, source: &S, i: usize) -> Result<Arc<Chunk>, TableError> {
        match (&self.chunk, self.leaves, self.single.get()) {
            (Some((at, chunk)), ..) if *at == i => Ok(Arc::clone(chunk)),
            (_, [_], Some(chunk)) => Ok(Arc::clone(chunk)),
            _ => {
                let chunk = Arc::new(read_chunk(source, &self.leaves[i])?);
                if let [_] = self.leaves {
                    let _ = self.single.set(Arc::clone(&chunk));
                }
                self.chunk = Some((i, Arc::clone(&chunk)));
                Ok(chunk)
            }
        }
    }
}

/// Entries of one chunk of one table that lie in the stretch.
struct Segment {
    chunk: Arc<Chunk>,
    at: usize,
    end: usize,
}

impl Segment {
    fn new(chunk: Arc<Chunk>, stretch: &Stretch, range: &KeyRange) -> Option<Self> {
        let after = stretch.after.as_ref().map_or(0, |after| match chunk.search(after) {
            Ok(i) => i + 1,
            Err(i) => i,
        });
        let start = chunk.search(&range.start).unwrap_or_else(|i| i).max(after);
        let upto = stretch.upto.as_ref().map_or(chunk.len(), |upto| match chunk.search(upto) {
            Ok(i) => i + 1,
            Err(i) => i,
        });
        let end = range.end.as_ref().map_or(chunk.len(), |end| chunk.search(end).unwrap_or_else(|i| i)).min(upto);
        (start < end).then_some(Self { chunk, at: start, end })
    }
}

impl<S: BlobSource + ?Sized> StretchReader<'_, S> {
    /// Says which base chunks these stretches will need.
    pub fn prefetch(&self, stretches: Range<usize>) {
        let leaves = self.scan.base_leaves();
        let wanted: Vec<_> = self
            .scan
            .stretches
            .get(stretches)
            .unwrap_or_default()
            .iter()
            .flat_map(|stretch| leaves.get(stretch.base.clone()).unwrap_or_default())
            .map(|leaf| (leaf.id, BlobKind::Leaf))
            .collect();
        self.source.prefetch(&wanted);
    }

    /// Whether some run has an entry in stretch `i`: where none has, the stretch is exactly its base chunk.
    pub fn has_run_entries(&mut self, i: usize) -> Result<bool, TableError> {
        Ok(!self.run_segments(i)?.is_empty())
    }

    /// Whether one of the runs from position `first` on (0 is the oldest) has an entry in stretch `i`.
    pub(super) fn has_entries_from(&mut self, first: usize, i: usize) -> Result<bool, TableError> {
        let stretch = &self.scan.stretches[i];
        for run in self.runs.iter_mut().skip(first) {
            if !Self::segments_of(run, self.source, stretch, &self.scan.range)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn segments_of(
        run: &mut RunCursor<'_>,
        source: &S,
        stretch: &Stretch,
        range: &KeyRange,
    ) -> Result<Vec<Segment>, TableError> {
        // The first chunk whose last key lies above the stretch's lower bound, and those after it that begin in it.
        let first =
            stretch.after.as_ref().map_or(0, |after| run.leaves.partition_point(|leaf| *leaf.last_key <= **after));
        let mut segments = Vec::new();
        for i in first..run.leaves.len() {
            let begins_beyond = match (&run.leaves[i].after, &stretch.upto) {
                (Some(after), Some(upto)) => after >= upto,
                _ => false,
            };
            if begins_beyond {
                break;
            }
            segments.extend(Segment::new(run.chunk(source, i)?, stretch, range));
        }
        Ok(segments)
    }

    /// Segments of all runs in a stretch, oldest run first: one list per run that has any.
    fn run_segments(&mut self, i: usize) -> Result<Vec<Vec<Segment>>, TableError> {
        let stretch = &self.scan.stretches[i];
        let mut all = Vec::new();
        for run in &mut self.runs {
            let segments = Self::segments_of(run, self.source, stretch, &self.scan.range)?;
            if !segments.is_empty() {
                all.push(segments);
            }
        }
        Ok(all)
    }

    /// Calls `visit` with every record of stretch `i`, merged, in key order.
    pub fn read(&mut self, i: usize, visit: &mut impl FnMut(&RecordRef<'_>)) -> Result<(), TableError> {
        self.read_entries(i, &mut |chunk, at| {
            if let Some(record) = &chunk.get(at) {
                visit(record);
            }
        })
    }

    /// As [`StretchReader::read`], with the chunk each entry lies in; tombstones included.
    pub(crate) fn read_entries(
        &mut self,
        i: usize,
        visit: &mut impl FnMut(&Arc<Chunk>, usize),
    ) -> Result<(), TableError> {
        let stretch = &self.scan.stretches[i];
        let mut base = Vec::new();
        for leaf in &self.scan.base_leaves()[stretch.base.clone()] {
            base.extend(Segment::new(Arc::new(read_chunk(self.source, leaf)?), stretch, &self.scan.range));
        }
        let mut inputs: Vec<Input> = Input::new(base).into_iter().collect();
        inputs.extend(self.run_segments(i)?.into_iter().filter_map(Input::new));
        merge(inputs, visit);
        Ok(())
    }
}

/// One table's entries in a merge.
pub(crate) struct Input {
    segments: std::vec::IntoIter<Segment>,
    current: Segment,
}

impl Input {
    fn new(segments: Vec<Segment>) -> Option<Self> {
        let mut segments = segments.into_iter();
        let current = segments.next()?;
        Some(Self { segments, current })
    }

    /// All entries of these chunks, in key order.
    pub(crate) fn whole(chunks: Vec<Arc<Chunk>>) -> Option<Self> {
        let segments = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        Self::new(segments.map(|chunk| Segment { at: 0, end: chunk.len(), chunk }).collect())
    }

    fn key(&self) -> &[u8] {
        self.current.chunk.key(self.current.at)
    }

    /// Goes to the next entry; false at the end.
    fn advance(&mut self) -> bool {
        self.current.at += 1;
        if self.current.at < self.current.end {
            return true;
        }
        match self.segments.next() {
            Some(segment) => {
                self.current = segment;
                true
            }
            None => false,
        }
    }
}

/// Merges inputs, oldest first: calls `visit` once per key with where its newest entry lies.
pub(crate) fn merge(mut inputs: Vec<Input>, visit: &mut impl FnMut(&Arc<Chunk>, usize)) {
    while inputs.len() > 1 {
        // The newest input among those with the smallest key. There are few inputs with entries in one stretch.
        let mut newest = inputs.len() - 1;
        for i in (0..newest).rev() {
            if inputs[i].key() < inputs[newest].key() {
                newest = i;
            }
        }
        let chunk = Arc::clone(&inputs[newest].current.chunk);
        let at = inputs[newest].current.at;
        visit(&chunk, at);
        let key = chunk.key(at);
        inputs.retain_mut(|input| input.key() != key || input.advance());
    }
    if let Some(mut only) = inputs.pop() {
        visit(&only.current.chunk, only.current.at);
        while only.advance() {
            visit(&only.current.chunk, only.current.at);
        }
    }
}
