//! Servers of a verification, and the addresses that requests come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The two servers.
#[derive(Clone, Copy, Debug)]
pub struct ServerPair {
    /// nginx.
    pub old: SocketAddr,
    /// weir.
    pub new: SocketAddr,
}

/// Addresses that requests come from: another one each time where both servers are on this machine.
#[derive(Debug)]
pub struct Clients {
    is_local: bool,
    sent: u32,
}

impl Clients {
    /// Addresses for these servers.
    #[must_use]
    pub fn of(servers: ServerPair) -> Self {
        let is_local = [servers.old, servers.new].iter().all(|server| match server.ip() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(_) => false,
        });
        // Another beginning for each run, so that debts of the one before do not count.
        let sent = std::process::id().wrapping_mul(4_099) % (1 << 20);
        Self { is_local, sent }
    }

    /// Returns the next address to send from; none is the usual one.
    pub fn next_source(&mut self) -> Option<Ipv4Addr> {
        self.sent = (self.sent + 1) % (1 << 20);
        // 127.16.0.0/12, apart from what people use by hand.
        self.is_local.then(|| Ipv4Addr::from(0x7f10_0000 + self.sent))
    }

    /// Returns true if each client is a new one.
    #[must_use]
    pub fn are_new(&self) -> bool {
        self.is_local
    }
}
