//! Request as it crosses to the upstream: its fields, after the edits of the route.

use http::HeaderValue;

use super::{
    context::RequestContext,
    header_edits::{EditContext, Edits, query_with_mark},
    served_route::Route,
    verified_fields::VerifiedFields,
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::wants_trailers,
        forwarded::{Fields, ForwardedFields, Identity},
        header_list::HeaderList,
        target::Target,
    },
    log::record::Record,
    upstream::settings::{Protocol, UpstreamSettings},
};

/// Header fields of the request that cross to the upstream, before the route edits them.
pub fn crossing<'a>(
    received: &'a HeaderList,
    identity: &Identity<'a>,
    upgrade: Option<&'a HeaderValue>,
    upstream: &UpstreamSettings,
) -> ForwardedFields<'a> {
    let mut crossing = ForwardedFields::of(received, identity, upgrade);
    if upstream.protocol == Protocol::Http2 && wants_trailers(received) {
        crossing.accept_trailers();
    }
    crossing
}

/// Fields of the request after the edits of the route, with those that a service has set.
pub fn edited<'a, 'f>(
    crossing: ForwardedFields<'a>,
    verified: Option<&VerifiedFields>,
    edits: &Edits,
    facts: impl FnOnce() -> EditContext<'f>,
) -> Result<Fields<'a>, Error> {
    if edits.is_empty() && verified.is_none() {
        return Ok(Fields::Crossing(crossing));
    }
    let mut fields = crossing.to_list();
    if let Some(verified) = verified {
        verified.add_to(&mut fields);
    }
    edits.apply(&mut fields, &facts())?;
    Ok(Fields::Edited(fields))
}

/// Host sent to an upstream when an HTTP/1.0 request names none: that of the upstream. HTTP/2
/// requires one, and HTTP/1.1 servers refuse an empty one.
pub fn default_host(
    target: &Target,
    upstream: &UpstreamSettings,
) -> Result<Option<HeaderValue>, Error> {
    if target.authority.is_empty() { default_authority(upstream).map(Some) } else { Ok(None) }
}

#[cold]
fn default_authority(upstream: &UpstreamSettings) -> Result<HeaderValue, Error> {
    let Some(first) = upstream.endpoints.first() else {
        return Ok(HeaderValue::from_static(""));
    };
    let name = upstream.secure.as_ref().and_then(|secure| secure.server_name.clone());
    HeaderValue::from_str(&name.unwrap_or_else(|| first.authority())).map_err(|cause| {
        Error::caused(
            Kind::ProxyInternalError,
            "the endpoint's host is not a valid header value",
            cause,
        )
    })
}

/// Values of the placeholders of edits.
pub fn facts<'a>(
    target: &'a Target,
    route: &'a Route,
    visit: &RequestContext<'a>,
    record: &'a Record,
) -> EditContext<'a> {
    EditContext {
        client: record.entry.client,
        host: &target.host,
        path: target.path_and_query.path(),
        query: query_with_mark(&target.path_and_query),
        request_id: &record.entry.id,
        route: &route.name,
        scheme: visit.peer.transport.scheme(),
        tls_client: visit.peer.transport.client(),
        user: record.entry.verified_user(),
    }
}
