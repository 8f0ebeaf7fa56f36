//! Failed attempts as debt (GCRA): a few at once, then one each interval. A debt always runs off, so no lock is for ever.

use std::collections::HashMap;

/// Number of failures at the same time, and time until one is forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// So many in one moment.
    pub burst: u64,
    /// One more after each of these.
    pub interval_ms: u64,
}

/// The debt of every key in this process. Bounded: full, it forgets what ran off, then everything.
#[derive(Debug)]
pub struct Debts {
    paid_off_ms: HashMap<String, u64>,
    keys_max: usize,
}

impl Debts {
    /// Remembers at most `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self { paid_off_ms: HashMap::new(), keys_max }
    }

    /// Milliseconds until an attempt under `key` is allowed; zero is now. Never more than one interval.
    #[must_use]
    pub fn wait_ms(&self, key: &str, allowance: Allowance, now_ms: u64) -> u64 {
        let ahead = self.paid_off_ms.get(key).map_or(0, |at| at.saturating_sub(now_ms));
        let ahead = ahead.min(allowance.burst * allowance.interval_ms);
        ahead.saturating_sub((allowance.burst - 1) * allowance.interval_ms)
    }

    /// One more failure under `key`.
    pub fn charge(&mut self, key: &str, allowance: Allowance, now_ms: u64) {
        if self.paid_off_ms.len() >= self.keys_max {
            self.paid_off_ms.retain(|_, at| *at > now_ms);
        }
        if self.paid_off_ms.len() >= self.keys_max {
            self.paid_off_ms.clear();
        }
        let at = self.paid_off_ms.entry(key.to_owned()).or_insert(now_ms);
        *at = (*at).max(now_ms) + allowance.interval_ms;
    }

    /// A success: the key owes nothing.
    pub fn clear(&mut self, key: &str) {
        self.paid_off_ms.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowance, Debts};

    const FIVE: Allowance = Allowance { burst: 5, interval_ms: 60_000 };

    #[test]
    fn failures_five_then_one_a_minute() {
        let mut debts = Debts::new(10);
        for _ in 0..5 {
            assert_eq!(debts.wait_ms("k", FIVE, 1000), 0);
            debts.charge("k", FIVE, 1000);
        }
        assert_eq!(debts.wait_ms("k", FIVE, 1000), 60_000);
        assert_eq!(debts.wait_ms("k", FIVE, 60_999), 1);
        assert_eq!(debts.wait_ms("k", FIVE, 61_000), 0);
        assert_eq!(debts.wait_ms("other", FIVE, 1000), 0);
    }

    #[test]
    fn failures_end_with_a_success_and_a_full_table_forgets() {
        let mut debts = Debts::new(2);
        (0..5).for_each(|_| debts.charge("a", FIVE, 0));
        debts.clear("a");
        assert_eq!(debts.wait_ms("a", FIVE, 0), 0);
        ["a", "b", "c", "d"].iter().for_each(|key| debts.charge(key, FIVE, 0));
        assert!(debts.paid_off_ms.len() <= 2);
    }
}
