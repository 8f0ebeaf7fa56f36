//! One line of the access log: JSON, or nginx's `combined` byte for byte; and of the error log, as
//! nginx writes it for a reject.
//!
//! Guarantee: an entry is one line. Control bytes are escaped, a field is cut at [`FIELD`] bytes,
//! and a client cannot inject a line.

use std::{io::Write, net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::SystemTime};

use http::{Method, StatusCode, Version, uri::PathAndQuery};
use jiff::{Timestamp, tz::TimeZone};

use super::json::{FIELD, Object};
use crate::{
    http::{
        header_list::HeaderList,
        known_name::KnownName,
        request_id::{Digits, RequestId},
    },
    limit::{KeyFault, Verdict, basic::BasicUser},
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
    /// Fields that only `combined` has, for that format.
    pub browser: Option<Box<Browser>>,
}

/// Request fields about the sender, in `combined` only.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// `Referer`.
    pub referer: Option<Box<[u8]>>,
    /// `User-Agent`.
    pub agent: Option<Box<[u8]>>,
    /// User of `Authorization: Basic` (RFC 7617), not verified.
    pub user: Option<Vec<u8>>,
}

impl Browser {
    /// Reads them from the header fields.
    #[must_use]
    pub fn of(headers: &HeaderList) -> Self {
        Self {
            referer: headers.get(KnownName::Referer).map(Box::from),
            agent: headers.get(KnownName::UserAgent).map(Box::from),
            user: headers.get(KnownName::Authorization).and_then(basic_user),
        }
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
    fn as_str(&self) -> &str {
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
        let browser = self.browser.as_deref();
        let claimed = browser.and_then(|browser| browser.user.as_deref());
        escape(out, self.verified_user().map(str::as_bytes).or(claimed).unwrap_or(b"-"));
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.local_end("%d/%b/%Y:%H:%M:%S %z").as_bytes());
        out.extend_from_slice(b"] \"");
        if let (Some(method), Some(path)) = (&self.method, &self.path) {
            self.write_request_line(out, method, path);
        }
        write_text(out, format_args!("\" {} {} \"", self.status.as_u16(), self.bytes_out));
        escape(out, browser.and_then(|browser| browser.referer.as_deref()).unwrap_or(b"-"));
        out.extend_from_slice(b"\" \"");
        escape(out, browser.and_then(|browser| browser.agent.as_deref()).unwrap_or(b"-"));
        out.extend_from_slice(b"\"\n");
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

    /// Local time of the end of the request.
    fn local_end(&self, format: &str) -> String {
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

impl LimitStory {
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

fn proto(version: Version) -> &'static str {
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
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
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
        limit::{Decision, Millis, Reason},
        log::entry::*,
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
            browser: Some(Box::new(Browser {
                agent: Some(b"a \"b\"\\ \xff"[..].into()),
                ..Browser::default()
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
            r#""route":"/","limit":{"zone":"per_ip","decision":"reject","excess":21.0,"wait_ms":0,"retry_ms":100,"#,
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
            Browser::of(&headers).user.map(|user| String::from_utf8(user).expect("text"))
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
