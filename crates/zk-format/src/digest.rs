//! The digest that 3.6 and later keep of their tree (`DigestCalculator`, version 2): a wrapping sum over the nodes of
//! `crc32(path ‖ data ‖ czxid mzxid pzxid ctime mtime version cversion aversion ephemeralOwner)`.
//!
//! It says nothing of ACL contents, of null against empty data, or of nodes below `/zookeeper/`.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::path::surrogate_pair;
use crate::types::{Stat, Zxid};

/// The version of the digest described here, as trailers and transactions name it.
pub const VERSION: i32 = 2;

/// Larger values go to the checksum on their own; smaller ones are gathered first, for a checksum over one slice is
/// much faster than over three short ones.
const GATHER_BYTES: usize = 4096;
/// As [`GATHER_BYTES`], where the gathering place is on the stack.
const SMALL_NODE_BYTES: usize = 512;

/// A digest as a trailer or a transaction states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatedDigest {
    /// The transaction after which the tree has it.
    pub zxid: Zxid,
    /// How it is computed; see [`VERSION`].
    pub version: i32,
    /// The sum.
    pub digest: i64,
}

/// What comparing a stated digest with the nodes gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestCheck {
    /// Nothing was stated: written before 3.6, with digests disabled, or before the first transaction.
    Absent,
    /// Stated in a version that is not known here.
    UnknownVersion(i32),
    /// The nodes are the tree at the stated zxid.
    Matches,
    /// As [`DigestCheck::Matches`], by a server whose JVM writes `?` for every character that is not ASCII.
    MatchesAscii,
    /// The nodes are not the tree at the stated zxid: written while transactions were applied, or damaged before.
    Differs {
        /// The sum over the nodes that were read.
        computed: i64,
    },
}

/// Whether the digest leaves this node out.
pub fn is_skipped(path: &[u8]) -> bool {
    path.starts_with(b"/zookeeper/")
}

/// One node's part of the sum; 0 for nodes it leaves out. The root's path may be `""` or `/`.
pub fn node_hash(path: &[u8], data: Option<&[u8]>, stat: &Stat) -> i64 {
    if is_skipped(path) {
        return 0;
    }
    let path = if path == b"/" { b"" } else { path };
    let data = data.unwrap_or_default();
    let stat = stat_bytes(stat);
    let mut gathered = [0; SMALL_NODE_BYTES];
    if let Some(bytes) = gather(&mut gathered, [path, data, &stat]) {
        return crc32fast::hash(bytes).into();
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(path);
    hasher.update(data);
    hasher.update(&stat);
    hasher.finalize().into()
}

fn gather<'a>(into: &'a mut [u8], parts: [&[u8]; 3]) -> Option<&'a [u8]> {
    let length = parts.iter().fold(0usize, |length, part| length.saturating_add(part.len()));
    let into = into.get_mut(..length)?;
    let mut rest = &mut *into;
    for part in parts {
        let (slot, after) = rest.split_at_mut_checked(part.len())?;
        slot.copy_from_slice(part);
        rest = after;
    }
    Some(into)
}

/// As [`node_hash`], by a server whose JVM runs in a locale without UTF-8: each character beyond ASCII counts as `?`.
pub fn node_hash_ascii(path: &[u8], data: Option<&[u8]>, stat: &Stat) -> i64 {
    if path.is_ascii() { node_hash(path, data, stat) } else { node_hash(&ascii(path), data, stat) }
}

fn ascii(path: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = surrogate_pair(rest).map_or(after, |(_, after)| after);
        match byte {
            0..=0x7f => shown.push(byte),
            // Continuation bytes belong to the character whose first byte was counted.
            0x80..=0xbf => {}
            0xc0.. => shown.push(b'?'),
        }
    }
    shown
}

/// The stat in the order the digest takes it.
fn stat_bytes(stat: &Stat) -> [u8; 60] {
    let mut bytes = [0; 60];
    bytes[..8].copy_from_slice(&stat.czxid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&stat.mzxid.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&stat.pzxid.0.to_be_bytes());
    bytes[24..32].copy_from_slice(&stat.ctime.to_be_bytes());
    bytes[32..40].copy_from_slice(&stat.mtime.to_be_bytes());
    bytes[40..44].copy_from_slice(&stat.version.to_be_bytes());
    bytes[44..48].copy_from_slice(&stat.cversion.to_be_bytes());
    bytes[48..52].copy_from_slice(&stat.aversion.to_be_bytes());
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes
}

/// Sums nodes as they pass, from the bytes of a file: no stat is decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunningDigest {
    sum: i64,
    gathered: Vec<u8>,
}

impl RunningDigest {
    /// Adds a node whose stat is given as the file has it: czxid mzxid ctime mtime, three versions, owner, pzxid.
    pub(crate) fn add(&mut self, path: &[u8], data: Option<&[u8]>, stat: &[u8; 60]) {
        if is_skipped(path) {
            return;
        }
        let data = data.unwrap_or_default();
        let (first_zxids, rest) = stat.split_at(16);
        let (times_to_owner, pzxid) = rest.split_at(36);
        self.gathered.clear();
        self.gathered.extend_from_slice(path);
        let gathers = data.len() <= GATHER_BYTES;
        if gathers {
            self.gathered.extend_from_slice(data);
        }
        let split = self.gathered.len();
        self.gathered.extend_from_slice(first_zxids);
        self.gathered.extend_from_slice(pzxid);
        self.gathered.extend_from_slice(times_to_owner);
        let hash = if gathers {
            crc32fast::hash(&self.gathered)
        } else {
            let (path, stat) = self.gathered.split_at(split);
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(path);
            hasher.update(data);
            hasher.update(stat);
            hasher.finalize()
        };
        self.sum = self.sum.wrapping_add(hash.into());
    }

    /// The sum so far.
    pub(crate) const fn sum(&self) -> i64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_root_has_the_sum_that_a_fresh_server_states() {
        // `1371985504` is what servers from 3.6 on print in `digest` for a tree with only their own nodes:
        // the root and /zookeeper, both with empty data and a stat of zeros.
        let zeros = Stat::default();
        let sum = node_hash(b"", Some(b""), &zeros)
            .wrapping_add(node_hash(b"/zookeeper", Some(b""), &zeros))
            .wrapping_add(node_hash(b"/zookeeper/quota", Some(b""), &zeros));
        assert_eq!(sum, 1_371_985_504);
    }

    #[test]
    fn characters_beyond_ascii_count_as_question_marks_where_the_locale_says_so() {
        assert_eq!(ascii("/é/日本/x".as_bytes()), b"/?/??/x");
        assert_eq!(ascii(b"/\xed\xa0\xbd\xed\xb8\x80!"), b"/?!");
        let stat = Stat { version: 3, ..Stat::default() };
        assert_eq!(node_hash_ascii("/é".as_bytes(), None, &stat), node_hash(b"/?", None, &stat));
        assert_ne!(node_hash_ascii("/é".as_bytes(), None, &stat), node_hash("/é".as_bytes(), None, &stat));
    }

    #[test]
    fn both_ways_of_hashing_agree() {
        let stat = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            pzxid: Zxid(3),
            ctime: 4,
            mtime: 5,
            version: 6,
            cversion: 7,
            aversion: 8,
            ephemeral_owner: 9,
        };
        let mut raw = Vec::new();
        for long in [1i64, 2, 4, 5] {
            raw.extend(long.to_be_bytes());
        }
        for int in [6i32, 7, 8] {
            raw.extend(int.to_be_bytes());
        }
        for long in [9i64, 3] {
            raw.extend(long.to_be_bytes());
        }
        let raw = <[u8; 60]>::try_from(raw).unwrap();
        for data in [None, Some(vec![]), Some(vec![1; 100]), Some(vec![3; 450]), Some(vec![2; GATHER_BYTES + 1])] {
            let mut running = RunningDigest::default();
            running.add(b"/a", data.as_deref(), &raw);
            assert_eq!(running.sum(), node_hash(b"/a", data.as_deref(), &stat));
        }
    }
}
