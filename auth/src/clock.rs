//! The only place that reads a clock. What is allowed to whom is decided on [`uptime_ms`], which nobody can put back.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since this process first asked.
#[must_use]
pub fn uptime_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

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
