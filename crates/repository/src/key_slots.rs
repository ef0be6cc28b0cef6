//! The key slots of a repository: which one opens it, adding, removing, replacing.

mod rotate;

pub use rotate::Rotation;

use crate::backend::Store;
use crate::cache::Cache;
use crate::clock::now_ms;
use crate::crypto::Keyring;
use crate::error::RepositoryError;
use crate::ids::RepositoryId;
use crate::keys::{Costs, Credentials, MAX_SLOT, MAX_SLOTS, SlotInfo, make_slot, open_slot, slot_info};
use crate::repository::Repository;

impl Repository {
    /// The key slots; none where the repository is not encrypted. Those that cannot be read are given with the reason.
    pub async fn key_slots(&self) -> Result<(Vec<SlotInfo>, Vec<RepositoryError>), RepositoryError> {
        let (mut slots, mut damaged) = (Vec::new(), Vec::new());
        for object in self.shared.store.list_sorted("keys/").await? {
            let bytes = match self.shared.store.get(&object.path, MAX_SLOT).await {
                Err(e) if e.is_not_found() => continue,
                other => other?,
            };
            match slot_info(&object.path, &bytes) {
                Ok(info) => slots.push(info),
                Err(e) => damaged.push(e),
            }
        }
        Ok((slots, damaged))
    }

    /// Adds a key slot that opens with `credentials`. A key file that opens it already gets its slot anew.
    pub async fn add_key(
        &self,
        credentials: &Credentials,
        costs: Costs,
        label: &str,
    ) -> Result<String, RepositoryError> {
        self.slot_is_current().await?;
        let slot = make_slot(self.id(), self.secrets()?, credentials, costs, label, now_ms())?;
        self.shared.store.put(&slot.path, slot.bytes.into()).await?;
        Ok(slot.path)
    }

    /// Removes a key slot, unless no other readable one is left. Where another host removed the others at the same time, it is put
    /// back.
    pub async fn remove_key(&self, path: &str) -> Result<(), RepositoryError> {
        let what = format!("{path} is the last key slot; without it nothing could be read. Add another first");
        let slot = match self.shared.store.get(path, MAX_SLOT).await {
            Err(e) if e.is_not_found() => None,
            other => Some(other?),
        };
        if !self.has_slot_besides(path).await? {
            return Err(RepositoryError::KeyRefused { what });
        }
        self.shared.store.delete(path).await?;
        if let Some(slot) = slot
            && !self.has_slot_besides(path).await?
        {
            self.shared.store.put(path, slot).await?;
            return Err(RepositoryError::KeyRefused { what });
        }
        if self.slot() == Some(path) {
            forget_slot(&self.shared.cache);
        }
        Ok(())
    }

    async fn has_slot_besides(&self, path: &str) -> Result<bool, RepositoryError> {
        Ok(self.key_slots().await?.0.iter().any(|slot| slot.path != path))
    }

    /// Refuses where the slot that was opened came from this host's cache and is another in the store by now: it may lack
    /// keys.
    async fn slot_is_current(&self) -> Result<(), RepositoryError> {
        let fact = self.shared.cache.fact(SLOT_FACT);
        let known = fact.as_deref().and_then(split_slot_fact).filter(|(path, _)| Some(*path) == self.slot());
        let Some((path, known)) = known else { return Ok(()) };
        match self.shared.store.get(path, MAX_SLOT).await {
            Ok(there) if *there == *known => return Ok(()),
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
        let what =
            format!("{path} was changed since this host read it last; run the command again, which reads it anew");
        forget_slot(&self.shared.cache);
        Err(RepositoryError::KeyRefused { what })
    }

    /// Replaces the slot that was opened by one that opens with `credentials`: the new one is there before the old goes.
    pub async fn replace_key(
        &self,
        credentials: &Credentials,
        costs: Costs,
        label: &str,
    ) -> Result<String, RepositoryError> {
        let path = self.add_key(credentials, costs, label).await?;
        if let Some(old) = self.slot().filter(|old| *old != path) {
            // Another host may have rotated the keys meanwhile.
            self.slot_is_current().await?;
            self.remove_key(old).await?;
        }
        Ok(path)
    }

    fn secrets(&self) -> Result<&Keyring, RepositoryError> {
        self.keyring().ok_or_else(|| RepositoryError::KeyRefused {
            what: format!("the repository in {} is not encrypted: it has no keys", self.shared.store.name()),
        })
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

const SLOT_FACT: &str = "key slot";

/// Finds the slot that the credentials open: the one that was used last, the key file's own, or any.
pub(crate) async fn unlock(
    store: &Store,
    repository: RepositoryId,
    credentials: &Credentials,
    cache: &Cache,
) -> Result<(String, Keyring), RepositoryError> {
    let try_slot = |path: String, bytes: bytes::Bytes| {
        let credentials = credentials.clone();
        blocking(move || open_slot(repository, &path, &bytes, &credentials))
    };
    let mut tried = None;
    if let Some(fact) = cache.fact(SLOT_FACT)
        && let Some((path, slot)) = split_slot_fact(&fact)
    {
        let bytes = bytes::Bytes::copy_from_slice(slot);
        if let Ok(Some(keyring)) = try_slot(path.to_owned(), bytes.clone()).await {
            return Ok((path.to_owned(), keyring));
        }
        tried = Some(bytes);
    }
    let paths = if let Credentials::KeyFile(file) = credentials {
        vec![file.slot_path()]
    } else {
        let listed = store.list_sorted("keys/").await?;
        listed.into_iter().take(MAX_SLOTS).map(|o| o.path).collect()
    };
    let mut first_error = None;
    for path in paths {
        let bytes = match store.get(&path, MAX_SLOT).await {
            Err(e) if e.is_not_found() => continue,
            other => other?,
        };
        if tried.as_ref() == Some(&bytes) {
            continue;
        }
        match try_slot(path.clone(), bytes.clone()).await {
            Ok(Some(keyring)) => {
                remember_slot(cache, &path, &bytes);
                return Ok((path, keyring));
            }
            Ok(None) => {}
            // A damaged slot matters only if no other opens.
            Err(e) => first_error = first_error.or(Some(e)),
        }
    }
    Err(first_error.unwrap_or_else(|| RepositoryError::WrongPassword { store: store.name().to_owned() }))
}

/// Keeps the slot that was opened, so that the next opening needs no request for it.
pub(crate) fn remember_slot(cache: &Cache, path: &str, slot: &[u8]) {
    cache.put_fact(SLOT_FACT, &[path.as_bytes(), b"\n", slot].concat());
}

/// The next opening reads the slot from the store.
pub(crate) fn forget_slot(cache: &Cache) {
    cache.put_fact(SLOT_FACT, b"");
}

fn split_slot_fact(fact: &[u8]) -> Option<(&str, &[u8])> {
    let at = fact.iter().position(|b| *b == b'\n')?;
    Some((std::str::from_utf8(fact.get(..at)?).ok()?, fact.get(at.checked_add(1)?..)?))
}

#[cfg(test)]
mod tests;
