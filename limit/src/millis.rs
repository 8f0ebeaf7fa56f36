//! Whole milliseconds since the process's clock began: the only time the limiter knows.

use std::time::Duration;

/// An instant on the process's monotonic clock, or the distance between two, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Zero: the clock's beginning, or no wait at all.
    pub const ZERO: Self = Self(0);

    /// Cuts a reading down to the millisecond it lies in: what a decision is made with.
    #[must_use]
    pub fn cut(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }

    /// The first whole millisecond that is not before the reading: what a release is timed from, so
    /// that nothing is early.
    #[must_use]
    pub fn not_before(since_start: Duration) -> Self {
        let cut = Self::cut(since_start);
        if Duration::from(cut) < since_start { cut.plus(Self(1)) } else { cut }
    }

    /// Later by `wait`; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, wait: Self) -> Self {
        Self(self.0.saturating_add(wait.0))
    }

    /// Time since an earlier instant; zero since a later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds, rounded up: the unit of `Retry-After`.
    #[must_use]
    pub fn seconds_up(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Self::from_millis(millis.0)
    }
}
