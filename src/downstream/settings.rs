//! Resolved settings of listeners and client limits.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::settings::TlsSettings;
pub use crate::http::framing::HeaderLimits;

/// Address to listen on, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Address of the socket.
    pub address: SocketAddr,
    /// True to listen on the same port of all IPv6 addresses too, if the machine has IPv6: the
    /// address was written as a port alone.
    pub also_ipv6: bool,
    /// TLS, if required.
    pub tls: Option<TlsSettings>,
    /// Protocols of its clients.
    pub protocol: ClientProtocols,
    /// Port of the `https` redirect for every request, if any.
    pub redirect: Option<u16>,
    /// True if connections must begin with a PROXY header of a trusted proxy.
    pub proxy_protocol: bool,
    /// Limit on open connections; none for as many as descriptors allow.
    pub max_connections: Option<usize>,
    /// Limit on open connections of one client.
    pub max_connections_per_client: usize,
    /// Number of requests after which a connection is closed.
    pub max_requests: usize,
}

impl ListenerSettings {
    /// All addresses it listens on; the second is skipped if there is no IPv6.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let every_ipv6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.address.port()));
        [Some(self.address), self.also_ipv6.then_some(every_ipv6)].into_iter().flatten()
    }
}

/// Protocols of the clients of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientProtocols {
    // By ALPN with TLS, with prior knowledge without.
    /// HTTP/1.1 and HTTP/2.
    #[default]
    Auto,
    /// HTTP/1.1 only (nginx: `http2 off`).
    Http1,
}

/// Time-outs for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a whole request head, from its first byte or from the accept.
    pub header: Duration,
    /// Between two pieces of a request body.
    pub body: Duration,
    /// Between two requests.
    pub keepalive: Duration,
    /// Between two pieces of a response that the client takes.
    pub write: Duration,
    /// For all requests of a connection; the response in progress is still completed.
    pub connection: Duration,
}
