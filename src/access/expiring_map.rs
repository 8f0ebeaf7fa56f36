//! Bounded memory of verdicts that expire.
//!
//! Guarantee: it never has more than its number of entries. When it is full the oldest one goes.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::keyed_digest::Digest;

/// Values by the digest of what they stand for.
#[derive(Debug)]
pub struct ExpiringMap<V> {
    most: usize,
    entries: HashMap<Digest, (Instant, V)>,
    /// Entries in the order they came, each with the end of its time. One that was replaced since
    /// has another end.
    order: VecDeque<(Instant, Digest)>,
}

impl<V> ExpiringMap<V> {
    /// Creates an empty map for at most this many entries.
    #[must_use]
    pub fn with_room(most: usize) -> Self {
        Self { most, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// Value of a key whose time has not ended.
    #[must_use]
    pub fn get(&self, key: &Digest, now: Instant) -> Option<&V> {
        self.entries.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    /// Keeps a value until this time.
    pub fn insert(&mut self, key: Digest, value: V, until: Instant, now: Instant) {
        let is_over = |(until, _): &(Instant, Digest)| *until <= now;
        while self.order.len() >= self.most || self.order.front().is_some_and(is_over) {
            let Some((until, oldest)) = self.order.pop_front() else { return };
            if self.entries.get(&oldest).is_some_and(|(other, _)| *other == until) {
                self.entries.remove(&oldest);
            }
        }
        self.order.push_back((until, key));
        self.entries.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::access::expiring_map::*;

    #[test]
    fn entry_ends_with_its_time_and_the_oldest_goes_first() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut map = ExpiringMap::with_room(2);
        map.insert([1; 32], 'a', at(5), start);
        assert_eq!(map.get(&[1; 32], at(4)), Some(&'a'));
        assert_eq!(map.get(&[1; 32], at(5)), None);
        map.insert([2; 32], 'b', at(9), at(1));
        map.insert([3; 32], 'c', at(9), at(1));
        assert_eq!(map.get(&[1; 32], at(2)), None, "no room for three");
        assert_eq!((map.get(&[2; 32], at(2)), map.get(&[3; 32], at(2))), (Some(&'b'), Some(&'c')));
    }

    #[test]
    fn replaced_entry_lives_until_its_new_end_and_memory_is_bounded() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut map = ExpiringMap::with_room(3);
        map.insert([1; 32], 1, at(5), start);
        map.insert([1; 32], 2, at(8), at(3));
        map.insert([2; 32], 3, at(9), at(6));
        assert_eq!(map.get(&[1; 32], at(7)), Some(&2));
        for number in 0..100 {
            map.insert([number; 32], 0, at(1000), at(10));
            assert!(map.entries.len() <= 3 && map.order.len() <= 3);
        }
    }
}
