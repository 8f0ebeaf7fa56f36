//! Allowance of failed attempts: a few at the same time, then one each interval. What this process
//! counts, weir's own limiter counts: a debt always runs off, so no lock is for ever, and no
//! decision hangs on the wall clock.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use weir_limit::rate::RateError;
use weir_limit::rule::RuleError;
use weir_limit::zone::Intent;
use weir_limit::{Key, Millis, Rate, Rule, RuleSettings, Zone, ZoneSettings};

/// Failures that are free, and the time until one is forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Failures at the same time.
    pub burst: u32,
    /// One more after each of these.
    pub interval_ms: u64,
}

/// Reason why an allowance cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// The interval is none.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// The whole burst is longer than a century.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// Failures that this process has counted, by key.
#[derive(Debug)]
pub struct Failures {
    rule: Rule,
    seed: RandomState,
}

impl Failures {
    /// Counts by `allowance` for at most `keys_max` keys. When there are more, the key that owes
    /// least is forgotten.
    ///
    /// # Errors
    /// See [`AllowanceError`].
    pub fn new(name: &str, allowance: Allowance, keys_max: usize) -> Result<Self, AllowanceError> {
        let zone = Zone::new(ZoneSettings {
            name: name.into(),
            // Without parts: callers pass fingerprints, and no request is keyed here.
            key: Key::of(Vec::new()),
            rate: Rate::new(1, Duration::from_millis(allowance.interval_ms))?,
            capacity: keys_max,
            exempt: Vec::new(),
        });
        // The first one is no excess: a burst of four lets five through.
        let settings = RuleSettings::burst(allowance.burst.saturating_sub(1)).nodelay();
        // A random seed, so that no one can pick a name that shares a debt with another account.
        Ok(Self { rule: Rule::new(Arc::new(zone), settings)?, seed: RandomState::new() })
    }

    /// Returns the time until an attempt under `key` is allowed; zero is now. Never more than one
    /// interval.
    #[must_use]
    pub fn wait(&self, key: &str, now: Millis) -> Millis {
        self.rule.decide(self.seed.hash_one(key), now, Intent::Look).retry
    }

    /// Counts one more failure under `key`. Beyond the allowance nothing is added.
    pub fn charge(&self, key: &str, now: Millis) {
        // a reject adds nothing
        let _ = self.rule.decide(self.seed.hash_one(key), now, Intent::Charge);
    }

    /// Forgets the failures under `key`.
    pub fn clear(&self, key: &str, now: Millis) {
        self.rule.zone().forgive(self.seed.hash_one(key), now);
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowance, Failures, Millis};

    fn failures(keys_max: usize) -> Failures {
        Failures::new("test", Allowance { burst: 5, interval_ms: 60_000 }, keys_max)
            .expect("countable")
    }

    #[test]
    fn failures_five_then_one_a_minute() {
        let failures = failures(10);
        for _ in 0..5 {
            assert_eq!(failures.wait("k", Millis(1000)), Millis::ZERO);
            failures.charge("k", Millis(1000));
        }
        assert_eq!(failures.wait("k", Millis(1000)), Millis(60_000));
        assert_eq!(failures.wait("k", Millis(60_999)), Millis(1));
        assert_eq!(failures.wait("k", Millis(61_000)), Millis::ZERO);
        assert_eq!(failures.wait("other", Millis(1000)), Millis::ZERO);
    }

    #[test]
    fn failures_beyond_the_allowance_lock_for_no_longer() {
        let failures = failures(10);
        (0..50).for_each(|_| failures.charge("k", Millis(0)));
        assert_eq!(failures.wait("k", Millis(0)), Millis(60_000));
    }

    #[test]
    fn failures_end_with_a_success_and_a_flood_of_keys_frees_nobody() {
        let failures = failures(100);
        (0..5).for_each(|_| failures.charge("cleared", Millis(0)));
        failures.clear("cleared", Millis(0));
        assert_eq!(failures.wait("cleared", Millis(0)), Millis::ZERO);
        (0..5).for_each(|_| failures.charge("locked", Millis(0)));
        (0..1000).for_each(|number| failures.charge(&number.to_string(), Millis(0)));
        assert_eq!(failures.wait("locked", Millis(0)), Millis(60_000));
    }
}
