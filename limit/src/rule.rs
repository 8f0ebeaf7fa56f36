//! Rule: a zone applied on a route, with a burst and a delay.
//!
//! With `T` the interval of the rate of the zone and `debt` what a key owes: a debt above
//! `burst * T` is rejected, one above `delay * T` waits for the difference, cut to whole
//! milliseconds, and any other passes.

use std::{cell::Cell, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos};

use super::{
    line::{Holder, Leaver},
    millis::Millis,
    rate::Rate,
    verdict::{Decision, Reason, Verdict},
    zone::{Access, Intent, Probe, Still, Store, Zone},
};

/// Enforcement of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its verdict is enforced.
    #[default]
    Enforce,
    /// Its verdict is computed and counted, never enforced.
    DryRun,
}

/// Settings of a rule beside its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// Requests by which a key may be ahead of its rate.
    pub burst: u32,
    /// Number of these that are not held back; nginx's `nodelay` is `delay == burst`.
    pub delay: u32,
    /// Longest wait; a request with a longer one is rejected on arrival.
    pub max_wait: Option<Millis>,
    /// Enforcement of the rule.
    pub mode: Mode,
}

impl RuleSettings {
    /// Settings with `burst` requests, all of the excess held back, enforced.
    #[must_use]
    pub fn burst(burst: u32) -> Self {
        Self { burst, delay: 0, max_wait: None, mode: Mode::Enforce }
    }

    /// Settings with nothing held back.
    #[must_use]
    pub fn nodelay(self) -> Self {
        Self { delay: self.burst, ..self }
    }

    /// Settings with the first `delay` requests of the excess not held back.
    ///
    /// ```
    /// use weir_limit::RuleSettings;
    ///
    /// // nginx: `burst=20 delay=5`, `burst=20 nodelay`.
    /// assert_eq!(RuleSettings::burst(20).delay(5).delay, 5);
    /// assert_eq!(RuleSettings::burst(20).nodelay().delay, 20);
    /// ```
    #[must_use]
    pub fn delay(self, delay: u32) -> Self {
        Self { delay, ..self }
    }
}

/// Error of a rule that cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The last place of the burst would be centuries away.
    #[error("a burst of {burst} at {rate} takes too long")]
    TooLong {
        /// Configured burst.
        burst: u32,
        /// Rate of the zone.
        rate: Rate,
    },
}

impl RuleError {
    /// Returns what to write instead, if there is a usual remedy. It is no part of the message.
    ///
    /// ```
    /// use weir_limit::rule::RuleError;
    ///
    /// let error = RuleError::TooLong { burst: 40_000, rate: "1r/d".parse()? };
    /// assert_eq!(error.to_string(), "a burst of 40000 at 1r/d takes too long");
    /// assert_eq!(error.hint().as_deref(), Some("the whole burst must fit in 100 years"));
    /// # Ok::<(), weir_limit::rate::RateError>(())
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } => Some("the whole burst must fit in 100 years".to_owned()),
        }
    }
}

/// Longest debt that a rule may hand out.
const CENTURY_MS: u64 = 100 * 366 * 86_400_000;

/// Rule in use.
#[derive(Debug)]
pub struct Rule {
    zone: Arc<Zone>,
    settings: RuleSettings,
    limiter: RateLimiter<Probe, Store, Still, NoOpMiddleware<Nanos>>,
    /// Debt that passes without waiting, in ticks.
    unheld_ticks: u64,
    /// Debt below which the wait, cut to milliseconds, is zero, in ticks.
    passes_below: u64,
    /// Debt beyond which the rule's burst is full, in ticks.
    burst_ticks: u64,
    /// Debt beyond which the wait is longer than `max_wait`, in ticks.
    longest_debt: u64,
}

/// Charge to a zone, with the position of the charged request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub fingerprint: u64,
    pub leaver: Leaver,
    pub wait: Millis,
}

/// Verdict with the numbers it is made of.
struct Asked {
    verdict: Verdict,
    /// Begin of the place that the request has or would have.
    place: u64,
    stored: bool,
}

impl Asked {
    /// Outcome for a request that this rule does not hold: it is through with its place, if it has
    /// one.
    fn passed(self, fingerprint: u64) -> (Verdict, Option<Charge>) {
        let charge =
            Charge { fingerprint, leaver: Leaver::Through(self.place), wait: Millis::ZERO };
        (self.verdict, self.stored.then_some(charge))
    }
}

impl Rule {
    /// Applies `zone` with `settings`.
    ///
    /// # Errors
    /// When the whole burst is more time than can be counted.
    pub fn new(zone: Arc<Zone>, settings: RuleSettings) -> Result<Self, RuleError> {
        let rate = zone.settings().rate;
        let interval = rate.interval_ticks();
        let countable = rate.ticks_per_ms() * CENTURY_MS;
        let too_long = || RuleError::TooLong { burst: settings.burst, rate };
        // governor counts the first request of a fresh key as part of its burst, and weir does not.
        let places = NonZeroU32::MIN.checked_add(settings.burst).ok_or_else(too_long)?;
        let all_ticks =
            // At the finest rate a century is 3.2 * 10^18 ticks, a sixth of 64 bits: `now` plus a
            // debt cannot overflow later.
            interval.checked_mul(u64::from(places.get())).filter(|ticks| *ticks <= countable);
        let burst_ticks = all_ticks.ok_or_else(too_long)? - interval;
        // A request with a debt beyond the burst is rejected, so a longer delay has no meaning.
        let unheld_ticks = interval * u64::from(settings.delay.min(settings.burst));
        let passes_below = unheld_ticks.saturating_add(rate.ticks_per_ms());
        // Waits are cut to the millisecond, so the longest wait that is not longer than `max_wait`
        // ends one tick before the next millisecond.
        let longest_debt = settings.max_wait.map_or(u64::MAX, |wait| {
            unheld_ticks
                .saturating_add(wait.plus(Millis(1)).0.saturating_mul(rate.ticks_per_ms()) - 1)
        });
        // A nanosecond of governor is one tick here. governor only adds and compares, so any unit
        // does.
        let quota = Quota::with_period(Duration::from_nanos(interval))
            .ok_or_else(too_long)?
            .allow_burst(places);
        let limiter = RateLimiter::new(quota, Store(Arc::clone(&zone)), Still);
        Ok(Self { zone, settings, limiter, unheld_ticks, passes_below, burst_ticks, longest_debt })
    }

    /// Returns the zone.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> RuleSettings {
        self.settings
    }

    /// Decides about one request of the key with this fingerprint. A reject stores nothing.
    ///
    /// A delayed request is charged but stands in no line: for harnesses in which no request
    /// leaves. [`super::Gate::decide`] parks.
    #[must_use]
    pub fn decide(&self, fingerprint: u64, now: Millis, intent: Intent) -> Verdict {
        let access = match intent {
            Intent::Look => Access::Look,
            Intent::Charge => Access::Charge { tail: 0 },
        };
        self.ask(fingerprint, now, access).verdict
    }

    /// Decides about one request and charges it. A delayed request enters the line of its key, as
    /// rule `index` of its holder.
    ///
    /// A request that passes takes a lock of the table only if its key is new. A delayed request is
    /// looked at again under the lock of its line, so that places and people of a line are in the
    /// same order.
    pub(super) fn charge(
        &self,
        fingerprint: u64,
        now: Millis,
        index: usize,
        holder: &mut Option<Arc<Holder>>,
    ) -> (Verdict, Option<Charge>) {
        if self.settings.mode == Mode::DryRun {
            // A dry-run rule charges and never holds: the place is taken on arrival, behind all
            // requests in the line.
            let scale = self.zone.scale();
            let charge =
                |tail| self.ask(fingerprint, now, Access::Charge { tail }).passed(fingerprint);
            if self.zone.lines().is_empty() {
                return charge(0);
            }
            return self.zone.lines().with(fingerprint, |line, _| charge(line.tail(scale)));
        }
        let passed = self.ask(fingerprint, now, Access::Pass { below: self.passes_below });
        if passed.stored || passed.verdict.decision == Decision::Reject {
            return passed.passed(fingerprint);
        }
        let scale = self.zone.scale();
        self.zone.lines().with(fingerprint, |line, _| {
            let asked = self.ask(fingerprint, now, Access::Charge { tail: line.tail(scale) });
            // Another thread may have charged the key, or a request may have left, since the first
            // look.
            if asked.verdict.decision != Decision::Delay {
                return asked.passed(fingerprint);
            }
            let holder = holder.get_or_insert_with(Holder::new);
            let number = line.enter(asked.place, holder, index, self.unheld_ticks);
            let wait = asked.verdict.wait;
            (asked.verdict, Some(Charge { fingerprint, leaver: Leaver::Standing(number), wait }))
        })
    }

    fn ask(&self, fingerprint: u64, now: Millis, access: Access) -> Asked {
        let (debt, stored) = (Cell::new(0), Cell::new(false));
        let probe =
            Probe { fingerprint, now, access, longest_debt: self.longest_debt, debt, stored };
        let admitted = self.limiter.check_key(&probe).is_ok();
        let debt = probe.debt.get();
        let verdict = if admitted { self.admit(debt) } else { self.reject(debt) };
        Asked {
            verdict,
            place: self.zone.ticks(now).saturating_add(debt),
            stored: probe.stored.get(),
        }
    }

    fn admit(&self, debt: u64) -> Verdict {
        let wait = Millis(
            debt.saturating_sub(self.unheld_ticks) / self.zone.settings().rate.ticks_per_ms(),
        );
        let decision = if wait == Millis::ZERO { Decision::Pass } else { Decision::Delay };
        Verdict { decision, excess_milli: self.excess_milli(debt), wait, ..Verdict::EXEMPT }
    }

    fn reject(&self, debt: u64) -> Verdict {
        let over_burst = debt > self.burst_ticks;
        let reason = if over_burst { Reason::Burst } else { Reason::MaxWait };
        // A reject means that the debt is above this bound, so the difference below is not
        // negative. It is rounded up, so a client that returns exactly then is admitted.
        let free_at = self.burst_ticks.min(self.longest_debt);
        let retry = Millis((debt - free_at).div_ceil(self.zone.settings().rate.ticks_per_ms()));
        Verdict { excess_milli: self.excess_milli(debt), ..Verdict::EXEMPT }.rejected(reason, retry)
    }

    /// Requests ahead of this one, in thousandths.
    fn excess_milli(&self, debt: u64) -> u64 {
        let interval = self.zone.settings().rate.interval_ticks();
        // A debt of a century has up to 3.2 * 10^18 ticks: times 1 000 it does not fit in 64 bits.
        // Every usual debt does, and a division of 64 bits is several times cheaper.
        match debt.checked_mul(1_000) {
            Some(milli) => milli / interval,
            None => {
                u64::try_from(u128::from(debt) * 1_000 / u128::from(interval)).unwrap_or(u64::MAX)
            }
        }
    }
}
