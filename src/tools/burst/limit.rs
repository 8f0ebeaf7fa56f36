//! Limit to judge a trace by: a rate, a burst and a delay, in exact arithmetic on microseconds.

use std::{fmt, sync::Arc};

use crate::limit::{Key, Part, Rate, Rule, RuleSettings, Zone, ZoneSettings, rule::RuleError};

/// Limit on the clients of a judged burst: as many as a schedule has requests.
const CAPACITY: usize = 100_000;

/// Limit that a server is said to keep for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    rate: Rate,
    settings: RuleSettings,
}

impl Limit {
    /// Builds a limit of which `delay` of `burst` requests are not held back.
    ///
    /// # Errors
    /// When the decision engine cannot count that far.
    pub fn new(rate: Rate, burst: u32, delay: u32) -> Result<Self, RuleError> {
        let limit = Self { rate, settings: RuleSettings::burst(burst).delay(delay.min(burst)) };
        limit.rule().map(|_| limit)
    }

    /// Requests that may be ahead of the rate.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.settings.burst
    }

    /// Number of these that are not held back.
    #[must_use]
    pub fn delay(&self) -> u32 {
        self.settings.delay
    }

    /// Returns the rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Builds the rule of the decision engine for this limit, with nothing counted yet.
    ///
    /// # Errors
    /// When the engine cannot count that far.
    pub fn rule(&self) -> Result<Rule, RuleError> {
        let zone = ZoneSettings {
            name: "burst".into(),
            key: Key::of(vec![Part::ClientIp]),
            rate: self.rate,
            capacity: CAPACITY,
            exempt: Vec::new(),
        };
        Rule::new(Arc::new(Zone::new(zone)), self.settings)
    }

    /// Debt that `requests` add.
    pub(super) fn cost(&self, requests: u64) -> Debt {
        // Ticks are parts of a millisecond and times are microseconds: a thousandth of a tick fits
        // both.
        Debt(u128::from(self.rate.interval_ticks()) * 1_000 * u128::from(requests))
    }

    /// Debt that `time_us` works off.
    pub(super) fn worth(&self, time_us: u64) -> Debt {
        Debt(u128::from(self.rate.ticks_per_ms()) * u128::from(time_us))
    }

    /// Wait for a debt in microseconds, cut to whole milliseconds.
    pub(super) fn whole_ms(&self, debt: Debt) -> u64 {
        let millis = debt.0 / (u128::from(self.rate.ticks_per_ms()) * 1_000);
        u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(1_000)
    }

    /// Requests that `time_us` is worth, rounded down.
    pub(super) fn earned(&self, time_us: u64) -> u64 {
        u64::try_from(self.worth(time_us).0 / self.cost(1).0).unwrap_or(u64::MAX)
    }

    /// Returns true if requests are a whole number of milliseconds apart.
    pub(super) fn steps_are_whole_ms(&self) -> bool {
        self.rate.ticks_per_ms() == 1
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} burst {}", self.rate, self.burst())?;
        match self.delay() {
            0 => Ok(()),
            delay if delay == self.burst() => f.write_str(" nodelay"),
            delay => write!(f, " delay {delay}"),
        }
    }
}

/// Debt of a key, in fractions of a microsecond that make every rate whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Debt(u128);

impl Debt {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::burst::limit::*;

    #[test]
    fn limit_displays_like_configuration() {
        let shown = |burst, delay| {
            Limit::new("10r/s".parse().expect("a rate"), burst, delay).expect("a limit").to_string()
        };
        assert_eq!(shown(0, 0), "10r/s burst 0");
        assert_eq!(shown(20, 0), "10r/s burst 20");
        assert_eq!(shown(20, 8), "10r/s burst 20 delay 8");
        assert_eq!(shown(20, 99), "10r/s burst 20 nodelay");
    }

    #[test]
    fn debts_are_exact_for_rates_that_are_no_whole_milliseconds() {
        let limit = Limit::new("3r/s".parse().expect("a rate"), 5, 0).expect("a limit");
        assert_eq!(limit.cost(3), limit.worth(1_000_000));
        assert_eq!(limit.whole_ms(limit.cost(1)), 333_000);
        assert_eq!(limit.whole_ms(limit.cost(3)), 1_000_000);
        assert_eq!((limit.earned(333_333), limit.earned(333_334)), (0, 1));
    }
}
