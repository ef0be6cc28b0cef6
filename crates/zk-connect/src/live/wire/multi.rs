//! Several operations in one frame: `multi` (a transaction) and `multiRead` (each part on its own).

use zk_format::AclList;
use zk_format::jute::{JuteError, Reader, Writer};

use super::{CreateMode, NodeStat, op, read_strings, write_create};
use crate::live::code::Code;

/// One part. `multi` takes writes and checks, `multiRead` the two reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Creates a node.
    Create {
        /// Its path.
        path: &'a [u8],
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// Its ACL.
        acl: &'a AclList,
        /// Its kind.
        mode: CreateMode,
    },
    /// Deletes a node.
    Delete {
        /// Its path.
        path: &'a [u8],
        /// The version it must have; −1 for any.
        version: i32,
    },
    /// Sets a node's data.
    SetData {
        /// Its path.
        path: &'a [u8],
        /// Null and empty differ.
        data: Option<&'a [u8]>,
        /// The version it must have; −1 for any.
        version: i32,
    },
    /// Demands a version.
    Check {
        /// The node's path.
        path: &'a [u8],
        /// The version it must have; −1 for any, and then the node need only exist.
        version: i32,
    },
    /// Reads data and stat.
    GetData {
        /// The node's path.
        path: &'a [u8],
    },
    /// Lists children.
    GetChildren {
        /// The node's path.
        path: &'a [u8],
    },
}

impl<'a> Op<'a> {
    /// The node's path.
    pub const fn path(&self) -> &'a [u8] {
        match self {
            Self::Create { path, .. }
            | Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::Check { path, .. }
            | Self::GetData { path }
            | Self::GetChildren { path } => path,
        }
    }

    /// Bytes it takes in a request, for batches below `jute.maxbuffer`.
    pub fn request_bytes(&self) -> usize {
        let body = match self {
            Self::Create { data, acl, .. } => {
                data.map_or(0, <[u8]>::len).saturating_add(acl.0.len()).saturating_add(16)
            }
            Self::SetData { data, .. } => data.map_or(0, <[u8]>::len).saturating_add(8),
            _ => 4,
        };
        // The part's header, the path's length, and the rest.
        body.saturating_add(self.path().len()).saturating_add(13)
    }
}

/// What came of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The path that was created, and its stat where the opcode gives one.
    Created(Vec<u8>, Option<NodeStat>),
    /// Deleted or checked.
    Done,
    /// The stat after setting data.
    Set(NodeStat),
    /// Data and stat.
    Data(Option<Vec<u8>>, NodeStat),
    /// Names of children.
    Children(Vec<Vec<u8>>),
    /// It failed. In a `multi` every part has a result of this kind then, [`Code::OK`] before the one at fault.
    Failed(Code),
}

/// Writes the body of a `multi` or `multiRead`; `on_wire` turns a path into the server's.
pub fn encode_multi(to: &mut Writer, ops: &[Op<'_>], plain_create: bool, on_wire: impl Fn(&[u8]) -> Vec<u8>) {
    for part in ops {
        let path = on_wire(part.path());
        let path = path.as_slice();
        match part {
            Op::Create { data, acl, mode, .. } => {
                header(to, mode.opcode(plain_create));
                write_create(to, path, *data, acl, *mode);
            }
            Op::Delete { version, .. } => {
                header(to, op::DELETE);
                to.ustring(Some(path)).i32(*version);
            }
            Op::SetData { data, version, .. } => {
                header(to, op::SET_DATA);
                to.ustring(Some(path)).buffer(*data).i32(*version);
            }
            Op::Check { version, .. } => {
                header(to, op::CHECK);
                to.ustring(Some(path)).i32(*version);
            }
            Op::GetData { .. } => {
                header(to, op::GET_DATA);
                to.ustring(Some(path)).bool(false);
            }
            Op::GetChildren { .. } => {
                header(to, op::GET_CHILDREN);
                to.ustring(Some(path)).bool(false);
            }
        }
    }
    to.i32(-1).bool(true).i32(-1);
}

fn header(to: &mut Writer, opcode: i32) {
    to.i32(opcode).bool(false).i32(-1);
}

/// Reads the answer to `expected` parts.
pub fn decode_multi(from: &mut Reader<'_>, expected: usize) -> Result<Vec<OpResult>, JuteError> {
    let mut results = Vec::with_capacity(expected.min(from.remaining() / 9));
    loop {
        let offset = from.position();
        let kind = from.i32()?;
        let done = from.bool()?;
        let code = from.i32()?;
        if done {
            break;
        }
        if results.len() >= expected {
            return Err(JuteError::Trailing { offset, extra: from.remaining() as u64 });
        }
        results.push(match kind {
            op::CREATE => OpResult::Created(path(from)?, None),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                OpResult::Created(path(from)?, Some(NodeStat::read(from)?))
            }
            op::DELETE | op::CHECK => OpResult::Done,
            op::SET_DATA => OpResult::Set(NodeStat::read(from)?),
            op::GET_DATA => OpResult::Data(from.buffer()?.map(<[u8]>::to_vec), NodeStat::read(from)?),
            op::GET_CHILDREN => OpResult::Children(read_strings(from)?),
            op::ERROR => OpResult::Failed(Code(from.i32()?)),
            _ => return Err(JuteError::BadLength { offset, length: code }),
        });
    }
    if results.len() != expected {
        return Err(JuteError::Truncated { offset: from.position(), needed: 9, remaining: from.remaining() as u64 });
    }
    Ok(results)
}

fn path(from: &mut Reader<'_>) -> Result<Vec<u8>, JuteError> {
    Ok(from.ustring()?.unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_more_or_fewer_parts_is_refused() {
        let mut to = Writer::new();
        to.i32(op::DELETE).bool(false).i32(0).i32(-1).bool(true).i32(-1);
        let bytes = to.into_bytes();
        assert_eq!(decode_multi(&mut Reader::new(&bytes), 1).unwrap(), vec![OpResult::Done]);
        assert!(decode_multi(&mut Reader::new(&bytes), 0).is_err());
        assert!(decode_multi(&mut Reader::new(&bytes), 2).is_err());
        for cut in 0..bytes.len() {
            assert!(decode_multi(&mut Reader::new(&bytes[..cut]), 1).is_err());
        }
    }

    #[test]
    fn each_mode_has_its_opcode() {
        assert_eq!(CreateMode::Persistent.opcode(true), op::CREATE);
        assert_eq!(CreateMode::EphemeralSequential.opcode(false), op::CREATE2);
        assert_eq!(CreateMode::Container.opcode(true), op::CREATE_CONTAINER);
        assert_eq!(CreateMode::Ttl(5).opcode(false), op::CREATE_TTL);
    }
}
