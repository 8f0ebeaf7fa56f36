//! The one place that reads a clock for the data path.
//!
//! Guarantee: time since the start never goes back and does not follow the wall clock; under a paused tokio runtime it is the
//! paused time, so that tests compare milliseconds with `==`.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The process's time: every worker shares one origin, so that all agree on what a millisecond of a zone is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the clock began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The instant at which this much time has passed since the clock began.
    #[must_use]
    pub fn at(&self, since_start: Duration) -> Instant {
        self.origin + since_start
    }

    /// The wall clock, for log lines only: no decision hangs on it.
    #[must_use]
    pub fn wall() -> SystemTime {
        SystemTime::now()
    }
}
