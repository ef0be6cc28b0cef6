//! The order of znodes: parents before descendants, children of one node contiguous, subtrees contiguous.
//!
//! A key is the parent path with every `/` replaced by 0x01, then 0x00, then the name. The root's key is
//! empty. `ZooKeeper` forbids bytes below 0x20 in paths, so the order is unambiguous.

use std::cmp::Ordering;

use memchr::memchr;

use crate::path;

/// Splits a path at its last `/`: (`parent`, `name`). The parent of `/a` is `/`. The root (`""`) has none.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&b| b == b'/')?;
    let name = path.get(slash + 1..)?;
    let parent = path.get(..slash.max(1))?;
    Some((parent, name))
}

/// The parent's path in the form nodes carry: `""` for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    split(path).map(|(parent, _)| if parent == b"/" { &b""[..] } else { parent })
}

/// The key of a path.
pub fn encode(path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len() + 1);
    encode_into(path, &mut key);
    key
}

/// Appends the key of a path.
pub fn encode_into(path: &[u8], key: &mut Vec<u8>) {
    let Some((parent, name)) = split(path) else { return };
    key.extend(parent.iter().map(|&b| if b == b'/' { 1 } else { b }));
    key.push(0);
    key.extend_from_slice(name);
}

/// The path of a key, or `None` where the bytes are not a key.
pub fn decode(key: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(key.len());
    decode_into(key, &mut path)?;
    Some(path)
}

/// Appends the path of a key; `None`, and nothing appended, where the bytes are not a key.
pub fn decode_into(key: &[u8], path: &mut Vec<u8>) -> Option<()> {
    if key.is_empty() {
        return Some(());
    }
    let (parent, name) = split_key(key)?;
    path.extend(parent.iter().map(|&b| if b == 1 { b'/' } else { b }));
    if parent.len() > 1 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Some(())
}

/// The parent's part of a key, and the name. `None` for the root and where the bytes are not a key.
fn split_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(0, key)?;
    let (parent, name) = (key.get(..end)?, key.get(end + 1..)?);
    let is_key = parent.first() == Some(&1) && is_name(name) && memchr(b'/', parent).is_none();
    is_key.then_some((parent, name))
}

/// Whether a name may follow the parent in a key.
fn is_name(name: &[u8]) -> bool {
    path::is_plain(name) || !(name.contains(&0) || name.contains(&b'/'))
}

/// Decodes keys that mostly have the parent of the one before, as siblings do.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The parent's part of the last key; empty before there was one.
    parent: Vec<u8>,
    /// The last path, and how much of it comes before the name.
    path: Vec<u8>,
    before_name: usize,
}

impl Decoder {
    /// The path of a key, as [`decode`] has it.
    pub fn decode(&mut self, key: &[u8]) -> Option<&[u8]> {
        if let Some((parent, [0, name @ ..])) = key.split_at_checked(self.parent.len())
            && *parent == *self.parent
            && !parent.is_empty()
            && is_name(name)
        {
            self.path.truncate(self.before_name);
            self.path.extend_from_slice(name);
            return Some(&self.path);
        }
        self.path.clear();
        self.parent.clear();
        decode_into(key, &mut self.path)?;
        if let Some(end) = memchr(0, key) {
            self.parent.extend_from_slice(key.get(..end)?);
            self.before_name = self.path.len().saturating_sub(key.len().saturating_sub(end + 1));
        }
        Some(&self.path)
    }
}

/// Compares two paths in key order without building their keys.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match (split(a), split(b)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some((pa, na)), Some((pb, nb))) => compare_parents(pa, pb).then_with(|| na.cmp(nb)),
    }
}

/// Compares two parent paths in key order; the root as `""` or `/`.
pub(crate) fn compare_parents(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    match common {
        None => a.len().cmp(&b.len()),
        Some(at) => {
            let rank = |byte: &u8| if *byte == b'/' { 1 } else { *byte };
            a.get(at).map(rank).cmp(&b.get(at).map(rank))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_decoded_as_each_alone() {
        let keys: [&[u8]; 12] = [
            b"",
            b"\x01\0a",
            b"\x01\0",
            b"\x01\0b",
            b"",
            b"\x01a\0x",
            b"\x01a\0y/",
            b"\x01a\0y",
            b"\x01a\0y\0",
            b"\x01a\x01y\0z",
            b"\x01a",
            b"a\0b",
        ];
        for first in keys {
            for second in keys {
                let mut decoder = Decoder::default();
                for key in [first, second, first] {
                    assert_eq!(decoder.decode(key).map(<[u8]>::to_vec), decode(key), "{key:?} after {first:?}");
                }
            }
        }
    }

    #[test]
    fn keys_round_trip_and_order_as_paths_do() {
        let paths: [&[u8]; 8] = [b"", b"/a", b"/a-b", b"/a.b/c", b"/a/b", b"/a/b/c", b"/a/c", b"/b"];
        for a in paths {
            assert_eq!(decode(&encode(a)).as_deref(), Some(a));
            for b in paths {
                assert_eq!(compare(a, b), encode(a).cmp(&encode(b)), "{a:?} {b:?}");
            }
        }
    }
}
