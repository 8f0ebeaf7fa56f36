//! Bounded memory of a zone: fingerprint -> theoretical arrival time, in ticks.
//!
//! Guarantees: never more than `capacity` keys. A refused request stores nothing. A full table
//! evicts the least debt among a few random keys, never one that was charged since it was chosen,
//! and never refuses for lack of room (`tests/memory.rs`). Memory grows with the keys: the map has
//! so many shards that growing one moves at most 16,384 entries, and no operation touches more than
//! one stripe, so no pause grows with the table. A time at or before now carries no information and
//! is the first to be reused.
//!
//! Eviction, step by step: a stripe that is full looks at `CANDIDATES` random keys and picks the
//! one with the least debt as last seen. It then reads that key's present time in the map: if the
//! key was charged since, another may owe less, and the search repeats. The key is removed only if
//! its time is still the one that was read, so a charge is never forgotten by a race. After
//! `TRIES` lost races the key is removed regardless: under a flood the bound on memory is worth
//! more than one debt.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use foldhash::fast::FixedState;

/// Keys of a full stripe, and on average of a full shard of the map: such a shard has 16,384
/// buckets and does not double again. It would at 7/8 of them, 14,336 keys. The hash spreads keys
/// over shards at random, so their number varies by the root of 8,192, some 90: 6,144 more do not
/// occur.
const KEYS_PER_STRIPE: usize = 8_192;
/// Stripes of the largest table.
const MAX_STRIPES: usize = 16_384;
/// Attempts to evict a key that is not being charged; after that it is evicted regardless.
const TRIES: usize = 64;
/// Number of keys compared for eviction when a stripe is full.
const CANDIDATES: usize = 8;

/// Number of keys evicted to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Keys without a debt.
    pub idle: u64,
    /// Keys with a debt: the table was too small for the traffic.
    pub forced: u64,
}

/// Times by fingerprint.
#[derive(Debug)]
pub struct Table {
    times: DashMap<u64, AtomicU64, FixedState>,
    stripes: Box<[Mutex<Stripe>]>,
    keys_per_stripe: usize,
    idle: AtomicU64,
    forced: AtomicU64,
}

/// Keys of one stripe, in no order, from which a full table picks random candidates. Every key
/// enters and leaves the map under the lock of its stripe, so the two always agree.
#[derive(Debug)]
struct Stripe {
    known: Vec<Known>,
    dice: u64,
}

/// Key of a stripe with its time when last looked at. Candidates lie side by side in memory, and
/// only the one that seems to owe least is looked up in the map.
#[derive(Clone, Copy, Debug)]
struct Known {
    fingerprint: u64,
    seen: u64,
}

impl Table {
    /// Creates a table for at most `capacity` keys (at least one). It allocates nothing before keys
    /// come.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        // With room for no key there would be none to evict, and `random_index` would divide by
        // zero.
        let capacity = capacity.max(1);
        let stripes = match capacity / KEYS_PER_STRIPE {
            0 => 1,
            // A power of two, because the map has as many shards and asserts that their number is
            // one.
            stripes => stripes.next_power_of_two().min(MAX_STRIPES),
        };
        Self {
            times: DashMap::with_capacity_and_hasher_and_shard_amount(
                0,
                FixedState::default(),
                stripes.max(16),
            ),
            stripes: (0..stripes).map(|_| Mutex::new(Stripe::new())).collect(),
            // Rounded down: all stripes together never hold more than `capacity`.
            keys_per_stripe: capacity / stripes,
            idle: AtomicU64::new(0),
            forced: AtomicU64::new(0),
        }
    }

    /// Shows `judge` the time stored for a key; stores nothing.
    pub fn look<R>(&self, fingerprint: u64, judge: impl FnOnce(Option<u64>) -> R) -> R {
        // The guard of the map ends with this statement, so `judge` runs under no lock.
        let time = self.times.get(&fingerprint).map(|time| time.load(Ordering::Acquire));
        judge(time)
    }

    /// Lets `judge` replace the time stored for a key, atomically. It may run again when another
    /// thread was faster.
    ///
    /// # Errors
    /// The error of `judge`; nothing is stored then.
    pub fn replace<T, E>(
        &self,
        fingerprint: u64,
        now: u64,
        judge: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        // A stored key takes no lock of a stripe and only reads its shard of the map. So workers that
        // charge a hot key do not queue for a mutex.
        if let Some(outcome) = self.replace_known(fingerprint, &judge) {
            return outcome;
        }
        // Lock order: the stripe first, then a shard of the map. No code takes a stripe under a
        // guard.
        let mut stripe = self.stripe(fingerprint);
        // Another thread may have stored the key before the lock was taken.
        if let Some(outcome) = self.replace_known(fingerprint, &judge) {
            return outcome;
        }
        // Judged before room is made: a refused request must not evict another key.
        let (outcome, time) = judge(None)?;
        self.make_room(&mut stripe, now);
        stripe.known.push(Known { fingerprint, seen: time });
        self.times.insert(fingerprint, AtomicU64::new(time));
        Ok(outcome)
    }

    fn replace_known<T, E>(
        &self,
        fingerprint: u64,
        judge: &impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Option<Result<T, E>> {
        // This guard of a shard lives while `judge` runs, so `judge` must not use the table.
        let time = self.times.get(&fingerprint)?;
        let mut known = time.load(Ordering::Acquire);
        loop {
            let (outcome, next) = match judge(Some(known)) {
                Ok(agreed) => agreed,
                Err(refusal) => return Some(Err(refusal)),
            };
            // A verdict holds only for the time that it was judged on. Stored over a newer time, it
            // would hand out one place twice.
            match time.compare_exchange_weak(known, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Ok(outcome)),
                Err(newer) => known = newer,
            }
        }
    }

    /// Lowers the time of a key from `from` to `to`. A key that is not stored, or has another time,
    /// is left unchanged.
    pub fn lower(&self, fingerprint: u64, from: u64, to: u64) -> bool {
        let time = self.times.get(&fingerprint);
        // Any other time means that a request was charged since: lowering it would forget that
        // charge.
        time.is_some_and(|time| {
            time.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
        })
    }

    /// Adds `ticks` to the debt of a key at `now`.
    pub fn add(&self, fingerprint: u64, now: u64, ticks: u64) {
        if ticks > 0 {
            // A time before now is no debt. Ticks added to it would be partly worked off already.
            let later =
                |known: Option<u64>| Ok(((), known.unwrap_or(0).max(now).saturating_add(ticks)));
            let added: Result<(), std::convert::Infallible> = self.replace(fingerprint, now, later);
            let Ok(()) = added;
        }
    }

    /// Restores a key from a snapshot, unless it is stored already.
    pub fn restore(&self, fingerprint: u64, now: u64, time: u64) {
        let keep = |known: Option<u64>| match known {
            Some(_) => Err(()),
            None => Ok(((), time)),
        };
        if self.replace(fingerprint, now, keep).is_err() {
            // A key in use is newer than any snapshot.
        }
    }

    /// Visits every key with a debt after `now`, one stripe at a time: no stripe is locked while
    /// another is read.
    pub fn debts(&self, now: u64, mut visit: impl FnMut(u64, u64)) {
        for stripe in &self.stripes {
            // A copy, so that new keys of the stripe wait for the copy only, not for the visits. A
            // key that is evicted meanwhile is not found and has no debt.
            let known = lock(stripe).known.clone();
            for Known { fingerprint, .. } in known {
                let debt =
                    self.look(fingerprint, |time| time.and_then(|time| time.checked_sub(now)));
                if let Some(debt) = debt.filter(|debt| *debt > 0) {
                    visit(fingerprint, debt);
                }
            }
        }
    }

    /// Returns the number of stored keys, idle ones included.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.stripes.iter().map(|stripe| lock(stripe).known.len()).sum()
    }

    /// Returns the number of evictions so far.
    #[must_use]
    pub fn evictions(&self) -> Evictions {
        Evictions {
            idle: self.idle.load(Ordering::Relaxed),
            forced: self.forced.load(Ordering::Relaxed),
        }
    }

    fn stripe(&self, fingerprint: u64) -> MutexGuard<'_, Stripe> {
        // Fingerprints are keyed hashes: they spread evenly, and a client cannot aim at one stripe.
        let which = usize::try_from(fingerprint % self.stripes.len() as u64).unwrap_or(0);
        lock(&self.stripes[which])
    }

    /// Evicts one key of a full stripe: the one with the least debt among a few.
    fn make_room(&self, stripe: &mut Stripe, now: u64) {
        if stripe.known.len() < self.keys_per_stripe {
            return;
        }
        for attempt in 1..=TRIES {
            let (index, time) = self.least_debt(stripe, now);
            // A charge made since the choice must not be lost with its key, so another key is
            // chosen.
            if self.evict(stripe.known[index].fingerprint, time) || attempt == TRIES {
                let evicted = stripe.known.swap_remove(index);
                self.times.remove(&evicted.fingerprint);
                let counter = if time <= now { &self.idle } else { &self.forced };
                counter.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Removes a key from the map if its time is still this one.
    fn evict(&self, fingerprint: u64, time: u64) -> bool {
        self.times
            .remove_if(&fingerprint, |_, known| known.load(Ordering::Acquire) == time)
            .is_some()
    }

    /// Returns the key of a stripe with the least debt among a few random ones, and its time.
    fn least_debt(&self, stripe: &mut Stripe, now: u64) -> (usize, u64) {
        let first = stripe.random_index();
        let mut least = (first, u64::MAX);
        // Each round but the last learns the present time of one candidate. After as many rounds as
        // there are candidates all times are known, unless keys are charged meanwhile, so one round
        // more finds the least of them.
        for _ in 0..=CANDIDATES {
            let index = stripe.least_seen(first);
            let Known { fingerprint, seen } = stripe.known[index];
            least = (index, self.look(fingerprint, |time| time.unwrap_or(0)));
            // Times up to `now` are all alike: a key that owes nothing is as good as any.
            if least.1 <= seen.max(now) {
                break;
            }
            // The key was charged since it was last seen: another may owe less.
            stripe.known[index].seen = least.1;
        }
        least
    }
}

impl Stripe {
    fn new() -> Self {
        // Any number but zero, which xorshift maps to itself.
        Self { known: Vec::new(), dice: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Index of a random known key (xorshift64, Marsaglia 2003; only the choice of an eviction
    /// depends on it).
    fn random_index(&mut self) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let index = self.dice % self.known.len() as u64;
        usize::try_from(index).unwrap_or(0)
    }

    /// Candidate from `first` on that seems to owe least.
    fn least_seen(&self, first: usize) -> usize {
        // Neighbours in memory: eight of 16 bytes touch two or three cache lines. Eight scattered
        // ones would touch eight.
        let candidates = (first..first + CANDIDATES).map(|index| index % self.known.len());
        candidates.min_by_key(|index| self.known[*index].seen).unwrap_or(first)
    }
}

/// Ignores a poisoned lock: every step below keeps a stripe consistent, so a panic elsewhere leaves
/// it whole.
fn lock(stripe: &Mutex<Stripe>) -> MutexGuard<'_, Stripe> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(table: &Table, fingerprint: u64, now: u64, time: u64) {
        let stored: Result<(), ()> = table.replace(fingerprint, now, |_| Ok(((), time)));
        assert_eq!(stored, Ok(()));
    }

    fn time(table: &Table, fingerprint: u64) -> Option<u64> {
        table.look(fingerprint, |time| time)
    }

    #[test]
    fn table_refusal_stores_nothing() {
        let table = Table::with_capacity(4);
        assert_eq!(table.replace(1, 0, |_| Err::<((), u64), _>("no")), Err("no"));
        assert_eq!((table.keys(), time(&table, 1)), (0, None));
        store(&table, 1, 0, 50);
        assert_eq!(table.replace(1, 0, |_| Err::<((), u64), _>("no")), Err("no"));
        assert_eq!(time(&table, 1), Some(50));
    }

    #[test]
    fn table_full_reuses_idle_keys_and_counts_them() {
        let table = Table::with_capacity(3);
        for fingerprint in 1..=3 {
            store(&table, fingerprint, 0, 10);
        }
        store(&table, 4, 10, 20);
        assert_eq!(table.keys(), 3);
        assert_eq!(table.evictions(), Evictions { idle: 1, forced: 0 });
    }

    #[test]
    fn table_flood_of_new_keys_does_not_evict_busy_key() {
        let table = Table::with_capacity(1_000);
        store(&table, 7, 0, 1_000_000);
        for fingerprint in 1_000..101_000 {
            store(&table, fingerprint, 0, 10);
        }
        assert_eq!(time(&table, 7), Some(1_000_000));
        assert_eq!(table.keys(), 1_000);
        assert_eq!(table.evictions(), Evictions { idle: 0, forced: 99_001 });
    }

    #[test]
    fn eviction_takes_the_key_that_owes_least() {
        let table = Table::with_capacity(8);
        for fingerprint in 1..=8 {
            store(&table, fingerprint, 0, 10 + fingerprint);
        }
        for fingerprint in 1..=7 {
            store(&table, fingerprint, 0, 1_000);
        }
        store(&table, 9, 0, 500);
        assert_eq!(
            (time(&table, 8), table.evictions().forced),
            (None, 1),
            "the only one that owes little is forgotten"
        );
    }

    #[test]
    fn lower_changes_only_the_time_it_was_told() {
        let table = Table::with_capacity(4);
        store(&table, 1, 0, 300);
        assert!(!table.lower(1, 400, 200) && !table.lower(2, 300, 200));
        assert!(table.lower(1, 300, 200));
        assert_eq!((time(&table, 1), time(&table, 2)), (Some(200), None));
    }

    #[test]
    fn evict_spares_a_key_that_was_charged_since_it_was_chosen() {
        let table = Table::with_capacity(4);
        store(&table, 1, 0, 300);
        assert!(!table.evict(1, 200));
        assert_eq!(time(&table, 1), Some(300));
        assert!(table.evict(1, 300));
        assert_eq!(time(&table, 1), None);
    }

    #[test]
    fn new_table_of_any_capacity_takes_no_room_for_keys() {
        assert_eq!(
            [1, 1_000, 1_000_000, 100_000_000]
                .map(|keys| Table::with_capacity(keys).times.capacity()),
            [0; 4]
        );
    }

    #[test]
    fn debts_are_what_lies_after_now_and_can_be_restored() {
        let table = Table::with_capacity(4);
        store(&table, 1, 0, 300);
        store(&table, 2, 0, 100);
        let mut seen = Vec::new();
        table.debts(100, |fingerprint, debt| seen.push((fingerprint, debt)));
        assert_eq!(seen, [(1, 200)]);
        table.restore(1, 0, 900);
        table.restore(3, 0, 900);
        assert_eq!((time(&table, 1), time(&table, 3)), (Some(300), Some(900)));
    }
}
