//! The clock of a test. Time passes only by sleeping, which takes no time.

use std::{sync::Mutex, time::Duration};

use crate::core::sync::lock;

/// When each test begins: 2026-01-01 00:00:00 UTC. The same in every run, so that tests can compare times.
const START: Duration = Duration::from_hours(490_896);

/// The clock.
#[derive(Default)]
pub(super) struct Clock(Mutex<Duration>);

impl Clock {
    /// The time since 1970.
    pub fn now(&self) -> Duration {
        START.saturating_add(self.elapsed())
    }

    /// The time since the test began.
    pub fn elapsed(&self) -> Duration {
        *lock(&self.0)
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut elapsed = lock(&self.0);
        *elapsed = elapsed.saturating_add(duration);
    }

    /// Sets the clock back, for the next test.
    pub fn clear(&self) {
        *lock(&self.0) = Duration::ZERO;
    }
}
