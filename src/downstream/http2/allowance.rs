//! Allowance for client actions without use: a number at the start, and more as time passes and as
//! the client earns it.
//!
//! Guarantees: the rest never exceeds the initial number. Only integers are used, in thousandths.
//! The clock is read only when too little is left.

use tokio::time::Instant;

/// Unit of an allowance, in thousandths.
pub const ONE: u64 = 1_000;

/// Rest of an allowance.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    most: u64,
    a_second: u64,
    since: Instant,
}

impl Allowance {
    /// Creates a full allowance of `at_once`, with `a_second` more each second from `now` on.
    #[must_use]
    pub fn new(at_once: u64, a_second: u64, now: Instant) -> Self {
        Self { left: at_once * ONE, most: at_once * ONE, a_second, since: now }
    }

    /// Adds thousandths.
    pub fn earn(&mut self, thousandths: u64) {
        self.left = self.left.saturating_add(thousandths).min(self.most);
    }

    /// Subtracts `count`; returns false if that used up the rest.
    #[must_use]
    pub fn spend(&mut self, count: u64) -> bool {
        let cost = count.saturating_mul(ONE);
        // Zero counts as used up. So also a cost that would leave zero first adds what time
        // has earned.
        if cost >= self.left {
            let now = Instant::now();
            let passed =
                u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
            // One thousandth of `a_second` for each millisecond.
            self.earn(passed.saturating_mul(self.a_second));
            self.since = now;
        }
        self.left = self.left.saturating_sub(cost);
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::downstream::http2::allowance::*;

    #[tokio::test(start_paused = true)]
    async fn allowance_is_what_is_granted_at_once_and_what_time_and_work_give_back() {
        let mut allowance = Allowance::new(10, 4, Instant::now());
        let mut in_a_row = || (0..).take_while(|_| allowance.spend(1)).count();
        assert_eq!(in_a_row(), 9);
        for (wait, given_back) in [(0, 0), (250, 0), (500, 1), (1_000, 3), (60_000, 9)] {
            tokio::time::advance(Duration::from_millis(wait)).await;
            assert_eq!(in_a_row(), given_back, "after {wait} ms");
        }
        allowance.earn(2 * ONE + 1);
        assert_eq!([(); 4].map(|()| allowance.spend(1)), [true, true, false, false]);
        allowance.earn(u64::MAX);
        assert!(allowance.spend(9) && !allowance.spend(u64::MAX));
    }
}
