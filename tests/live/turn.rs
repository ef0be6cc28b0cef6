//! One test at a time: several JVMs on two cores would only time each other out.

use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn, and holds it.
pub fn take() -> MutexGuard<'static, ()> {
    // Another test's failure is no reason not to run.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
