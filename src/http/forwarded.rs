//! A request's fields as they cross: those of the client that may, and those weir tells itself.
//!
//! Guarantees: framing and hop-by-hop fields never cross, nor any field `Connection` names (RFC
//! 9110, section 7.6.1); there is exactly one `Host`; what says who the client is comes from weir
//! or from a trusted proxy, never from the client; all other fields keep their order and lines.

use std::{collections::HashSet, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, uri::PathAndQuery};

use super::{
    fields::{
        X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP, X_REQUEST_ID,
        address_value, is_hop_by_hop, is_lookalike, named_by_connection, trailer_that_may_cross,
    },
    forwarding_names::is_claim,
};
use crate::http::error::{Error, Kind};

/// How many fields weir tells.
const TOLD: usize = 10;

/// Who a request is from, as told to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The other end of the socket, as a field value.
    pub peer: &'a HeaderValue,
    /// Whom the request is for, where that is not the peer.
    pub client: Option<IpAddr>,
    /// Whether the peer is a trusted proxy: then what it says is added to, not replaced.
    pub trusted: bool,
    /// The requested host with its port; empty where the request names none.
    pub authority: &'a HeaderValue,
    /// The host that is asked for then.
    pub default_authority: &'a HeaderValue,
    /// The version the request came in.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The request's id, which is what a trusted proxy called it if it did.
    pub request_id: &'a HeaderValue,
}

/// A request as it is forwarded, but for its body and what frames that.
#[derive(Debug)]
pub struct Outbound<'a> {
    /// What is asked.
    pub method: &'a Method,
    /// Of what.
    pub target: &'a PathAndQuery,
    /// And how.
    pub fields: Fields<'a>,
}

/// The fields of a request as it is forwarded.
#[derive(Debug)]
pub enum Fields<'a> {
    /// Those that cross.
    Crossing(ForwardedFields<'a>),
    /// Those that a route made of them.
    Edited(HeaderMap),
}

impl Fields<'_> {
    /// Hands on every line.
    pub fn each(&self, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        match self {
            Self::Crossing(crossing) => crossing.each(put),
            Self::Edited(fields) => fields.iter().for_each(|(name, value)| put(name, value)),
        }
    }

    /// Fields among which those are that cross unchanged, as they were received or as a route
    /// edited them.
    #[must_use]
    pub fn unchanged(&self) -> &HeaderMap {
        match self {
            Self::Crossing(crossing) => crossing.received,
            Self::Edited(fields) => fields,
        }
    }

    /// All of them.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        match self {
            Self::Crossing(crossing) => crossing.to_map(),
            Self::Edited(fields) => fields.clone(),
        }
    }
}

/// The received fields that cross, and those that weir tells in addition or in place of others.
/// Nothing is copied.
#[derive(Debug)]
pub struct ForwardedFields<'a> {
    received: &'a HeaderMap,
    trusted: bool,
    /// What `Connection` names.
    hidden: HashSet<HeaderName>,
    told: Vec<(HeaderName, HeaderValue)>,
}

impl<'a> ForwardedFields<'a> {
    /// What crosses of these fields.
    ///
    /// # Errors
    /// [`Kind::HttpRequestError`] when a value weir has to write is not one.
    pub fn of(received: &'a HeaderMap, identity: &Identity<'_>) -> Result<Self, Error> {
        let (trusted, hidden) = (identity.trusted, named_by_connection(received));
        let mut crossing = Self { received, trusted, hidden, told: Vec::with_capacity(TOLD) };
        let client = identity.client.map_or_else(|| identity.peer.clone(), address_value);
        let named = !identity.authority.is_empty();
        crossing.add(
            header::HOST,
            if named { identity.authority } else { identity.default_authority }.clone(),
        );
        crossing.add(X_REAL_IP, client);
        if trusted {
            crossing.add(X_FORWARDED_FOR, list_with(received, X_FORWARDED_FOR, identity.peer)?);
        } else {
            crossing.add(X_FORWARDED_FOR, identity.peer.clone());
        }
        crossing.add_unless_present(X_FORWARDED_PROTO, HeaderValue::from_static(identity.scheme));
        if named {
            crossing.add_unless_present(X_FORWARDED_HOST, identity.authority.clone());
        }
        crossing.add(X_REQUEST_ID, identity.request_id.clone());
        crossing
            .add(header::VIA, list_with(received, header::VIA, &passed_here(identity.version))?);
        Ok(crossing)
    }

    /// Tells something of the connection to the endpoint.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.told.push((name, value));
    }

    /// Asks for a change to one of these protocols.
    pub fn add_upgrade(&mut self, protocols: &HeaderValue) {
        self.add(header::CONNECTION, HeaderValue::from_static("upgrade"));
        self.add(header::UPGRADE, protocols.clone());
    }

    /// Tells what a trusted proxy may have said already.
    fn add_unless_present(&mut self, name: HeaderName, value: HeaderValue) {
        if !self.trusted || !self.received.contains_key(&name) || self.hidden.contains(&name) {
            self.add(name, value);
        }
    }

    /// Hands on every line, `Host` first.
    pub fn each(&self, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        self.told.iter().for_each(|(name, value)| put(name, value));
        for (name, value) in self.received {
            if *name == header::TRAILER {
                trailer_that_may_cross(value).iter().for_each(|cleaned| put(name, cleaned));
            } else if crosses(name.as_str(), self.trusted)
                && (self.hidden.is_empty() || !self.hidden.contains(name))
            {
                put(name, value);
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(self.told.len() + self.received.keys_len());
        self.each(|name, value| {
            fields.append(name.clone(), value.clone());
        });
        fields
    }
}

/// Whether a field a client sent crosses as it is. A match on text compiles to a look at the length
/// first: this is asked of every field of every request.
fn crosses(name: &str, trusted: bool) -> bool {
    match name {
        "host" | "via" | "x-forwarded-for" | "x-real-ip" | "x-request-id" | "content-length"
        | "expect" | "proxy" => false,
        _ if is_claim(name) => trusted && !is_lookalike(name),
        _ => !is_hop_by_hop(name) && !name.starts_with("remote-") && !is_lookalike(name),
    }
}

/// What a request says of having passed here: the version it came in, and who took it (RFC 9110,
/// section 7.6.3).
fn passed_here(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 weir",
        Version::HTTP_2 => "2 weir",
        _ => "1.1 weir",
    })
}

/// One element more at the end of a list field, whatever its lines were.
fn list_with(
    headers: &HeaderMap,
    name: HeaderName,
    element: &HeaderValue,
) -> Result<HeaderValue, Error> {
    if !headers.contains_key(&name) {
        return Ok(element.clone());
    }
    let mut list = Vec::new();
    for line in headers.get_all(name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    HeaderValue::from_bytes(&list).map_err(|cause| {
        Error::caused(Kind::HttpRequestError, "a list field cannot be extended", cause)
    })
}
