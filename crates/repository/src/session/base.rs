//! What a backup builds upon: the lists it has to avoid, its parent, and the blobs it may refer to.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::SystemTime;

use crate::clock::Moment;
use crate::codec::{decode, encode};
use crate::condemned::{Avoid, read_condemned};
use crate::error::RepositoryError;
use crate::ids::{BlobId, LineageId, PackId};
use crate::manifest::{Manifest, SnapshotManifest, manifest_path, parse_path};
use crate::rules::Rule;
use crate::shared::Shared;

const AVOID_FACT: &str = "condemned";
const MAX_FACT: usize = 64 << 20;

/// What the backup builds upon.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) began: Moment,
    pub(super) began_wall: SystemTime,
    pub(super) avoid: Avoid,
    /// Packs of the parent that the new snapshot must not name: condemned, or gone because others replaced them.
    pub(super) unusable: BTreeSet<PackId>,
    pub(super) parent: Option<Manifest>,
    pub(super) next_seq: u64,
    /// Whether the store lets exactly one of two writers have a number.
    pub(super) exclusive: bool,
    /// Blobs the new snapshot may refer to without uploading them.
    pub(super) reachable: HashMap<BlobId, PackId>,
}

/// When the lists were read, and what they say.
struct Started {
    exclusive: bool,
    began: Moment,
    began_wall: SystemTime,
    avoid: Avoid,
    /// Packs that cannot be read, or of which something cannot.
    lost: BTreeSet<PackId>,
}

fn newest_fact(lineage: LineageId) -> String {
    format!("newest {lineage}")
}

impl Base {
    pub(super) async fn find(shared: &Shared, lineage: LineageId) -> Result<Self, RepositoryError> {
        let exclusive = shared.creates_exclusively().await?;
        let (began, began_wall) = (shared.clock.moment(), shared.clock.wall());
        let known = shared.cache.fact(AVOID_FACT).and_then(|fact| {
            let (newest, packs) = decode::<(u64, Vec<PackId>), MAX_FACT>("cached lists", &fact).ok()?;
            Some(Avoid { newest, packs: packs.into_iter().collect() })
        });
        let too_early = if shared.rules.have(Rule::ListsFirst) {
            None
        } else {
            Some(newest_manifest(shared, lineage, exclusive, 0).await?)
        };
        let mut avoid = read_condemned(&shared.store, &shared.crypto, known.clone()).await?;
        if known.as_ref() != Some(&avoid)
            && let Ok(fact) = encode("cached lists", &(avoid.newest, avoid.packs.iter().collect::<Vec<_>>()))
        {
            shared.cache.put_fact(AVOID_FACT, &fact);
        }
        if !shared.rules.have(Rule::AvoidListed) {
            avoid.packs.clear();
        }
        let (parent, newest_seq) = match too_early {
            None => newest_manifest(shared, lineage, exclusive, avoid.newest).await?,
            Some(found) => found,
        };
        Self::upon(
            shared,
            Started { exclusive, began, began_wall, avoid, lost: BTreeSet::new() },
            lineage,
            parent,
            newest_seq,
        )
        .await
    }

    /// What a repaired snapshot builds upon: the damaged one, confirmed after the lists were read, but for the packs `lost`.
    pub(super) async fn of_repair(
        shared: &Shared,
        lineage: LineageId,
        original: &Manifest,
        lost: &BTreeSet<PackId>,
    ) -> Result<Self, RepositoryError> {
        let exclusive = shared.creates_exclusively().await?;
        let (began, began_wall) = (shared.clock.moment(), shared.clock.wall());
        let mut avoid = read_condemned(&shared.store, &shared.crypto, None).await?;
        shared.store.head(&original.path).await?;
        let listed = shared.store.list_sorted(&format!("snapshots/{lineage}/")).await?;
        let newest_seq = listed.iter().filter_map(|o| Some(parse_path(&o.path)?.1)).max().unwrap_or(0);
        avoid.packs.extend(lost);
        // What the manifest itself says of its packs is not taken for true.
        let started = Started { exclusive, began, began_wall, avoid, lost: lost.clone() };
        let doubted =
            Manifest { body: SnapshotManifest { new_packs: Vec::new(), ..original.body.clone() }, ..original.clone() };
        Self::upon(shared, started, lineage, Some(doubted), newest_seq).await
    }

    async fn upon(
        shared: &Shared,
        started: Started,
        lineage: LineageId,
        parent: Option<Manifest>,
        newest_seq: u64,
    ) -> Result<Self, RepositoryError> {
        let Started { exclusive, began, began_wall, avoid, lost } = started;
        let (mut reachable, mut unusable) = (HashMap::new(), BTreeSet::new());
        if let Some(parent) = &parent {
            let packs = parent.packs();
            let readable: Vec<PackId> = packs.iter().copied().filter(|pack| !lost.contains(pack)).collect();
            unusable = shared.load_packs(&readable, Some(parent)).await?.into_iter().collect();
            unusable.extend(packs.iter().filter(|pack| avoid.packs.contains(pack)));
            let left: Vec<PackId> = unusable.iter().copied().collect();
            let successors = shared.load_successors(&left, &avoid.packs).await?;
            let usable = packs.into_iter().filter(|pack| !unusable.contains(pack)).chain(successors).collect();
            let locations = shared.locations.read().unwrap_or_else(PoisonError::into_inner);
            reachable = locations.within(&usable);
        }
        let next_seq = newest_seq.checked_add(1).ok_or_else(|| RepositoryError::Inconsistent {
            object: format!("snapshots/{lineage}"),
            what: "its numbers are used up".to_owned(),
        })?;
        Ok(Self { began, began_wall, avoid, unusable, parent, next_seq, exclusive, reachable })
    }
}

/// The newest snapshot of a lineage, and the highest number in use. With a warm cache: one GET that confirms the newest
/// known manifest and one that shows there is no later one. Otherwise one LIST: also if there are condemned lists that
/// the cache has not seen, for `forget` writes one before it leaves a gap behind a manifest.
async fn newest_manifest(
    shared: &Shared,
    lineage: LineageId,
    exclusive: bool,
    generation: u64,
) -> Result<(Option<Manifest>, u64), RepositoryError> {
    if exclusive
        && let Some((path, mut seq)) = known_newest(shared, lineage, generation)
        && let Some(cached) = shared.cache.manifest(&path)
        && let Some(mut object) = shared.fetch_manifest(&path).await?
        && object == cached
    {
        let mut path = path;
        while let Some(next) = seq.checked_add(1) {
            let next_path = manifest_path(lineage, next);
            let Some(later) = shared.fetch_manifest(&next_path).await? else { break };
            (seq, path, object) = (next, next_path, later);
        }
        if let Some(manifest) = shared.decode(&path, &object)? {
            keep_newest(shared, lineage, generation, seq, &path, &object);
            return Ok((Some(manifest), seq));
        }
    }
    let listed = shared.store.list_sorted(&format!("snapshots/{lineage}/")).await?;
    let mut numbered: Vec<(u64, String)> =
        listed.into_iter().filter_map(|o| Some((parse_path(&o.path)?.1, o.path))).collect();
    numbered.sort_unstable();
    let newest_seq = numbered.last().map_or(0, |(seq, _)| *seq);
    for (_, path) in numbered.into_iter().rev() {
        let Some(object) = shared.fetch_manifest(&path).await? else { continue };
        if let Some(manifest) = shared.decode(&path, &object)? {
            keep_newest(shared, lineage, generation, newest_seq, &path, &object);
            return Ok((Some(manifest), newest_seq));
        }
    }
    Ok((None, newest_seq))
}

/// The newest manifest as the cache knows it, and the highest number, which may be that of a tombstone or of a gap before
/// one; if no list was written since.
fn known_newest(shared: &Shared, lineage: LineageId, generation: u64) -> Option<(String, u64)> {
    let fact = String::from_utf8(shared.cache.fact(&newest_fact(lineage))?.into()).ok()?;
    let mut parts = fact.split(' ');
    let (path, then, seq) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    (then.parse() == Ok(generation)).then(|| (path.to_owned(), seq))
}

pub(super) fn keep_newest(shared: &Shared, lineage: LineageId, generation: u64, seq: u64, path: &str, object: &[u8]) {
    shared.cache.put_manifest(path, object);
    shared.cache.put_fact(&newest_fact(lineage), format!("{path} {generation} {seq}").as_bytes());
}
