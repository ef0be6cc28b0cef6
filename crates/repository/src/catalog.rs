//! Catalogs: `catalog/<ulid>`, copies of many manifests, so that fifty thousand are read with tens of requests.
//!
//! Written by maintenance. A listing of `snapshots/` says which manifests exist, and a path is used once; so an entry is
//! never out of date, and a catalog that is missing costs requests and nothing else.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::codec::{ObjectKind, decode_body, encode, encode_body};
use crate::crypto::Crypto;
use crate::error::RepositoryError;
use crate::ids::SnapshotId;
use crate::manifest::ManifestBody;
use crate::seal::{open_object, seal_object};
use crate::segment::FULL;

const VERSION: u8 = 1;
const MAX_BODY: usize = 64 << 20;
/// Longest catalog, bytes.
pub const MAX_CATALOG: u64 = 65 << 20;

/// A copy of one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Where the manifest is.
    pub path: String,
    /// The hash of the object's bytes, which the catalog does not hold.
    pub id: SnapshotId,
    /// What it says.
    pub body: ManifestBody,
}

/// A catalog's path.
pub fn catalog_path(name: Ulid) -> String {
    format!("catalog/{}", name.to_string())
}

/// Whether a path names a catalog.
pub fn is_catalog_path(path: &str) -> bool {
    path.strip_prefix("catalog/").is_some_and(|name| Ulid::from_string(name).is_ok())
}

/// The object's bytes.
pub fn encode_catalog(crypto: &Crypto, path: &str, entries: &[CatalogEntry]) -> Result<Vec<u8>, RepositoryError> {
    let body = encode_body("catalog", &entries).map_err(|e| RepositoryError::writing(path, e))?;
    seal_object(crypto, ObjectKind::Catalog, VERSION, path, b"", &body, MAX_BODY)
        .map_err(|e| RepositoryError::writing(path, e))
}

/// Reads an object.
pub fn decode_catalog(crypto: &Crypto, path: &str, object: &[u8]) -> Result<Vec<CatalogEntry>, RepositoryError> {
    let damaged = |e: crate::seal::SealError| RepositoryError::reading(path, e);
    let body = open_object(crypto, "catalog", ObjectKind::Catalog, VERSION, path, 0, object, MAX_BODY);
    decode_body::<_, MAX_BODY>("catalog", &body.map_err(damaged)?).map_err(|e| damaged(e.into()))
}

/// Makes catalogs of bounded size out of entries as they come; holds what is full in its sealed form, which is small.
#[derive(Debug, Default)]
pub(crate) struct CatalogWriter {
    entries: Vec<CatalogEntry>,
    size: usize,
    /// Paths and objects.
    pub(crate) full: Vec<(String, Vec<u8>)>,
}

impl CatalogWriter {
    /// Adds an entry.
    pub(crate) fn push(&mut self, crypto: &Crypto, entry: CatalogEntry) -> Result<(), RepositoryError> {
        let len = encode("catalog", &entry).map_err(|e| RepositoryError::writing("catalog/", e))?.len();
        // One that is so long costs no more when it is read by itself.
        if len < FULL {
            self.size = self.size.saturating_add(len);
            self.entries.push(entry);
        }
        if self.size >= FULL { self.close(crypto) } else { Ok(()) }
    }

    /// Makes a catalog of what is left.
    pub(crate) fn close(&mut self, crypto: &Crypto) -> Result<(), RepositoryError> {
        if !self.entries.is_empty() {
            let path = catalog_path(Ulid::generate());
            let object = encode_catalog(crypto, &path, &self.entries)?;
            self.full.push((path, object));
        }
        self.entries.clear();
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RepositoryId;

    #[test]
    fn golden_catalog() {
        let entry = CatalogEntry {
            path: "snapshots/x".to_owned(),
            id: SnapshotId([7; 32]),
            body: ManifestBody::Tombstone { time_ms: -1 },
        };
        let golden = [&[1, 11][..], b"snapshots/x", &[7; 32], &[1, 1], &[0]].concat();
        assert_eq!(encode_body("catalog", &[entry.clone()].as_slice()).unwrap(), golden);
        crate::golden::assert_documented("catalog", &golden);
        let crypto = Crypto::unencrypted(RepositoryId([1; 16]));
        let object = encode_catalog(&crypto, "catalog/x", std::slice::from_ref(&entry)).unwrap();
        assert_eq!(object[..8], *b"ZooArk\x07\x01");
        assert_eq!(decode_catalog(&crypto, "catalog/x", &object).unwrap(), [entry]);
        assert!(decode_catalog(&crypto, "catalog/y", &object).is_err(), "a catalog belongs to its path");
    }
}
