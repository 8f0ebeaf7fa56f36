//! Responses of weir's own, and what those to rejects (`reject.rs`) have in common with them.
//!
//! Guarantees: every response to an error names its cause in the terms of RFC 9209, and may not be
//! cached.

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
    limit::{KeyFault, Millis},
    log::json::write_text,
    runtime::{clock::Clock, decimal::write_number},
};

/// Style of pages, for light and dark screens of any width. A page names nothing else to load, so it
/// also shows while its server is down.
const STYLE: &str = "<style>:root{color-scheme:light dark;--ink:#1c2733;--soft:#5a6672;--paper:\
    #f6f7f8}@media(prefers-color-scheme:dark){:root{--ink:#e7ebee;--soft:#9aa6b1;--paper:#14191e}}\
    html{background:var(--paper);color:var(--ink);font:1.0625rem/1.6 system-ui,sans-serif}body{\
    margin:0 auto;padding:2rem;box-sizing:border-box;max-width:36rem;min-height:100vh;display:flex;\
    flex-direction:column;justify-content:center}h1{margin:0 0 1rem;font-size:1.75rem;line-height:\
    1.25}p{margin:.25rem 0;overflow-wrap:anywhere}.status{color:var(--soft);font-variant-numeric:\
    tabular-nums}</style>";

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

/// File for an ACME challenge (RFC 8555, section 8.3).
#[must_use]
pub fn challenge(content: Bytes) -> Response<Full<Bytes>> {
    let mut headers = HeaderList::with_room();
    headers.set_static(KnownName::ContentType, "application/octet-stream");
    headers.set_static(KnownName::CacheControl, "no-store");
    let head = ResponseParts { headers, ..ResponseParts::of(StatusCode::OK) };
    Response { head, body: Full::new(content) }
}

/// Response to a request that failed.
#[must_use]
pub fn failure(error: &Error, accept: Option<&[u8]>) -> Response<Full<Bytes>> {
    let mut headers = HeaderList::with_room();
    insert(&mut headers, KnownName::ProxyStatus, &[&cause_of(error)]);
    if error.kind().status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.set_static(KnownName::RetryAfter, "1");
    }
    let page = ErrorBody::of(error).render(preferred(accept));
    page.describe(&mut headers);
    let head = ResponseParts { headers, ..ResponseParts::of(error.kind().status()) };
    Response { head, body: Full::new(page.filled(Millis::ZERO).into()) }
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
    let story = ErrorBody::of(error);
    let page = story.render(RejectBody::Problem);
    let (status, body) = (story.status, page.filled(Millis::ZERO));
    let date = Clock::date(str::to_owned);
    let head = [
        format!("HTTP/1.1 {} {}", status.as_u16(), story.title()),
        format!("proxy-status: {}", cause_of(error)),
        format!("content-type: {}", page.media),
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

/// Describes a key fault in characters that header fields, JSON and HTML can all contain. Others
/// are percent-encoded; only the name of a query parameter can have them.
pub(super) fn described(fault: &KeyFault) -> String {
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
pub(super) struct ErrorBody<'a> {
    pub status: StatusCode,
    pub detail: &'a str,
    pub zone: Option<&'a str>,
    /// True if the body says when to retry.
    pub has_retry: bool,
}

/// Body of a response in which the time to retry may be missing.
pub(super) struct Page {
    media: &'static str,
    text: Vec<u8>,
    /// Place of the milliseconds, if the body has them.
    retry: Option<usize>,
}

impl Page {
    /// Sets the fields that describe it.
    pub fn describe(&self, headers: &mut HeaderList) {
        if !self.media.is_empty() {
            headers.set_static(KnownName::ContentType, self.media);
        }
        headers.set_static(KnownName::CacheControl, "no-store");
    }

    /// Body with the time to retry.
    pub fn filled(&self, retry: Millis) -> Vec<u8> {
        let (before, behind) = self.text.split_at(self.retry.unwrap_or(self.text.len()));
        let mut text = Vec::with_capacity(self.text.len() + 20);
        text.extend_from_slice(before);
        if self.retry.is_some() {
            write_number(&mut text, retry.0);
        }
        text.extend_from_slice(behind);
        text
    }
}

impl<'a> ErrorBody<'a> {
    fn of(error: &'a Error) -> Self {
        let (status, detail) = (error.kind().status(), error.detail());
        Self { status, detail, zone: None, has_retry: false }
    }

    /// Renders the body.
    pub fn render(&self, body: RejectBody) -> Page {
        let (media, (before, behind)) = match body {
            RejectBody::Html => ("text/html; charset=utf-8", self.html()),
            RejectBody::Text => ("text/plain; charset=utf-8", self.text()),
            RejectBody::None => ("", <_>::default()),
            RejectBody::Auto | RejectBody::Problem => ("application/problem+json", self.problem()),
        };
        let retry = self.has_retry.then_some(before.len()).filter(|_| !media.is_empty());
        Page { media, text: [before, behind].concat().into_bytes(), retry }
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// Text before the time to retry and behind it.
    fn problem(&self) -> (String, String) {
        let (title, status, detail) = (self.title(), self.status.as_u16(), self.detail);
        let mut problem = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}""#
        );
        if let Some(zone) = self.zone {
            let mut text = Vec::new();
            write_text(&mut text, zone);
            problem += r#","zone":"#;
            problem += &String::from_utf8_lossy(&text);
        }
        if self.has_retry {
            problem += r#","retry_after_ms":"#;
        }
        (problem, "}".to_owned())
    }

    fn text(&self) -> (String, String) {
        let text = format!("{} {}: {}", self.status.as_u16(), self.title(), self.detail);
        if self.has_retry {
            (text + " (in ", " ms)\n".to_owned())
        } else {
            (text + "\n", String::new())
        }
    }

    fn html(&self) -> (String, String) {
        let (status, title, detail) = (self.status.as_u16(), self.title(), self.detail);
        let page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
            content=\"width=device-width\"><title>{status} {title}</title>{STYLE}<p \
            class=status>{status}<h1>{title}</h1><p>{detail}.</p>"
        );
        if self.has_retry {
            (page + "<p>Retry in ", " ms.</p>".to_owned())
        } else {
            (page, String::new())
        }
    }
}

/// Body that `Accept` prefers: the first type of the greatest weight that weir can write (RFC 9110,
/// section 12.5.1).
pub(super) fn preferred(accept: Option<&[u8]>) -> RejectBody {
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
pub(super) fn insert<const PARTS: usize>(
    headers: &mut HeaderList,
    name: KnownName,
    text: &[&str; PARTS],
) {
    if let Err(error) = headers.set_parts(name, &text.map(str::as_bytes)) {
        let name = name.text();
        tracing::error!(%error, name, "invalid value for a response header; header left out");
    }
}

#[cfg(test)]
mod tests {
    use crate::proxy::reply::*;

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
