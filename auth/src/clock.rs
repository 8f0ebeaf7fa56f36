//! The only place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; a clock set before that reads zero.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| u64::try_from(past.as_millis()).unwrap_or(u64::MAX))
}

/// Whole seconds since 1970.
#[must_use]
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}
