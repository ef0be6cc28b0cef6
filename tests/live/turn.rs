//! How many tests run at a time: what they start shares two cores, and more JVMs would only time each other out. Most of what
//! they do is to wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What all tests together may take: three servers, or two ensembles, or one and what waits. There must be as many threads
/// (`RUST_TEST_THREADS`) for that; with fewer it takes longer.
const ROOM: usize = 6;
const ENSEMBLE: usize = 3;
const SERVER: usize = 2;
const WAITING: usize = 1;

static TURNS: Turns = Turns { state: Mutex::new(State { free: ROOM, next: 0, served: 0 }), moved: Condvar::new() };

struct Turns {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    free: usize,
    /// The number of who comes next, and of who is let in next.
    next: u64,
    served: u64,
}

/// Held while a test runs.
#[must_use = "a turn ends when it is dropped"]
pub struct Turn(usize);

/// Waits for this test's turn: it runs alone. For tests in which something hangs on who is quicker.
pub fn alone() -> Turn {
    TURNS.take(ROOM)
}

/// Waits for the turn of a test with an ensemble: another one may run beside it.
pub fn of_an_ensemble() -> Turn {
    TURNS.take(ENSEMBLE)
}

/// Waits for the turn of a test with one server: two others may run beside it.
pub fn of_a_server() -> Turn {
    TURNS.take(SERVER)
}

/// Waits for the turn of a test that mostly waits, for something to run into its time-out.
pub fn to_wait() -> Turn {
    TURNS.take(WAITING)
}

impl Turns {
    /// First come, first served: who wants to be alone is not passed by.
    fn take(&self, room: usize) -> Turn {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        while state.served != number || state.free < room {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= room;
        state.served += 1;
        drop(state);
        self.moved.notify_all();
        Turn(room)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Another test's failure is no reason not to run.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.lock().free += self.0;
        TURNS.moved.notify_all();
    }
}
