//! Packs: sealed blobs one after another, then a footer that says which they are.
//!
//! ```text
//! header (8) │ sealed blobs │ sealed footer │ wrapped key (76) │ footer length (4) │ "ZooArkPF" (8)
//! ```
//!
//! A pack describes itself: with the keys, its tail is enough to find and read everything in it. Its name is never
//! used twice. A crash while one is written leaves nothing, or a pack that no manifest names; prune takes it.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::codec::{HEADER_LEN, ObjectKind, decode_body, encode_body, object_header, split_header};
use crate::crypto::{Crypto, CryptoError, ObjectKey, SEAL_OVERHEAD, WRAPPED_KEY_LEN, WrappedKey};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind, PackId};
use crate::seal::{SealError, open_part, seal_part};

/// A pack is closed when its blobs reach this many bytes,
const TARGET_PACK: usize = 16 << 20;
/// or this number: a footer of more would not fit into the bytes that are read at first.
const MOST_BLOBS: usize = 1500;
/// Longest pack: one value of the greatest length fits above the target.
pub const MAX_PACK: u64 = 128 << 20;
/// Bytes of a pack's end that are read at first; the footers that are written fit.
pub const TAIL_READ: u64 = 64 << 10;

const VERSION: u8 = 1;
const END: [u8; 8] = *b"ZooArkPF";
const TRAILER_LEN: usize = WRAPPED_KEY_LEN + 4 + END.len();
const MAX_FOOTER: usize = 32 << 20;
const MAX_SEALED_FOOTER: usize = MAX_FOOTER + SEAL_OVERHEAD + 64;

/// One blob of a pack. Blobs follow each other without gaps, so lengths give offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobEntry {
    /// Its id.
    pub id: BlobId,
    /// Its kind.
    pub kind: BlobKind,
    /// Sealed length, bytes.
    pub len: u32,
    /// Length of the plaintext, bytes.
    pub raw_len: u32,
}

/// What a pack's footer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Footer {
    /// BLAKE3 of all bytes before the footer.
    body_hash: [u8; 32],
    blobs: Vec<BlobEntry>,
}

/// Everything needed to read a pack's blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// The pack.
    pub pack: PackId,
    /// Size of the object, bytes.
    pub size: u64,
    /// Its wrapped key.
    pub wrapped: WrappedKey,
    /// Its blobs, in order.
    pub blobs: Vec<BlobEntry>,
}

impl PackIndex {
    /// The blobs with their offsets in the object.
    pub fn located(&self) -> impl Iterator<Item = (u64, &BlobEntry)> {
        let mut at = HEADER_LEN as u64;
        self.blobs.iter().map(move |blob| {
            let offset = at;
            at = at.saturating_add(u64::from(blob.len));
            (offset, blob)
        })
    }
}

/// Path of a pack: its month, so that no directory grows without bound, and its name.
pub fn pack_path(pack: PackId) -> String {
    let milliseconds = i64::try_from(pack.0.timestamp_ms()).unwrap_or(0);
    let month = jiff::Timestamp::from_millisecond(milliseconds).map(|t| t.strftime("%Y%m").to_string());
    format!("packs/{}/{}", month.unwrap_or_else(|_| "000000".to_owned()), pack.0.to_string())
}

/// The pack a path names.
pub fn pack_of_path(path: &str) -> Option<PackId> {
    let name = path.strip_prefix("packs/")?.split_once('/')?.1;
    let pack = PackId(Ulid::from_string(name).ok()?);
    (pack_path(pack) == path).then_some(pack)
}

/// A pack being filled.
#[derive(Debug)]
pub struct PackBuilder {
    pack: PackId,
    key: ObjectKey,
    bytes: Vec<u8>,
    blobs: Vec<BlobEntry>,
}

/// A pack ready to be written.
#[derive(Debug)]
pub struct FinishedPack {
    /// Where it goes.
    pub path: String,
    /// The object.
    pub bytes: Vec<u8>,
    /// What it holds.
    pub index: PackIndex,
    /// Where its sealed footer starts, and the footer's length.
    pub footer: (u64, u32),
}

impl PackBuilder {
    /// An empty pack with this name, which nobody ever used, and a new key.
    pub fn named(pack: PackId, crypto: &Crypto) -> Result<Self, CryptoError> {
        let key = crypto.new_object_key()?;
        Ok(Self { pack, key, bytes: object_header(ObjectKind::Pack, VERSION).to_vec(), blobs: Vec::new() })
    }

    /// The pack's name.
    pub fn id(&self) -> PackId {
        self.pack
    }

    /// The key its blobs must be sealed with.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Whether it is to be closed.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= TARGET_PACK || self.blobs.len() >= MOST_BLOBS
    }

    /// Appends a blob sealed with [`PackBuilder::key`].
    pub fn push(&mut self, id: BlobId, kind: BlobKind, raw_len: u32, sealed: &[u8]) {
        // Blobs are bounded far below 4 GiB before they get here.
        let len = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(sealed);
        self.blobs.push(BlobEntry { id, kind, len, raw_len });
    }

    /// Writes footer and trailer.
    pub fn finish(self, crypto: &Crypto) -> Result<FinishedPack, RepositoryError> {
        let path = pack_path(self.pack);
        let fail = |e: SealError| RepositoryError::writing(&path, e);
        let mut bytes = self.bytes;
        let footer_at = bytes.len() as u64;
        let footer = Footer { body_hash: *blake3::hash(&bytes).as_bytes(), blobs: self.blobs };
        let body = encode_body("pack footer", &footer).map_err(|e| fail(e.into()))?;
        let sealed = seal_part(&self.key, &footer_aad(crypto, &path, footer_at), &body, MAX_FOOTER).map_err(fail)?;
        let footer_len = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(self.key.wrapped());
        bytes.extend_from_slice(&footer_len.to_le_bytes());
        bytes.extend_from_slice(&END);
        let index =
            PackIndex { pack: self.pack, size: bytes.len() as u64, wrapped: *self.key.wrapped(), blobs: footer.blobs };
        Ok(FinishedPack { path, bytes, index, footer: (footer_at, footer_len) })
    }
}

/// A footer belongs to its pack's path and to its place in it.
fn footer_aad(crypto: &Crypto, path: &str, footer_at: u64) -> Vec<u8> {
    crypto.object_aad(ObjectKind::Pack, path, &footer_at.to_le_bytes())
}

/// What the last bytes of a pack say.
#[derive(Debug)]
pub enum Tail {
    /// All of it.
    Index(PackIndex, [u8; 32]),
    /// The footer is longer; this many last bytes are needed.
    NeedsMore(u64),
}

/// Reads the footer from the last bytes of a pack of `size` bytes.
pub fn read_tail(crypto: &Crypto, pack: PackId, size: u64, tail: &[u8]) -> Result<Tail, RepositoryError> {
    let path = pack_path(pack);
    let wrong = |what: &str| RepositoryError::Inconsistent { object: path.clone(), what: what.to_owned() };
    let (rest, end) = tail.split_last_chunk::<8>().ok_or_else(|| wrong("it is too short to be a pack"))?;
    if *end != END {
        return Err(wrong("it does not end as a pack does; it was truncated or overwritten"));
    }
    let trailer = rest.split_last_chunk::<4>();
    let trailer = trailer.and_then(|(rest, len)| Some((rest.split_last_chunk::<WRAPPED_KEY_LEN>()?, len)));
    let ((rest, wrapped), footer_len) = trailer.ok_or_else(|| wrong("it is too short to be a pack"))?;
    let footer_len = u32::from_le_bytes(*footer_len) as usize;
    if footer_len > MAX_SEALED_FOOTER {
        return Err(wrong("its footer claims more than the format allows"));
    }
    let whole = (footer_len as u64).saturating_add(TRAILER_LEN as u64);
    let footer_at = size.checked_sub(whole).filter(|at| *at >= HEADER_LEN as u64);
    let footer_at = footer_at.ok_or_else(|| wrong("its footer claims more than there is"))?;
    let Some(start) = rest.len().checked_sub(footer_len) else {
        return Ok(Tail::NeedsMore(whole));
    };
    let sealed = rest.get(start..).unwrap_or_default();
    let damaged = |e: SealError| RepositoryError::reading(&path, e);
    let key = crypto.unwrap_key(wrapped).map_err(|e| damaged(e.into()))?;
    let body = open_part(&key, &footer_aad(crypto, &path, footer_at), sealed, MAX_FOOTER).map_err(damaged)?;
    let footer: Footer = decode_body::<_, MAX_FOOTER>("pack footer", &body).map_err(|e| damaged(e.into()))?;
    let index = PackIndex { pack, size, wrapped: *wrapped, blobs: footer.blobs };
    let described: u64 = index.blobs.iter().map(|b| u64::from(b.len)).sum::<u64>().saturating_add(HEADER_LEN as u64);
    if described != footer_at {
        return Err(wrong("its footer does not describe all of it"));
    }
    Ok(Tail::Index(index, footer.body_hash))
}

/// Whether the bytes before the footer are those that were written. Needs the whole object.
pub fn verify_body(
    pack: PackId,
    object: &[u8],
    index: &PackIndex,
    body_hash: &[u8; 32],
) -> Result<(), RepositoryError> {
    let path = pack_path(pack);
    split_header("pack", object, ObjectKind::Pack, VERSION).map_err(|e| RepositoryError::reading(&path, e))?;
    let end = index.blobs.iter().map(|b| b.len as usize).sum::<usize>().saturating_add(HEADER_LEN);
    let body = object.get(..end).unwrap_or_default();
    if *blake3::hash(body).as_bytes() == *body_hash {
        Ok(())
    } else {
        Err(RepositoryError::Inconsistent {
            object: path,
            what: "its bytes are not those that were written".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keyring;
    use crate::ids::RepositoryId;

    fn crypto() -> Crypto {
        Crypto::encrypted(RepositoryId([1; 16]), &Keyring::generate().unwrap())
    }

    fn pack(crypto: &Crypto) -> FinishedPack {
        let mut builder = PackBuilder::named(PackId(Ulid::generate()), crypto).unwrap();
        builder.push(BlobId([1; 32]), BlobKind::Leaf, 10, b"sealed one");
        builder.push(BlobId([2; 32]), BlobKind::Value, 20, b"sealed number two");
        builder.finish(crypto).unwrap()
    }

    #[test]
    fn a_pack_describes_itself() {
        let crypto = crypto();
        let pack = pack(&crypto);
        let id = pack.index.pack;
        let Tail::Index(index, hash) = read_tail(&crypto, id, pack.index.size, &pack.bytes).unwrap() else {
            panic!("the whole pack was given")
        };
        assert_eq!(index, pack.index);
        let found: Vec<&[u8]> = index
            .located()
            .map(|(at, blob)| &pack.bytes[usize::try_from(at).unwrap()..][..blob.len as usize])
            .collect();
        assert_eq!(found, [&b"sealed one"[..], b"sealed number two"]);
        verify_body(id, &pack.bytes, &index, &hash).unwrap();
        assert_eq!(pack_of_path(&pack.path), Some(id));
        let mut wrong = pack.bytes.clone();
        wrong[12] ^= 1;
        assert!(verify_body(id, &wrong, &index, &hash).is_err());
    }

    #[test]
    fn a_short_tail_says_how_much_it_needs() {
        let crypto = crypto();
        let pack = pack(&crypto);
        let tail = &pack.bytes[pack.bytes.len() - TRAILER_LEN..];
        let Tail::NeedsMore(length) = read_tail(&crypto, pack.index.pack, pack.index.size, tail).unwrap() else {
            panic!("the footer is not in there")
        };
        let tail = &pack.bytes[pack.bytes.len() - usize::try_from(length).unwrap()..];
        assert!(matches!(read_tail(&crypto, pack.index.pack, pack.index.size, tail).unwrap(), Tail::Index(..)));
    }

    /// A cold reader needs one request for each pack. Without a bound a pack of a large tree needed two now and then.
    #[test]
    fn the_footer_of_a_full_pack_is_in_the_first_read() {
        let crypto = crypto();
        let mut builder = PackBuilder::named(PackId(Ulid::generate()), &crypto).unwrap();
        while !builder.is_full() {
            builder.push(BlobId([1; 32]), BlobKind::Value, u32::MAX, &[0; 300]);
        }
        let pack = builder.finish(&crypto).unwrap();
        assert_eq!(pack.index.blobs.len(), MOST_BLOBS);
        let tail = &pack.bytes[pack.bytes.len() - usize::try_from(TAIL_READ).unwrap()..];
        assert!(matches!(read_tail(&crypto, pack.index.pack, pack.index.size, tail).unwrap(), Tail::Index(..)));
    }

    #[test]
    fn damaged_truncated_and_swapped_packs_are_refused() {
        let crypto = crypto();
        let pack = pack(&crypto);
        let footer_at = usize::try_from(pack.footer.0).unwrap();
        for at in footer_at..pack.bytes.len() {
            let mut bytes = pack.bytes.clone();
            bytes[at] ^= 4;
            let read = read_tail(&crypto, pack.index.pack, pack.index.size, &bytes);
            assert!(!matches!(read, Ok(Tail::Index(..))), "byte {at}");
        }
        for len in 0..pack.bytes.len() {
            let read = read_tail(&crypto, pack.index.pack, len as u64, &pack.bytes[..len]);
            assert!(!matches!(read, Ok(Tail::Index(..))), "cut to {len}");
        }
        let other = PackId(Ulid(5));
        assert!(read_tail(&crypto, other, pack.index.size, &pack.bytes).is_err(), "under another name");
    }

    #[test]
    fn golden_footer_and_paths() {
        let footer = Footer {
            body_hash: [8; 32],
            blobs: vec![BlobEntry { id: BlobId([1; 32]), kind: BlobKind::Node, len: 300, raw_len: 9 }],
        };
        let golden = [&[8; 32][..], &[1], &[1; 32], &[2, 251, 44, 1, 9, 0]].concat();
        assert_eq!(encode_body("footer", &footer).unwrap(), golden);
        crate::golden::assert_documented("pack footer", &golden);
        let pack = PackId(Ulid::from_string("01KAHQ5W00ZZZZZZZZZZZZZZZZ").unwrap());
        assert_eq!(pack_path(pack), "packs/202511/01KAHQ5W00ZZZZZZZZZZZZZZZZ");
        for wrong in ["packs/202512/01KAHQ5W00ZZZZZZZZZZZZZZZZ", "packs/x", "packs/202511/../config", "config"] {
            assert_eq!(pack_of_path(wrong), None, "{wrong}");
        }
    }
}
