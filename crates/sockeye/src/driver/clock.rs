//! The only clock.

use std::time::Duration;

use sockeye_core::Instant;

/// A monotonic clock with its own origin. Hosts that share one have comparable times in their records.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    /// The present time, in the core's terms.
    pub fn now(&self) -> Instant {
        // 2^64 ns are 584 years.
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    /// How long it is until `at`: zero if it is past, none if it never comes.
    pub(crate) fn until(&self, at: Instant) -> Option<Duration> {
        (!at.is_never()).then(|| at.since(self.now()))
    }
}
