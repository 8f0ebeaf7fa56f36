//! Rule: a zone applied on a route, with a burst and a delay.
//!
//! With `T` the interval of the rate of the zone and `debt` what a key owes: a debt above
//! `burst * T` is rejected, one above `delay * T` waits for the difference, cut to whole
//! milliseconds, and any other passes.

use std::{cell::Cell, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos};

use super::{
    key::Subject,
    line::{Holder, Leaver, LineEntry},
    millis::Millis,
    penalty::Penalty,
    rate::Rate,
    reservation::Reservation,
    verdict::{Decision, Reason, Verdict},
    zone::{Access, Intent, Probe, Standing, Still, Store, Zone},
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
    /// Places that a request takes, at least 1 and at most [`MAX_COST`]: it counts as so many
    /// requests that arrive together, and it is through with the last of them.
    pub cost: u32,
}

/// Limit on the places of one request: a parked one has an entry in its line for each.
pub const MAX_COST: u32 = 100;

impl RuleSettings {
    /// Settings with `burst` requests, all of the excess held back, enforced.
    #[must_use]
    pub fn burst(burst: u32) -> Self {
        Self { burst, delay: 0, max_wait: None, mode: Mode::Enforce, cost: 1 }
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
    /// No request would ever be admitted, or it would take too many places.
    #[error("a request of {cost} places does not fit in a burst of {burst}")]
    TooCostly {
        /// Configured cost.
        cost: u32,
        /// Configured burst.
        burst: u32,
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
            Self::TooCostly { burst, .. } => {
                let most = burst.saturating_add(1).min(MAX_COST);
                Some(format!("use a cost from 1 to {most}: the burst and one, at most {MAX_COST}"))
            }
        }
    }
}

/// Longest debt that a rule may hand out.
const CENTURY_MS: u64 = 100 * 366 * 86_400_000;

/// Requests that a rule applies to, beside those that its zone exempts.
pub trait Scope: fmt::Debug + Send + Sync {
    /// Returns true if the rule applies to the request. It must depend on nothing else.
    fn covers(&self, subject: &Subject<'_>) -> bool;
}

/// Rule in use.
#[derive(Debug)]
pub struct Rule {
    zone: Arc<Zone>,
    /// None for most rules, which then pay for one check.
    special: Option<Box<Special>>,
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
    /// Distance of the last place of a request from its first, in ticks: `(cost - 1) * T`.
    own_ticks: u64,
}

/// Properties of a rule that most rules do not have.
#[derive(Clone, Debug, Default)]
struct Special {
    /// Requests that the rule applies to; none for all.
    scope: Option<Arc<dyn Scope>>,
    /// Statuses of the responses that it counts, if it does not count requests.
    statuses: Option<Arc<[u16]>>,
    penalty: Option<Penalty>,
}

/// Charge to a zone, with the position of the charged request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub fingerprint: u64,
    pub leaver: Leaver,
    /// Number of its places.
    pub cost: u32,
    pub wait: Millis,
}

/// Verdict with the numbers it is made of.
struct Asked {
    verdict: Verdict,
    /// Begin of the last place that the request has or would have.
    place: u64,
    stored: bool,
}

impl Asked {
    /// Outcome for a request that this rule does not hold: it is through with its place, if it has
    /// one.
    fn passed(self, fingerprint: u64, cost: u32) -> (Verdict, Option<Charge>) {
        let leaver = Leaver::Through(self.place);
        let charge = Charge { fingerprint, leaver, cost, wait: Millis::ZERO };
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
        let RuleSettings { burst, cost, .. } = settings;
        // The last place of a request is to be within the burst.
        if !(1..=MAX_COST).contains(&cost) || cost - 1 > burst {
            return Err(RuleError::TooCostly { cost, burst });
        }
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
        Ok(Self {
            zone,
            special: None,
            settings,
            limiter,
            unheld_ticks,
            passes_below,
            burst_ticks,
            longest_debt,
            own_ticks: interval * u64::from(cost - 1),
        })
    }

    /// Applies the rule to these requests only.
    #[must_use]
    pub fn within(mut self, scope: Arc<dyn Scope>) -> Self {
        self.special.get_or_insert_default().scope = Some(scope);
        self
    }

    /// Returns the requests that the rule applies to; none for all.
    #[must_use]
    pub fn scope(&self) -> Option<&Arc<dyn Scope>> {
        self.special.as_ref()?.scope.as_ref()
    }

    /// Counts responses of these statuses, in place of requests. Nothing is held back then: a
    /// request passes or is rejected. The [`Reservations`](super::Reservations) of each admitted
    /// request are to be settled with the status of its response.
    #[must_use]
    pub fn counting(mut self, statuses: Arc<[u16]>) -> Self {
        self.special.get_or_insert_default().statuses = Some(statuses);
        self
    }

    /// Shuts out keys that the rule rejects again and again.
    #[must_use]
    pub fn with_penalty(mut self, penalty: Penalty) -> Self {
        self.special.get_or_insert_default().penalty = Some(penalty);
        self
    }

    /// Returns the penalty.
    #[must_use]
    pub fn penalty(&self) -> Option<Penalty> {
        self.special.as_ref()?.penalty
    }

    /// Returns true if the rule applies to all requests, counts requests, and has no penalty.
    pub(super) fn is_plain(&self) -> bool {
        self.special.is_none()
    }

    /// Returns the time until the penalty of a key ends, if it has one now.
    pub(super) fn shut_out_for(&self, fingerprint: u64, now: Millis) -> Option<Millis> {
        self.penalty().and_then(|_| self.zone.penalties().left(fingerprint, now))
    }

    /// Counts an enforced reject of the bucket, if the rule has a penalty.
    pub(super) fn count_reject(&self, fingerprint: u64, now: Millis) {
        if let Some(penalty) = self.penalty() {
            self.zone.penalties().count(fingerprint, penalty, now);
        }
    }

    /// Returns the statuses of the responses that the rule counts; none if it counts requests.
    #[must_use]
    pub fn statuses(&self) -> Option<&Arc<[u16]>> {
        self.special.as_ref()?.statuses.as_ref()
    }

    /// Returns the standing of a request towards this rule.
    pub(super) fn standing(&self, subject: &Subject<'_>) -> Standing {
        match self.scope() {
            Some(scope) if !scope.covers(subject) => Standing::Outside,
            _ => self.zone.standing(subject),
        }
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
        if let Some(left) = self.shut_out_for(fingerprint, now) {
            return Verdict::EXEMPT.rejected(Reason::Penalty, left);
        }
        if self.statuses().is_some() {
            return self.judge(fingerprint, self.zone.reserved().places(fingerprint), now);
        }
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
        let cost = self.settings.cost;
        if self.settings.mode == Mode::DryRun {
            // A dry-run rule charges and never holds: the place is taken on arrival, behind all
            // requests in the line.
            let scale = self.zone.scale();
            let charge = |tail| {
                self.ask(fingerprint, now, Access::Charge { tail }).passed(fingerprint, cost)
            };
            if self.zone.lines().is_empty() {
                return charge(0);
            }
            return self.zone.lines().with(fingerprint, |line, _| charge(line.tail(scale)));
        }
        let passed = self.ask(fingerprint, now, Access::Pass { below: self.passes_below });
        if passed.stored || passed.verdict.decision == Decision::Reject {
            return passed.passed(fingerprint, cost);
        }
        let scale = self.zone.scale();
        self.zone.lines().with(fingerprint, |line, _| {
            let asked = self.ask(fingerprint, now, Access::Charge { tail: line.tail(scale) });
            // Another thread may have charged the key, or a request may have left, since the first
            // look.
            if asked.verdict.decision != Decision::Delay {
                return asked.passed(fingerprint, cost);
            }
            let holder = holder.get_or_insert_with(Holder::new);
            let entry = LineEntry { holder, rule: index, unheld_ticks: self.unheld_ticks, scale };
            let leaver = Leaver::Standing(line.enter(asked.place, cost, &entry));
            let wait = asked.verdict.wait;
            (asked.verdict, Some(Charge { fingerprint, leaver, cost, wait }))
        })
    }

    /// Decides about one request and reserves its places, for a rule that counts responses.
    pub(super) fn reserve(
        &self,
        statuses: &Arc<[u16]>,
        fingerprint: u64,
        now: Millis,
    ) -> (Verdict, Option<Reservation>) {
        let cost = u64::from(self.settings.cost);
        let verdict = self.zone.reserved().reserve(fingerprint, |reserved| {
            let verdict = self.judge(fingerprint, reserved, now);
            let is_admitted = verdict.decision == Decision::Pass;
            (if is_admitted { cost } else { 0 }, verdict)
        });
        let is_admitted = verdict.decision == Decision::Pass;
        let reservation =
            is_admitted.then(|| Reservation::new(&self.zone, fingerprint, cost, statuses));
        (verdict, reservation)
    }

    /// Verdict on a request of a key that owes its debt and this many reserved places.
    fn judge(&self, fingerprint: u64, reserved: u64, now: Millis) -> Verdict {
        let interval = self.zone.settings().rate.interval_ticks();
        let debt = (self.zone.debt_ticks(fingerprint, now))
            .saturating_add(reserved.saturating_mul(interval))
            .saturating_add(self.own_ticks);
        if debt > self.burst_ticks {
            // At the latest: the reserved places may turn out not to be charged.
            let retry = Millis(
                (debt - self.burst_ticks).div_ceil(self.zone.settings().rate.ticks_per_ms()),
            );
            let verdict = Verdict { excess_milli: self.excess_milli(debt), ..Verdict::EXEMPT };
            return verdict.rejected(Reason::Burst, retry);
        }
        let excess_milli = self.excess_milli(debt);
        Verdict { decision: Decision::Pass, excess_milli, ..Verdict::EXEMPT }
    }

    fn ask(&self, fingerprint: u64, now: Millis, access: Access) -> Asked {
        let (debt, stored) = (Cell::new(0), Cell::new(false));
        let (longest_debt, own_ticks) = (self.longest_debt, self.own_ticks);
        let probe = Probe { fingerprint, now, access, longest_debt, own_ticks, debt, stored };
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
