//! A leaky bucket in 128-bit fractions, written without a look at the one it judges.

use crate::limit::{Delay, Pass, Reject, Seen};

/// A bucket that leaks `requests` units a millisecond; a request pours in `per_ms` units.
pub struct Model {
    requests: u128,
    per_ms: u128,
    burst: u128,
    delay: u128,
    level: u128,
    last: u64,
}

impl Model {
    pub fn new((requests, per_ms): (u64, u64), burst: u32, delay: u32) -> Self {
        let (burst, delay) = (burst.into(), delay.into());
        Self { requests: requests.into(), per_ms: per_ms.into(), burst, delay, level: 0, last: 0 }
    }

    pub fn decide(&mut self, now: u64) -> Seen {
        self.level = self.level.saturating_sub(self.requests * u128::from(now - self.last));
        self.last = now;
        let millis = |units: u128| u64::try_from(units).expect("within the test");
        if self.level > self.burst * self.per_ms {
            return Reject(millis((self.level - self.burst * self.per_ms).div_ceil(self.requests)));
        }
        let wait = self.level.saturating_sub(self.delay * self.per_ms) / self.requests;
        self.level += self.per_ms;
        if wait == 0 { Pass } else { Delay(millis(wait)) }
    }
}

/// The most that may pass in a window of `millis` by burst and rate.
pub fn envelope((requests, per_ms): (u64, u64), burst: u32, millis: u64) -> u64 {
    u64::from(burst) + 1 + requests * millis / per_ms
}
