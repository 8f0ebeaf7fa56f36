//! Places of keys that are reserved until responses show whether they are charged.

use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;

/// Number of locks over the keys of a zone.
const SHARDS: usize = 16;

/// Places that are reserved, by key. A key is stored only while it has any, so the memory is
/// bounded by the number of requests in progress.
#[derive(Debug)]
pub(super) struct Reserved {
    by_key: DashMap<u64, u64, FixedState>,
    /// True once a place was ever reserved: zones without such rules never look further.
    is_used: AtomicBool,
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
    pub fn end(&self, fingerprint: u64, places: u64, charge: impl FnOnce()) {
        let Entry::Occupied(mut key) = self.by_key.entry(fingerprint) else { return };
        // First the charge: in between, the places would be neither reserved nor charged.
        charge();
        *key.get_mut() -= places.min(*key.get());
        if *key.get() == 0 {
            key.remove();
        }
    }
}
