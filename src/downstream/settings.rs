//! Resolved settings of listeners and client limits.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{listen_address::ListenAddress, tls::settings::TlsSettings};
pub use crate::http::framing::HeaderLimits;

/// Address to listen on, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Address of the socket.
    pub address: ListenAddress,
    /// Permissions of the file of a Unix socket.
    pub file: SocketFileSettings,
    /// True to listen on the same port of all IPv6 addresses too, if the machine has IPv6: the
    /// address was written as a port alone.
    pub also_ipv6: bool,
    /// TLS, if required.
    pub tls: Option<TlsSettings>,
    /// Protocols of its clients.
    pub protocol: ClientProtocols,
    /// Port of the `https` redirect for every request, if any.
    pub redirect: Option<u16>,
    /// Directory of the files for ACME challenges, if any.
    pub http01: Option<PathBuf>,
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
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> + use<> {
        let every_ipv6 = |of: SocketAddr| SocketAddr::from((Ipv6Addr::UNSPECIFIED, of.port()));
        let second = self.address.tcp().filter(|_| self.also_ipv6).map(every_ipv6);
        [Some(self.address.clone()), second.map(ListenAddress::Tcp)].into_iter().flatten()
    }
}

/// Permissions of the file of a Unix socket: who may write to it may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFileSettings {
    /// Mode of the file.
    pub mode: u32,
    /// Owner, if it is not the user of the process.
    pub owner: FileOwner,
}

/// Owner of a file; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOwner {
    /// Number of the user.
    pub user: Option<u32>,
    /// Number of the group.
    pub group: Option<u32>,
}

impl SocketFileSettings {
    /// Mode of a file for its owner alone.
    pub const PRIVATE: u32 = 0o600;
}

impl Default for SocketFileSettings {
    fn default() -> Self {
        Self { mode: Self::PRIVATE, owner: FileOwner::default() }
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
