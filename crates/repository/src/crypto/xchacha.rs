//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): ChaCha20-Poly1305 under a key of its own for each nonce, which `HChaCha20`
//! makes of the long key and the nonce's first 16 bytes.
//!
//! The cipher and the tag are aws-lc's, whose code for each processor takes half the time of portable code; it has no
//! XChaCha20-Poly1305 to call from Rust.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20::{R20, hchacha};
use zeroize::Zeroize;

use super::{NONCE_LEN, SecretKey, TAG_LEN};

/// The cipher under one key.
#[derive(Clone)]
pub struct XChaCha20Poly1305(SecretKey);

/// The tag does not match, or the text is longer than the cipher can take (256 GiB).
#[derive(Debug)]
pub struct Failed;

impl XChaCha20Poly1305 {
    pub fn new(key: &SecretKey) -> Self {
        Self(key.clone())
    }

    /// Enciphers in place and returns the tag.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], Failed> {
        let (key, nonce) = self.for_nonce(nonce)?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| Failed)?;
        tag.as_ref().try_into().map_err(|_| Failed)
    }

    /// The text, once the tag was found right.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<Vec<u8>, Failed> {
        let (key, nonce) = self.for_nonce(nonce)?;
        let mut text = vec![0; sealed.len()];
        key.open_separate_gather(nonce, Aad::from(aad), sealed, tag, &mut text).map_err(|_| Failed)?;
        Ok(text)
    }

    /// The key for a nonce, and what of the nonce it is used with.
    fn for_nonce(&self, nonce: &[u8; NONCE_LEN]) -> Result<(LessSafeKey, Nonce), Failed> {
        let (for_key, &[n0, n1, n2, n3, n4, n5, n6, n7]) =
            nonce.first_chunk::<16>().zip(nonce.last_chunk::<8>()).ok_or(Failed)?;
        let mut key = hchacha::<R20>((&self.0.0).into(), for_key.into());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key);
        key.as_mut_slice().zeroize();
        let short = [0, 0, 0, 0, n0, n1, n2, n3, n4, n5, n6, n7];
        Ok((LessSafeKey::new(unbound.map_err(|_| Failed)?), Nonce::assume_unique_for_key(short)))
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::{KeyInit, XNonce};
    use proptest::prelude::*;

    use super::*;

    /// As another implementation does it.
    fn elsewhere(key: [u8; 32], nonce: [u8; NONCE_LEN], aad: &[u8], text: &[u8]) -> (Vec<u8>, [u8; TAG_LEN]) {
        let cipher = chacha20poly1305::XChaCha20Poly1305::new(&key.into());
        let mut sealed = text.to_vec();
        let tag = cipher.encrypt_inout_detached(&XNonce::from(nonce), aad, sealed.as_mut_slice().into()).unwrap();
        (sealed, tag.into())
    }

    /// The example of draft-irtf-cfrg-xchacha-03, A.3.1: the other implementation takes `HChaCha20` from the same place.
    #[test]
    fn the_known_answer() {
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let key = std::array::from_fn(|i| 0x80 + u8::try_from(i).unwrap());
        let nonce = std::array::from_fn(|i| 0x40 + u8::try_from(i).unwrap());
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut sealed = text.to_vec();
        let tag = XChaCha20Poly1305::new(&SecretKey(key)).seal(&nonce, &aad, &mut sealed).unwrap();
        assert_eq!(u128::from_be_bytes(tag), 0xc087_5924_c1c7_9879_47de_afd8_780a_cf49);
        assert_eq!(sealed[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
    }

    proptest! {
        #[test]
        fn another_implementation_makes_the_same(
            key: [u8; 32],
            nonce: [u8; NONCE_LEN],
            aad in proptest::collection::vec(any::<u8>(), 0..100),
            text in proptest::collection::vec(any::<u8>(), 0..3000),
            changed: prop::sample::Index,
        ) {
            let cipher = XChaCha20Poly1305::new(&SecretKey(key));
            let mut sealed = text.clone();
            let tag = cipher.seal(&nonce, &aad, &mut sealed).unwrap();
            prop_assert_eq!((sealed.clone(), tag), elsewhere(key, nonce, &aad, &text));
            prop_assert_eq!(cipher.open(&nonce, &aad, &sealed, &tag).unwrap(), text);
            let mut other = nonce;
            other[changed.index(NONCE_LEN)] ^= 1;
            prop_assert!(cipher.open(&other, &aad, &sealed, &tag).is_err(), "another nonce");
            let mut other = tag;
            other[changed.index(TAG_LEN)] ^= 0x80;
            prop_assert!(cipher.open(&nonce, &aad, &sealed, &other).is_err(), "another tag");
        }
    }
}
