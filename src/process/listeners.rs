//! Policies of the listeners, by the address they were configured with.
//!
//! Guarantee: a listener whose settings stay keeps its policy, and with it the TLS sessions its
//! clients may resume. The count of its connections continues whatever its settings. [`fit`]
//! changes nothing: new limits and certificates of policies in use wait for
//! [`ListenerUpdate::apply`].

use std::{collections::HashMap, sync::Arc};

use super::{fd_limit, start_error::StartError};
use crate::downstream::{
    connection_limits::ConnectionLimits,
    listen_address::ListenAddress,
    listener::ListenerPolicy,
    settings::ListenerSettings,
    tls::{RenewedCertificates, Tls},
};

/// Policies of a configuration; connections to an address without one are closed.
pub type ListenerMap = HashMap<ListenAddress, Arc<ListenerPolicy>>;

/// Policies of a new configuration, and the changes to those in use.
#[derive(Debug)]
pub struct ListenerUpdate {
    /// Policies by address.
    pub doors: Arc<ListenerMap>,
    grants: Vec<ListenerCaps>,
    renewals: Vec<(Arc<ListenerPolicy>, RenewedCertificates)>,
}

/// Connection limits of a listener.
#[derive(Debug)]
struct ListenerCaps {
    occupancy: Arc<ConnectionLimits>,
    most: usize,
    per_client: usize,
}

/// Builds the policies for these listeners; those of `before` that stay as they were are kept.
///
/// # Errors
/// When a certificate cannot be used.
pub fn fit(
    before: &ListenerMap,
    listeners: &[ListenerSettings],
) -> Result<ListenerUpdate, StartError> {
    let written: Vec<_> = listeners.iter().map(|settings| settings.max_connections).collect();
    let auto = fd_limit::connections(fd_limit::raised(), &written);
    let (mut doors, mut grants, mut renewals) =
        (ListenerMap::new(), Vec::<ListenerCaps>::new(), Vec::new());
    for settings in listeners {
        let (most, per_client) =
            (settings.max_connections.unwrap_or(auto), settings.max_connections_per_client);
        // A listener on both address families may now be two: only the first continues its count.
        let counted = |door: &&Arc<ListenerPolicy>| {
            grants.iter().any(|grant| Arc::ptr_eq(&grant.occupancy, &door.occupancy))
        };
        let kept = settings
            .addresses()
            // By any of its addresses: one that now listens on IPv6 too is still the same listener.
            .find_map(|address| before.get(&address))
            .filter(|door| !counted(door));
        // The count goes on under new settings, because the open connections do.
        let occupancy = kept.map(|door| Arc::clone(&door.occupancy));
        let occupancy =
            occupancy.unwrap_or_else(|| Arc::new(ConnectionLimits::new(most, per_client)));
        let door = match kept.filter(|door| door.serves(settings)) {
            Some(same) => {
                let renewed = same.tls.as_ref().map_or(Ok(None), Tls::reread);
                let renewed = renewed.map_err(|source| StartError::Tls {
                    address: settings.address.clone(),
                    source: source.into(),
                })?;
                renewals.extend(renewed.map(|renewed| (Arc::clone(same), renewed)));
                Arc::clone(same)
            }
            None => {
                let tls = settings.tls.clone().map(Tls::load).transpose();
                let tls = tls.map_err(|source| StartError::Tls {
                    address: settings.address.clone(),
                    source: source.into(),
                })?;
                Arc::new(ListenerPolicy::new(settings, tls, Arc::clone(&occupancy)))
            }
        };
        // Limits are applied by `apply`: this plan may still be dropped.
        grants.push(ListenerCaps { occupancy, most, per_client });
        doors.extend(settings.addresses().map(|address| (address, Arc::clone(&door))));
    }
    Ok(ListenerUpdate { doors: Arc::new(doors), grants, renewals })
}

impl ListenerUpdate {
    /// Applies the limits, and uses the certificates that were read again.
    pub fn apply(self) -> Arc<ListenerMap> {
        for ListenerCaps { occupancy, most, per_client } in self.grants {
            occupancy.grant(most, per_client);
        }
        for (door, renewed) in self.renewals {
            if let Some(tls) = &door.tls {
                tls.renew(renewed);
            }
        }
        self.doors
    }
}

/// Checks whether certificate files changed.
pub fn look(doors: &ListenerMap) {
    doors.values().filter_map(|door| door.tls.as_ref()).for_each(Tls::refresh);
}

/// Addresses that listeners listen on.
#[must_use]
pub fn addresses(listeners: &[ListenerSettings]) -> Vec<ListenAddress> {
    listeners.iter().flat_map(ListenerSettings::addresses).collect()
}
