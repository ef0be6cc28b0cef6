//! Two tests at a time at most, and one where an ensemble or a pause is the point: more JVMs on two cores would only time each
//! other out.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What all tests together may take.
const ROOM: usize = 2;

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

/// Waits for this test's turn: it runs alone.
pub fn take() -> Turn {
    TURNS.take(ROOM)
}

/// Waits for this test's turn: another may run beside it. For tests with one server, in which nothing hangs on who is quicker.
pub fn beside_another() -> Turn {
    TURNS.take(1)
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
