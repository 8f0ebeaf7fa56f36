//! Rules for header fields that cross the proxy, in either direction.
//!
//! Guarantees: framing and hop-by-hop fields never cross, nor any field that `Connection` names
//! (RFC 9110, section 7.6.1). All other fields keep their order and lines.

use std::{collections::HashSet, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::forwarding_names::is_claim;
use crate::http::error::{Error, Kind};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Field that joins the log lines of one request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that `Connection` cannot remove, beside all forwarding fields: otherwise a client could
/// hide its identity or its framing.
static KEPT_FROM_CONNECTION: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Refuses a response whose framing or status is ambiguous.
///
/// # Errors
/// [`Kind::HttpProtocolError`].
pub fn check_response(status: StatusCode, headers: &HeaderMap) -> Result<(), Error> {
    let doubt = match status.as_u16() {
        600.. => Some("the response's status is above 599"),
        _ if headers.keys().any(|name| !is_token(name.as_str())) => {
            Some("a field's name is not a token")
        }
        _ => doubt_about_coding(headers).or_else(|| doubt_about_length(headers)),
    };
    doubt.map_or(Ok(()), |doubt| Err(Error::new(Kind::HttpProtocolError, doubt)))
}

/// Returns true if a name received over HTTP/2 is valid in HTTP/1.1 too: [`HeaderName`] accepts a
/// quotation mark there.
fn is_token(name: &str) -> bool {
    !name.contains('"')
}

/// Flaw of a `Transfer-Encoding`: anything but a single `chunked`.
fn doubt_about_coding(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if codings.next().is_some() {
        return Some("more than one Transfer-Encoding");
    }
    if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Some("Transfer-Encoding is not `chunked`");
    }
    headers
        .contains_key(header::CONTENT_LENGTH)
        .then_some("both Content-Length and Transfer-Encoding")
}

/// Flaw of a `Content-Length`: more than one, or not a number.
fn doubt_about_length(headers: &HeaderMap) -> Option<&'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next()?;
    if lengths.next().is_some() {
        return Some("more than one Content-Length");
    }
    let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    (!digits).then_some("Content-Length is not a number")
}

/// Length of a body, if it is given unambiguously.
#[must_use]
pub fn length_of(headers: &HeaderMap) -> Option<u64> {
    let length =
        headers.get(header::CONTENT_LENGTH).filter(|_| doubt_about_length(headers).is_none())?;
    length.to_str().ok()?.parse().ok()
}

/// Returns true if a client waits for `100 Continue` before it sends its body (RFC 9110, section
/// 10.1.1).
#[must_use]
pub fn awaits_continue(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::EXPECT)
        .iter()
        .any(|line| line.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Longest request id taken from a trusted proxy: as much as an access line shows.
const REQUEST_ID: usize = 1024;

/// Request id from a proxy: one line of visible ASCII that is not limited to its connection.
#[must_use]
pub fn id_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let id = ids.next().filter(|_| ids.next().is_none())?;
    let is_text =
        (1..=REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_text && !named_by_connection(headers).contains(&X_REQUEST_ID)).then_some(id)
}

/// Returns true for a gRPC request.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
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
pub fn has_looped(headers: &HeaderMap) -> bool {
    let passed = |element: &&[u8]| {
        let mut words =
            element.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|received_by| received_by.eq_ignore_ascii_case(PSEUDONYM))
    };
    headers.get_all(header::VIA).iter().flat_map(tokens).filter(passed).count() > PASSES
}

/// Returns true if a client accepts trailers.
#[must_use]
pub fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .any(|line| tokens(line).any(|token| token.eq_ignore_ascii_case(b"trailers")))
}

/// Protocols that a request offers to switch to, except HTTP/2 without TLS (RFC 9113, section 3.1).
#[must_use]
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    let named =
        |line: &HeaderValue| tokens(line).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let asked = headers.get_all(header::CONNECTION).iter().any(named);
    let single = headers.get_all(header::UPGRADE).iter().nth(1).is_none();
    let http2 = tokens(wanted)
        .any(|token| token.eq_ignore_ascii_case(b"h2c") || token.eq_ignore_ascii_case(b"h2"));
    (asked && single && !http2 && !wanted.is_empty()).then(|| wanted.clone())
}

/// Returns true if a response switches to one of the offered protocols.
#[must_use]
pub fn accepts_upgrade(headers: &HeaderMap, wanted: &HeaderValue) -> bool {
    let Some(chosen) = headers.get(header::UPGRADE) else { return false };
    tokens(wanted).any(|token| token.eq_ignore_ascii_case(chosen.as_bytes().trim_ascii()))
}

/// Writes the fields of a protocol switch.
pub fn write_upgrade(headers: &mut HeaderMap, protocols: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocols.clone());
}

/// Elements of a comma-separated list, without the white space around them.
pub fn tokens(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Prepares the fields of an upstream response for the client.
pub fn prepare_response(headers: &mut HeaderMap) {
    let hop_by_hop =
        |headers: &HeaderMap| headers.keys().find(|name| is_hop_by_hop(name.as_str())).cloned();
    let Some(first) = hop_by_hop(headers) else { return };
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    let trailers: Vec<_> =
        headers.get_all(header::TRAILER).iter().filter_map(trailer_that_may_cross).collect();
    let mut next = Some(first);
    while let Some(name) = next {
        headers.remove(name);
        next = hop_by_hop(headers);
    }
    for trailer in trailers {
        headers.append(header::TRAILER, trailer);
    }
}

/// Decrements `Max-Forwards`; returns true when this hop is the last (RFC 9110, section 7.6.2).
pub fn last_hop(headers: &mut HeaderMap) -> bool {
    let Some(value) = headers.get_mut(header::MAX_FORWARDS) else { return false };
    let left: Option<u64> = value.to_str().ok().and_then(|text| text.parse().ok());
    match left {
        Some(0) => true,
        Some(left) => {
            *value = HeaderValue::from(left - 1);
            false
        }
        None => false,
    }
}

/// Returns true for fields of one connection only. A match on text compiles to a comparison of
/// lengths first; this runs for every field of every message.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Returns true if a field frames a message or belongs to one connection only.
#[must_use]
pub fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || is_hop_by_hop(name.as_str())
}

/// Announced trailers that may cross. HTTP/1.1 clients get no others.
pub(super) fn trailer_that_may_cross(announced: &HeaderValue) -> Option<HeaderValue> {
    let names = announced.to_str().ok()?.split(',').map(|name| name.trim().to_ascii_lowercase());
    let names: Vec<String> = names.filter(|name| !name.is_empty() && may_trail(name)).collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|value| !value.is_empty())
}

/// Returns true if a field may be a trailer: not one that frames or routes the message, identifies
/// the client, or must be known before the body (RFC 9110, section 6.5.1).
fn may_trail(name: &str) -> bool {
    let credential =
        ["authorization", "proxy-authorization", "cookie", "set-cookie"].contains(&name);
    let before =
        ["cache-control", "max-forwards", "expect"].contains(&name) || name.starts_with("content-");
    is_token(name)
        && !is_hop_by_hop(name)
        && !credential
        && !before
        && !is_sensitive(&name.replace('_', "-"))
}

/// Removes fields that may not be trailers, in either direction.
pub fn keep_crossing_trailers(trailers: &mut HeaderMap) {
    let doomed: Vec<_> =
        trailers.keys().filter(|name| !may_trail(name.as_str())).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Present fields that `Connection` names: never more than there are, whatever it lists.
pub(super) fn named_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    let lines = headers.get_all(header::CONNECTION);
    let mut two = lines.iter();
    // Nearly always one line with one option.
    match (two.next(), two.next()) {
        (None, _) => return HashSet::new(),
        (Some(only), None) if is_option(only.as_bytes()) => return HashSet::new(),
        _ => {}
    }
    let tokens = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| !is_option(token));
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
    let is_kept =
        |name: &HeaderName| KEPT_FROM_CONNECTION.contains(name) || is_claim(name.as_str());
    names.filter(|name| headers.contains_key(name) && !is_kept(name)).collect()
}

/// Returns true for the usual members of `Connection` that name no field, or one that never
/// crosses.
fn is_option(token: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// Returns true if some servers would read a name as a framing or forwarding field, because they
/// take `_` for `-`.
pub(super) fn is_lookalike(name: &str) -> bool {
    name.contains('_') && is_sensitive(&name.replace('_', "-"))
}

fn is_sensitive(name: &str) -> bool {
    let names = ["content-length", "transfer-encoding", "host", "x-request-id", "via", "proxy"];
    names.contains(&name) || is_claim(name) || name.starts_with("remote-")
}

/// Returns true if a field looks like one that a limit counts by, to servers that turn `-` into `_`
/// (RFC 3875, section 4.1.18): a client could choose which of the two is counted.
#[must_use]
pub fn looks_counted(headers: &HeaderMap, counted: &[HeaderName]) -> bool {
    let same =
        |one: &u8, other: &u8| one == other || matches!((one, other), (b'-', b'_') | (b'_', b'-'));
    let alike = |one: &str, other: &str| {
        one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| same(&a, &b))
    };
    counted.iter().any(|name| {
        headers.keys().any(|other| alike(name.as_str(), other.as_str()) && name != other)
    })
}

/// Formats an address as a field value.
#[must_use]
pub fn address_value(address: IpAddr) -> HeaderValue {
    // The text of an address is always a field value.
    HeaderValue::from_str(&address.to_canonical().to_string())
        .unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::http::{
        fields::*,
        forwarded::{ForwardedFields, Identity},
    };

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn forwarded(lines: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let mut headers = headers(lines);
        let identity = Identity {
            peer: &HeaderValue::from_static("10.0.0.9"),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            trusted,
            authority: &HeaderValue::from_static("a.test:80"),
            default_authority: &HeaderValue::from_static("app:80"),
            version: http::Version::HTTP_11,
            scheme: "http",
            request_id: &HeaderValue::from_static("id"),
        };
        headers = ForwardedFields::of(&headers, &identity).expect("fields of the test").to_map();
        headers
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
        let named = named_by_connection(&headers(&[
            ("connection", &many),
            ("x7", "1"),
            ("x8", "2"),
            ("host", "a"),
        ]));
        assert_eq!(named.len(), 2);
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
        assert_eq!(id_of(&headers(&lines)), Some(&HeaderValue::from_static("theirs")));
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

    #[test]
    fn max_forwards_counts_down_to_the_last_hop() {
        let mut fields = headers(&[("max-forwards", "1")]);
        assert!(!last_hop(&mut fields));
        assert_eq!(fields["max-forwards"], "0");
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
                let fields = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("1"))]);
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
        assert_eq!(fields.get_all("set-cookie").iter().count(), 2);
        assert_eq!(fields.get_all("trailer").iter().collect::<Vec<_>>(), ["x-a", "x-b"]);
        assert_eq!(fields.len(), 4);
    }
}
