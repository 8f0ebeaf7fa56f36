//! Rejects of one key: the first few get a line each, the others are summed up.
//!
//! Guarantee: however fast a key is rejected, it costs at most `first` lines at first and then one each `every`; the memory is
//! bounded, and what finds no room in it is summed up under no key, never lost.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

/// The most keys that are told apart at a time.
const MOST_KEYS: usize = 4096;

/// Counts rejects by key.
#[derive(Debug)]
pub struct Sampler {
    first: u32,
    every: Duration,
    keys: HashMap<u64, Run>,
    crowd: u64,
    next: Duration,
}

#[derive(Debug)]
struct Run {
    logged: u32,
    unlogged: u64,
    zone: Arc<str>,
    client: IpAddr,
}

/// The rejects of a period that got no line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub rejects: u64,
    /// Of which zone and whom; nothing for those beyond 4096 keys.
    pub key: Option<(Arc<str>, IpAddr)>,
}

impl Sampler {
    /// A sampler that logs the first `first` rejects of a key and sums up the others each `every`.
    #[must_use]
    pub fn new(first: u32, every: Duration) -> Self {
        Self { first, every, keys: HashMap::new(), crowd: 0, next: Duration::MAX }
    }

    /// Whether a reject gets a line of its own.
    pub fn wants(&mut self, key: u64, zone: &Arc<str>, client: IpAddr, now: Duration) -> bool {
        self.next = self.next.min(now + self.every);
        if self.keys.len() >= MOST_KEYS && !self.keys.contains_key(&key) {
            self.crowd += 1;
            return false;
        }
        let fresh = || Run { logged: 0, unlogged: 0, zone: Arc::clone(zone), client };
        let run = self.keys.entry(key).or_insert_with(fresh);
        if run.logged < self.first {
            run.logged += 1;
            return true;
        }
        run.unlogged += 1;
        false
    }

    /// When the next sums are due; far away when there is nothing to sum up.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.next
    }

    /// The sums of the period that ends now. A key that was silent for a whole period starts anew.
    pub fn sum_up(&mut self, now: Duration) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.keys.retain(|_, run| {
            let rejects = std::mem::take(&mut run.unlogged);
            if rejects > 0 {
                summaries.push(Summary { rejects, key: Some((Arc::clone(&run.zone), run.client)) });
            }
            rejects > 0
        });
        let rejects = std::mem::take(&mut self.crowd);
        if rejects > 0 {
            summaries.push(Summary { rejects, key: None });
        }
        self.next = if self.keys.is_empty() { Duration::MAX } else { now + self.every };
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const EVERY: Duration = Duration::from_secs(10);

    fn reject(sampler: &mut Sampler, key: u64, at: u64) -> bool {
        sampler.wants(key, &"z".into(), CLIENT, Duration::from_secs(at))
    }

    #[test]
    fn the_first_few_are_logged_and_the_others_summed_up() {
        let mut sampler = Sampler::new(2, EVERY);
        assert_eq!(sampler.due(), Duration::MAX);
        let logged: Vec<bool> = (0..5).map(|_| reject(&mut sampler, 1, 3)).collect();
        assert_eq!(logged, [true, true, false, false, false]);
        assert_eq!(sampler.due(), Duration::from_secs(13));
        let key = Some(("z".into(), CLIENT));
        assert_eq!(sampler.sum_up(sampler.due()), [Summary { rejects: 3, key: key.clone() }]);
        assert!(!reject(&mut sampler, 1, 14));
        assert_eq!(sampler.sum_up(Duration::from_secs(23)), [Summary { rejects: 1, key }]);
        assert_eq!(sampler.sum_up(Duration::from_secs(33)), []);
        assert_eq!(sampler.due(), Duration::MAX);
        assert!(reject(&mut sampler, 1, 34));
    }

    #[test]
    fn a_crowd_of_keys_is_summed_up_together() {
        let mut sampler = Sampler::new(1, EVERY);
        let logged = (0..10_000).filter(|key| reject(&mut sampler, *key, 0)).count();
        assert_eq!(logged, MOST_KEYS);
        assert_eq!(sampler.sum_up(EVERY), [Summary { rejects: 10_000 - MOST_KEYS as u64, key: None }]);
    }
}
