//! Limit on parked requests over all zones and workers, with a share reserved for each zone.
//!
//! Half of the room is split evenly over the zones, so a crowd parked in one zone leaves the others
//! room. The other half is first come, first served.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::zone::Zone;

/// Counts parked requests up to a limit.
#[derive(Debug)]
pub struct Queue {
    /// Room reserved for each zone.
    own: AtomicUsize,
    /// Room that all zones share beside that.
    common: AtomicUsize,
    in_common: AtomicUsize,
    parked: AtomicUsize,
}

/// Room for one parked request, freed on drop.
#[derive(Debug)]
#[must_use = "dropping a seat frees it"]
pub struct QueuePermit {
    queue: Arc<Queue>,
    /// Zone whose reserved room this is; none if it is of the shared room.
    own: Option<Arc<Zone>>,
}

impl Queue {
    /// Creates a queue with room for `max` requests in `zones` zones.
    #[must_use]
    pub fn with_room(max: usize, zones: usize) -> Arc<Self> {
        let queue = Self { own: 0.into(), common: 0.into(), in_common: 0.into(), parked: 0.into() };
        queue.set_room(max, zones);
        Arc::new(queue)
    }

    /// Takes room for a request that a rule of `zone` parks, if there is any.
    #[must_use]
    pub fn enter(self: &Arc<Self>, zone: &Arc<Zone>) -> Option<QueuePermit> {
        // The reserved room first: the common room stays free for zones whose own is taken.
        let own = if take(zone.permits(), &self.own) {
            Some(Arc::clone(zone))
        } else if take(&self.in_common, &self.common) {
            None
        } else {
            return None;
        };
        self.parked.fetch_add(1, Ordering::AcqRel);
        Some(QueuePermit { queue: Arc::clone(self), own })
    }

    /// Takes room that all zones share, for a request that no rate limit parks.
    #[must_use]
    pub fn enter_common(self: &Arc<Self>) -> Option<QueuePermit> {
        if !take(&self.in_common, &self.common) {
            return None;
        }
        self.parked.fetch_add(1, Ordering::AcqRel);
        Some(QueuePermit { queue: Arc::clone(self), own: None })
    }

    /// Changes the room. Requests that are parked stay parked.
    pub fn set_room(&self, max: usize, zones: usize) {
        // The rest of an uneven split goes to the common room, so that the sum is `max`.
        let own = (max / 2).checked_div(zones).unwrap_or(0);
        // The two numbers need not change together: an entry in between finds a little more or less
        // room.
        self.own.store(own, Ordering::Relaxed);
        self.common.store(max - own * zones, Ordering::Relaxed);
    }

    /// Returns the number of parked requests.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }
}

/// Increments `count` unless it is `most`.
fn take(count: &AtomicUsize, most: &AtomicUsize) -> bool {
    let most = most.load(Ordering::Relaxed);
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            // More than `most` may be taken after `set_room` lowered it. Entries wait until enough
            // have left.
            (taken < most).then_some(taken + 1)
        })
        .is_ok()
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let count = self.own.as_ref().map_or(&self.queue.in_common, |zone| zone.permits());
        count.fetch_sub(1, Ordering::AcqRel);
        self.queue.parked.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Part, ZoneSettings};

    fn zone() -> Arc<Zone> {
        let (key, rate) = (Key::of(vec![Part::ClientIp]), "1r/s".parse().expect("a rate"));
        Arc::new(Zone::new(ZoneSettings {
            name: "z".into(),
            key,
            rate,
            capacity: 1,
            exempt: Vec::new(),
        }))
    }

    #[test]
    fn full_queue_takes_nobody_until_somebody_leaves() {
        let (queue, zone) = (Queue::with_room(1, 1), zone());
        let first = queue.enter(&zone);
        assert!(first.is_some());
        assert!(queue.enter(&zone).is_none());
        drop(first);
        assert_eq!(queue.parked(), 0);
        assert!(queue.enter(&zone).is_some());
    }

    #[test]
    fn request_that_no_zone_parks_takes_shared_room_only() {
        let (queue, zone) = (Queue::with_room(4, 1), zone());
        let shared: Vec<_> = (0..9).map_while(|_| queue.enter_common()).collect();
        assert_eq!((shared.len(), queue.parked()), (2, 2));
        assert!(queue.enter(&zone).is_some());
        drop(shared);
        assert_eq!(queue.parked(), 0);
    }

    #[test]
    fn smaller_room_sends_nobody_away() {
        let (queue, zone) = (Queue::with_room(2, 1), zone());
        let (_one, _two) = (queue.enter(&zone), queue.enter(&zone));
        queue.set_room(1, 1);
        assert_eq!(queue.parked(), 2);
        assert!(queue.enter(&zone).is_none());
    }

    #[test]
    fn crowd_in_one_zone_leaves_every_other_zone_its_own_room() {
        let (queue, crowded, calm) = (Queue::with_room(12, 3), zone(), zone());
        let crowd: Vec<_> = (0..20).map_while(|_| queue.enter(&crowded)).collect();
        assert_eq!(crowd.len(), 2 + 6, "its own share of a half, and all of the other half");
        let others: Vec<_> = (0..20).map_while(|_| queue.enter(&calm)).collect();
        assert_eq!(others.len(), 2);
        drop(crowd);
        assert_eq!(queue.parked(), 2);
        assert_eq!((0..20).map_while(|_| queue.enter(&calm)).collect::<Vec<_>>().len(), 6);
    }

    #[test]
    fn zone_made_anew_has_no_more_room_than_the_one_before() {
        let (queue, before) = (Queue::with_room(10, 1), zone());
        let permits: Vec<_> = (0..20).map_while(|_| queue.enter(&before)).collect();
        let settings = before.settings().clone();
        let after = Arc::new(Zone::new(settings).in_place_of(&before));
        assert_eq!((permits.len(), queue.enter(&after).is_none()), (10, true));
        drop(permits);
        assert_eq!((0..20).map_while(|_| queue.enter(&after)).collect::<Vec<_>>().len(), 10);
    }

    #[test]
    fn every_seat_is_somebodys_whatever_the_split() {
        for (max, zones) in [(0, 1), (1, 1), (7, 3), (10, 0), (3, 8)] {
            let (queue, zones) = (
                Queue::with_room(max, zones),
                (0..zones.max(1)).map(|_| zone()).collect::<Vec<_>>(),
            );
            let permits: Vec<_> =
                (0..40).filter_map(|turn| queue.enter(&zones[turn % zones.len()])).collect();
            assert_eq!(permits.len(), max, "{} zones", zones.len());
        }
    }
}
