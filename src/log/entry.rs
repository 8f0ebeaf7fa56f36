//! One line of the access log: JSON, nginx's `combined` byte for byte, or a short one for people; and
//! of the error log, as nginx writes it for a reject.
//!
//! Guarantee: an entry is one line. Control bytes are escaped, a field is cut at [`FIELD`] bytes,
//! and a client cannot inject a line.

use std::{io::Write, net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::SystemTime};

use http::{HeaderName, Method, StatusCode, Version, uri::PathAndQuery};
use jiff::{Timestamp, tz::TimeZone};

use super::json::{FIELD, Object};
use crate::{
    http::{
        header_list::HeaderList,
        known_name::KnownName,
        request_id::{Digits, RequestId},
    },
    limit::{Decision, KeyFault, Reason, Verdict, basic::BasicUser},
    runtime::decimal::write_address,
};

/// Facts about a request at its end.
#[derive(Clone, Debug)]
pub struct AccessEntry {
    /// Start of the request.
    pub at: SystemTime,
    /// Duration of the request.
    pub took: Duration,
    /// Request id.
    pub id: RequestId,
    /// Client address.
    pub client: IpAddr,
    /// Socket peer.
    pub peer: IpAddr,
    /// Method; none when the head could not be read.
    pub method: Option<Method>,
    /// Requested host.
    pub host: Option<Rc<str>>,
    /// Requested target.
    pub path: Option<Asked>,
    /// Protocol version.
    pub proto: Version,
    /// Status of the response.
    pub status: StatusCode,
    /// Bytes of the request body that were read.
    pub bytes_in: u64,
    /// Bytes of the response body that were written.
    pub bytes_out: u64,
    /// Chosen route.
    pub route: Option<Arc<str>>,
    /// Verdict of the limits.
    pub limit: Option<LimitStory>,
    /// Verdict of the dry-run limits.
    pub dry_run: Option<Box<LimitStory>>,
    /// Verified user, and who verified it.
    pub auth: Option<Box<AuthStory>>,
    /// Facts about the upstream.
    pub upstream: Option<UpstreamStory>,
    /// Error of the request.
    pub error: Option<Box<ErrorStory>>,
    /// Header fields that the format of the log shows.
    pub fields: Option<Box<LoggedFields>>,
}

/// Header fields that the format of the log shows.
#[derive(Clone, Debug, Default)]
pub struct LoggedFields {
    /// `Referer`.
    pub referer: Option<Box<[u8]>>,
    /// `User-Agent`.
    pub agent: Option<Box<[u8]>>,
    /// User of `Authorization: Basic` (RFC 7617), not verified.
    pub user: Option<Vec<u8>>,
    /// Scheme of the request.
    pub scheme: Option<&'static str>,
    /// Fields of the request that a format of one's own names.
    pub request: Vec<(HeaderName, Box<[u8]>)>,
    /// Fields of the response that a format of one's own names.
    pub response: Vec<(HeaderName, Box<[u8]>)>,
}

impl LoggedFields {
    /// Fields that JSON shows; none if the request has none of them.
    #[must_use]
    pub fn of_json(headers: &HeaderList) -> Option<Box<Self>> {
        let referer = headers.get(KnownName::Referer).map(Box::from);
        let agent = headers.get(KnownName::UserAgent).map(Box::from);
        (referer.is_some() || agent.is_some())
            .then(|| Box::new(Self { referer, agent, ..Self::default() }))
    }

    /// Fields that `combined` shows.
    #[must_use]
    pub fn of_combined(headers: &HeaderList) -> Self {
        Self {
            referer: headers.get(KnownName::Referer).map(Box::from),
            agent: headers.get(KnownName::UserAgent).map(Box::from),
            ..Self::of_user(headers)
        }
    }

    /// User that the request claims to be of.
    #[must_use]
    pub fn of_user(headers: &HeaderList) -> Self {
        let user = headers.get(KnownName::Authorization).and_then(basic_user);
        Self { user, ..Self::default() }
    }
}

/// Returns the user of Basic credentials.
fn basic_user(credentials: &[u8]) -> Option<Vec<u8>> {
    match BasicUser::of(credentials) {
        BasicUser::Named(user) if !user.is_empty() => Some(user),
        _ => None,
    }
}

/// Target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Path with query.
    Path(PathAndQuery),
    /// Other text: the authority of CONNECT, or as much of a refused head as was received.
    Other(Box<str>),
}

impl Asked {
    /// Text of the target.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Path(path) => path.as_str(),
            Self::Other(text) => text,
        }
    }
}

/// Verdict of a limit.
#[derive(Clone, Debug)]
pub struct LimitStory {
    /// Zone that decided.
    pub zone: Arc<str>,
    /// Decision with its numbers.
    pub verdict: Verdict,
    /// Fingerprint under which the request was counted.
    pub key: u64,
    /// Missing or repeated part of the key, when that caused the reject.
    pub fault: Option<KeyFault>,
    /// True while the request is parked: if it ends so, its wait is its duration, not the wait
    /// computed on arrival.
    pub is_parked: bool,
}

/// Facts about the authentication of a request.
#[derive(Clone, Debug, Default)]
pub struct AuthStory {
    /// Verified user.
    pub user: Option<Box<str>>,
    /// True if the service had given its verdict before.
    pub is_cached: bool,
    /// Facts about the service that was asked.
    pub service: Option<UpstreamStory>,
}

/// Facts about the upstream of a request.
#[derive(Clone, Debug, Default)]
pub struct UpstreamStory {
    /// Name of the upstream.
    pub name: Option<Arc<str>>,
    /// Endpoint of the last attempt.
    pub endpoint: Option<Arc<str>>,
    /// Status of its response.
    pub status: Option<StatusCode>,
    /// Time to open a connection, if one was opened.
    pub connect: Option<Duration>,
    /// Time from sending the request to the head of the response.
    pub first_byte: Option<Duration>,
    /// Number of attempts.
    pub tries: u32,
}

/// Error of a request, in the terms of [`crate::http::error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorStory {
    /// Side at fault.
    pub side: &'static str,
    /// Kind of error.
    pub kind: &'static str,
    /// Details.
    pub detail: String,
}

impl AccessEntry {
    /// User that was verified: its password here, or by another service.
    #[must_use]
    pub fn verified_user(&self) -> Option<&str> {
        self.auth.as_ref()?.user.as_deref()
    }

    /// User that was verified, or else the one of Basic credentials.
    #[must_use]
    pub fn claimed_user(&self) -> Option<&[u8]> {
        let claimed = || self.fields.as_ref()?.user.as_deref();
        self.verified_user().map(str::as_bytes).or_else(claimed)
    }

    /// Appends the entry as one JSON line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut line = Object::begin(out);
        line.time("ts", self.at);
        let mut digits = Digits::default();
        line.text("id", str::from_utf8(self.id.text(&mut digits)).unwrap_or(""));
        line.address("client", self.client);
        line.address("peer", self.peer);
        line.word("method", self.method.as_ref().map_or("-", Method::as_str));
        line.field("host", self.host.as_deref().unwrap_or_default());
        line.field("path", self.path.as_ref().map_or("-", Asked::as_str));
        line.word("proto", proto(self.proto));
        line.number("status", self.status.as_u16().into());
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.millis("dur_ms", self.took);
        if let Some(fields) = &self.fields {
            fields.write(&mut line);
        }
        if let Some(route) = &self.route {
            line.text("route", route);
        }
        if let Some(limit) = &self.limit {
            limit.write(line.object("limit"));
        }
        if let Some(limit) = &self.dry_run {
            limit.write(line.object("limit_dry_run"));
        }
        if let Some(auth) = &self.auth {
            auth.write(line.object("auth"));
        }
        if let Some(upstream) = &self.upstream {
            upstream.write(line.object("upstream"));
        }
        if let Some(error) = &self.error {
            error.write(line.object("error"));
        }
        line.end();
        out.push(b'\n');
    }

    /// Appends the entry as nginx's `combined` line. Its time is the end of the request, like
    /// `$time_local`.
    pub fn write_combined(&self, out: &mut Vec<u8>) {
        write_address(out, self.client);
        out.extend_from_slice(b" - ");
        let fields = self.fields.as_deref();
        escape(out, self.claimed_user().unwrap_or(b"-"));
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.local_end("%d/%b/%Y:%H:%M:%S %z").as_bytes());
        out.extend_from_slice(b"] \"");
        if let (Some(method), Some(path)) = (&self.method, &self.path) {
            self.write_request_line(out, method, path);
        }
        write_text(out, format_args!("\" {} {} \"", self.status.as_u16(), self.bytes_out));
        escape(out, fields.and_then(|fields| fields.referer.as_deref()).unwrap_or(b"-"));
        out.extend_from_slice(b"\" \"");
        escape(out, fields.and_then(|fields| fields.agent.as_deref()).unwrap_or(b"-"));
        out.extend_from_slice(b"\"\n");
    }

    /// Appends the entry as a short line for people, with what is not as usual at its end.
    pub fn write_short(&self, out: &mut Vec<u8>) {
        let method = self.method.as_ref().map_or("-", Method::as_str);
        out.extend_from_slice(self.local_end("%H:%M:%S").as_bytes());
        write_text(out, format_args!(" {} ", self.status.as_u16()));
        escape(out, method.as_bytes());
        out.push(b' ');
        escape(out, self.host.as_deref().unwrap_or_default().as_bytes());
        escape(out, self.path.as_ref().map_or("-", Asked::as_str).as_bytes());
        // Rounded up, so that no time looks like none.
        let millis = self.took.as_micros().div_ceil(100);
        write_text(out, format_args!(" {}.{} ms {}", millis / 10, millis % 10, self.client));
        if let Some(name) = self.upstream.as_ref().and_then(|story| story.name.as_deref()) {
            write_text(out, format_args!(" -> {name}"));
        }
        // Both may have something to say: a rule on trial beside one in force.
        for (story, why) in [(self.limit.as_ref(), ""), (self.dry_run.as_deref(), "dry run: ")] {
            story.into_iter().for_each(|story| story.write_short(why, out));
        }
        if let Some(error) = &self.error {
            out.extend_from_slice(b", ");
            escape(out, error.detail.as_bytes());
        }
        out.push(b'\n');
    }

    /// Appends the entry of a reject as the corresponding line of nginx's error log, which tools
    /// that ban addresses can read.
    pub fn write_limiting(&self, out: &mut Vec<u8>) {
        let Some(limit) = &self.limit else { return };
        let (excess, pid) = (limit.verdict.excess_milli, std::process::id());
        let (whole, thousandths) = (excess / 1_000, excess % 1_000);
        out.extend_from_slice(self.local_end("%Y/%m/%d %H:%M:%S").as_bytes());
        write_text(
            out,
            format_args!(
                " [error] {pid}#0: *1 limiting requests, excess: {whole}.{thousandths:03} by zone "
            ),
        );
        // Zone names are letters, digits, `_` and `-`, so they need no escape.
        write_text(
            out,
            format_args!("\"{}\", client: {}, server: _, request: \"", limit.zone, self.client),
        );
        if let (Some(method), Some(path)) = (&self.method, &self.path) {
            self.write_request_line(out, method, path);
        }
        out.extend_from_slice(b"\", host: \"");
        escape(out, self.host.as_deref().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\"\n");
    }

    fn write_request_line(&self, out: &mut Vec<u8>, method: &Method, path: &Asked) {
        escape(out, method.as_str().as_bytes());
        out.push(b' ');
        escape(out, path.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(proto(self.proto).as_bytes());
    }

    /// Time from the epoch to the end of the request.
    #[must_use]
    pub(super) fn since_epoch(&self) -> Duration {
        (self.at + self.took).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    /// Local time of the end of the request.
    pub(super) fn local_end(&self, format: &str) -> String {
        let end = Timestamp::try_from(self.at + self.took).unwrap_or(Timestamp::UNIX_EPOCH);
        // Asked each time: the zone of the machine may change, and jiff caches it.
        end.to_zoned(TimeZone::system()).strftime(format).to_string()
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    if out.write_fmt(text).is_err() {
        tracing::error!("cannot format a log line");
    }
}

impl LoggedFields {
    fn write(&self, line: &mut Object<'_>) {
        if let Some(referer) = &self.referer {
            line.bytes("referer", referer);
        }
        if let Some(agent) = &self.agent {
            line.bytes("user_agent", agent);
        }
    }
}

impl LimitStory {
    /// Appends what became of a request that did not simply pass.
    fn write_short(&self, why: &str, out: &mut Vec<u8>) {
        let (zone, verdict) = (&self.zone, &self.verdict);
        match verdict.decision {
            Decision::Delay => {
                write_text(out, format_args!(", {why}{zone}: waited {} ms", verdict.wait.0));
            }
            Decision::Reject => {
                let reason = verdict.reason.map_or("reject", Reason::as_str);
                write_text(out, format_args!(", {why}{zone}: rejected, {reason}"));
            }
            _ => {}
        }
    }

    fn write(&self, mut object: Object<'_>) {
        object.text("zone", &self.zone);
        object.word("decision", self.verdict.decision.as_str());
        object.thousandths("excess", self.verdict.excess_milli);
        object.number("wait_ms", self.verdict.wait.0);
        object.number("retry_ms", self.verdict.retry.0);
        if let Some(reason) = self.verdict.reason {
            object.word("reason", reason.as_str());
        }
        match &self.fault {
            Some(KeyFault::Missing(part)) => object.text("missing", &part.to_string()),
            Some(KeyFault::Repeated(part)) => object.text("repeated", &part.to_string()),
            None => {}
        }
        object.end();
    }
}

impl AuthStory {
    fn write(&self, mut object: Object<'_>) {
        if let Some(user) = &self.user {
            object.field("user", user);
        }
        if self.is_cached {
            object.flag("cached");
        }
        if let Some(service) = &self.service {
            service.write(object.object("upstream"));
        }
        object.end();
    }
}

impl UpstreamStory {
    /// No attempt yet at the upstream of this name.
    #[must_use]
    pub fn of(name: &Arc<str>) -> Self {
        Self { name: Some(Arc::clone(name)), ..Self::default() }
    }

    fn write(&self, mut object: Object<'_>) {
        object.text_or_null("name", self.name.as_deref());
        object.text_or_null("endpoint", self.endpoint.as_deref());
        match self.status {
            Some(status) => object.number("status", status.as_u16().into()),
            None => object.null("status"),
        }
        object.millis_or_null("connect_ms", self.connect);
        object.millis_or_null("first_byte_ms", self.first_byte);
        object.number("tries", self.tries.into());
        object.end();
    }
}

impl ErrorStory {
    fn write(&self, mut object: Object<'_>) {
        object.word("side", self.side);
        object.word("kind", self.kind);
        object.field("detail", &self.detail);
        object.end();
    }
}

pub(super) fn proto(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Applies nginx's default escape: quotation marks, backslashes and all bytes that are not
/// printable ASCII become `\xXX`.
pub(super) fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    // Cut before the escape, so an escape is never cut in two.
    for byte in &bytes[..bytes.len().min(FIELD)] {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
            }
            plain => out.push(*plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        limit::Millis,
        log::{
            entry::*,
            line_format::{self, LineFormat},
        },
    };

    fn entry() -> AccessEntry {
        AccessEntry {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            took: Duration::from_micros(1_500),
            id: RequestId::Received(http::HeaderValue::from_static("0123")),
            client: IpAddr::from([192, 0, 2, 1]),
            peer: IpAddr::from([10, 0, 0, 9]),
            method: Some(Method::GET),
            host: Some("a.test".into()),
            path: Some(Asked::Path(PathAndQuery::from_static("/x?y=1"))),
            proto: Version::HTTP_11,
            status: StatusCode::SERVICE_UNAVAILABLE,
            bytes_in: 0,
            bytes_out: 12,
            route: Some("/".into()),
            limit: None,
            dry_run: None,
            auth: None,
            upstream: None,
            error: None,
            fields: Some(Box::new(LoggedFields {
                agent: Some(b"a \"b\"\\ \xff"[..].into()),
                ..LoggedFields::default()
            })),
        }
    }

    #[test]
    fn json_has_the_fields_in_order_with_the_numbers_of_the_limit() {
        let verdict = Verdict { excess_milli: 21_000, ..Verdict::EXEMPT }
            .rejected(Reason::Burst, Millis(100));
        assert_eq!(verdict.decision, Decision::Reject);
        let limit = Some(LimitStory {
            zone: "per_ip".into(),
            verdict,
            key: 1,
            fault: None,
            is_parked: false,
        });
        let mut line = Vec::new();
        AccessEntry { limit, ..entry() }.write_json(&mut line);
        let expected = concat!(
            r#"{"ts":"2023-11-14T22:13:20.123Z","id":"0123","client":"192.0.2.1","peer":"10.0.0.9","method":"GET","#,
            r#""host":"a.test","path":"/x?y=1","proto":"HTTP/1.1","status":503,"bytes_in":0,"bytes_out":12,"dur_ms":1.5,"#,
            r#""user_agent":"a \"b\"\\ �","route":"/","limit":{"zone":"per_ip","decision":"reject","excess":21.0,"wait_ms":0,"retry_ms":100,"#,
            r#""reason":"burst"}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }

    #[test]
    fn json_has_the_upstream_and_the_error_with_null_for_unknown_values() {
        let upstream = Some(UpstreamStory {
            name: Some("app".into()),
            first_byte: Some(Duration::from_micros(2_050)),
            tries: 2,
            ..UpstreamStory::default()
        });
        let detail = "a \"quoted\"\nline".to_owned();
        let error = Some(Box::new(ErrorStory { side: "upstream", kind: "dns_error", detail }));
        let mut line = Vec::new();
        AccessEntry { upstream, error, ..entry() }.write_json(&mut line);
        let line = String::from_utf8(line).expect("text");
        let expected = concat!(
            r#","upstream":{"name":"app","endpoint":null,"status":null,"connect_ms":null,"#,
            r#""first_byte_ms":2.05,"tries":2},"#,
            r#""error":{"side":"upstream","kind":"dns_error","detail":"a \"quoted\"\nline"}}"#,
            "\n"
        );
        assert!(line.ends_with(expected), "{line}");
    }

    fn limited(decision: Verdict) -> Option<LimitStory> {
        let zone = "per_ip".into();
        Some(LimitStory { zone, verdict: decision, key: 1, fault: None, is_parked: false })
    }

    #[test]
    fn short_line_ends_with_what_is_not_as_usual() {
        let of = |entry: AccessEntry| {
            let mut line = Vec::new();
            entry.write_short(&mut line);
            // The time is that of the machine's zone.
            String::from_utf8(line).expect("ASCII")["22:13:20".len()..].to_owned()
        };
        let usual = " 503 GET a.test/x?y=1 1.5 ms 192.0.2.1";
        let upstream = Some(UpstreamStory::of(&"app".into()));
        assert_eq!(of(entry()), format!("{usual}\n"));
        assert_eq!(of(AccessEntry { upstream, ..entry() }), format!("{usual} -> app\n"));
        let limit = limited(Verdict::EXEMPT);
        assert_eq!(of(AccessEntry { limit, ..entry() }), format!("{usual}\n"));
        let limit = limited(Verdict::EXEMPT.rejected(Reason::Burst, Millis(100)));
        let rejected = format!("{usual}, per_ip: rejected, burst\n");
        assert_eq!(of(AccessEntry { limit, ..entry() }), rejected);
        let delay = Verdict { decision: Decision::Delay, wait: Millis(300), ..Verdict::EXEMPT };
        let dry_run = limited(delay).map(Box::new);
        let delayed = format!("{usual}, dry run: per_ip: waited 300 ms\n");
        assert_eq!(of(AccessEntry { dry_run, ..entry() }), delayed);
        let detail = "broken\n\x1b[31m".to_owned();
        let error = Some(Box::new(ErrorStory { side: "client", kind: "x", detail }));
        let host = Some("a\r\n200".into());
        assert_eq!(
            of(AccessEntry { error, host, ..entry() }),
            " 503 GET a\\x0D\\x0A200/x?y=1 1.5 ms 192.0.2.1, broken\\x0A\\x1B[31m\n"
        );
    }

    fn of_format(text: &str, escape: line_format::Escape, entry: &AccessEntry) -> String {
        let mut line = Vec::new();
        LineFormat::parse(text, escape).expect("a format").write(entry, &mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn format_shows_what_nginx_shows() {
        let upstream = Some(UpstreamStory {
            endpoint: Some("10.0.0.1:80".into()),
            status: Some(StatusCode::OK),
            connect: Some(Duration::from_millis(2)),
            first_byte: Some(Duration::from_millis(40)),
            ..UpstreamStory::default()
        });
        let limit = limited(Verdict::EXEMPT.rejected(Reason::Burst, Millis(100)));
        let took = Duration::from_millis(1_500);
        let path = Some(Asked::Other("/a//b/../%63?y=\"".into()));
        let entry = AccessEntry { upstream, limit, took, path, ..entry() };
        let fields = LoggedFields {
            scheme: Some("https"),
            user: Some(b"joe".to_vec()),
            request: vec![(HeaderName::from_static("x-a"), b"q\"\t\xff"[..].into())],
            ..LoggedFields::default()
        };
        let entry = AccessEntry { fields: Some(Box::new(fields)), ..entry };
        for (text, default, json) in [
            ("$remote_addr $realip_remote_addr", "192.0.2.1 10.0.0.9", "192.0.2.1 10.0.0.9"),
            (
                "<$request>",
                "<GET /a//b/../%63?y=\\x22 HTTP/1.1>",
                "<GET /a//b/../%63?y=\\\" HTTP/1.1>",
            ),
            ("$uri$is_args$args", "/a/c?y=\\x22", "/a/c?y=\\\""),
            ("$http_x_a|$http_x_b|", "q\\x22\\x09\\xFF|-|", "q\\\"\\t\u{fffd}||"),
            ("$status $body_bytes_sent $request_time", "503 12 1.500", "503 12 1.500"),
            ("$msec $scheme $remote_user", "1700000001.623 https joe", "1700000001.623 https joe"),
            ("$upstream_addr $upstream_status", "10.0.0.1:80 200", "10.0.0.1:80 200"),
            ("$upstream_connect_time $upstream_header_time", "0.002 0.042", "0.002 0.042"),
            ("$limit_req_status $limit_zone ${route}x", "REJECTED per_ip /x", "REJECTED per_ip /x"),
            ("$host $request_id $request_method", "a.test 0123 GET", "a.test 0123 GET"),
        ] {
            let of = |escape| of_format(text, escape, &entry);
            assert_eq!(of(line_format::Escape::Default), format!("{default}\n"), "{text}");
            assert_eq!(of(line_format::Escape::Json), format!("{json}\n"), "{text}");
        }
    }

    #[test]
    fn format_shows_a_dash_or_nothing_for_what_is_not_there() {
        let empty = AccessEntry {
            method: None,
            path: None,
            host: None,
            route: None,
            fields: None,
            ..entry()
        };
        let text = "$request|$request_uri|$uri|$args|$is_args|$host|$route|$remote_user|$scheme|\
            $http_a|$sent_http_a|$upstream_addr|$upstream_header_time|$limit_req_status|$limit_zone";
        let of = |escape| of_format(text, escape, &empty);
        assert_eq!(of(line_format::Escape::Default), "-|-|-|-||-|-|-|-|-|-|-|-|-|-\n");
        assert_eq!(of(line_format::Escape::Json), "||||||||||||||\n");
    }

    /// A format that spells `combined` out is that, byte for byte.
    #[test]
    fn format_of_combined_is_combined() {
        let text = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
            $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";
        let mut fields = LoggedFields {
            referer: Some(b"http://a/\"x"[..].into()),
            agent: Some(b"curl \xe9"[..].into()),
            user: Some(b"joe".to_vec()),
            ..LoggedFields::default()
        };
        let named = [("referer", &fields.referer), ("user-agent", &fields.agent)];
        fields.request = named
            .into_iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), value.clone()?)))
            .collect();
        let entry = AccessEntry { fields: Some(Box::new(fields)), ..entry() };
        let mut combined = Vec::new();
        entry.write_combined(&mut combined);
        let line = of_format(text, line_format::Escape::Default, &entry);
        assert_eq!(line, String::from_utf8(combined).expect("ASCII"));
    }

    #[test]
    fn combined_is_escaped_as_nginx_does() {
        let mut line = Vec::new();
        entry().write_combined(&mut line);
        let line = String::from_utf8(line).expect("ASCII");
        assert!(line.starts_with("192.0.2.1 - - ["), "{line}");
        assert!(
            line.ends_with("] \"GET /x?y=1 HTTP/1.1\" 503 12 \"-\" \"a \\x22b\\x22\\x5C \\xFF\"\n"),
            "{line}"
        );
    }

    #[test]
    fn combined_has_the_user_and_the_time_of_the_end() {
        let mut headers = HeaderList::default();
        let mut user = |credentials| {
            headers.set_static(KnownName::Authorization, credentials);
            LoggedFields::of_user(&headers).user.map(|user| String::from_utf8(user).expect("text"))
        };
        assert_eq!(user("Basic dXNlci0xOnB3").as_deref(), Some("user-1"));
        assert_eq!(user("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Some("Aladdin"));
        for none in ["Basic", "Basic Og==", "Basic dXNlcg==", "Basic %%%", "Bearer dXNlci0xOnB3"] {
            assert_eq!(user(none), None, "{none}");
        }
        let slow = AccessEntry { took: Duration::from_secs(60), ..entry() };
        let time = |entry: &AccessEntry| {
            let mut line = Vec::new();
            entry.write_combined(&mut line);
            String::from_utf8(line).expect("ASCII").split(['[', ']']).nth(1).expect("a time")[..20]
                .to_owned()
        };
        let end = AccessEntry { at: slow.at + slow.took, took: Duration::ZERO, ..entry() };
        assert_eq!(time(&slow), time(&end));
        assert_ne!(time(&slow), time(&entry()));
    }

    #[test]
    fn limiting_is_nginxs_line_and_nothing_of_a_client_can_end_it() {
        let verdict = Verdict { excess_milli: 20_990, ..Verdict::EXEMPT }
            .rejected(Reason::Burst, Millis(100));
        let limit = Some(LimitStory {
            zone: "per_ip".into(),
            verdict,
            key: 1,
            fault: None,
            is_parked: false,
        });
        let host = Some("a\", client: 192.0.2.9".into());
        let mut line = Vec::new();
        AccessEntry { limit, host, ..entry() }.write_limiting(&mut line);
        let line = String::from_utf8(line).expect("ASCII");
        let rest = format!(
            " [error] {}#0: *1 limiting requests, excess: 20.990 by zone \"per_ip\", client: 192.0.2.1, server: _, \
             request: \"GET /x?y=1 HTTP/1.1\", host: \"a\\x22, client: 192.0.2.9\"\n",
            std::process::id()
        );
        assert_eq!(line[19..], rest);
    }

    #[test]
    fn access_line_cuts_long_fields() {
        let mut line = Vec::new();
        AccessEntry { host: Some("é".repeat(FIELD).into()), ..entry() }.write_json(&mut line);
        assert!(line.len() < 2 * FIELD);
    }
}
