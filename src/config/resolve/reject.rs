//! Rejects: settings of a route over the general ones.

use crate::{
    config::schema::{RejectBody as Body, RejectHeader, RejectSpec, RouteReject},
    proxy::reply::{RejectBody, RejectSettings},
};

/// Resolves the form of the rejects of a route.
#[must_use]
pub fn settings(general: &RejectSpec, own: Option<&RouteReject>) -> RejectSettings {
    let has = |header| general.headers.contains(&header);
    RejectSettings {
        status: own.map_or(general.status, |own| own.status),
        retry_after: has(RejectHeader::RetryAfter),
        proxy_status: has(RejectHeader::ProxyStatus),
        ratelimit: has(RejectHeader::Ratelimit),
        body: match general.body {
            Body::Auto => RejectBody::Auto,
            Body::Problem => RejectBody::Problem,
            Body::Html => RejectBody::Html,
            Body::Text => RejectBody::Text,
            Body::None => RejectBody::None,
        },
    }
}
