//! Debts of a zone, copied out of it: for a restart, or for a zone rebuilt with another rate.
//!
//! Guarantees: debts are kept as time, so a snapshot fits a zone of any rate, burst and capacity,
//! at any other "now". With the same rate nothing is lost or gained. This is pure data: where it is
//! written, and how a damaged file is treated, is decided elsewhere.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{key::Seed, millis::Millis, rate::Rate, zone::Zone};

const NANOS_PER_MS: u128 = 1_000_000;

/// Debts of one zone at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Name of the zone.
    pub zone: Arc<str>,
    /// Seed of the fingerprints.
    pub seed: Seed,
    /// Digest of the key that was counted by ([`super::Key::digest`]).
    pub key: u64,
    /// Fingerprints with their debts in nanoseconds, rounded up; keys without a debt are left out.
    pub debts: Vec<(u64, u64)>,
}

/// Mismatch between a snapshot and a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot is of another zone.
    #[error("the snapshot belongs to zone `{0}`")]
    Zone(Arc<str>),
    /// The zone has another seed, so the fingerprints mean nothing to it.
    #[error("the snapshot of zone `{0}` has another seed")]
    Seed(Arc<str>),
    /// The zone counts by another key.
    #[error("the snapshot of zone `{0}` has another key")]
    Key(Arc<str>),
}

impl SnapshotError {
    /// Returns the remedy, if there is a usual one. It is no part of the message.
    ///
    /// ```
    /// use weir_limit::snapshot::SnapshotError;
    ///
    /// let error = SnapshotError::Seed("logins".into());
    /// assert_eq!(error.to_string(), "the snapshot of zone `logins` has another seed");
    /// assert_eq!(error.hint().as_deref(), Some("build the zone with the snapshot's seed"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Seed(_) => Some("build the zone with the snapshot's seed".to_owned()),
            Self::Zone(_) | Self::Key(_) => None,
        }
    }
}

impl Snapshot {
    /// Copies the debts of `zone` at `now`. The zone stays in use; charges made during the copy may
    /// or may not be included.
    #[must_use]
    pub fn take(zone: &Zone, now: Millis) -> Self {
        let rate = zone.settings().rate;
        let mut debts = Vec::new();
        zone.table().debts(zone.ticks(now), |fingerprint, ticks| {
            debts.push((fingerprint, nanos(rate, ticks)));
        });
        let settings = zone.settings();
        Self {
            zone: Arc::clone(&settings.name),
            seed: zone.seed(),
            key: settings.key.digest(),
            debts,
        }
    }

    /// Returns the snapshot after an idle time of this length.
    ///
    /// ```
    /// use std::time::Duration;
    /// use weir_limit::{Key, Millis, Part, Rule, RuleSettings, Snapshot, Zone, ZoneSettings};
    /// use weir_limit::zone::Intent;
    ///
    /// let zone = std::sync::Arc::new(Zone::new(ZoneSettings {
    ///     name: "logins".into(),
    ///     key: Key::of(vec![Part::Global]),
    ///     rate: "1r/s".parse()?,
    ///     capacity: 1,
    ///     exempt: Vec::new(),
    /// }));
    /// let rule = Rule::new(zone.clone(), RuleSettings::burst(9).nodelay())?;
    /// for _ in 0..3 {
    ///     rule.decide(1, Millis(0), Intent::Charge);
    /// }
    /// let debt = |snapshot: Snapshot| snapshot.debts.first().map(|(_, nanos)| *nanos);
    /// assert_eq!(debt(Snapshot::take(&zone, Millis(0))), Some(3_000_000_000));
    /// let later = Snapshot::take(&zone, Millis(0)).after(Duration::from_secs(1));
    /// assert_eq!(debt(later), Some(2_000_000_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn after(mut self, away: Duration) -> Self {
        let away = u64::try_from(away.as_nanos()).unwrap_or(u64::MAX);
        self.debts.retain_mut(|(_, debt)| {
            *debt = debt.saturating_sub(away);
            *debt > 0
        });
        self
    }

    /// Puts the debts into `zone` at `now` as if they had been charged there. A key that the zone
    /// already has keeps its debt.
    ///
    /// # Errors
    /// When the name, the seed or the key of the zone differs.
    pub fn restore(&self, zone: &Zone, now: Millis) -> Result<(), SnapshotError> {
        if zone.settings().name != self.zone {
            return Err(SnapshotError::Zone(Arc::clone(&self.zone)));
        }
        if zone.seed() != self.seed {
            return Err(SnapshotError::Seed(Arc::clone(&self.zone)));
        }
        if zone.settings().key.digest() != self.key {
            return Err(SnapshotError::Key(Arc::clone(&self.zone)));
        }
        let (rate, now) = (zone.settings().rate, zone.ticks(now));
        for (fingerprint, debt) in &self.debts {
            zone.table().restore(*fingerprint, now, now.saturating_add(ticks(rate, *debt)));
        }
        Ok(())
    }
}

/// Converts ticks to nanoseconds, rounded up: [`ticks`] at the same rate returns the same ticks.
fn nanos(rate: Rate, ticks: u64) -> u64 {
    let nanos = (u128::from(ticks) * NANOS_PER_MS).div_ceil(rate.ticks_per_ms().into());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Converts nanoseconds to ticks: the fewest ticks that [`nanos`] shows as this number. At the same
/// rate they are the same ticks. At another rate they are less than a nanosecond fewer, so a place
/// that was handed out begins again less than that before its end: 6 ticks of 7 a millisecond are
/// 857,143 ns, and 142,865 ticks of 166,676 a millisecond, which are 857,142.0 ns.
fn ticks(rate: Rate, nanos: u64) -> u64 {
    // A millisecond has `q` ticks and `M` nanoseconds. `nanos` shows `n` for whole ticks above
    // `(n - 1) * q / M` and up to `n * q / M`. The first of them is the cut quotient plus 1. `q` is
    // at most `M`: at the same rate there is only one, and nothing is lost.
    let Some(before) = nanos.checked_sub(1) else { return 0 };
    let ticks = u128::from(before) * u128::from(rate.ticks_per_ms()) / NANOS_PER_MS + 1;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Transfer of debts to a zone that replaces another, while requests may be charged to both.
#[derive(Debug)]
pub struct Succession {
    before: Arc<Zone>,
    after: Arc<Zone>,
    /// Debts of `before` at the transfer, and the time of the transfer.
    taken: Snapshot,
    at: Millis,
}

impl Succession {
    /// Copies the debts of `before` into `after`, which has the same name, seed and key and is
    /// nearly unused.
    ///
    /// # Errors
    /// When the zones do not fit.
    pub fn begin(
        before: &Arc<Zone>,
        after: &Arc<Zone>,
        now: Millis,
    ) -> Result<Self, SnapshotError> {
        let taken = Snapshot::take(before, now);
        // Charges to the old zone between these two steps are not lost: `finish` counts them as new
        // ones.
        taken.restore(after, now)?;
        Ok(Self { before: Arc::clone(before), after: Arc::clone(after), taken, at: now })
    }

    /// Adds the charges made to the old zone since the transfer. The old zone must not be charged
    /// after this.
    pub fn finish(self, now: Millis) {
        let passed =
            u64::try_from(Duration::from(now.since(self.at)).as_nanos()).unwrap_or(u64::MAX);
        // Both zones worked off debts meanwhile, so the copy is aged before it is compared.
        let taken: HashMap<u64, u64> =
            self.taken.after(Duration::from_nanos(passed)).debts.into_iter().collect();
        let (rate, now_ticks) = (self.after.settings().rate, self.after.ticks(now));
        for (fingerprint, debt) in Snapshot::take(&self.before, now).debts {
            // The transferred part that is still owed is subtracted: the rest was charged since.
            let since = debt.saturating_sub(taken.get(&fingerprint).copied().unwrap_or(0));
            self.after.table().add(fingerprint, now_ticks, ticks(rate, since));
        }
    }
}
