//! Sampling of rejects: the first few of a key get a line each, the others are summed up. All
//! workers count together.
//!
//! Guarantee: however fast a key is rejected, it costs at most `first` lines and then one per
//! period. Memory is bounded; rejects that find no room are summed up without a key, never lost. A
//! summary names a client only when every reject in it was of that client.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::limit::Reason;

/// Shards with a lock each, so that workers seldom wait for each other.
const SHARDS: usize = 16;
/// Limit on the keys of a shard.
const KEYS_OF_A_SHARD: usize = 1024;
/// Stands for no time: nothing is to be summed up.
const NEVER: u64 = u64::MAX;

/// Counts of rejects by key.
#[derive(Debug)]
pub struct Sampler {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Time of the next summaries, in milliseconds of the process clock.
    due: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    runs: HashMap<Key, Run>,
    crowd: u64,
}

/// Key of the rejects that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Address of the zone name: a zone of its own in every configuration.
    zone: usize,
    fingerprint: u64,
    reason: Option<Reason>,
    /// Client, when there is no fingerprint.
    client: Option<IpAddr>,
}

#[derive(Debug)]
struct Run {
    logged: u32,
    unlogged: u64,
    /// True if there was a reject since the last summaries.
    is_busy: bool,
    zone: Arc<str>,
    reason: Option<Reason>,
    /// Client of all rejects not logged yet; none once there were two.
    client: Option<IpAddr>,
}

/// Reject, as far as sampling needs it.
#[derive(Clone, Copy, Debug)]
pub struct RejectEvent<'a> {
    /// Zone that rejected.
    pub zone: &'a Arc<str>,
    /// Fingerprint under which it was counted; none if a part of the key was missing.
    pub fingerprint: Option<u64>,
    /// Reason of the reject.
    pub reason: Option<Reason>,
    /// Client address.
    pub client: IpAddr,
}

/// Number of rejects per key with a line of their own, and the period of summaries.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Rejects with a line of their own.
    pub first: u32,
    /// Period of summaries.
    pub every: Duration,
}

/// Logging of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A line of its own.
    Line,
    /// Counted in a summary.
    Sum,
}

/// Rejects of a period without a line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of rejects.
    pub rejects: u64,
    /// Zone; none for keys that found no room.
    pub zone: Option<Arc<str>>,
    /// Reason; none for keys that found no room.
    pub reason: Option<Reason>,
    /// Client, if all of them were of one client.
    pub client: Option<IpAddr>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new(), due: AtomicU64::new(NEVER) }
    }
}

impl Sampler {
    /// Counts a reject at `now`. Returns how to log it, and true if a summary is now due that was
    /// not before.
    pub fn take(&self, reject: RejectEvent<'_>, sampling: Sampling, now: Duration) -> (Told, bool) {
        let key = Key {
            // Counted by pointer, so zones of the same name in two configurations are not mixed.
            // `Run` holds the name, so its address is not reused meanwhile.
            zone: Arc::as_ptr(reject.zone).cast::<u8>().addr(),
            fingerprint: reject.fingerprint.unwrap_or_default(),
            reason: reject.reason,
            // Without a fingerprint only the client can tell one key from another.
            client: reject.fingerprint.is_none().then_some(reject.client),
        };
        let told = self.shard(&key).take(key, reject, sampling.first);
        let due = millis(now + sampling.every);
        let is_first =
            // Only the first reject after a quiet time sets the period. Later ones must not move it
            // on, or summaries would never come.
            self.due.compare_exchange(NEVER, due, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        (told, is_first)
    }

    fn shard(&self, key: &Key) -> std::sync::MutexGuard<'_, Shard> {
        // A random hasher: a client that chooses keys must not fill one shard.
        let number = self.hasher.hash_one(key) % SHARDS as u64;
        self.shards[usize::try_from(number).unwrap_or_default()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Time of the next summaries; far away when there is nothing to sum up.
    #[must_use]
    pub fn due(&self) -> Duration {
        Duration::from_millis(self.due.load(Ordering::Acquire))
    }

    /// Returns the summaries of the period if it ends by `now`; of several callers only one gets
    /// them. A key that was silent for a whole period starts again.
    pub fn sum_up_due(&self, every: Duration, now: Duration) -> Vec<Summary> {
        let due = self.due.load(Ordering::Acquire);
        let next = millis(now + every);
        // `NEVER` is later than any time, so without rejects this is the only work.
        if millis(now) < due
            // Workers wake at the same time. The one that moves the time on has the summaries.
            || self.due.compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Vec::new();
        }
        let (summaries, is_empty) = self.drain();
        if is_empty {
            self.rest(next);
        }
        summaries
    }

    /// Expects no summaries, unless there was a reject meanwhile: then they are due at `next`.
    fn rest(&self, next: u64) {
        let _changed = self.due.compare_exchange(next, NEVER, Ordering::AcqRel, Ordering::Relaxed);
        // A reject that was counted before this saw a time and set none.
        let is_empty = |shard: &Mutex<Shard>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).runs.is_empty()
        };
        if !self.shards.iter().all(is_empty) {
            let _set = self.due.compare_exchange(NEVER, next, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Returns all summaries, at the end of the process.
    pub fn sum_up(&self) -> Vec<Summary> {
        self.drain().0
    }

    fn drain(&self) -> (Vec<Summary>, bool) {
        let (mut summaries, mut crowd, mut is_empty) = (Vec::new(), 0, true);
        for shard in &self.shards {
            // One shard after the other, so that rejects wait for one sixteenth of the work
            // at most.
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            crowd += std::mem::take(&mut shard.crowd);
            shard.runs.retain(|_, run| {
                let rejects = std::mem::take(&mut run.unlogged);
                if rejects > 0 {
                    let zone = Some(Arc::clone(&run.zone));
                    summaries.push(Summary {
                        rejects,
                        zone,
                        reason: run.reason,
                        client: run.client,
                    });
                }
                // Only a key without rejects for a whole period gets its first lines again.
                std::mem::take(&mut run.is_busy)
            });
            is_empty &= shard.runs.is_empty();
        }
        if crowd > 0 {
            summaries.push(Summary { rejects: crowd, zone: None, reason: None, client: None });
        }
        (summaries, is_empty)
    }
}

impl Shard {
    fn take(&mut self, key: Key, reject: RejectEvent<'_>, first: u32) -> Told {
        // New keys find no room: an attacker with many addresses cannot grow the map.
        if self.runs.len() >= KEYS_OF_A_SHARD && !self.runs.contains_key(&key) {
            self.crowd += 1;
            return Told::Sum;
        }
        let fresh = || Run {
            logged: 0,
            unlogged: 0,
            is_busy: false,
            zone: Arc::clone(reject.zone),
            reason: reject.reason,
            client: None,
        };
        let run = self.runs.entry(key).or_insert_with(fresh);
        run.is_busy = true;
        if run.logged < first {
            run.logged += 1;
            return Told::Line;
        }
        // A summary names a client only if all of its rejects agree, so a second one removes it
        // for good.
        run.client = match run.unlogged {
            0 => Some(reject.client),
            _ => run.client.filter(|client| *client == reject.client),
        };
        run.unlogged += 1;
        Told::Sum
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use crate::log::sample::*;

    const SAMPLING: Sampling = Sampling { first: 2, every: Duration::from_secs(10) };

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    struct Test {
        sampler: Sampler,
        zones: [Arc<str>; 2],
    }

    impl Test {
        fn new() -> Self {
            Self { sampler: Sampler::default(), zones: ["a".into(), "b".into()] }
        }

        fn reject(&self, fingerprint: impl Into<Option<u64>>, last: u8, at: u64) -> Told {
            self.reject_of(0, fingerprint, last, at)
        }

        fn reject_of(
            &self,
            zone: usize,
            fingerprint: impl Into<Option<u64>>,
            last: u8,
            at: u64,
        ) -> Told {
            let zone = &self.zones[zone];
            let reject = RejectEvent {
                zone,
                fingerprint: fingerprint.into(),
                reason: Some(Reason::Burst),
                client: client(last),
            };
            self.sampler.take(reject, SAMPLING, Duration::from_secs(at)).0
        }

        fn sums(&self, at: u64) -> Vec<(u64, Option<IpAddr>)> {
            let sums = self.sampler.sum_up_due(SAMPLING.every, Duration::from_secs(at));
            let mut sums: Vec<_> = sums.into_iter().map(|sum| (sum.rejects, sum.client)).collect();
            sums.sort_unstable();
            sums
        }
    }

    #[test]
    fn first_few_are_told_and_the_others_summed_up() {
        let test = Test::new();
        assert_eq!(test.sampler.due(), Duration::from_millis(NEVER));
        let told: Vec<_> = (0..5).map(|_| test.reject(1, 1, 3)).collect();
        assert_eq!(told, [Told::Line, Told::Line, Told::Sum, Told::Sum, Told::Sum]);
        assert_eq!(test.sampler.due(), Duration::from_secs(13));
        assert_eq!(test.sums(12), []);
        assert_eq!(test.sums(13), [(3, Some(client(1)))]);
        assert_eq!(test.reject(1, 1, 14), Told::Sum);
        assert_eq!(test.sums(23), [(1, Some(client(1)))]);
        assert_eq!(test.sums(33), []);
        assert_eq!(test.sampler.due(), Duration::from_millis(NEVER));
        assert_eq!(test.reject(1, 1, 34), Told::Line);
    }

    #[test]
    fn sample_of_slow_key_has_its_first_lines_once() {
        let test = Test::new();
        let mut told = Vec::new();
        for period in 0..5 {
            told.extend([(); 2].map(|()| test.reject(1, 1, period * 10 + 1)));
            let _ = test.sums(period * 10 + 11);
        }
        let lines = told.iter().filter(|told| **told == Told::Line).count();
        assert_eq!((lines, &told[..2]), (2, &[Told::Line; 2][..]));
        // Silent from 41 to 61.
        assert_eq!((test.sums(61).len(), test.reject(1, 1, 62)), (0, Told::Line));
    }

    #[test]
    fn sample_reject_during_summary_is_due_at_the_next() {
        let test = Test::new();
        test.reject(1, 1, 0);
        assert_eq!((test.sums(10), test.sampler.due()), (vec![], Duration::from_secs(20)));
        // The steps of `sum_up_due` at 20 s, with rejects between them.
        test.sampler.due.store(30_000, Ordering::Release);
        assert!(test.sampler.drain().1);
        let _ = [(); 3].map(|()| test.reject(2, 2, 20));
        test.sampler.rest(30_000);
        assert_eq!(test.sampler.due(), Duration::from_secs(30));
        assert_eq!(test.sums(30), [(1, Some(client(2)))]);
    }

    #[test]
    fn sum_has_one_reason_and_a_reason_has_lines_of_its_own() {
        let test = Test::new();
        let reject = |reason| {
            let reject = RejectEvent {
                zone: &test.zones[0],
                fingerprint: Some(1),
                reason: Some(reason),
                client: client(1),
            };
            test.sampler.take(reject, SAMPLING, Duration::ZERO).0
        };
        let told = [Reason::Burst, Reason::QueueFull].map(|reason| [reason; 3].map(reject));
        assert_eq!(told, [[Told::Line, Told::Line, Told::Sum]; 2]);
        let sums = test.sampler.sum_up();
        let mut reasons: Vec<_> =
            sums.iter().map(|sum| (sum.reason.map(Reason::as_str), sum.rejects)).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, [(Some("burst"), 1), (Some("queue_full"), 1)]);
    }

    #[test]
    fn sum_names_a_client_only_when_all_of_it_is_that_ones() {
        let test = Test::new();
        // The first client has lines of its own; the summary is of the second.
        let _ = [1, 1, 2, 2].map(|last| test.reject(1, last, 0));
        assert_eq!(test.sums(10), [(2, Some(client(2)))]);
        let _ = [2, 3, 2].map(|last| test.reject(1, last, 11));
        assert_eq!(test.sums(20), [(3, None)]);
        test.reject(1, 3, 21);
        assert_eq!(test.sums(30), [(1, Some(client(3)))]);
    }

    #[test]
    fn missing_keys_are_told_apart_by_zone_and_client() {
        let test = Test::new();
        for (zone, last) in [(0, 1), (0, 2), (1, 1)] {
            let told = [(); 3].map(|()| test.reject_of(zone, None, last, 0));
            assert_eq!(told, [Told::Line, Told::Line, Told::Sum]);
        }
        assert_eq!(
            test.sums(10),
            [(1, Some(client(1))), (1, Some(client(1))), (1, Some(client(2)))]
        );
    }

    #[test]
    fn only_the_first_of_a_period_begins_it() {
        let test = Test::new();
        let take = |at| {
            let reject = RejectEvent {
                zone: &test.zones[0],
                fingerprint: Some(1),
                reason: None,
                client: client(1),
            };
            test.sampler.take(reject, Sampling { first: 0, ..SAMPLING }, Duration::from_secs(at)).1
        };
        assert_eq!([take(1), take(2)], [true, false]);
        assert_eq!(test.sums(11), [(2, Some(client(1)))]);
        assert_eq!(test.sums(11), [], "a second worker that asks at once gets nothing");
        assert_eq!(
            [take(12), test.sums(21).len() == 1, test.sums(31).is_empty(), take(40)],
            [false, true, true, true]
        );
    }

    #[test]
    fn crowd_of_keys_is_summed_up_together_and_none_is_lost() {
        let test = Test::new();
        let told = (0..100_000).filter(|key| test.reject(*key, 1, 0) == Told::Line).count();
        assert!(told <= SHARDS * KEYS_OF_A_SHARD, "{told}");
        assert!(told > SHARDS * KEYS_OF_A_SHARD * 9 / 10, "{told}");
        assert_eq!(test.sums(10), [(100_000 - told as u64, None)]);
    }
}
