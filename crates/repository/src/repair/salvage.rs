//! What of a snapshot can still be read: which chunks of each table are left, and which ranges of keys are lost.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use crate::blobs::BlobSource;
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, PackId};
use crate::manifest::{Manifest, StackTable};
use crate::pack::{MAX_PACK, Tail, pack_path, read_tail};
use crate::reader::BlobReader;
use crate::record::ValueRef;
use crate::seal::open_blob;
use crate::shared::Shared;
use crate::table::{Leaf, LostPart, RefsEntry, TableError, TableKind, read_chunk, read_leaves_left, read_refs};

/// What is left of one table.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) leaves: Vec<Leaf>,
    pub(super) lost: Vec<LostPart>,
    /// Values stored apart that cannot be read.
    pub(super) lost_values: HashSet<BlobId>,
    /// Whether a list of values cannot be read, which its chunks replace.
    pub(super) lost_list: bool,
    /// Whether something is damaged where it is first, and whole elsewhere.
    pub(super) has_damaged_copy: bool,
}

impl Left {
    pub(super) fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.lost_values.is_empty() && !self.lost_list && !self.has_damaged_copy
    }
}

/// Looks at tables, each once however many snapshots have it.
pub(super) struct Examiner {
    shared: Arc<Shared>,
    pub(super) reader: BlobReader,
    /// By root, packs and whether all of it was read.
    known: HashMap<(Option<BlobId>, Vec<PackId>, bool), Arc<Left>>,
    /// Packs of which something could not be read.
    pub(super) suspects: HashSet<PackId>,
    /// Packs whose footer cannot be read.
    unreadable: HashSet<PackId>,
    /// Blobs that are damaged in a pack, whatever other packs hold.
    damaged_in: HashSet<(BlobId, PackId)>,
}

impl Examiner {
    /// `shared` knows the packs that are there, and no others.
    pub(super) fn new(shared: &Arc<Shared>, unreadable: impl IntoIterator<Item = PackId>) -> Self {
        let reader = BlobReader::new(Arc::clone(shared));
        Self {
            shared: Arc::clone(shared),
            reader,
            known: HashMap::new(),
            suspects: HashSet::new(),
            unreadable: unreadable.into_iter().collect(),
            damaged_in: HashSet::new(),
        }
    }

    /// Reads these packs whole and remembers what is damaged in them.
    pub(super) fn read_packs(&mut self, packs: &BTreeSet<PackId>) -> Result<(), RepositoryError> {
        for pack in packs {
            let object = match self.shared.handle.block_on(self.shared.store.get(&pack_path(*pack), MAX_PACK)) {
                Err(e) if e.is_not_found() => continue,
                other => other?,
            };
            let Ok(Tail::Index(index, _)) = read_tail(&self.shared.crypto, *pack, object.len() as u64, &object) else {
                continue;
            };
            let key = self.shared.key(&index.wrapped).ok();
            for (offset, blob) in index.located() {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let sealed = object.get(start..start.saturating_add(blob.len as usize)).unwrap_or_default();
                let open = |key| open_blob(&self.shared.crypto, key, &blob.id, blob.kind, sealed).ok();
                if key.as_deref().and_then(open).is_none() {
                    self.damaged_in.insert((blob.id, *pack));
                }
            }
        }
        self.suspects.extend(self.damaged_in.iter().map(|(_, pack)| *pack));
        Ok(())
    }

    /// Whether a table names a pack that cannot be read, or one in which a blob it needs is damaged.
    fn names_damage(&self, table: &StackTable, needed: &[BlobId]) -> bool {
        table.packs.iter().any(|pack| {
            self.unreadable.contains(pack) || needed.iter().any(|id| self.damaged_in.contains(&(*id, *pack)))
        })
    }

    /// What is left of each table of a snapshot. With `read` every chunk and value is read, else only nodes and lists are.
    pub(super) fn examine(&mut self, manifest: &Manifest, read: bool) -> Result<Vec<Arc<Left>>, TableError> {
        manifest.body.stack.iter().map(|table| self.table(table, read)).collect()
    }

    fn table(&mut self, table: &StackTable, read: bool) -> Result<Arc<Left>, TableError> {
        let key = (table.root.root, table.packs.clone(), read);
        if let Some(left) = self.known.get(&key) {
            return Ok(Arc::clone(left));
        }
        let mut left = Left::default();
        let mut bad = Vec::new();
        let mut needed: Vec<BlobId> = table.root.refs.clone();
        let leaves = read_leaves_left(&self.reader, &table.root, &mut |id| needed.push(id), &mut |part| {
            bad.push(part.id);
            left.lost.push(part);
        })?;
        for batch in leaves.chunks(BATCH) {
            if read {
                let wanted: Vec<_> = batch.iter().map(|leaf| (leaf.id, BlobKind::Leaf)).collect();
                self.reader.prefetch(&wanted);
            }
            for leaf in batch {
                needed.push(leaf.id);
                match self.look(leaf, read)? {
                    None => left.leaves.push(leaf.clone()),
                    Some(reason) => {
                        bad.push(leaf.id);
                        left.lost.push(lost_leaf(leaf, reason));
                    }
                }
            }
        }
        match read_refs(&self.reader, &table.root) {
            Ok(values) => {
                for value in values {
                    needed.push(value.id);
                    if !self.has_value(&value, read)? {
                        bad.push(value.id);
                        left.lost_values.insert(value.id);
                    }
                }
            }
            Err(error) if error.is_loss() => {
                left.lost_list = true;
                bad.extend(&table.root.refs);
                // Which values there are is known from the chunks only.
                for leaf in &left.leaves {
                    for value in self.values_of(leaf)? {
                        if !self.has_value(&value, read)? {
                            bad.push(value.id);
                            left.lost_values.insert(value.id);
                        }
                    }
                }
            }
            Err(error) => return Err(error),
        }
        let locations = self.shared.locations.read().unwrap_or_else(PoisonError::into_inner);
        self.suspects.extend(bad.iter().flat_map(|id| locations.places(id)));
        drop(locations);
        let damaged = self.reader.damaged();
        left.has_damaged_copy = self.names_damage(table, &needed);
        self.suspects.extend(damaged);
        let left = Arc::new(left);
        self.known.insert(key, Arc::clone(&left));
        Ok(left)
    }

    fn is_located(&self, id: &BlobId) -> bool {
        self.shared.locations.read().unwrap_or_else(PoisonError::into_inner).find(id).is_some()
    }

    /// Why a chunk cannot be read; `None` if it can, or seems to.
    fn look(&self, leaf: &Leaf, read: bool) -> Result<Option<String>, TableError> {
        if !self.is_located(&leaf.id) {
            return Ok(Some(format!("the chunk {} is in no pack", leaf.id)));
        }
        if !read {
            return Ok(None);
        }
        match read_chunk(&self.reader, leaf) {
            Ok(_) => Ok(None),
            Err(error) if error.is_loss() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn has_value(&self, value: &RefsEntry, read: bool) -> Result<bool, TableError> {
        if !self.is_located(&value.id) {
            return Ok(false);
        }
        if !read {
            return Ok(true);
        }
        match self.reader.get(&value.id, BlobKind::Value).map_err(TableError::from) {
            Ok(bytes) => Ok(bytes.len() as u64 == value.len),
            Err(error) if error.is_loss() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The values of a chunk that are stored apart. A chunk that cannot be read has none.
    pub(super) fn values_of(&self, leaf: &Leaf) -> Result<Vec<RefsEntry>, TableError> {
        let chunk = match read_chunk(&self.reader, leaf) {
            Ok(chunk) => chunk,
            Err(error) if error.is_loss() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let records = (0..chunk.len()).filter_map(|i| chunk.get(i));
        let values = records.filter_map(|record| match record.value {
            ValueRef::Blob { id, len } => Some(RefsEntry { id, len }),
            _ => None,
        });
        Ok(values.collect())
    }
}

/// Chunks that are fetched ahead together.
const BATCH: usize = 64;

fn lost_leaf(leaf: &Leaf, reason: String) -> LostPart {
    LostPart {
        id: leaf.id,
        kind: BlobKind::Leaf,
        after: leaf.after.clone(),
        last_key: Arc::clone(&leaf.last_key),
        records: leaf.records,
        tombstones: leaf.tombstones,
        reason,
    }
}

/// What a snapshot has lost, as the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Every record of the base between two keys; what later runs say of them is left.
    Records {
        /// All lost keys are greater; `None` from the beginning.
        after: Option<Vec<u8>>,
        /// No lost key is greater.
        last_key: Vec<u8>,
        /// How many.
        records: u64,
    },
    /// Changes between two keys: what is stored there may be older than the snapshot.
    Changes {
        /// All keys concerned are greater; `None` from the beginning.
        after: Option<Vec<u8>>,
        /// None of them is greater.
        last_key: Vec<u8>,
        /// How many.
        entries: u64,
    },
    /// The value of one record.
    Value {
        /// Its key.
        key: Vec<u8>,
    },
    /// A record that others need as their parent; an empty one stands for it.
    Parent {
        /// Its key.
        key: Vec<u8>,
    },
}

/// The ranges lost, neighbours joined.
pub(super) fn lost_ranges(tables: &[StackTable], left: &[Arc<Left>]) -> Vec<Lost> {
    let mut all = Vec::new();
    for (table, left) in tables.iter().zip(left) {
        let is_base = table.root.kind == TableKind::Base;
        // By where they end; parts of one table do not overlap.
        let mut parts: BTreeMap<Vec<u8>, (Option<Vec<u8>>, u64)> = BTreeMap::new();
        for part in &left.lost {
            let entries = part.records.saturating_add(if is_base { 0 } else { part.tombstones });
            let after = part.after.as_ref().map(|key| key.to_vec());
            let joined = after.as_ref().and_then(|after| parts.remove(after));
            let (after, entries) = match joined {
                Some((before, more)) => (before, more.saturating_add(entries)),
                None => (after, entries),
            };
            parts.insert(part.last_key.to_vec(), (after, entries));
        }
        all.extend(parts.into_iter().map(|(last_key, (after, entries))| {
            if is_base {
                Lost::Records { after, last_key, records: entries }
            } else {
                Lost::Changes { after, last_key, entries }
            }
        }));
    }
    all
}
