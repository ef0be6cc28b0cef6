//! Segments and catalogs are merged; tombstones and notes that mean nothing any more go.

use std::collections::{BTreeMap, BTreeSet};

use super::Pruned;
use super::survey::Survey;
use super::sweep::delete;
use crate::error::RepositoryError;
use crate::ids::PackId;
use crate::segment::{Replaced, divide, join_replaced};
use crate::shared::Shared;

/// So many small objects are borne before they are merged.
const MANY: usize = 8;
/// Segments below this many bytes are small.
const SMALL_SEGMENT: u64 = 512 << 10;
/// Catalogs of fewer manifests are small.
const SMALL_CATALOG: usize = 256;
/// So many manifests outside any catalog are borne.
const UNCATALOGUED: usize = 64;

/// Merges what is small; gives the objects that are superseded by that.
pub(super) async fn tidy(
    shared: &Shared,
    survey: &mut Survey,
    repacked: &BTreeSet<PackId>,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<Vec<String>, RepositoryError> {
    let leftovers = std::mem::take(&mut survey.leftovers);
    let gone = delete(shared, leftovers, dry_run, done).await?;
    done.other_deleted = done.other_deleted.saturating_add(gone.len() as u64);
    for path in &gone {
        shared.cache.forget_manifest(path);
    }
    let mut superseded = merge_segments(shared, survey, repacked, dry_run, done).await?;
    superseded.extend(merge_catalogs(shared, survey, dry_run, done).await?);
    Ok(superseded)
}

async fn merge_segments(
    shared: &Shared,
    survey: &Survey,
    repacked: &BTreeSet<PackId>,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<Vec<String>, RepositoryError> {
    let condemned: BTreeSet<&String> = survey.lists.values().flat_map(|list| &list.body.objects).collect();
    let small = |path: &String| survey.others.get(path).is_none_or(|size| *size < SMALL_SEGMENT);
    let merged: Vec<_> = survey.segments.iter().filter(|(path, _)| small(path) && !condemned.contains(path)).collect();
    if merged.len() <= MANY {
        return Ok(Vec::new());
    }
    let listed = survey.listed();
    let (mut packs, mut replaced) = (BTreeMap::new(), Replaced::new());
    for (_, segment) in &merged {
        packs.extend(segment.packs.iter().filter(|p| survey.reachable.contains(&p.pack)).map(|p| (p.pack, p)));
        join_replaced(&mut replaced, segment);
    }
    replaced.retain(|old, _| {
        let there = survey.packs.contains_key(old) || survey.named.contains_key(old);
        there || listed.contains(old) || repacked.contains(old)
    });
    let segments = divide(packs.into_values().cloned(), &replaced)?;
    done.segments = done.segments.saturating_add(segments.len() as u64);
    if !dry_run {
        for segment in &segments {
            shared.write_segment(segment).await?;
        }
    }
    Ok(merged.into_iter().map(|(path, _)| path.clone()).collect())
}

async fn merge_catalogs(
    shared: &Shared,
    survey: &mut Survey,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<Vec<String>, RepositoryError> {
    let condemned: BTreeSet<&String> = survey.lists.values().flat_map(|list| &list.body.objects).collect();
    let weak = |total: usize, live: usize| live < SMALL_CATALOG || live.saturating_mul(2) < total;
    let catalogs = survey.coverage.catalogs.iter().filter(|(path, ..)| !condemned.contains(path));
    let mut superseded: Vec<String> =
        catalogs.filter(|(_, total, live)| weak(*total, *live)).map(|(path, ..)| path.clone()).collect();
    let many = superseded.len() > MANY;
    if !many {
        // Those that say nothing at all go in any case.
        let empty = |path: &String| survey.coverage.catalogs.iter().any(|(p, _, live)| p == path && *live == 0);
        superseded.retain(empty);
    }
    if survey.coverage.uncatalogued < UNCATALOGUED && !many {
        return Ok(superseded);
    }
    let mut writer = std::mem::take(&mut survey.catalogs);
    if many {
        for path in &superseded {
            for entry in shared.read_catalog(path).await?.unwrap_or_default() {
                // Entries of manifests that are gone mean nothing.
                if survey.manifests.contains(&entry.path) {
                    writer.push(&shared.crypto, entry)?;
                }
            }
        }
    }
    writer.close(&shared.crypto)?;
    done.catalogs = done.catalogs.saturating_add(writer.full.len() as u64);
    if !dry_run {
        for (path, object) in writer.full {
            shared.store.put(&path, object.into()).await?;
        }
    }
    Ok(superseded)
}
