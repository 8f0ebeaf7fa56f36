//! Retry budget of one worker for an upstream, so that failures do not multiply the load.
//!
//! Guarantee: in any period there are at most a fifth as many retries as requests, plus one per
//! second, plus [`SAVED`] saved earlier.

use std::cell::Cell;

use tokio::time::Instant;

/// Cost of a retry; a request earns one, so five requests pay for a retry.
const COST: u32 = 5;
/// Limit on saved retries.
pub const SAVED: u32 = 100;
/// Number of retries up to which a quiet service earns one per second.
pub const FLOOR: u32 = 10;

/// Retry budget of one worker for one upstream.
#[derive(Debug)]
pub struct Budget {
    /// Credit in parts of a retry.
    credit: Cell<u32>,
    /// Time up to which the seconds were credited.
    paid: Cell<Instant>,
}

impl Budget {
    /// Creates a budget for the first [`FLOOR`] retries.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        // Not full: a process that has just started has served nothing that could pay for retries.
        Self { credit: Cell::new(FLOOR * COST), paid: Cell::new(now) }
    }

    /// Credits a request.
    pub fn earn(&self) {
        self.credit.set((self.credit.get() + 1).min(SAVED * COST));
    }

    /// Returns true if the next request could pay for a retry. If not, it should not use a kept
    /// connection, which may have been closed meanwhile.
    #[must_use]
    pub fn covers_one(&self, now: Instant) -> bool {
        // Time only adds to the credit, and most requests find enough.
        self.credit.get() >= COST || self.credit_at(now) >= COST
    }

    /// Credit with the seconds that have passed since they were last credited.
    fn credit_at(&self, now: Instant) -> u32 {
        let seconds = now.duration_since(self.paid.get()).as_secs();
        // Seconds fill up to `FLOOR` only. Credit above it comes from requests alone.
        let missing = (FLOOR * COST).saturating_sub(self.credit.get());
        let earned = u32::try_from(seconds).unwrap_or(FLOOR).min(FLOOR) * COST;
        self.credit.get() + earned.min(missing)
    }

    /// Pays for a retry; returns false if the credit is too small.
    #[must_use]
    pub fn spend(&self, now: Instant) -> bool {
        let credit = self.credit_at(now);
        let seconds = now.duration_since(self.paid.get()).as_secs();
        // Advances by whole seconds only, so the rest of a second counts the next time.
        self.paid.set(self.paid.get() + std::time::Duration::from_secs(seconds));
        let enough = credit >= COST;
        self.credit.set(if enough { credit - COST } else { credit });
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::upstream::retry_budget::*;

    fn retries(budget: &Budget, now: Instant) -> usize {
        std::iter::from_fn(|| budget.spend(now).then_some(())).count()
    }

    #[test]
    fn five_requests_pay_for_a_retry() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert_eq!(retries(&budget, now), 10);
        (0..4).for_each(|_| budget.earn());
        assert!(!budget.covers_one(now) && !budget.spend(now));
        budget.earn();
        assert!(budget.covers_one(now));
        assert_eq!(retries(&budget, now), 1);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!(retries(&budget, now), 100);
        let spent = (0..1000).filter(|_| {
            budget.earn();
            budget.spend(now)
        });
        assert_eq!(spent.count(), 200);
    }

    #[test]
    fn retry_budget_earns_one_each_second() {
        let now = Instant::now();
        let budget = Budget::new(now);
        retries(&budget, now);
        let after = |millis| now + Duration::from_millis(millis);
        assert_eq!(
            [
                retries(&budget, after(999)),
                retries(&budget, after(1_999)),
                retries(&budget, after(2_000))
            ],
            [0, 1, 1]
        );
        assert_eq!(retries(&budget, after(3_600_000)), 10);
        let covers = |millis| budget.covers_one(after(millis));
        // Asked often, and credited once.
        assert_eq!(
            [3_600_999, 3_601_000, 3_601_500, 3_660_000].map(covers),
            [false, true, true, true]
        );
        assert_eq!(retries(&budget, after(3_601_500)), 1);
    }
}
