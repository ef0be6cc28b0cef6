//! Rotation of the encryption key. Two at the same time could give one number to two keys, or write over the only slot that holds
//! the other's, so only one that no other claims goes on.

use super::blocking;
use super::remember_slot;
use crate::claim::{Claim, Claimed};
use crate::crypto::Keyring;
use crate::error::RepositoryError;
use crate::keys::{Credentials, MAX_SLOT, Slot, SlotInfo, make_slot, open_slot, slot_info};
use crate::repository::Repository;

/// What a rotation of the encryption key did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Number of the new key.
    pub number: u32,
    /// Slots that hold it now, by their paths.
    pub rewritten: Vec<String>,
    /// Slots that were removed because nothing opened them.
    pub removed: Vec<String>,
}

impl Repository {
    /// Adds an encryption key, with which new objects are sealed from now on. Old objects stay readable, and only
    /// `keys/*` is rewritten.
    ///
    /// A slot can be rewritten only with what opens it, so `credentials` has to have something for each. Slots that
    /// nothing opens are an error, or removed where `remove_others` says so. The new slots are there before the old ones
    /// go; a crash in between leaves slots with and without the new key, and the next rotation joins them. Refused while
    /// another rotation is under way.
    pub async fn rotate_key(
        &self,
        credentials: &[Credentials],
        remove_others: bool,
        dry_run: bool,
    ) -> Result<Rotation, RepositoryError> {
        let keyring = self.secrets()?.clone();
        let mut claim = if dry_run { None } else { Some(Claim::take(&self.shared.store, Claimed::Rotation).await?) };
        let rotated = self.rotate_claimed(keyring, credentials, remove_others, claim.as_mut()).await;
        if let Some(claim) = claim {
            claim.end().await;
        }
        rotated
    }

    /// Without a claim nothing is written.
    async fn rotate_claimed(
        &self,
        mut keyring: Keyring,
        credentials: &[Credentials],
        remove_others: bool,
        claim: Option<&mut Claim<'_>>,
    ) -> Result<Rotation, RepositoryError> {
        let (mut opened, mut others) = (Vec::new(), Vec::new());
        for object in self.shared.store.list_sorted("keys/").await? {
            let bytes = self.shared.store.get(&object.path, MAX_SLOT).await?;
            match self.opens(&object.path, &bytes, credentials).await? {
                Some((at, found)) => {
                    if !keyring.join(&found) {
                        let what = format!(
                            "{} has another key of a number that is in use, and either would be lost; remove that slot, or open with \
                             it and remove the others",
                            object.path
                        );
                        return Err(RepositoryError::KeyRefused { what });
                    }
                    opened.push((at, slot_info(&object.path, &bytes)?));
                }
                None => others.push(object.path),
            }
        }
        if opened.is_empty() {
            return Err(RepositoryError::WrongPassword { store: self.shared.store.name().to_owned() });
        }
        if !others.is_empty() && !remove_others {
            let what = format!(
                "nothing given opens {}, and a slot can be rewritten only with what opens it; give their passwords or \
                 key files too, or let them be removed",
                others.join(", ")
            );
            return Err(RepositoryError::KeyRefused { what });
        }
        let number = keyring.rotate().map_err(|e| RepositoryError::Key { what: e.to_string() })?;
        let Some(claim) = claim else {
            let rewritten = opened.into_iter().map(|(_, info)| info.path).collect();
            return Ok(Rotation { number, rewritten, removed: others });
        };
        let (mut rewritten, mut superseded) = (Vec::new(), Vec::new());
        for (at, info) in opened {
            let Some(credentials) = credentials.get(at) else { continue };
            let slot = self.rewritten(&keyring, credentials, &info).await?;
            claim.renew().await?;
            claim.within(self.shared.store.put(&slot.path, slot.bytes.clone().into())).await??;
            if self.slot() == Some(&info.path) {
                remember_slot(&self.shared.cache, &slot.path, &slot.bytes);
            }
            if slot.path != info.path {
                superseded.push(info.path);
            }
            rewritten.push(slot.path);
        }
        for path in superseded.iter().chain(&others) {
            self.shared.store.delete(path).await?;
        }
        Ok(Rotation { number, rewritten, removed: others })
    }

    async fn rewritten(
        &self,
        keyring: &Keyring,
        credentials: &Credentials,
        info: &SlotInfo,
    ) -> Result<Slot, RepositoryError> {
        let (repository, keyring, credentials) = (self.id(), keyring.clone(), credentials.clone());
        let SlotInfo { costs, label, created_ms, .. } = info.clone();
        let costs = costs.unwrap_or(crate::keys::DEFAULT_COSTS);
        blocking(move || make_slot(repository, &keyring, &credentials, costs, &label, created_ms)).await
    }

    /// Which of the credentials opens a slot.
    async fn opens(
        &self,
        path: &str,
        slot: &[u8],
        credentials: &[Credentials],
    ) -> Result<Option<(usize, Keyring)>, RepositoryError> {
        for (at, credentials) in credentials.iter().enumerate() {
            let (repository, path, slot, credentials) =
                (self.id(), path.to_owned(), slot.to_vec(), credentials.clone());
            if let Some(found) = blocking(move || open_slot(repository, &path, &slot, &credentials)).await? {
                return Ok(Some((at, found)));
            }
        }
        Ok(None)
    }
}
