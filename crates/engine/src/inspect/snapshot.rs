//! One snapshot file: its counts, its seals and its digest.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use zk_format::Zxid;
use zk_format::digest::DigestCheck;
use zk_format::file_snap::ReadLimits;
use zk_format::tree::FlatTree;

/// What a snapshot file holds. The counts are zero where it cannot be read.
#[derive(Debug, Default, Serialize)]
pub struct SnapshotReport {
    /// The file.
    pub path: PathBuf,
    /// Its length on disk.
    pub bytes: u64,
    /// In its name, `0x…`.
    pub zxid: String,
    /// Znodes.
    pub nodes: u64,
    /// Ephemeral ones among them.
    pub ephemerals: u64,
    /// Client sessions.
    pub sessions: u64,
    /// Distinct ACL lists.
    pub acls: u64,
    /// Bytes of all values.
    pub data_bytes: u64,
    /// Bytes of all paths.
    pub path_bytes: u64,
    /// Nodes whose ACL the file does not resolve, as happens in files written under load.
    pub unresolved_acls: u64,
    /// The digest trailer of 3.6 and later: `absent`, `matches`, `differs` (usual where transactions were applied
    /// while the file was written) or `unknown`.
    pub digest: &'static str,
    /// Zxid the digest trailer states.
    pub digest_zxid: Option<String>,
    /// The last-zxid trailer of 3.9 and later.
    pub last_zxid: Option<String>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

/// Reads a file whose name states zxid and compression.
pub(super) fn report(path: &Path, zxid: Zxid, bytes: u64) -> SnapshotReport {
    match FlatTree::read_file(path, &ReadLimits::default()) {
        Ok(tree) => of_tree(&tree, path, zxid, bytes),
        Err(error) => broken(path, zxid, bytes, super::with_causes(&error)),
    }
}

/// Reads an uncompressed file under any name.
pub(super) fn report_unnamed(path: &Path, zxid: Zxid, bytes: u64) -> SnapshotReport {
    let limits = ReadLimits::default();
    if bytes > limits.file_bytes {
        return broken(path, zxid, bytes, format!("{bytes} bytes are more than a snapshot file can have"));
    }
    let read = fs::read(path).map_err(|error| error.to_string());
    match read.and_then(|file| FlatTree::parse(file, zxid, &limits).map_err(|problem| super::with_causes(&problem))) {
        Ok(tree) => of_tree(&tree, path, zxid, bytes),
        Err(problem) => broken(path, zxid, bytes, problem),
    }
}

fn broken(path: &Path, zxid: Zxid, bytes: u64, problem: String) -> SnapshotReport {
    SnapshotReport {
        path: path.to_owned(),
        bytes,
        zxid: zxid.to_string(),
        digest: "unknown",
        problem: Some(problem),
        ..SnapshotReport::default()
    }
}

fn of_tree(tree: &FlatTree, path: &Path, zxid: Zxid, bytes: u64) -> SnapshotReport {
    let (mut data_bytes, mut path_bytes) = (0_u64, 0_u64);
    for node in tree.iter() {
        data_bytes = data_bytes.saturating_add(node.data.map_or(0, <[u8]>::len) as u64);
        path_bytes = path_bytes.saturating_add(node.path.len() as u64);
    }
    SnapshotReport {
        path: path.to_owned(),
        bytes,
        zxid: zxid.to_string(),
        nodes: tree.len() as u64,
        ephemerals: tree.ephemerals().values().map(|nodes| nodes.len() as u64).sum(),
        sessions: tree.sessions().len() as u64,
        acls: tree.acls().len() as u64,
        data_bytes,
        path_bytes,
        unresolved_acls: tree.unresolved_acls().iter().map(|acl| u64::from(acl.nodes)).sum(),
        digest: match tree.check_digest() {
            DigestCheck::Absent => "absent",
            DigestCheck::Matches | DigestCheck::MatchesAscii => "matches",
            DigestCheck::Differs { .. } => "differs",
            DigestCheck::UnknownVersion(_) => "unknown",
        },
        digest_zxid: tree.stated_digest().map(|stated| stated.zxid.to_string()),
        last_zxid: tree.last_zxid().map(|zxid| zxid.to_string()),
        problem: None,
    }
}
