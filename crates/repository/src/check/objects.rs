//! Level 1: objects, sizes, footers, and whether every blob of every snapshot can be found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use futures::{StreamExt, stream};

use super::data::choose;
use super::{CheckOptions, CheckStats, Finding, Severity, Stage, Step};
use crate::backend::ObjectInfo;
use crate::catalog::{MAX_CATALOG, decode_catalog, is_catalog_path};
use crate::condemned::{MAX_CONDEMNED, decode_condemned, generation_of_path};
use crate::config::CONFIG_PATH;
use crate::error::{RepositoryError, error_text};
use crate::ids::{BlobId, BlobKind, PackId, SnapshotId};
use crate::keys::{MAX_SLOT, slot_info};
use crate::manifest::{Manifest, StackTable, parse_path};
use crate::notes::{MAX_NOTE, decode_note, snapshot_of_path};
use crate::pack::{PackIndex, pack_of_path, pack_path};
use crate::reader::BlobReader;
use crate::restored::{MAX_RESTORED, decode_restored, is_restored_path};
use crate::segment::{MAX_SEGMENT, Replaced, Segment, decode_segment, is_segment_path, join_replaced, with_successors};
use crate::shared::Shared;
use crate::table::{KeyRange, Leaf, TableError, read_leaves, read_refs};

const PARALLEL: usize = 16;

/// What level 1 learnt, for the others.
pub(super) struct Inventory {
    pub(super) snapshots: Vec<Manifest>,
    /// Packs to be read in full; those whose footer cannot be read are taken out.
    pub(super) chosen: BTreeSet<PackId>,
    /// Who needs a pack.
    pub(super) users: HashMap<PackId, Vec<SnapshotId>>,
    /// Where in its table a chunk of those packs belongs, where no digest is computed, which would tell as well.
    pub(super) leaves: HashMap<BlobId, Leaf>,
    /// Which packs hold the needed blobs of packs that were repacked.
    replaced: Replaced,
}

/// What an object that is no pack turned out to be.
enum Read {
    Manifest(Box<Manifest>),
    Segment(Segment),
    Other,
}

impl Inventory {
    pub(super) fn users_of(&self, pack: PackId) -> Vec<SnapshotId> {
        self.users.get(&pack).cloned().unwrap_or_default()
    }
}

type Tell<'a> = &'a mut dyn FnMut(Finding);

pub(super) fn check_objects(
    shared: &Arc<Shared>,
    options: &CheckOptions,
    stats: &mut CheckStats,
    tell: Tell<'_>,
    step: Step<'_>,
) -> Result<Inventory, RepositoryError> {
    let listed = shared.handle.block_on(shared.list_everything())?;
    stats.objects = listed.len() as u64;
    let mut inventory = Inventory {
        snapshots: Vec::new(),
        chosen: BTreeSet::new(),
        users: HashMap::new(),
        leaves: HashMap::new(),
        replaced: Replaced::new(),
    };
    let mut packs: BTreeMap<PackId, u64> = BTreeMap::new();
    let mut others = Vec::new();
    for object in &listed {
        match pack_of_path(&object.path) {
            Some(pack) => {
                packs.insert(pack, object.size);
            }
            None => others.push(object),
        }
    }
    inventory.chosen = choose(&packs, options.read_data);
    read_others(shared, &others, &mut inventory, tell)?;
    stats.snapshots = inventory.snapshots.len() as u64;
    for manifest in &inventory.snapshots {
        let packs = manifest.packs();
        let all: BTreeSet<PackId> = packs.iter().flat_map(|p| with_successors(&inventory.replaced, *p)).collect();
        for pack in all {
            inventory.users.entry(pack).or_default().push(manifest.id);
        }
    }
    read_footers(shared, &packs, &mut inventory, tell, step)?;
    for (pack, size) in &packs {
        stats.packs = stats.packs.saturating_add(1);
        stats.pack_bytes = stats.pack_bytes.saturating_add(*size);
        if !inventory.users.contains_key(pack) {
            stats.unused_packs = stats.unused_packs.saturating_add(1);
            stats.unused_bytes = stats.unused_bytes.saturating_add(*size);
        }
    }
    missing_packs(&packs, &inventory, tell);
    let footers = packs.len() as u64;
    check_tables(shared, &mut inventory, !options.digests, tell, &mut || step(Stage::Footers, footers, footers))?;
    Ok(inventory)
}

/// Reads everything but packs.
fn read_others(
    shared: &Shared,
    objects: &[&ObjectInfo],
    inventory: &mut Inventory,
    tell: Tell<'_>,
) -> Result<(), RepositoryError> {
    let reads = stream::iter(objects.iter().map(|object| object.path.as_str()))
        .map(|path| async move { (path, read_one(shared, path).await) })
        .buffered(PARALLEL);
    let results: Vec<_> = shared.handle.block_on(reads.collect());
    for (path, result) in results {
        match result {
            Ok(Read::Manifest(manifest)) => inventory.snapshots.push(*manifest),
            Ok(Read::Segment(segment)) => join_replaced(&mut inventory.replaced, &segment),
            Ok(Read::Other) => {}
            Err(RepositoryError::Store(e)) if e.is_not_found() => {}
            Err(e @ RepositoryError::Store(_)) if !e.is_of_the_object() => return Err(e),
            Err(e) => tell(unreadable(path, &e)),
        }
    }
    Ok(())
}

async fn read_one(shared: &Shared, path: &str) -> Result<Read, RepositoryError> {
    let store = &shared.store;
    if parse_path(path).is_some() {
        let object = shared.fetch_manifest(path).await?;
        let manifest = object.map_or(Ok(None), |object| shared.decode(path, &object))?;
        return Ok(manifest.map_or(Read::Other, |manifest| Read::Manifest(Box::new(manifest))));
    }
    if is_segment_path(path) {
        return Ok(Read::Segment(decode_segment(&shared.crypto, path, &store.get(path, MAX_SEGMENT).await?)?));
    }
    if snapshot_of_path(path).is_some() {
        decode_note(&shared.crypto, path, &store.get(path, MAX_NOTE).await?)?;
    } else if generation_of_path(path).is_some() {
        decode_condemned(&shared.crypto, path, &store.get(path, MAX_CONDEMNED).await?)?;
    } else if path.starts_with("keys/") {
        slot_info(path, &store.get(path, MAX_SLOT).await?)?;
    } else if is_catalog_path(path) {
        decode_catalog(&shared.crypto, path, &store.get(path, MAX_CATALOG).await?)?;
    } else if is_restored_path(path) {
        decode_restored(&shared.crypto, path, &store.get(path, MAX_RESTORED).await?)?;
    } else if path != CONFIG_PATH && !path.starts_with("lease/") {
        return Err(RepositoryError::Inconsistent {
            object: path.to_owned(),
            what: "it is no object of a repository".to_owned(),
        });
    }
    Ok(Read::Other)
}

fn unreadable(path: &str, error: &RepositoryError) -> Finding {
    let (severity, meaning, remedy) = match path.split('/').next().unwrap_or_default() {
        "snapshots" => (
            Severity::Damage,
            "this snapshot cannot be read; others do not depend on it. `zooark prune` deletes nothing meanwhile",
            "restore the object from a copy of the store; else `zooark repair snapshots` writes it again where the local cache \
             or a catalog has it, and with --forget gives it up",
        ),
        "notes" => (
            Severity::Damage,
            "tags, protection or acceptance of this snapshot are as they were before the note",
            "`zooark repair snapshots --forget` deletes it; then set them again with `zooark tag`, `zooark protect` or \
             `zooark accept`",
        ),
        "keys" => (
            Severity::Damage,
            "this password or key file no longer opens the repository",
            "add it again with `zooark key add`, then remove this slot with `zooark key remove`",
        ),
        "condemned" => (
            Severity::Damage,
            "no backup can be made: a writer cannot know which packs are about to be deleted",
            "restore the object from a copy of the store; else `zooark repair index`",
        ),
        "index" => (
            Severity::Damage,
            "packs that were repacked may not be found by the snapshots that name them",
            "restore the object from a copy of the store; else `zooark repair index`",
        ),
        "catalog" => (
            Severity::Notice,
            "snapshots are listed with more requests; nothing is lost",
            "`zooark repair index` deletes it; `zooark prune` writes another",
        ),
        "restored" => (
            Severity::Damage,
            "`restore --once` fails for this number where it has to know what this says; no snapshot is affected",
            "restore the object from a copy of the store; else give `restore --once` a higher number next time",
        ),
        _ => (Severity::Notice, "it takes space and means nothing to zooark", "delete it if it is not yours"),
    };
    Finding {
        severity,
        object: path.to_owned(),
        problem: error_text(error),
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        snapshots: Vec::new(),
    }
}

fn read_footers(
    shared: &Shared,
    packs: &BTreeMap<PackId, u64>,
    inventory: &mut Inventory,
    tell: Tell<'_>,
    step: Step<'_>,
) -> Result<(), RepositoryError> {
    let (mut done, total) = (0_u64, packs.len() as u64);
    let mut introduced: HashMap<PackId, Vec<usize>> = HashMap::new();
    for (at, manifest) in inventory.snapshots.iter().enumerate() {
        for new in &manifest.body.new_packs {
            introduced.entry(new.pack).or_default().push(at);
        }
    }
    // One after another: what is read for a footer must not pile up.
    let mut reads = stream::iter(packs.keys().copied())
        .map(|pack| async move { (pack, shared.read_footer(pack).await) })
        .buffered(PARALLEL);
    while let Some((pack, result)) = shared.handle.block_on(reads.next()) {
        step(Stage::Footers, done, total)?;
        done = done.saturating_add(1);
        let problem = match result {
            Ok((index, ..)) if packs.get(&pack) == Some(&index.size) => {
                shared.add_index(&index);
                for at in introduced.remove(&pack).into_iter().flatten() {
                    compare_entries(inventory, at, &index, tell);
                }
                continue;
            }
            Ok((index, ..)) => format!("it has {} bytes and was listed with another size", index.size),
            Err(RepositoryError::Store(e)) if e.is_not_found() => continue,
            Err(e @ RepositoryError::Store(_)) if !e.is_of_the_object() => return Err(e),
            Err(e) => error_text(&e),
        };
        inventory.chosen.remove(&pack);
        let snapshots = inventory.users_of(pack);
        tell(lost_pack(pack, problem, snapshots));
    }
    Ok(())
}

/// What a manifest says of a pack it introduced, beside what the pack says.
fn compare_entries(inventory: &Inventory, at: usize, index: &PackIndex, tell: Tell<'_>) {
    let Some(manifest) = inventory.snapshots.get(at) else { return };
    for new in manifest.body.new_packs.iter().filter(|new| new.pack == index.pack) {
        if new.index().is_some_and(|i| i != *index) || new.size != index.size {
            tell(Finding {
                severity: Severity::Damage,
                object: manifest.path.clone(),
                problem: format!("its entries of pack {} are not those of the pack", new.pack),
                meaning: "one of the two was replaced; what the pack's own footer says can still be read".to_owned(),
                remedy: "restore the pack from a copy of the store; else `zooark repair snapshots`".to_owned(),
                snapshots: inventory.users_of(new.pack),
            });
        }
    }
}

fn lost_pack(pack: PackId, problem: String, snapshots: Vec<SnapshotId>) -> Finding {
    let (meaning, remedy) = if snapshots.is_empty() {
        ("no snapshot needs it", "`zooark prune` removes it")
    } else {
        (
            "what lies in it cannot be read, so these snapshots cannot be restored whole",
            "restore the object from a copy of the store; else `zooark repair index`, which finds what other packs hold of it, \
             then `zooark repair snapshots`, which saves what is left",
        )
    };
    Finding {
        severity: if snapshots.is_empty() { Severity::Notice } else { Severity::Damage },
        object: pack_path(pack),
        problem,
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        snapshots,
    }
}

fn missing_packs(packs: &BTreeMap<PackId, u64>, inventory: &Inventory, tell: Tell<'_>) {
    let missing: BTreeSet<PackId> = inventory.users.keys().filter(|p| !packs.contains_key(p)).copied().collect();
    // What lay in a pack that others replaced is looked for in those, blob by blob.
    for pack in missing.into_iter().filter(|pack| !inventory.replaced.contains_key(pack)) {
        tell(lost_pack(pack, "it is missing".to_owned(), inventory.users_of(pack)));
    }
}

/// Walks every table once, however many snapshots have it.
fn check_tables(
    shared: &Arc<Shared>,
    inventory: &mut Inventory,
    keep_places: bool,
    tell: Tell<'_>,
    go_on: &mut dyn FnMut() -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    let reader = BlobReader::new(Arc::clone(shared));
    let mut seen: HashMap<(Option<BlobId>, Vec<PackId>), Vec<SnapshotId>> = HashMap::new();
    let mut tables: Vec<&StackTable> = Vec::new();
    for manifest in &inventory.snapshots {
        for table in &manifest.body.stack {
            let users = seen.entry((table.root.root, table.packs.clone())).or_default();
            if users.is_empty() {
                tables.push(table);
            }
            users.push(manifest.id);
        }
    }
    let mut leaves_found = HashMap::new();
    for table in tables {
        go_on()?;
        let users = seen.get(&(table.root.root, table.packs.clone())).cloned().unwrap_or_default();
        let mut blobs: Vec<(BlobId, BlobKind)> = table.root.refs.iter().map(|id| (*id, BlobKind::Refs)).collect();
        let walked = read_leaves(&reader, &table.root, &KeyRange::all(), &mut |id| blobs.push((id, BlobKind::Node)));
        let listed = read_refs(&reader, &table.root);
        let name = table.root.root.map_or_else(|| "an empty table".to_owned(), |id| format!("table {id}"));
        match (walked, listed) {
            (Ok(leaves), Ok(values)) => {
                blobs.extend(leaves.iter().map(|leaf| (leaf.id, BlobKind::Leaf)));
                blobs.extend(values.iter().map(|value| (value.id, BlobKind::Value)));
                if keep_places && !inventory.chosen.is_empty() {
                    let locations = shared.locations.read().unwrap_or_else(PoisonError::into_inner);
                    let is_chosen =
                        |leaf: &Leaf| locations.places(&leaf.id).iter().any(|p| inventory.chosen.contains(p));
                    leaves_found.extend(leaves.into_iter().filter(is_chosen).map(|leaf| (leaf.id, leaf)));
                }
            }
            // What cannot be reached just now is no damage.
            (Err(e), _) | (_, Err(e)) if !e.is_of_the_object() => return Err(e.into()),
            (Err(e), _) | (_, Err(e)) => tell(broken_table(&name, &e, &users)),
        }
        let packs: BTreeSet<PackId> =
            table.packs.iter().flat_map(|p| with_successors(&inventory.replaced, *p)).collect();
        report_unlocated(shared, &packs, &name, &blobs, &users, tell);
    }
    inventory.leaves = leaves_found;
    Ok(())
}

fn broken_table(name: &str, error: &TableError, users: &[SnapshotId]) -> Finding {
    Finding {
        severity: Severity::Damage,
        object: name.to_owned(),
        problem: error_text(error),
        meaning: "these snapshots cannot be restored whole".to_owned(),
        remedy: "restore the pack that is named from a copy of the store; else `zooark repair snapshots`".to_owned(),
        snapshots: users.to_vec(),
    }
}

fn report_unlocated(
    shared: &Shared,
    packs: &BTreeSet<PackId>,
    name: &str,
    blobs: &[(BlobId, BlobKind)],
    users: &[SnapshotId],
    tell: Tell<'_>,
) {
    let locations = shared.locations.read().unwrap_or_else(PoisonError::into_inner);
    let mut nowhere: Vec<String> = Vec::new();
    let mut elsewhere: Vec<String> = Vec::new();
    for (id, kind) in blobs {
        let places = locations.places(id);
        if places.is_empty() {
            nowhere.push(format!("{kind} {}", id.short()));
        } else if !places.iter().any(|pack| packs.contains(pack)) {
            elsewhere.push(format!("{kind} {}", id.short()));
        }
    }
    drop(locations);
    let some = |list: &[String]| {
        let more = if list.len() > 4 { ", …" } else { "" };
        format!("{}{more}", list.iter().take(4).cloned().collect::<Vec<_>>().join(", "))
    };
    let mut finding = |problem: String, meaning: &str, remedy: &str| {
        tell(Finding {
            severity: Severity::Damage,
            object: name.to_owned(),
            problem,
            meaning: meaning.to_owned(),
            remedy: remedy.to_owned(),
            snapshots: users.to_vec(),
        });
    };
    if !nowhere.is_empty() {
        finding(
            format!("{} of its blobs are in no readable pack: {}", nowhere.len(), some(&nowhere)),
            "these snapshots cannot be restored whole",
            "restore the packs from a copy of the store; else `zooark repair snapshots`, which saves what is left",
        );
    }
    if !elsewhere.is_empty() {
        finding(
            format!("{} of its blobs are in packs that it does not name: {}", elsewhere.len(), some(&elsewhere)),
            "they can be read now, but prune may delete them",
            "`zooark repair index`, before any prune",
        );
    }
}
