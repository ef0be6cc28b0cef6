//! The encoding of every stored body: serde through bincode, in this file only.
//!
//! The encoding itself is stated in `docs/format.md`, so that this crate's use of bincode can end without a
//! change of format: integers little endian and variable length (below 251 one byte; 251, 252, 253 announce
//! 2, 4, 8 bytes; signed ones zigzag), `u8` and fixed arrays as they are, lists preceded by their length,
//! options by 0 or 1, enums by their variant's number.
//!
//! Decoding is always limited: it refuses more bytes than the caller allows, allocates nothing above that
//! limit whatever the lengths inside say, and fails unless the whole input was used.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why bytes are not the body they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Longer than the format allows.
    #[error("{what} is {len} bytes, more than the {limit} the format allows")]
    TooLarge {
        /// Which body.
        what: &'static str,
        /// Its length, bytes.
        len: usize,
        /// The bound, bytes.
        limit: usize,
    },
    /// The bytes do not decode.
    #[error("{what} does not decode: {detail}")]
    Malformed {
        /// Which body.
        what: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// Bytes are left over.
    #[error("{what} has {extra} bytes after its end")]
    TrailingBytes {
        /// Which body.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// A newer program wrote something that must not be ignored.
    #[error("{what} uses a feature (extension {tag}) that this version does not know; use a newer zooark")]
    UnknownExtension {
        /// Which body.
        what: &'static str,
        /// The extension's tag.
        tag: u16,
    },
    /// Not one of our objects, or of another kind.
    #[error("{what}: expected an object of kind {expected:?}, found {found}; it may be truncated or not ours")]
    WrongHeader {
        /// Which object.
        what: &'static str,
        /// The kind looked for.
        expected: ObjectKind,
        /// What is there.
        found: String,
    },
    /// A version of the object this program cannot read.
    #[error("{what} has format version {found}; this zooark reads up to {newest}: use a newer one")]
    NewerVersion {
        /// Which object.
        what: &'static str,
        /// Version found.
        found: u8,
        /// Newest version known.
        newest: u8,
    },
    /// A value cannot be stored.
    #[error("{what} cannot be encoded: {detail}")]
    Encode {
        /// Which body.
        what: &'static str,
        /// Why.
        detail: String,
    },
}

/// The kinds of stored objects. The number is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// `config`
    Config = 1,
    /// `keys/<id>`
    KeySlot = 2,
    /// `packs/<yyyymm>/<ulid>`
    Pack = 3,
    /// `snapshots/<lineage>/<seq>`
    Manifest = 4,
    /// `notes/<snapshot id>/<ulid>`
    Note = 5,
    /// `index/<ulid>`
    Index = 6,
    /// `catalog/<ulid>`
    Catalog = 7,
    /// `condemned/<generation>`
    Condemned = 8,
    /// `lease/<name>`
    Lease = 9,
    /// `restored/<cluster>/<number>/…`
    Restored = 10,
}

/// First bytes of every object.
pub const MAGIC: [u8; 6] = *b"ZooArk";
/// Length of an object's header: magic, kind, version.
pub const HEADER_LEN: usize = 8;

/// The header of an object.
pub fn object_header(kind: ObjectKind, version: u8) -> [u8; HEADER_LEN] {
    let mut header = [kind as u8; HEADER_LEN];
    let [magic @ .., _, last] = &mut header;
    *magic = MAGIC;
    *last = version;
    header
}

/// Checks an object's header: (version, what follows it).
pub fn split_header<'a>(
    what: &'static str,
    object: &'a [u8],
    kind: ObjectKind,
    newest: u8,
) -> Result<(u8, &'a [u8]), CodecError> {
    let wrong = |found: String| CodecError::WrongHeader { what, expected: kind, found };
    let Some((header, rest)) = object.split_first_chunk::<HEADER_LEN>() else {
        return Err(wrong(format!("{} bytes", object.len())));
    };
    let [magic @ .., found_kind, version] = header;
    if *magic != MAGIC {
        return Err(wrong("other first bytes".to_owned()));
    }
    if *found_kind != kind as u8 {
        return Err(wrong(format!("kind {found_kind}")));
    }
    if *version == 0 || *version > newest {
        return Err(CodecError::NewerVersion { what, found: *version, newest });
    }
    Ok((*version, rest))
}

/// Something a later version added to a body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// What it is; numbers are given out in `docs/format.md`.
    pub tag: u16,
    /// Whether a reader that does not know the tag must refuse the body.
    pub required: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The list that ends every body.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extensions(pub Vec<Extension>);

impl Extensions {
    /// Refuses a list with a required extension that is not among `known`.
    pub fn check(&self, what: &'static str, known: &[u16]) -> Result<(), CodecError> {
        match self.0.iter().find(|extension| extension.required && !known.contains(&extension.tag)) {
            Some(extension) => Err(CodecError::UnknownExtension { what, tag: extension.tag }),
            None => Ok(()),
        }
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
}

/// Encodes a value.
pub fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config())
        .map_err(|error| CodecError::Encode { what, detail: error.to_string() })
}

/// Decodes a value from the whole of `bytes`, which may be at most `LIMIT` long.
pub fn decode<T: DeserializeOwned, const LIMIT: usize>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > LIMIT {
        return Err(CodecError::TooLarge { what, len: bytes.len(), limit: LIMIT });
    }
    let limited = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, limited)
        .map_err(|error| CodecError::Malformed { what, detail: error.to_string() })?;
    match bytes.len().checked_sub(used) {
        Some(0) => Ok(value),
        extra => Err(CodecError::TrailingBytes { what, extra: extra.unwrap_or(0) }),
    }
}

/// Encodes a body: the value, then an empty list of extensions.
pub fn encode_body<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CodecError> {
    encode(what, &(value, Extensions::default()))
}

/// Decodes a body and refuses required extensions; this version knows none.
pub fn decode_body<T: DeserializeOwned, const LIMIT: usize>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let (value, extensions): (T, Extensions) = decode::<_, LIMIT>(what, bytes)?;
    extensions.check(what, &[])?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Sample {
        small: u64,
        large: u64,
        signed: i64,
        text: String,
        bytes: [u8; 3],
        maybe: Option<u8>,
    }

    fn sample() -> Sample {
        Sample { small: 250, large: 251, signed: -2, text: "zk".into(), bytes: [1, 2, 3], maybe: Some(9) }
    }

    #[test]
    fn golden_encoding() {
        let bytes = encode_body("sample", &sample()).unwrap();
        let golden = [250, 251, 251, 0, 3, 2, b'z', b'k', 1, 2, 3, 1, 9, 0];
        assert_eq!(bytes, golden);
        crate::golden::assert_documented("encoding", &bytes);
        assert_eq!(decode_body::<Sample, 64>("sample", &bytes).unwrap(), sample());
    }

    #[test]
    fn limits_and_ends_are_kept() {
        let mut bytes = encode_body("sample", &sample()).unwrap();
        assert!(matches!(decode_body::<Sample, 13>("sample", &bytes), Err(CodecError::TooLarge { .. })));
        bytes.push(0);
        assert!(matches!(decode_body::<Sample, 64>("sample", &bytes), Err(CodecError::TrailingBytes { extra: 1, .. })));
        // A list that claims 2^63 elements must fail without being allocated.
        let claims = [253, 0, 0, 0, 0, 0, 0, 0, 128];
        assert!(matches!(decode::<Vec<u64>, 64>("list", &claims), Err(CodecError::Malformed { .. })));
        for cut in 0..14 {
            assert!(decode_body::<Sample, 64>("sample", &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn unknown_extensions_are_ignored_or_refused_as_marked() {
        let with = |required| {
            let list = Extensions(vec![Extension { tag: 700, required, bytes: vec![1] }]);
            encode("sample", &(sample(), list)).unwrap()
        };
        assert_eq!(decode_body::<Sample, 64>("sample", &with(false)).unwrap(), sample());
        assert!(matches!(
            decode_body::<Sample, 64>("sample", &with(true)),
            Err(CodecError::UnknownExtension { tag: 700, .. })
        ));
    }

    #[test]
    fn headers_tell_kind_and_version() {
        let object = [&object_header(ObjectKind::Pack, 1)[..], b"rest"].concat();
        assert_eq!(object[..8], *b"ZooArk\x03\x01");
        assert_eq!(split_header("pack", &object, ObjectKind::Pack, 1).unwrap(), (1, &b"rest"[..]));
        assert!(matches!(split_header("pack", &object, ObjectKind::Config, 1), Err(CodecError::WrongHeader { .. })));
        assert!(matches!(split_header("pack", &object[..7], ObjectKind::Pack, 1), Err(CodecError::WrongHeader { .. })));
        let newer = object_header(ObjectKind::Pack, 2);
        assert!(matches!(
            split_header("pack", &newer, ObjectKind::Pack, 1),
            Err(CodecError::NewerVersion { found: 2, newest: 1, .. })
        ));
    }
}
