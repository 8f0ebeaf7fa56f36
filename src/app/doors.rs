//! What each listener asks of connections, by the address it was configured with.
//!
//! Guarantee: a listener whose settings stay keeps its door, and with it the sessions its clients may resume; its connections are
//! counted on, whatever its settings.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::{StartError, descriptors};
use crate::server::{listener::Door, occupancy::Occupancy, settings::ListenerSettings, tls::Tls};

/// The doors of a configuration; connections to an address without one are closed.
pub type Doors = HashMap<SocketAddr, Arc<Door>>;

/// The doors these listeners ask for; those of `before` that stay as they were are kept.
///
/// # Errors
/// When a certificate cannot be used.
pub fn fit(before: &Doors, listeners: &[ListenerSettings]) -> Result<Doors, StartError> {
    let files = descriptors::raised();
    let door = |settings: &ListenerSettings| {
        let address = settings.address;
        let most = settings.max_connections.unwrap_or_else(|| descriptors::connections(files));
        let per_client = settings.max_connections_per_client;
        let known = before.get(&address).map(|door| Arc::clone(&door.occupancy));
        let occupancy = known.unwrap_or_else(|| Arc::new(Occupancy::new(most, per_client)));
        occupancy.grant(most, per_client);
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
