//! One piece of a tree on its way into a file: read, hashed, judged and encoded by one thread, for the one that writes.

use repository::{DigestSum, RecordFlags, StateDigest};
use zk_format::file_snap_writer::{Part, PartMaker};
use zk_format::{AclList, NodeRef, key};

use super::DatadirRequest;
use super::keep::{Fate, Keeper, not_whole, restored_data};
use super::write::write_error;
use crate::convert::zk_stat;
use crate::error::EngineError;
use crate::tree::PieceReader;

/// See the module's head.
#[derive(Debug)]
pub struct Piece {
    /// The nodes to write.
    pub part: Part,
    /// Sum over all records that were read, sessions and nodes left out included.
    pub digest: StateDigest,
    /// What became of the nodes.
    pub kept: Keeper,
}

impl Piece {
    /// Reads a piece and encodes what is to be restored of it.
    pub fn read(piece: &PieceReader<'_, '_>, request: &DatadirRequest, parts: &PartMaker) -> Result<Self, EngineError> {
        let tree = piece.tree();
        let mut sum = DigestSum::new(tree.stack().keys());
        let mut kept = Keeper::default();
        let mut part = parts.part();
        let mut paths = key::Decoder::default();
        let mut acls = Lists::default();
        piece.read(&mut |record| {
            sum.add(record);
            if repository::record::session_of(record.key).is_some() {
                return Ok(());
            }
            let path = paths.decode(record.key).ok_or_else(|| tree.unknown_record())?;
            let stat = zk_stat(&record.stat);
            if kept.fate(request, path, stat.kind()) != Fate::Keep {
                return Ok(());
            }
            let missing = [RecordFlags::ACL_UNKNOWN, RecordFlags::ACL_MASKED, RecordFlags::VALUE_UNREADABLE];
            if missing.iter().any(|flag| record.flags.contains(*flag)) {
                return Err(not_whole(path, record.flags));
            }
            let stored = tree.value(record.value)?;
            let data = restored_data(path).or(stored.as_deref());
            let acl = Some(acls.get(record.acl));
            part.node(&NodeRef { path, data, acl, stat }).map_err(write_error)
        })?;
        Ok(Self { part: part.finish(), digest: sum.take(), kept })
    }
}

/// The ACL lists of a piece; most often it is the one used last.
#[derive(Default)]
struct Lists {
    lists: Vec<AclList>,
    last: usize,
}

impl Lists {
    fn get(&mut self, bytes: &[u8]) -> &AclList {
        if self.lists.get(self.last).is_none_or(|last| *last.0 != *bytes) {
            self.last = self.lists.iter().position(|list| *list.0 == *bytes).unwrap_or_else(|| {
                self.lists.push(AclList(bytes.into()));
                self.lists.len() - 1
            });
        }
        &self.lists[self.last]
    }
}
