//! Header fields of a forwarded request: those of the client that may cross, and those that weir
//! adds.
//!
//! Guarantees: framing and hop-by-hop fields never cross, nor any field that `Connection` names
//! (RFC 9110, section 7.6.1). There is exactly one `Host`. Fields about the client come from weir
//! or from a trusted proxy, never from the client. All other fields keep their order and lines.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, uri::PathAndQuery};

use super::{
    fields::{Hidden, address_value, alike, is_lookalike, trailer_that_may_cross, with_lower},
    forwarding_names::is_claim,
    header_list::{FieldLine, HeaderList, write_known_line},
    known_name::KnownName,
    request_id::{Digits, RequestId},
};

/// Identity of a request, as reported to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Socket peer, as a field value.
    pub peer: &'a HeaderValue,
    /// Client address, if it is not the peer.
    pub client: Option<IpAddr>,
    /// True if the peer is a trusted proxy: its forwarding fields are extended, not replaced.
    pub trusted: bool,
    /// Further field that only a trusted proxy may send.
    pub claim: Option<&'a HeaderName>,
    /// Requested host with its port; empty if the request names none.
    pub authority: &'a HeaderValue,
    /// Host that is sent: the requested one, or that of the upstream if there is none.
    pub host: &'a HeaderValue,
    /// HTTP version of the received request.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Request id, which is that of a trusted proxy if it sent one.
    pub request_id: &'a RequestId,
}

/// Forwarded request, without its body and framing.
#[derive(Debug)]
pub struct Outbound<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a PathAndQuery,
    /// Header fields.
    pub fields: Fields<'a>,
}

/// Header fields of a forwarded request.
#[derive(Debug)]
pub enum Fields<'a> {
    /// Fields that cross, without edits.
    Crossing(ForwardedFields<'a>),
    /// Fields after the edits of a route.
    Edited(HeaderList),
}

impl Fields<'_> {
    /// Writes every line.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Crossing(crossing) => crossing.write(out),
            Self::Edited(fields) => fields.write(out),
        }
    }

    /// Fields that contain all unchanged ones: as received, or as edited.
    #[must_use]
    pub fn unchanged(&self) -> &HeaderList {
        match self {
            Self::Crossing(crossing) => crossing.received,
            Self::Edited(fields) => fields,
        }
    }

    /// Copies all of them into the form that the HTTP/2 client takes.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        match self {
            Self::Crossing(crossing) => crossing.to_list().to_map(),
            Self::Edited(fields) => fields.to_map(),
        }
    }
}

/// Received fields that cross, and fields that weir adds or replaces. Nothing is copied.
#[derive(Debug)]
pub struct ForwardedFields<'a> {
    received: &'a HeaderList,
    identity: Identity<'a>,
    hidden: Hidden,
    /// Protocols that the request offers to switch to.
    upgrade: Option<&'a HeaderValue>,
    /// True if the endpoint learns that the client accepts trailers.
    te: bool,
}

impl<'a> ForwardedFields<'a> {
    /// Selects the fields that cross, with an offer to switch to `upgrade`.
    #[must_use]
    pub fn of(
        received: &'a HeaderList,
        identity: &Identity<'a>,
        upgrade: Option<&'a HeaderValue>,
    ) -> Self {
        Self { received, identity: *identity, hidden: Hidden::by(received), upgrade, te: false }
    }

    /// Adds that the client accepts trailers.
    pub fn accept_trailers(&mut self) {
        self.te = true;
    }

    /// Visits every field that weir adds or replaces, `Host` first.
    fn each_told(&self, mut put: impl FnMut(KnownName, &[u8])) {
        let identity = &self.identity;
        // Only a request of HTTP/1.0 may name no host.
        let (peer, named) = (identity.peer.as_bytes(), !identity.authority.is_empty());
        // `Host` first, as RFC 9110, section 7.2, asks for.
        put(KnownName::Host, identity.host.as_bytes());
        // Usually the client is the peer, whose value was made once for the connection.
        match identity.client {
            Some(client) => put(KnownName::XRealIp, address_value(client).as_bytes()),
            None => put(KnownName::XRealIp, peer),
        }
        // The list of a stranger is dropped: an endpoint that trusts it would see an invented client.
        if identity.trusted {
            self.put_list(KnownName::XForwardedFor, peer, &mut put);
        } else {
            put(KnownName::XForwardedFor, peer);
        }
        if !self.is_told(KnownName::XForwardedProto) {
            put(KnownName::XForwardedProto, identity.scheme.as_bytes());
        }
        // A default is not what the client asked for, so it is not reported as that.
        if named && !self.is_told(KnownName::XForwardedHost) {
            put(KnownName::XForwardedHost, identity.authority.as_bytes());
        }
        put(KnownName::XRequestId, identity.request_id.text(&mut Digits::default()));
        self.put_list(KnownName::Via, passed_here(identity.version), &mut put);
        // Received hop-by-hop fields are dropped, so the offer of this hop is made here.
        if let Some(protocols) = self.upgrade {
            put(KnownName::Connection, b"upgrade");
            put(KnownName::Upgrade, protocols.as_bytes());
        }
        if self.te {
            put(KnownName::Te, b"trailers");
        }
    }

    /// Returns true if a trusted proxy has set the field.
    fn is_told(&self, name: KnownName) -> bool {
        // A field that `Connection` names is dropped, so it counts as missing.
        let is_set = self.identity.trusted && self.received.contains(name);
        is_set && !self.hidden.hides_all(self.received, name)
    }

    /// Visits a list field with one element more, however it was split into lines.
    fn put_list(&self, name: KnownName, element: &[u8], put: &mut impl FnMut(KnownName, &[u8])) {
        if !self.received.contains(name) {
            return put(name, element);
        }
        // Lines are joined in order, because the order of a list has a meaning (RFC 9110, section 5.3).
        let mut list: Vec<&[u8]> = self.received.get_all(name).collect();
        list.push(element);
        put(name, &list.join(&b", "[..]));
    }

    /// Trailers that the request announces and that may cross.
    fn trailers(&self) -> impl Iterator<Item = HeaderValue> {
        self.received.get_all(KnownName::Trailer).filter_map(trailer_that_may_cross)
    }

    fn crosses(&self, index: usize, field: &FieldLine<'_>) -> bool {
        crosses(field, self.identity.trusted)
            && !self.hidden.hides(index)
            && self.identity.claim.is_none_or(|claim| self.may_claim(claim, field))
    }

    /// Returns true unless a server may read the field as the claim and no trusted proxy sent it.
    fn may_claim(&self, claim: &HeaderName, field: &FieldLine<'_>) -> bool {
        let claim = claim.as_str().as_bytes();
        // A proxy writes the name as it is. Any other spelling went through it unseen.
        !alike(field.name, claim)
            || (self.identity.trusted && field.name.eq_ignore_ascii_case(claim))
    }

    /// Writes every line, `Host` first.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.each_told(|name, value| write_known_line(out, name, value));
        self.received.write_each(out, |index, field| self.crosses(index, field));
        self.trailers()
            .for_each(|value| write_known_line(out, KnownName::Trailer, value.as_bytes()));
    }

    /// Copies all of them.
    #[must_use]
    pub fn to_list(&self) -> HeaderList {
        let mut list = HeaderList::with_room();
        self.each_told(|name, value| list.append_valid(name, value));
        for (index, field) in self.received.iter().enumerate() {
            if self.crosses(index, &field) {
                list.append_line(&field);
            }
        }
        self.trailers().for_each(|value| list.append_valid(KnownName::Trailer, value.as_bytes()));
        list
    }
}

/// Returns true if a received field crosses unchanged.
fn crosses(field: &FieldLine<'_>, trusted: bool) -> bool {
    match field.known {
        Some(
            KnownName::Host
            | KnownName::Via
            | KnownName::XForwardedFor
            | KnownName::XRealIp
            | KnownName::XRequestId
            | KnownName::ContentLength
            | KnownName::Expect
            | KnownName::Proxy,
        ) => false,
        Some(KnownName::Forwarded | KnownName::XForwardedHost | KnownName::XForwardedProto) => {
            trusted
        }
        Some(known) => !known.is_hop_by_hop(),
        None => with_lower(field.name, |name| match name {
            _ if is_lookalike(name) => false,
            _ if is_claim(name) => trusted,
            _ => !name.starts_with("remote-"),
        }),
    }
}

/// Element of `Via` for a request: received version and pseudonym (RFC 9110, section 7.6.3).
fn passed_here(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"1.0 weir",
        Version::HTTP_2 => b"2 weir",
        _ => b"1.1 weir",
    }
}

#[cfg(test)]
mod tests {
    use crate::http::{fields::is_framing, forwarded::*};

    /// The rules by name alone, for a name that weir knows.
    #[test]
    fn known_names_cross_by_the_rules_for_all_names() {
        let replaced = ["host", "via", "x-forwarded-for", "x-real-ip", "x-request-id"];
        let own = ["expect", "proxy"];
        for known in KnownName::ALL {
            let name = known.text();
            let framing = is_framing(&name.parse().expect("a name"));
            let never = framing || replaced.contains(&name) || own.contains(&name);
            for trusted in [false, true] {
                let field = FieldLine { name: name.as_bytes(), value: b"1", known: Some(*known) };
                let expected = !never && (trusted || !is_claim(name));
                assert_eq!(crosses(&field, trusted), expected, "{name} {trusted}");
            }
        }
    }
}
