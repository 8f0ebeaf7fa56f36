//! Concurrency: requests in progress by key, and the lines of those that wait for one to end.
//!
//! Guarantees: at most `max` requests of a key are in progress by rules with that limit, and at most
//! `queue` of them wait, in order of arrival. A [`ConcurrencyPermit`] is given back exactly once,
//! when it is dropped, however its request ends. A key is stored only while a request of it is
//! in progress or waits, so the memory is bounded by the number of requests.
//!
//! A rule of a zone may have another `max` than the next one. A waiting request is admitted as soon
//! as fewer requests than *its* `max` are in progress, and does not block those behind it whose `max`
//! is larger. With one `max` for all, no request overtakes: while a request waits, `max` are in progress.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use dashmap::{DashMap, Entry};
use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::{
    key::{Key, Seed, Subject},
    zone::{Standing, standing},
};

/// Number of locks over the keys of a zone.
const SHARDS: usize = 16;
/// Keys up to which a zone gives back no memory.
const KEPT_KEYS: usize = 1_024;

/// Settings of a zone of concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencySettings {
    /// Name in the configuration and in logs.
    pub name: Arc<str>,
    /// Key to count by.
    pub key: Key,
    /// Networks of clients that are not counted.
    pub exempt: Vec<IpNet>,
}

/// Limit that a rule applies to a key of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Requests in progress, at least 1.
    pub max: u32,
    /// Requests that may wait.
    pub queue: u32,
}

/// Zone in use: counts the requests in progress by a key.
#[derive(Debug)]
pub struct ConcurrencyZone {
    settings: ConcurrencySettings,
    seed: Seed,
    keys: Arc<Keys>,
}

/// Outcome of an entry.
#[derive(Debug)]
pub enum Entered {
    /// The request is in progress.
    Now(ConcurrencyPermit),
    /// The request waits for another one to end.
    Waiting(ConcurrencyTicket),
    /// Too many are in progress, and too many wait.
    Full,
}

/// Right of one request to be in progress; given back on drop.
#[derive(Debug)]
#[must_use = "dropping a permit ends the request it counts"]
pub struct ConcurrencyPermit {
    keys: Arc<Keys>,
    fingerprint: u64,
}

/// Place of one request in the line of its key; given back on drop.
#[derive(Debug)]
#[must_use = "dropping a ticket leaves the line"]
pub struct ConcurrencyTicket {
    keys: Arc<Keys>,
    fingerprint: u64,
    waiter: Arc<Waiter>,
    /// The permit was handed over, so there is nothing to give back.
    is_used: bool,
}

/// Request that waits.
#[derive(Debug)]
struct Waiter {
    max: u32,
    /// Set under the lock of the key: the request is counted as in progress.
    is_admitted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Requests of one key.
#[derive(Debug, Default)]
struct InProgress {
    count: u32,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Keys {
    by_key: DashMap<u64, InProgress, FixedState>,
    stored: AtomicUsize,
    /// Most keys that were stored since memory was given back.
    crowd: AtomicUsize,
}

impl ConcurrencyZone {
    /// Creates a zone in which no request is in progress.
    #[must_use]
    pub fn new(settings: ConcurrencySettings) -> Self {
        Self { settings, seed: Seed::random(), keys: Arc::new(Keys::new()) }
    }

    /// Returns a zone of other settings in place of this one. It counts the same requests if it
    /// counts by the same key, and none otherwise.
    #[must_use]
    pub fn succeeded_by(&self, settings: ConcurrencySettings) -> Self {
        if settings.key != self.settings.key {
            return Self::new(settings);
        }
        Self { settings, seed: self.seed, keys: Arc::clone(&self.keys) }
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &ConcurrencySettings {
        &self.settings
    }

    /// Returns the standing of a request towards this zone.
    #[must_use]
    pub fn standing(&self, subject: &Subject<'_>) -> Standing {
        standing(&self.settings.key, &self.settings.exempt, self.seed, subject)
    }

    /// Enters a request of the key with this fingerprint.
    pub fn enter(&self, fingerprint: u64, limit: ConcurrencyLimit) -> Entered {
        self.keys.enter(fingerprint, limit)
    }

    /// Returns the number of keys that have requests in progress or waiting.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.stored.load(Ordering::Acquire)
    }
}

impl Keys {
    fn new() -> Self {
        // Fingerprints are keyed hashes, so a fixed hash of them gives a client no way to collide.
        let hasher = FixedState::with_seed(0);
        Self {
            by_key: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher, SHARDS),
            stored: AtomicUsize::new(0),
            crowd: AtomicUsize::new(0),
        }
    }

    fn enter(self: &Arc<Self>, fingerprint: u64, limit: ConcurrencyLimit) -> Entered {
        let mut key = match self.by_key.entry(fingerprint) {
            Entry::Occupied(key) => key.into_ref(),
            Entry::Vacant(none) => {
                let stored = self.stored.fetch_add(1, Ordering::AcqRel) + 1;
                self.crowd.fetch_max(stored, Ordering::Relaxed);
                none.insert(InProgress::default())
            }
        };
        let keys = Arc::clone(self);
        // A key that is new here has none in progress, so it never stays empty.
        if key.count < limit.max.max(1) {
            key.count += 1;
            return Entered::Now(ConcurrencyPermit { keys, fingerprint });
        }
        if key.waiting.len() >= limit.queue as usize {
            return Entered::Full;
        }
        let waiter = Arc::new(Waiter {
            max: limit.max.max(1),
            is_admitted: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        key.waiting.push_back(Arc::clone(&waiter));
        Entered::Waiting(ConcurrencyTicket { keys, fingerprint, waiter, is_used: false })
    }

    /// Changes the requests of a key under its lock, then wakes the one that it admits.
    fn change(&self, fingerprint: u64, change: impl FnOnce(&mut InProgress)) {
        let Entry::Occupied(mut key) = self.by_key.entry(fingerprint) else { return };
        change(key.get_mut());
        let admitted = key.get_mut().admit();
        let is_empty = key.get().count == 0 && key.get().waiting.is_empty();
        if is_empty {
            key.remove();
            let stored = self.stored.fetch_sub(1, Ordering::AcqRel) - 1;
            self.fit_memory(stored);
        } else {
            drop(key);
        }
        // Without the lock: a waker is foreign code.
        if let Some(waiter) = admitted {
            waiter.wake();
        }
    }

    /// Gives back memory once most of a crowd has left. It takes one lock after the other, so none
    /// may be held.
    fn fit_memory(&self, stored: usize) {
        let crowd = self.crowd.load(Ordering::Relaxed);
        if crowd > KEPT_KEYS && stored < crowd / 4 {
            self.crowd.store(stored, Ordering::Relaxed);
            self.by_key.shrink_to_fit();
        }
    }
}

impl InProgress {
    /// Admits the first waiting request for which there is room.
    fn admit(&mut self) -> Option<Arc<Waiter>> {
        // With one limit for all this is the first, or none. At most one can be admitted: before
        // the last end or leave there was room for none.
        let index = self.waiting.iter().position(|waiter| waiter.max > self.count)?;
        let waiter = self.waiting.remove(index)?;
        self.count += 1;
        waiter.is_admitted.store(true, Ordering::Release);
        Some(waiter)
    }
}

impl Waiter {
    fn set_waker(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl ConcurrencyTicket {
    /// Completes with the permit once the request is admitted.
    pub fn poll_admitted(&mut self, context: &Context<'_>) -> Poll<ConcurrencyPermit> {
        // Before the look: an admission in between wakes this waker.
        self.waiter.set_waker(context.waker());
        if self.is_used || !self.waiter.is_admitted.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.is_used = true;
        let keys = Arc::clone(&self.keys);
        Poll::Ready(ConcurrencyPermit { keys, fingerprint: self.fingerprint })
    }
}

impl Drop for ConcurrencyTicket {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let waiter = &self.waiter;
        self.keys.change(self.fingerprint, |key| {
            // It may have been admitted without having noticed it: then it is in progress.
            if waiter.is_admitted.load(Ordering::Acquire) {
                key.count -= 1;
            } else {
                key.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
            }
        });
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        self.keys.change(self.fingerprint, |key| key.count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::Part;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn zone() -> ConcurrencyZone {
        let key = Key::of(vec![Part::ClientIp]);
        ConcurrencyZone::new(ConcurrencySettings { name: "z".into(), key, exempt: Vec::new() })
    }

    fn permit(entered: Entered) -> ConcurrencyPermit {
        match entered {
            Entered::Now(permit) => permit,
            other => panic!("not in progress: {other:?}"),
        }
    }

    fn ticket(entered: Entered) -> ConcurrencyTicket {
        match entered {
            Entered::Waiting(ticket) => ticket,
            other => panic!("not waiting: {other:?}"),
        }
    }

    fn is_admitted(ticket: &mut ConcurrencyTicket) -> Option<ConcurrencyPermit> {
        match ticket.poll_admitted(&Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    const TWO: ConcurrencyLimit = ConcurrencyLimit { max: 2, queue: 2 };

    #[test]
    fn key_has_as_many_in_progress_and_waiting_as_its_limit_says() {
        let zone = zone();
        let first = permit(zone.enter(1, TWO));
        let _second = permit(zone.enter(1, TWO));
        let (mut third, mut fourth) = (ticket(zone.enter(1, TWO)), ticket(zone.enter(1, TWO)));
        assert!(matches!(zone.enter(1, TWO), Entered::Full));
        let _other = permit(zone.enter(2, TWO));
        assert!(is_admitted(&mut third).is_none());
        drop(first);
        assert!(is_admitted(&mut fourth).is_none(), "the first in line is the next");
        let third = is_admitted(&mut third).expect("there is room");
        assert!(matches!(zone.enter(1, TWO), Entered::Waiting(_)), "one place in line is free");
        drop(third);
        assert!(is_admitted(&mut fourth).is_some());
        assert_eq!(zone.keys(), 2);
    }

    #[test]
    fn key_is_forgotten_with_its_last_request() {
        let zone = zone();
        let (first, second) = (permit(zone.enter(1, TWO)), permit(zone.enter(1, TWO)));
        let waiting = ticket(zone.enter(1, TWO));
        drop(waiting);
        drop((first, second));
        assert_eq!((zone.keys(), zone.keys.by_key.len()), (0, 0));
    }

    #[test]
    fn request_that_leaves_the_line_or_never_looks_again_takes_no_place() {
        let zone = zone();
        let one = ConcurrencyLimit { max: 1, queue: 3 };
        let first = permit(zone.enter(1, one));
        let (second, third) = (ticket(zone.enter(1, one)), ticket(zone.enter(1, one)));
        let mut fourth = ticket(zone.enter(1, one));
        drop(second);
        drop(first);
        // The third is admitted and leaves before it knows.
        assert!(is_admitted(&mut fourth).is_none());
        drop(third);
        drop(is_admitted(&mut fourth).expect("it is its turn"));
        assert_eq!(zone.keys(), 0);
    }

    #[test]
    fn smaller_limit_does_not_hold_up_a_larger_one() {
        let zone = zone();
        let (small, large) =
            (ConcurrencyLimit { max: 1, queue: 9 }, ConcurrencyLimit { max: 3, queue: 9 });
        let first = permit(zone.enter(1, large));
        let mut waits = ticket(zone.enter(1, small));
        let second = permit(zone.enter(1, large));
        let third = permit(zone.enter(1, large));
        let mut behind = ticket(zone.enter(1, large));
        drop(first);
        assert!(is_admitted(&mut waits).is_none());
        let behind = is_admitted(&mut behind).expect("two are in progress");
        drop((second, third));
        assert!(is_admitted(&mut waits).is_none(), "one is in progress");
        drop(behind);
        assert!(is_admitted(&mut waits).is_some());
    }

    #[test]
    fn admission_wakes_the_request_once() {
        let zone = zone();
        let one = ConcurrencyLimit { max: 1, queue: 1 };
        let first = permit(zone.enter(1, one));
        let mut second = ticket(zone.enter(1, one));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(second.poll_admitted(&Context::from_waker(&waker)).is_pending());
        drop(first);
        assert_eq!(woken.0.load(Ordering::Acquire), 1);
        assert!(second.poll_admitted(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn reload_counts_on_unless_the_key_is_another() {
        let zone = zone();
        let _first = permit(zone.enter(1, TWO));
        let exempt = vec!["10.0.0.0/8".parse().expect("a network")];
        let after = zone.succeeded_by(ConcurrencySettings { exempt, ..zone.settings().clone() });
        let _second = permit(after.enter(1, TWO));
        assert!(matches!(after.enter(1, TWO), Entered::Waiting(_)));
        let key = Key::of(vec![Part::Host]);
        let other = zone.succeeded_by(ConcurrencySettings { key, ..zone.settings().clone() });
        assert_eq!(other.keys(), 0);
    }

    #[test]
    fn zone_gives_back_the_memory_of_a_crowd_that_left() {
        let zone = zone();
        let crowd: Vec<_> =
            (0..10 * KEPT_KEYS as u64).map(|key| permit(zone.enter(key, TWO))).collect();
        assert!(zone.keys.by_key.capacity() >= crowd.len());
        drop(crowd);
        assert!(zone.keys.by_key.capacity() <= 2 * KEPT_KEYS);
    }

    /// Threads enter, wait and leave: never more than two are in progress, and none is forgotten.
    #[test]
    fn no_thread_sees_more_in_progress_than_the_limit() {
        let (zone, running) = (zone(), AtomicUsize::new(0));
        let work = |thread: usize| {
            for turn in 0..5_000 {
                let permit = match zone.enter(7, TWO) {
                    Entered::Now(permit) => Some(permit),
                    // Some leave the line immediately, others look a few times.
                    Entered::Waiting(mut ticket) => {
                        (0..(turn + thread) % 50).find_map(|_| is_admitted(&mut ticket))
                    }
                    Entered::Full => None,
                };
                if permit.is_some() {
                    assert!(running.fetch_add(1, Ordering::AcqRel) < 2);
                    running.fetch_sub(1, Ordering::AcqRel);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        assert_eq!(zone.keys(), 0);
    }
}
