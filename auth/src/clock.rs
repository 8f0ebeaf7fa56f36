//! The only place that reads a clock. Every permission is decided on [`uptime`], which
//! no user can put back.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use weir_limit::Millis;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the time since this process first asked.
#[must_use]
pub fn uptime() -> Millis {
    Millis::cut(START.elapsed())
}

/// Returns whole seconds since 1970; a clock set before that reads zero.
#[must_use]
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs())
}
