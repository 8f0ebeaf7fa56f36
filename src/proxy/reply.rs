//! Responses of weir's own, made from an error or a reject. No other file makes them.
//!
//! Guarantees: a rejected client learns exactly when to retry (`Retry-After` in whole seconds,
//! rounded up, at least one; the milliseconds in the body), or which part of its key is at fault.
//! Every response names its cause in the terms of RFC 9209. None of them may be cached.

use std::fmt::Write;

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::{
        error::{Error, Kind},
        header_list::HeaderList,
        known_name::KnownName,
        message::{Response, ResponseParts},
    },
    limit::{KeyFault, Millis, Rule, Verdict},
    log::json::write_text,
    runtime::{clock::Clock, decimal::write_number},
};

/// Status that closes the connection instead of responding.
pub const CLOSE: u16 = 444;

/// Body of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RejectBody {
    /// JSON, HTML or text, as `Accept` prefers.
    Auto,
    // RFC 9457.
    /// `application/problem+json`.
    Problem,
    /// A small page.
    Html,
    /// One line.
    Text,
    /// No body.
    None,
}

/// Header field of a reject.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RejectHeader {
    /// `Retry-After`: whole seconds.
    RetryAfter,
    /// `Proxy-Status`: RFC 9209.
    ProxyStatus,
    /// `RateLimit-Policy` and `RateLimit`.
    Ratelimit,
}

/// Form of the rejects of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectSettings {
    /// Status from 400 to 599; 444 closes the connection without a response.
    pub status: u16,
    /// Fields in the order they are sent.
    pub headers: Vec<RejectHeader>,
    /// The body.
    pub body: RejectBody,
}

/// Creates a response that is only a status.
#[must_use]
pub fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    Response { head: ResponseParts::of(status), body: Full::default() }
}

/// Redirects a request to the `https` port of a host (RFC 9110, section 15.4.9: method and body
/// stay).
///
/// # Errors
/// [`Kind::HttpRequestError`] when host and path do not form a field value.
pub fn redirect(
    host: &str,
    port: u16,
    path: &PathAndQuery,
) -> Result<Response<Full<Bytes>>, Error> {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    let location = format!("https://{host}{port}{path}");
    let set = response.head.headers.set_text(KnownName::Location, location.as_bytes());
    set.map_err(|cause| {
        Error::caused(Kind::HttpRequestError, "the target is not a valid header value", cause)
    })?;
    Ok(response)
}

/// Response to a request that failed.
#[must_use]
pub fn failure(error: &Error, accept: Option<&[u8]>) -> Response<Full<Bytes>> {
    let mut headers = HeaderList::with_room();
    insert(&mut headers, KnownName::ProxyStatus, &[&cause_of(error)]);
    if error.kind().status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.set_static(KnownName::RetryAfter, "1");
    }
    let story = ErrorBody {
        status: error.kind().status(),
        detail: error.detail(),
        zone: None,
        retry_ms: None,
    };
    story.answer(headers, RejectBody::Auto, accept)
}

/// Response as the bytes that end its connection.
pub struct RawResponse {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// Length of the body.
    pub body_length: u64,
}

/// Response to a request that could not be parsed.
#[must_use]
pub fn raw_response(error: &Error) -> RawResponse {
    let status = error.kind().status();
    let story = ErrorBody { status, detail: error.detail(), zone: None, retry_ms: None };
    let (media, body) = story.render(RejectBody::Auto, None);
    let date = Clock::date(str::to_owned);
    let head = [
        format!("HTTP/1.1 {} {}", status.as_u16(), story.title()),
        format!("proxy-status: {}", cause_of(error)),
        format!("content-type: {media}"),
        format!("content-length: {}", body.len()),
        format!("date: {}", date.unwrap_or_default()),
        "cache-control: no-store\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    let body_length = body.len() as u64;
    RawResponse { bytes: [head.join("\r\n").into_bytes(), body].concat(), body_length }
}

fn cause_of(error: &Error) -> String {
    format!("weir; error={}; details=\"{}\"", error.kind().as_str(), error.detail())
}

/// Response to a request that a rule rejected, with the part of its key that is missing or repeated
/// if that is the reason. None when the connection is to be closed instead.
#[must_use]
pub fn reject(
    settings: &RejectSettings,
    verdict: &Verdict,
    rule: Option<&Rule>,
    fault: Option<&KeyFault>,
    accept: Option<&[u8]>,
) -> Option<Response<Full<Bytes>>> {
    if settings.status == CLOSE {
        return None;
    }
    let zone = rule.map(|rule| &*rule.zone().settings().name);
    let fault = fault.map(described);
    let cause = Rejection { rule, zone, fault: fault.as_deref(), retry: verdict.retry };
    let mut headers = HeaderList::with_room();
    settings.headers.iter().for_each(|header| cause.write(*header, &mut headers));
    let status = StatusCode::from_u16(settings.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let retry_ms = fault.is_none().then_some(verdict.retry.0);
    let detail = fault.as_deref().unwrap_or("rate limit exceeded; retry later");
    Some(ErrorBody { status, detail, zone, retry_ms }.answer(headers, settings.body, accept))
}

/// Facts that the header fields of a reject are made of.
struct Rejection<'a> {
    rule: Option<&'a Rule>,
    zone: Option<&'a str>,
    fault: Option<&'a str>,
    retry: Millis,
}

impl Rejection<'_> {
    fn write(&self, header: RejectHeader, headers: &mut HeaderList) {
        let seconds = self.retry.seconds_up().max(1);
        match header {
            RejectHeader::RetryAfter if self.fault.is_some() => {}
            RejectHeader::RetryAfter => {
                headers.set_number(KnownName::RetryAfter, seconds);
            }
            RejectHeader::ProxyStatus => {
                let zone = self.zone.unwrap_or("none");
                let (colon, fault) = self.fault.map_or(("", ""), |fault| (": ", fault));
                let begin = "weir; error=http_request_denied; details=\"zone ";
                insert(headers, KnownName::ProxyStatus, &[begin, zone, colon, fault, "\""]);
            }
            RejectHeader::Ratelimit => {
                let Some(rule) = self.rule else { return };
                let name = &rule.zone().settings().name;
                let places = u64::from(rule.settings().burst) + 1;
                let window = window_seconds(rule, places);
                insert(
                    headers,
                    KnownName::RatelimitPolicy,
                    &[&format!("\"{name}\";q={places};w={window}")],
                );
                if self.fault.is_none() {
                    let left = format!("\"{name}\";r=0;t={seconds}");
                    insert(headers, KnownName::Ratelimit, &[&left]);
                }
            }
        }
    }
}

/// Describes a key fault in characters that header fields, JSON and HTML can all contain. Others
/// are percent-encoded; only the name of a query parameter can have them.
fn described(fault: &KeyFault) -> String {
    let (mut described, name) = match fault.part().noun_and_name() {
        Some((noun, name)) => (format!("the {noun} "), name),
        None => ("a part of the key".to_owned(), ""),
    };
    for letter in name.chars() {
        if matches!(letter, '"' | '\\' | '<' | '>' | '&') {
            described.push_str(&format!("%{:02X}", u32::from(letter)));
        } else {
            described.push(letter);
        }
    }
    described
        + match fault {
            KeyFault::Missing(_) => " is missing",
            KeyFault::Repeated(_) => " appears more than once",
        }
}

/// Time until the whole burst is free again, in seconds, rounded up.
fn window_seconds(rule: &Rule, places: u64) -> u64 {
    let rate = rule.zone().settings().rate;
    (rate.interval_ticks().saturating_mul(places))
        .div_ceil(rate.ticks_per_ms().saturating_mul(1_000))
}

/// Turns a response of weir's own into a gRPC one: the status in a field, no body, and HTTP status
/// 200. A reject for a key fault is INVALID_ARGUMENT, which clients do not retry.
#[must_use]
pub fn grpc(mut answer: Response<Full<Bytes>>, fault: Option<&KeyFault>) -> Response<Full<Bytes>> {
    // The mapping from HTTP status to gRPC code is gRPC's own.
    let (code, message) = match answer.head.status.as_u16() {
        _ if fault.is_some() => ("3", ""),
        400 => ("13", "the request is malformed"),
        401 => ("16", "not authenticated"),
        403 => ("7", "not permitted"),
        404 => ("12", "no route matches this method"),
        429 | 502..=504 => ("14", "unavailable; retry later"),
        _ => ("2", "refused"),
    };
    answer.head.status = StatusCode::OK;
    answer.body = Full::default();
    let headers = &mut answer.head.headers;
    headers.set_static(KnownName::ContentType, "application/grpc");
    headers.set_static(KnownName::GrpcStatus, code);
    match fault {
        // A percent sign begins an octet in this field.
        Some(fault) => {
            insert(headers, KnownName::GrpcMessage, &[&described(fault).replace('%', "%25")]);
        }
        None => headers.set_static(KnownName::GrpcMessage, message),
    }
    answer
}

/// Content of a response body.
struct ErrorBody<'a> {
    status: StatusCode,
    detail: &'a str,
    zone: Option<&'a str>,
    retry_ms: Option<u64>,
}

impl ErrorBody<'_> {
    /// Renders the body and its media type.
    fn render(&self, body: RejectBody, accept: Option<&[u8]>) -> (&'static str, Vec<u8>) {
        let body = if body == RejectBody::Auto { preferred(accept) } else { body };
        match body {
            RejectBody::Html => ("text/html; charset=utf-8", self.html().into_bytes()),
            RejectBody::Text => ("text/plain; charset=utf-8", self.text().into_bytes()),
            RejectBody::None => ("", Vec::new()),
            RejectBody::Auto | RejectBody::Problem => ("application/problem+json", self.problem()),
        }
    }

    fn answer(
        &self,
        mut headers: HeaderList,
        body: RejectBody,
        accept: Option<&[u8]>,
    ) -> Response<Full<Bytes>> {
        let (media, text) = self.render(body, accept);
        if !media.is_empty() {
            headers.set_static(KnownName::ContentType, media);
        }
        headers.set_static(KnownName::CacheControl, "no-store");
        let head = ResponseParts { headers, ..ResponseParts::of(self.status) };
        Response { head, body: Full::new(Bytes::from(text)) }
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// Written by hand because floods get it; only the zone name may need a JSON escape.
    fn problem(&self) -> Vec<u8> {
        let mut problem = Vec::with_capacity(192);
        for part in [r#"{"type":"about:blank","title":""#, self.title(), r#"","status":"#] {
            problem.extend_from_slice(part.as_bytes());
        }
        write_number(&mut problem, self.status.as_u16().into());
        for part in [r#","detail":""#, self.detail, r#"""#] {
            problem.extend_from_slice(part.as_bytes());
        }
        if let Some(zone) = self.zone {
            problem.extend_from_slice(br#","zone":"#);
            write_text(&mut problem, zone);
        }
        if let Some(retry_ms) = self.retry_ms {
            problem.extend_from_slice(br#","retry_after_ms":"#);
            write_number(&mut problem, retry_ms);
        }
        problem.push(b'}');
        problem
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}: {}", self.status.as_u16(), self.title(), self.detail);
        if let Some(retry_ms) = self.retry_ms {
            text.push_str(&format!(" (in {retry_ms} ms)"));
        }
        text.push('\n');
        text
    }

    fn html(&self) -> String {
        let (status, title, detail) = (self.status.as_u16(), self.title(), self.detail);
        let mut page = format!(
            "<!doctype html><meta charset=utf-8><title>{status} {title}</title><h1>{status} \
            {title}</h1>"
        );
        let again =
            self.retry_ms.map(|retry_ms| format!(" Retry in {retry_ms} ms.")).unwrap_or_default();
        if write!(page, "<p>{detail}.{again}</p>").is_err() {
            tracing::error!("cannot format an error page");
        }
        page
    }
}

/// Body that `Accept` prefers: the first type of the greatest weight that weir can write (RFC 9110,
/// section 12.5.1).
fn preferred(accept: Option<&[u8]>) -> RejectBody {
    let Some(accept) = accept.and_then(|accept| str::from_utf8(accept).ok()) else {
        return RejectBody::Problem;
    };
    let mut best = (0, RejectBody::Problem);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let form = match parts.next().unwrap_or("") {
            "text/html" | "application/xhtml+xml" => RejectBody::Html,
            "text/plain" | "text/*" => RejectBody::Text,
            "application/json" | "application/problem+json" | "application/*" | "*/*" => {
                RejectBody::Problem
            }
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
        if weight > best.0 {
            best = (weight, form);
        }
    }
    best.1
}

/// Weight of an `Accept` element in thousandths; an invalid one counts as zero.
fn thousandths(weight: &str) -> u32 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = format!("{whole}{fraction:0<3}");
    digits.parse().ok().filter(|weight| *weight <= 1_000).unwrap_or(0)
}

/// Sets a field to a text of weir's own, which is always a valid value; otherwise the field is left
/// out.
fn insert<const PARTS: usize>(headers: &mut HeaderList, name: KnownName, text: &[&str; PARTS]) {
    if let Err(error) = headers.set_parts(name, &text.map(str::as_bytes)) {
        let name = name.text();
        tracing::error!(%error, name, "invalid value for a response header; header left out");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;
    use http_body_util::BodyExt;

    use crate::{
        limit::{Key, Part, Reason, RuleSettings, Zone, ZoneSettings},
        proxy::reply::*,
    };

    fn rule() -> Rule {
        let settings = ZoneSettings {
            name: "per_ip".into(),
            key: Key::of(vec![Part::ClientIp]),
            rate: "10r/s".parse().expect("a rate"),
            capacity: 1,
            exempt: Vec::new(),
        };
        Rule::new(Arc::new(Zone::new(settings)), RuleSettings::burst(20)).expect("a rule")
    }

    fn settings(status: u16) -> RejectSettings {
        let headers =
            vec![RejectHeader::RetryAfter, RejectHeader::ProxyStatus, RejectHeader::Ratelimit];
        RejectSettings { status, headers, body: RejectBody::Auto }
    }

    async fn rejected(accept: &str) -> (HeaderMap, String) {
        let verdict = Verdict::EXEMPT.rejected(Reason::Burst, Millis(1_001));
        let accept = Some(accept.as_bytes());
        let response =
            reject(&settings(503), &verdict, Some(&rule()), None, accept).expect("an answer");
        assert_eq!(response.head.status, 503);
        let body = response.body.collect().await.expect("a whole body").to_bytes();
        (response.head.headers.to_map(), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn reject_response_has_retry_time() {
        let (headers, body) = rejected("*/*").await;
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(
            headers["proxy-status"],
            "weir; error=http_request_denied; details=\"zone per_ip\""
        );
        assert_eq!(headers["ratelimit-policy"], "\"per_ip\";q=21;w=3");
        assert_eq!(headers["ratelimit"], "\"per_ip\";r=0;t=2");
        assert_eq!(headers["cache-control"], "no-store");
        let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&problem["zone"], &problem["retry_after_ms"]),
            (&"per_ip".into(), &1_001.into())
        );
    }

    #[tokio::test]
    async fn reject_body_follows_accept() {
        for (accept, media) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
            ("text/html;q=0.5, application/json", "application/problem+json"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("image/png", "application/problem+json"),
            ("text/html;q=0, text/plain;q=0.001", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(rejected(accept).await.0["content-type"], media, "{accept}");
        }
        assert_eq!(
            rejected("text/plain").await.1,
            "503 Service Unavailable: rate limit exceeded; retry later (in 1001 ms)\n"
        );
    }

    #[test]
    fn fault_of_any_part_fits_into_a_field_json_and_html() {
        let of = |part: &str| described(&KeyFault::Missing(part.parse().expect("a part")));
        assert_eq!(of("header:X-Api-Key"), "the field x-api-key is missing");
        assert_eq!(of("cookie:a&b"), "the cookie a%26b is missing");
        assert_eq!(of("query:<b>\"\\"), "the query parameter %3Cb%3E%22%5C is missing");
        let repeated = described(&KeyFault::Repeated("cookie:sid".parse().expect("a part")));
        assert_eq!(repeated, "the cookie sid appears more than once");
    }

    #[test]
    fn status_444_is_no_answer() {
        let verdict = Verdict::EXEMPT.rejected(Reason::Burst, Millis(1));
        assert!(reject(&settings(444), &verdict, None, None, None).is_none());
    }

    #[test]
    fn response_to_failure_names_its_kind() {
        let response = failure(
            &Error::new(Kind::ConnectionRefused, "the endpoint refused the connection"),
            None,
        );
        assert_eq!(response.head.status, 502);
        let expected =
            "weir; error=connection_refused; details=\"the endpoint refused the connection\"";
        let told = response.head.headers.get(KnownName::ProxyStatus);
        assert_eq!(told, Some(expected.as_bytes()));
    }
}
