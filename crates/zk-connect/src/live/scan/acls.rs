//! ACLs known from an earlier scan. An ACL cannot change without its `aversion`, nor a path change hands without its
//! `czxid`, so a node with both as before has the ACL it had.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use zk_format::{AclList, Stat};

/// Lists by path, `czxid` and `aversion`; 16 bytes a node.
#[derive(Debug, Default)]
pub struct AclMemory {
    known: HashMap<u64, (u32, u32)>,
    lists: Vec<AclList>,
    places: HashMap<AclList, u32>,
    keys: [RandomState; 2],
}

impl AclMemory {
    /// Remembers a node's list. One whose digests are hidden is not worth it: better credentials may show them.
    pub fn insert(&mut self, path: &[u8], stat: &Stat, list: &AclList) {
        if is_masked(list) {
            return;
        }
        let place = self.places.get(list).copied().unwrap_or_else(|| {
            let place = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
            self.lists.push(list.clone());
            self.places.insert(list.clone(), place);
            place
        });
        let (key, check) = self.hash(path, stat);
        self.known.insert(key, (check, place));
    }

    /// The list of a node, where it is known.
    pub fn get(&self, path: &[u8], stat: &Stat) -> Option<&AclList> {
        if self.known.is_empty() {
            return None;
        }
        let (key, check) = self.hash(path, stat);
        let (found, place) = self.known.get(&key)?;
        self.lists.get(*place as usize).filter(|_| *found == check)
    }

    /// 96 bits under keys that nobody knows: two nodes never share them.
    fn hash(&self, path: &[u8], stat: &Stat) -> (u64, u32) {
        let [first, second] = &self.keys;
        let what = (path, stat.czxid, stat.aversion);
        (first.hash_one(what), (second.hash_one(what) >> 32) as u32)
    }
}

/// Whether the server hid the digests of a list from us: it then shows `user:x`.
pub fn is_masked(list: &AclList) -> bool {
    list.0.windows(2).any(|pair| pair == b":x") && {
        let entries = list.decode().unwrap_or_default();
        entries.iter().any(|entry| entry.scheme == b"digest" && entry.id.ends_with(b":x"))
    }
}

#[cfg(test)]
mod tests {
    use zk_format::{Acl, Zxid};

    use super::*;

    fn list(id: &[u8]) -> AclList {
        AclList::encode(&[Acl { perms: 31, scheme: b"digest".to_vec(), id: id.to_vec() }])
    }

    #[test]
    fn only_the_same_node_with_the_same_version_is_known() {
        let stat = Stat { czxid: Zxid(5), aversion: 2, ..Stat::default() };
        let mut memory = AclMemory::default();
        memory.insert(b"/a", &stat, &list(b"u:hash"));
        memory.insert(b"/hidden", &stat, &list(b"u:x"));
        assert_eq!(memory.get(b"/a", &stat), Some(&list(b"u:hash")));
        assert_eq!(memory.get(b"/b", &stat), None);
        assert_eq!(memory.get(b"/a", &Stat { aversion: 3, ..stat }), None);
        assert_eq!(memory.get(b"/a", &Stat { czxid: Zxid(6), ..stat }), None);
        assert_eq!(memory.get(b"/hidden", &stat), None);
        assert!(is_masked(&list(b"u:x")) && !is_masked(&list(b"u:xy")) && !is_masked(&AclList::world()));
    }
}
