//! Bandwidth limits: a rate kept as the time at which the next byte may go.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Holds back bytes so that no more than a rate passes on average; a second's worth may pass at once.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: u64,
    next: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// A limit in KiB per second.
    pub(super) fn kib_per_second(kib: u32) -> Self {
        Self { bytes_per_second: u64::from(kib.max(1)) * 1024, next: Mutex::new(None) }
    }

    /// Waits until `bytes` more may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let needed = Duration::from_micros(
            (bytes as u64).saturating_mul(1_000_000).checked_div(self.bytes_per_second).unwrap_or_default(),
        );
        let until = {
            let now = Instant::now();
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Unused time is worth at most one second.
            let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
            let start = next.map_or(earliest, |at| at.max(earliest));
            let end = start + needed;
            *next = Some(end);
            end
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_the_average() {
        let limit = RateLimit::kib_per_second(100);
        let start = Instant::now();
        for _ in 0..50 {
            limit.pass(10 * 1024).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((3.9..=4.2).contains(&seconds), "500 KiB at 100 KiB/s after one free second took {seconds} s");
    }
}
