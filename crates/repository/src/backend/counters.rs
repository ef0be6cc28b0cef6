//! How many requests a store got, and how many bytes went each way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Requests and bytes since the store was opened. Retries count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Reads, of whole objects or ranges, found or not.
    pub get: u64,
    /// Writes, conditional or not.
    pub put: u64,
    /// Listings.
    pub list: u64,
    /// Deletions.
    pub delete: u64,
    /// Look-ups.
    pub head: u64,
    /// Bytes of written objects.
    pub bytes_up: u64,
    /// Bytes read.
    pub bytes_down: u64,
}

impl Counters {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            get: self.get.saturating_sub(earlier.get),
            put: self.put.saturating_sub(earlier.put),
            list: self.list.saturating_sub(earlier.list),
            delete: self.delete.saturating_sub(earlier.delete),
            head: self.head.saturating_sub(earlier.head),
            bytes_up: self.bytes_up.saturating_sub(earlier.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(earlier.bytes_down),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) get: AtomicU64,
    pub(super) put: AtomicU64,
    pub(super) list: AtomicU64,
    pub(super) delete: AtomicU64,
    pub(super) head: AtomicU64,
    pub(super) bytes_up: AtomicU64,
    pub(super) bytes_down: AtomicU64,
}

impl Tally {
    pub(super) fn read(&self) -> Counters {
        Counters {
            get: self.get.load(Relaxed),
            put: self.put.load(Relaxed),
            list: self.list.load(Relaxed),
            delete: self.delete.load(Relaxed),
            head: self.head.load(Relaxed),
            bytes_up: self.bytes_up.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Relaxed);
}
