//! Whole milliseconds since the process's clock began: the only time the limiter knows.

use std::time::Duration;

/// Instant on the monotonic clock of the process, or the distance between two, in whole
/// milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Start of the clock, or no wait at all.
    pub const ZERO: Self = Self(0);

    /// Cuts a reading to the millisecond it lies in: the time that a decision uses.
    #[must_use]
    pub fn cut(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }

    /// First whole millisecond that is not before the reading: the time that a release uses, so
    /// that no release is early.
    #[must_use]
    pub fn not_before(since_start: Duration) -> Self {
        let cut = Self::cut(since_start);
        if Duration::from(cut) < since_start { cut.plus(Self(1)) } else { cut }
    }

    /// Adds `wait`; stops at the largest value instead of wrapping.
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
    ///
    /// ```
    /// use weir_limit::Millis;
    ///
    /// assert_eq!(Millis(1_001).seconds_up(), 2);
    /// ```
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
