//! Where the bytes of a file lie: in huge pages, if they are many. A tree is read all over, and with pages of 4 KiB most
//! reads would miss the processor's page table; making that many pages takes time as well.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Below this ordinary memory is as good.
const LEAST_MAPPED: usize = 8 << 20;

/// Bytes, of which a tail may be cut off.
#[derive(Debug)]
pub(super) struct FileBytes {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Ordinary(Vec<u8>),
    Mapped(MmapMut),
}

impl FileBytes {
    /// So many zeros.
    pub fn zeroed(len: usize) -> Self {
        let mapped = (len >= LEAST_MAPPED).then(|| MmapMut::map_anon(len).ok()).flatten();
        let memory = mapped.map_or_else(|| Memory::Ordinary(vec![0; len]), Memory::Mapped);
        #[cfg(target_os = "linux")]
        if let Memory::Mapped(map) = &memory {
            // Where the system has no huge pages the others will do.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Self { memory, len }
    }

    /// Forgets what lies behind.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), memory: Memory::Ordinary(bytes) }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes: &[u8] = match &self.memory {
            Memory::Ordinary(bytes) => bytes,
            Memory::Mapped(map) => map,
        };
        bytes.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for FileBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.memory {
            Memory::Ordinary(bytes) => bytes,
            Memory::Mapped(map) => map,
        };
        bytes.get_mut(..self.len).unwrap_or_default()
    }
}
