//! Request as its route asks about it, and its identity for those who are asked.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Version};

use super::context::RequestContext;
use crate::{
    access::networks::NetworkVerdict,
    http::{forwarded::Identity, request_id::RequestId, target::Target},
};

/// Request as it is asked about.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Standing of the client by its network.
    pub network: NetworkVerdict,
    /// Client address.
    pub client: IpAddr,
    /// Target of the request.
    pub target: &'a Target,
    /// True if the peer is a trusted proxy.
    pub trusted: bool,
    /// Name of a field that only a trusted proxy may send, beside those that weir knows.
    pub claim: Option<&'a HeaderName>,
}

/// Identity of a request, as the upstream learns it.
pub fn identity<'a>(
    version: Version,
    asking: &Asking<'a>,
    host: &'a HeaderValue,
    visit: &RequestContext<'a>,
    request_id: &'a RequestId,
) -> Identity<'a> {
    Identity {
        peer: &visit.peer.value,
        client: (asking.client != visit.peer.address).then_some(asking.client),
        trusted: asking.trusted,
        claim: asking.claim,
        authority: &asking.target.authority,
        host,
        version,
        scheme: visit.peer.transport.scheme(),
        request_id,
    }
}
