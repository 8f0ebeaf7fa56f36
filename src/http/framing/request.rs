//! Request as written to an endpoint: its head, and exactly one framing of its body (RFC 9112,
//! sections 3 and 6).
//!
//! Guarantee: the output can be framed in one way only. A body that ends early or late is an error.

use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::PathAndQuery};
use http_body::Body;

/// Framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body, and no framing field.
    Nothing,
    /// Length in bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

impl Framing {
    /// Chooses the framing of a request.
    #[must_use]
    pub fn of(method: &Method, body: &impl Body) -> Self {
        // A server may wait for the body of these methods, so they say that there is none (RFC
        // 9110, section 8.6).
        let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        match body.size_hint().exact() {
            // Before the length: other methods without a body need no framing field.
            _ if body.is_end_stream() && !expected => Self::Nothing,
            _ if body.is_end_stream() => Self::Length(0),
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }
}

/// Writes the request line.
pub fn write_line(out: &mut Vec<u8>, method: &Method, target: &PathAndQuery) {
    for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes a field.
pub fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Writes the end of a head, with the framing of the body. No earlier field may frame it.
pub fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => write(out, format_args!("content-length: {length}\r\n")),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the line before a chunk of this size.
pub fn write_size(out: &mut Vec<u8>, size: usize) {
    write(out, format_args!("{size:x}\r\n"));
}

/// Writes the end of a chunked body, and its trailers.
pub fn write_end(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    trailers.iter().for_each(|(name, value)| write_field(out, name, value));
    out.extend_from_slice(b"\r\n");
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use crate::http::framing::request::*;

    #[test]
    fn request_head_has_one_framing() {
        let written = |method: Method, framing: Framing| {
            let mut out = Vec::new();
            write_line(&mut out, &method, &PathAndQuery::from_static("/a?b"));
            write_field(&mut out, &HeaderName::from_static("x"), &HeaderValue::from_static("1"));
            write_framing(&mut out, framing);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(Method::GET, Framing::Nothing), "GET /a?b HTTP/1.1\r\nx: 1\r\n\r\n");
        assert_eq!(
            written(Method::POST, Framing::Length(7)),
            "POST /a?b HTTP/1.1\r\nx: 1\r\ncontent-length: 7\r\n\r\n"
        );
        assert!(
            written(Method::PUT, Framing::Chunked)
                .ends_with("x: 1\r\ntransfer-encoding: chunked\r\n\r\n")
        );
    }

    #[test]
    fn content_length_zero_is_only_sent_where_expected() {
        let empty = Empty::<Bytes>::new();
        assert_eq!(Framing::of(&Method::GET, &empty), Framing::Nothing);
        assert_eq!(Framing::of(&Method::POST, &empty), Framing::Length(0));
        assert_eq!(
            Framing::of(&Method::GET, &Full::new(Bytes::from_static(b"abc"))),
            Framing::Length(3)
        );
    }
}
