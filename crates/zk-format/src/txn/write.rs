//! Writing transactions as a server does, for logs made by tests and generators.

use super::{Body, Create, CreateKind, Part, Txn};
use crate::jute::Writer;

/// The payload of a record: header, body, digest.
///
/// The header's `kind` is written as it is: the caller keeps it in step with the body.
pub fn encode(txn: &Txn<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    let header = &txn.header;
    writer.i64(header.session).i32(header.cxid).i64(header.zxid.0).i64(header.time_ms).i32(header.kind);
    write_body(&mut writer, &txn.body);
    if let Some(digest) = txn.digest {
        writer.i32(digest.version).i64(digest.digest);
    }
    writer.into_bytes()
}

impl Body<'_> {
    /// The type number a server writes for it.
    pub const fn kind(&self) -> i32 {
        match self {
            Self::CloseSession { .. } => -11,
            Self::CreateSession { .. } => -10,
            Self::Error { .. } => -1,
            Self::Create(Create { kind, .. }) => match kind {
                CreateKind::Plain { .. } => 1,
                CreateKind::WithStat { .. } => 15,
                CreateKind::Container => 19,
                CreateKind::Ttl { .. } => 21,
            },
            Self::Delete { reaped, .. } => {
                if *reaped {
                    20
                } else {
                    2
                }
            }
            Self::SetData { reconfig, .. } => {
                if *reconfig {
                    16
                } else {
                    5
                }
            }
            Self::SetAcl { .. } => 7,
            Self::Check { .. } => 13,
            Self::Multi { .. } => 14,
        }
    }
}

fn write_body(writer: &mut Writer, body: &Body<'_>) {
    match body {
        Body::CloseSession { paths: None } => {}
        Body::CloseSession { paths: Some(paths) } => {
            writer.vector(Some(paths.len()));
            for path in paths {
                write_path(writer, path);
            }
        }
        Body::CreateSession { timeout_ms: number } | Body::Error { code: number } => {
            writer.i32(*number);
        }
        Body::Create(create) => write_create(writer, create),
        Body::Delete { path, .. } => write_path(writer, path),
        Body::SetData { path, data, version, .. } => {
            write_path(writer, path);
            writer.buffer(*data).i32(*version);
        }
        Body::SetAcl { path, acl, version } => {
            write_path(writer, path);
            writer.raw(acl).i32(*version);
        }
        Body::Check { path, version } => {
            write_path(writer, path);
            writer.i32(*version);
        }
        Body::Multi { parts } => {
            writer.vector(Some(parts.len()));
            for Part { kind, body } in parts {
                let mut inner = Writer::new();
                write_body(&mut inner, body);
                writer.i32(*kind).buffer(Some(inner.bytes()));
            }
        }
    }
}

fn write_create(writer: &mut Writer, create: &Create<'_>) {
    write_path(writer, create.path);
    writer.buffer(create.data).raw(create.acl);
    match create.kind {
        CreateKind::Plain { ephemeral } | CreateKind::WithStat { ephemeral } => {
            writer.bool(ephemeral).i32(create.parent_cversion);
        }
        CreateKind::Container => {
            writer.i32(create.parent_cversion);
        }
        CreateKind::Ttl { ttl_ms } => {
            writer.i32(create.parent_cversion).i64(ttl_ms);
        }
    }
}

fn write_path(writer: &mut Writer, path: &[u8]) {
    writer.ustring(Some(if path.is_empty() { b"/" } else { path }));
}
