//! Writes snapshot and transaction log files byte for byte as a server does, trailers and padding included.
//!
//! Written apart from `zk-format` on purpose: its readers are tested against these bytes, and its own writer
//! makes only the plain form that every server version boots.

use std::io::{self, Write};

use simd_adler32::Adler32;
use zk_format::{Acl, Stat, Zxid};

/// The digest version that 3.6 to 3.9 write.
pub const DIGEST_VERSION: i32 = 2;

/// The server grows its log by this much and fills it with zeros (`FilePadding`).
pub const LOG_PADDING: u64 = 64 << 20;

/// ACL id of `world:anyone` with all permissions, which no table lists.
pub const OPEN_ACL: i64 = -1;

/// A client session as a snapshot file lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The session id.
    pub id: i64,
    /// Negotiated time-out in milliseconds.
    pub timeout_ms: i32,
}

/// The sections a server may append after the first seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trailers {
    /// The tree digest and the zxid it belongs to (3.6 and later, where digests are on).
    pub digest: Option<(Zxid, i64)>,
    /// The last zxid the file holds (3.9 and later).
    pub last_zxid: Option<Zxid>,
}

/// Streams one snapshot file in the server's form.
pub struct SnapshotFile<W: Write> {
    out: W,
    adler: Adler32,
    buffer: Vec<u8>,
}

impl<W: Write> SnapshotFile<W> {
    /// Writes header, sessions and ACL table.
    pub fn begin(out: W, sessions: &[Session], acls: &[(i64, Vec<Acl>)]) -> io::Result<Self> {
        let mut file = Self { out, adler: Adler32::new(), buffer: Vec::with_capacity(1 << 16) };
        file.buffer.extend_from_slice(b"ZKSN");
        int(&mut file.buffer, 2);
        long(&mut file.buffer, -1);
        int(&mut file.buffer, sessions.len() as i32);
        for session in sessions {
            long(&mut file.buffer, session.id);
            int(&mut file.buffer, session.timeout_ms);
        }
        int(&mut file.buffer, acls.len() as i32);
        for (id, list) in acls {
            long(&mut file.buffer, *id);
            acl_list(&mut file.buffer, list);
        }
        file.flush()?;
        Ok(file)
    }

    /// Writes one node; the caller gives parents before children.
    pub fn node(&mut self, path: &[u8], data: Option<&[u8]>, acl: i64, stat: &Stat) -> io::Result<()> {
        buffer(&mut self.buffer, Some(path));
        buffer(&mut self.buffer, data);
        long(&mut self.buffer, acl);
        persisted_stat(&mut self.buffer, stat);
        if self.buffer.len() >= 1 << 16 {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the end mark, the seal and the trailers.
    pub fn finish(mut self, trailers: Trailers) -> io::Result<W> {
        buffer(&mut self.buffer, Some(b"/"));
        self.seal()?;
        if let Some((zxid, digest)) = trailers.digest {
            long(&mut self.buffer, zxid.0);
            int(&mut self.buffer, DIGEST_VERSION);
            long(&mut self.buffer, digest);
            self.seal()?;
        }
        if let Some(zxid) = trailers.last_zxid {
            long(&mut self.buffer, zxid.0);
            self.seal()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// The checksum covers everything before it, earlier seals included.
    fn seal(&mut self) -> io::Result<()> {
        self.flush()?;
        let sum = i64::from(self.adler.finish());
        long(&mut self.buffer, sum);
        buffer(&mut self.buffer, Some(b"/"));
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.adler.write(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// What a logged transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnBody {
    /// Opens a session (type −10).
    CreateSession {
        /// Time-out in milliseconds.
        timeout_ms: i32,
    },
    /// Ends a session and removes its ephemerals (type −11, with paths as 3.6 and later log them).
    CloseSession {
        /// The ephemerals removed.
        paths: Vec<Vec<u8>>,
    },
    /// Creates a node (type 1).
    Create {
        /// Absolute path.
        path: Vec<u8>,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// ACL list.
        acl: Vec<Acl>,
        /// Whether the session owns the node.
        ephemeral: bool,
        /// The parent's child version afterwards.
        parent_cversion: i32,
    },
    /// Deletes a node (type 2).
    Delete {
        /// Absolute path.
        path: Vec<u8>,
    },
    /// Replaces a node's data (type 5).
    SetData {
        /// Absolute path.
        path: Vec<u8>,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// The data version afterwards.
        version: i32,
    },
    /// A write that failed, and still took a zxid (type −1).
    Error {
        /// The server's error code.
        code: i32,
    },
}

/// A transaction as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedTxn {
    /// The client's session.
    pub session: i64,
    /// The client's own counter.
    pub cxid: i32,
    /// The id.
    pub zxid: Zxid,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// What it does.
    pub body: TxnBody,
    /// The digest of the tree afterwards (3.6 and later; errors and sessions have none).
    pub digest: Option<i64>,
}

/// The header of a log file.
pub fn log_header() -> Vec<u8> {
    let mut out = b"ZKLG".to_vec();
    int(&mut out, 2);
    long(&mut out, 0);
    out
}

/// One record of a log file: checksum, length, payload and its end mark.
pub fn log_record(txn: &LoggedTxn) -> Vec<u8> {
    let mut payload = Vec::with_capacity(256);
    long(&mut payload, txn.session);
    int(&mut payload, txn.cxid);
    long(&mut payload, txn.zxid.0);
    long(&mut payload, txn.time_ms);
    body(&mut payload, &txn.body);
    if let Some(digest) = txn.digest {
        int(&mut payload, DIGEST_VERSION);
        long(&mut payload, digest);
    }
    let mut out = Vec::with_capacity(payload.len() + 13);
    long(&mut out, i64::from(simd_adler32::adler32(&payload.as_slice())));
    int(&mut out, payload.len() as i32);
    out.extend_from_slice(&payload);
    out.push(b'B');
    out
}

fn body(out: &mut Vec<u8>, body: &TxnBody) {
    match body {
        TxnBody::CreateSession { timeout_ms } => {
            int(out, -10);
            int(out, *timeout_ms);
        }
        TxnBody::CloseSession { paths } => {
            int(out, -11);
            int(out, paths.len() as i32);
            for path in paths {
                buffer(out, Some(path));
            }
        }
        TxnBody::Create { path, data, acl, ephemeral, parent_cversion } => {
            int(out, 1);
            buffer(out, Some(path));
            buffer(out, data.as_deref());
            acl_list(out, acl);
            out.push(u8::from(*ephemeral));
            int(out, *parent_cversion);
        }
        TxnBody::Delete { path } => {
            int(out, 2);
            buffer(out, Some(path));
        }
        TxnBody::SetData { path, data, version } => {
            int(out, 5);
            buffer(out, Some(path));
            buffer(out, data.as_deref());
            int(out, *version);
        }
        TxnBody::Error { code } => {
            int(out, -1);
            int(out, *code);
        }
    }
}

/// The server's digest of one node: 0 under `/zookeeper/`, which digests leave out.
pub fn node_digest(path: &[u8], data: Option<&[u8]>, stat: &Stat) -> i64 {
    if path.starts_with(b"/zookeeper/") {
        return 0;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(path);
    crc.update(data.unwrap_or_default());
    let mut fields = Vec::with_capacity(60);
    for value in [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime] {
        long(&mut fields, value);
    }
    for value in [stat.version, stat.cversion, stat.aversion] {
        int(&mut fields, value);
    }
    long(&mut fields, stat.ephemeral_owner);
    crc.update(&fields);
    i64::from(crc.finalize())
}

fn persisted_stat(out: &mut Vec<u8>, stat: &Stat) {
    for value in [stat.czxid.0, stat.mzxid.0, stat.ctime, stat.mtime] {
        long(out, value);
    }
    for value in [stat.version, stat.cversion, stat.aversion] {
        int(out, value);
    }
    long(out, stat.ephemeral_owner);
    long(out, stat.pzxid.0);
}

fn acl_list(out: &mut Vec<u8>, list: &[Acl]) {
    int(out, list.len() as i32);
    for acl in list {
        int(out, acl.perms);
        buffer(out, Some(&acl.scheme));
        buffer(out, Some(&acl.id));
    }
}

fn int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn buffer(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => int(out, -1),
        Some(bytes) => {
            int(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_take_the_bytes_a_server_writes() {
        let written = |trailers| {
            let mut file = SnapshotFile::begin(Vec::new(), &[], &[]).unwrap();
            file.node(b"", Some(b""), OPEN_ACL, &Stat::default()).unwrap();
            file.finish(trailers).unwrap().len()
        };
        let plain = written(Trailers::default());
        let digest = Some((Zxid(1), 2));
        assert_eq!(written(Trailers { digest, last_zxid: None }), plain + 33);
        assert_eq!(written(Trailers { digest: None, last_zxid: Some(Zxid(1)) }), plain + 21);
        assert_eq!(written(Trailers { digest, last_zxid: Some(Zxid(1)) }), plain + 54);
    }

    #[test]
    fn a_record_frames_its_payload() {
        let body = TxnBody::Delete { path: b"/a".to_vec() };
        let record = log_record(&LoggedTxn { session: 1, cxid: 2, zxid: Zxid(3), time_ms: 4, body, digest: Some(5) });
        // Frame 13, transaction header 32, path 6, digest 12.
        assert_eq!(record.len(), 13 + 32 + 6 + 12);
        assert_eq!(record.last(), Some(&b'B'));
        assert_eq!(log_header().len(), 16);
    }
}
