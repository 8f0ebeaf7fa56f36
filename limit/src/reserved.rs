//! Reservations: places that are held until a response shows whether they are charged.
//!
//! A rule that counts responses, like failed logins, cannot charge a request on arrival: it does
//! not know the response yet. If it only looked, any number of parallel guesses would pass before
//! the first of them is counted. So each admitted request reserves its places beside the debt of
//! its key, and the next one is judged by both. The response turns a reservation into a charge or
//! ends it. At every moment `debt + reserved * T` is at most `burst * T + T`, so no more than
//! `burst + 1` counted responses fit where a full burst was free.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;

use super::{millis::Millis, zone::Zone};

/// Number of locks over the keys of a zone.
const SHARDS: usize = 16;

/// Places that are reserved, by key. A key is stored only while it has any, so the memory is
/// bounded by the number of requests under way.
#[derive(Debug)]
pub(super) struct Reserved {
    by_key: DashMap<u64, u64, FixedState>,
    /// True once a place was ever reserved: zones without such rules never look further.
    is_used: AtomicBool,
}

/// Places of one request under way in a zone; they are free again when it is dropped.
#[derive(Debug)]
#[must_use = "a reservation that is dropped charges nothing"]
pub struct Reservation {
    zone: Arc<Zone>,
    fingerprint: u64,
    places: u64,
    /// Statuses of responses that are charged.
    statuses: Arc<[u16]>,
}

impl Reserved {
    pub fn new() -> Self {
        // Fingerprints are keyed hashes, so a fixed hash of them gives a client no way to collide.
        let hasher = FixedState::with_seed(0);
        Self {
            by_key: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher, SHARDS),
            is_used: AtomicBool::new(false),
        }
    }

    /// Returns the places that are reserved for a key.
    pub fn places(&self, fingerprint: u64) -> u64 {
        if !self.is_used.load(Ordering::Relaxed) {
            return 0;
        }
        self.by_key.get(&fingerprint).map_or(0, |places| *places)
    }

    /// Reserves as many more places as `judge` says, under the lock of the key.
    pub fn reserve<R>(&self, fingerprint: u64, judge: impl FnOnce(u64) -> (u64, R)) -> R {
        self.is_used.store(true, Ordering::Relaxed);
        let mut key = match self.by_key.entry(fingerprint) {
            Entry::Occupied(key) => key,
            Entry::Vacant(none) => none.insert_entry(0),
        };
        let (more, outcome) = judge(*key.get());
        *key.get_mut() += more;
        if *key.get() == 0 {
            key.remove();
        }
        outcome
    }

    /// Ends a reservation under the lock of its key, after `charge`.
    fn end(&self, fingerprint: u64, places: u64, charge: impl FnOnce()) {
        let Entry::Occupied(mut key) = self.by_key.entry(fingerprint) else { return };
        // First the charge: in between, the places would be neither reserved nor charged.
        charge();
        *key.get_mut() -= places.min(*key.get());
        if *key.get() == 0 {
            key.remove();
        }
    }
}

impl Reservation {
    pub(super) fn new(
        zone: &Arc<Zone>,
        fingerprint: u64,
        places: u64,
        statuses: &Arc<[u16]>,
    ) -> Self {
        Self { zone: Arc::clone(zone), fingerprint, places, statuses: Arc::clone(statuses) }
    }

    /// Ends the reservation with a response of this status at `now`: its places are charged if the
    /// rule counts the status, and free again if not.
    pub fn settle(mut self, status: u16, now: Millis) {
        if !self.statuses.contains(&status) {
            return;
        }
        let places = std::mem::take(&mut self.places);
        let zone = &self.zone;
        zone.reserved().end(self.fingerprint, places, || {
            zone.charge_places(self.fingerprint, places, now);
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.places > 0 {
            self.zone.reserved().end(self.fingerprint, self.places, || {});
        }
    }
}
