//! Rejects: settings of a route over the general ones.

use crate::{
    config::schema::{RejectHeader, RejectSpec, RouteReject},
    proxy::reply::RejectSettings,
};

/// Resolves the form of the rejects of a route.
#[must_use]
pub fn settings(general: &RejectSpec, own: Option<&RouteReject>) -> RejectSettings {
    let mut settings = RejectSettings {
        status: own.map_or(general.status, |own| own.status),
        retry_after: false,
        proxy_status: false,
        ratelimit: false,
        body: general.body,
    };
    for header in &general.headers {
        match header {
            RejectHeader::RetryAfter => settings.retry_after = true,
            RejectHeader::ProxyStatus => settings.proxy_status = true,
            RejectHeader::Ratelimit => settings.ratelimit = true,
        }
    }
    settings
}
