//! Response as written to a client: its head, and exactly one framing of its body (RFC 9112,
//! sections 4 and 6).
//!
//! Guarantees: the output can be framed in one way only. Only a client that can read chunks gets
//! them, and only one that asked for trailers gets those that the head announced.

use http::{HeaderName, Method, StatusCode, Version};
use http_body::SizeHint;

use super::request::write_field;

use crate::{
    http::{
        fields::{ConnectionOptions, length_of, tokens, wants_trailers},
        header_list::HeaderList,
        known_name::KnownName,
        message::{RequestParts, ResponseParts},
    },
    runtime::decimal::write_number,
};

/// Facts of a request that decide the form of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseForm {
    /// True for HEAD, which gets no body.
    pub to_head: bool,
    /// True if the client can read chunks: it speaks HTTP/1.1.
    pub reads_chunks: bool,
    /// True if the client accepts trailers.
    pub wants_trailers: bool,
    /// True if the connection may carry another request.
    pub persists: bool,
}

impl ResponseForm {
    /// Form of the response to this request.
    #[must_use]
    pub fn of(head: &RequestParts, persists: bool) -> Self {
        Self {
            to_head: head.method == Method::HEAD,
            reads_chunks: head.version != Version::HTTP_10,
            wants_trailers: wants_trailers(&head.headers),
            persists,
        }
    }
}

/// Framing of a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body.
    Nothing,
    /// This many bytes, that are left to write.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Bytes up to the end of the connection.
    Close,
}

impl ResponseFraming {
    /// Chooses the framing of a response body of this size.
    #[must_use]
    pub fn of(form: &ResponseForm, head: &ResponseParts, size: &SizeHint) -> Self {
        if form.to_head || is_bodiless(head.status) {
            return Self::Nothing;
        }
        match length_of(&head.headers).or(size.exact()) {
            Some(length) => Self::Length(length),
            None if form.reads_chunks => Self::Chunked,
            None => Self::Close,
        }
    }
}

/// Returns true for a status without a body (RFC 9110, section 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes the head of a response and returns true if the connection persists after it. `size` is
/// that of the body, which a response to HEAD announces and does not send.
pub fn write_head(
    out: &mut Vec<u8>,
    form: &ResponseForm,
    head: &ResponseParts,
    framing: ResponseFraming,
    size: &SizeHint,
) -> bool {
    write_status(out, head);
    let has_length = head.headers.contains(KnownName::ContentLength);
    let closes = ConnectionOptions::of(&head.headers).close;
    head.headers.write(out);
    match (framing, size.exact()) {
        (ResponseFraming::Chunked, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (ResponseFraming::Length(length), _) if !has_length => write_length(out, length),
        // What a GET would have got, if it is known.
        (ResponseFraming::Nothing, Some(length @ 1..)) if !has_length && form.to_head => {
            write_length(out, length);
        }
        _ => {}
    }
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let persists = form.persists && !closes && framing != ResponseFraming::Close;
    if !persists && !closes && !switches {
        out.extend_from_slice(b"connection: close\r\n");
    } else if persists && !form.reads_chunks {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    persists
}

fn write_status(out: &mut Vec<u8>, head: &ResponseParts) {
    let usual = || head.status.canonical_reason().unwrap_or_default().as_bytes();
    let reason = head.reason.as_deref().unwrap_or_else(usual);
    for part in [b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", reason, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response (RFC 9110, section 15.2).
pub fn write_interim(out: &mut Vec<u8>, interim: &http::Response<()>) {
    let status = interim.status();
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    interim.headers().iter().for_each(|(name, value)| write_field(out, name, value));
    out.extend_from_slice(b"\r\n");
}

/// Returns the trailers that a head announces (RFC 9110, section 6.6.2).
#[must_use]
pub fn announced_trailers(headers: &HeaderList) -> Vec<HeaderName> {
    let lines = headers.get_all(KnownName::Trailer);
    lines.flat_map(tokens).filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use crate::http::framing::response_head::*;

    const FORM: ResponseForm =
        ResponseForm { to_head: false, reads_chunks: true, wants_trailers: false, persists: true };

    /// Framing, head and persistence of a response with these fields and this size of its body.
    fn written(
        form: ResponseForm,
        status: u16,
        fields: &[(&str, &str)],
        size: Option<u64>,
    ) -> (ResponseFraming, String, bool) {
        let mut head = ResponseParts::of(StatusCode::from_u16(status).expect("a status"));
        for (name, value) in fields {
            let name = name.parse().expect("a name");
            head.headers.append(&name, &value.parse().expect("a value"));
        }
        let size = size.map_or_else(SizeHint::default, SizeHint::with_exact);
        let (framing, mut out) = (ResponseFraming::of(&form, &head, &size), Vec::new());
        let persists = write_head(&mut out, &form, &head, framing, &size);
        (framing, String::from_utf8(out).expect("text"), persists)
    }

    #[test]
    fn response_body_is_framed_by_length_chunks_or_close() {
        use ResponseFraming::{Chunked, Close, Length};
        let old = ResponseForm { reads_chunks: false, ..FORM };
        for (form, fields, size, framing, end, persists) in [
            (FORM, &[][..], Some(7), Length(7), "content-length: 7\r\n", true),
            (FORM, &[], Some(0), Length(0), "content-length: 0\r\n", true),
            (FORM, &[("content-length", "7")], None, Length(7), "content-length: 7\r\n", true),
            (FORM, &[], None, Chunked, "transfer-encoding: chunked\r\n", true),
            (old, &[], None, Close, "connection: close\r\n", false),
            (old, &[], Some(1), Length(1), "content-length: 1\r\nconnection: keep-alive\r\n", true),
        ] {
            assert_eq!(
                written(form, 200, fields, size),
                (framing, format!("HTTP/1.1 200 OK\r\n{end}\r\n"), persists)
            );
        }
    }

    #[test]
    fn response_without_a_body_keeps_its_fields() {
        let head = ResponseForm { to_head: true, ..FORM };
        for (form, status, size, fields) in [
            (head, 200, Some(7), "content-length: 7\r\n"),
            (head, 200, Some(0), ""),
            (head, 200, None, ""),
            (FORM, 204, Some(0), ""),
            (FORM, 304, Some(0), ""),
        ] {
            let (framing, text, persists) = written(form, status, &[], size);
            assert!(framing == ResponseFraming::Nothing && persists);
            let (_, fields_written) = text.split_once("\r\n").expect("a line");
            assert_eq!(fields_written, format!("{fields}\r\n"), "{status}");
        }
        let announced = written(FORM, 304, &[("content-length", "9")], Some(0));
        assert!(announced.1.ends_with("\r\ncontent-length: 9\r\n\r\n"), "{}", announced.1);
    }

    #[test]
    fn connection_closes_after_a_response_that_says_so_and_says_so_when_it_closes() {
        let last = ResponseForm { persists: false, ..FORM };
        let fields = |form, fields: &[(&str, &str)]| {
            let (_, text, persists) = written(form, 200, fields, Some(0));
            (text.matches("connection:").count(), text.contains("connection: close"), persists)
        };
        assert_eq!(fields(FORM, &[]), (0, false, true));
        assert_eq!(fields(last, &[]), (1, true, false));
        assert_eq!(fields(last, &[("connection", "close")]), (1, true, false));
        assert!(!fields(FORM, &[("connection", "Close")]).2);
        let (_, switched, _) = written(last, 101, &[("connection", "upgrade")], Some(0));
        assert!(!switched.contains("close"), "{switched}");
    }

    #[test]
    fn reason_is_the_one_of_the_endpoint_and_may_be_empty() {
        let line = |status, reason: Option<&'static str>| {
            let reason = reason.map(|reason| reason.as_bytes().into());
            let mut out = Vec::new();
            write_status(&mut out, &ResponseParts { reason, ..ResponseParts::of(status) });
            String::from_utf8(out).expect("text")
        };
        assert_eq!(line(StatusCode::OK, None), "HTTP/1.1 200 OK\r\n");
        assert_eq!(line(StatusCode::OK, Some("Fine")), "HTTP/1.1 200 Fine\r\n");
        let unknown = StatusCode::from_u16(299).expect("a status");
        assert_eq!(line(unknown, None), "HTTP/1.1 299 \r\n");
    }

    #[test]
    fn trailers_are_those_that_the_head_announces() {
        let mut fields = HeaderList::default();
        fields.append(&header::TRAILER, &HeaderValue::from_static("X-Sum, , a b"));
        fields.append(&header::TRAILER, &HeaderValue::from_static("x-other"));
        assert_eq!(announced_trailers(&fields), ["x-sum", "x-other"]);
    }
}
