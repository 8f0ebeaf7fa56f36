//! The cap on parked requests: over all zones and all workers, one number.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts parked requests up to a limit.
#[derive(Debug)]
pub struct Queue {
    max: AtomicUsize,
    parked: AtomicUsize,
}

/// One parked request; its seat is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping a seat frees it"]
pub struct Seat(Arc<Queue>);

impl Queue {
    /// A queue with room for `max` requests.
    #[must_use]
    pub fn with_room(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), parked: AtomicUsize::new(0) })
    }

    /// Takes a seat, if there is one.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Seat> {
        let max = self.max.load(Ordering::Relaxed);
        let taken =
            self.parked.fetch_update(Ordering::AcqRel, Ordering::Acquire, |parked| (parked < max).then_some(parked + 1));
        taken.ok().map(|_| Seat(Arc::clone(self)))
    }

    /// Changes the limit; who is parked stays parked.
    pub fn set_room(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many requests are parked now.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_nobody_until_somebody_leaves() {
        let queue = Queue::with_room(1);
        let first = queue.enter();
        assert!(first.is_some());
        assert!(queue.enter().is_none());
        drop(first);
        assert_eq!(queue.parked(), 0);
        assert!(queue.enter().is_some());
    }

    #[test]
    fn a_smaller_room_sends_nobody_away() {
        let queue = Queue::with_room(2);
        let (_one, _two) = (queue.enter(), queue.enter());
        queue.set_room(1);
        assert_eq!(queue.parked(), 2);
        assert!(queue.enter().is_none());
    }
}
