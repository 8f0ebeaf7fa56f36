//! Zone: what is counted, at which rate, and the memory of it. Shared by every worker and every
//! rule that names it.
//!
//! The arithmetic is governor's (GCRA, ITU-T I.371); the memory is [`Table`], handed to governor as
//! its `StateStore`. governor measures time from the "now" of the decision: its clock stands still
//! at zero, and the value it sees for a key is the debt of that key. So a decision is a pure
//! function of (state, now, request), and no clock is read here.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
};

use governor::{clock::Clock, nanos::Nanos, state::StateStore};
use ipnet::IpNet;

use super::{
    key::{Key, Seed, Subject, Unkeyed},
    line::{Leaver, Lines, Scale},
    millis::Millis,
    penalty::Penalties,
    rate::Rate,
    reserved::Reserved,
    table::{Evictions, Table},
};

/// Settings of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Name in the configuration and in logs.
    pub name: Arc<str>,
    /// Key to count by.
    pub key: Key,
    /// Rate at which the debt of a key is worked off.
    pub rate: Rate,
    /// Limit on the number of stored keys.
    pub capacity: usize,
    /// Networks of clients that are not counted.
    pub exempt: Vec<IpNet>,
}

/// Zone in use.
#[derive(Debug)]
pub struct Zone {
    settings: ZoneSettings,
    seed: Seed,
    table: Table,
    lines: Lines,
    reserved: Reserved,
    /// Made for the first rule with a penalty.
    penalties: Arc<OnceLock<Penalties>>,
    /// Parked requests that use the room reserved for this zone in the queue.
    permits: Arc<AtomicUsize>,
}

/// Standing of a request towards a zone, or a rule of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Counted under this fingerprint.
    Counted(u64),
    /// Not counted here.
    Exempt,
    /// The rule does not apply: as if the route had one rule less.
    Outside,
    /// Rejected: a part of the key is missing.
    Missing,
    /// Rejected: a part of the key occurs more than once with different values.
    Repeated,
}

impl Zone {
    /// Creates an empty zone with a random seed.
    #[must_use]
    pub fn new(settings: ZoneSettings) -> Self {
        Self::with_seed(settings, Seed::random())
    }

    /// Creates an empty zone with a known seed: for snapshots, and for tests that must repeat.
    #[must_use]
    pub fn with_seed(settings: ZoneSettings, seed: Seed) -> Self {
        Self {
            table: Table::with_capacity(settings.capacity),
            settings,
            seed,
            lines: Lines::new(),
            reserved: Reserved::new(),
            penalties: Arc::default(),
            permits: Arc::default(),
        }
    }

    /// Returns this zone as the successor of `before`: requests parked there use the room reserved
    /// for this zone too.
    #[must_use]
    pub fn in_place_of(self, before: &Self) -> Self {
        // With another seed a fingerprint is another key.
        let penalties = if self.seed == before.seed { &before.penalties } else { &self.penalties };
        let (permits, penalties) = (Arc::clone(&before.permits), Arc::clone(penalties));
        Self { permits, penalties, ..self }
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// Returns the seed of the fingerprints.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Returns the standing of a request towards this zone.
    #[must_use]
    pub fn standing(&self, subject: &Subject<'_>) -> Standing {
        standing(&self.settings.key, &self.settings.exempt, self.seed, subject)
    }

    /// Removes a request of `cost` places from the line of a key at `now`. The places freed at the
    /// tail are handed out again, unless a request passed behind the line in the meantime: then
    /// they are lost.
    pub(super) fn leave(&self, fingerprint: u64, leaver: Leaver, cost: u32, now: Millis) {
        let scale = self.scale();
        self.lines.with(fingerprint, |line, wakes| {
            // The last place first, as only the tail can be handed out again.
            for step in 0..u64::from(cost) {
                let leaver = leaver.before(step, scale);
                if let Some(place) = line.leave(leaver, now, scale, wakes) {
                    // Under the lock of the line: a request that entered first would be charged
                    // behind the free place, and the place would be lost.
                    self.table.lower(fingerprint, place.saturating_add(scale.interval), place);
                }
            }
        });
    }

    /// Returns the debt of a key in ticks at `now`.
    #[must_use]
    pub fn debt_ticks(&self, fingerprint: u64, now: Millis) -> u64 {
        let now = self.ticks(now);
        self.table.look(fingerprint, |time| time.map_or(0, |time| time.saturating_sub(now)))
    }

    /// Clears the debt of a key at `now`: for programs that count failures, after a success. It
    /// keeps the debt if another charge arrives at the same moment.
    pub fn forgive(&self, fingerprint: u64, now: Millis) {
        let now = self.ticks(now);
        // The time is compared again when it is lowered, so a charge in between survives.
        if let Some(time) = self.table.look(fingerprint, |time| time.filter(|time| *time > now)) {
            self.table.lower(fingerprint, time, now);
        }
    }

    /// Returns the number of stored keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.table.keys()
    }

    /// Returns the number of evictions so far.
    #[must_use]
    pub fn evictions(&self) -> Evictions {
        self.table.evictions()
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn permits(&self) -> &AtomicUsize {
        &self.permits
    }

    pub(super) fn penalties(&self) -> &Penalties {
        self.penalties.get_or_init(Penalties::new)
    }

    pub(super) fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// Charges places to a key at `now`, whatever it owes.
    pub(super) fn charge_places(&self, fingerprint: u64, places: u64, now: Millis) {
        let ticks = places.saturating_mul(self.scale().interval);
        self.table.add(fingerprint, self.ticks(now), ticks);
    }

    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(super) fn scale(&self) -> Scale {
        let rate = self.settings.rate;
        Scale { interval: rate.interval_ticks(), ticks_per_ms: rate.ticks_per_ms() }
    }

    /// `now` in this zone's ticks.
    pub(super) fn ticks(&self, now: Millis) -> u64 {
        // At the finest rate, 1 000 000 ticks a millisecond, this saturates after 584 years.
        now.0.saturating_mul(self.settings.rate.ticks_per_ms())
    }
}

/// Returns the standing of a request towards what counts by this key, but for these networks.
pub(super) fn standing(key: &Key, exempt: &[IpNet], seed: Seed, subject: &Subject<'_>) -> Standing {
    // Before the key is read: an exempt client is not rejected for a missing or repeated part.
    if !exempt.is_empty() && is_exempt(exempt, subject.client) {
        return Standing::Exempt;
    }
    match key.fingerprint(seed, subject) {
        Ok(fingerprint) => Standing::Counted(fingerprint),
        Err(Unkeyed::Missing) => Standing::Missing,
        Err(Unkeyed::Repeated) => Standing::Repeated,
        Err(Unkeyed::Exempt) => Standing::Exempt,
    }
}

fn is_exempt(exempt: &[IpNet], client: IpAddr) -> bool {
    // Networks are written for IPv4. A dual-stack socket reports such a client as
    // `::ffff:192.0.2.1`.
    let client = client.to_canonical();
    exempt.iter().any(|net| net.contains(&client))
}

/// Effect that a decision may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Look at the outcome only.
    Look,
    /// Decide and charge.
    Charge,
}

/// Access of a decision to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Stores nothing.
    Look,
    /// Stores a request that passes, with a debt below this many ticks. A longer debt needs the
    /// line of the key, and so does a key that was evicted while requests of its kind are parked:
    /// then nothing is stored.
    Pass { below: u64 },
    /// Stores any admitted request. The line behind which it is charged ends at `tail`.
    Charge { tail: u64 },
}

/// Key that governor carries to [`Store`]: bucket, time and access; it returns the debt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub fingerprint: u64,
    pub now: Millis,
    pub access: Access,
    /// A debt above this many ticks is refused whatever the burst: `max_wait`.
    pub longest_debt: u64,
    /// Distance of the last place of the request from its first, in ticks.
    pub own_ticks: u64,
    /// Debt before the last place of the request, in ticks.
    pub debt: Cell<u64>,
    /// True if the request was admitted and stored.
    pub stored: Cell<bool>,
}

impl Hash for Probe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// View of a zone for governor.
#[derive(Clone, Debug)]
pub(super) struct Store(pub Arc<Zone>);

impl StateStore for Store {
    type Key = Probe;

    fn measure_and_replace<T, F, E>(&self, probe: &Probe, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let zone = &self.0;
        let now = zone.ticks(probe.now);
        let measure = |time: Option<u64>| {
            // A key can be evicted while its requests are parked. Its line still knows the end of
            // its debt.
            let tail = if let Access::Charge { tail } = probe.access { tail } else { 0 };
            let debt = time.unwrap_or(0).max(tail).saturating_sub(now);
            // A request of several places is judged by its last one.
            let debt = debt.saturating_add(probe.own_ticks);
            // After a lost race this runs again: the debt of the last run is the one that was
            // judged.
            probe.debt.set(debt);
            // A debt that no burst allows makes governor refuse a wait that is too long.
            let shown = if debt > probe.longest_debt { u64::MAX } else { debt };
            judge(Some(Nanos::new(shown)))
                .map(|(outcome, next)| (outcome, now.saturating_add(next.as_u64())))
        };
        // The outer error says that nothing was stored. `Err(Ok(_))` is an admission that is
        // repeated under the lock of the line, and `Err(Err(_))` is a reject.
        let unless_held = |time: Option<u64>, below: u64| {
            let (outcome, next) = measure(time).map_err(Err)?;
            // A key that the table does not know may have a line, because it was evicted. As long
            // as any line of the zone exists, only a look under its lock can exclude that.
            let may_store = probe.debt.get() < below && (time.is_some() || zone.lines.is_empty());
            if may_store { Ok((outcome, next)) } else { Err(Ok(outcome)) }
        };
        match probe.access {
            Access::Look => zone.table.look(probe.fingerprint, measure).map(|(outcome, _)| outcome),
            Access::Charge { .. } => {
                let outcome = zone.table.replace(probe.fingerprint, now, measure);
                probe.stored.set(outcome.is_ok());
                outcome
            }
            Access::Pass { below } => {
                match zone.table.replace(probe.fingerprint, now, |time| unless_held(time, below)) {
                    Ok(outcome) => {
                        probe.stored.set(true);
                        Ok(outcome)
                    }
                    Err(unstored) => unstored,
                }
            }
        }
    }
}

/// Clock for governor: every decision happens at its zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Still;

impl Clock for Still {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decision, Rule, RuleSettings};

    #[test]
    fn forgive_clears_one_key_and_no_other() {
        let rate = "1r/m".parse().expect("a rate");
        let (key, exempt) = (Key::of(Vec::new()), Vec::new());
        let zone = Zone::new(ZoneSettings { name: "z".into(), key, rate, capacity: 10, exempt });
        let rule = Rule::new(Arc::new(zone), RuleSettings::burst(1).nodelay()).expect("a rule");
        let decide = |fingerprint, intent| rule.decide(fingerprint, Millis(500), intent).decision;
        for fingerprint in [1, 2] {
            assert_eq!(decide(fingerprint, Intent::Charge), Decision::Pass);
            assert_eq!(decide(fingerprint, Intent::Charge), Decision::Pass);
            assert_eq!(decide(fingerprint, Intent::Charge), Decision::Reject);
        }
        rule.zone().forgive(1, Millis(500));
        rule.zone().forgive(3, Millis(500));
        assert_eq!(decide(1, Intent::Look), Decision::Pass);
        assert_eq!(rule.zone().debt_ticks(1, Millis(500)), 0);
        assert_eq!(decide(2, Intent::Look), Decision::Reject);
    }
}
