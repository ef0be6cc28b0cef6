//! Work on several threads whose results are taken in order.
//!
//! Memory is bounded: no piece of work begins that is more than the window ahead of the last result taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

/// Threads to compute with: the processors this process may use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How far work may run ahead of its taker, per thread.
const WINDOW_PER_THREAD: usize = 4;

/// How far work may run ahead of its taker: while `work(index)` has not ended, no work from `index + window()` on begins.
pub fn window() -> usize {
    threads() * WINDOW_PER_THREAD
}

struct Gate {
    taken: Mutex<usize>,
    moved: Condvar,
    stopped: AtomicBool,
}

impl Gate {
    /// Waits until `index` is within the window; false when the taker has given up.
    fn admit(&self, index: usize, window: usize) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while index >= *taken + window && !self.stopped.load(Ordering::Relaxed) {
            taken = self.moved.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        let _taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }
}

/// Does `work(0..count)` on all processors and hands each result to `take` in order, on the calling thread.
/// Stops at the first error of either, which is returned.
pub fn in_order<T: Send, E: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = threads().min(count);
    if threads <= 1 {
        return (0..count).try_for_each(|index| take(work(index)?));
    }
    let window = window();
    let next = AtomicUsize::new(0);
    let gate = Gate { taken: Mutex::new(0), moved: Condvar::new(), stopped: AtomicBool::new(false) };
    let (send, receive) = mpsc::channel::<(usize, Result<T, E>)>();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let send = send.clone();
            let (next, gate, work) = (&next, &gate, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || !gate.admit(index, window) || send.send((index, work(index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        let mut result = Ok(());
        while wanted < count {
            let Ok((index, done)) = receive.recv() else { break };
            early.insert(index, done);
            while let Some(done) = early.remove(&wanted) {
                result = done.and_then(&mut take);
                if result.is_err() {
                    gate.stop();
                    return result;
                }
                wanted += 1;
                gate.advance();
            }
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_within_the_window() {
        let taken = AtomicUsize::new(0);
        let mut seen = Vec::new();
        let work = |index: usize| {
            assert!(index < taken.load(Ordering::SeqCst) + window());
            Ok::<_, ()>(index)
        };
        let take = |index| {
            seen.push(index);
            taken.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        in_order(1000, work, take).unwrap();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_in_order_stops_everything() {
        let mut seen = 0;
        let work = |index: usize| if index == 10 { Err("ten") } else { Ok(index) };
        let result = in_order(1_000_000, work, |_| {
            seen += 1;
            Ok(())
        });
        assert_eq!((result, seen), (Err("ten"), 10));
        assert_eq!(in_order(5, Ok, |index| if index == 3 { Err("taker") } else { Ok(()) }), Err("taker"));
        assert_eq!(in_order(0, |_| Err("never"), |(): ()| Ok(())), Ok::<(), &str>(()));
    }
}
