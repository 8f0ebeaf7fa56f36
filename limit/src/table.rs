//! Bounded memory of a zone: fingerprint -> theoretical arrival time, in ticks.
//!
//! Guarantees:
//!
//! - Never more than `capacity` keys. A full table evicts the least debt among a few keys and never
//!   refuses for lack of room (`tests/memory.rs`, `table_full_keeps_its_bound_and_its_offender`). A
//!   key that was charged since it was chosen stays, unless that happens 64 times in a row. A time
//!   at or before now carries no information and is the first to be reused. A refused request
//!   stores nothing.
//! - No charge is lost, and none is counted for another key, while keys are added, moved and
//!   evicted (`hot_keys_are_admitted_to_the_last_place_while_keys_come_and_go`, the tests of
//!   `stripe.rs` and `entries.rs`).
//! - Memory comes with the keys, 16 bytes an entry. A full table takes 20 to 30 bytes a key; one
//!   for millions that has few takes more a key, as each stripe in use has 0.7 KiB of its own. No
//!   operation touches more than one stripe, and growing moves at most 16,384 keys up to a capacity
//!   of 2^28, so no pause grows with the table until then.
//! - A known key is looked up and charged without a lock. A look, and so a reject, writes to no
//!   shared memory: threads that reject one key do not slow each other.

use std::sync::OnceLock;

pub use super::stripe::Evictions;
use super::{entries::Tagged, stripe::Stripe};

/// Most keys of a stripe, unless the table has [`MAX_STRIPES`]. Chance spreads keys over stripes,
/// so their number varies by its root, some 100 of 10,000: the first stripes are full about one per
/// cent before the table is.
const KEYS_PER_STRIPE: usize = 16_384;
/// Stripes of the largest table.
const MAX_STRIPES: usize = 16_384;

/// Times by fingerprint.
#[derive(Debug)]
pub struct Table {
    stripes: Box<[OnceLock<Box<Stripe>>]>,
    keys_per_stripe: usize,
}

impl Table {
    /// Creates a table for at most `capacity` keys (at least one). It allocates nothing for keys
    /// before they come.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        // With room for no key there would be none to evict.
        let capacity = capacity.max(1);
        // A power of two, for the mask in `stripe`.
        let stripes = capacity.div_ceil(KEYS_PER_STRIPE).next_power_of_two().min(MAX_STRIPES);
        Self {
            stripes: (0..stripes).map(|_| OnceLock::new()).collect(),
            // Rounded down: all stripes together never hold more than `capacity`.
            keys_per_stripe: capacity / stripes,
        }
    }

    /// Shows `judge` the time stored for a key; stores nothing.
    pub fn look<R>(&self, fingerprint: u64, judge: impl FnOnce(Option<u64>) -> R) -> R {
        let key = Tagged::new(fingerprint);
        judge(self.stripe(key).get().and_then(|stripe| stripe.time(key)))
    }

    /// Lets `judge` replace the time stored for a key, atomically. It may run again when another
    /// thread was faster. It must not use the table: for a new key a lock is held.
    ///
    /// # Errors
    /// The error of `judge`; nothing is stored then.
    pub fn replace<T, E>(
        &self,
        fingerprint: u64,
        now: u64,
        judge: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let key = Tagged::new(fingerprint);
        let stripe = self.stripe(key).get_or_init(|| Box::new(Stripe::new(self.keys_per_stripe)));
        stripe.replace(key, now, judge)
    }

    /// Lowers the time of a key from `from` to `to`. A key that is not stored, or has another time,
    /// is left unchanged.
    pub fn lower(&self, fingerprint: u64, from: u64, to: u64) -> bool {
        let key = Tagged::new(fingerprint);
        // Any other time means that a request was charged since: lowering it would forget that
        // charge.
        self.stripe(key).get().is_some_and(|stripe| stripe.lower(key, from, to))
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
    /// another is read, and none during a visit.
    pub fn debts(&self, now: u64, mut visit: impl FnMut(u64, u64)) {
        for stripe in self.in_use() {
            let mut later = stripe.later_than(now);
            // They come in the order of their homes. A table that they are restored to in this
            // order is crowded at its beginning as long as it grows, and every search there passes
            // thousands of entries. The order of fingerprints has nothing to do with homes.
            later.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
            for (fingerprint, time) in later {
                visit(fingerprint, time - now);
            }
        }
    }

    /// Returns the number of stored keys, idle ones included.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.in_use().map(Stripe::keys).sum()
    }

    /// Returns the number of evictions so far.
    #[must_use]
    pub fn evictions(&self) -> Evictions {
        self.in_use().map(Stripe::evictions).fold(Evictions::default(), |sum, next| Evictions {
            idle: sum.idle + next.idle,
            forced: sum.forced + next.forced,
        })
    }

    fn stripe(&self, key: Tagged) -> &OnceLock<Box<Stripe>> {
        // Fingerprints are keyed hashes: they spread evenly, and a client cannot aim at one stripe.
        // The number of stripes is a power of two, which the compiler does not know: a remainder
        // would divide.
        let stripe = key.fingerprint & (self.stripes.len() as u64 - 1);
        &self.stripes[usize::try_from(stripe).unwrap_or(0)]
    }

    fn in_use(&self) -> impl Iterator<Item = &Stripe> {
        self.stripes.iter().filter_map(OnceLock::get).map(|stripe| &**stripe)
    }
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

    /// Busy keys take two thirds of a full table, which strangers flood. Each is forgotten now and
    /// then by chance, but none each time it comes.
    #[test]
    fn busy_keys_of_one_neighbourhood_do_not_evict_each_other_for_ever() {
        let (table, busy) = (Table::with_capacity(6_000), 4_000);
        let fingerprint = |number: u64| (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut strangers = (busy..).map(fingerprint);
        strangers.by_ref().take(12_000).for_each(|stranger| store(&table, stranger, 0, 1));
        let mut forgotten = vec![0; busy as usize];
        for now in 10..110 {
            for (number, forgotten) in (0..busy).zip(&mut forgotten) {
                let known = table.look(fingerprint(number), |time| time.is_some());
                *forgotten += u32::from(now >= 60 && !known);
                store(&table, fingerprint(number), now, now + 10);
                if number % 100 == 0 {
                    strangers.by_ref().take(1).for_each(|key| store(&table, key, now, now + 1));
                }
            }
        }
        assert!(forgotten.iter().all(|times| *times < 5), "{:?} of 50", forgotten.iter().max());
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
    fn new_table_of_any_capacity_takes_no_room_for_keys() {
        for capacity in [1, 1_000, 1_000_000, 100_000_000] {
            let table = Table::with_capacity(capacity);
            assert_eq!((time(&table, 1), table.lower(1, 0, 0)), (None, false));
            assert_eq!(table.in_use().count(), 0);
        }
    }

    /// Restored in the order of their homes, a million keys took 20 times as long as new ones.
    #[test]
    fn debts_are_visited_in_no_order_of_their_homes() {
        let (table, keys) = (Table::with_capacity(30_000), 20_000);
        for number in 1..=keys {
            store(&table, u64::wrapping_mul(number, 0x9e37_79b9_7f4a_7c15), 0, 1);
        }
        let mut homes = Vec::new();
        // The word of the time 0 is the tag, and homes ascend with the tag.
        table.debts(0, |fingerprint, _| homes.push(Tagged::new(fingerprint).word(0)));
        let ascents = homes.windows(2).filter(|pair| pair[0] < pair[1]).count() as u64;
        assert_eq!(homes.len() as u64, keys);
        assert!((keys * 2 / 5..keys * 3 / 5).contains(&ascents), "{ascents} ascents");
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
