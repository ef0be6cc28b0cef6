//! What watches told and nobody has taken yet, in bounded memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::once::Once;
use super::wire::WatchEvent;

/// Bytes of events kept; beyond that they are dropped and it is said that something was missed.
const MAX_BYTES: usize = 32 << 20;
/// Bytes of an event besides its path.
const OVERHEAD: usize = 48;

/// Something that a client with watches is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A watch fired.
    Watch(WatchEvent),
    /// Watches were without a connection for a time, or too much came at once: what happened meanwhile is not told.
    Missed,
}

/// The events of one client, oldest first.
#[derive(Debug, Default)]
pub struct Events {
    waiting: Mutex<Waiting>,
    once: Mutex<Once>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Event>,
    bytes: usize,
}

impl Events {
    pub(super) fn push(&self, event: WatchEvent) {
        self.once().fired(&event);
        let mut waiting = self.lock();
        let bytes = event.path.len().saturating_add(OVERHEAD);
        if waiting.bytes.saturating_add(bytes) > MAX_BYTES {
            waiting.queue.clear();
            waiting.bytes = 0;
            waiting.queue.push_back(Event::Missed);
        } else {
            waiting.bytes = waiting.bytes.saturating_add(bytes);
            waiting.queue.push_back(Event::Watch(event));
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    pub(super) fn missed(&self) {
        let mut waiting = self.lock();
        if waiting.queue.back() != Some(&Event::Missed) {
            waiting.queue.push_back(Event::Missed);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Everything that has arrived, without waiting.
    pub fn take(&self) -> Vec<Event> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        waiting.queue.drain(..).collect()
    }

    /// Waits until something has arrived, and takes all of it.
    pub async fn next(&self) -> Vec<Event> {
        loop {
            let taken = self.take();
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    /// The watches that fire once.
    pub(super) fn once(&self) -> MutexGuard<'_, Once> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::wire::EventKind;

    #[test]
    fn a_flood_becomes_one_word() {
        let events = Events::default();
        for _ in 0..40 {
            events.push(WatchEvent { kind: EventKind::Created, path: vec![b'x'; 1 << 20] });
        }
        let taken = events.take();
        assert_eq!(taken.first(), Some(&Event::Missed));
        assert!(taken.len() < 40 && events.take().is_empty());
    }
}
