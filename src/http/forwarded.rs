//! Header fields of a forwarded request: those of the client that may cross, and those that weir
//! adds.
//!
//! Guarantees: framing and hop-by-hop fields never cross, nor any field that `Connection` names
//! (RFC 9110, section 7.6.1). There is exactly one `Host`. Fields about the client come from weir
//! or from a trusted proxy, never from the client. All other fields keep their order and lines.

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

/// Number of fields that weir adds.
const TOLD: usize = 10;

/// Identity of a request, as reported to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Socket peer, as a field value.
    pub peer: &'a HeaderValue,
    /// Client address, if it is not the peer.
    pub client: Option<IpAddr>,
    /// True if the peer is a trusted proxy: its forwarding fields are extended, not replaced.
    pub trusted: bool,
    /// Requested host with its port; empty if the request names none.
    pub authority: &'a HeaderValue,
    /// Host that is sent in that case.
    pub default_authority: &'a HeaderValue,
    /// HTTP version of the received request.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Request id, which is that of a trusted proxy if it sent one.
    pub request_id: &'a HeaderValue,
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
    Edited(HeaderMap),
}

impl Fields<'_> {
    /// Visits every line.
    pub fn each(&self, mut put: impl FnMut(&HeaderName, &HeaderValue)) {
        match self {
            Self::Crossing(crossing) => crossing.each(put),
            Self::Edited(fields) => fields.iter().for_each(|(name, value)| put(name, value)),
        }
    }

    /// Fields that contain all unchanged ones: as received, or as edited.
    #[must_use]
    pub fn unchanged(&self) -> &HeaderMap {
        match self {
            Self::Crossing(crossing) => crossing.received,
            Self::Edited(fields) => fields,
        }
    }

    /// Copies all of them.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        match self {
            Self::Crossing(crossing) => crossing.to_map(),
            Self::Edited(fields) => fields.clone(),
        }
    }
}

/// Received fields that cross, and fields that weir adds or replaces. Nothing is copied.
#[derive(Debug)]
pub struct ForwardedFields<'a> {
    received: &'a HeaderMap,
    trusted: bool,
    /// Fields named by `Connection`.
    hidden: HashSet<HeaderName>,
    told: Vec<(HeaderName, HeaderValue)>,
}

impl<'a> ForwardedFields<'a> {
    /// Selects the fields that cross.
    ///
    /// # Errors
    /// [`Kind::HttpRequestError`] when a value that weir has to write is invalid.
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

    /// Adds a field for the endpoint.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.told.push((name, value));
    }

    /// Adds an offer to switch to one of these protocols.
    pub fn add_upgrade(&mut self, protocols: &HeaderValue) {
        self.add(header::CONNECTION, HeaderValue::from_static("upgrade"));
        self.add(header::UPGRADE, protocols.clone());
    }

    /// Adds a field unless a trusted proxy has set it.
    fn add_unless_present(&mut self, name: HeaderName, value: HeaderValue) {
        if !self.trusted || !self.received.contains_key(&name) || self.hidden.contains(&name) {
            self.add(name, value);
        }
    }

    /// Visits every line, `Host` first.
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

    /// Copies all of them.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(self.told.len() + self.received.keys_len());
        self.each(|name, value| {
            fields.append(name.clone(), value.clone());
        });
        fields
    }
}

/// Returns true if a received field crosses unchanged. A match on text compiles to a comparison of
/// lengths first; this runs for every field of every request.
fn crosses(name: &str, trusted: bool) -> bool {
    match name {
        "host" | "via" | "x-forwarded-for" | "x-real-ip" | "x-request-id" | "content-length"
        | "expect" | "proxy" => false,
        _ if is_claim(name) => trusted && !is_lookalike(name),
        _ => !is_hop_by_hop(name) && !name.starts_with("remote-") && !is_lookalike(name),
    }
}

/// Element of `Via` for a request: received version and pseudonym (RFC 9110, section 7.6.3).
fn passed_here(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 weir",
        Version::HTTP_2 => "2 weir",
        _ => "1.1 weir",
    })
}

/// Appends one element to a list field, however it was split into lines.
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
