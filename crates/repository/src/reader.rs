//! Reading blobs: from what was fetched ahead, the cache, or the packs, verified by id wherever they come from.
//!
//! [`BlobReader`] is synchronous and used from computing threads; it waits for the store by handing the work to the
//! runtime the repository was opened on. It must not be called on one of that runtime's own threads.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::backend::{StoreError, StoreErrorKind};
use crate::blobs::{BlobError, BlobSource};
use crate::crypto::WrappedKey;
use crate::error::{RepositoryError, error_text};
use crate::ids::{BlobId, BlobKind, PackId};
use crate::locations::Location;
use crate::pack::{pack_of_path, pack_path};
use crate::seal::{open_blob, unseal_blob};
use crate::shared::Shared;

/// Blobs this far apart in a pack are fetched together.
const GAP: u64 = 64 << 10;
/// Longest range fetched at once, bytes.
const LONGEST: u64 = 4 << 20;
/// Bytes fetched ahead and not yet read, at most.
const AHEAD: u32 = 64 << 20;

/// Reads the blobs of one repository.
#[derive(Debug, Clone)]
pub struct BlobReader {
    shared: Arc<Shared>,
    ahead: Arc<Ahead>,
    listed: Arc<AtomicBool>,
    /// Packs in which blobs turned out to be damaged.
    damaged: Arc<Mutex<HashSet<PackId>>>,
    /// See [`Self::for_summing_up`].
    sums_up: bool,
    /// Until something there cannot be read.
    leaves_past_cache: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Ahead {
    ranges: Mutex<HashMap<BlobId, (Arc<Fetch>, Location)>>,
    room: Arc<Semaphore>,
}

/// A range being fetched: done, or still to wait for.
#[derive(Debug)]
struct Fetch {
    start: u64,
    wrapped: WrappedKey,
    state: Mutex<State>,
    done: std::sync::Condvar,
    bytes: OnceLock<Bytes>,
    permit: Mutex<Option<tokio::sync::OwnedSemaphorePermit>>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum State {
    /// Waits for room; whoever needs it now fetches for himself.
    Queued,
    Running,
    Ended,
}

impl Fetch {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.done.notify_all();
    }

    /// The bytes, if they are there or coming.
    fn wait(&self) -> Option<Bytes> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while *state == State::Running {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.bytes.get().cloned()
    }
}

/// Wakes those who wait even if the runtime drops the task.
struct EndOnDrop(Arc<Fetch>);

impl EndOnDrop {
    fn start(fetch: Arc<Fetch>) -> Self {
        fetch.set(State::Running);
        Self(fetch)
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.set(State::Ended);
    }
}

impl BlobReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let ahead = Ahead { ranges: Mutex::default(), room: Arc::new(Semaphore::new(AHEAD as usize)) };
        Self {
            shared,
            ahead: Arc::new(ahead),
            listed: Arc::default(),
            damaged: Arc::default(),
            sums_up: false,
            leaves_past_cache: Arc::default(),
        }
    }

    /// For who reads every record and compares their sum with the snapshot's state digest: that says more than the ids of the
    /// leaves, which need not be hashed, too. Their seals are verified as ever, with the id that each was sealed under.
    ///
    /// Where nothing is encrypted anybody can seal, and sums can be forged with patience: there, leaves are hashed.
    ///
    /// Leaves that the cache lacks are not put into it: a whole tree would cost a restore a third of its time, and push out
    /// what smaller questions are answered from. Where the store is a disk of this host they are not looked for there either: many
    /// rows of the cache take longer than a stretch of a pack.
    #[must_use]
    pub fn for_summing_up(self) -> Self {
        let leaves_past_cache = Arc::new(AtomicBool::new(self.shared.store.is_near()));
        Self { sums_up: true, leaves_past_cache, ..self }
    }

    fn keep(&self, id: &BlobId, kind: BlobKind, wrapped: &WrappedKey, sealed: Bytes) {
        if !(self.sums_up && kind == BlobKind::Leaf) {
            self.shared.cache.put_blobs(wrapped, &[(*id, sealed)]);
        }
    }

    /// Packs in which blobs turned out to be damaged so far, even if another copy could be read.
    pub(crate) fn damaged(&self) -> HashSet<PackId> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(
        &self,
        id: &BlobId,
        kind: BlobKind,
        wrapped: &WrappedKey,
        sealed: &[u8],
        place: impl FnOnce() -> String,
    ) -> Result<Bytes, BlobError> {
        let damaged = |what: String| BlobError::Damaged { id: *id, kind, location: place(), what };
        let key = match self.shared.key(wrapped) {
            Ok(key) => key,
            Err(e) => return Err(damaged(e.to_string())),
        };
        let by_sum = self.sums_up && self.shared.crypto.is_encrypted() && kind == BlobKind::Leaf;
        let open = if by_sum { unseal_blob } else { open_blob };
        open(&self.shared.crypto, &key, id, kind, sealed).map_err(|e| damaged(e.to_string()))
    }

    /// Sealed bytes, and where they lie if they were fetched from a pack.
    fn fetched_ahead(&self, id: &BlobId) -> Option<(WrappedKey, Bytes, Option<Location>)> {
        let at_hand = self.shared.at_hand.lock().unwrap_or_else(PoisonError::into_inner).get(id);
        if let Some((wrapped, bytes)) = at_hand {
            return Some((wrapped, bytes, None));
        }
        let (fetch, at) = self.ahead.ranges.lock().unwrap_or_else(PoisonError::into_inner).remove(id)?;
        let bytes = fetch.wait()?;
        let start = usize::try_from(at.offset.checked_sub(fetch.start)?).ok()?;
        let end = start.checked_add(at.len as usize)?;
        (end <= bytes.len()).then(|| (fetch.wrapped, bytes.slice(start..end), Some(at)))
    }

    fn located(&self, id: &BlobId, kind: BlobKind) -> Option<(Location, WrappedKey)> {
        let locations = self.shared.locations.read().unwrap_or_else(PoisonError::into_inner);
        locations.find(id).filter(|(at, _)| at.kind == kind).map(|(at, wrapped)| (at, *wrapped))
    }

    fn read_located(
        &self,
        id: &BlobId,
        kind: BlobKind,
        at: Location,
        wrapped: &WrappedKey,
    ) -> Result<Result<Bytes, BlobError>, StoreError> {
        let path = pack_path(at.pack);
        let range = at.offset..at.offset.saturating_add(u64::from(at.len));
        let sealed = self.shared.handle.block_on(self.shared.store.get_range(&path, range))?;
        let opened = self.open(id, kind, wrapped, &sealed, || at.to_string());
        if opened.is_ok() {
            self.keep(id, kind, wrapped, sealed);
        }
        Ok(opened)
    }

    /// A blob that is damaged in this pack, from wherever else it is.
    fn instead(&self, id: &BlobId, kind: BlobKind, damaged: PackId) -> Option<Bytes> {
        let mut seen = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(damaged);
        drop(seen);
        // Packs that are not known yet may have it.
        let _ = self.shared.handle.block_on(self.list_once());
        let copies = self.shared.locations.read().unwrap_or_else(PoisonError::into_inner).all_copies(id);
        let others = copies.into_iter().filter(|(at, _)| at.kind == kind && at.pack != damaged);
        let (pack, plain) = others.into_iter().find_map(|(at, wrapped)| {
            let plain = self.read_located(id, kind, at, &wrapped).ok()?.ok()?;
            Some((at.pack, plain))
        })?;
        tracing::warn!(%id, %pack, %damaged, "a blob is damaged in one pack and was read from another");
        Some(plain)
    }

    /// Looks through every pack that is not known yet: once, when a location proves old or is missing.
    async fn list_once(&self) -> Result<(), RepositoryError> {
        if self.listed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let listed = self.shared.store.list_sorted("packs/").await?;
        let packs: Vec<PackId> = listed.iter().filter_map(|o| pack_of_path(&o.path)).collect();
        for pack in packs {
            // One unreadable pack must not hide what the others hold; it is reported if something in it is needed.
            if let Err(error) = self.shared.load_packs(&[pack], None).await {
                tracing::warn!(%error, %pack, "a pack's footer cannot be read");
            }
        }
        Ok(())
    }
}

impl BlobSource for BlobReader {
    fn get(&self, id: &BlobId, kind: BlobKind) -> Result<Bytes, BlobError> {
        let store_failed =
            |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Store { id: *id, kind, source };
        if let Some((wrapped, sealed, at)) = self.fetched_ahead(id) {
            let place = || at.map_or_else(String::new, |at| at.to_string());
            match self.open(id, kind, &wrapped, &sealed, place) {
                Ok(plain) => {
                    self.keep(id, kind, &wrapped, sealed);
                    return Ok(plain);
                }
                Err(error) => back_to_cache(&self.leaves_past_cache, &error),
            }
        }
        if let Some((wrapped, sealed)) = self.shared.cache.blob(id) {
            match self.open(id, kind, &wrapped, &sealed, String::new) {
                Ok(plain) => return Ok(plain),
                Err(_) => self.shared.cache.forget_blob(id),
            }
        }
        // First where the blob is known to be, then in the packs that replaced that one, then in any.
        for attempt in 0..3_u8 {
            let mut gone = None;
            if let Some((at, wrapped)) = self.located(id, kind) {
                match self.read_located(id, kind, at, &wrapped) {
                    Ok(Err(damaged)) => return self.instead(id, kind, at.pack).ok_or(damaged),
                    Ok(opened) => return opened,
                    Err(e) if e.is_not_found() && attempt < 2 => {
                        self.shared.forget_pack(at.pack);
                        gone = Some(at.pack);
                    }
                    // The pack is damaged, not out of reach; unless the disk fails, which may pass.
                    Err(e) if e.is_of_the_object() => {
                        let damaged = match e.kind {
                            StoreErrorKind::Unreadable => store_failed(Box::new(e)),
                            _ => {
                                BlobError::Damaged { id: *id, kind, location: pack_path(at.pack), what: error_text(&e) }
                            }
                        };
                        return self.instead(id, kind, at.pack).ok_or(damaged);
                    }
                    Err(e) => return Err(store_failed(Box::new(e))),
                }
            }
            let looked = match gone.filter(|_| attempt == 0) {
                Some(pack) => self
                    .shared
                    .handle
                    .block_on(async { self.shared.load_successors(&[pack], &BTreeSet::new()).await.map(|_| ()) }),
                None => self.shared.handle.block_on(self.list_once()),
            };
            looked.map_err(|e| store_failed(Box::new(e)))?;
        }
        Err(BlobError::Missing { id: *id, kind })
    }

    fn prefetch(&self, ids: &[(BlobId, BlobKind)]) {
        let mut wanted = Vec::new();
        {
            let running = self.ahead.ranges.lock().unwrap_or_else(PoisonError::into_inner);
            let at_hand = self.shared.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
            let mut seen = HashSet::new();
            for (id, kind) in ids {
                let past_cache = *kind == BlobKind::Leaf && self.leaves_past_cache.load(Ordering::Relaxed);
                let at_hand = || at_hand.has(id) || !past_cache && self.shared.cache.has_blob(id);
                if running.contains_key(id) || !seen.insert(*id) || at_hand() {
                    continue;
                }
                if let Some((at, wrapped)) = self.located(id, *kind) {
                    wanted.push(Wanted { id: *id, at, wrapped });
                }
            }
        }
        for group in group(wanted) {
            self.fetch(&group);
        }
    }
}

/// A blob to fetch ahead.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    id: BlobId,
    at: Location,
    wrapped: WrappedKey,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.at.offset.saturating_add(u64::from(self.at.len))
    }
}

/// Neighbours in one pack, close together, in the order of their first blob's place in the request.
fn group(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut numbered: Vec<(usize, Wanted)> = wanted.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, blob)| (blob.at.pack, blob.at.offset));
    let mut groups: Vec<(usize, Vec<Wanted>)> = Vec::new();
    for (number, blob) in numbered {
        let joins = |group: &[Wanted]| {
            group.first().zip(group.last()).is_some_and(|(first, last)| {
                last.at.pack == blob.at.pack
                    && blob.at.offset.saturating_sub(last.end()) <= GAP
                    && blob.end().saturating_sub(first.at.offset) <= LONGEST
            })
        };
        match groups.last_mut() {
            Some((first, group)) if joins(group) => {
                *first = (*first).min(number);
                group.push(blob);
            }
            _ => groups.push((number, vec![blob])),
        }
    }
    groups.sort_by_key(|(first, _)| *first);
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What could not be read in a pack is looked for in the cache first from now on: a disk that fails may take its time to say so.
fn back_to_cache(past_cache: &AtomicBool, error: &dyn std::error::Error) {
    if past_cache.swap(false, Ordering::Relaxed) {
        let error = error_text(error);
        tracing::warn!(%error, "a pack cannot be read as it lies there; run `zooark check --read-data`");
    }
}

impl BlobReader {
    fn fetch(&self, group: &[Wanted]) {
        let Some((Wanted { at: first, wrapped, .. }, last)) = group.first().zip(group.last()) else { return };
        let range = first.offset..last.end();
        let path = pack_path(first.pack);
        let fetch = Arc::new(Fetch {
            start: range.start,
            wrapped: *wrapped,
            state: Mutex::new(State::Queued),
            done: std::sync::Condvar::new(),
            bytes: OnceLock::new(),
            permit: Mutex::new(None),
        });
        {
            let mut running = self.ahead.ranges.lock().unwrap_or_else(PoisonError::into_inner);
            running.extend(group.iter().map(|blob| (blob.id, (Arc::clone(&fetch), blob.at))));
        }
        let (store, room) = (self.shared.store.clone(), Arc::clone(&self.ahead.room));
        let past_cache = Arc::clone(&self.leaves_past_cache);
        let weight = u32::try_from(range.end.saturating_sub(range.start)).unwrap_or(u32::MAX).min(AHEAD);
        let at_once = Arc::clone(&room).try_acquire_many_owned(weight).ok();
        // A fetch that waits for room holds no strong reference: when every blob of it was asked for before its turn,
        // there is nothing left to fetch.
        let (weak, at_once) = (Arc::downgrade(&fetch), at_once.map(|permit| (EndOnDrop::start(fetch), permit)));
        self.shared.handle.spawn(async move {
            let (running, permit) = if let Some(ready) = at_once {
                ready
            } else {
                let Ok(permit) = room.acquire_many_owned(weight).await else { return };
                let Some(fetch) = weak.upgrade() else { return };
                (EndOnDrop::start(fetch), permit)
            };
            *running.0.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            match store.get_range(&path, range).await {
                // Set once, here.
                Ok(bytes) => drop(running.0.bytes.set(bytes)),
                // It shows when the blob is read by itself, if it must be.
                Err(error) => back_to_cache(&past_cache, &error),
            }
        });
    }
}
