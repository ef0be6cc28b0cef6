//! Key slots, for people: who may open the repository.

use jiff::Timestamp;
use repository::keys::{Credentials, DEFAULT_COSTS, SlotInfo};
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::repo::Repo;

/// Digits that name a slot in lists.
const SHORT: usize = 8;

/// A key slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its id.
    pub id: String,
    /// The beginning of it.
    pub short_id: String,
    /// `password` or `key-file`.
    pub kind: &'static str,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Who made it; stored in clear.
    pub label: String,
    /// Whether this process opened the repository with it.
    pub current: bool,
    /// Memory that deriving a key from the password takes, KiB.
    pub argon2_memory_kib: Option<u32>,
    /// Passes over it.
    pub argon2_passes: Option<u32>,
    /// Lanes of it.
    pub argon2_lanes: Option<u32>,
}

/// All slots.
#[derive(Clone, Debug, Serialize)]
pub struct Keys {
    /// Those that can be read.
    pub keys: Vec<KeyInfo>,
    /// What is wrong with the others.
    pub damaged: Vec<String>,
}

/// A rotation done, or planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// Number of the new encryption key.
    pub key_number: u32,
    /// Ids of the slots that hold it.
    pub rewritten: Vec<String>,
    /// Ids of the slots that were removed.
    pub removed: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
}

fn id(path: &str) -> String {
    path.strip_prefix("keys/").unwrap_or(path).to_owned()
}

fn info(slot: SlotInfo, opened: Option<&str>) -> KeyInfo {
    let id = id(&slot.path);
    KeyInfo {
        short_id: id.chars().take(SHORT).collect(),
        kind: if slot.is_key_file { "key-file" } else { "password" },
        created: Timestamp::from_millisecond(slot.created_ms).ok(),
        current: opened == Some(slot.path.as_str()),
        argon2_memory_kib: slot.costs.map(|costs| costs.memory_kib),
        argon2_passes: slot.costs.map(|costs| costs.passes),
        argon2_lanes: slot.costs.map(|costs| costs.lanes),
        label: slot.label,
        id,
    }
}

/// Lists the slots, oldest first.
pub fn list(repo: &Repo) -> Result<Keys, EngineError> {
    let (slots, damaged) = repo.block_on(repo.inner.key_slots())?;
    let mut keys: Vec<KeyInfo> = slots.into_iter().map(|slot| info(slot, repo.inner.slot())).collect();
    keys.sort_by_key(|key| (key.created, key.id.clone()));
    Ok(Keys { keys, damaged: damaged.iter().map(ToString::to_string).collect() })
}

/// Adds a slot and gives its id.
pub fn add(repo: &Repo, credentials: &Credentials, label: &str) -> Result<String, EngineError> {
    Ok(id(&repo.block_on(repo.inner.add_key(credentials, DEFAULT_COSTS, label))?))
}

/// Replaces the slot that was opened and gives the new one's id.
pub fn replace(repo: &Repo, credentials: &Credentials, label: &str) -> Result<String, EngineError> {
    Ok(id(&repo.block_on(repo.inner.replace_key(credentials, DEFAULT_COSTS, label))?))
}

/// Removes the one slot whose id starts with `prefix`, and gives its id.
pub fn remove(repo: &Repo, prefix: &str) -> Result<String, EngineError> {
    let keys = list(repo)?.keys;
    let mut matching = keys.iter().filter(|key| key.id.starts_with(prefix));
    match (matching.next(), matching.next()) {
        (Some(key), None) => {
            repo.block_on(repo.inner.remove_key(&format!("keys/{}", key.id)))?;
            Ok(key.id.clone())
        }
        (None, _) => Err(EngineError::new(
            ErrorKind::Failed,
            format!("no key slot begins with {prefix:?}; `zooark key list` shows them"),
        )),
        (Some(_), Some(_)) => Err(EngineError::new(
            ErrorKind::Failed,
            format!("several key slots begin with {prefix:?}; give more digits"),
        )),
    }
}

/// Makes a new encryption key; see [`repository::Repository::rotate_key`].
pub fn rotate(
    repo: &Repo,
    credentials: &[Credentials],
    remove_others: bool,
    dry_run: bool,
) -> Result<Rotated, EngineError> {
    let done = repo.block_on(repo.inner.rotate_key(credentials, remove_others, dry_run))?;
    let ids = |paths: Vec<String>| paths.iter().map(|path| id(path)).collect();
    Ok(Rotated { key_number: done.number, rewritten: ids(done.rewritten), removed: ids(done.removed), dry_run })
}
