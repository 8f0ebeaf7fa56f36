//! What a zone remembers, lifted out of it: for a restart, or for a zone built anew with another
//! rate.
//!
//! Guarantees: debts are kept as time, so a snapshot fits a zone of any rate, burst and capacity,
//! at any other "now"; with the same rate nothing is lost or gained. Pure data: where it is
//! written, and what a damaged file means, is decided elsewhere.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{key::Seed, millis::Millis, rate::Rate, zone::Zone};

const NANOS_PER_MS: u128 = 1_000_000;

/// The debts of one zone at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The zone's name.
    pub zone: Arc<str>,
    /// The seed its fingerprints were made with.
    pub seed: Seed,
    /// The digest of the key they are of ([`super::Key::digest`]).
    pub key: u64,
    /// Fingerprints and what they owe in nanoseconds, rounded up; keys that owe nothing are left
    /// out.
    pub debts: Vec<(u64, u64)>,
}

/// Why a snapshot does not fit a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It was taken from another zone.
    #[error("the snapshot is of zone `{0}`")]
    Zone(Arc<str>),
    /// Its fingerprints mean nothing to a zone with another seed.
    #[error(
        "the snapshot of zone `{0}` was made with another seed, hint: build the zone with the snapshot's seed"
    )]
    Seed(Arc<str>),
    /// Its fingerprints are of something else.
    #[error("the snapshot of zone `{0}` was counted by another key")]
    Key(Arc<str>),
}

impl Snapshot {
    /// What `zone` is owed at `now`. The zone stays in use meanwhile; what happens to it then may
    /// or may not be in.
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

    /// The same after nobody asked for anything for so long.
    #[must_use]
    pub fn after(mut self, away: Duration) -> Self {
        let away = u64::try_from(away.as_nanos()).unwrap_or(u64::MAX);
        self.debts.retain_mut(|(_, debt)| {
            *debt = debt.saturating_sub(away);
            *debt > 0
        });
        self
    }

    /// Puts the debts into `zone` as if they had been made there, `now`; a key the zone knows
    /// already keeps what it owes.
    ///
    /// # Errors
    /// When the zone's name, seed or key is another.
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

/// Ticks as nanoseconds, rounded up: read back by [`ticks`] at the same rate they are the same
/// ticks.
fn nanos(rate: Rate, ticks: u64) -> u64 {
    let nanos = (u128::from(ticks) * NANOS_PER_MS).div_ceil(rate.ticks_per_ms().into());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Nanoseconds as ticks, rounded up: the fewest ticks that [`nanos`] shows as so many. So at the
/// same rate they are the same ticks, and at another one a place that was handed out is never begun
/// again before its end.
fn ticks(rate: Rate, nanos: u64) -> u64 {
    let Some(before) = nanos.checked_sub(1) else { return 0 };
    let ticks = u128::from(before) * u128::from(rate.ticks_per_ms()) / NANOS_PER_MS + 1;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Debts that go over to a zone that takes another's place, while requests may be charged to both.
#[derive(Debug)]
pub struct Succession {
    before: Arc<Zone>,
    after: Arc<Zone>,
    /// What `before` was owed when the debts went over, and when that was.
    taken: Snapshot,
    at: Millis,
}

impl Succession {
    /// Puts what `before` is owed into `after`, which is of the same name, seed and key, and as
    /// good as unused.
    ///
    /// # Errors
    /// When the zones do not fit.
    pub fn begin(
        before: &Arc<Zone>,
        after: &Arc<Zone>,
        now: Millis,
    ) -> Result<Self, SnapshotError> {
        let taken = Snapshot::take(before, now);
        taken.restore(after, now)?;
        Ok(Self { before: Arc::clone(before), after: Arc::clone(after), taken, at: now })
    }

    /// Adds what was charged to the zone before since then. From here on nobody may charge it any
    /// more.
    pub fn finish(self, now: Millis) {
        let passed =
            u64::try_from(Duration::from(now.since(self.at)).as_nanos()).unwrap_or(u64::MAX);
        let taken: HashMap<u64, u64> =
            self.taken.after(Duration::from_nanos(passed)).debts.into_iter().collect();
        let (rate, now_ticks) = (self.after.settings().rate, self.after.ticks(now));
        for (fingerprint, debt) in Snapshot::take(&self.before, now).debts {
            // Less what went over and is still owed: the rest was charged since.
            let since = debt.saturating_sub(taken.get(&fingerprint).copied().unwrap_or(0));
            self.after.table().add(fingerprint, now_ticks, ticks(rate, since));
        }
    }
}
