//! `config`: what every user of the repository has to know and agree on.
//!
//! In clear: magic, version, repository id, and whether the repository is encrypted. Sealed: the rest. A swapped
//! `config` therefore cannot change how an encrypted repository is written: without the keys it cannot be sealed, and
//! credentials given for a repository that says it is not encrypted are refused.

use serde::{Deserialize, Serialize};

use crate::codec::{ObjectKind, decode_body, encode_body, split_header};
use crate::crypto::Crypto;
use crate::error::RepositoryError;
use crate::ids::RepositoryId;
use crate::seal::{open_object, seal_object};

/// Path of the object.
pub const CONFIG_PATH: &str = "config";
/// Longest config, bytes.
pub const MAX_CONFIG: u64 = 64 << 10;
const VERSION: u8 = 1;
const CLEAR_LEN: usize = 17;
const MAX_BODY: usize = 32 << 10;

/// How long a pack that nothing names is kept, seconds.
pub const DEFAULT_GRACE_S: u64 = 24 * 3600;
/// Shortest grace period, seconds.
pub const MIN_GRACE_S: u64 = 3600;

/// Numbers that decide where chunks are cut. They are recorded so that a program with others notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// Records starting this many bytes before and after take part in choosing a cut.
    pub window: u32,
    /// A segment longer than this without a natural cut is split.
    pub longest: u32,
    /// Values above this many bytes are blobs of their own.
    pub inline_value: u32,
    /// Target size of a table node, bytes.
    pub node: u32,
}

/// The numbers of format version 1.
pub const CHUNKING: Chunking = Chunking { window: 32 << 10, longest: 256 << 10, inline_value: 4096, node: 8192 };

/// What the probe found out about the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFacts {
    /// Whether exactly one of many concurrent creates of a name wins.
    pub creates_exclusively: bool,
    /// BLAKE3 of endpoint, bucket and prefix that this was found on.
    pub identity_hash: [u8; 32],
}

/// The sealed part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// When the repository was made, milliseconds since 1970.
    pub created_ms: i64,
    /// Where chunks are cut.
    pub chunking: Chunking,
    /// How long a pack that nothing names is kept, seconds.
    pub grace_s: u64,
    /// A longer grace period that still holds, and until when (milliseconds since 1970 by the store's clock).
    pub earlier_grace: Option<(u64, i64)>,
    /// What the store can do.
    pub store: StoreFacts,
}

/// What stands in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigHead {
    /// The repository's id.
    pub repository: RepositoryId,
    /// Whether objects are enciphered.
    pub is_encrypted: bool,
}

impl Config {
    /// The grace period writers have to reckon with: the shorter one, whichever holds.
    pub fn writers_grace_s(&self) -> u64 {
        self.grace_s.max(MIN_GRACE_S)
    }
}

/// The object's bytes.
pub fn encode_config(crypto: &Crypto, config: &Config) -> Result<Vec<u8>, RepositoryError> {
    let mut clear = crypto.repository().0.to_vec();
    clear.push(u8::from(crypto.is_encrypted()));
    let body = encode_body("config", config).map_err(|e| RepositoryError::writing(CONFIG_PATH, e))?;
    seal_object(crypto, ObjectKind::Config, VERSION, CONFIG_PATH, &clear, &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(CONFIG_PATH, e))
}

/// Reads what stands in clear.
pub fn read_head(object: &[u8]) -> Result<ConfigHead, RepositoryError> {
    let (_, rest) = split_header(CONFIG_PATH, object, ObjectKind::Config, VERSION)
        .map_err(|e| RepositoryError::reading(CONFIG_PATH, e))?;
    let wrong = |what: &str| RepositoryError::Inconsistent { object: CONFIG_PATH.to_owned(), what: what.to_owned() };
    let (repository, rest) = rest.split_first_chunk::<16>().ok_or_else(|| wrong("it is truncated"))?;
    let is_encrypted = match rest.first() {
        Some(0) => false,
        Some(1) => true,
        Some(_) => return Err(wrong("it names a way of encryption that this version does not know")),
        None => return Err(wrong("it is truncated")),
    };
    Ok(ConfigHead { repository: RepositoryId(*repository), is_encrypted })
}

/// Opens the sealed part.
pub fn decode_config(crypto: &Crypto, object: &[u8]) -> Result<Config, RepositoryError> {
    let body = open_object(crypto, CONFIG_PATH, ObjectKind::Config, VERSION, CONFIG_PATH, CLEAR_LEN, object, MAX_BODY)
        .map_err(|e| RepositoryError::reading(CONFIG_PATH, e))?;
    let config: Config =
        decode_body::<_, MAX_BODY>("config", &body).map_err(|e| RepositoryError::reading(CONFIG_PATH, e))?;
    if config.chunking != CHUNKING {
        let what = format!("chunks are cut by {:?}, which this version does not do", config.chunking);
        return Err(RepositoryError::Inconsistent { object: CONFIG_PATH.to_owned(), what });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keyring;

    fn config() -> Config {
        Config {
            created_ms: 1,
            chunking: CHUNKING,
            grace_s: DEFAULT_GRACE_S,
            earlier_grace: None,
            store: StoreFacts { creates_exclusively: true, identity_hash: [4; 32] },
        }
    }

    #[test]
    fn golden_body() {
        let golden =
            [&[2, 251, 0, 128, 252, 0, 0, 4, 0, 251, 0, 16, 251, 0, 32, 252, 128, 81, 1, 0, 0, 1][..], &[4; 32], &[0]]
                .concat();
        assert_eq!(encode_body("config", &config()).unwrap(), golden);
        crate::golden::assert_documented("config", &golden);
    }

    #[test]
    fn every_byte_of_a_config_matters() {
        let repository = RepositoryId([2; 16]);
        for crypto in [Crypto::unencrypted(repository), Crypto::encrypted(repository, &Keyring::generate().unwrap())] {
            let object = encode_config(&crypto, &config()).unwrap();
            assert_eq!(object[..8], *b"ZooArk\x01\x01");
            let head = read_head(&object).unwrap();
            assert_eq!(head, ConfigHead { repository, is_encrypted: crypto.is_encrypted() });
            assert_eq!(decode_config(&crypto, &object).unwrap(), config());
            for at in 0..object.len() {
                let mut changed = object.clone();
                changed[at] ^= 1;
                let other = read_head(&changed).is_ok_and(|h| h != head);
                assert!(other || decode_config(&crypto, &changed).is_err(), "byte {at}");
                assert!(decode_config(&crypto, &changed).is_err(), "byte {at}");
                assert!(decode_config(&crypto, &object[..at]).is_err(), "cut to {at}");
            }
        }
    }
}
