//! Spreads what is asked of the servers evenly over time, so that other clients' requests wait for little of it.
//!
//! A server answers one request after the other: whoever comes next waits for all that was asked before. So a bound is
//! kept in small portions and not by pauses between large ones.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is asked for at once has room in one of so many parts of a second.
const PARTS_OF_A_SECOND: usize = 200;

/// Reads a second, for all connections together.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u32>,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many reads a second; as fast as it goes where `None`.
    pub const fn new(rate: Option<u32>) -> Self {
        Self { rate, next: Mutex::new(None) }
    }

    /// How many requests that count as `cost` reads each may go out at once, of `most`; at least one.
    pub fn portion(&self, most: usize, cost: usize) -> usize {
        let Some(rate) = self.rate else { return most.max(1) };
        let rate = usize::try_from(rate).unwrap_or(usize::MAX);
        (rate / PARTS_OF_A_SECOND / cost.max(1)).clamp(1, most.max(1))
    }

    /// When requests may go out that count as so many reads: what goes out later waits for that time to pass.
    fn turn(&self, now: Instant, reads: usize) -> Option<Instant> {
        let rate = self.rate?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        #[expect(clippy::cast_precision_loss, reason = "counts of a batch are small")]
        let pause = Duration::from_secs_f64(reads as f64 / f64::from(rate.max(1)));
        *next = Some(turn + pause);
        Some(turn)
    }

    /// Waits until so many reads may go out.
    pub async fn wait(&self, reads: usize) {
        if let Some(turn) = self.turn(Instant::now(), reads) {
            tokio::time::sleep_until(turn).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_spread_over_time_in_small_portions() {
        let pace = Pace::new(Some(10_000));
        assert_eq!((pace.portion(400, 1), pace.portion(400, 10), pace.portion(400, 99)), (50, 5, 1));
        assert_eq!((pace.portion(7, 1), pace.portion(0, 1)), (7, 1));
        let start = Instant::now();
        let after = |millis| Some(start + Duration::from_millis(millis));
        for portion in 0..100 {
            // Each when the time of all before it has passed, however early it was asked for.
            assert_eq!(pace.turn(start, 50), after(5 * portion));
        }
        // What was not used is not made up for.
        let later = start + Duration::from_mins(1);
        assert_eq!(pace.turn(later, 10_000), after(60_000));
        assert_eq!(pace.turn(later, 1), after(61_000));
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let pace = Pace::new(None);
        assert_eq!((pace.portion(400, 10), pace.portion(0, 10)), (400, 1));
        let now = Instant::now();
        assert!((0..1000).all(|_| pace.turn(now, 1_000_000).is_none()));
    }
}
