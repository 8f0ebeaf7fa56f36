//! Clock of the data path: no other file reads one.
//!
//! Guarantee: time since the start never goes back and does not follow the wall clock. Under a
//! paused tokio runtime it is the paused time, so tests compare milliseconds with `==`.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use tokio::time::Instant;

thread_local! {
    /// Last second that was formatted as a date.
    static DATE: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
}

/// Time of the process. All workers share one origin, so they agree on the milliseconds of a zone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Creates a clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the clock started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Instant at which this much time has passed since the clock started.
    #[must_use]
    pub fn at(&self, since_start: Duration) -> Instant {
        self.origin + since_start
    }

    /// Time from the start of the clock to an instant; zero for an earlier one.
    #[must_use]
    pub fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// Wall clock, for log lines, dates, and the time between two processes: a state file says by it
    /// how old its debts are. No decision about a request depends on it.
    #[must_use]
    pub fn wall() -> SystemTime {
        SystemTime::now()
    }

    /// Passes the wall clock as a `Date` value (RFC 9110, section 5.6.7), formatted once a second,
    /// to `then`. None if it is set to a time that no calendar has.
    pub fn date<T>(then: impl FnOnce(&str) -> T) -> Option<T> {
        let second = Self::wall().duration_since(UNIX_EPOCH).ok()?.as_secs();
        DATE.with_borrow_mut(|told| {
            if told.as_ref().is_none_or(|(at, _)| *at != second) {
                let at = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
                let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                *told = Some((second, date));
            }
            told.as_ref().map(|(_, date)| then(date))
        })
    }
}
