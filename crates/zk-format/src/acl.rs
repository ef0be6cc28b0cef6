//! ACL lists in their jute form, `vector<{ i32 perms | ustring scheme | ustring id }>`.
//!
//! The bytes are kept as they were read: a null vector, a null id or an id in CESU-8 comes back as it was.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::{Arc, LazyLock};

use crate::jute::{JuteError, Reader, Writer};
use crate::types::{Acl, AclList};

/// All five permission bits.
pub const ALL_PERMISSIONS: i32 = 31;
/// perms, two string lengths.
const LEAST_ENTRY_BYTES: usize = 12;

static WORLD: LazyLock<AclList> = LazyLock::new(|| {
    AclList::encode(&[Acl { perms: ALL_PERMISSIONS, scheme: b"world".to_vec(), id: b"anyone".to_vec() }])
});

impl AclList {
    /// `world:anyone` with all permissions: what ACL id −1 stands for, in no table.
    pub fn world() -> Self {
        WORLD.clone()
    }

    /// The jute form of these entries.
    pub fn encode(entries: &[Acl]) -> Self {
        let mut writer = Writer::new();
        writer.vector(Some(entries.len()));
        for entry in entries {
            writer.i32(entry.perms).ustring(Some(&entry.scheme)).ustring(Some(&entry.id));
        }
        Self(writer.into_bytes().into())
    }

    /// The null list, which the server writes for no node but transactions can hold.
    pub fn null() -> Self {
        Self(Arc::from((-1i32).to_be_bytes()))
    }

    /// Whether this is the null list rather than an empty one.
    pub fn is_null(&self) -> bool {
        *self.0 == (-1i32).to_be_bytes()
    }

    /// The entries. A null list has none; a null scheme or id comes out empty (the bytes still tell them apart).
    pub fn decode(&self) -> Result<Vec<Acl>, JuteError> {
        let mut reader = Reader::new(&self.0);
        let count = reader.vector(LEAST_ENTRY_BYTES)?.unwrap_or(0);
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let perms = reader.i32()?;
            let scheme = reader.ustring()?.unwrap_or_default().to_vec();
            let id = reader.ustring()?.unwrap_or_default().to_vec();
            entries.push(Acl { perms, scheme, id });
        }
        reader.finish()?;
        Ok(entries)
    }

    /// Takes one list from a reader, as its bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, JuteError> {
        Self::raw(reader).map(|bytes| Self(Arc::from(bytes)))
    }

    /// Takes the bytes of one list from a reader.
    pub fn raw<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], JuteError> {
        let mut ahead = reader.clone();
        // Not `Reader::vector`: at the end of a file still being written, a list that is cut off is a truncation.
        let offset = ahead.position();
        let length = ahead.i32()?;
        if length < -1 {
            return Err(JuteError::BadLength { offset, length });
        }
        for _ in 0..length {
            ahead.i32()?;
            ahead.ustring()?;
            ahead.ustring()?;
        }
        reader.take(reader.remaining().saturating_sub(ahead.remaining()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_lists_differ() {
        assert_ne!(AclList::null(), AclList::encode(&[]));
        assert!(AclList::null().is_null() && !AclList::encode(&[]).is_null());
        assert_eq!(AclList::null().decode(), Ok(vec![]));
    }

    #[test]
    fn entries_round_trip() {
        let entries = [
            Acl { perms: 1, scheme: b"world".to_vec(), id: b"anyone".to_vec() },
            Acl { perms: 31, scheme: b"digest".to_vec(), id: b"u\xed\xa0\xbd:hash".to_vec() },
        ];
        let list = AclList::encode(&entries);
        assert_eq!(list.decode().as_deref(), Ok(&entries[..]));
        let mut followed = list.0.to_vec();
        followed.push(7);
        let mut reader = Reader::new(&followed);
        assert_eq!(AclList::read(&mut reader), Ok(list.clone()));
        assert_eq!(reader.rest(), [7]);
        for cut in 0..list.0.len() {
            assert!(AclList::read(&mut Reader::new(&list.0[..cut])).is_err());
        }
    }

    #[test]
    fn world_is_what_the_server_means_by_it() {
        let bytes = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";
        assert_eq!(*AclList::world().0, bytes[..]);
    }
}
