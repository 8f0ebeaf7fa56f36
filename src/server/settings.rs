//! What is granted to clients, as used.

use std::{net::SocketAddr, time::Duration};

use super::tls::settings::TlsSettings;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub address: SocketAddr,
    /// TLS, if it is spoken here.
    pub tls: Option<TlsSettings>,
    /// Every request is sent to this port over `https`.
    pub redirect: Option<u16>,
}

pub use crate::framing::HeaderLimits;

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
}
