//! Deleting what was on a list for the grace period.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};

use super::Pruned;
use super::survey::{Survey, read_lists};
use crate::condemned::condemned_path;
use crate::error::RepositoryError;
use crate::forget::is_refusal;
use crate::ids::PackId;
use crate::pack::pack_path;
use crate::rules::Rule;
use crate::shared::Shared;

const PARALLEL: usize = 16;

/// Deletes packs of lists older than the grace period that no manifest names, those in `superseded` whose needed blobs
/// are elsewhere, and superseded segments and catalogs. What is gone is taken out of the survey.
pub(super) async fn delete_ripe(
    shared: &Shared,
    survey: &mut Survey,
    superseded: &BTreeSet<PackId>,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<(), RepositoryError> {
    let (mut packs, mut objects, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    // A pack on several lists waits since the first.
    for list in survey.lists.values() {
        let ripe = survey.is_old(list.written) || !shared.rules.have(Rule::Grace);
        for pack in list.body.packs.iter().filter(|pack| seen.insert(**pack)) {
            let Some(facts) = survey.packs.get(pack) else { continue };
            let needed =
                survey.reachable.contains(pack) && !superseded.contains(pack) && shared.rules.have(Rule::Rescue);
            if needed && (ripe || !survey.replaced.contains_key(pack)) {
                done.rescued.add(facts.size);
            } else if ripe {
                packs.push((*pack, facts.size));
            } else {
                done.waiting.add(facts.size);
            }
        }
        if ripe {
            objects.extend(list.body.objects.iter().filter(|path| survey.others.contains_key(*path)).cloned());
        }
    }
    let paths = packs.iter().map(|(pack, _)| pack_path(*pack)).collect();
    let gone = delete(shared, paths, dry_run, done).await?;
    for (pack, size) in packs {
        if gone.contains(&pack_path(pack)) {
            shared.forget_pack(pack);
            survey.packs.remove(&pack);
            done.deleted.add(size);
        }
    }
    for path in delete(shared, objects.into_iter().collect(), dry_run, done).await? {
        survey.others.remove(&path);
        survey.segments.retain(|(segment, _)| *segment != path);
        shared.cache.forget_manifest(&path);
        done.other_deleted = done.other_deleted.saturating_add(1);
    }
    Ok(())
}

/// Deletes objects; gives those that are gone. What the store refuses is counted.
pub(super) async fn delete(
    shared: &Shared,
    paths: Vec<String>,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<BTreeSet<String>, RepositoryError> {
    if dry_run {
        return Ok(paths.into_iter().collect());
    }
    let mut gone = BTreeSet::new();
    let mut deletes = stream::iter(paths)
        .map(|path| async move {
            let result = shared.store.delete(&path).await;
            (path, result)
        })
        .buffered(PARALLEL);
    while let Some((path, result)) = deletes.next().await {
        match result {
            Ok(()) => {
                gone.insert(path);
            }
            Err(e) if is_refusal(&e) => {
                done.refused = done.refused.saturating_add(1);
                done.refusal.get_or_insert_with(|| e.to_string());
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(gone)
}

/// Removes lists, oldest first, that say nothing any more: each of their packs is on a later list, or is gone and named by
/// no manifest. The first and the highest stay, so that writers need no listing.
pub(super) async fn remove_finished_lists(
    shared: &Shared,
    survey: &Survey,
    dry_run: bool,
    done: &mut Pruned,
) -> Result<(), RepositoryError> {
    if dry_run {
        return Ok(());
    }
    // Those written meanwhile count as later ones.
    let lists = read_lists(shared).await?;
    let Some(highest) = lists.keys().next_back().copied() else { return Ok(()) };
    for (generation, list) in lists.iter().filter(|(g, _)| **g != 1 && **g != highest) {
        let Some(surveyed) = survey.lists.get(generation) else { break };
        let later: BTreeSet<PackId> = lists
            .range(generation.saturating_add(1)..)
            .flat_map(|(_, later)| later.body.packs.iter().copied())
            .collect();
        let over = |pack: &PackId| {
            let needed = survey.packs.contains_key(pack) || survey.named.contains_key(pack);
            later.contains(pack) || !needed || !shared.rules.have(Rule::ListsStay)
        };
        let finished = survey.is_old(surveyed.written)
            && list.body.packs.iter().all(over)
            && list.body.objects.iter().all(|path| !survey.others.contains_key(path));
        if !finished {
            break;
        }
        let removed = delete(shared, vec![condemned_path(*generation)], false, done).await?;
        if removed.is_empty() {
            break;
        }
        done.other_deleted = done.other_deleted.saturating_add(1);
    }
    Ok(())
}
