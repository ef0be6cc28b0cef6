//! What a transaction does: one variant per kind of change, read from the bytes after the header.

use super::{DIGEST_VERSION, TxnError, TxnHeader};

use crate::jute::{JuteError, Reader};
use crate::key;
use crate::path;
use crate::types::{AclList, Zxid};

/// Bytes of a digest after the body.
const DIGEST_BYTES: usize = 12;
/// Type of a write that failed.
const ERROR: i32 = -1;
/// Its body. A server that applies a multi that failed turns the type of each part to −1 and leaves the part's bytes as they
/// were (`DataTree.processTxn`); a leader whose disk is slower than its followers' writes such parts to its log.
const ERROR_BYTES: usize = 4;
/// A part of a multi is at least its type and the length of its buffer.
const LEAST_PART_BYTES: usize = 8;

/// What kind of node a create makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// Type 1 (`create`): replaying it over an existing node still raises the parent's cversion.
    Plain {
        /// Owned by the session of the header.
        ephemeral: bool,
    },
    /// Type 15 (`create2`).
    WithStat {
        /// Owned by the session of the header.
        ephemeral: bool,
    },
    /// Type 19.
    Container,
    /// Type 21.
    Ttl {
        /// Time to live, milliseconds.
        ttl_ms: i64,
    },
}

/// Body of the four creates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// The node.
    pub path: &'a [u8],
    /// Its data; null and empty differ.
    pub data: Option<&'a [u8]>,
    /// Its ACL list as jute bytes (`vector<ACL>`).
    pub acl: &'a [u8],
    /// What it makes.
    pub kind: CreateKind,
    /// The parent's cversion after it; −1 where the server did not write it.
    pub parent_cversion: i32,
}

/// What a transaction does. The number of each type is `ZooDefs.OpCode`'s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Type −10.
    CreateSession {
        /// Agreed timeout, milliseconds.
        timeout_ms: i32,
    },
    /// Type −11.
    CloseSession {
        /// The ephemeral nodes that go with it; `None` where the server leaves that to whoever replays.
        paths: Option<Vec<&'a [u8]>>,
    },
    /// Type −1: a write that failed. It has a zxid and changes nothing.
    Error {
        /// The client's error code; 0 for a part of a multi that lost it.
        code: i32,
    },
    /// Types 1, 15, 19, 21.
    Create(Create<'a>),
    /// Types 2 and 20 (a container or TTL node that the server reaped).
    Delete {
        /// The node.
        path: &'a [u8],
        /// Whether the server reaped it (type 20).
        reaped: bool,
    },
    /// Types 5 and 16 (reconfig, which writes `/zookeeper/config`).
    SetData {
        /// The node.
        path: &'a [u8],
        /// New data; null and empty differ.
        data: Option<&'a [u8]>,
        /// Data version after it.
        version: i32,
        /// Whether it is a reconfig (type 16).
        reconfig: bool,
    },
    /// Type 7.
    SetAcl {
        /// The node.
        path: &'a [u8],
        /// New ACL list as jute bytes.
        acl: &'a [u8],
        /// ACL version after it.
        version: i32,
    },
    /// Type 13: a multi's condition. It held, or the multi would be all errors.
    Check {
        /// The node.
        path: &'a [u8],
        /// Version it was compared with.
        version: i32,
    },
    /// Type 14.
    Multi {
        /// In order.
        parts: Vec<Part<'a>>,
    },
}

/// One part of a multi; it shares the multi's session, zxid and time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// Its own type.
    pub kind: i32,
    /// What it does; never another multi.
    pub body: Body<'a>,
}

impl<'a> Body<'a> {
    /// Reads the body that `header.kind` calls for and leaves a digest unread.
    pub(super) fn read(reader: &mut Reader<'a>, header: &TxnHeader, offset: u64) -> Result<Self, TxnError> {
        let context = Context { zxid: header.zxid, kind: header.kind, offset };
        if header.kind == 14 { read_multi(reader, context) } else { read_single(reader, context) }
    }

    /// Whether it changes, makes or removes nodes that are not the server's own: what can fit a state, or not.
    pub fn changes_nodes(&self) -> bool {
        match self {
            Self::CreateSession { .. } | Self::Error { .. } | Self::Check { .. } => false,
            Self::CloseSession { paths } => paths.iter().flatten().any(|path| !path::is_reserved(path)),
            Self::Create(Create { path, .. })
            | Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::SetAcl { path, .. } => !path::is_reserved(path),
            Self::Multi { parts } => !self.is_failed_multi() && parts.iter().any(|part| part.body.changes_nodes()),
        }
    }

    /// Calls `visit` with every node it names, and the parents of those it makes or removes.
    pub fn visit_paths(&self, visit: &mut dyn FnMut(&'a [u8])) {
        let mut with_parent = |path: &'a [u8]| {
            visit(path);
            if let Some(parent) = key::parent(path) {
                visit(parent);
            }
        };
        match self {
            Self::CreateSession { .. } | Self::Error { .. } => {}
            Self::CloseSession { paths } => paths.iter().flatten().for_each(|path| with_parent(path)),
            Self::Create(Create { path, .. }) | Self::Delete { path, .. } => with_parent(path),
            Self::SetData { path, .. } | Self::SetAcl { path, .. } | Self::Check { path, .. } => visit(path),
            Self::Multi { parts } => parts.iter().for_each(|part| part.body.visit_paths(visit)),
        }
    }

    /// Whether a multi failed: its parts are errors, and it changes nothing.
    pub fn is_failed_multi(&self) -> bool {
        matches!(self, Self::Multi { parts } if parts.iter().any(|part| matches!(part.body, Self::Error { .. })))
    }
}

#[derive(Clone, Copy)]
struct Context {
    zxid: Zxid,
    kind: i32,
    offset: u64,
}

impl Context {
    fn jute(self, source: JuteError) -> TxnError {
        TxnError::Malformed { zxid: self.zxid, kind: self.kind, source }
    }

    fn path<'a>(self, reader: &mut Reader<'a>) -> Result<&'a [u8], TxnError> {
        self.check_path(reader.ustring().map_err(|error| self.jute(error))?)
    }

    /// The root is `/` in a transaction and empty everywhere else.
    fn check_path(self, path: Option<&[u8]>) -> Result<&[u8], TxnError> {
        match path {
            Some(b"/" | b"") => Ok(b""),
            Some(path) if path.starts_with(b"/") && !path.ends_with(b"/") => Ok(path),
            _ => Err(self.bad_path()),
        }
    }

    const fn bad_path(self) -> TxnError {
        TxnError::BadPath { zxid: self.zxid, kind: self.kind, offset: self.offset }
    }
}

fn read_multi<'a>(reader: &mut Reader<'a>, context: Context) -> Result<Body<'a>, TxnError> {
    let jute = |error| context.jute(error);
    let count = reader.vector(LEAST_PART_BYTES).map_err(jute)?.unwrap_or(0);
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = reader.i32().map_err(jute)?;
        let buffer = reader.buffer().map_err(jute)?.unwrap_or_default();
        let end = reader.position();
        let start = end.saturating_sub(buffer.len() as u64);
        let part = Context { kind, ..context };
        let mut inner = Reader::at(buffer, start);
        if kind == ERROR && buffer.len() != ERROR_BYTES {
            parts.push(Part { kind, body: Body::Error { code: 0 } });
            continue;
        }
        let body = read_single(&mut inner, part)?;
        inner.finish().map_err(|error| part.jute(error))?;
        parts.push(Part { kind, body });
    }
    Ok(Body::Multi { parts })
}

fn read_single<'a>(reader: &mut Reader<'a>, context: Context) -> Result<Body<'a>, TxnError> {
    let jute = |error| context.jute(error);
    match context.kind {
        -11 => read_close_session(reader, context),
        -10 => Ok(Body::CreateSession { timeout_ms: reader.i32().map_err(jute)? }),
        ERROR => Ok(Body::Error { code: reader.i32().map_err(jute)? }),
        1 | 15 | 19 | 21 => read_create(reader, context).map(Body::Create),
        2 | 20 => Ok(Body::Delete { path: context.path(reader)?, reaped: context.kind == 20 }),
        5 | 16 => Ok(Body::SetData {
            path: context.path(reader)?,
            data: reader.buffer().map_err(jute)?,
            version: reader.i32().map_err(jute)?,
            reconfig: context.kind == 16,
        }),
        7 => Ok(Body::SetAcl {
            path: context.path(reader)?,
            acl: AclList::raw(reader).map_err(jute)?,
            version: reader.i32().map_err(jute)?,
        }),
        13 => Ok(Body::Check { path: context.path(reader)?, version: reader.i32().map_err(jute)? }),
        kind => Err(TxnError::UnknownType { zxid: context.zxid, offset: context.offset, kind }),
    }
}

fn read_create<'a>(reader: &mut Reader<'a>, context: Context) -> Result<Create<'a>, TxnError> {
    let jute = |error| context.jute(error);
    let path = context.path(reader)?;
    if path::validate_stored(path).is_err() {
        return Err(context.bad_path());
    }
    let data = reader.buffer().map_err(jute)?;
    let acl = AclList::raw(reader).map_err(jute)?;
    let ephemeral = matches!(context.kind, 1 | 15) && reader.bool().map_err(jute)?;
    // Servers before 3.4 end here; they write no digest either.
    let parent_cversion = if reader.remaining() == 0 && context.kind == 1 { -1 } else { reader.i32().map_err(jute)? };
    let kind = match context.kind {
        1 => CreateKind::Plain { ephemeral },
        15 => CreateKind::WithStat { ephemeral },
        19 => CreateKind::Container,
        _ => CreateKind::Ttl { ttl_ms: reader.i64().map_err(jute)? },
    };
    Ok(Create { path, data, acl, kind, parent_cversion })
}

/// Nothing, or twelve bytes that start with the digest's version, mean that no paths were written: as a vector
/// those twelve bytes would be two empty paths, which no node has.
fn read_close_session<'a>(reader: &mut Reader<'a>, context: Context) -> Result<Body<'a>, TxnError> {
    let jute = |error| context.jute(error);
    let bare_digest =
        reader.remaining() == DIGEST_BYTES && reader.clone().i32().is_ok_and(|version| version == DIGEST_VERSION);
    if reader.remaining() == 0 || bare_digest {
        return Ok(Body::CloseSession { paths: None });
    }
    let count = reader.vector(4).map_err(jute)?.unwrap_or(0);
    let mut paths = Vec::with_capacity(count);
    for _ in 0..count {
        paths.push(context.path(reader)?);
    }
    Ok(Body::CloseSession { paths: Some(paths) })
}
