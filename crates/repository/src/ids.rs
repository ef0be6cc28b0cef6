//! Names of things: what is stored is named by a keyed hash of its content, what is deleted by a ULID.
//!
//! Every content name is BLAKE3 in keyed mode. The keys are derived from one 32-byte identity secret, so
//! that names tell nothing to those without it, and two repositories with the same secret give the same
//! names to the same content. A different key per purpose keeps the purposes apart: a node chunk and a leaf chunk of
//! the same bytes
//! have different ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::many_hashes::{ManyHashes, pad};

/// Writes bytes as lower-case hex.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut out = [0u8; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

/// A text that is not the id it should be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a {what}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    what: &'static str,
    digits: usize,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(8);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self).ok_or_else(|| ParseIdError { text: text.to_owned(), what: $what, digits: $len * 2 })
            }
        }
    };
}

hex_id!(
    /// Names a blob by its plaintext and kind: see [`IdentityKeys::blob_id`].
    BlobId, 32, "blob id"
);
hex_id!(
    /// Names a snapshot by the bytes of its manifest: see [`IdentityKeys::snapshot_id`].
    SnapshotId, 32, "snapshot id"
);
hex_id!(
    /// Names the sequence of snapshots of one cluster, chroot, filter and source class.
    LineageId, 16, "lineage id"
);
hex_id!(
    /// Names a cluster, or a member of one, where a restore happens once.
    RestoredId, 16, "restored member id"
);
hex_id!(
    /// Names a repository: random, chosen by `init`.
    RepositoryId, 16, "repository id"
);

/// Names a pack. A ULID and not a hash: a name that could be made again would let a delete under way
/// take a new pack with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub Ulid);

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackId({})", self.0)
    }
}

/// Stored as the ULID's 16 bytes, most significant first, so that bytes sort as names do.
impl Serialize for PackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.0.to_be_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PackId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(Ulid(u128::from_be_bytes(bytes))))
    }
}

/// What the plaintext of a blob is. The number is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum BlobKind {
    /// A chunk of records ([`crate::chunk`]): a leaf of a base or a run.
    Leaf = 1,
    /// An inner node of a table ([`crate::table`]).
    Node = 2,
    /// A znode's value that is too large to lie in its chunk.
    Value = 3,
    /// A list of the values a table refers to.
    Refs = 4,
}

impl BlobKind {
    /// The kind with this stored number.
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Leaf),
            2 => Some(Self::Node),
            3 => Some(Self::Value),
            4 => Some(Self::Refs),
            _ => None,
        }
    }
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaf => "chunk",
            Self::Node => "table node",
            Self::Value => "value",
            Self::Refs => "value list",
        })
    }
}

impl Serialize for BlobKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for BlobKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Self::from_u8(number).ok_or_else(|| serde::de::Error::custom(format!("unknown blob kind {number}")))
    }
}

/// The identity secret of a repository without encryption: public, so that its ids can be made and
/// checked by anyone.
pub const PUBLIC_IDENTITY_SECRET: [u8; 32] = *b"ZooArk public identity secret v1";

/// The keys that names, boundaries and digests are made with. They never change in the life of a
/// repository: everything it deduplicates depends on them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdentityKeys {
    leaf: [u8; 32],
    node: [u8; 32],
    value: [u8; 32],
    refs: [u8; 32],
    boundary: [u8; 32],
    digest: [u8; 32],
    snapshot: [u8; 32],
    lineage: [u8; 32],
    member: [u8; 32],
}

impl fmt::Debug for IdentityKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKeys(..)")
    }
}

impl IdentityKeys {
    /// Derives every key from the identity secret.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self {
            leaf: blake3::derive_key("ZooArk v1 blob id: leaf chunk", secret),
            node: blake3::derive_key("ZooArk v1 blob id: table node", secret),
            value: blake3::derive_key("ZooArk v1 blob id: value", secret),
            refs: blake3::derive_key("ZooArk v1 blob id: value list", secret),
            boundary: blake3::derive_key("ZooArk v1 chunk boundary", secret),
            digest: blake3::derive_key("ZooArk v1 state digest", secret),
            snapshot: blake3::derive_key("ZooArk v1 snapshot id", secret),
            lineage: blake3::derive_key("ZooArk v1 lineage id", secret),
            member: blake3::derive_key("ZooArk v1 restored member id", secret),
        }
    }

    /// The keys of a repository without encryption.
    pub fn public() -> Self {
        Self::derive(&PUBLIC_IDENTITY_SECRET)
    }

    /// The id of a blob: keyed BLAKE3 of its plaintext with the key of its kind.
    pub fn blob_id(&self, kind: BlobKind, plaintext: &[u8]) -> BlobId {
        let key = match kind {
            BlobKind::Leaf => &self.leaf,
            BlobKind::Node => &self.node,
            BlobKind::Value => &self.value,
            BlobKind::Refs => &self.refs,
        };
        BlobId(*blake3::keyed_hash(key, plaintext).as_bytes())
    }

    /// The id of a snapshot: keyed BLAKE3 of the whole manifest object as stored.
    pub fn snapshot_id(&self, manifest: &[u8]) -> SnapshotId {
        SnapshotId(*blake3::keyed_hash(&self.snapshot, manifest).as_bytes())
    }

    /// The id of a lineage: the first 16 bytes of keyed BLAKE3 over its parts, each preceded by its length
    /// in bytes (u64, little endian).
    pub fn lineage_id(&self, parts: &[&[u8]]) -> LineageId {
        LineageId(id_of_parts(&self.lineage, parts))
    }

    /// The id of a cluster, or of a member of it (two parts), made as that of a lineage.
    pub fn restored_id(&self, parts: &[&[u8]]) -> RestoredId {
        RestoredId(id_of_parts(&self.member, parts))
    }

    /// The number that decides whether a chunk may begin at the record with this key: the first eight bytes
    /// (little endian) of keyed BLAKE3 of the key.
    pub fn boundary_hash(&self, key: &[u8]) -> u64 {
        let mut form = key.to_vec();
        pad(&mut form);
        first_u64(blake3::keyed_hash(&self.boundary, &form).as_bytes())
    }

    /// Keyed BLAKE3 of a record's digest form; see [`crate::state_digest`].
    /// For boundary hashes by the million: their forms are padded keys.
    pub(crate) fn boundary_hashes<T>(&self) -> ManyHashes<T> {
        ManyHashes::new(self.boundary)
    }

    /// For record hashes by the million.
    pub(crate) fn record_hashes<T>(&self) -> ManyHashes<T> {
        ManyHashes::new(self.digest)
    }

    pub(crate) fn record_hash(&self, record: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.digest, record).as_bytes()
    }
}

fn id_of_parts(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// The first eight bytes of a hash, little endian.
pub(crate) fn first_u64(hash: &[u8; 32]) -> u64 {
    let (first, _) = hash.split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_hex_and_parse_back() {
        let id = BlobId(std::array::from_fn(|i| u8::try_from(i).unwrap() | 0xa0));
        assert_eq!(id.short(), "a0a1a2a3");
        assert_eq!(id.to_string().parse::<BlobId>().unwrap(), id);
        for wrong in ["", "a0", "+0a1a2a3a0a1a2a3a0a1a2a3a0a1a2a3", "zz"] {
            assert!(wrong.parse::<LineageId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn golden_ids_of_the_public_secret() {
        let keys = IdentityKeys::public();
        let ids =
            [BlobKind::Leaf, BlobKind::Node, BlobKind::Value, BlobKind::Refs].map(|k| keys.blob_id(k, b"x").short());
        assert_eq!(ids.join(" "), "76eb5c52 6edf153b c26fbbb0 c92cb084");
        let others =
            (keys.snapshot_id(b"x").short(), keys.lineage_id(&[b"prod", b"/"]), keys.boundary_hash(b"\x01\x00a"));
        assert_eq!(
            format!("{} {} {:016x}", others.0, others.1, others.2),
            "34405a20 7b6b4e2a5f964c381f8b4ea682ba5987 dd8e7e0eb1753193"
        );
    }

    #[test]
    fn lineage_parts_do_not_run_together() {
        let keys = IdentityKeys::public();
        assert_ne!(keys.lineage_id(&[b"ab", b"c"]), keys.lineage_id(&[b"a", b"bc"]));
    }

    #[test]
    fn keys_do_not_print_themselves() {
        assert_eq!(format!("{:?}", IdentityKeys::public()), "IdentityKeys(..)");
    }
}
