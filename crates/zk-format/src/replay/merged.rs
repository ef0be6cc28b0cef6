//! A snapshot file's tree with the touched nodes of a replay laid over it: one tree, in key order, without a copy.

use super::Touched;
use crate::key;
use crate::tree::FlatTree;
use crate::types::{Node, NodeOutline, NodeRef};
use std::ops::Range;

/// See the module's head. Access by place, so that threads can work on ranges of places.
#[derive(Debug)]
pub struct MergedTree {
    base: FlatTree,
    touched: Vec<Touched>,
    segments: Vec<Segment>,
    len: usize,
}

/// From place `start` on nodes come from `source`, one after the other.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: usize,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// The base's nodes from this place on.
    Base(usize),
    /// One touched node.
    Touched(usize),
}

impl MergedTree {
    /// Lays `touched`, in key order, over `base`.
    pub fn new(base: FlatTree, touched: Vec<Touched>) -> Self {
        let mut segments = Vec::with_capacity(touched.len().saturating_mul(2).saturating_add(1));
        let mut start = 0usize;
        let mut base_at = 0usize;
        for (index, change) in touched.iter().enumerate() {
            let found = lower_bound(&base, &change.path, base_at);
            if found > base_at {
                segments.push(Segment { start, source: Source::Base(base_at) });
                start = start.saturating_add(found.saturating_sub(base_at));
            }
            base_at = found;
            if base.len() > found && base.path(found) == &*change.path {
                base_at = found.saturating_add(1);
            }
            if change.new.is_some() {
                segments.push(Segment { start, source: Source::Touched(index) });
                start = start.saturating_add(1);
            }
        }
        if base.len() > base_at {
            segments.push(Segment { start, source: Source::Base(base_at) });
            start = start.saturating_add(base.len().saturating_sub(base_at));
        }
        Self { base, touched, segments, len: start }
    }

    /// How many nodes there are.
    #[expect(clippy::len_without_is_empty, reason = "the root cannot be deleted")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The file's tree underneath.
    pub const fn base(&self) -> &FlatTree {
        &self.base
    }

    /// What differs from the file, in key order.
    pub fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// The sum of [`NodeRef::file_bytes`] of all nodes.
    pub fn node_bytes(&self) -> u64 {
        let changes = self.touched.iter().map(|touched| {
            let old = self.base.find(&touched.path).map_or(0, |index| self.base.node(index).file_bytes());
            (old, touched_node(touched).map_or(0, |node| node.file_bytes()))
        });
        changes.fold(self.base.node_bytes(), |sum, (old, new)| sum.saturating_sub(old).saturating_add(new))
    }

    /// The node at this place in key order. The root is at 0.
    ///
    /// # Panics
    /// If `index` is not below [`MergedTree::len`].
    pub fn node(&self, index: usize) -> NodeRef<'_> {
        assert!(index < self.len, "place {index} of {}", self.len);
        self.node_in(self.segment_of(index), index)
    }

    /// What [`MergedTree::node`] gives, without reading data and stat.
    ///
    /// # Panics
    /// If `index` is not below [`MergedTree::len`].
    pub fn outline(&self, index: usize) -> NodeOutline<'_> {
        assert!(index < self.len, "place {index} of {}", self.len);
        let segment = self.segment_of(index);
        match self.segments.get(segment) {
            Some(&Segment { start, source: Source::Base(at) }) => {
                self.base.outline(at.saturating_add(index.saturating_sub(start)))
            }
            _ => self.node_in(segment, index).outline(),
        }
    }

    /// All nodes in key order.
    pub fn iter(&self) -> impl Iterator<Item = NodeRef<'_>> + Clone {
        self.range(0..self.len)
    }

    /// The nodes at these places, faster than one by one.
    pub fn range(&self, places: Range<usize>) -> impl Iterator<Item = NodeRef<'_>> + Clone {
        let mut segment = self.segment_of(places.start);
        (places.start..places.end.min(self.len)).map(move |index| {
            while self.segments.get(segment.saturating_add(1)).is_some_and(|next| next.start <= index) {
                segment = segment.saturating_add(1);
            }
            self.node_in(segment, index)
        })
    }

    /// The node at a path (`""` or `/` is the root).
    pub fn find(&self, path: &[u8]) -> Option<NodeRef<'_>> {
        let path = if path == b"/" { b"" } else { path };
        match self.touched.binary_search_by(|change| key::compare(&change.path, path)) {
            Ok(index) => self.touched.get(index).and_then(touched_node),
            Err(_) => self.base.find(path).map(|index| self.base.node(index)),
        }
    }

    fn segment_of(&self, index: usize) -> usize {
        self.segments.partition_point(|segment| segment.start <= index).saturating_sub(1)
    }

    fn node_in(&self, segment: usize, index: usize) -> NodeRef<'_> {
        let segment = self.segments.get(segment).expect("every place has a segment");
        match segment.source {
            Source::Base(at) => self.base.node(at.saturating_add(index.saturating_sub(segment.start))),
            Source::Touched(at) => {
                self.touched.get(at).and_then(touched_node).expect("segments name nodes that are there")
            }
        }
    }
}

fn touched_node(touched: &Touched) -> Option<NodeRef<'_>> {
    let Node { data, acl, stat } = touched.new.as_ref()?;
    Some(NodeRef { path: &touched.path, data: data.as_deref(), acl: acl.as_ref(), stat: *stat })
}

/// The first place at or after `from` whose path is not before `path`.
fn lower_bound(base: &FlatTree, path: &[u8], from: usize) -> usize {
    let (mut low, mut high) = (from, base.len());
    while low < high {
        let middle = low.midpoint(high);
        if key::compare(base.path(middle), path).is_lt() {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    low
}
