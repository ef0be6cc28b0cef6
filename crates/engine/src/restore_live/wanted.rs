//! The nodes of a snapshot that a restore is about, in key order: parents before children.

use repository::{RecordFlags, RecordRef};
use zk_format::{AclList, OwnerKind, Stat, key};

use super::area::{Area, Part};
use crate::convert::{descendants_range, is_quota_stats, zk_stat};
use crate::error::EngineError;
use crate::tree::SnapshotTree;

/// Stretches that are fetched together.
const AHEAD: usize = 32;

/// One node as it should be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its path in the snapshot.
    pub source: Vec<u8>,
    /// Where it goes.
    pub target: Vec<u8>,
    /// Whether it is to be as in the snapshot, or only to be there.
    pub part: Part,
    /// Null and empty differ.
    pub data: Option<Vec<u8>>,
    /// Its ACL, `None` where the snapshot does not know it for certain.
    pub acl: Option<AclList>,
    /// Its stat in the snapshot.
    pub stat: Stat,
    /// Whether the snapshot lacks its data.
    pub data_unknown: bool,
}

impl Wanted {
    /// Bytes that it takes in a request, headers included.
    pub fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, Vec::len)
            + self.acl.as_ref().map_or(64, |list| list.0.len())
            + self.target.len()
            + 64
    }

    /// Whether it goes with its session.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.stat.kind(), OwnerKind::Ephemeral { .. })
    }
}

/// Calls `visit` with every node of the area, those to be skipped included.
pub fn each(
    tree: &SnapshotTree<'_>,
    area: &Area,
    visit: &mut dyn FnMut(Wanted) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut failed = Ok(());
    // Ancestors come first, then the node itself and what lies below.
    for (index, _) in area.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        one(tree, area, area.path.get(..index).unwrap_or_default(), visit)?;
    }
    one(tree, area, &area.path, visit)?;
    let scan = tree.stack().scan(&descendants_range(&area.path))?;
    let mut reader = scan.reader(tree.stack().source());
    let stretches = scan.stretches().len();
    for stretch in 0..stretches {
        if stretch % AHEAD == 0 {
            reader.prefetch(stretch..stretches.min(stretch + AHEAD));
        }
        reader.read(stretch, &mut |record| {
            if failed.is_ok() {
                failed = wanted(tree, area, record).and_then(|found| found.map_or(Ok(()), &mut *visit));
            }
        })?;
        std::mem::replace(&mut failed, Ok(()))?;
    }
    Ok(())
}

fn one(
    tree: &SnapshotTree<'_>,
    area: &Area,
    path: &[u8],
    visit: &mut dyn FnMut(Wanted) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let Some(record) = tree.stack().get(&key::encode(path))? else { return Ok(()) };
    wanted(tree, area, &record.as_ref())?.map_or(Ok(()), visit)
}

/// The nodes at these paths of the snapshot, which must rise in key order and all be there.
pub fn at(tree: &SnapshotTree<'_>, area: &Area, paths: &[&[u8]]) -> Result<Vec<Wanted>, EngineError> {
    let keys: Vec<Vec<u8>> = paths.iter().map(|path| key::encode(path)).collect();
    let mut found = Vec::with_capacity(paths.len());
    let mut failed = Ok(());
    tree.stack().get_sorted(keys.iter().map(Vec::as_slice), |_, record| {
        let Some(record) = record.filter(|_| failed.is_ok()) else { return };
        match wanted(tree, area, &record) {
            Ok(node) => found.extend(node),
            Err(error) => failed = Err(error),
        }
    })?;
    failed.map(|()| found)
}

fn wanted(tree: &SnapshotTree<'_>, area: &Area, record: &RecordRef<'_>) -> Result<Option<Wanted>, EngineError> {
    let Some(source) = key::decode(record.key).filter(|_| repository::record::session_of(record.key).is_none()) else {
        return Ok(None);
    };
    let part = area.part(&source);
    if part == Part::Outside {
        return Ok(None);
    }
    let unsure = |flag: RecordFlags| record.flags.contains(flag);
    let acl =
        (!unsure(RecordFlags::ACL_UNKNOWN) && !unsure(RecordFlags::ACL_MASKED)).then(|| AclList(record.acl.into()));
    // The server recounts from here at once.
    let fresh = is_quota_stats(&source).then(|| b"count=0,bytes=0".to_vec());
    let data = match fresh {
        Some(fresh) => Some(fresh),
        None => tree.value(record.value)?.map(std::borrow::Cow::into_owned),
    };
    Ok(Some(Wanted {
        target: area.target_of(&source),
        source,
        part,
        data,
        acl,
        stat: zk_stat(&record.stat),
        data_unknown: unsure(RecordFlags::VALUE_UNREADABLE),
    }))
}
