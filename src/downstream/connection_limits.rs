//! Connection limits of a listener over all workers: in total and per client.
//!
//! Guarantees: neither limit is exceeded. A connection that ends frees its permit, however it ends.
//! The memory about clients is bounded by the open connections.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Prefix of an IPv6 address that makes one client.
const IPV6_CLIENT: u128 = !0 << 64;

/// Connections of one listener.
#[derive(Debug)]
pub struct ConnectionLimits {
    most: AtomicUsize,
    most_per_client: AtomicUsize,
    open: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, Client>>,
}

/// Counts of a client while it has a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    open: usize,
    lingering: usize,
}

/// Limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Limit of the listener.
    #[error("the listener's `max_connections` is reached")]
    Listener,
    /// Limit of the client.
    #[error("the client's `max_connections_per_client` is reached")]
    Client,
}

/// Limit on lingering connections of one client.
pub const LINGERING_PER_CLIENT: usize = 8;

/// Permit for one connection, freed on drop.
#[derive(Debug)]
#[must_use]
pub struct ConnectionPermit {
    occupancy: Arc<ConnectionLimits>,
    client: Option<IpAddr>,
}

impl ConnectionLimits {
    /// Creates limits: in total and per client.
    #[must_use]
    pub fn new(most: usize, most_per_client: usize) -> Self {
        let (most, most_per_client) = (AtomicUsize::new(most), AtomicUsize::new(most_per_client));
        Self { most, most_per_client, open: AtomicUsize::new(0), clients: Mutex::default() }
    }

    /// Changes the limits from now on; open connections stay open.
    pub fn grant(&self, most: usize, most_per_client: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.most_per_client.store(most_per_client, Ordering::Relaxed);
    }

    /// Takes a permit.
    ///
    /// # Errors
    /// When all are taken.
    pub fn enter(self: &Arc<Self>) -> Result<ConnectionPermit, Full> {
        let more = |open: usize| (open < self.most.load(Ordering::Relaxed)).then_some(open + 1);
        self.open
            // Check and increment are one step, because workers share the limit. The counter guards
            // no other memory, so `Relaxed` is enough.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| Full::Listener)?;
        Ok(ConnectionPermit { occupancy: Arc::clone(self), client: None })
    }
}

impl ConnectionPermit {
    /// Counts the connection for a client; for IPv6 that is its /64 network.
    ///
    /// # Errors
    /// When the limit of the client is reached.
    pub fn belong_to(&mut self, client: IpAddr) -> Result<(), Full> {
        let client = unit(client);
        let mut clients = self.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // The limit is at least one, so a client that is refused has an entry with a connection
        // already. No entry is left behind.
        let entry = clients.entry(client).or_default();
        if entry.open >= self.occupancy.most_per_client.load(Ordering::Relaxed) {
            return Err(Full::Client);
        }
        entry.open += 1;
        self.client = Some(client);
        Ok(())
    }

    /// Limit on the connections of the listener.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.occupancy.most.load(Ordering::Relaxed)
    }

    /// Counts the connection as lingering; a client has at most [`LINGERING_PER_CLIENT`] of these.
    /// A trusted proxy carries the connections of many clients and has no such limit.
    #[must_use]
    pub fn linger(&self) -> Option<ClientPermit<'_>> {
        // Not counted for a client: the peer is a trusted proxy.
        let Some(client) = self.client else { return Some(ClientPermit { place: self }) };
        let mut clients = self.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let entry =
            clients.get_mut(&client).filter(|entry| entry.lingering < LINGERING_PER_CLIENT)?;
        entry.lingering += 1;
        Some(ClientPermit { place: self })
    }
}

/// Permit for one lingering connection of a client, freed on drop.
#[derive(Debug)]
#[must_use]
pub struct ClientPermit<'a> {
    place: &'a ConnectionPermit,
}

impl Drop for ClientPermit<'_> {
    fn drop(&mut self) {
        let Some(client) = self.place.client else { return };
        let mut clients =
            self.place.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = clients.get_mut(&client) {
            entry.lingering -= 1;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.occupancy.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.occupancy.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = clients.entry(client) {
            count.get_mut().open -= 1;
            // Addresses that are not connected must not take memory: an attacker has many.
            if count.get().open == 0 {
                count.remove();
            }
        }
    }
}

fn unit(client: IpAddr) -> IpAddr {
    // A mapped address, for instance from a PROXY header, is an IPv4 client. All of them would
    // otherwise share one /64.
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_CLIENT).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use crate::downstream::connection_limits::*;

    fn enter(occupancy: &Arc<ConnectionLimits>, client: &str) -> Result<ConnectionPermit, Full> {
        let mut place = occupancy.enter()?;
        place.belong_to(client.parse().expect("an address"))?;
        Ok(place)
    }

    #[test]
    fn places_are_counted_and_freed() {
        let occupancy = Arc::new(ConnectionLimits::new(3, 2));
        let (first, second) =
            (enter(&occupancy, "192.0.2.1"), enter(&occupancy, "::ffff:192.0.2.1"));
        assert_eq!(enter(&occupancy, "192.0.2.1").map(drop), Err(Full::Client));
        let third = enter(&occupancy, "192.0.2.2");
        assert_eq!(enter(&occupancy, "192.0.2.3").map(drop), Err(Full::Listener));
        drop((first, third));
        assert_eq!(enter(&occupancy, "192.0.2.1").map(drop), Ok(()));
        drop(second);
        assert_eq!(
            (
                occupancy.open.load(Ordering::Relaxed),
                occupancy.clients.lock().expect("no panic").len()
            ),
            (0, 0)
        );
    }

    #[test]
    fn one_ipv6_network_of_64_bits_is_one_client() {
        let occupancy = Arc::new(ConnectionLimits::new(10, 1));
        let _first = enter(&occupancy, "2001:db8::1").expect("a place");
        assert_eq!(enter(&occupancy, "2001:db8::ffff:1").map(drop), Err(Full::Client));
        assert_eq!(enter(&occupancy, "2001:db8:0:1::1").map(drop), Ok(()));
    }

    #[test]
    fn seats_to_linger_are_counted_and_freed() {
        let occupancy = Arc::new(ConnectionLimits::new(100, 100));
        let places: Vec<_> =
            (0..20).map(|_| enter(&occupancy, "192.0.2.1").expect("a place")).collect();
        let mut permits: Vec<_> = places.iter().filter_map(ConnectionPermit::linger).collect();
        assert_eq!(permits.len(), LINGERING_PER_CLIENT);
        let other = enter(&occupancy, "192.0.2.2").expect("a place");
        assert!(other.linger().is_some());
        permits.truncate(3);
        assert_eq!(
            places.iter().filter_map(ConnectionPermit::linger).collect::<Vec<_>>().len(),
            LINGERING_PER_CLIENT - 3
        );
        // The connections of a trusted proxy belong to many clients.
        let proxy = occupancy.enter().expect("a place");
        assert_eq!((0..20).filter_map(|_| proxy.linger()).collect::<Vec<_>>().len(), 20);
        drop(permits);
        drop((places, other, proxy));
        assert!(occupancy.clients.lock().expect("no panic").is_empty());
    }
}
