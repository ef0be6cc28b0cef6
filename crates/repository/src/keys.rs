//! Key slots: `keys/<id>`, each wrapping the same keyring under a password or a key file.
//!
//! A slot's header says how its key is derived; it is bounded before it is obeyed and authenticated by the seal, so a
//! weakened or exhausting header opens nothing. Adding and removing slots touches no data.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::codec::{ObjectKind, decode, decode_body, encode, encode_body, object_header, split_header};
use crate::crypto::{CryptoError, Keyring, SecretKey, fill_random, open_under, seal_under};
use crate::error::RepositoryError;
use crate::ids::RepositoryId;
use crate::seal::SealError;

/// Longest key slot, bytes.
pub const MAX_SLOT: u64 = 64 << 10;
/// Most slots that are tried with a password.
pub const MAX_SLOTS: usize = 256;
/// Version of key slots.
const VERSION: u8 = 1;
const MAX_HEAD: usize = 4096;
const MAX_KEYRING: usize = 32 << 10;

/// Argon2id costs of new slots: RFC 9106's second recommendation.
pub const DEFAULT_COSTS: Costs = Costs { memory_kib: 64 << 10, passes: 3, lanes: 4 };

/// What opens a repository.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing: an unencrypted repository.
    #[default]
    None,
    /// A password.
    Password(SecretString),
    /// The contents of a key file.
    KeyFile(KeyFile),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Credentials::None",
            Self::Password(_) => "Credentials::Password(..)",
            Self::KeyFile(_) => "Credentials::KeyFile(..)",
        })
    }
}

impl Credentials {
    /// A password from text.
    pub fn password(text: impl Into<String>) -> Self {
        Self::Password(SecretString::from(text.into()))
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// 32 secret bytes in a file, for hosts that back up too often to derive a key from a password each time.
#[derive(Clone)]
pub struct KeyFile(SecretKey);

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

const KEY_FILE_PREFIX: &str = "zooark-key-1 ";

impl KeyFile {
    /// A new random key.
    pub fn generate() -> Result<Self, RepositoryError> {
        Ok(Self(SecretKey::random()?))
    }

    /// Reads a key file: one line as [`KeyFile::to_text`] writes it, or exactly 32 raw bytes.
    pub fn parse(contents: &[u8]) -> Result<Self, RepositoryError> {
        if let Ok(raw) = <[u8; 32]>::try_from(contents) {
            return Ok(Self(SecretKey(raw)));
        }
        let text = std::str::from_utf8(contents).ok().map(str::trim_ascii);
        let digits = text.and_then(|t| t.strip_prefix(KEY_FILE_PREFIX)).map(str::trim_ascii);
        let digits = digits.filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| RepositoryError::Key {
            what: format!(
                "not a key file: expected 32 bytes, or a line `{KEY_FILE_PREFIX}` and 64 hexadecimal digits; \
                 `zooark init --key-file` makes one"
            ),
        })?;
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
        Ok(Self(SecretKey(key)))
    }

    /// The line to store in the file. It is as secret as the key.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(80));
        text.push_str(KEY_FILE_PREFIX);
        for byte in &self.0.0 {
            // Writing to a string cannot fail.
            let _ = fmt::Write::write_fmt(&mut *text, format_args!("{byte:02x}"));
        }
        text.push('\n');
        text
    }

    /// Path of the slot of this key: derived from it, so that no listing is needed to find the slot.
    pub fn slot_path(&self) -> String {
        let name = blake3::derive_key("ZooArk v1 name of a key file's slot", &self.0.0);
        slot_path(name.first_chunk().unwrap_or(&[0; 16]))
    }

    fn slot_key(&self) -> SecretKey {
        SecretKey(blake3::derive_key("ZooArk v1 key of a key file's slot", &self.0.0))
    }
}

fn slot_path(id: &[u8; 16]) -> String {
    format!("keys/{:032x}", u128::from_be_bytes(*id))
}

/// Argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Memory, KiB; at most 4 GiB.
    pub memory_kib: u32,
    /// Passes; at most 64.
    pub passes: u32,
    /// Lanes; at most 64.
    pub lanes: u32,
}

impl Costs {
    fn check(self) -> Result<Self, RepositoryError> {
        let bounds = [
            ("memory of a key slot, KiB", self.memory_kib, 4 << 20),
            ("passes of a key slot", self.passes, 64),
            ("lanes of a key slot", self.lanes, 64),
        ];
        for (what, found, limit) in bounds {
            if found > limit {
                return Err(RepositoryError::Limit { what, found: u64::from(found), limit: u64::from(limit) });
            }
        }
        Ok(self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Derivation {
    Argon2id { costs: Costs, salt: [u8; 16] },
    KeyFile,
}

/// What a slot says of itself in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SlotHead {
    derivation: Derivation,
    created_ms: i64,
    label: String,
}

/// A slot as `key list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its path.
    pub path: String,
    /// Whether it is a key file's.
    pub is_key_file: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: i64,
    /// Who made it, in clear.
    pub label: String,
    /// What deriving its key from a password costs; `None` for a key file.
    pub costs: Option<Costs>,
}

#[derive(Serialize, Deserialize)]
struct StoredKeyring {
    identity: [u8; 32],
    keys: Vec<(u32, [u8; 32])>,
}

impl Drop for StoredKeyring {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.keys.iter_mut().for_each(|(_, key)| key.zeroize());
    }
}

/// A slot ready to be written.
#[derive(Debug)]
pub struct Slot {
    /// Where it goes.
    pub path: String,
    /// The object.
    pub bytes: Vec<u8>,
}

/// Makes a slot that opens with `credentials`. `label` is stored in clear.
pub fn make_slot(
    repository: RepositoryId,
    keyring: &Keyring,
    credentials: &Credentials,
    costs: Costs,
    label: &str,
    created_ms: i64,
) -> Result<Slot, RepositoryError> {
    let (path, derivation) = match credentials {
        Credentials::None => {
            return Err(RepositoryError::Key { what: "a key slot needs a password or a key file".to_owned() });
        }
        Credentials::Password(_) => {
            let (mut id, mut salt) = ([0; 16], [0; 16]);
            fill_random(&mut id)?;
            fill_random(&mut salt)?;
            (slot_path(&id), Derivation::Argon2id { costs: costs.check()?, salt })
        }
        Credentials::KeyFile(file) => (file.slot_path(), Derivation::KeyFile),
    };
    let mut label = label.to_owned();
    label.truncate(label.floor_char_boundary(200));
    let head = SlotHead { derivation, created_ms, label };
    let fail = |e| RepositoryError::writing(&path, SealError::Codec(e));
    let head_bytes = encode("key slot header", &head).map_err(fail)?;
    let mut bytes = object_header(ObjectKind::KeySlot, VERSION).to_vec();
    bytes.extend_from_slice(&repository.0);
    bytes.extend_from_slice(&u32::try_from(head_bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&head_bytes);
    let stored = StoredKeyring {
        identity: keyring.identity.0,
        keys: keyring.keys.iter().map(|(number, key)| (*number, key.0)).collect(),
    };
    let plain = Zeroizing::new(encode_body("keyring", &stored).map_err(fail)?);
    let key = derive(&head.derivation, credentials, &path)?
        .ok_or_else(|| RepositoryError::Key { what: "these credentials do not fit this slot".to_owned() })?;
    let sealed = seal_under(&key, &aad(&path, &bytes), &plain).map_err(|e| RepositoryError::writing(&path, e))?;
    bytes.extend_from_slice(&sealed);
    Ok(Slot { path, bytes })
}

fn aad(path: &str, clear: &[u8]) -> Vec<u8> {
    [b"ZooArk key slot" as &[u8], &(path.len() as u64).to_le_bytes(), path.as_bytes(), clear].concat()
}

struct Parts<'a> {
    repository: RepositoryId,
    head: SlotHead,
    clear: &'a [u8],
    sealed: &'a [u8],
}

fn parse<'a>(path: &str, slot: &'a [u8]) -> Result<Parts<'a>, RepositoryError> {
    let damaged = |e: SealError| RepositoryError::reading(path, e);
    let short = || damaged(CryptoError::TooShort { len: slot.len() }.into());
    let (_, rest) = split_header("key slot", slot, ObjectKind::KeySlot, VERSION).map_err(|e| damaged(e.into()))?;
    let (repository, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (head, sealed) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
    let clear = slot.get(..slot.len().saturating_sub(sealed.len())).ok_or_else(short)?;
    let head = decode::<SlotHead, MAX_HEAD>("key slot header", head).map_err(|e| damaged(e.into()))?;
    Ok(Parts { repository: RepositoryId(*repository), head, clear, sealed })
}

/// What a slot says of itself, without opening it.
pub fn slot_info(path: &str, slot: &[u8]) -> Result<SlotInfo, RepositoryError> {
    let SlotHead { derivation, created_ms, label } = parse(path, slot)?.head;
    let costs = match derivation {
        Derivation::Argon2id { costs, .. } => Some(costs.check()?),
        Derivation::KeyFile => None,
    };
    Ok(SlotInfo { path: path.to_owned(), is_key_file: costs.is_none(), created_ms, label, costs })
}

/// Opens a slot; `None` if the credentials are not this slot's.
pub fn open_slot(
    repository: RepositoryId,
    path: &str,
    slot: &[u8],
    credentials: &Credentials,
) -> Result<Option<Keyring>, RepositoryError> {
    let parts = parse(path, slot)?;
    if parts.repository != repository {
        let what = format!("it belongs to repository {}", parts.repository);
        return Err(RepositoryError::Inconsistent { object: path.to_owned(), what });
    }
    let Some(key) = derive(&parts.head.derivation, credentials, path)? else { return Ok(None) };
    let plain = match open_under(&key, &aad(path, parts.clear), parts.sealed) {
        Ok(plain) => Zeroizing::new(plain),
        Err(CryptoError::Forged) => return Ok(None),
        Err(e) => return Err(RepositoryError::reading(path, e)),
    };
    let stored: StoredKeyring =
        decode_body::<_, MAX_KEYRING>("keyring", &plain).map_err(|e| RepositoryError::reading(path, e))?;
    let keys = stored.keys.iter().map(|(number, key)| (*number, SecretKey(*key))).collect();
    Ok(Some(Keyring { identity: SecretKey(stored.identity), keys }))
}

fn derive(
    derivation: &Derivation,
    credentials: &Credentials,
    path: &str,
) -> Result<Option<SecretKey>, RepositoryError> {
    match (derivation, credentials) {
        (Derivation::KeyFile, Credentials::KeyFile(file)) => Ok((file.slot_path() == path).then(|| file.slot_key())),
        (Derivation::Argon2id { costs, salt }, Credentials::Password(password)) => {
            let costs = costs.check()?;
            let unusable = |e: argon2::Error| RepositoryError::Key { what: format!("{path}: Argon2id: {e}") };
            let params = Params::new(costs.memory_kib, costs.passes, costs.lanes, Some(32)).map_err(unusable)?;
            let mut key = SecretKey([0; 32]);
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(password.expose_secret().as_bytes(), salt, &mut key.0)
                .map_err(unusable)?;
            Ok(Some(key))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Costs = Costs { memory_kib: 64, passes: 1, lanes: 4 };
    const REPOSITORY: RepositoryId = RepositoryId([3; 16]);

    fn slot(keyring: &Keyring, credentials: &Credentials) -> Slot {
        make_slot(REPOSITORY, keyring, credentials, QUICK, "me@host", 5).unwrap()
    }

    fn open(slot: &Slot, credentials: &Credentials) -> Result<Option<Keyring>, RepositoryError> {
        open_slot(REPOSITORY, &slot.path, &slot.bytes, credentials)
    }

    #[test]
    fn each_slot_opens_with_its_own_credentials_only() {
        let keyring = Keyring::generate().unwrap();
        let file = Credentials::KeyFile(KeyFile::generate().unwrap());
        let (right, wrong) = (Credentials::password("right"), Credentials::password("wrong"));
        for (own, others) in [(&right, [&wrong, &file]), (&file, [&right, &wrong])] {
            let slot = slot(&keyring, own);
            assert_eq!(open(&slot, own).unwrap().as_ref(), Some(&keyring));
            for other in others {
                assert_eq!(open(&slot, other).unwrap(), None);
            }
            let info = slot_info(&slot.path, &slot.bytes).unwrap();
            assert_eq!((info.label.as_str(), info.created_ms), ("me@host", 5));
            assert_eq!(info.is_key_file, matches!(own, Credentials::KeyFile(_)));
        }
    }

    /// A weakened header must not open; one that would exhaust memory must be refused before it is obeyed.
    #[test]
    fn slots_that_were_tampered_with_do_not_open() {
        let keyring = Keyring::generate().unwrap();
        let password = Credentials::password("p");
        let slot = slot(&keyring, &password);
        // Bytes of costs that stay cheap; the others decide how long the derivation takes.
        let costs_at = 8 + 16 + 4 + 1;
        for at in (0..slot.bytes.len()).filter(|at| !(costs_at..costs_at + 3).contains(at)) {
            let mut bytes = slot.bytes.clone();
            bytes[at] ^= 1;
            let opened = open(&Slot { path: slot.path.clone(), bytes }, &password);
            assert!(!matches!(opened, Ok(Some(_))), "byte {at}");
        }
        for len in 0..slot.bytes.len() {
            let cut = Slot { path: slot.path.clone(), bytes: slot.bytes[..len].to_vec() };
            assert!(!matches!(open(&cut, &password), Ok(Some(_))), "cut to {len}");
        }
        let huge = Costs { memory_kib: u32::MAX, ..QUICK };
        let refused = make_slot(REPOSITORY, &keyring, &password, huge, "", 0).unwrap_err();
        assert!(matches!(refused, RepositoryError::Limit { .. }));
        let moved = open_slot(REPOSITORY, "keys/0", &slot.bytes, &password).unwrap();
        assert_eq!(moved, None, "a slot is bound to its path");
        assert!(open_slot(RepositoryId([4; 16]), &slot.path, &slot.bytes, &password).is_err(), "another repository");
    }

    #[test]
    fn key_files_are_a_line_or_raw_bytes() {
        let file = KeyFile::generate().unwrap();
        let text = file.to_text();
        assert_eq!(text.len(), KEY_FILE_PREFIX.len() + 65);
        assert_eq!(KeyFile::parse(text.as_bytes()).unwrap().0, file.0);
        assert_eq!(KeyFile::parse(&file.0.0).unwrap().0, file.0);
        for wrong in ["", "zooark-key-1 12", "hello\n", &text.replace(' ', "")] {
            assert!(KeyFile::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?} {file:?}", Credentials::password("hunter2")), "Credentials::Password(..) KeyFile(..)");
    }

    #[test]
    fn golden_slot_header_and_key_file_derivation() {
        let head = SlotHead {
            derivation: Derivation::Argon2id { costs: DEFAULT_COSTS, salt: [9; 16] },
            created_ms: 1,
            label: "a".to_owned(),
        };
        let golden = [&[0, 252, 0, 0, 1, 0, 3, 4][..], &[9; 16], &[2, 1, b'a']].concat();
        assert_eq!(encode("slot", &head).unwrap(), golden);
        crate::golden::assert_documented("key slot", &golden);
        let file = KeyFile::parse(&[7; 32]).unwrap();
        assert_eq!(file.slot_path(), "keys/649b12d100124808042c741d474e72e6");
    }
}
