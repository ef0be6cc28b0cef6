//! A loaded tree as sorted records, without a copy: what the repository reads from.

use repository::record::{MAX_INLINE_VALUE, lens_of};
use repository::{Record, RecordLens, RecordRef, SortedRecords};
use zk_format::file_snap::Session;
use zk_format::replay::MergedTree;
use zk_format::{NodeOutline, NodeRef, key};

use crate::convert::{children_range, is_quota_stats, record_ref, session_record};
use crate::filter::Filter;

/// Nodes in key order, then sessions.
#[derive(Debug)]
pub struct StateRecords<'a> {
    tree: &'a MergedTree,
    /// Places of the nodes that pass the filter; all of them where `None`.
    selected: Option<Vec<usize>>,
    sessions: Vec<Record>,
}

impl<'a> StateRecords<'a> {
    /// The records of a tree and its sessions. With a filter sessions are left out: they belong to no path.
    pub fn new(tree: &'a MergedTree, sessions: &[Session], filter: &Filter) -> Self {
        let selected = (!filter.is_empty()).then(|| {
            let wanted = |place: &usize| {
                let path = tree.node(*place).path;
                path.is_empty() || filter.selects(path) || filter.leads_to(path)
            };
            (0..tree.len()).filter(wanted).collect()
        });
        let mut records = Vec::new();
        if selected.is_none() {
            records.extend(sessions.iter().map(|session| session_record(session.id, session.timeout_ms)));
            records.sort_by(|a: &Record, b| a.key.cmp(&b.key));
        }
        Self { tree, selected, sessions: records }
    }

    /// How many of the records are nodes.
    pub fn nodes(&self) -> usize {
        self.selected.as_ref().map_or(self.tree.len(), Vec::len)
    }

    /// How many are sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes of the nodes as a server's file has them.
    pub fn node_bytes(&self) -> u64 {
        match &self.selected {
            None => self.tree.node_bytes(),
            Some(places) => places.iter().map(|place| self.tree.node(*place).file_bytes()).sum(),
        }
    }

    /// The children of a node.
    pub fn children(&self, path: &[u8]) -> impl Iterator<Item = NodeRef<'a>> + '_ {
        let range = children_range(path);
        let start = self.first_at(&range.start);
        let end = range.end.as_deref().map_or(self.nodes(), |end| self.first_at(end));
        (start..end).map(|place| self.node(place))
    }

    /// The node with this path.
    pub fn find(&self, path: &[u8]) -> Option<NodeRef<'a>> {
        let place = self.first_at(&key::encode(path));
        (place < self.nodes()).then(|| self.node(place)).filter(|node| node.path == path)
    }

    /// The first place whose key is not before this one.
    fn first_at(&self, wanted: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.nodes());
        let mut buffer = Vec::new();
        while low < high {
            let middle = low.midpoint(high);
            self.key_into(middle, &mut buffer);
            if buffer.as_slice() < wanted { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The node at this place.
    pub fn node(&self, place: usize) -> NodeRef<'a> {
        self.tree.node(self.selected.as_ref().map_or(place, |places| places[place]))
    }

    fn outline(&self, place: usize) -> NodeOutline<'a> {
        self.tree.outline(self.selected.as_ref().map_or(place, |places| places[place]))
    }

    fn session(&self, place: usize) -> &Record {
        &self.sessions[place - self.nodes()]
    }
}

impl SortedRecords for StateRecords<'_> {
    fn len(&self) -> usize {
        self.nodes() + self.sessions.len()
    }

    fn lens(&self, place: usize) -> RecordLens {
        self.measure(place, &mut Vec::new())
    }

    fn measure(&self, place: usize, key: &mut Vec<u8>) -> RecordLens {
        key.clear();
        if place >= self.nodes() {
            let record = self.session(place).as_ref();
            key.extend_from_slice(record.key);
            return lens_of(&record);
        }
        // Stats lie further on in a file, behind the data: not reading them saves a way to memory.
        let outline = self.outline(place);
        key::encode_into(outline.path, key);
        let inline_value = match outline.data_len {
            Some(len) if len <= MAX_INLINE_VALUE && !is_quota_stats(outline.path) => len,
            _ => 0,
        };
        RecordLens { key: key.len(), inline_value, acl: outline.acl.map_or(0, |acl| acl.0.len()) }
    }

    fn key_into(&self, place: usize, buffer: &mut Vec<u8>) {
        buffer.clear();
        if place >= self.nodes() {
            buffer.extend_from_slice(&self.session(place).key);
        } else {
            key::encode_into(self.node(place).path, buffer);
        }
    }

    fn record<'s>(&'s self, place: usize, buffer: &'s mut Vec<u8>) -> RecordRef<'s> {
        if place >= self.nodes() {
            return self.session(place).as_ref();
        }
        let node = self.node(place);
        buffer.clear();
        key::encode_into(node.path, buffer);
        record_ref(buffer, &node)
    }
}
