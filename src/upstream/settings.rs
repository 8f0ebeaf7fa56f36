//! Resolved settings of an upstream.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{StatusCode, uri::PathAndQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{balance::Balance, remote::Remote, sticky::StickySettings};
use crate::http::framing::HeaderLimits;

/// Endpoint as written: an address, a Unix socket, or a name that stands for all its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Path of its Unix socket, if it has one; its host is `localhost` then.
    pub socket: Option<Arc<Path>>,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port of the endpoint.
    pub port: u16,
    /// Weight among the endpoints; each address of a name has the whole weight.
    pub weight: u32,
    /// True if it gets requests only while no other endpoint is available.
    pub backup: bool,
    /// Limit on the requests in progress at each of its addresses, if any.
    pub max_connections: Option<u32>,
    /// True if it was written with `https://`.
    pub tls: bool,
}

impl Endpoint {
    /// Endpoint at a host and port, without TLS and with the usual weight.
    #[must_use]
    pub fn at(host: String, port: u16) -> Self {
        Self {
            socket: None,
            host,
            port,
            weight: 1,
            backup: false,
            max_connections: None,
            tls: false,
        }
    }

    /// Endpoint at a Unix socket.
    #[must_use]
    pub fn on_socket(path: Arc<Path>) -> Self {
        Self { socket: Some(path), ..Self::at("localhost".to_owned(), 80) }
    }

    /// Address to connect to, unless the host is a name.
    #[must_use]
    pub fn address(&self) -> Option<Remote> {
        if let Some(path) = &self.socket {
            return Some(Remote::Unix(Arc::clone(path)));
        }
        let address: IpAddr = self.host.parse().ok()?;
        Some(Remote::Tcp(SocketAddr::new(address, self.port)))
    }

    /// Value of `Host` for a request that has none; `localhost` for a Unix socket, as in nginx.
    #[must_use]
    pub fn authority(&self) -> String {
        // The colon of an IPv6 address would be taken for that of the port (RFC 3986,
        // section 3.2.2).
        let bracket = self.host.contains(':');
        let (open, close) = if bracket { ("[", "]") } else { ("", "") };
        match &self.socket {
            Some(_) => self.host.clone(),
            None => format!("{open}{}{close}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => f.write_str(&self.authority()),
        }
    }
}

/// Protocol of endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    // By ALPN with TLS, with prior knowledge without.
    /// HTTP/2, as gRPC needs it (nginx: `grpc_pass`).
    Http2,
}

/// Resolved TLS settings for the endpoints of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureSettings {
    /// CA file for the certificates of endpoints; the public authorities if none is named.
    pub ca: Option<PathBuf>,
    /// Name in the certificates, if it is not the host of the endpoint.
    pub server_name: Option<String>,
    /// Certificate that weir shows.
    pub client: Option<ClientPair>,
    /// SHA-256 of the certificates of which an endpoint must show one; empty for any.
    pub fingerprints: Vec<Fingerprint>,
}

/// SHA-256 of a certificate in DER.
pub type Fingerprint = [u8; 32];

/// Files of a client certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPair {
    /// Certificate and its chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl SecureSettings {
    /// Files that are read, whose change replaces the TLS of an upstream.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.client.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        self.ca.iter().chain(pair).map(PathBuf::as_path)
    }
}

/// Version of the PROXY protocol that connections begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyHeader {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// Named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Name in the configuration and in logs.
    pub name: Arc<str>,
    /// Endpoints of the upstream.
    pub endpoints: Vec<Endpoint>,
    /// TLS settings, if TLS is used.
    pub secure: Option<SecureSettings>,
    /// Protocol of the endpoints.
    pub protocol: Protocol,
    /// Load balancing method.
    pub balance: Balance,
    /// Wait for room at an endpoint with `max_connections`.
    pub queue: QueueSettings,
    /// Cookie that leads a client back to its address, if any.
    pub sticky: Option<StickySettings>,
    /// Time in which the share of an address grows that has become available, if any.
    pub slow_start: Option<Duration>,
    /// Interval of name resolution.
    pub dns_refresh: Duration,
    /// Time-out of a connect.
    pub connect_timeout: Duration,
    /// Time-out from the end of the request to the first byte of the response.
    pub first_byte_timeout: Duration,
    /// Longest silence within a response.
    pub idle_timeout: Duration,
    /// Limits on the head of a response.
    pub response_limits: HeaderLimits,
    /// Idle connections kept per worker and address.
    pub keepalive_max_idle: usize,
    /// Time for which an idle connection is kept.
    pub keepalive_idle: Duration,
    /// PROXY header that connections begin with, if any.
    pub proxy_header: Option<ProxyHeader>,
    /// Limit on tries of a request, the first included.
    pub attempts: u32,
    /// Statuses of responses in place of which another address is asked.
    pub retry_statuses: Vec<StatusCode>,
    /// Time that a request of which nothing was sent waits for an endpoint that accepts
    /// connections.
    pub hold: Duration,
    /// Passive health checks by failed requests; none to disable them.
    pub passive: Option<PassiveSettings>,
    /// Active health probes; none to disable them.
    pub active: Option<ActiveSettings>,
}

impl UpstreamSettings {
    /// Scheme of its endpoints: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure.is_some() { "https" } else { "http" }
    }
}

/// Wait of requests for room at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Limit on the requests that wait; 0 to let none wait.
    pub max: usize,
    /// Longest wait.
    pub max_wait: Duration,
}

/// Conditions for ejecting an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveSettings {
    /// This many failures,
    pub failures: u32,
    /// within this time,
    pub window: Duration,
    /// eject it for this long.
    pub eject: Duration,
}

/// Settings of active probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSettings {
    /// Path to request.
    pub path: PathAndQuery,
    /// Time between probes.
    pub interval: Duration,
    /// Time-out for a response.
    pub timeout: Duration,
    /// Successes in a row after which a down address is up.
    pub healthy: u32,
    /// Failures in a row after which an up address is down.
    pub unhealthy: u32,
}
