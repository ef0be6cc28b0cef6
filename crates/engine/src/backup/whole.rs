//! A whole state, in memory where it comes from files and on the disk where it comes from a live ensemble.

use std::collections::BTreeSet;
use std::io;

use repository::manifest::Gap;
use repository::{RecordLens, RecordRef, SortedRecords};
use zk_format::AclList;
use zk_format::load::Loaded;

use crate::filter::Filter;
use crate::identity::Identity;
use crate::live::Scanned;
use crate::state::StateRecords;

/// See the module's head.
#[derive(Debug)]
pub enum Whole {
    /// What a data directory holds, or a file that a server hands out.
    Files {
        /// The state.
        loaded: Box<Loaded>,
        /// Which nodes of it.
        filter: Filter,
        /// The version of the server that handed it out, where one did.
        version: Option<String>,
    },
    /// What a scan found.
    Scanned(Scanned),
}

impl Whole {
    /// The wanted nodes and the sessions as records.
    pub fn records(&self) -> WholeRecords<'_> {
        match self {
            Self::Files { loaded, filter, .. } => {
                WholeRecords::Files(StateRecords::new(&loaded.tree, &loaded.sessions, filter))
            }
            Self::Scanned(scanned) => WholeRecords::Scanned(scanned),
        }
    }

    /// How many nodes it has, wanted or not.
    pub fn nodes(&self) -> u64 {
        match self {
            Self::Files { loaded, .. } => loaded.tree.len() as u64,
            Self::Scanned(scanned) => scanned.records.len() as u64,
        }
    }

    /// What could not be read.
    pub fn gaps(&self) -> Vec<Gap> {
        match self {
            Self::Files { loaded, .. } => {
                let gap = |path: &Vec<u8>| Gap { path: path.clone(), reason: "its ACL is not in the files".to_owned() };
                loaded.unresolved_acls.iter().map(gap).collect()
            }
            Self::Scanned(scanned) => scanned.gaps.clone(),
        }
    }

    /// The ACL lists of its nodes.
    pub fn lists(&self) -> BTreeSet<AclList> {
        match self {
            Self::Files { loaded, .. } => {
                let touched = loaded.tree.touched().iter().filter_map(|touched| touched.new.as_ref()?.acl.clone());
                loaded.tree.base().acls().iter().cloned().chain(touched).collect()
            }
            Self::Scanned(scanned) => scanned.lists.clone(),
        }
    }

    /// The creating transaction of the node with this path.
    pub fn czxid(&self, path: &[u8]) -> Option<i64> {
        match self {
            Self::Files { loaded, .. } => Some(loaded.tree.find(path)?.stat.czxid.0),
            Self::Scanned(scanned) => scanned.records.czxid(path),
        }
    }
}

/// The records of a state.
#[derive(Debug)]
pub enum WholeRecords<'a> {
    /// From memory.
    Files(StateRecords<'a>),
    /// From the disk.
    Scanned(&'a Scanned),
}

impl WholeRecords<'_> {
    /// How many of the records are nodes.
    pub fn nodes(&self) -> u64 {
        match self {
            Self::Files(records) => records.nodes() as u64,
            Self::Scanned(scanned) => scanned.records.len() as u64,
        }
    }

    /// How many are sessions.
    pub fn sessions(&self) -> u64 {
        match self {
            Self::Files(records) => records.sessions() as u64,
            Self::Scanned(_) => 0,
        }
    }

    /// Bytes of the nodes as a server's file has them.
    pub fn node_bytes(&self) -> u64 {
        match self {
            Self::Files(records) => records.node_bytes(),
            Self::Scanned(scanned) => scanned.node_bytes,
        }
    }

    /// Signs of the ensemble that it is.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Files(records) => Identity::of_records(records),
            Self::Scanned(scanned) => scanned.identity.clone(),
        }
    }

    /// Whether all records that were asked for could be read. Nothing made of them counts otherwise.
    pub fn sound(&self) -> io::Result<()> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Scanned(scanned) => scanned.records.sound(),
        }
    }
}

impl SortedRecords for WholeRecords<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Files(records) => records.len(),
            Self::Scanned(scanned) => scanned.records.len(),
        }
    }

    fn lens(&self, place: usize) -> RecordLens {
        match self {
            Self::Files(records) => records.lens(place),
            Self::Scanned(scanned) => scanned.records.lens(place),
        }
    }

    fn measure(&self, place: usize, key: &mut Vec<u8>) -> RecordLens {
        match self {
            Self::Files(records) => records.measure(place, key),
            Self::Scanned(scanned) => scanned.records.measure(place, key),
        }
    }

    fn key_into(&self, place: usize, key: &mut Vec<u8>) {
        match self {
            Self::Files(records) => records.key_into(place, key),
            Self::Scanned(scanned) => scanned.records.key_into(place, key),
        }
    }

    fn record<'s>(&'s self, place: usize, buffer: &'s mut Vec<u8>) -> RecordRef<'s> {
        match self {
            Self::Files(records) => records.record(place, buffer),
            Self::Scanned(scanned) => scanned.records.record(place, buffer),
        }
    }
}
