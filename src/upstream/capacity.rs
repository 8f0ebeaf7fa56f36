//! Limit on the requests in progress at an address (`max_connections`), over all workers, and the
//! wait for room.
//!
//! Guarantees: the limit is never exceeded, and a request that ends frees its place, however it
//! ends. Requests that wait are served first come, first served: one that comes later does not pass
//! them. At most `queue.max` wait, each no longer than `queue.max_wait`. A reload keeps the counts.
//! `tests/edge/max_connections.rs` holds them.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::remote::Remote;

/// Places at the addresses of one upstream.
#[derive(Debug, Default)]
pub struct Capacity {
    /// Counts of all addresses with requests in progress, also of former ones, which may return.
    addresses: Mutex<Vec<(Remote, Weak<AddressCapacity>)>>,
    /// Wakes the first of those that wait.
    freed: Notify,
    waiting: AtomicUsize,
}

/// Places at one address.
#[derive(Debug)]
pub struct AddressCapacity {
    capacity: Arc<Capacity>,
    in_use: AtomicU32,
}

/// Request that waits, until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Waiting<'a> {
    capacity: &'a Capacity,
    /// True if none waited before it: then it may take a place that was freed meanwhile. Behind
    /// others it waits for its own wake, or it would take the place of the first.
    pub is_first: bool,
}

impl Capacity {
    /// Count of an address: that of requests in progress, if there are any.
    #[must_use]
    pub fn of(self: &Arc<Self>, remote: &Remote) -> Arc<AddressCapacity> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        // Former addresses without requests would add up while a name changes.
        addresses.retain(|(_, count)| count.strong_count() > 0);
        // One that is still in use counts on, whatever became of the endpoint that named it.
        let known = addresses.iter().find(|(known, _)| known == remote);
        if let Some(count) = known.and_then(|(_, count)| count.upgrade()) {
            return count;
        }
        let count = Arc::new(AddressCapacity { capacity: Arc::clone(self), in_use: 0.into() });
        addresses.push((remote.clone(), Arc::downgrade(&count)));
        count
    }

    /// Returns true if a request that comes now has to wait behind others.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Joins the line, if fewer than `max` wait.
    pub fn join(&self, max: usize) -> Option<Waiting<'_>> {
        let more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        // Check and increment are one step: requests of several workers join at the same time, and
        // the line must not become longer than its limit.
        let joined = self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        joined.ok().map(|before| Waiting { capacity: self, is_first: before == 0 })
    }

    /// Completes when a place may be free. Wakes are passed on in the order of the calls.
    #[must_use]
    pub fn freed(&self) -> &Notify {
        &self.freed
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A wake that it got and did not use goes on to the next one by itself (`Notified`).
        self.capacity.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Capacity {
    fn wake(&self) {
        // A wake without a waiting request would be kept, and wake a later one for nothing.
        // One wake for one place: the others in the line keep their order, and do not all look for
        // the same place.
        if self.has_waiting() {
            self.freed.notify_one();
        }
    }
}

impl AddressCapacity {
    /// Returns true if fewer than `max` requests are in progress.
    #[must_use]
    pub fn has_room(&self, max: u32) -> bool {
        self.in_use.load(Ordering::SeqCst) < max
    }

    /// Takes a place; false if `max` requests are in progress.
    #[must_use]
    pub fn enter(&self, max: u32) -> bool {
        let more = |in_use: u32| (in_use < max).then_some(in_use + 1);
        // Check and increment are one step, because workers share the count.
        self.in_use.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Frees a place.
    pub fn leave(&self) {
        // In this order, and a request joins the line before its last look at the count: so one of
        // the two sees the other, and no place stays free while one waits.
        self.in_use.fetch_sub(1, Ordering::SeqCst);
        self.capacity.wake();
    }
}

#[cfg(test)]
mod tests {
    use crate::upstream::capacity::*;

    fn remote(last: u8) -> Remote {
        Remote::Tcp(([10, 0, 0, last], 80).into())
    }

    #[test]
    fn capacity_is_counted_by_address_and_kept_while_it_is_in_use() {
        let capacity = Arc::new(Capacity::default());
        let one = capacity.of(&remote(1));
        assert!(one.enter(2) && one.enter(2) && !one.enter(2));
        assert!(capacity.of(&remote(2)).enter(1));
        let again = capacity.of(&remote(1));
        assert!(Arc::ptr_eq(&one, &again) && !again.has_room(2) && again.has_room(3));
        drop((one, again));
        assert!(capacity.of(&remote(1)).has_room(1));
    }

    #[test]
    fn line_takes_as_many_as_its_limit() {
        let capacity = Capacity::default();
        assert!(capacity.join(0).is_none() && !capacity.has_waiting());
        let first = capacity.join(1).expect("room");
        assert!(capacity.join(1).is_none());
        drop(first);
        assert!(capacity.join(1).is_some());
    }
}
