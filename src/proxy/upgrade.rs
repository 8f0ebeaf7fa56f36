//! Upgrade of an HTTP/1.1 connection to another protocol: offer of the client, choice of the
//! endpoint.

use http::{HeaderValue, Response, Version, header, request::Parts};
use http_body::Body;

use crate::{
    downstream::upload::RequestBody,
    http::{
        error::{Error, Kind},
        fields::{accepts_upgrade, upgrade_of},
    },
};

/// Protocols that a request offers to switch to. Beside a body the offer is ignored, as a server
/// may do (RFC 9110, section 7.8): otherwise servers could disagree about where the body ends and
/// the new protocol begins.
pub fn offered(head: &Parts, body: &RequestBody) -> Option<HeaderValue> {
    let offers = head.version == Version::HTTP_11 && head.headers.contains_key(header::UPGRADE);
    if offers && body.is_end_stream() { upgrade_of(&head.headers) } else { None }
}

/// Protocol to which an endpoint switches, if it was offered.
pub fn agreed<B>(
    response: &Response<B>,
    wanted: Option<&HeaderValue>,
) -> Result<HeaderValue, Error> {
    let wanted = wanted.filter(|wanted| accepts_upgrade(response.headers(), wanted));
    let protocol = wanted.and_then(|_| response.headers().get(header::UPGRADE).cloned());
    protocol.ok_or_else(|| {
        Error::new(Kind::HttpProtocolError, "the endpoint switched protocols without a request to")
    })
}
