//! What can go wrong with a repository, by what the caller can do about it.

use crate::backend::{StoreError, StoreErrorKind};
use crate::blobs::BlobError;
use crate::codec::CodecError;
use crate::crypto::CryptoError;
use crate::ids::{RepositoryId, SnapshotId};
use crate::seal::SealError;

/// A failed operation on a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no repository at the location.
    #[error("there is no repository in {store}; check the location, or make one with `zooark init`")]
    NoRepository {
        /// The store.
        store: String,
    },
    /// `init` where a repository is already.
    #[error("there is a repository in {store} already; choose another location")]
    AlreadyInitialised {
        /// The store.
        store: String,
    },
    /// No key slot opens with the password or key file given.
    #[error("wrong password or key file for the repository in {store}")]
    WrongPassword {
        /// The store.
        store: String,
    },
    /// The repository is encrypted and no credentials were given.
    #[error("the repository in {store} is encrypted; give its password or key file")]
    CredentialsNeeded {
        /// The store.
        store: String,
    },
    /// Credentials were given for a repository that uses none.
    #[error(
        "the repository in {store} is not encrypted, but a password or key file was given; if that is intended, leave it out"
    )]
    Unencrypted {
        /// The store.
        store: String,
    },
    /// Another repository than the cache has seen there.
    #[error(
        "{store} holds repository {found}, but it held {expected} before; if it was replaced on purpose, delete the cache"
    )]
    OtherRepository {
        /// The store.
        store: String,
        /// Id known before.
        expected: RepositoryId,
        /// Id found.
        found: RepositoryId,
    },
    /// The store cannot do what a repository needs.
    #[error("{store} cannot hold a repository: {reason}")]
    Unsuitable {
        /// The store.
        store: String,
        /// What it did wrong.
        reason: String,
    },
    /// A stored object is not what was written.
    #[error("{object} is damaged; run `zooark check`")]
    Damaged {
        /// The object's path.
        object: String,
        /// What is wrong with it.
        source: Box<SealError>,
    },
    /// A stored object contradicts itself or others.
    #[error("{object} is damaged: {what}; run `zooark check`")]
    Inconsistent {
        /// The object's path.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// An object was written by a later version, or for another feature set.
    #[error("{object} cannot be read by this version; use a newer zooark")]
    TooNew {
        /// The object's path.
        object: String,
        /// What is not known.
        source: Box<SealError>,
    },
    /// A blob could not be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A table of a snapshot could not be read.
    #[error("a table of the snapshot could not be read")]
    Table {
        /// Why.
        source: Box<crate::table::TableError>,
    },
    /// Encoding failed, or the system gave no randomness.
    #[error("cannot write {object}")]
    Encode {
        /// The object's path.
        object: String,
        /// Why.
        source: Box<SealError>,
    },
    /// No snapshot has this id.
    #[error("no snapshot matches {wanted}; `zooark snapshots` lists them")]
    NoSuchSnapshot {
        /// What was asked for.
        wanted: String,
    },
    /// More than one snapshot has this prefix.
    #[error("{prefix} could be any of {}; give more digits", list(candidates))]
    AmbiguousSnapshot {
        /// The prefix.
        prefix: String,
        /// Some that match.
        candidates: Vec<SnapshotId>,
    },
    /// Too few digits to name a snapshot.
    #[error("{prefix} is too short for a snapshot id; give at least 4 hexadecimal digits")]
    PrefixTooShort {
        /// The prefix.
        prefix: String,
    },
    /// A backup took more time than a concurrent prune leaves it.
    #[error(
        "the backup took longer than half the repository's grace period ({limit_s} s), so its data may be pruned; run it again"
    )]
    TooSlow {
        /// The time allowed, seconds.
        limit_s: u64,
    },
    /// A pack that the new snapshot needs was pruned meanwhile.
    #[error("pack {pack} was pruned during the backup; nothing was stored: run it again")]
    PrunedMeanwhile {
        /// The pack.
        pack: String,
    },
    /// The caller asked to stop.
    #[error("stopped between two steps; the next run goes on from here")]
    Stopped,
    /// A pack that a snapshot needs is nowhere.
    #[error("pack {pack}, which snapshot {} needs, is missing; nothing was deleted: run `zooark check`", snapshot.short())]
    PackMissing {
        /// The pack.
        pack: String,
        /// One snapshot that needs it.
        snapshot: SnapshotId,
    },
    /// A grace period that backups do not reckon with.
    #[error(
        "a grace period of {asked_s} s is shorter than the repository's {least_s} s, on which backups rely; give a longer \
         one, or 0s if nothing else uses the repository now"
    )]
    ShortGrace {
        /// What was asked for, seconds.
        asked_s: u64,
        /// The shortest possible, seconds.
        least_s: u64,
    },
    /// Something that has a bound is above it.
    #[error("{what}: {found}, and at most {limit} are possible")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// Somebody else does what only one at a time may do.
    #[error("{what}")]
    Claimed {
        /// What, who, and when to try again.
        what: String,
    },
    /// A key file or slot cannot be used.
    #[error("{what}")]
    Key {
        /// What is wrong and what to do.
        what: String,
    },
    /// A change of keys that would lock somebody out.
    #[error("{what}")]
    KeyRefused {
        /// What is wrong and what to do.
        what: String,
    },
}

fn list(ids: &[SnapshotId]) -> String {
    let mut text = ids.iter().take(5).map(SnapshotId::short).collect::<Vec<_>>().join(", ");
    if ids.len() > 5 {
        text.push_str(", …");
    }
    text
}

impl RepositoryError {
    /// An object that could not be opened: damaged, or written by a later version.
    pub(crate) fn reading(object: &str, source: impl Into<SealError>) -> Self {
        let source = source.into();
        let object = object.to_owned();
        let newer = matches!(
            source,
            SealError::UnknownCodec { .. }
                | SealError::Codec(CodecError::NewerVersion { .. } | CodecError::UnknownExtension { .. })
        );
        if newer {
            Self::TooNew { object, source: Box::new(source) }
        } else {
            Self::Damaged { object, source: Box::new(source) }
        }
    }

    /// An object that could not be made.
    pub(crate) fn writing(object: &str, source: impl Into<SealError>) -> Self {
        Self::Encode { object: object.to_owned(), source: Box::new(source.into()) }
    }

    /// Whether an object was sealed with a key that the opened slot lacks.
    pub(crate) fn is_unknown_key(&self) -> bool {
        let Self::Damaged { source, .. } = self else { return false };
        matches!(**source, SealError::Crypto(crate::crypto::CryptoError::UnknownKey { .. }))
    }

    /// Whether stored data are damaged or missing, as opposed to out of reach.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Inconsistent { .. }
            | Self::PackMissing { .. }
            | Self::Blob(BlobError::Missing { .. } | BlobError::Damaged { .. }) => true,
            // What a disk cannot read may be there again tomorrow: nothing is given up for that.
            Self::Store(e) => e.is_of_the_object() && e.kind != StoreErrorKind::Unreadable,
            _ => false,
        }
    }

    /// Whether one object is at fault and the store can be used otherwise.
    pub(crate) fn is_of_the_object(&self) -> bool {
        self.is_damage() || matches!(self, Self::Store(e) if e.is_of_the_object())
    }
}

/// The error and everything that caused it, in one line.
pub(crate) fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = e.source();
    }
    text
}

impl From<crate::table::TableError> for RepositoryError {
    fn from(source: crate::table::TableError) -> Self {
        Self::Table { source: Box::new(source) }
    }
}

impl From<CryptoError> for RepositoryError {
    fn from(error: CryptoError) -> Self {
        Self::writing("a key", error)
    }
}
