//! One address of an endpoint, with its health.

use std::sync::Arc;

use super::{health::Health, remote::Remote, settings::Endpoint};

/// Single address of an upstream.
#[derive(Debug)]
pub struct Address {
    endpoint: Arc<Endpoint>,
    remote: Remote,
    label: Arc<str>,
    health: Health,
}

impl Address {
    /// Creates an address without a history.
    pub(super) fn new(endpoint: &Arc<Endpoint>, remote: Remote) -> Arc<Self> {
        let label = remote.to_string().into();
        Arc::new(Self { endpoint: Arc::clone(endpoint), remote, label, health: Health::default() })
    }

    /// Endpoint of this address.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Address to connect to.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
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
