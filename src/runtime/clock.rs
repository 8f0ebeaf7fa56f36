//! The one place that reads a clock for the data path.
//!
//! Guarantee: time since the start never goes back and does not follow the wall clock; under a
//! paused tokio runtime it is the paused time, so that tests compare milliseconds with `==`.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use tokio::time::Instant;

thread_local! {
    /// The last second that was told as a date.
    static DATE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The process's time: every worker shares one origin, so that all agree on what a millisecond of a
/// zone is.
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

    /// Time from the clock's beginning to an instant; zero for one before it.
    #[must_use]
    pub fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// The wall clock, for log lines only: no decision hangs on it.
    #[must_use]
    pub fn wall() -> SystemTime {
        SystemTime::now()
    }

    /// The wall clock as a `Date` says it (RFC 9110, section 5.6.7), worked out once a second.
    /// Nothing, should it be set to a time no calendar has.
    #[must_use]
    pub fn date() -> Option<HeaderValue> {
        let second = Self::wall().duration_since(UNIX_EPOCH).ok()?.as_secs();
        DATE.with_borrow_mut(|told| {
            if told.as_ref().is_none_or(|(at, _)| *at != second) {
                let at = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
                let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                *told = Some((second, HeaderValue::try_from(date).ok()?));
            }
            told.as_ref().map(|(_, date)| date.clone())
        })
    }

    /// Dates an answer that has no date (RFC 9110, section 6.6.1). hyper would too, but its dates
    /// stand still while a wall clock that was put back catches up with them.
    pub fn set_date(fields: &mut HeaderMap) {
        if !fields.contains_key(header::DATE)
            && let Some(date) = Self::date()
        {
            fields.insert(header::DATE, date);
        }
    }
}
