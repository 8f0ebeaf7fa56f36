//! One address of an endpoint, with its health.

use std::{net::SocketAddr, sync::Arc};

use super::{health::Health, settings::Endpoint};

/// Single address of an upstream.
#[derive(Debug)]
pub struct Address {
    endpoint: Arc<Endpoint>,
    socket: SocketAddr,
    label: Arc<str>,
    health: Health,
}

impl Address {
    /// Creates an address without a history.
    pub(super) fn new(endpoint: &Arc<Endpoint>, socket: SocketAddr) -> Arc<Self> {
        let label = socket.to_string().into();
        Arc::new(Self { endpoint: Arc::clone(endpoint), socket, label, health: Health::default() })
    }

    /// Endpoint of this address.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Address to connect to.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// Address as logged.
    #[must_use]
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Returns true if it should get requests.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }
}
