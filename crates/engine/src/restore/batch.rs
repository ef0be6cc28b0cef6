//! The nodes of one piece of a tree on their way from the thread that decodes to the one that writes: two
//! allocations for thousands of nodes, not three for each.

use repository::{RecordFlags, RecordHasher, StateDigest};
use zk_format::{AclList, NodeRef, Stat, key};

use crate::convert::zk_stat;
use crate::error::{EngineError, ErrorKind};
use crate::tree::PieceReader;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Batch {
    rows: Vec<Row>,
    /// Path and data of each row, one after the other.
    bytes: Vec<u8>,
    acls: Vec<AclList>,
    digest: StateDigest,
}

#[derive(Debug)]
struct Row {
    path_len: usize,
    data_len: Option<usize>,
    acl: Option<usize>,
    stat: Stat,
}

impl Batch {
    /// Reads a piece. Sessions count for the digest and are not among the nodes.
    pub fn read(piece: &PieceReader<'_, '_>) -> Result<Self, EngineError> {
        let tree = piece.tree();
        let mut hasher = RecordHasher::new(tree.stack().keys());
        let mut batch = Self::default();
        piece.read(&mut |record| {
            batch.digest = batch.digest.plus(hasher.hash(record));
            if repository::record::session_of(record.key).is_some() {
                return Ok(());
            }
            let start = batch.bytes.len();
            key::decode_into(record.key, &mut batch.bytes).ok_or_else(|| tree.unknown_record())?;
            let path_len = batch.bytes.len() - start;
            let data = tree.value(record.value)?;
            batch.bytes.extend_from_slice(data.as_deref().unwrap_or_default());
            let acl = (!record.flags.contains(RecordFlags::ACL_UNKNOWN)).then(|| batch.acl(record.acl));
            let data_len = data.map(|data| data.len());
            batch.rows.push(Row { path_len, data_len, acl, stat: zk_stat(&record.stat) });
            Ok(())
        })?;
        Ok(batch)
    }

    /// The place of a list, most often the one used last.
    fn acl(&mut self, bytes: &[u8]) -> usize {
        let last = self.rows.last().and_then(|row| row.acl).filter(|&at| *self.acls[at].0 == *bytes);
        last.or_else(|| self.acls.iter().position(|list| *list.0 == *bytes)).unwrap_or_else(|| {
            self.acls.push(AclList(bytes.into()));
            self.acls.len() - 1
        })
    }

    /// Sum over all records, sessions included.
    pub const fn digest(&self) -> StateDigest {
        self.digest
    }

    /// How many nodes there are.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Calls `visit` with each node, in key order.
    pub fn each(&self, visit: &mut dyn FnMut(NodeRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError> {
        let mut rest = self.bytes.as_slice();
        for row in &self.rows {
            let torn = || EngineError::new(ErrorKind::Failed, "nodes were mixed up on their way to the file");
            let (path, after) = rest.split_at_checked(row.path_len).ok_or_else(torn)?;
            let (data, after) = after.split_at_checked(row.data_len.unwrap_or(0)).ok_or_else(torn)?;
            rest = after;
            let acl = row.acl.and_then(|at| self.acls.get(at));
            visit(NodeRef { path, data: row.data_len.map(|_| data), acl, stat: row.stat })?;
        }
        Ok(())
    }
}
