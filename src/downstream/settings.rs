//! What is granted to clients, as used.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::tls::settings::TlsSettings;
pub use crate::http::framing::HeaderLimits;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub address: SocketAddr,
    /// On the same port of every IPv6 address too, where the machine has IPv6: the address was
    /// written as a port alone.
    pub also_ipv6: bool,
    /// TLS, if it is spoken here.
    pub tls: Option<TlsSettings>,
    /// Every request is sent to this port over `https`.
    pub redirect: Option<u16>,
    /// Connections come from trusted proxies that say whose they are.
    pub proxy_protocol: bool,
    /// How many connections may be open; nothing for as many as descriptors allow.
    pub max_connections: Option<usize>,
    /// How many of these may be one client's.
    pub max_connections_per_client: usize,
    /// After how many requests a connection is closed.
    pub max_requests: usize,
}

impl ListenerSettings {
    /// All addresses it listens on; the second may be left out where there is no IPv6.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let every_ipv6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.address.port()));
        [Some(self.address), self.also_ipv6.then_some(every_ipv6)].into_iter().flatten()
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a whole request head, from its first byte or from the accept.
    pub header: Duration,
    /// Between two pieces of a request body.
    pub body: Duration,
    /// Between two requests.
    pub keepalive: Duration,
    /// Between two pieces of an answer it takes.
    pub write: Duration,
    /// For all requests of a connection; the answer under way is still given.
    pub connection: Duration,
}
