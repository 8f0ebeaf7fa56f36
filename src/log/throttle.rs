//! Throttle for diagnostics that clients can cause at will: one line per period, with the number of
//! those left out.

use std::{cell::Cell, time::Duration};

/// Silence after a line.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Decides which of many equal lines is written.
#[derive(Debug, Default)]
pub struct LogThrottle {
    next: Cell<Duration>,
    left_out: Cell<u64>,
}

impl LogThrottle {
    /// Returns the number of lines left out since the last one if a line may be written at `now`.
    pub fn look(&self, now: Duration) -> Option<u64> {
        if now < self.next.get() {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.next.set(now + SILENCE);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use crate::log::throttle::*;

    #[test]
    fn one_line_each_silence_tells_of_the_others() {
        let (sparing, at) = (LogThrottle::default(), Duration::from_secs);
        let looks = [0, 1, 9, 10, 30].map(|second| sparing.look(at(second)));
        assert_eq!(looks, [Some(0), None, None, Some(2), Some(0)]);
    }
}
