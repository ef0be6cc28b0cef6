//! The digest of a whole state: independent of order and layout, kept up to date by what changed.
//!
//! It is the sum modulo 2^256 of one keyed hash per record. Two tables, however cut, stacked or ordered, have
//! the same digest exactly when they hold the same records; a restore sums what it read and compares.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::IdentityKeys;
use crate::many_hashes::{BLOCK, ManyHashes};
use crate::record::{RecordRef, ValueRef};

/// The sum of the hashes of all records, little endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct StateDigest(pub [u8; 32]);

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDigest({self})")
    }
}

impl StateDigest {
    /// The digest of nothing.
    pub const ZERO: Self = Self([0; 32]);

    fn limbs(self) -> [u64; 4] {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(self.0.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        limbs
    }

    fn from_limbs(limbs: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(limbs) {
            *chunk = limb.to_le_bytes();
        }
        Self(bytes)
    }

    /// Sum modulo 2^256.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut carry = false;
        let (mut out, a, b) = ([0; 4], self.limbs(), other.limbs());
        for ((limb, x), y) in out.iter_mut().zip(a).zip(b) {
            (*limb, carry) = x.carrying_add(y, carry);
        }
        Self::from_limbs(out)
    }

    /// Difference modulo 2^256.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        let (mut out, a, b) = ([0; 4], self.limbs(), other.limbs());
        for ((limb, x), y) in out.iter_mut().zip(a).zip(b) {
            (*limb, borrow) = x.borrowing_sub(y, borrow);
        }
        Self::from_limbs(out)
    }
}

/// Hashes records one after another, with a buffer that is used again.
#[derive(Debug)]
pub struct RecordHasher<'k> {
    keys: &'k IdentityKeys,
    form: Vec<u8>,
}

impl<'k> RecordHasher<'k> {
    /// A hasher with a repository's keys.
    pub fn new(keys: &'k IdentityKeys) -> Self {
        Self { keys, form: Vec::with_capacity(1024) }
    }

    /// The digest of this record alone. Values over
    /// [`MAX_INLINE_VALUE`](crate::record::MAX_INLINE_VALUE) enter by the id of their blob, so that a change can
    /// be taken out of a digest without reading the old value.
    pub fn hash(&mut self, record: &RecordRef<'_>) -> StateDigest {
        let apart = record.value.apart(self.keys);
        let value = apart.as_ref().unwrap_or(&record.value);
        let len = form_len(record, value);
        self.form.clear();
        self.form.resize(len.next_multiple_of(BLOCK), 0);
        put_form(&mut self.form[..len], record, value);
        StateDigest(self.keys.record_hash(&self.form))
    }
}

/// Adds up very many records, several at a time.
#[derive(Debug)]
pub struct DigestSum<'k> {
    keys: &'k IdentityKeys,
    hashes: ManyHashes<()>,
    sum: StateDigest,
}

impl<'k> DigestSum<'k> {
    /// A sum of nothing yet.
    pub fn new(keys: &'k IdentityKeys) -> Self {
        Self { keys, hashes: keys.record_hashes(), sum: StateDigest::ZERO }
    }

    /// Adds a record, as [`RecordHasher::hash`] hashes it.
    pub fn add(&mut self, record: &RecordRef<'_>) {
        let apart = record.value.apart(self.keys);
        let value = apart.as_ref().unwrap_or(&record.value);
        let sum = &mut self.sum;
        let write = |form: &mut [u8]| put_form(form, record, value);
        self.hashes.push_written(form_len(record, value), (), write, &mut |(), hash| {
            *sum = sum.plus(StateDigest(hash));
        });
    }

    /// The sum of what was added since the last call.
    pub fn take(&mut self) -> StateDigest {
        let sum = &mut self.sum;
        self.hashes.finish(&mut |(), hash| *sum = sum.plus(StateDigest(hash)));
        std::mem::take(sum)
    }
}

/// Writes what is hashed of a record, with its value in the form it is stored in, over all of `form`.
fn put_form(form: &mut [u8], record: &RecordRef<'_>, value: &ValueRef<'_>) {
    let mut form = Form(form);
    form.put_bytes(record.key);
    let stat = &record.stat;
    // Each in its place at once: copied as one, they would have to be waited for.
    let (longs, ints) = form.next(FIXED_BYTES).split_at_mut(48);
    let numbers = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime, stat.ephemeral_owner];
    for (bytes, number) in longs.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
    let numbers = [stat.version, stat.cversion, stat.aversion].map(i32::to_le_bytes);
    for (bytes, number) in
        ints.as_chunks_mut::<4>().0.iter_mut().zip(numbers.into_iter().chain([record.flags.0.to_le_bytes()]))
    {
        *bytes = number;
    }
    form.put_bytes(record.acl);
    match value {
        ValueRef::Null => form.put(&[0]),
        ValueRef::Bytes(bytes) => {
            form.put(&[1]);
            form.put_bytes(bytes);
        }
        ValueRef::Blob { id, len } => {
            form.put(&[2]);
            form.put(&len.to_le_bytes());
            form.put(&id.0);
        }
    }
    debug_assert!(form.0.is_empty(), "as form_len counts");
}

/// Bytes of the stat and the flags.
const FIXED_BYTES: usize = 6 * 8 + 4 * 4;

/// How many bytes [`put_form`] writes.
const fn form_len(record: &RecordRef<'_>, value: &ValueRef<'_>) -> usize {
    let value = match value {
        ValueRef::Null => 0,
        ValueRef::Bytes(bytes) => 8 + bytes.len(),
        ValueRef::Blob { id, .. } => 8 + id.0.len(),
    };
    8 + record.key.len() + FIXED_BYTES + 8 + record.acl.len() + 1 + value
}

/// What is still to be written of a form whose length [`form_len`] counted.
struct Form<'f>(&'f mut [u8]);

impl<'f> Form<'f> {
    /// The next so many bytes.
    fn next(&mut self, len: usize) -> &'f mut [u8] {
        let (next, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        next
    }

    fn put(&mut self, bytes: &[u8]) {
        self.next(bytes.len()).copy_from_slice(bytes);
    }

    /// Length (u64) and bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordFlags, RecordStat};

    fn record() -> RecordRef<'static> {
        let stat = RecordStat {
            czxid: 1,
            mzxid: 2,
            pzxid: 3,
            ctime: 4,
            mtime: 5,
            version: 6,
            cversion: 7,
            aversion: 8,
            ephemeral_owner: 9,
        };
        RecordRef { key: b"\x01\x00a", stat, flags: RecordFlags(0), acl: b"acl", value: ValueRef::Bytes(b"v") }
    }

    #[test]
    fn golden_digest() {
        let keys = IdentityKeys::public();
        assert_eq!(
            RecordHasher::new(&keys).hash(&record()).to_string(),
            "79c2b6d3f2adf971a896d490071f7831782d64b85e6c4067b9aba2ede89b588d"
        );
    }

    #[test]
    fn a_sum_is_that_of_the_hashes() {
        let keys = IdentityKeys::public();
        let (mut sum, mut hasher) = (DigestSum::new(&keys), RecordHasher::new(&keys));
        let values: Vec<Vec<u8>> = (0..300).map(|i| vec![7; i * 17]).collect();
        let records = values.iter().map(|value| RecordRef { value: ValueRef::Bytes(value), ..record() });
        let one_by_one = records.clone().fold(StateDigest::ZERO, |sum, record| sum.plus(hasher.hash(&record)));
        records.for_each(|record| sum.add(&record));
        assert_eq!((sum.take(), sum.take()), (one_by_one, StateDigest::ZERO));
    }

    #[test]
    fn every_field_counts() {
        let keys = IdentityKeys::public();
        let mut hasher = RecordHasher::new(&keys);
        let base = record();
        let stat = |change: fn(&mut RecordStat)| {
            let mut other = record();
            change(&mut other.stat);
            other
        };
        let others = [
            RecordRef { key: b"\x01\x00b", ..base },
            RecordRef { flags: RecordFlags::INCOMPLETE, ..base },
            RecordRef { acl: b"acm", ..base },
            RecordRef { acl: b"", ..base },
            RecordRef { value: ValueRef::Null, ..base },
            RecordRef { value: ValueRef::Bytes(b""), ..base },
            stat(|s| s.czxid = 0),
            stat(|s| s.mzxid = 0),
            stat(|s| s.pzxid = 0),
            stat(|s| s.ctime = 0),
            stat(|s| s.mtime = 0),
            stat(|s| s.version = 0),
            stat(|s| s.cversion = 0),
            stat(|s| s.aversion = 0),
            stat(|s| s.ephemeral_owner = 0),
        ];
        let mut seen = std::collections::HashSet::from([hasher.hash(&base)]);
        for other in &others {
            assert!(seen.insert(hasher.hash(other)), "{other:?}");
        }
    }

    #[test]
    fn sums_carry_and_come_back() {
        let keys = IdentityKeys::public();
        let one = RecordHasher::new(&keys).hash(&record());
        let max = StateDigest([255; 32]);
        let mut unit = [0; 32];
        unit[0] = 1;
        assert_eq!(max.plus(StateDigest(unit)), StateDigest::ZERO);
        assert_eq!(StateDigest::ZERO.minus(StateDigest(unit)), max);
        assert_eq!(one.plus(max).minus(max), one);
        assert_eq!(one.plus(max), max.plus(one));
    }
}
