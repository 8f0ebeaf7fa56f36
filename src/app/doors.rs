//! What each listener asks of connections, by the address it was configured with.
//!
//! Guarantee: a listener whose settings stay keeps its door, and with it the sessions its clients may resume; its connections are
//! counted on, whatever its settings.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::{StartError, descriptors};
use crate::server::{listener::Door, settings::ListenerSettings, tls::Tls};

/// The doors of a configuration; an address without one is served in the open.
pub type Doors = HashMap<SocketAddr, Arc<Door>>;

/// The doors these listeners ask for; those of `before` that stay as they were are kept.
///
/// # Errors
/// When a certificate cannot be used.
pub fn fit(before: &Doors, listeners: &[ListenerSettings]) -> Result<Doors, StartError> {
    let files = descriptors::raised();
    let door = |settings: &ListenerSettings| {
        let address = settings.address;
        let occupancy = before.get(&address).map(|door| Arc::clone(&door.occupancy)).unwrap_or_default();
        let most = settings.max_connections.unwrap_or_else(|| descriptors::connections(files));
        occupancy.grant(most, settings.max_connections_per_client);
        if let Some(same) = before.get(&address).filter(|door| door.serves(settings)) {
            return Ok((address, Arc::clone(same)));
        }
        let tls = settings.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(|source| StartError::Tls { address, source: source.into() })?;
        Ok((address, Arc::new(Door::new(settings, tls, occupancy))))
    };
    listeners.iter().map(door).collect()
}

/// Looks whether files of certificates changed.
pub fn look(doors: &Doors) {
    doors.values().filter_map(|door| door.tls.as_ref()).for_each(Tls::refresh);
}
