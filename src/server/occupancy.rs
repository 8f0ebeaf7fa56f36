//! How many connections a listener has open, over all workers, and how many of these are one client's.
//!
//! Guarantees: never more than either limit; a connection that ends frees its place, however it ends; what is remembered of clients
//! is bounded by the connections that are open.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many bits of an IPv6 address make one client.
const IPV6_CLIENT: u128 = !0 << 64;

/// The connections of one listener.
#[derive(Debug)]
pub struct Occupancy {
    most: AtomicUsize,
    most_per_client: AtomicUsize,
    open: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The listener has all it takes.
    #[error("the listener has `max_connections` open")]
    Listener,
    /// The client has all it gets.
    #[error("the client has `max_connections_per_client` open")]
    Client,
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
#[must_use]
pub struct Place {
    occupancy: Arc<Occupancy>,
    client: Option<IpAddr>,
}

impl Occupancy {
    /// Room for so many connections, and for so many of one client.
    #[must_use]
    pub fn new(most: usize, most_per_client: usize) -> Self {
        let (most, most_per_client) = (AtomicUsize::new(most), AtomicUsize::new(most_per_client));
        Self { most, most_per_client, open: AtomicUsize::new(0), clients: Mutex::default() }
    }

    /// Grants other numbers from now on; connections that are open stay so.
    pub fn grant(&self, most: usize, most_per_client: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.most_per_client.store(most_per_client, Ordering::Relaxed);
    }

    /// Takes a place.
    ///
    /// # Errors
    /// When all are taken.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Full> {
        let more = |open: usize| (open < self.most.load(Ordering::Relaxed)).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full::Listener)?;
        Ok(Place { occupancy: Arc::clone(self), client: None })
    }
}

impl Place {
    /// Counts it for a client; for IPv6 that is its network of 64 bits.
    ///
    /// # Errors
    /// When the client has all it gets.
    pub fn belong_to(&mut self, client: IpAddr) -> Result<(), Full> {
        let client = unit(client);
        let mut clients = self.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_insert(0);
        if *count >= self.occupancy.most_per_client.load(Ordering::Relaxed) {
            return Err(Full::Client);
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.occupancy.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = clients.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn unit(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_CLIENT).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(occupancy: &Arc<Occupancy>, client: &str) -> Result<Place, Full> {
        let mut place = occupancy.enter()?;
        place.belong_to(client.parse().expect("an address"))?;
        Ok(place)
    }

    #[test]
    fn places_are_counted_and_freed() {
        let occupancy = Arc::new(Occupancy::new(3, 2));
        let (first, second) = (enter(&occupancy, "192.0.2.1"), enter(&occupancy, "::ffff:192.0.2.1"));
        assert_eq!(enter(&occupancy, "192.0.2.1").map(drop), Err(Full::Client));
        let third = enter(&occupancy, "192.0.2.2");
        assert_eq!(enter(&occupancy, "192.0.2.3").map(drop), Err(Full::Listener));
        drop((first, third));
        assert_eq!(enter(&occupancy, "192.0.2.1").map(drop), Ok(()));
        drop(second);
        assert_eq!((occupancy.open.load(Ordering::Relaxed), occupancy.clients.lock().expect("no panic").len()), (0, 0));
    }

    #[test]
    fn one_ipv6_network_of_64_bits_is_one_client() {
        let occupancy = Arc::new(Occupancy::new(10, 1));
        let _first = enter(&occupancy, "2001:db8::1").expect("a place");
        assert_eq!(enter(&occupancy, "2001:db8::ffff:1").map(drop), Err(Full::Client));
        assert_eq!(enter(&occupancy, "2001:db8:0:1::1").map(drop), Ok(()));
    }
}
