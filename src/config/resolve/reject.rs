//! Rejects: settings of a route over the general ones.

use crate::{
    config::schema::{RejectSpec, RouteReject},
    proxy::reject::RejectSettings,
};

/// Resolves the form of the rejects of a route. Fields are sent in one order, however they are
/// written.
#[must_use]
pub fn settings(general: &RejectSpec, own: Option<&RouteReject>) -> RejectSettings {
    let mut headers = general.headers.clone();
    // Two configurations that list the same fields are equal then, and a reload sees no change.
    headers.sort_unstable();
    headers.dedup();
    let status = own.map_or(general.status, |own| own.status);
    RejectSettings { status, headers, body: general.body }
}
