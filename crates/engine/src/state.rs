//! A loaded tree as sorted records, without a copy: what the repository reads from.

use repository::record::lens_of;
use repository::{Record, RecordLens, RecordRef, SortedRecords};
use zk_format::file_snap::Session;
use zk_format::replay::MergedTree;
use zk_format::{NodeRef, key};

use crate::convert::{record_ref, session_record};
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

    /// The node at this place.
    pub fn node(&self, place: usize) -> NodeRef<'a> {
        self.tree.node(self.selected.as_ref().map_or(place, |places| places[place]))
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
        if place >= self.nodes() {
            return lens_of(&self.session(place).as_ref());
        }
        // Only the key's length is made up: it differs from the path's for the children of the root alone.
        let node = self.node(place);
        let lens = lens_of(&record_ref(&[], &node));
        let first_level = node.path.iter().rposition(|byte| *byte == b'/') == Some(0);
        RecordLens { key: node.path.len() + usize::from(first_level), ..lens }
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
