//! Readers of one key share one query. Nobody gets the answer of a query that began before they came: it could be older than a
//! write they have already seen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The last answer under a key and when its query began; the lock is held while a query runs.
type Slot<T> = Arc<tokio::sync::Mutex<Option<(Instant, T)>>>;

/// The queries under way; empty when nobody reads.
#[derive(Debug)]
pub struct Flights<K, T>(Mutex<HashMap<K, Slot<T>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    /// The answer of a query that begins now or later, made by this caller or another one.
    pub async fn share(&self, key: &K, query: impl AsyncFnOnce(Instant) -> T) -> T {
        let came = Instant::now();
        let seat = self.board(key);
        let mut slot = seat.slot.lock().await;
        if let Some((began, answer)) = &*slot
            && *began >= came
        {
            return answer.clone();
        }
        let began = Instant::now();
        let answer = query(began).await;
        *slot = Some((began, answer.clone()));
        answer
    }

    fn board<'a>(&'a self, key: &'a K) -> Seat<'a, K, T> {
        let slot = Arc::clone(self.slots().entry(key.clone()).or_default());
        Seat { flights: self, key, slot }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<K, Slot<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place on a flight; the last to leave takes the slot away, also when they leave early.
struct Seat<'a, K: Clone + Eq + Hash, T: Clone> {
    flights: &'a Flights<K, T>,
    key: &'a K,
    slot: Slot<T>,
}

impl<K: Clone + Eq + Hash, T: Clone> Drop for Seat<'_, K, T> {
    fn drop(&mut self) {
        let mut slots = self.flights.slots();
        // The map's own and this one: nobody else can come while the map is locked.
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

    use super::Flights;

    #[tokio::test]
    async fn ten_readers_cost_two_queries_and_nobody_gets_the_one_already_under_way() {
        let flights = Flights::<&str, u32>::default();
        let (queries, begun, finish) = (AtomicU32::new(0), Notify::new(), Notify::new());
        let first = flights.share(&"k", async |_| {
            let number = queries.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            finish.notified().await;
            number
        });
        let late = async {
            begun.notified().await;
            let read = || flights.share(&"k", async |_| queries.fetch_add(1, Ordering::SeqCst));
            let end = async { finish.notify_one() };
            let (a, b, c, ()) = tokio::join!(read(), read(), read(), end);
            (a, b, c)
        };
        assert_eq!(tokio::join!(first, late), (0, (1, 1, 1)));
        assert_eq!(queries.load(Ordering::SeqCst), 2);
        assert!(flights.slots().is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_does_not_hold_up_the_others() {
        let flights = Flights::<&str, u32>::default();
        {
            let stuck = flights.share(&"k", async |_| std::future::pending().await);
            let mut stuck = std::pin::pin!(stuck);
            let poll = std::future::poll_fn(|context| std::task::Poll::Ready(stuck.as_mut().poll(context).is_pending()));
            assert!(poll.await);
        }
        assert_eq!(flights.share(&"k", async |_| 7).await, 7);
        assert!(flights.slots().is_empty());
    }
}
