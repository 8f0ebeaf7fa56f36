//! Rewriting of the path on its way to an upstream, and of `Location` and cookies on the way back.
//!
//! Guarantees: a rewritten path begins with `/` and has no dot segments in any reading, so an added
//! prefix is never climbed out of (`rewrite_never_climbs_out_of_the_added_prefix` in
//! tests/edge/rewrite.rs). A path of which only a prefix changes keeps its other bytes as received where
//! they can be read in one way only.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header, uri::PathAndQuery};
use regex::bytes::Captures;

use super::route::below;
use crate::{
    http::{
        error::{Error, Kind},
        header_list::HeaderList,
        known_name::KnownName,
        target::Target,
    },
    limit::normal_form,
    runtime::expression::Expression,
    upstream::settings::UpstreamSettings,
};

/// Change of the path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// The beginning changes.
    Prefix(PrefixChange),
    /// The whole path changes where an expression matches.
    Regex(RegexChange),
}

/// Change of the beginning of a path. Both prefixes are in their normal form without a slash at their
/// end, and empty for the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixChange {
    /// Prefix that is removed.
    pub strip: String,
    /// Prefix that is added.
    pub add: String,
    /// Responses get the way back.
    pub responses: bool,
}

/// Change of a whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexChange {
    /// Expression on the path in its normal form.
    pub regex: Expression,
    /// New path, and a query behind a `?`.
    pub to: Vec<RewritePiece>,
    /// The query of the request is not appended.
    pub drops_query: bool,
}

/// Piece of a new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewritePiece {
    /// Text.
    Text(String),
    /// Group of the expression.
    Group(usize),
}

impl Rewrite {
    /// Path and query to forward for a request whose path has this normal form.
    ///
    /// # Errors
    /// When the result could be read in several ways, or is no target.
    pub fn target(&self, received: &PathAndQuery, normal: &str) -> Result<PathAndQuery, Error> {
        let query = received.query();
        let text = match self {
            Self::Prefix(change) => change.path(received.path(), normal).map(|path| match query {
                Some(query) => format!("{path}?{query}"),
                None => path,
            }),
            Self::Regex(change) => change.path_and_query(normal, query),
        };
        let Some(text) = text else { return Ok(received.clone()) };
        let path = text.split_once('?').map_or(&*text, |(path, _)| path);
        if has_dot_segment(path) || path.starts_with("//") {
            return Err(Error::new(Kind::HttpRequestError, "ambiguous path after its rewriting"));
        }
        PathAndQuery::try_from(text).map_err(|cause| {
            Error::caused(Kind::HttpRequestError, "the rewritten path is not a target", cause)
        })
    }

    /// Rewrites the fields of a response that name places of the upstream.
    pub fn restore(&self, headers: &mut HeaderList, upstream: &UpstreamSettings, target: &Target) {
        let Self::Prefix(change @ PrefixChange { responses: true, .. }) = self else { return };
        let location =
            headers.get(KnownName::Location).and_then(|value| str::from_utf8(value).ok());
        let location = location.and_then(|location| change.location(location, upstream, target));
        if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
            headers.set(KnownName::Location, &location);
        }
        let cookies: Vec<_> =
            headers.values("set-cookie").map(|cookie| change.cookie(cookie, upstream)).collect();
        if cookies.iter().any(|cookie| matches!(cookie, Cow::Owned(_))) {
            let cookies: Vec<_> =
                cookies.iter().filter_map(|cookie| HeaderValue::from_bytes(cookie).ok()).collect();
            headers.remove_any(&header::SET_COOKIE);
            const NAME: HeaderName = header::SET_COOKIE;
            cookies.iter().for_each(|cookie| headers.append(&NAME, cookie));
        }
    }
}

impl PrefixChange {
    /// New path; none if the prefix to remove is not there.
    fn path(&self, received: &str, normal: &str) -> Option<String> {
        let rest = below(normal, &self.strip)?;
        // As received, where no server could find a way up in it: `/a%2Fb` stays that.
        let as_received = below(received, &self.strip)
            .filter(|rest| !may_climb(rest) && !rest.starts_with("//"))
            .unwrap_or(rest);
        let path = format!("{}{as_received}", self.add);
        Some(if path.is_empty() { "/".to_owned() } else { path })
    }

    /// Path of the client for a path of the upstream; none if it is not below the added prefix.
    fn back(&self, path: &str) -> Option<String> {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, behind) = path.split_at(end);
        let rest = below(path, &self.add)?;
        let path = format!("{}{rest}", self.strip);
        Some(if path.is_empty() { format!("/{behind}") } else { path + behind })
    }

    /// Value of `Location` for the client; none if it stays.
    fn location(
        &self,
        location: &str,
        upstream: &UpstreamSettings,
        target: &Target,
    ) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return self.back(location);
        }
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            location.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })?;
        let rest = &location[scheme.len()..];
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = self.back(if path.starts_with('/') { path } else { "/" })?;
        if names_endpoint(upstream, authority) {
            // The client cannot reach that name: the path alone is on the host it asked.
            return Some(path);
        }
        let is_asked = authority.as_bytes().eq_ignore_ascii_case(target.authority.as_bytes());
        is_asked.then(|| format!("{scheme}{authority}{path}"))
    }

    /// Cookie for the client.
    fn cookie<'a>(&self, cookie: &'a [u8], upstream: &UpstreamSettings) -> Cow<'a, [u8]> {
        let Ok(text) = str::from_utf8(cookie) else { return Cow::Borrowed(cookie) };
        let mut changed = false;
        let mut kept = Vec::new();
        for (index, attribute) in text.split(';').enumerate() {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let (name, value) = (name.trim(), value.trim());
            // The first part is the cookie itself, whatever its name is.
            if index > 0 && name.eq_ignore_ascii_case("path") {
                if let Some(path) = self.back(value) {
                    // `Path=/api/` does not match `/api` (RFC 6265, section 5.1.4).
                    let bare = path.strip_suffix('/').filter(|bare| *bare == self.strip);
                    let path = bare.filter(|bare| !bare.is_empty()).unwrap_or(&path);
                    kept.push(Cow::Owned(format!(" Path={path}")));
                    changed = true;
                    continue;
                }
            } else if index > 0 && name.eq_ignore_ascii_case("domain") {
                let host = value.trim_start_matches('.');
                if upstream.endpoints.iter().any(|one| one.host.eq_ignore_ascii_case(host)) {
                    // Without a domain the cookie is for the host that the client asked.
                    changed = true;
                    continue;
                }
            }
            kept.push(Cow::Borrowed(attribute));
        }
        if changed { Cow::Owned(kept.join(";").into_bytes()) } else { Cow::Borrowed(cookie) }
    }
}

impl RegexChange {
    /// New path and query; none if the expression does not match.
    fn path_and_query(&self, normal: &str, query: Option<&str>) -> Option<String> {
        let groups = self.regex.regex().captures(normal.as_bytes())?;
        let mut text = String::with_capacity(normal.len() + 16);
        for piece in &self.to {
            match piece {
                RewritePiece::Text(plain) => text.push_str(plain),
                RewritePiece::Group(group) => {
                    let value = group_of(&groups, *group);
                    // In a query these signs would begin another parameter.
                    match text.contains('?') {
                        true => value.chars().for_each(|letter| match letter {
                            '&' | '+' | ';' => {
                                text.push_str(&format!("%{:02X}", u32::from(letter)));
                            }
                            letter => text.push(letter),
                        }),
                        false => text.push_str(value),
                    }
                }
            }
        }
        if let Some(query) = query.filter(|_| !self.drops_query) {
            let sign = if text.contains('?') { '&' } else { '?' };
            text = format!("{text}{sign}{query}");
        }
        Some(text)
    }
}

/// Text of a group; empty if it took no part in the match.
fn group_of<'a>(groups: &Captures<'a>, group: usize) -> &'a str {
    let found = groups.get(group).and_then(|found| str::from_utf8(found.as_bytes()).ok());
    found.unwrap_or_default()
}

/// Returns true if a part of a path that is not in its normal form may have dot segments for a server.
fn may_climb(rest: &str) -> bool {
    match normal_form::path(rest) {
        Ok(Cow::Borrowed(_)) => false,
        // Two dots in a row, encoded or not, wherever a segment begins for this server.
        _ => rest.to_ascii_lowercase().replace("%2e", ".").contains(".."),
    }
}

/// Returns true if a segment is `..` for some server, of which some take `\` for a slash and
/// some cut a segment at its `;`.
fn has_dot_segment(path: &str) -> bool {
    let plain =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%5c", "/").replace("%2f", "/");
    let plain = plain.replace("%3b", ";");
    plain.split(['/', '\\']).any(|segment| segment.split(';').next() == Some(".."))
}

/// Returns true if an authority is that of an endpoint, with or without its port.
fn names_endpoint(upstream: &UpstreamSettings, authority: &str) -> bool {
    upstream.endpoints.iter().any(|endpoint| {
        let default_port = if endpoint.tls { 443 } else { 80 };
        endpoint.authority().eq_ignore_ascii_case(authority)
            || (endpoint.port == default_port && endpoint.host.eq_ignore_ascii_case(authority))
    })
}
