//! Upgrade of an HTTP/1.1 connection to another protocol: offer of the client, choice of the
//! endpoint.

use http::{HeaderValue, Version};
use http_body::Body;

use crate::{
    downstream::upload::RequestBody,
    http::{
        error::{Error, Kind},
        fields::{accepts_upgrade, upgrade_of},
        header_list::HeaderList,
        known_name::KnownName,
        message::RequestParts,
    },
};

/// Protocols that a request offers to switch to. Beside a body the offer is ignored, as a server
/// may do (RFC 9110, section 7.8): otherwise servers could disagree about where the body ends and
/// the new protocol begins.
pub fn offered(head: &RequestParts, body: &RequestBody) -> Option<HeaderValue> {
    let offers = head.version == Version::HTTP_11 && head.headers.contains(KnownName::Upgrade);
    if offers && body.is_end_stream() { upgrade_of(&head.headers) } else { None }
}

/// Protocol to which an endpoint switches, if it was offered.
#[cold]
pub fn agreed(headers: &HeaderList, wanted: Option<&HeaderValue>) -> Result<HeaderValue, Error> {
    let wanted = wanted.filter(|wanted| accepts_upgrade(headers, wanted));
    let protocol = wanted.and_then(|_| headers.get(KnownName::Upgrade));
    let protocol = protocol.and_then(|protocol| HeaderValue::from_bytes(protocol).ok());
    protocol.ok_or_else(|| {
        Error::new(Kind::HttpProtocolError, "the endpoint switched protocols without a request to")
    })
}
