//! Health of an address, shared by all workers.
//!
//! Guarantees: an address with too many failures is ejected for a while, twice as long each further
//! time, up to [`LONGEST_FACTOR`] times. A response to a request sent after the ejection ends it
//! immediately. Probes count separately.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::settings::PassiveSettings;

/// Longest ejection, as a multiple of the first. The doubling is forgotten the same time after its
/// end.
pub const LONGEST_FACTOR: u32 = 10;

/// Share of the weight of an address that is warm, in thousandths.
pub const FULL_WARMTH: u32 = 1_000;

/// Health of one address.
#[derive(Debug, Default)]
pub struct Health {
    /// True while its probes fail.
    down: AtomicBool,
    /// True after an ejection until a success; the only flag that each request reads.
    suspect: AtomicBool,
    /// True from an end of its being available until its share has grown again (`slow_start`).
    warming: AtomicBool,
    faults: Mutex<Faults>,
}

/// Failures of requests at an address.
#[derive(Debug, Default)]
struct Faults {
    /// Latest failures, at most as many as lead to an ejection.
    recent: VecDeque<Instant>,
    /// Latest ejection.
    ejection: Option<Ejection>,
    /// Time at which it became available, otherwise than by the end of an ejection.
    returned: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    since: Instant,
    time: Duration,
}

impl Ejection {
    fn until(&self) -> Instant {
        self.since + self.time
    }
}

impl Health {
    /// Returns true if it should get requests.
    #[must_use]
    pub fn is_fit(&self, now: Instant) -> bool {
        !self.down.load(Ordering::Relaxed) && !self.is_ejected(now)
    }

    /// Returns true while it is ejected.
    #[must_use]
    pub fn is_ejected(&self, now: Instant) -> bool {
        // The flag first: without an ejection no request takes the lock.
        self.suspect.load(Ordering::Relaxed)
            && self.faults(|faults| faults.ejection.is_some_and(|one| now < one.until()))
    }

    /// Records the verdict of probes; returns true if it changed.
    pub fn set_down(&self, down: bool, now: Instant) -> bool {
        let changed = self.down.swap(down, Ordering::Relaxed) != down;
        if changed && !down {
            self.returns(now);
        }
        changed
    }

    /// Records that it is available from now on, and was not before.
    pub fn returns(&self, now: Instant) {
        self.faults(|faults| faults.returned = Some(now));
        self.warming.store(true, Ordering::Relaxed);
    }

    /// Share of its weight, in thousandths, that it has by now: it grows in equal steps while it is
    /// available again, for the time of `slow_start`.
    #[must_use]
    pub fn warmth(&self, slow_start: Duration, now: Instant) -> u32 {
        if !self.warming.load(Ordering::Relaxed) {
            return FULL_WARMTH;
        }
        let since = self.faults(|faults| {
            let ended = faults.ejection.map(|one| one.until()).filter(|until| *until <= now);
            ended.max(faults.returned)
        });
        let elapsed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        // From here on no request takes the lock, until the address was away again.
        if elapsed >= slow_start {
            // An ejection in between sets it again, behind this look.
            self.warming.store(false, Ordering::Relaxed);
            return FULL_WARMTH;
        }
        // At least one, as an address without a weight could not be compared with others.
        let grown = elapsed.as_nanos() * u128::from(FULL_WARMTH) / slow_start.as_nanos().max(1);
        u32::try_from(grown).unwrap_or(FULL_WARMTH).max(1)
    }

    /// Records a failed request; returns true if that is enough to eject the address.
    pub fn fails(&self, settings: &PassiveSettings, now: Instant) -> bool {
        // Requests that are sent although it is ejected, as the last resort, do not prolong
        // the ejection.
        if self.is_ejected(now) {
            return false;
        }
        self.faults(|faults| {
            faults.recent.push_back(now);
            let first_of_many = |recent: &VecDeque<_>| recent.len() > settings.failures as usize;
            let is_old = |at: &Instant| now.duration_since(*at) > settings.window;
            // At most as many as lead to an ejection are kept, so the memory is bounded by
            // the setting.
            while first_of_many(&faults.recent) || faults.recent.front().is_some_and(is_old) {
                faults.recent.pop_front();
            }
            faults.recent.len() >= settings.failures as usize
        })
    }

    /// Returns true if a request failed within the window.
    pub fn has_failed(&self, settings: &PassiveSettings, now: Instant) -> bool {
        self.faults(|faults| {
            faults.recent.back().is_some_and(|at| now.duration_since(*at) <= settings.window)
        })
    }

    /// Ejects the address and returns the duration.
    pub fn eject(&self, settings: &PassiveSettings, now: Instant) -> Duration {
        let longest = settings.eject * LONGEST_FACTOR;
        let time = self.faults(|faults| {
            // The same failures must not eject it again right after its return.
            faults.recent.clear();
            // Past that time it behaved long enough, and the doubling starts from the beginning.
            let again = faults.ejection.filter(|one| now < one.until() + longest);
            let time = again.map_or(settings.eject, |one| (one.time * 2).min(longest));
            faults.ejection = Some(Ejection { since: now, time });
            time
        });
        // After the ejection is recorded: a reader that sees the flag finds it.
        self.suspect.store(true, Ordering::Relaxed);
        self.warming.store(true, Ordering::Relaxed);
        time
    }

    /// Records a response to a request sent at `sent`; returns true if that ends an ejection.
    pub fn succeeds(&self, sent: Instant) -> bool {
        if !self.suspect.load(Ordering::Relaxed) {
            return false;
        }
        // A response to an older request only proves that the endpoint worked before.
        let later = self.faults(|faults| faults.ejection.is_none_or(|one| sent > one.since));
        if !later || !self.suspect.swap(false, Ordering::Relaxed) {
            return false;
        }
        // One that ends its ejection early is available from that request on.
        self.faults(|faults| {
            if faults.ejection.is_some_and(|one| sent < one.until()) {
                faults.returned = Some(sent);
            }
        });
        true
    }

    fn faults<T>(&self, look: impl FnOnce(&mut Faults) -> T) -> T {
        look(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::health::*;

    const SETTINGS: PassiveSettings = PassiveSettings {
        failures: 3,
        window: Duration::from_secs(10),
        eject: Duration::from_secs(10),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_count_within_the_window() {
        let (health, start) = (Health::default(), Instant::now());
        let enough = [0, 5, 11, 15, 15].map(|second| health.fails(&SETTINGS, after(start, second)));
        assert_eq!(enough, [false, false, false, true, true]);
    }

    #[test]
    fn ejections_double_up_to_ten_times_and_are_forgotten() {
        let (health, mut now) = (Health::default(), Instant::now());
        let times = [(); 6].map(|()| {
            let time = health.eject(&SETTINGS, now);
            assert!(!health.is_fit(now) && health.is_fit(now + time));
            now += time;
            time.as_secs()
        });
        assert_eq!(times, [10, 20, 40, 80, 100, 100]);
        assert_eq!(health.eject(&SETTINGS, after(now, 100)).as_secs(), 10);
    }

    #[test]
    fn only_an_answer_to_a_later_request_ends_an_ejection() {
        let (health, start) = (Health::default(), Instant::now());
        health.eject(&SETTINGS, after(start, 1));
        assert!(!health.succeeds(start));
        assert!(!health.is_fit(after(start, 2)));
        assert!(health.succeeds(after(start, 2)));
        assert!(health.is_fit(after(start, 2)) && !health.succeeds(after(start, 3)));
    }

    #[test]
    fn probes_count_for_themselves() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(health.set_down(true, now) && !health.set_down(true, now));
        assert!(!health.is_fit(now) && !health.is_ejected(now) && !health.succeeds(now));
        assert!(health.set_down(false, now) && health.is_fit(now));
    }

    #[test]
    fn warmth_grows_from_the_end_of_an_ejection_and_of_failing_probes() {
        let (slow_start, start) = (Duration::from_secs(20), Instant::now());
        let warmth = |health: &Health, second| health.warmth(slow_start, after(start, second));
        let health = Health::default();
        assert_eq!(warmth(&health, 0), 1_000);
        health.eject(&SETTINGS, start);
        let grown = [10, 11, 15, 20, 29, 30].map(|second| warmth(&health, second));
        assert_eq!(grown, [1, 50, 250, 500, 950, 1_000]);
        health.set_down(true, after(start, 40));
        health.set_down(false, after(start, 50));
        assert_eq!([50, 60, 70].map(|second| warmth(&health, second)), [1, 500, 1_000]);
        health.eject(&SETTINGS, after(start, 80));
        assert!(health.succeeds(after(start, 82)));
        assert_eq!(warmth(&health, 92), 500);
    }
}
