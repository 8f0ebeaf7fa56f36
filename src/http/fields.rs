//! Rules for header fields that cross the proxy, in either direction.
//!
//! Guarantees: framing and hop-by-hop fields never cross, nor any field that `Connection` names
//! (RFC 9110, section 7.6.1). All other fields keep their order and lines.

use std::{borrow::Cow, collections::HashMap, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    forwarding_names::is_claim,
    header_list::{FieldLine, HeaderList},
    known_name::{KnownName, KnownNames},
};
use crate::{
    http::error::{Error, Kind},
    runtime::decimal::write_address,
};

/// Limit on the digits of a length.
pub(super) const LENGTH_DIGITS: usize = 18;
/// Longest name that is put into lower case without memory of its own.
const USUAL_NAME: usize = 64;

/// Refuses a response whose framing or status is ambiguous.
///
/// # Errors
/// [`Kind::HttpProtocolError`].
pub fn check_response(status: StatusCode, headers: &HeaderList) -> Result<(), Error> {
    let doubt = match status.as_u16() {
        600.. => Some("the response's status is above 599"),
        _ if headers.iter().any(|field| !is_token(field.name)) => {
            Some("a field's name is not a token")
        }
        _ => doubt_about_coding(headers).or_else(|| doubt_about_length(headers)),
    };
    doubt.map_or(Ok(()), |doubt| Err(Error::new(Kind::HttpProtocolError, doubt)))
}

/// Returns true if a name received over HTTP/2 is valid in HTTP/1.1 too: [`HeaderName`] accepts a
/// quotation mark there.
fn is_token(name: &[u8]) -> bool {
    !name.contains(&b'"')
}

/// Flaw of a `Transfer-Encoding`: anything but a single `chunked`.
fn doubt_about_coding(headers: &HeaderList) -> Option<&'static str> {
    let mut codings = headers.get_all(KnownName::TransferEncoding);
    let coding = codings.next()?;
    if codings.next().is_some() {
        return Some("more than one Transfer-Encoding");
    }
    if !coding.eq_ignore_ascii_case(b"chunked") {
        return Some("Transfer-Encoding is not `chunked`");
    }
    headers
        .contains(KnownName::ContentLength)
        .then_some("both Content-Length and Transfer-Encoding")
}

/// Flaw of a `Content-Length`: more than one, or not a number.
fn doubt_about_length(headers: &HeaderList) -> Option<&'static str> {
    let mut lengths = headers.get_all(KnownName::ContentLength);
    let length = lengths.next()?;
    if lengths.next().is_some() {
        return Some("more than one Content-Length");
    }
    let digits =
        (1..=LENGTH_DIGITS).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
    (!digits).then_some("Content-Length is not a number")
}

/// Length of a body, if it is given unambiguously.
#[must_use]
pub fn length_of(headers: &HeaderList) -> Option<u64> {
    let mut lengths = headers.get_all(KnownName::ContentLength);
    let length = lengths.next().filter(|_| lengths.next().is_none())?;
    // Rust reads a number with a sign, and a length has none.
    let is_number = length.first().is_some_and(u8::is_ascii_digit);
    if is_number { str::from_utf8(length).ok()?.parse().ok() } else { None }
}

/// Returns true if a client waits for `100 Continue` before it sends its body (RFC 9110, section
/// 10.1.1).
#[must_use]
pub fn awaits_continue(headers: &HeaderList) -> bool {
    headers.get_all(KnownName::Expect).any(|line| line.eq_ignore_ascii_case(b"100-continue"))
}

/// Longest request id taken from a trusted proxy: as much as an access line shows.
const REQUEST_ID: usize = 1024;

/// Request id from a proxy: one line of visible ASCII that is not limited to its connection.
#[must_use]
pub fn id_of(headers: &HeaderList) -> Option<&[u8]> {
    let mut ids = headers.get_all(KnownName::XRequestId);
    let id = ids.next().filter(|_| ids.next().is_none())?;
    let is_text = (1..=REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    (is_text && !Hidden::by(headers).hides_all(headers, KnownName::XRequestId)).then_some(id)
}

/// Returns true for a gRPC request.
#[must_use]
pub fn is_grpc(headers: &HeaderList) -> bool {
    let media = headers.get(KnownName::ContentType);
    let rest = media.and_then(|media| media.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Pseudonym of weir in `Via`.
const PSEUDONYM: &[u8] = b"weir";
/// Limit on the passes of a request through any weir: several in a row are not a loop.
pub const PASSES: usize = 8;

/// Returns true if a request has passed a weir too often, and so goes round in a loop of one or
/// several proxies (RFC 9110, section 7.6.3).
#[must_use]
pub fn has_looped(headers: &HeaderList) -> bool {
    let passed = |element: &&[u8]| {
        let mut words =
            element.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|received_by| received_by.eq_ignore_ascii_case(PSEUDONYM))
    };
    headers.get_all(KnownName::Via).flat_map(tokens).filter(passed).count() > PASSES
}

/// Returns true if a client accepts trailers.
#[must_use]
pub fn wants_trailers(headers: &HeaderList) -> bool {
    let lines = headers.get_all(KnownName::Te);
    lines.flat_map(tokens).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// Protocols that a request offers to switch to, except HTTP/2 without TLS (RFC 9113, section 3.1).
#[must_use]
pub fn upgrade_of(headers: &HeaderList) -> Option<HeaderValue> {
    let mut offers = headers.get_all(KnownName::Upgrade);
    let wanted = offers.next().filter(|wanted| !wanted.is_empty())?;
    let asked = ConnectionOptions::of(headers).upgrade;
    let http2 = tokens(wanted)
        .any(|token| token.eq_ignore_ascii_case(b"h2c") || token.eq_ignore_ascii_case(b"h2"));
    let is_offer = asked && offers.next().is_none() && !http2;
    is_offer.then(|| HeaderValue::from_bytes(wanted).ok()).flatten()
}

/// Returns true if a response switches to one of the offered protocols.
#[must_use]
pub fn accepts_upgrade(headers: &HeaderList, wanted: &HeaderValue) -> bool {
    let Some(chosen) = headers.get(KnownName::Upgrade) else { return false };
    tokens(wanted.as_bytes()).any(|token| token.eq_ignore_ascii_case(chosen.trim_ascii()))
}

/// Writes the fields of a protocol switch.
pub fn write_upgrade(headers: &mut HeaderList, protocols: &HeaderValue) {
    headers.set_static(KnownName::Connection, "upgrade");
    headers.set(KnownName::Upgrade, protocols);
}

/// Elements of a comma-separated list, without the white space around them.
pub fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Prepares the fields of an upstream response for the client.
pub fn prepare_response(headers: &mut HeaderList) {
    if !headers.contains_any(KnownNames::HOP_BY_HOP) {
        return;
    }
    let hidden = Hidden::by(headers);
    let trailers: Vec<_> =
        headers.get_all(KnownName::Trailer).filter_map(trailer_that_may_cross).collect();
    headers.retain(|index, field| {
        !hidden.hides(index) && !field.known.is_some_and(KnownName::is_hop_by_hop)
    });
    for trailer in trailers {
        headers.append(&header::TRAILER, &trailer);
    }
}

/// Decrements `Max-Forwards`; returns true when this hop is the last (RFC 9110, section 7.6.2).
pub fn last_hop(headers: &mut HeaderList) -> bool {
    let Some(value) = headers.get(KnownName::MaxForwards) else { return false };
    let left: Option<u64> = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    match left {
        Some(0) => true,
        Some(left) => {
            headers.set_number(KnownName::MaxForwards, left - 1);
            false
        }
        None => false,
    }
}

/// Returns true if a field frames a message or belongs to one connection only.
#[must_use]
pub fn is_framing(name: &HeaderName) -> bool {
    let known = KnownName::of(name.as_str().as_bytes());
    known.is_some_and(|known| known == KnownName::ContentLength || known.is_hop_by_hop())
}

/// Announced trailers that may cross. HTTP/1.1 clients get no others.
pub(super) fn trailer_that_may_cross(announced: &[u8]) -> Option<HeaderValue> {
    let announced = str::from_utf8(announced).ok()?.to_ascii_lowercase();
    let names = announced.split(',').map(str::trim);
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && may_trail(name)).collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|value| !value.is_empty())
}

/// Returns true if a field may be a trailer: not one that frames or routes the message, identifies
/// the client, or must be known before the body (RFC 9110, section 6.5.1).
fn may_trail(name: &str) -> bool {
    let credential =
        ["authorization", "proxy-authorization", "cookie", "set-cookie"].contains(&name);
    let before =
        ["cache-control", "max-forwards", "expect"].contains(&name) || name.starts_with("content-");
    let is_hop_by_hop = KnownName::of(name.as_bytes()).is_some_and(KnownName::is_hop_by_hop);
    is_token(name.as_bytes())
        && !is_hop_by_hop
        && !credential
        && !before
        && !is_sensitive(&unified(name))
}

/// Removes fields that may not be trailers, in either direction.
pub fn keep_crossing_trailers(trailers: &mut HeaderMap) {
    remove_trailers(trailers, |name| !may_trail(name.as_str()));
}

/// Removes trailers that some servers would read as the field `claim`.
pub fn remove_claim(trailers: &mut HeaderMap, claim: &HeaderName) {
    let claim = claim.as_str().as_bytes();
    remove_trailers(trailers, |name| alike(name.as_str().as_bytes(), claim));
}

fn remove_trailers(trailers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) {
    let doomed: Vec<_> = trailers.keys().filter(|name| is_doomed(name)).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Removes trailers with one of these names, in any spelling that a server may take for it.
pub fn withhold_trailers(trailers: &mut HeaderMap, withheld: &[HeaderName]) {
    let is_withheld = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        withheld.iter().any(|other| alike(name, other.as_str().as_bytes()))
    };
    let doomed: Vec<_> = trailers.keys().filter(is_withheld).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Fields that `Connection` names: never more than there are, whatever it lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// True for each hidden line; empty if there is none.
    lines: Vec<bool>,
}

impl Hidden {
    /// Finds the fields that `Connection` names.
    pub fn by(headers: &HeaderList) -> Self {
        let options = || {
            let lines = headers.get_all(KnownName::Connection);
            lines.flat_map(tokens).filter(|option| !ConnectionOptions::default().add(option))
        };
        // Nearly always there is one option, which names no field.
        if !ConnectionOptions::of(headers).names_fields {
            return Self::default();
        }
        // A list may have thousands of members: each is looked up once.
        let lower = |name: &[u8]| name.to_ascii_lowercase();
        let mut named: HashMap<Vec<u8>, bool> =
            headers.iter().map(|field| (lower(field.name), false)).collect();
        for option in options() {
            if let Some(named) = named.get_mut(&lower(option)) {
                *named = true;
            }
        }
        let is_hidden = |field: FieldLine<'_>| named[&lower(field.name)] && !is_kept(&field);
        let lines: Vec<bool> = headers.iter().map(is_hidden).collect();
        Self { lines: if lines.contains(&true) { lines } else { Vec::new() } }
    }

    /// Returns true if the field of this number is hidden.
    pub fn hides(&self, index: usize) -> bool {
        self.lines.get(index).copied().unwrap_or(false)
    }

    /// Returns true if no field of this name is left.
    pub fn hides_all(&self, headers: &HeaderList, name: KnownName) -> bool {
        let mut lines = headers.iter().enumerate().filter(|(_, field)| field.known == Some(name));
        lines.all(|(index, _)| self.hides(index))
    }
}

/// Returns true for a field that `Connection` cannot remove: otherwise a client could hide its
/// identity or its framing.
fn is_kept(field: &FieldLine<'_>) -> bool {
    matches!(field.known, Some(KnownName::Host | KnownName::ContentLength))
        || with_lower(field.name, is_claim)
}

/// Calls `then` with a name in lower case.
pub(super) fn with_lower<T>(name: &[u8], then: impl FnOnce(&str) -> T) -> T {
    let mut usual = [0; USUAL_NAME];
    let Some(lower) = usual.get_mut(..name.len()) else {
        return then(&String::from_utf8_lossy(name).to_ascii_lowercase());
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    // A name is a token, and so it is ASCII.
    then(str::from_utf8(lower).unwrap_or_default())
}

/// Options of `Connection` that are about the connection itself (RFC 9110, section 7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// True if it may name other fields.
    names_fields: bool,
}

impl ConnectionOptions {
    /// Reads them from the fields.
    #[must_use]
    pub fn of(headers: &HeaderList) -> Self {
        let mut options = Self::default();
        if !headers.contains(KnownName::Connection) {
            return options;
        }
        for line in headers.get_all(KnownName::Connection) {
            // Nearly always one option, whose line need not be split.
            if !options.add(line) {
                for option in tokens(line) {
                    options.names_fields |= !option.is_empty() && !options.add(option);
                }
            }
        }
        options
    }

    /// Adds an option; returns false if it is none of those that weir knows.
    fn add(&mut self, option: &[u8]) -> bool {
        let known = match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => &mut self.close,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => &mut self.keep_alive,
            7 if option.eq_ignore_ascii_case(b"upgrade") => &mut self.upgrade,
            _ => return false,
        };
        *known = true;
        true
    }
}

/// Returns true if some servers would read a name as a framing or forwarding field, because they
/// have one sign for `-` and others (RFC 3875, section 4.1.18): WSGI and CGI take `_` for `-`, PHP
/// also `.`, and lighttpd every sign.
pub(super) fn is_lookalike(name: &str) -> bool {
    matches!(unified(name), Cow::Owned(name) if is_sensitive(&name))
}

/// Name as the servers see it that have one sign for all; borrowed if it has no sign but `-`.
fn unified(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| unified_byte(byte) == byte) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.bytes().map(unified_byte).map(char::from).collect())
}

fn unified_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

fn is_sensitive(name: &str) -> bool {
    let names = ["content-length", "transfer-encoding", "host", "x-request-id", "via", "proxy"];
    names.contains(&name) || is_claim(name) || name.starts_with("remote-")
}

/// Returns true if a field looks like one that a limit counts by, to servers that have one sign for
/// `-` and others: a client could choose which of the two is counted.
#[must_use]
pub fn looks_counted(headers: &HeaderList, counted: &[HeaderName]) -> bool {
    counted.iter().map(|name| name.as_str().as_bytes()).any(|name| {
        headers
            .iter()
            .any(|field| alike(field.name, name) && !field.name.eq_ignore_ascii_case(name))
    })
}

/// Returns true if names are the same to servers that have one sign for `-` and others.
#[must_use]
pub fn alike(one: &[u8], other: &[u8]) -> bool {
    let unified = |byte: &u8| unified_byte(byte.to_ascii_lowercase());
    one.len() == other.len() && one.iter().map(unified).eq(other.iter().map(unified))
}

/// Returns the name if only its configuration says that it makes a claim about a client.
#[must_use]
pub fn further_claim(name: HeaderName) -> Option<HeaderName> {
    (!is_claim(name.as_str())).then_some(name)
}

/// Returns true if `Connection` hides a field that a limit counts by from the endpoint: a client
/// could choose a new bucket for each request, and the endpoint would see none of its choices.
#[must_use]
pub fn hides_counted(headers: &HeaderList, counted: &[HeaderName]) -> bool {
    if counted.is_empty() {
        return false;
    }
    let hidden = Hidden::by(headers);
    headers.iter().enumerate().any(|(index, field)| {
        let is_it = |name: &HeaderName| field.name.eq_ignore_ascii_case(name.as_str().as_bytes());
        hidden.hides(index) && counted.iter().any(is_it)
    })
}

/// Length of the longest IPv4 address.
const LONGEST_ADDRESS: usize = "255.255.255.255".len();

/// Formats an address as a field value.
#[must_use]
pub fn address_value(address: IpAddr) -> HeaderValue {
    let mut text = Vec::with_capacity(LONGEST_ADDRESS);
    write_address(&mut text, address.to_canonical());
    // The text of an address is always a field value.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::http::{
        fields::*,
        forwarded::{ForwardedFields, Identity},
        request_id::RequestId,
    };

    fn headers(lines: &[(&str, &str)]) -> HeaderList {
        let mut headers = HeaderList::default();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(&name, &value.parse().expect("a value"));
        }
        headers
    }

    fn forwarded(lines: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let identity = Identity {
            peer: &HeaderValue::from_static("10.0.0.9"),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            trusted,
            claim: None,
            authority: &HeaderValue::from_static("a.test:80"),
            host: &HeaderValue::from_static("a.test:80"),
            version: http::Version::HTTP_11,
            scheme: "http",
            request_id: &RequestId::Received(HeaderValue::from_static("id")),
        };
        let headers = headers(lines);
        ForwardedFields::of(&headers, &identity, None).to_list().to_map()
    }

    #[test]
    fn nothing_of_one_connection_crosses() {
        let crossed = forwarded(
            &[
                ("connection", "close"),
                ("connection", "x-secret, host, content-length"),
                ("x-secret", "1"),
                ("keep-alive", "1"),
                ("te", "trailers"),
                ("trailer", "host"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("proxy-connection", "x"),
                ("content-length", "3"),
                ("expect", "100-continue"),
                ("x-kept", "2"),
            ],
            false,
        );
        let mut names: Vec<&str> = crossed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let ours = [
            "host",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
            "x-real-ip",
            "x-request-id",
        ];
        assert_eq!(names, ours);
    }

    #[test]
    fn of_all_that_connection_lists_only_what_is_there_is_kept() {
        let many = (0..9_000).map(|number| format!("x{number}")).collect::<Vec<_>>().join(",");
        let hidden =
            Hidden::by(&headers(&[("connection", &many), ("x7", "1"), ("x8", "2"), ("host", "a")]));
        assert_eq!(hidden.lines, [false, true, true, false]);
    }

    #[test]
    fn forwarded_fields_replace_client_claims_and_extend_proxies() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-request-id", "theirs"),
            ("via", "1.0 a"),
        ];
        let client = forwarded(&lines, false);
        assert_eq!(client["x-forwarded-for"], "10.0.0.9");
        assert_eq!(
            (client.get("forwarded"), &client["x-request-id"]),
            (None, &HeaderValue::from_static("id"))
        );
        assert_eq!(client["via"], "1.0 a, 1.1 weir");
        let proxy = forwarded(&lines, true);
        assert_eq!(proxy["x-forwarded-for"], "1.1.1.1, 10.0.0.9");
        assert_eq!(proxy["forwarded"], "for=1.1.1.1");
        // The creator of the identity takes the id of a proxy, so that the log has it too.
        assert_eq!(proxy.get_all("x-request-id").iter().collect::<Vec<_>>(), ["id"]);
        assert_eq!(id_of(&headers(&lines)), Some(&b"theirs"[..]));
        assert_eq!(proxy["x-real-ip"], "192.0.2.1");
    }

    #[test]
    fn identities_and_lookalikes_never_cross() {
        let crossed = forwarded(
            &[
                ("remote-user", "root"),
                ("proxy", "http://evil"),
                ("content_length", "9"),
                ("x_forwarded_for", "1.1.1.1"),
                ("a_b", "kept"),
            ],
            true,
        );
        for name in ["remote-user", "proxy", "content_length", "x_forwarded_for"] {
            assert!(!crossed.contains_key(name), "{name}");
        }
        assert_eq!(crossed["a_b"], "kept");
    }

    /// CGI has one sign for all, and PHP reads some of them so.
    #[test]
    fn lookalikes_with_any_sign_of_a_token_never_cross() {
        for sign in "!#$%&'*+.^_`|~".chars() {
            for name in
                ["x-forwarded-for", "x-real-ip", "remote-user", "content-length", "x-request-id"]
            {
                let other = name.replace('-', &sign.to_string());
                for trusted in [false, true] {
                    let crossed = forwarded(&[(&other, "1.1.1.1"), ("x-kept", "1")], trusted);
                    assert!(!crossed.contains_key(&other), "{other}");
                    assert!(crossed.contains_key("x-kept"));
                }
                assert!(!may_trail(&other), "{other}");
            }
            let counted = [HeaderName::from_static("x-api-key")];
            let looks = |name: String| looks_counted(&headers(&[(&name, "1")]), &counted);
            assert!(looks(format!("x{sign}api-key")) && looks(format!("X-Api{sign}Key")));
            assert!(!looks("X-API-KEY".to_owned()) && !looks(format!("x{sign}apikey")));
        }
    }

    #[test]
    fn counted_field_is_not_hidden_by_connection() {
        let counted = [HeaderName::from_static("x-api-key")];
        let hides = |options: &str| {
            hides_counted(&headers(&[("connection", options), ("x-api-key", "1")]), &counted)
        };
        assert!(hides("X-Api-Key") && hides("close, x-api-KEY"));
        assert!(!hides("close") && !hides("x-other") && !hides(""));
    }

    #[test]
    fn max_forwards_counts_down_to_the_last_hop() {
        let mut fields = headers(&[("max-forwards", "1")]);
        assert!(!last_hop(&mut fields));
        assert_eq!(fields.get(KnownName::MaxForwards), Some(&b"0"[..]));
        assert!(last_hop(&mut fields));
    }

    #[test]
    fn trailers_are_announced_but_for_those_that_have_no_place_there() {
        let crossed = forwarded(
            &[("trailer", "X-Sum, Content-Length, x-forwarded-for, Remote_User, cookie")],
            false,
        );
        assert_eq!(crossed["trailer"], "x-sum");
        assert!(!forwarded(&[("trailer", "transfer-encoding")], false).contains_key("trailer"));
    }

    #[test]
    fn response_of_ambiguous_length_is_refused() {
        let of = |status: u16, lines: &[(&str, &str)]| {
            check_response(StatusCode::from_u16(status).expect("a status"), &headers(lines))
                .map_err(|error| error.kind())
        };
        assert_eq!(of(200, &[("content-length", "0")]), Ok(()));
        assert_eq!(of(599, &[("transfer-encoding", "Chunked")]), Ok(()));
        assert_eq!(of(600, &[]), Err(Kind::HttpProtocolError));
        assert_eq!(
            of(200, &[("content-length", "3"), ("content-length", "3")]),
            Err(Kind::HttpProtocolError)
        );
        assert_eq!(of(304, &[("content-length", "")]), Err(Kind::HttpProtocolError));
        assert_eq!(
            of(200, &[("content-length", "3"), ("transfer-encoding", "chunked")]),
            Err(Kind::HttpProtocolError)
        );
    }

    /// RFC 9110, section 5.6.2.
    #[test]
    fn response_field_names_are_tokens() {
        let token = b"!#$%&'*+-.0123456789^_`abcdefghijklmnopqrstuvwxyz|~";
        for byte in 0..=255 {
            for text in [vec![byte, b'x'], vec![b'x', byte]] {
                // Neither HTTP/1.1 nor HTTP/2 names accept anything else.
                let of_http1 = HeaderName::from_bytes(&text).is_ok();
                assert_eq!(
                    of_http1,
                    token.contains(&byte.to_ascii_lowercase()),
                    "{}",
                    text.escape_ascii()
                );
                let Ok(name) = HeaderName::from_lowercase(&text) else { continue };
                let mut fields = HeaderList::default();
                fields.append(&name, &HeaderValue::from_static("1"));
                let is_token = token.contains(&byte);
                assert_eq!(check_response(StatusCode::OK, &fields).is_ok(), is_token, "{name}");
                assert_eq!(may_trail(name.as_str()), is_token, "{name}");
            }
        }
    }

    #[test]
    fn response_keeps_field_lines_and_loses_hop_by_hop() {
        let mut fields = headers(&[
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-a, content-length"),
            ("trailer", "x-b"),
        ]);
        prepare_response(&mut fields);
        assert_eq!(fields.values("set-cookie").count(), 2);
        let trailers: Vec<_> = fields.get_all(KnownName::Trailer).collect();
        assert_eq!(trailers, [b"x-a", b"x-b"]);
        assert_eq!(fields.len(), 4);
    }
}
