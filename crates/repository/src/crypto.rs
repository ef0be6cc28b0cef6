//! Keys of objects and the sealing of bytes under them.
//!
//! Every pack and every sealed object has a random key of its own, stored beside it wrapped under one of the
//! repository's numbered keys. So rotating the numbered keys rewrites no data, and a random nonce never meets more
//! than one object's blobs. Sealed bytes are `nonce (24) ‖ ciphertext ‖ tag (16)`.
//!
//! A repository without encryption has the same layout: the bytes are not enciphered, the tag is a public keyed hash,
//! the wrapped key is zero. Damage is detected the same way; forgery, of course, is not.

mod xchacha;

use std::collections::BTreeMap;
use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::xchacha::XChaCha20Poly1305;
use crate::codec::ObjectKind;
use crate::ids::{BlobId, BlobKind, IdentityKeys, RepositoryId};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 24;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// How much longer sealed bytes are than their plaintext.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + TAG_LEN;
/// Bytes of a wrapped key: number, nonce, key, tag.
pub const WRAPPED_KEY_LEN: usize = 4 + SEAL_OVERHEAD + 32;
/// Version of blobs, part of what their seal authenticates.
pub const BLOB_VERSION: u8 = 1;

/// A wrapped object key as stored.
pub type WrappedKey = [u8; WRAPPED_KEY_LEN];

/// 32 secret bytes. They never print themselves and are erased when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(pub(crate) [u8; 32]);

impl SecretKey {
    /// Fresh random bytes from the operating system.
    pub fn random() -> Result<Self, CryptoError> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// What can fail here. None of these say anything about the secrets involved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The bytes were not sealed with this key for this purpose, or were changed since.
    #[error("the seal does not match: the bytes were changed, or belong to another object or repository")]
    Forged,
    /// Too short to be sealed bytes.
    #[error("{len} bytes are too few to be sealed; the object is truncated")]
    TooShort {
        /// How many there are.
        len: usize,
    },
    /// The numbered key is not in the keyring.
    #[error(
        "it was sealed with key number {number}, which the key slot in use does not hold; if the key was rotated, run \
         the command again: this host used an older copy of the slot, which is dropped now"
    )]
    UnknownKey {
        /// The number.
        number: u32,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), CryptoError> {
    getrandom::fill(bytes).map_err(|_| CryptoError::NoRandomness)
}

/// A cipher, or its stand-in where the repository is not encrypted.
#[derive(Clone)]
enum Cipher {
    Plain,
    XChaCha(XChaCha20Poly1305),
}

/// The key of one object.
#[derive(Clone)]
pub struct ObjectKey {
    cipher: Cipher,
    wrapped: WrappedKey,
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectKey(..)")
    }
}

impl ObjectKey {
    /// The key as stored beside what it seals.
    pub fn wrapped(&self) -> &WrappedKey {
        &self.wrapped
    }

    /// Seals in place: `bytes` must start with [`NONCE_LEN`] bytes of room; nonce and tag are filled in.
    pub fn seal(&self, aad: &[u8], bytes: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.cipher.seal(aad, bytes)
    }

    /// Opens sealed bytes.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.cipher.open(aad, sealed)
    }
}

impl Cipher {
    fn keyed(key: &SecretKey) -> Self {
        Self::XChaCha(XChaCha20Poly1305::new(key))
    }

    fn seal(&self, aad: &[u8], bytes: &mut Vec<u8>) -> Result<(), CryptoError> {
        let len = bytes.len();
        let Some((nonce, body)) = bytes.split_first_chunk_mut::<NONCE_LEN>() else {
            return Err(CryptoError::TooShort { len });
        };
        fill_random(nonce)?;
        let tag: [u8; TAG_LEN] = match self {
            Self::Plain => plain_tag(aad, nonce, body),
            Self::XChaCha(cipher) => cipher.seal(nonce, aad, body).map_err(|_| CryptoError::Forged)?,
        };
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let parts = sealed
            .split_first_chunk::<NONCE_LEN>()
            .and_then(|(nonce, rest)| rest.split_last_chunk::<TAG_LEN>().map(|(body, tag)| (nonce, body, tag)));
        let Some((nonce, body, tag)) = parts else {
            return Err(CryptoError::TooShort { len: sealed.len() });
        };
        match self {
            Self::Plain if plain_tag(aad, nonce, body) == *tag => Ok(body.to_vec()),
            Self::Plain => Err(CryptoError::Forged),
            Self::XChaCha(cipher) => cipher.open(nonce, aad, body, tag).map_err(|_| CryptoError::Forged),
        }
    }
}

/// The tag of bytes that are not enciphered: keyed BLAKE3 with a public key, over lengths and contents.
fn plain_tag(aad: &[u8], nonce: &[u8; NONCE_LEN], body: &[u8]) -> [u8; TAG_LEN] {
    let key = blake3::derive_key("ZooArk v1 tag of unencrypted bytes", &[]);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&(aad.len() as u64).to_le_bytes()).update(aad).update(nonce).update(body);
    let mut tag = [0; TAG_LEN];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

/// The secrets of an encrypted repository: what a key slot wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// Identity secret; never changes.
    pub(crate) identity: SecretKey,
    /// Encryption keys by number; the highest is for new objects.
    pub(crate) keys: BTreeMap<u32, SecretKey>,
}

impl Keyring {
    /// A new repository's keyring, with key number 1.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self { identity: SecretKey::random()?, keys: BTreeMap::from([(1, SecretKey::random()?)]) })
    }

    /// A keyring with the same identity and encryption keys of its own, for a copy that shares content ids.
    pub fn generate_like(&self) -> Result<Self, CryptoError> {
        Ok(Self { identity: self.identity.clone(), keys: BTreeMap::from([(1, SecretKey::random()?)]) })
    }

    /// Adds the encryption keys of another keyring of the same repository that this one lacks. Does nothing and says so where
    /// both have a key of one number, and not the same.
    #[must_use]
    pub(crate) fn join(&mut self, other: &Self) -> bool {
        let agree = |(number, key): (&u32, &SecretKey)| self.keys.get(number).is_none_or(|own| own == key);
        if !other.keys.iter().all(agree) {
            return false;
        }
        for (number, key) in &other.keys {
            self.keys.entry(*number).or_insert_with(|| key.clone());
        }
        true
    }

    /// Adds a new encryption key and returns its number.
    pub fn rotate(&mut self) -> Result<u32, CryptoError> {
        let number = self.keys.last_key_value().map_or(1, |(n, _)| n.saturating_add(1));
        self.keys.insert(number, SecretKey::random()?);
        Ok(number)
    }
}

/// How a repository seals: its id, identity keys, and numbered keys if it is encrypted.
#[derive(Clone)]
pub struct Crypto {
    repository: RepositoryId,
    identity: IdentityKeys,
    keys: Option<Numbered>,
}

#[derive(Clone)]
struct Numbered {
    newest: u32,
    ciphers: BTreeMap<u32, Cipher>,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").field("repository", &self.repository).finish_non_exhaustive()
    }
}

impl Crypto {
    /// For an encrypted repository.
    pub fn encrypted(repository: RepositoryId, keyring: &Keyring) -> Self {
        let ciphers: BTreeMap<_, _> = keyring.keys.iter().map(|(n, key)| (*n, Cipher::keyed(key))).collect();
        let newest = ciphers.last_key_value().map_or(0, |(n, _)| *n);
        let identity = IdentityKeys::derive(&keyring.identity.0);
        Self { repository, identity, keys: Some(Numbered { newest, ciphers }) }
    }

    /// For a repository without encryption.
    pub fn unencrypted(repository: RepositoryId) -> Self {
        Self { repository, identity: IdentityKeys::public(), keys: None }
    }

    /// The repository's id.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The keys that names are made with.
    pub fn identity(&self) -> &IdentityKeys {
        &self.identity
    }

    /// Whether what is stored is enciphered.
    pub fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// A fresh key for one object.
    pub fn new_object_key(&self) -> Result<ObjectKey, CryptoError> {
        let Some(numbered) = &self.keys else {
            return Ok(ObjectKey { cipher: Cipher::Plain, wrapped: [0; WRAPPED_KEY_LEN] });
        };
        let unknown = CryptoError::UnknownKey { number: numbered.newest };
        let wrapping = numbered.ciphers.get(&numbered.newest).ok_or(unknown)?;
        let key = SecretKey::random()?;
        let mut sealed = Vec::with_capacity(WRAPPED_KEY_LEN);
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(&key.0);
        wrapping.seal(&self.wrapping_aad(numbered.newest), &mut sealed)?;
        let mut wrapped = [0; WRAPPED_KEY_LEN];
        let (number, rest) = wrapped.split_at_mut(4);
        number.copy_from_slice(&numbered.newest.to_le_bytes());
        rest.copy_from_slice(&sealed);
        Ok(ObjectKey { cipher: Cipher::keyed(&key), wrapped })
    }

    /// The key of an object from its wrapped form.
    pub fn unwrap_key(&self, wrapped: &WrappedKey) -> Result<ObjectKey, CryptoError> {
        let Some(numbered) = &self.keys else {
            let plain = wrapped.iter().all(|b| *b == 0);
            let key = ObjectKey { cipher: Cipher::Plain, wrapped: *wrapped };
            return if plain { Ok(key) } else { Err(CryptoError::Forged) };
        };
        let (number, sealed) = wrapped.split_first_chunk::<4>().ok_or(CryptoError::TooShort { len: 0 })?;
        let number = u32::from_le_bytes(*number);
        let wrapping = numbered.ciphers.get(&number).ok_or(CryptoError::UnknownKey { number })?;
        let mut plain = wrapping.open(&self.wrapping_aad(number), sealed)?;
        let key = <[u8; 32]>::try_from(plain.as_slice()).map(SecretKey);
        plain.zeroize();
        let key = key.map_err(|_| CryptoError::TooShort { len: 0 })?;
        Ok(ObjectKey { cipher: Cipher::keyed(&key), wrapped: *wrapped })
    }

    fn wrapping_aad(&self, number: u32) -> Vec<u8> {
        [b"ZooArk object key" as &[u8], &self.repository.0, &number.to_le_bytes()].concat()
    }

    /// What the seal of a blob authenticates besides its bytes.
    pub fn blob_aad(&self, id: &BlobId, kind: BlobKind) -> Vec<u8> {
        [b"ZooArk blob" as &[u8], &self.repository.0, &[kind as u8, BLOB_VERSION], &id.0].concat()
    }

    /// What the seal of an object (or of a pack's footer) authenticates besides its bytes: repository, kind, path, and
    /// what stands in clear before it.
    pub fn object_aad(&self, kind: ObjectKind, path: &str, clear: &[u8]) -> Vec<u8> {
        let path_len = (path.len() as u64).to_le_bytes();
        let parts: [&[u8]; 6] =
            [b"ZooArk object", &self.repository.0, &[kind as u8], &path_len, path.as_bytes(), clear];
        parts.concat()
    }
}

/// Seals a keyring under the key a slot gives.
pub(crate) fn seal_under(key: &SecretKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut bytes = Vec::with_capacity(plain.len().saturating_add(SEAL_OVERHEAD));
    bytes.extend_from_slice(&[0; NONCE_LEN]);
    bytes.extend_from_slice(plain);
    Cipher::keyed(key).seal(aad, &mut bytes)?;
    Ok(bytes)
}

/// Opens what [`seal_under`] made.
pub(crate) fn open_under(key: &SecretKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Cipher::keyed(key).open(aad, sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (RepositoryId, BlobId) {
        (RepositoryId([7; 16]), BlobId([9; 32]))
    }

    fn both() -> [Crypto; 2] {
        let (repository, _) = ids();
        [Crypto::encrypted(repository, &Keyring::generate().unwrap()), Crypto::unencrypted(repository)]
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        for crypto in both() {
            let key = crypto.new_object_key().unwrap();
            let aad = crypto.blob_aad(&ids().1, BlobKind::Leaf);
            let mut sealed = [&[0; NONCE_LEN][..], b"a znode"].concat();
            key.seal(&aad, &mut sealed).unwrap();
            assert_eq!(crypto.unwrap_key(key.wrapped()).unwrap().open(&aad, &sealed).unwrap(), b"a znode");
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.open(&aad, &changed), Err(CryptoError::Forged), "byte {at}");
            }
            for len in 0..sealed.len() {
                assert!(key.open(&aad, &sealed[..len]).is_err(), "cut to {len}");
            }
            assert!(key.open(&crypto.blob_aad(&ids().1, BlobKind::Value), &sealed).is_err(), "another kind");
            for at in 0..WRAPPED_KEY_LEN {
                let mut wrapped = *key.wrapped();
                wrapped[at] ^= 1;
                assert!(crypto.unwrap_key(&wrapped).is_err(), "byte {at} of the wrapped key");
            }
        }
    }

    #[test]
    fn an_old_key_stays_readable_after_rotation() {
        let (repository, id) = ids();
        let mut keyring = Keyring::generate().unwrap();
        let before = Crypto::encrypted(repository, &keyring);
        let old = before.new_object_key().unwrap();
        let mut elsewhere = keyring.clone();
        assert_eq!((keyring.rotate().unwrap(), elsewhere.rotate().unwrap()), (2, 2));
        assert!(!elsewhere.join(&keyring), "neither key is dropped for the other");
        let after = Crypto::encrypted(repository, &keyring);
        let mut sealed = vec![0; NONCE_LEN];
        old.seal(&after.blob_aad(&id, BlobKind::Leaf), &mut sealed).unwrap();
        let opened = after.unwrap_key(old.wrapped()).unwrap().open(&after.blob_aad(&id, BlobKind::Leaf), &sealed);
        assert_eq!(opened.unwrap(), b"");
        let new = after.new_object_key().unwrap();
        assert_eq!(before.unwrap_key(new.wrapped()).unwrap_err(), CryptoError::UnknownKey { number: 2 });
    }

    #[test]
    fn an_encrypted_repository_hides_what_it_holds_and_secrets_do_not_print() {
        let [crypto, _] = both();
        let mut sealed = [&[0; NONCE_LEN][..], b"a secret znode"].concat();
        crypto.new_object_key().unwrap().seal(b"", &mut sealed).unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        let keyring = Keyring { identity: SecretKey([0xab; 32]), keys: BTreeMap::from([(1, SecretKey([0xcd; 32]))]) };
        let printed = format!("{keyring:?} {crypto:?}");
        assert!(!printed.contains("171") && !printed.contains("205") && !printed.contains("ab"), "{printed}");
    }

    /// Pins the layout of the associated data, on which every stored seal depends.
    #[test]
    fn golden_associated_data() {
        let (repository, id) = ids();
        let crypto = Crypto::unencrypted(repository);
        let blob = crypto.blob_aad(&id, BlobKind::Value);
        assert_eq!(blob, [b"ZooArk blob" as &[u8], &[7; 16], &[3, 1], &[9; 32]].concat());
        let object = crypto.object_aad(ObjectKind::Manifest, "a/b", b"cc");
        let expected = [b"ZooArk object" as &[u8], &[7; 16], &[4], &[3, 0, 0, 0, 0, 0, 0, 0], b"a/bcc"].concat();
        assert_eq!(object, expected);
        let tag = plain_tag(b"aad", &[1; NONCE_LEN], b"body");
        assert_eq!(u128::from_be_bytes(tag), 0x9d8f_650d_16ce_edb2_d1ca_ab30_09cd_a75f);
    }
}
