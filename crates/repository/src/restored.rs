//! Restores that happen once for a number: `restored/<cluster>/<number>/choice` says which snapshot all members of a cluster
//! restore and how, `restored/<cluster>/<number>/<member>` that a member did.
//!
//! Both are created once and never change: whoever comes second goes by what is there. Nothing else in a repository
//! depends on them, and nothing deletes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::claim::{Claim, Claimed};
use crate::codec::{ObjectKind, decode_body, encode_body};
use crate::crypto::Crypto;
use crate::error::RepositoryError;
use crate::ids::{IdentityKeys, RestoredId, SnapshotId};
use crate::repository::Repository;
use crate::seal::{SealError, open_object, seal_object};

const VERSION: u8 = 1;
const MAX_BODY: usize = 64 << 10;
/// Longest such object, bytes.
pub const MAX_RESTORED: u64 = 128 << 10;
/// Longest name of a cluster or member, and longest wording of a snapshot, bytes.
pub const MAX_NAME: usize = 4096;
const WHAT: &str = "restored member";
const FOLDER: &str = "restored/";
const CHOICE: &str = "choice";
/// Times a claim is tried that others hold.
const ATTEMPTS: u32 = 20;

/// What every member restores for a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// When it was written, milliseconds since 1970.
    pub written_ms: i64,
    /// The cluster.
    pub cluster: String,
    /// The number.
    pub number: u64,
    /// The snapshot in the words that it was asked for.
    pub asked: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The zxid the restored file is named for.
    pub file_zxid: i64,
    /// Whether ephemeral nodes and sessions are restored.
    pub ephemerals: bool,
    /// Whether a configuration node is added where the snapshot has none.
    pub configuration: bool,
    /// The member that wrote it.
    pub by: String,
}

/// A member that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredMember {
    /// When it was written, milliseconds since 1970.
    pub written_ms: i64,
    /// The cluster.
    pub cluster: String,
    /// The number.
    pub number: u64,
    /// The member.
    pub member: String,
    /// The snapshot it was restored from.
    pub snapshot: SnapshotId,
    /// The zxid its file was named for.
    pub file_zxid: i64,
}

/// The body of such an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restored {
    /// What is restored.
    Choice(Choice),
    /// Who was.
    Member(RestoredMember),
}

fn folder(keys: &IdentityKeys, cluster: &str, number: u64) -> String {
    format!("{FOLDER}{}/{number:020}/", keys.restored_id(&[cluster.as_bytes()]))
}

/// Path of the choice for a number.
pub fn choice_path(keys: &IdentityKeys, cluster: &str, number: u64) -> String {
    format!("{}{CHOICE}", folder(keys, cluster, number))
}

/// Path of what says that a member was restored.
pub fn member_path(keys: &IdentityKeys, cluster: &str, number: u64, member: &str) -> String {
    format!("{}{}", folder(keys, cluster, number), keys.restored_id(&[cluster.as_bytes(), member.as_bytes()]))
}

/// Whether a path is one of these.
pub fn is_restored_path(path: &str) -> bool {
    let Some((cluster, rest)) = path.strip_prefix(FOLDER).and_then(|rest| rest.split_once('/')) else { return false };
    let Some((number, name)) = rest.split_once('/') else { return false };
    cluster.parse::<RestoredId>().is_ok()
        && number.parse::<u64>().is_ok_and(|n| n > 0 && format!("{n:020}") == number)
        && (name == CHOICE || name.parse::<RestoredId>().is_ok())
}

/// The object's bytes.
pub fn encode_restored(crypto: &Crypto, path: &str, restored: &Restored) -> Result<Vec<u8>, RepositoryError> {
    let body = encode_body(WHAT, restored).map_err(|e| RepositoryError::writing(path, e))?;
    seal_object(crypto, ObjectKind::Restored, VERSION, path, b"", &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(path, e))
}

/// Reads an object, which must be what its path says.
pub fn decode_restored(crypto: &Crypto, path: &str, object: &[u8]) -> Result<Restored, RepositoryError> {
    let damaged = |e: SealError| RepositoryError::reading(path, e);
    let body = open_object(crypto, WHAT, ObjectKind::Restored, VERSION, path, 0, object, MAX_BODY).map_err(damaged)?;
    let restored: Restored = decode_body::<_, MAX_BODY>(WHAT, &body).map_err(|e| damaged(e.into()))?;
    let keys = crypto.identity();
    let meant = match &restored {
        Restored::Choice(choice) => choice_path(keys, &choice.cluster, choice.number),
        Restored::Member(member) => member_path(keys, &member.cluster, member.number, &member.member),
    };
    if meant != path {
        let what = "it is about another cluster, number or member".to_owned();
        return Err(RepositoryError::Inconsistent { object: path.to_owned(), what });
    }
    Ok(restored)
}

impl Repository {
    /// What was chosen for a number.
    pub async fn choice(&self, cluster: &str, number: u64) -> Result<Option<Choice>, RepositoryError> {
        let path = choice_path(self.identity(), cluster, number);
        match self.read_restored(&path).await? {
            None => Ok(None),
            Some(Restored::Choice(choice)) => Ok(Some(choice)),
            Some(Restored::Member(_)) => Err(other_body(&path)),
        }
    }

    /// Chooses, unless somebody did before: gives the choice that holds. However many do so at once, all get the same one.
    pub async fn choose(&self, choice: &Choice) -> Result<Choice, RepositoryError> {
        let path = choice_path(self.identity(), &choice.cluster, choice.number);
        let object = encode_restored(self.crypto(), &path, &Restored::Choice(choice.clone()))?;
        if !self.shared.creates_exclusively().await? {
            return self.choose_in_turn(choice, &path, &object).await;
        }
        match self.store().put_if_absent(&path, object.into()).await {
            Ok(()) => Ok(choice.clone()),
            Err(e) if e.is_already_exists() => self.must_have_chosen(choice, &path).await,
            Err(e) => Err(e.into()),
        }
    }

    /// Where two creates of one name may both succeed, one waits for the other.
    async fn choose_in_turn(&self, choice: &Choice, path: &str, object: &[u8]) -> Result<Choice, RepositoryError> {
        for attempt in 1.. {
            if let Some(there) = self.choice(&choice.cluster, choice.number).await? {
                return Ok(there);
            }
            match Claim::take(self.store(), Claimed::Choice).await {
                Ok(mut claim) => {
                    let chosen = self.choose_claimed(choice, path, object, &mut claim).await;
                    claim.end().await;
                    return chosen;
                }
                Err(RepositoryError::Claimed { .. }) if attempt < ATTEMPTS => {
                    // Two that saw each other must not come back together.
                    let spread = u64::try_from(Ulid::generate().0 % 400).unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(100_u64.saturating_add(spread))).await;
                }
                Err(e) => return Err(e),
            }
        }
        self.must_have_chosen(choice, path).await
    }

    async fn choose_claimed(
        &self,
        choice: &Choice,
        path: &str,
        object: &[u8],
        claim: &mut Claim<'_>,
    ) -> Result<Choice, RepositoryError> {
        if self.choice(&choice.cluster, choice.number).await?.is_none() {
            claim.renew().await?;
            claim.within(self.store().put(path, object.to_vec().into())).await??;
        }
        self.must_have_chosen(choice, path).await
    }

    async fn must_have_chosen(&self, choice: &Choice, path: &str) -> Result<Choice, RepositoryError> {
        self.choice(&choice.cluster, choice.number).await?.ok_or_else(|| RepositoryError::Inconsistent {
            object: path.to_owned(),
            what: "the store says that it is there, and does not give it".to_owned(),
        })
    }

    /// Whether a member was restored for a number.
    pub async fn restored_member(
        &self,
        cluster: &str,
        number: u64,
        member: &str,
    ) -> Result<Option<RestoredMember>, RepositoryError> {
        let path = member_path(self.identity(), cluster, number, member);
        match self.read_restored(&path).await? {
            None => Ok(None),
            Some(Restored::Member(member)) => Ok(Some(member)),
            Some(Restored::Choice(_)) => Err(other_body(&path)),
        }
    }

    /// Says that a member was restored; once is enough.
    pub async fn record_restored(&self, member: &RestoredMember) -> Result<(), RepositoryError> {
        if self.restored_member(&member.cluster, member.number, &member.member).await?.is_some() {
            return Ok(());
        }
        let path = member_path(self.identity(), &member.cluster, member.number, &member.member);
        let object = encode_restored(self.crypto(), &path, &Restored::Member(member.clone()))?;
        let written = if self.shared.creates_exclusively().await? {
            self.store().put_if_absent(&path, object.into()).await
        } else {
            // Nobody else writes about this member, and whoever did would say the same.
            self.store().put(&path, object.into()).await
        };
        match written {
            Err(e) if e.is_already_exists() => Ok(()),
            other => Ok(other?),
        }
    }

    async fn read_restored(&self, path: &str) -> Result<Option<Restored>, RepositoryError> {
        match self.store().get(path, MAX_RESTORED).await {
            Ok(object) => decode_restored(self.crypto(), path, &object).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn other_body(path: &str) -> RepositoryError {
    RepositoryError::Inconsistent { object: path.to_owned(), what: "it is no record of this kind".to_owned() }
}

#[cfg(test)]
mod tests;
