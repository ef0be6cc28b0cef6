//! From a file to a tree: one thread walks what has arrived while the others read ahead; then the seals, then the
//! order.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;

use super::FlatTree;
use super::order::{Walked, into_key_order};
use crate::file_snap::{
    self, Compression, END_MARK, Entry, Progress, ReadLimits, SnapProblem, UnresolvedAcl, Walker, decompress,
    entry_node, read_trailers,
};
use crate::file_snap_writer::{SnapWriter, WriteLimits};
use crate::path;
use crate::types::{AclList, NodeRef, Stat, Zxid};

/// Small enough to be walked while still in a processor's cache.
const STEP_BYTES: usize = 4 << 20;
const PIECE_BYTES: usize = 256 << 10;

pub(super) fn read_file(path: &Path, limits: &ReadLimits) -> Result<FlatTree, SnapProblem> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (zxid, compression) = file_snap::parse_name(name).ok_or(SnapProblem::Name)?;
    let file = File::open(path).map_err(|source| SnapProblem::Io { action: "open", source })?;
    read_open(&file, zxid, compression, limits)
}

pub(super) fn read_open(
    file: &File,
    zxid: Zxid,
    compression: Compression,
    limits: &ReadLimits,
) -> Result<FlatTree, SnapProblem> {
    let length = file.metadata().map_err(|source| SnapProblem::Io { action: "stat", source })?.len();
    if compression != Compression::None {
        let mut from = file;
        from.rewind().map_err(|source| SnapProblem::Io { action: "read", source })?;
        return parse(decompress(from, length, compression, limits)?, zxid, limits);
    }
    let mut walker = Walker::new(*limits);
    let file = read_and_walk(file, length, &mut walker, limits)?;
    finish(file, walker, zxid)
}

pub(super) fn parse(file: Vec<u8>, zxid: Zxid, limits: &ReadLimits) -> Result<FlatTree, SnapProblem> {
    finish(file, Walker::new(*limits), zxid)
}

fn read_and_walk(from: &File, length: u64, walker: &mut Walker, limits: &ReadLimits) -> Result<Vec<u8>, SnapProblem> {
    let too_large = SnapProblem::TooLarge { limit: limits.file_bytes };
    if length > limits.file_bytes {
        return Err(too_large);
    }
    let Ok(length) = usize::try_from(length) else { return Err(too_large) };
    let mut file = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let (arrived, ahead) = file.split_at_mut_checked(filled).unwrap_or_default();
        let wanted = ahead.len().min(STEP_BYTES);
        let step = ahead.get_mut(..wanted).unwrap_or_default();
        let (progress, count) = rayon::join(|| walker.resume(arrived, false), || read_step(from, filled, step));
        let count = count.map_err(|source| SnapProblem::Io { action: "read", source })?;
        progress?;
        filled = filled.saturating_add(count);
        if count < wanted {
            // Cut by someone else since it was opened: what is there decides.
            file.truncate(filled);
            break;
        }
    }
    Ok(file)
}

/// Reads a step in pieces, which whichever thread is idle takes. Gives how much of its start is there.
fn read_step(from: &File, offset: usize, step: &mut [u8]) -> io::Result<usize> {
    let pieces = step.par_chunks_mut(PIECE_BYTES).enumerate();
    let counts = pieces.map(|(index, piece)| {
        let offset = offset.saturating_add(index.saturating_mul(PIECE_BYTES));
        read_at(from, offset as u64, piece).map(|count| (count, count == piece.len()))
    });
    let counts: Vec<_> = counts.collect::<io::Result<_>>()?;
    let mut total = 0usize;
    for (count, whole) in counts {
        total = total.saturating_add(count);
        if !whole {
            break;
        }
    }
    Ok(total)
}

fn read_at(from: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut count = 0usize;
    while let Some(rest) = into.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match from.read_at(rest, offset.saturating_add(count as u64)) {
            Ok(0) => break,
            Ok(more) => count = count.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn finish(file: Vec<u8>, mut walker: Walker, zxid: Zxid) -> Result<FlatTree, SnapProblem> {
    let end = match walker.resume(&file, true)? {
        Progress::End(end) => end,
        Progress::More => file.len(),
    };
    let nodes_end = end.saturating_sub(END_MARK.len());
    let trailers = read_trailers(&file, end, walker.adler.clone())?;
    let digest = walker.digest();
    let unresolved = walker.unresolved.iter().map(|(&id, &nodes)| UnresolvedAcl { id, nodes }).collect();
    let Walker { entries, group_of, groups, acls, sessions, .. } = walker;
    let entries = into_key_order(Walked { file: &file, entries, group_of, groups })?;
    let ephemerals = ephemerals(&file, &entries);
    Ok(FlatTree {
        ephemerals,
        node_bytes: node_bytes(&entries, nodes_end),
        file,
        entries,
        acls,
        sessions,
        unresolved,
        zxid,
        stated_digest: trailers.digest,
        last_zxid: trailers.last_zxid,
        digest,
    })
}

/// The root comes first in a file.
fn node_bytes(entries: &[Entry], end: usize) -> u64 {
    entries.first().map_or(0, |root| (end as u64).saturating_sub(root.offset))
}

fn ephemerals(file: &[u8], entries: &[Entry]) -> BTreeMap<i64, Vec<u32>> {
    let mut by_session: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (index, &entry) in (0u32..).zip(entries).filter(|(_, entry)| entry.is_ephemeral()) {
        if let Ok(node) = entry_node(file, entry) {
            by_session.entry(node.stat.ephemeral_owner).or_default().push(index);
        }
    }
    by_session
}

pub(super) fn empty() -> FlatTree {
    let world = AclList::world();
    let mut writer = SnapWriter::new(Vec::new(), &[], [], WriteLimits::default()).expect("nothing is over a limit");
    for path in [path::ROOT, path::ZOOKEEPER, path::QUOTA] {
        let node = NodeRef { path, data: Some(b""), acl: Some(&world), stat: Stat::default() };
        writer.node(&node).expect("the server's own nodes are in order");
    }
    let (file, _) = writer.finish().expect("the server's own nodes are complete");
    parse(file, Zxid(0), &ReadLimits::default()).expect("what is written is read")
}
