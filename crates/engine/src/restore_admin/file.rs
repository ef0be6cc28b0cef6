//! The file that every server takes: a snapshot's tree, with the trailers that say at which zxid it is to be taken.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use zk_connect::admin::Member;
use zk_connect::endpoint::{DataDirSpec, LogDir};
use zk_format::file_snap::{Compression, ReadLimits};
use zk_format::tree::FlatTree;
use zk_format::{NodeRef, Zxid, path};

use super::AdminRestoreRequest;
use crate::convert::is_quota_stats;
use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::monitor::Monitor;
use crate::repo::Repo;
use crate::restore::{self, BumpEpoch, DatadirRequest, Server, ServerVersion};

/// A file without a name, and the tree that was read back from it.
#[derive(Debug)]
pub struct Restored {
    pub file: File,
    pub bytes: u64,
    pub nodes: u64,
    pub ephemerals_skipped: u64,
    pub notes: Vec<String>,
    pub tree: FlatTree,
}

/// Writes and reads back; nothing of the ensemble is touched.
pub fn make(
    repo: &Repo,
    request: &AdminRestoreRequest,
    members: &[Member],
    zxid: Zxid,
    monitor: &dyn Monitor,
) -> Result<Restored, EngineError> {
    let failed = |error: std::io::Error| {
        let folder = std::env::temp_dir();
        let what = format!("writing the file to restore in {}; name a folder with room by TMPDIR", folder.display());
        EngineError::with(ErrorKind::Failed, what, error)
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let as_files = as_files(request, members);
    let written = restore::write_file(repo, &as_files, &file, monitor)?;
    let read = |file: &File| {
        FlatTree::read_open(file, zxid, Compression::None, &ReadLimits::default())
            .map_err(|error| EngineError::with(ErrorKind::Failed, "reading back the file to restore", error))
    };
    let with_digest = members.first().is_some_and(|member| member.digest);
    let digest = if with_digest { Some(read(&file)?.digest()) } else { None };
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.write_all(&written.file.trailers(digest, zxid)).map_err(failed)?;
    let tree = read(&file)?;
    Ok(Restored {
        bytes: file.metadata().map_err(failed)?.len(),
        nodes: tree.len() as u64,
        ephemerals_skipped: written.ephemerals_skipped,
        notes: written.notes,
        file,
        tree,
    })
}

/// The same tree as a restore into data directories writes.
fn as_files(request: &AdminRestoreRequest, members: &[Member]) -> DatadirRequest {
    DatadirRequest {
        snapshot: request.snapshot.clone(),
        path: Vec::new(),
        // Of no meaning here: the file has no place.
        target: DataDirSpec { path: PathBuf::new(), log: LogDir::Unsaid, srvr: None },
        force: false,
        bump_epoch: BumpEpoch::Off,
        file_zxid: None,
        seen_zxid: None,
        keep_ephemerals: false,
        filter: Filter::default(),
        server: Server {
            version: ServerVersion::default(),
            jute_max_buffer: request.jute_max_buffer,
            extended_types: Some(members.iter().all(|member| member.extended_types)),
        },
        yes_really: request.yes_really,
        now: request.now,
    }
}

/// Whether what a server wrote is what it was given.
pub fn compare(host: &str, given: &FlatTree, found: &FlatTree, zxid: Zxid) -> Result<(), EngineError> {
    let differs = |what: String| Err(EngineError::new(ErrorKind::Incomplete, format!("{host} {what}")));
    if found.zxid() != zxid {
        return differs(format!(
            "wrote its tree at {} and not at {zxid}: something was written meanwhile",
            found.zxid()
        ));
    }
    if given.len() != found.len() {
        return differs(format!("has {} nodes and was given {}", found.len(), given.len()));
    }
    match given.iter().zip(found.iter()).find(|(given, found)| !is_same(given, found)) {
        Some((given, _)) => differs(format!("has another {} than it was given", path::display(given.path))),
        None => Ok(()),
    }
}

/// Servers fill two of their own nodes themselves.
fn is_same(given: &NodeRef<'_>, found: &NodeRef<'_>) -> bool {
    let own = given.path == path::CONFIG || is_quota_stats(given.path);
    given.path == found.path && (own || given.data == found.data && given.acl == found.acl && given.stat == found.stat)
}
