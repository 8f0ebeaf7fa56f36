//! Stripe of the table: a share of its keys with one lock for what changes their places.
//!
//! Looking up a key and charging a known one takes no lock. A thread that adds, moves or evicts
//! keys holds the lock of the stripe. While keys move, the *version* of the stripe is odd: a
//! *seqlock* (Boehm, Can Seqlocks Get Along With Programming Language Memory Models?, 2012). A
//! reader that finds the version odd, or another one after its search, repeats the search under the
//! lock. So it sees a key either before or after a change, and never two halves.
//!
//! A charge is a compare-and-swap of the word of the key. It succeeds only on the value that was
//! judged and, because of the tag in the word (`entries.rs`), only for this key. A key that moves
//! or is evicted has its word taken by an atomic exchange. A charge either comes before that, and
//! the word that was taken contains it, or fails and looks the key up again.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering, fence},
};

use super::entries::{Entries, Found, Tagged};

/// Attempts to evict a key that is not being charged; after that it is evicted regardless.
const TRIES: usize = 64;
/// Number of keys compared for eviction, and as many again if all of these owe something.
const CANDIDATES: usize = 8;

/// Number of keys evicted to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Keys without a debt.
    pub idle: u64,
    /// Keys with a debt: the table was too small for the traffic.
    pub forced: u64,
}

/// Keys with their times.
#[derive(Debug)]
pub(super) struct Stripe {
    /// Odd while keys move.
    version: AtomicU64,
    entries: Entries,
    writer: Apart<Mutex<Writer>>,
}

/// Value on its own cache line: threads that wait for the lock do not slow readers.
#[derive(Debug)]
#[repr(align(64))]
struct Apart<T>(T);

/// State of a stripe behind its lock.
#[derive(Debug)]
struct Writer {
    keys: usize,
    max_keys: usize,
    evictions: Evictions,
}

impl Stripe {
    /// Creates a stripe for at most `max_keys` keys (at least one).
    pub fn new(max_keys: usize) -> Self {
        Self {
            version: AtomicU64::new(0),
            // A quarter more entries than keys: a search for an unknown key ends at a free entry,
            // on average after 13 entries of a full stripe.
            entries: Entries::new((max_keys * 5).div_ceil(4)),
            writer: Apart(Mutex::new(Writer {
                keys: 0,
                max_keys,
                evictions: Evictions::default(),
            })),
        }
    }

    /// Returns the time of a key.
    pub fn time(&self, key: Tagged) -> Option<u64> {
        self.find(key).map(|found| key.time(found.value))
    }

    /// See [`super::table::Table::replace`].
    pub fn replace<T, E>(
        &self,
        key: Tagged,
        now: u64,
        judge: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        if let Some(outcome) = replace_known(key, &judge, || self.find(key)) {
            return outcome;
        }
        let mut writer = self.lock();
        // Another thread may have stored the key before the lock was taken.
        if let Some(outcome) = replace_known(key, &judge, || self.entries.find(key)) {
            return outcome;
        }
        // Judged before room is made: a refused request must not evict another key.
        let (outcome, time) = judge(None)?;
        self.make_room(&mut writer, key, now);
        self.entries.insert(key, key.word(time));
        writer.keys += 1;
        Ok(outcome)
    }

    /// Lowers the time of a key from `from` to `to`, if that is its time.
    pub fn lower(&self, key: Tagged, from: u64, to: u64) -> bool {
        let lower = |time| if time == Some(from) { Ok(((), to)) } else { Err(()) };
        matches!(replace_known(key, &lower, || self.find(key)), Some(Ok(())))
    }

    /// Returns the keys with a time after `now`, and their times.
    pub fn later_than(&self, now: u64) -> Vec<(u64, u64)> {
        let _writer = self.lock();
        let times = self.entries.all().map(|(key, found)| (key.fingerprint, key.time(found.value)));
        times.filter(|(_, time)| *time > now).collect()
    }

    pub fn keys(&self) -> usize {
        self.lock().keys
    }

    pub fn evictions(&self) -> Evictions {
        self.lock().evictions
    }

    fn find(&self, key: Tagged) -> Option<Found<'_>> {
        let version = self.version.load(Ordering::Acquire);
        let found = self.entries.find(key);
        // A reader that saw a store of a change sees here that the version was made odd before.
        // This fence and the one in `change` are redundant while every load in `entries.rs` is
        // Acquire and every store Release. With them the seqlock does not depend on that. On
        // x86-64 neither is an instruction.
        fence(Ordering::Acquire);
        if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
            return found;
        }
        let _writer = self.lock();
        self.entries.find(key)
    }

    /// Makes room for one more key.
    fn make_room(&self, writer: &mut Writer, key: Tagged, now: u64) {
        if writer.keys >= writer.max_keys {
            self.evict(writer, key, now);
        }
        // At `max_keys` the array has its greatest length, so it never grows beyond.
        if (writer.keys + 1) * 5 > self.entries.len() * 4 {
            self.change(Entries::grow);
        }
    }

    /// Evicts the key that owes least among those near the home of `key` and, if all of these owe
    /// something, as many at another place.
    ///
    /// Keys near a home always come from there again. Where more busy keys have their homes than
    /// there is room, they would evict each other for ever, while idle ones lie elsewhere: none of
    /// them would be limited.
    fn evict(&self, writer: &mut Writer, key: Tagged, now: u64) {
        // Times up to `now` are all alike: a key that owes nothing is as good as any.
        let due = |(key, found): &(Tagged, Found<'_>)| key.time(found.value).max(now);
        for attempt in 1..=TRIES {
            let near = self.entries.near(key).take(CANDIDATES).min_by_key(due);
            let Some(near) = near else { return };
            // The version differs at each attempt and each eviction, so the place does.
            let version = self.version.load(Ordering::Relaxed);
            let elsewhere = Tagged::new(key.fingerprint.wrapping_add(version));
            let more = if due(&near) > now { CANDIDATES } else { 0 };
            let far = self.entries.near(elsewhere).take(more).min_by_key(due);
            let far = far.filter(|far| due(far) < due(&near));
            let (least, Found { value, .. }) = far.unwrap_or(near);
            // A charge made since the choice must not be lost with its key, so the choice is made
            // again.
            let only = (attempt < TRIES).then_some(value);
            if self.change(|entries| entries.remove(least, only)) {
                writer.keys -= 1;
                let is_idle = least.time(value) <= now;
                writer.evictions.idle += u64::from(is_idle);
                writer.evictions.forced += u64::from(!is_idle);
                return;
            }
        }
    }

    /// Runs a change that moves keys. The caller holds the lock.
    fn change<R>(&self, change: impl FnOnce(&Entries) -> R) -> R {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // No store of the change becomes visible before the odd version; see `find`.
        fence(Ordering::Release);
        let outcome = change(&self.entries);
        self.version.store(version + 2, Ordering::Release);
        outcome
    }

    /// Ignores a poisoned lock: a panic of `judge` happens between two changes.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets `judge` replace the time of a key, if it is stored.
fn replace_known<'a, T, E>(
    key: Tagged,
    judge: &impl Fn(Option<u64>) -> Result<(T, u64), E>,
    find: impl Fn() -> Option<Found<'a>>,
) -> Option<Result<T, E>> {
    loop {
        let Found { word, value } = find()?;
        let (outcome, time) = match judge(Some(key.time(value))) {
            Ok(agreed) => agreed,
            Err(refusal) => return Some(Err(refusal)),
        };
        // A verdict holds only for the time that it was judged on. Stored over a newer time, it
        // would hand out one place twice.
        let next = key.word(time);
        if word.compare_exchange(value, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Some(Ok(outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicUsize},
        thread,
    };

    use super::*;

    /// Keys of the tests below: the time of key `k` is `k` in its last digits, always.
    const DIGITS: u64 = 1_000;

    /// Charges a key once and returns true, unless its time is another key's.
    fn charge(stripe: &Stripe, key: u64, now: u64) -> bool {
        let judge = |time: Option<u64>| {
            let time = time.unwrap_or(now * DIGITS + key);
            if time % DIGITS == key { Ok(((), time + DIGITS)) } else { Err(time) }
        };
        stripe.replace(Tagged::new(key), 0, judge).is_ok()
    }

    fn looks_right(stripe: &Stripe, key: u64) -> bool {
        stripe.time(Tagged::new(key)).is_none_or(|time| time % DIGITS == key)
    }

    #[test]
    fn eviction_spares_a_key_that_was_charged_since_it_was_chosen() {
        let stripe = Stripe::new(4);
        let key = Tagged::new(1);
        let store = |time| stripe.replace(key, 0, |_| Ok::<_, ()>(((), time)));
        assert_eq!(store(300), Ok(()));
        let chosen = key.word(300);
        assert_eq!(store(400), Ok(()));
        assert!(!stripe.change(|entries| entries.remove(key, Some(chosen))));
        assert_eq!(stripe.time(key), Some(400));
        assert!(stripe.change(|entries| entries.remove(key, Some(key.word(400)))));
        assert_eq!(stripe.time(key), None);
    }

    #[test]
    fn reader_waits_for_a_change_and_sees_what_it_left() {
        let stripe = Stripe::new(100);
        assert!((1..=50).all(|key| charge(&stripe, key, 0)));
        let writer = stripe.lock();
        let seen = thread::scope(|scope| {
            let reader = stripe.change(|entries| {
                // The reader begins while the version is odd, and ends when the lock is free.
                let reader = scope.spawn(|| stripe.time(Tagged::new(7)));
                thread::yield_now();
                entries.grow();
                reader
            });
            drop(writer);
            reader.join().expect("no panic")
        });
        assert_eq!(seen, Some(DIGITS + 7));
    }

    /// Threads charge, look and lower keys of a stripe that has room for a fifth of them, so keys
    /// take over the entries of others all the time.
    #[test]
    fn no_key_gets_the_time_of_another_while_all_are_evicted() {
        for max_keys in [1, 2, 8, 40] {
            let stripe = Stripe::new(max_keys);
            let keys = 5 * max_keys as u64;
            let work = |thread: u64| {
                (0..20_000).all(|step: u64| {
                    let key = (step * (2 * thread + 1)).wrapping_mul(0x9e37_79b9) >> 7;
                    let key = 1 + key % keys;
                    // Few values of now: another key often has the time that this one had.
                    charge(&stripe, key, step / 10_000) && looks_right(&stripe, key) && {
                        let time = stripe.time(Tagged::new(key)).unwrap_or(DIGITS + key);
                        stripe.lower(Tagged::new(key), time, time.saturating_sub(DIGITS).max(key));
                        looks_right(&stripe, 1 + step % keys)
                    }
                })
            };
            let all_right = thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
                threads.into_iter().all(|thread| thread.join().expect("no panic"))
            });
            assert!(all_right, "{max_keys} keys");
            assert!(stripe.keys() <= max_keys && stripe.later_than(0).len() == stripe.keys());
            assert!(stripe.later_than(0).iter().all(|(key, time)| time % DIGITS == *key));
        }
    }

    /// No charge is lost and no key is missed while the array grows beneath both.
    #[test]
    fn every_charge_counts_while_the_array_grows() {
        let stripe = Stripe::new(6_000);
        let (hot, done, missed) = (20, AtomicBool::new(false), AtomicUsize::new(0));
        assert!((1..=hot).all(|key| charge(&stripe, key, 0)));
        let charges: u64 = thread::scope(|scope| {
            let charging: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut rounds = 0;
                        while !done.load(Ordering::Relaxed) {
                            assert!((1..=hot).all(|key| charge(&stripe, key, 0)));
                            let unknown = |key: &u64| stripe.time(Tagged::new(*key)).is_none();
                            let unknown = (1..=hot).filter(unknown).count();
                            missed.fetch_add(unknown, Ordering::Relaxed);
                            rounds += 1;
                        }
                        rounds
                    })
                })
                .collect();
            for key in DIGITS..DIGITS + 5_000 {
                assert_eq!(stripe.replace(Tagged::new(key), 0, |_| Ok::<_, ()>(((), key))), Ok(()));
            }
            done.store(true, Ordering::Relaxed);
            charging.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!((missed.into_inner(), stripe.keys()), (0, 5_020));
        for key in 1..=hot {
            let time = key + (1 + charges) * DIGITS;
            assert_eq!(stripe.time(Tagged::new(key)), Some(time));
        }
        let others = DIGITS..DIGITS + 5_000;
        assert!(others.into_iter().all(|key| stripe.time(Tagged::new(key)) == Some(key)));
    }
}
