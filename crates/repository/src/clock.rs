//! Clocks: the wall, and one that also runs while the machine sleeps.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ulid::Ulid;

/// Milliseconds since 1970 by the system's clock.
pub fn now_ms() -> i64 {
    Clock::default().now_ms()
}

/// A moment of a clock that never goes back and counts suspension. A writer's time limit needs it: prune elsewhere does
/// not sleep while this machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

/// Where a host's time comes from, and names that nobody else will use: the system, unless a test takes its place.
pub trait Host: Debug + Send + Sync {
    /// What the wall shows.
    fn wall(&self) -> SystemTime;
    /// Time since some moment, suspension included.
    fn running(&self) -> Duration;
    /// A name that was never used before and will not be again.
    fn name(&self) -> Ulid;
}

/// A host's clocks.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<dyn Host>>);

impl Clock {
    /// The clocks of a host that is simulated.
    pub fn simulated(host: Arc<dyn Host>) -> Self {
        Self(Some(host))
    }

    /// What the wall shows.
    pub fn wall(&self) -> SystemTime {
        self.0.as_ref().map_or_else(SystemTime::now, |host| host.wall())
    }

    /// Milliseconds since 1970 by the wall.
    pub fn now_ms(&self) -> i64 {
        let since = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        Moment(self.0.as_ref().map_or_else(since_boot, |host| host.running()))
    }

    /// Time since then.
    pub fn since(&self, moment: Moment) -> Duration {
        self.moment().0.saturating_sub(moment.0)
    }

    /// A name that was never used before and will not be again; later ones are greater, by the wall.
    pub fn name(&self) -> Ulid {
        self.0.as_ref().map_or_else(Ulid::generate, |host| host.name())
    }
}

fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
