//! Writing the next condemned list.

use std::collections::BTreeSet;
use std::time::SystemTime;

use bytes::Bytes;

use super::survey::{List, Survey};
use super::{PruneOptions, Pruned};
use crate::condemned::{Condemned, FIRST, MAX_CONDEMNED, condemned_path, encode_condemned, generation_of_path};
use crate::error::RepositoryError;
use crate::ids::PackId;
use crate::shared::Shared;

/// More lists than this are shortened: what keeps the old ones alive is said again on the new one.
const MANY_LISTS: usize = 8;
/// Times the next generation is tried while other prunes take it.
const ATTEMPTS: usize = 8;

/// Puts packs on the next list: those that nothing names, older than the grace period; those that were repacked; and with
/// them the objects that others supersede. Whether a list was written.
pub(super) async fn condemn(
    shared: &Shared,
    survey: &mut Survey,
    repacked: &BTreeSet<PackId>,
    objects: Vec<String>,
    options: &PruneOptions,
    done: &mut Pruned,
) -> Result<bool, RepositoryError> {
    let listed = survey.listed();
    let mut packs: BTreeSet<PackId> = BTreeSet::new();
    for (pack, facts) in survey.packs.iter().filter(|(pack, _)| !listed.contains(pack)) {
        if repacked.contains(pack) || (!survey.reachable.contains(pack) && survey.is_old(facts.modified)) {
            packs.insert(*pack);
            done.condemned.add(facts.size);
        } else if !survey.reachable.contains(pack) {
            done.young.add(facts.size);
        }
    }
    if survey.lists.len() > MANY_LISTS {
        packs.extend(carried(survey));
    }
    if options.dry_run || (packs.is_empty() && objects.is_empty()) {
        return Ok(false);
    }
    let since = survey.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let body = Condemned { since_ms, packs: packs.into_iter().collect(), objects };
    write_list(shared, &body).await?;
    Ok(true)
}

/// Packs of old lists that stay condemned for as long as a manifest names them.
fn carried(survey: &Survey) -> impl Iterator<Item = PackId> + '_ {
    let old = survey.lists.iter().filter(|(generation, list)| **generation != 1 && survey.is_old(list.written));
    let packs = old.flat_map(|(_, List { body, .. })| body.packs.iter().copied());
    packs.filter(|pack| survey.named.contains_key(pack) || survey.reachable.contains(pack))
}

/// The first list says only that there are lists.
async fn write_first(shared: &Shared) -> Result<(), RepositoryError> {
    let path = condemned_path(FIRST);
    let object = encode_condemned(&shared.crypto, &path, &Condemned::default())?.into();
    match shared.store.put_if_absent(&path, object).await {
        Err(e) if !e.is_already_exists() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Writes a list as the next generation; gives its number.
pub(crate) async fn write_list(shared: &Shared, body: &Condemned) -> Result<u64, RepositoryError> {
    let exclusive = shared.creates_exclusively().await?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let listed = shared.store.list_sorted("condemned/").await?;
        let newest = listed.iter().filter_map(|o| generation_of_path(&o.path)).max().unwrap_or(0);
        if newest < FIRST {
            write_first(shared).await?;
        }
        let generation = newest.max(FIRST).saturating_add(1);
        let path = condemned_path(generation);
        let object: Bytes = encode_condemned(&shared.crypto, &path, body)?.into();
        // Where a store cannot create exclusively, two may write one generation. The later list stands; packs that were
        // only on the other are not deleted, because deletion reads the lists anew.
        let written = if exclusive {
            shared.store.put_if_absent(&path, object.clone()).await
        } else {
            shared.store.put(&path, object.clone()).await
        };
        match written {
            Ok(()) if !exclusive && shared.store.get(&path, MAX_CONDEMNED).await? != object => {}
            Ok(()) => return Ok(generation),
            Err(e) if e.is_already_exists() => last = Some(e),
            Err(e) => return Err(e.into()),
        }
    }
    Err(last.map_or_else(
        || RepositoryError::Inconsistent { object: "condemned/".to_owned(), what: "no generation is free".to_owned() },
        RepositoryError::from,
    ))
}
