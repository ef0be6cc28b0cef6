//! Keyed BLAKE3 of very many short messages, several in the lanes of one vector.
//!
//! BLAKE3 fills a vector with the chunks of one long message; a message below a kilobyte is hashed alone, at a sixth of
//! the speed. Messages of the same number of blocks can share a vector just as well. So the forms that are hashed by
//! the million are padded with zeros to whole blocks ([`pad`]) and gathered here by their number of blocks. What comes
//! out is the plain keyed hash of the padded form, as the tests hold against the crate's documented interface: another
//! program needs nothing but that.
//!
//! The interface for this is one the crate keeps for its benchmarks, so its version is pinned; a version without it
//! costs speed only, [`keyed_hash`] of each form gives the same.

use blake3::platform::Platform;
use blake3::{IncrementCounter, keyed_hash};
use zeroize::Zeroize;

/// Bytes of a block of BLAKE3.
pub(crate) const BLOCK: usize = 64;
/// Blocks of a chunk: what is longer fills vectors by itself.
const CHUNK_BLOCKS: usize = 16;
/// Messages hashed together: as many as the widest vectors hold; narrower ones take them in two or four goes.
const LANES: usize = 16;

// Domain flags, from section 2.2 of the BLAKE3 paper.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

/// Pads with zeros to whole blocks, at least one.
pub(crate) fn pad(form: &mut Vec<u8>) {
    form.resize(form.len().max(1).next_multiple_of(BLOCK), 0);
}

/// Gathers padded forms and gives their hashes, in another order; `T` tells which is which.
pub(crate) struct ManyHashes<T> {
    key: [u8; 32],
    key_words: [u32; 8],
    platform: Platform,
    lanes: [Lanes<T>; CHUNK_BLOCKS],
}

impl<T> Drop for ManyHashes<T> {
    fn drop(&mut self) {
        self.key.zeroize();
        self.key_words.zeroize();
    }
}

impl<T> std::fmt::Debug for ManyHashes<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ManyHashes(..)")
    }
}

/// Forms of one number of blocks that wait to be hashed.
struct Lanes<T> {
    /// Room for [`LANES`] forms, one after the other; empty until the first comes.
    forms: Vec<u8>,
    /// One per form that is there.
    tags: Vec<T>,
}

impl<T> ManyHashes<T> {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let mut key_words = [0; 8];
        for (word, bytes) in key_words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let lanes = std::array::from_fn(|_| Lanes { forms: Vec::new(), tags: Vec::new() });
        Self { key, key_words, platform: Platform::detect(), lanes }
    }

    /// Takes a form that [`pad`] padded. `each` gets the hashes that are ready.
    pub(crate) fn push(&mut self, form: &[u8], tag: T, each: &mut impl FnMut(T, [u8; 32])) {
        debug_assert!(!form.is_empty() && form.len().is_multiple_of(BLOCK), "padded");
        let Some(lanes) = self.lanes.get_mut((form.len() / BLOCK).wrapping_sub(1)) else {
            each(tag, *keyed_hash(&self.key, form).as_bytes());
            return;
        };
        lanes.room(form.len()).copy_from_slice(form);
        lanes.tags.push(tag);
        if lanes.tags.len() == LANES {
            lanes.hash(form.len() / BLOCK, &self.key_words, self.platform, each);
        }
    }

    /// As [`ManyHashes::push`] of a form of `len` bytes before its padding, all of which `write` fills.
    pub(crate) fn push_written(
        &mut self,
        len: usize,
        tag: T,
        write: impl FnOnce(&mut [u8]),
        each: &mut impl FnMut(T, [u8; 32]),
    ) {
        let blocks = len.max(1).div_ceil(BLOCK);
        let Some(lanes) = self.lanes.get_mut(blocks - 1) else {
            let mut form = vec![0; blocks * BLOCK];
            write(&mut form[..len]);
            each(tag, *keyed_hash(&self.key, &form).as_bytes());
            return;
        };
        let (form, padding) = lanes.room(blocks * BLOCK).split_at_mut(len);
        write(form);
        padding.fill(0);
        lanes.tags.push(tag);
        if lanes.tags.len() == LANES {
            lanes.hash(blocks, &self.key_words, self.platform, each);
        }
    }

    /// Gives the hashes of all forms that are left.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(T, [u8; 32])) {
        for (blocks, lanes) in (1..).zip(&mut self.lanes) {
            if !lanes.tags.is_empty() {
                lanes.hash(blocks, &self.key_words, self.platform, each);
            }
        }
    }
}

impl<T> Lanes<T> {
    /// The room of the next form, of `size` bytes as all of them.
    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.forms.is_empty() {
            self.forms.resize(LANES * size, 0);
            self.tags.reserve_exact(LANES);
        }
        &mut self.forms[self.tags.len() * size..][..size]
    }

    fn hash(&mut self, blocks: usize, key: &[u32; 8], platform: Platform, each: &mut impl FnMut(T, [u8; 32])) {
        let mut hashes = [0; 32 * LANES];
        let out = &mut hashes;
        let forms = self.forms.get(..self.tags.len() * blocks * BLOCK).unwrap_or_default();
        match blocks {
            1 => hash_lanes::<64>(forms, key, platform, out),
            2 => hash_lanes::<128>(forms, key, platform, out),
            3 => hash_lanes::<192>(forms, key, platform, out),
            4 => hash_lanes::<256>(forms, key, platform, out),
            5 => hash_lanes::<320>(forms, key, platform, out),
            6 => hash_lanes::<384>(forms, key, platform, out),
            7 => hash_lanes::<448>(forms, key, platform, out),
            8 => hash_lanes::<512>(forms, key, platform, out),
            9 => hash_lanes::<576>(forms, key, platform, out),
            10 => hash_lanes::<640>(forms, key, platform, out),
            11 => hash_lanes::<704>(forms, key, platform, out),
            12 => hash_lanes::<768>(forms, key, platform, out),
            13 => hash_lanes::<832>(forms, key, platform, out),
            14 => hash_lanes::<896>(forms, key, platform, out),
            15 => hash_lanes::<960>(forms, key, platform, out),
            _ => hash_lanes::<1024>(forms, key, platform, out),
        }
        for (tag, hash) in self.tags.drain(..).zip(hashes.as_chunks::<32>().0) {
            each(tag, *hash);
        }
    }
}

/// Hashes forms of `N` bytes that lie one after the other, at most [`LANES`] of them.
fn hash_lanes<const N: usize>(forms: &[u8], key: &[u32; 8], platform: Platform, out: &mut [u8; 32 * LANES]) {
    let forms = forms.as_chunks::<N>().0;
    let mut inputs = [&[0; N]; LANES];
    for (input, form) in inputs.iter_mut().zip(forms) {
        *input = form;
    }
    let count = forms.len().min(LANES);
    let (inputs, out) = (inputs.get(..count).unwrap_or_default(), out.get_mut(..count * 32).unwrap_or_default());
    platform.hash_many(inputs, key, 0, IncrementCounter::No, KEYED_HASH, CHUNK_START, CHUNK_END | ROOT, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_each_form_alone() {
        let key = *b"a key of thirty-two bytes, no mo";
        let mut many = ManyHashes::new(key);
        let mut seen = std::collections::BTreeMap::new();
        let mut forms = Vec::new();
        for i in 0..1000_usize {
            // Every length up to beyond a chunk, and several of each number of blocks.
            let mut form: Vec<u8> = (0..i * 7 % 1300).map(|at| u8::try_from((at + i) % 251).unwrap()).collect();
            pad(&mut form);
            assert!(form.len().is_multiple_of(BLOCK) && !form.is_empty());
            let mut ready = |tag, hash| assert!(seen.insert(tag, hash).is_none());
            if i % 2 == 0 {
                many.push(&form, i, &mut ready);
            } else {
                let len = i * 7 % 1300;
                many.push_written(len, i, |out| out.copy_from_slice(&form[..len]), &mut ready);
            }
            forms.push(form);
        }
        many.finish(&mut |tag, hash| assert!(seen.insert(tag, hash).is_none()));
        assert_eq!(seen.len(), forms.len());
        for (i, form) in forms.iter().enumerate() {
            assert_eq!(seen[&i], *keyed_hash(&key, form).as_bytes(), "form {i} of {} bytes", form.len());
        }
        many.finish(&mut |_, _| panic!("nothing is left"));
    }
}
