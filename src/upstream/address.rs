//! One address of an endpoint, with its health.

use std::sync::Arc;

use super::{
    capacity::{AddressCapacity, Capacity},
    health::Health,
    remote::Remote,
    settings::Endpoint,
};

/// Single address of an upstream.
#[derive(Debug)]
pub struct Address {
    endpoint: Arc<Endpoint>,
    remote: Remote,
    label: Arc<str>,
    health: Health,
    capacity: Option<Arc<AddressCapacity>>,
}

impl Address {
    /// Creates an address without a history.
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        remote: Remote,
        capacity: &Arc<Capacity>,
    ) -> Arc<Self> {
        let counted = endpoint.max_connections.is_some();
        Arc::new(Self {
            endpoint: Arc::clone(endpoint),
            label: remote.to_string().into(),
            health: Health::default(),
            capacity: counted.then(|| capacity.of(&remote)),
            remote,
        })
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

    /// Count of its requests in progress, and the limit on them, if there is one.
    #[must_use]
    pub fn capacity(&self) -> Option<(&AddressCapacity, u32)> {
        Some((self.capacity.as_deref()?, self.endpoint.max_connections?))
    }

    /// Returns true if it should get requests.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }
}
