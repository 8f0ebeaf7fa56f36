//! Readers of one key share one query. No reader gets the result of a query that began before it
//! came: it could be older than a write it has already seen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The last result under a key and when its query began; the lock is held while a query runs.
type Slot<T> = Arc<tokio::sync::Mutex<Option<(Instant, T)>>>;

/// Queries in progress; empty when there is no reader.
#[derive(Debug)]
pub struct SingleFlight<K, T>(Mutex<HashMap<K, Slot<T>>>);

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// Returns the result of a query that begins now or later, made by this caller or another one.
    pub async fn run(&self, key: &K, query: impl AsyncFnOnce(Instant) -> T) -> T {
        // Before the wait for the lock: only a query that began after this instant is new enough.
        let arrived = Instant::now();
        let waiter = self.join(key);
        let mut slot = waiter.slot.lock().await;
        if let Some((began, result)) = &*slot
            && *began >= arrived
        {
            return result.clone();
        }
        // A caller that leaves drops the lock, and the next one runs the query itself.
        let began = Instant::now();
        let result = query(began).await;
        *slot = Some((began, result.clone()));
        result
    }

    fn join<'a>(&'a self, key: &'a K) -> Waiter<'a, K, T> {
        let slot = Arc::clone(self.slots().entry(key.clone()).or_default());
        Waiter { flights: self, key, slot }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<K, Slot<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller of a query; the last to leave removes the slot, also when it leaves early.
struct Waiter<'a, K: Clone + Eq + Hash, T: Clone> {
    flights: &'a SingleFlight<K, T>,
    key: &'a K,
    slot: Slot<T>,
}

impl<K: Clone + Eq + Hash, T: Clone> Drop for Waiter<'_, K, T> {
    fn drop(&mut self) {
        let mut slots = self.flights.slots();
        // The map's own and this one: no other reader can come while the map is locked.
        if let Entry::Occupied(entry) = slots.entry(self.key.clone())
            && Arc::strong_count(entry.get()) <= 2
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::SingleFlight;

    #[tokio::test]
    async fn single_flight_ten_readers_cost_two_queries_and_none_gets_the_one_under_way() {
        let flights = SingleFlight::<&str, u32>::default();
        let (queries, begun, finish) = (AtomicU32::new(0), Notify::new(), Notify::new());
        let first = flights.run(&"k", async |_| {
            let number = queries.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            finish.notified().await;
            number
        });
        let late = async {
            begun.notified().await;
            let read = || flights.run(&"k", async |_| queries.fetch_add(1, Ordering::SeqCst));
            let end = async { finish.notify_one() };
            let (a, b, c, ()) = tokio::join!(read(), read(), read(), end);
            (a, b, c)
        };
        assert_eq!(tokio::join!(first, late), (0, (1, 1, 1)));
        assert_eq!(queries.load(Ordering::SeqCst), 2);
        assert!(flights.slots().is_empty());
    }

    #[tokio::test]
    async fn single_flight_reader_that_leaves_holds_no_other_up() {
        let flights = SingleFlight::<&str, u32>::default();
        {
            let stuck = flights.run(&"k", async |_| std::future::pending().await);
            let mut stuck = std::pin::pin!(stuck);
            let poll = std::future::poll_fn(|context| {
                std::task::Poll::Ready(stuck.as_mut().poll(context).is_pending())
            });
            assert!(poll.await);
        }
        assert_eq!(flights.run(&"k", async |_| 7).await, 7);
        assert!(flights.slots().is_empty());
    }
}
