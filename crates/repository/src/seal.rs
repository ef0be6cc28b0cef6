//! From plaintext to stored bytes and back: compress, then seal; open, then decompress within the recorded length.
//!
//! A frame is what is sealed: `codec (1) ‖ dictionary id (4) ‖ raw length (4) ‖ data`, little endian. Bytes that zstd
//! does not make smaller are kept as they are.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::blobs::PlainBlob;
use crate::codec::ObjectKind;
use crate::codec::{CodecError, HEADER_LEN, object_header, split_header};
use crate::crypto::{Crypto, CryptoError, NONCE_LEN, ObjectKey, TAG_LEN, WRAPPED_KEY_LEN, WrappedKey};
use crate::ids::{BlobId, BlobKind};

/// Bytes before the data of a frame.
pub const FRAME_HEAD_LEN: usize = 9;
/// Longest plaintext of a chunk or node, bytes.
pub const MAX_CHUNK: usize = 16 << 20;
/// The level of runs, nodes and manifests of some size.
pub const DEFAULT_LEVEL: i32 = 3;
/// The level of what has at most [`SMALL`] bytes, which takes milliseconds: one in twenty bytes of a small backup.
const SMALL_LEVEL: i32 = 15;
/// Plaintext bytes up to which [`SMALL_LEVEL`] is used.
const SMALL: usize = 32 << 10;
/// The level of a whole base: of columnar chunks it makes one per cent more than level 3, in two thirds of the time.
pub const BASE_LEVEL: i32 = 1;

const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// Why stored bytes cannot be turned into what was stored.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The seal, or a key.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Header or body.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A codec or dictionary of a later version.
    #[error(
        "compressed with codec {codec}, dictionary {dictionary}, which this version does not know; use a newer zooark"
    )]
    UnknownCodec {
        /// The codec's number.
        codec: u8,
        /// The dictionary's number; 0 is none.
        dictionary: u32,
    },
    /// The recorded length is above what the format allows.
    #[error("its recorded length is {len} bytes, more than the {limit} the format allows")]
    TooLarge {
        /// Length, bytes.
        len: usize,
        /// Bound, bytes.
        limit: usize,
    },
    /// The data do not decompress to the recorded length.
    #[error("it does not decompress to the {expected} bytes recorded")]
    Decompress {
        /// Recorded length, bytes.
        expected: usize,
    },
    /// The compressor failed.
    #[error("compression failed")]
    Compress,
    /// The content is not what its id says.
    #[error("its content does not have the id it is stored under")]
    WrongId,
}

/// A compressor and the buffer it fills, kept by each thread.
struct Ready {
    level: i32,
    compressor: Compressor<'static>,
    compressed: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Ready>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The level for so many bytes where none was asked for.
pub(crate) const fn usual_level(len: usize) -> i32 {
    if len <= SMALL { SMALL_LEVEL } else { DEFAULT_LEVEL }
}

/// Longest plaintext of a blob of this kind, bytes.
pub fn max_blob(kind: BlobKind) -> usize {
    match kind {
        BlobKind::Value => crate::record::MAX_VALUE,
        BlobKind::Leaf | BlobKind::Node | BlobKind::Refs => MAX_CHUNK,
    }
}

/// Appends the frame of `plain` to `out`.
fn append_frame(plain: &[u8], level: i32, limit: usize, out: &mut Vec<u8>) -> Result<(), SealError> {
    let raw_len = u32::try_from(plain.len()).ok().filter(|_| plain.len() <= limit);
    let raw_len = raw_len.ok_or(SealError::TooLarge { len: plain.len(), limit })?;
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|ready| ready.level != level) {
            let compressor = Compressor::new(level).map_err(|_| SealError::Compress)?;
            *slot = Some(Ready { level, compressor, compressed: Vec::new() });
        }
        let Ready { compressor, compressed, .. } = slot.as_mut().ok_or(SealError::Compress)?;
        compressed.clear();
        compressed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        compressor.compress_to_buffer(plain, compressed).map_err(|_| SealError::Compress)?;
        let (codec, data) = if compressed.len() < plain.len() { (ZSTD, &compressed[..]) } else { (RAW, plain) };
        out.reserve_exact(data.len().saturating_add(FRAME_HEAD_LEN + TAG_LEN));
        out.push(codec);
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&raw_len.to_le_bytes());
        out.extend_from_slice(data);
        if compressed.capacity() > MAX_CHUNK {
            *compressed = Vec::new();
        }
        Ok(())
    })
}

/// The plaintext of a frame.
fn read_frame(mut frame: Vec<u8>, limit: usize) -> Result<Vec<u8>, SealError> {
    let short = SealError::Crypto(CryptoError::TooShort { len: frame.len() });
    let Some((&[codec, d0, d1, d2, d3, l0, l1, l2, l3], data)) = frame.split_first_chunk::<FRAME_HEAD_LEN>() else {
        return Err(short);
    };
    let dictionary = u32::from_le_bytes([d0, d1, d2, d3]);
    let raw_len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if raw_len > limit {
        return Err(SealError::TooLarge { len: raw_len, limit });
    }
    match (codec, dictionary) {
        (RAW, 0) if data.len() == raw_len => {
            frame.drain(..FRAME_HEAD_LEN);
            Ok(frame)
        }
        (ZSTD, 0) => {
            let plain = DECOMPRESSOR.with_borrow_mut(|slot| {
                let decompressor = match slot {
                    Some(ready) => ready,
                    None => slot.insert(Decompressor::new().ok()?),
                };
                decompressor.decompress(data, raw_len).ok()
            });
            plain.filter(|p| p.len() == raw_len).ok_or(SealError::Decompress { expected: raw_len })
        }
        (RAW, 0) => Err(SealError::Decompress { expected: raw_len }),
        _ => Err(SealError::UnknownCodec { codec, dictionary }),
    }
}

/// A compressed blob that can be sealed under any key.
#[derive(Debug)]
pub struct FramedBlob {
    /// Its id.
    pub id: BlobId,
    /// Its kind.
    pub kind: BlobKind,
    /// Length of the plaintext, bytes.
    pub raw_len: u32,
    /// Room for the nonce, then the frame.
    bytes: Vec<u8>,
}

/// Compresses a blob.
pub fn frame_blob(blob: PlainBlob<'_>, level: i32) -> Result<FramedBlob, SealError> {
    let mut bytes = vec![0; NONCE_LEN];
    append_frame(blob.bytes, level, max_blob(blob.kind), &mut bytes)?;
    // The frame was refused if the length does not fit.
    let raw_len = u32::try_from(blob.bytes.len()).unwrap_or(u32::MAX);
    Ok(FramedBlob { id: blob.id, kind: blob.kind, raw_len, bytes })
}

/// Seals a compressed blob.
pub fn seal_blob(crypto: &Crypto, key: &ObjectKey, framed: &FramedBlob) -> Result<Vec<u8>, SealError> {
    let mut bytes = Vec::with_capacity(framed.bytes.len().saturating_add(TAG_LEN));
    bytes.extend_from_slice(&framed.bytes);
    key.seal(&crypto.blob_aad(&framed.id, framed.kind), &mut bytes)?;
    Ok(bytes)
}

/// Opens a blob and verifies its id.
pub fn open_blob(
    crypto: &Crypto,
    key: &ObjectKey,
    id: &BlobId,
    kind: BlobKind,
    sealed: &[u8],
) -> Result<Bytes, SealError> {
    let plain = unseal_blob(crypto, key, id, kind, sealed)?;
    if crypto.identity().blob_id(kind, &plain) != *id {
        return Err(SealError::WrongId);
    }
    Ok(plain)
}

/// Opens a blob that was sealed under this id, by whoever had the key; whether it hashes to it is not looked at.
pub fn unseal_blob(
    crypto: &Crypto,
    key: &ObjectKey,
    id: &BlobId,
    kind: BlobKind,
    sealed: &[u8],
) -> Result<Bytes, SealError> {
    Ok(read_frame(key.open(&crypto.blob_aad(id, kind), sealed)?, max_blob(kind))?.into())
}

/// Seals a whole object: header, what stays in clear, wrapped key, sealed frame.
pub fn seal_object(
    crypto: &Crypto,
    kind: ObjectKind,
    version: u8,
    path: &str,
    clear: &[u8],
    body: &[u8],
    limit: usize,
) -> Result<Vec<u8>, SealError> {
    let key = crypto.new_object_key()?;
    let mut object = object_header(kind, version).to_vec();
    object.extend_from_slice(clear);
    object.extend_from_slice(key.wrapped());
    let mut sealed = vec![0; NONCE_LEN];
    append_frame(body, usual_level(body.len()), limit, &mut sealed)?;
    key.seal(&crypto.object_aad(kind, path, &object), &mut sealed)?;
    object.extend_from_slice(&sealed);
    Ok(object)
}

/// Opens an object that [`seal_object`] made; `clear_len` bytes after the header are in clear.
#[allow(clippy::too_many_arguments, reason = "each is a different fact of the one object")]
pub fn open_object(
    crypto: &Crypto,
    what: &'static str,
    kind: ObjectKind,
    newest: u8,
    path: &str,
    clear_len: usize,
    object: &[u8],
    limit: usize,
) -> Result<Vec<u8>, SealError> {
    split_header(what, object, kind, newest)?;
    let clear_end = HEADER_LEN.saturating_add(clear_len);
    let sealed_at = clear_end.saturating_add(WRAPPED_KEY_LEN);
    let short = || CryptoError::TooShort { len: object.len() };
    let (clear, sealed) = object.split_at_checked(sealed_at).ok_or_else(short)?;
    let wrapped = clear.get(clear_end..).and_then(|w| WrappedKey::try_from(w).ok()).ok_or_else(short)?;
    let key = crypto.unwrap_key(&wrapped)?;
    read_frame(key.open(&crypto.object_aad(kind, path, clear), sealed)?, limit)
}

/// Seals a body that shares an object, and its key, with others: a pack's footer.
pub(crate) fn seal_part(key: &ObjectKey, aad: &[u8], body: &[u8], limit: usize) -> Result<Vec<u8>, SealError> {
    let mut sealed = vec![0; NONCE_LEN];
    append_frame(body, usual_level(body.len()), limit, &mut sealed)?;
    key.seal(aad, &mut sealed)?;
    Ok(sealed)
}

/// Opens what [`seal_part`] made.
pub(crate) fn open_part(key: &ObjectKey, aad: &[u8], sealed: &[u8], limit: usize) -> Result<Vec<u8>, SealError> {
    read_frame(key.open(aad, sealed)?, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keyring;
    use crate::ids::RepositoryId;

    fn crypto() -> Crypto {
        Crypto::encrypted(RepositoryId([1; 16]), &Keyring::generate().unwrap())
    }

    #[test]
    fn blobs_come_back_whatever_they_hold() {
        let crypto = crypto();
        let key = crypto.new_object_key().unwrap();
        let mut noise = vec![0; 70_000];
        crate::crypto::fill_random(&mut noise).unwrap();
        for bytes in [&b""[..], b"x", &vec![b'z'; 100_000], &noise] {
            let id = crypto.identity().blob_id(BlobKind::Leaf, bytes);
            let framed = frame_blob(PlainBlob { id, kind: BlobKind::Leaf, bytes }, 3).unwrap();
            let sealed = seal_blob(&crypto, &key, &framed).unwrap();
            assert!(sealed.len() <= bytes.len() + FRAME_HEAD_LEN + NONCE_LEN + TAG_LEN, "stored raw if not smaller");
            assert_eq!(open_blob(&crypto, &key, &id, BlobKind::Leaf, &sealed).unwrap(), bytes);
        }
    }

    #[test]
    fn content_that_does_not_have_its_id_is_refused() {
        let crypto = crypto();
        let key = crypto.new_object_key().unwrap();
        let blob = PlainBlob { id: BlobId([5; 32]), kind: BlobKind::Leaf, bytes: b"not that" };
        let sealed = seal_blob(&crypto, &key, &frame_blob(blob, 3).unwrap()).unwrap();
        let opened = open_blob(&crypto, &key, &BlobId([5; 32]), BlobKind::Leaf, &sealed);
        assert!(matches!(opened, Err(SealError::WrongId)));
    }

    #[test]
    fn frames_that_lie_are_refused_before_they_are_allocated() {
        let frame = |codec: u8, dictionary: u32, len: u32, data: &[u8]| {
            [&[codec][..], &dictionary.to_le_bytes(), &len.to_le_bytes(), data].concat()
        };
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
        let limit = 1 << 16;
        assert!(matches!(read_frame(frame(ZSTD, 0, u32::MAX, &bomb), limit), Err(SealError::TooLarge { .. })));
        assert!(matches!(read_frame(frame(ZSTD, 0, 100, &bomb), limit), Err(SealError::Decompress { expected: 100 })));
        assert!(matches!(read_frame(frame(ZSTD, 0, 9, b"nonsense"), limit), Err(SealError::Decompress { .. })));
        assert!(matches!(read_frame(frame(RAW, 0, 3, b"four"), limit), Err(SealError::Decompress { .. })));
        assert!(matches!(read_frame(frame(9, 0, 4, b"four"), limit), Err(SealError::UnknownCodec { codec: 9, .. })));
        assert!(matches!(read_frame(frame(ZSTD, 7, 4, b"four"), limit), Err(SealError::UnknownCodec { .. })));
        for len in 0..FRAME_HEAD_LEN {
            assert!(read_frame(vec![0; len], limit).is_err());
        }
    }

    #[test]
    fn golden_frames() {
        let mut out = Vec::new();
        append_frame(b"abc", 3, 10, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 0, 0, 3, 0, 0, 0, b'a', b'b', b'c']);
        crate::golden::assert_documented("frame", &out);
        out.clear();
        append_frame(&[b'a'; 300], 3, 300, &mut out).unwrap();
        assert_eq!(out[..9], [1, 0, 0, 0, 0, 44, 1, 0, 0]);
        assert_eq!(out[9..13], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame");
        assert_eq!(out[13] & 0b100, 0, "without a checksum of its own");
        assert!(matches!(append_frame(b"abcd", 3, 3, &mut out), Err(SealError::TooLarge { len: 4, limit: 3 })));
    }

    #[test]
    fn an_object_belongs_to_its_path_and_kind() {
        let crypto = crypto();
        let object = seal_object(&crypto, ObjectKind::Note, 1, "notes/a/b", b"", b"body", 100).unwrap();
        let open = |kind, path, bytes: &[u8]| open_object(&crypto, "note", kind, 1, path, 0, bytes, 100);
        assert_eq!(open(ObjectKind::Note, "notes/a/b", &object).unwrap(), b"body");
        assert!(open(ObjectKind::Note, "notes/a/c", &object).is_err(), "moved");
        assert!(open(ObjectKind::Manifest, "notes/a/b", &object).is_err(), "another kind");
        for at in 0..object.len() {
            let mut changed = object.clone();
            changed[at] ^= 0x10;
            assert!(open(ObjectKind::Note, "notes/a/b", &changed).is_err(), "byte {at}");
            assert!(open(ObjectKind::Note, "notes/a/b", &object[..at]).is_err(), "cut to {at}");
        }
    }
}
