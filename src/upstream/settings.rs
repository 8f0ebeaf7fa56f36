//! What an upstream is made of, as used.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::uri::PathAndQuery;

use super::{balance::Balance, tls::SecureSettings};
use crate::http::framing::HeaderLimits;

/// Where an upstream is, as written: an address, or a name that stands for all its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A host name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its share of the requests, beside the other endpoints'; each address of a name has the whole
    /// of it.
    pub weight: u32,
    /// Whether it was written with `https://`.
    pub tls: bool,
}

impl Endpoint {
    /// The address it is, unless it is a name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bracket = self.host.contains(':');
        let (open, close) = if bracket { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN where there is TLS, by prior knowledge where there is none.
    Http2,
}

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name in the configuration and in logs.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoints: Vec<Endpoint>,
    /// TLS to them, if that is spoken.
    pub secure: Option<SecureSettings>,
    /// What they speak.
    pub protocol: Protocol,
    /// How its addresses share the requests.
    pub balance: Balance,
    /// How often names are resolved anew.
    pub dns_refresh: Duration,
    /// How long it may take to open a connection.
    pub connect_timeout: Duration,
    /// How long it may take from the end of the request to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// The longest silence within an answer.
    pub idle_timeout: Duration,
    /// How large the head of a response may be.
    pub response_limits: HeaderLimits,
    /// Idle connections kept per worker and address.
    pub keepalive_max_idle: usize,
    /// How long an idle connection is kept.
    pub keepalive_idle: Duration,
    /// How often a request is tried at most, the first try included.
    pub attempts: u32,
    /// How long a request of which nothing was sent waits for an endpoint that takes connections.
    pub hold: Duration,
    /// How requests that fail tell whether an address is fit; nothing when they do not.
    pub passive: Option<PassiveSettings>,
    /// How probes tell; nothing when there are none.
    pub active: Option<ActiveSettings>,
}

impl UpstreamSettings {
    /// Scheme of its endpoints: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure.is_some() { "https" } else { "http" }
    }
}

/// When an address that fails is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveSettings {
    /// This many failures,
    pub failures: u32,
    /// within this time,
    pub window: Duration,
    /// eject it for this long.
    pub eject: Duration,
}

/// How addresses are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSettings {
    /// What is asked for.
    pub path: PathAndQuery,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Good answers in a row after which an address that was down is up.
    pub healthy: u32,
    /// Bad ones in a row after which one that was up is down.
    pub unhealthy: u32,
}
