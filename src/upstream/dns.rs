//! Name resolution of endpoints, periodically and when a connection fails, never in the path of a
//! request.
//!
//! Guarantees: a name stands for all its addresses. A failing resolver changes nothing and is
//! logged once. A name is resolved at most every [`PAUSE`], by one task for the whole process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tower::{BoxError, ServiceExt, util::BoxCloneService};

use super::{
    endpoints::{EndpointGroup, Name},
    settings::Endpoint,
};

/// Service that resolves the addresses of an endpoint.
pub type Resolver = BoxCloneService<Arc<Endpoint>, Vec<SocketAddr>, BoxError>;

/// Shortest time between two queries for the same name.
pub const PAUSE: Duration = Duration::from_millis(250);

/// Resolver of the operating system.
#[must_use]
pub fn system() -> Resolver {
    tower::service_fn(|endpoint: Arc<Endpoint>| async move {
        let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await?;
        Ok(found.collect())
    })
    .boxed_clone()
}

/// Keeps the addresses of one name up to date, for as long as it is polled.
pub async fn keep(group: Arc<EndpointGroup>, name: Arc<Name>, resolver: Resolver) {
    let mut failing = false;
    loop {
        // No time-out: this task waits for nothing else, and requests keep the last addresses.
        match resolver.clone().oneshot(Arc::clone(&name.endpoint)).await {
            Ok(addresses) if !addresses.is_empty() => {
                failing = false;
                group.resolved(&name.endpoint, addresses);
            }
            outcome => {
                if !failing {
                    failing = true;
                    let (upstream, endpoint) = (&*group.settings().name, &*name.endpoint);
                    let error = outcome
                        .err()
                        .map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(%error, upstream, %endpoint, "cannot resolve upstream name; \
                        keeping its last addresses");
                }
                // Counts as a result: requests need not wait for the name any longer.
                group.unresolved(&name.endpoint);
            }
        }
        // Before the wait, so that failing connections cannot make it query without a pause.
        tokio::time::sleep(PAUSE).await;
        // Resolved either because it was due or because a request wanted it.
        let _ =
            tokio::time::timeout(group.settings().dns_refresh.saturating_sub(PAUSE), name.wanted())
                .await;
    }
}
