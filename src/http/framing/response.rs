//! Response of an endpoint: its head, and the end of its body (RFC 9112, sections 4, 6 and 7).
//!
//! Guarantees: a response with ambiguous framing is refused, by the same rules as requests. Neither
//! a head nor trailers exceed `response_limits` of the upstream.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};

use super::{
    Flaw, HeaderLimits,
    body::{BodyDecoder, Sender, TRAILERS, field},
    head::{Head, Version, persists},
    line::LineEnds,
};
use crate::http::{
    fields::ConnectionOptions,
    header_list::{HeaderList, LinesSoFar},
    message::ResponseParts,
};

const TOO_LARGE: Flaw =
    Flaw::of_response("the response's head is larger than `response_limits.size`");
const TOO_MANY: Flaw =
    Flaw::of_response("the response has more fields than `response_limits.count`");
const NO_STATUS: Flaw = Flaw::of_response("the response does not begin with HTTP/1.1 and a status");

/// Head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and fields.
    pub parts: ResponseParts,
    /// Framing of the body.
    pub body: BodyDecoder,
    /// True if another request may follow on the connection.
    pub persists: bool,
}

/// Takes the head of a response from the front of `bytes`; none if it is incomplete. A response to
/// `HEAD` has no body.
///
/// # Errors
/// When it is not a valid head, is ambiguous, or exceeds the limits.
pub fn head(
    bytes: &mut BytesMut,
    to_head: bool,
    limits: HeaderLimits,
) -> Result<Option<ResponseHead>, Flaw> {
    let within_size = |length| if length > limits.size { Err(TOO_LARGE) } else { Ok(()) };
    let mut ends = LineEnds::from(bytes, 0);
    let Some(end) = ends.next_end()? else {
        return if could_begin(bytes) {
            within_size(bytes.len()).map(|()| None)
        } else {
            Err(NO_STATUS)
        };
    };
    let (version, status) = status_line(&bytes[..end])?;
    let (mut lines, mut framing) = (LinesSoFar::default(), Head::of_response(version));
    let mut position = end + 2;
    loop {
        let Some(end) = ends.next_end()? else {
            return within_size(bytes.len()).map(|()| None);
        };
        if end == position {
            break;
        }
        if lines.len() == limits.count {
            return Err(TOO_MANY);
        }
        let (name, value) = field(&bytes[position..end])?;
        let (known, value) = lines.push(position, name, value);
        framing.field(known, value)?;
        position = end + 2;
    }
    within_size(position + 2)?;
    let reason = bytes.get(b"HTTP/1.1 200 ".len()..end).unwrap_or_default();
    let is_usual = reason == status.canonical_reason().unwrap_or_default().as_bytes();
    let reason = (!is_usual).then(|| reason.into());
    let parts = ResponseParts { status, reason, headers: lines.finish(&bytes[..position]) };
    bytes.advance(position + 2);
    Ok(Some(framed(parts, &framing, to_head, limits)))
}

/// Checks the fields of an HTTP/2 response against the limits, with the size that they would have
/// in HTTP/1.1.
///
/// # Errors
/// When they exceed them.
pub fn check_size(fields: &HeaderList, limits: HeaderLimits) -> Result<(), Flaw> {
    let lines = fields.iter().map(|field| (field.name.len(), field.value.len()));
    within(fields.len(), lines, limits)
}

fn within(
    count: usize,
    lines: impl Iterator<Item = (usize, usize)>,
    limits: HeaderLimits,
) -> Result<(), Flaw> {
    let size: usize = lines.map(|(name, value)| name + value + 4).sum();
    match () {
        () if count > limits.count => Err(TOO_MANY),
        () if size > limits.size => Err(TOO_LARGE),
        () => Ok(()),
    }
}

/// Checks the trailers of an HTTP/2 response against the limits.
///
/// # Errors
/// When they exceed them.
pub fn check_trailers(fields: &HeaderMap, limits: HeaderLimits) -> Result<(), Flaw> {
    let lines = fields.iter().map(|(name, value)| (name.as_str().len(), value.len()));
    within(fields.len(), lines, limits).map_err(|_| TRAILERS)
}

/// Returns true if a status line may begin like this.
fn could_begin(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(BEGIN.len());
    bytes[..known] == BEGIN[..known]
}

fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Flaw> {
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', rest @ ..] => {
            (Version::Http11, rest)
        }
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', rest @ ..] => {
            (Version::Http10, rest)
        }
        _ => return Err(NO_STATUS),
    };
    match (rest.get(..3).map(StatusCode::from_bytes), rest.get(3)) {
        (Some(Ok(status)), None | Some(b' ')) if status.as_u16() < 600 => Ok((version, status)),
        _ => Err(Flaw::of_response("the response's status is not 100 to 599")),
    }
}

/// Adds the framing of the body to a head.
fn framed(
    parts: ResponseParts,
    framing: &Head,
    to_head: bool,
    limits: HeaderLimits,
) -> ResponseHead {
    let status = parts.status;
    let bodiless = to_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let body = match framing.length() {
        _ if bodiless => BodyDecoder::length(0),
        _ if framing.is_chunked() => BodyDecoder::chunked(Sender::Response, limits),
        Some(length) => BodyDecoder::length(length),
        None => BodyDecoder::until_close(),
    };
    // A body announced by a response without one may be sent all the same, and would be parsed as
    // the next response. HEAD and 304 may give a length without a body.
    let announces = framing.is_chunked()
        || (status == StatusCode::NO_CONTENT && framing.length().is_some_and(|length| length > 0));
    let persists = persists(framing.version(), ConnectionOptions::of(&parts.headers))
        && !body.ends_with_close()
        && !(bodiless && announces);
    ResponseHead { parts, body, persists }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use crate::http::framing::{body::Piece, chunked, response::*};

    const HEAD: usize = 32 * 1024;
    const FIELDS: usize = 100;
    const LIMITS: HeaderLimits = HeaderLimits { size: HEAD, count: FIELDS };

    /// Status, persistence, body and trailers of a response that arrives in pieces of `size` bytes
    /// before the connection closes.
    fn answered(
        bytes: &[u8],
        size: usize,
        to_head: bool,
    ) -> Result<(u16, bool, Vec<u8>, usize), &'static str> {
        let (mut buffer, mut begun, mut body) = (BytesMut::new(), None, Vec::new());
        for piece in bytes.chunks(size) {
            buffer.extend_from_slice(piece);
            if begun.is_none() {
                begun = head(&mut buffer, to_head, LIMITS).map_err(|flaw| flaw.detail)?;
            }
            let Some(begun) = &mut begun else { continue };
            loop {
                match begun.body.take(&mut buffer).map_err(|flaw| flaw.detail)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::Trailers(trailers) => {
                        return Ok((
                            begun.parts.status.as_u16(),
                            begun.persists,
                            body,
                            trailers.len(),
                        ));
                    }
                    Piece::End => {
                        return Ok((begun.parts.status.as_u16(), begun.persists, body, 0));
                    }
                    Piece::More => break,
                }
            }
        }
        let mut begun = begun.ok_or("no head")?;
        if begun.body.close() {
            Ok((begun.parts.status.as_u16(), begun.persists, body, 0))
        } else {
            Err("no end")
        }
    }

    fn same_in_pieces(
        bytes: &str,
        to_head: bool,
    ) -> Result<(u16, bool, String, usize), &'static str> {
        let whole = answered(bytes.as_bytes(), bytes.len(), to_head);
        for size in 1..bytes.len().min(40) {
            assert_eq!(
                answered(bytes.as_bytes(), size, to_head),
                whole,
                "in pieces of {size}: {bytes:?}"
            );
        }
        whole.map(|(status, persists, body, trailers)| {
            (status, persists, String::from_utf8(body).expect("text of the test"), trailers)
        })
    }

    fn get(bytes: &str) -> Result<(u16, bool, String, usize), &'static str> {
        same_in_pieces(bytes, false)
    }

    fn fine(
        status: u16,
        persists: bool,
        body: &str,
        trailers: usize,
    ) -> Result<(u16, bool, String, usize), &'static str> {
        Ok((status, persists, body.to_owned(), trailers))
    }

    #[test]
    fn response_body_is_framed_by_length_chunks_or_close() {
        assert_eq!(
            get("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd"),
            fine(200, true, "abc", 0)
        );
        assert_eq!(get("HTTP/1.1 404\r\ncontent-length:0\r\n\r\nx"), fine(404, true, "", 0));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
            Chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n";
        assert_eq!(get(&format!("{chunked}\r\n")), fine(200, true, "abc0123456789", 0));
        assert_eq!(
            get(&format!("{chunked}x: y\r\nz:\r\n\r\n")),
            fine(200, true, "abc0123456789", 2)
        );
        assert_eq!(get(chunked), Err("no end"));
        assert_eq!(get("HTTP/1.1 200 OK\r\n\r\nabc"), fine(200, false, "abc", 0));
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"), Err("no end"));
    }

    #[test]
    fn pool_drops_connection_with_forbidden_body() {
        let chunked = "transfer-encoding: chunked";
        for (status, field, kept) in [
            ("204 No Content", chunked, false),
            ("304 Not Modified", chunked, false),
            ("204 No Content", "content-length: 5", false),
            ("204 No Content", "content-length: 0", true),
            ("304 Not Modified", "content-length: 5", true),
        ] {
            assert_eq!(
                get(&format!("HTTP/1.1 {status}\r\n{field}\r\n\r\n")).map(|answer| answer.1),
                Ok(kept),
                "{status} {field}"
            );
        }
        let head = |field| {
            same_in_pieces(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n"), true)
                .map(|answer| answer.1)
        };
        assert_eq!((head("content-length: 5"), head(chunked)), (Ok(true), Ok(false)));
    }

    #[test]
    fn chunk_size_of_response_may_be_padded() {
        let chunked = |lines: &str| {
            get(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{lines}"))
        };
        for lines in [
            "5   \r\nhello\r\n0   \r\n\r\n",
            "5 ;a=b\r\nhello\r\n0\t; c\r\n\r\n",
            "0000000000000000000005\r\nhello\r\n000000000000000000\r\n\r\n",
        ] {
            assert_eq!(chunked(lines), fine(200, true, "hello", 0), "{lines}");
        }
        for lines in
            [" 5\r\nhello\r\n", "5 5\r\nhello\r\n", "\r\n", " \r\n", ";a\r\n", "5 a=b\r\nhello\r\n"]
        {
            assert!(chunked(lines).is_err(), "{lines}");
        }
    }

    #[test]
    fn chunk_line_has_a_limit_to_the_byte() {
        let chunked = |line: &str| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            same_in_pieces(&format!("{head}{line}\r\nhello\r\n0\r\n\r\n"), false)
        };
        for (start, fill, end) in [("", "0", "5"), ("5", " ", ""), ("5;", "x", "")] {
            let line = |length: usize| {
                format!("{start}{}{end}", fill.repeat(length - start.len() - end.len()))
            };
            assert_eq!(
                chunked(&line(chunked::SIZE_LINE)),
                fine(200, true, "hello", 0),
                "{start}{fill}{end}"
            );
            let refused = Err("a line of the body's framing is too long");
            assert_eq!(chunked(&line(chunked::SIZE_LINE + 1)), refused, "{start}{fill}{end}");
        }
        // A size without an end is not waited for, and one that does not fit is refused.
        let endless = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
            "0".repeat(chunked::SIZE_LINE + 2)
        );
        assert_eq!(get(&endless), Err("a line of the body's framing is too long"));
        assert!(chunked("0001000000000000000").is_err() && chunked("ffffffffffffffff5").is_err());
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in
            ["204 No Content", "304 Not Modified", "103 Early Hints", "101 Switching Protocols"]
        {
            let answer = get(&format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nabc"))
                .expect("an answer");
            assert_eq!(answer.2, "");
        }
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc";
        assert_eq!(same_in_pieces(chunked, true), fine(200, false, "", 0));
    }

    #[test]
    fn response_connection_persists_by_version_and_field() {
        let persists = |version: &str, fields: &str| {
            get(&format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{fields}\r\n"))
                .expect("an answer")
                .1
        };
        assert!(persists("1.1", "") && persists("1.0", "connection: Keep-Alive\r\n"));
        assert!(!persists("1.0", "") && !persists("1.1", "connection: x, CLOSE\r\n"));
        assert!(!persists("1.1", "connection: keep-alive\r\nconnection: close\r\n"));
    }

    #[test]
    fn reasons_of_ones_own_are_kept() {
        let reason = |line: &str| {
            let mut bytes = BytesMut::from(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes());
            let begun = head(&mut bytes, false, LIMITS).expect("a head").expect("a whole one");
            begun.parts.reason.map(Vec::from)
        };
        assert_eq!(reason("200 OK"), None);
        assert_eq!(reason("200 Fine, thanks"), Some(b"Fine, thanks".to_vec()));
        assert_eq!((reason("200"), reason("200 ")), (Some(Vec::new()), Some(Vec::new())));
    }

    #[test]
    fn heads_and_trailers_have_bounds_to_the_byte() {
        let of_fields =
            |count: usize| format!("HTTP/1.1 204 N\r\n{}\r\n", "a: b\r\n".repeat(count));
        let whole =
            |text: &str| answered(text.as_bytes(), text.len(), false).map(|answer| answer.0);
        assert_eq!(
            (whole(&of_fields(FIELDS)), whole(&of_fields(FIELDS + 1))),
            (Ok(204), Err(TOO_MANY.detail))
        );
        let of_size =
            |size: usize| format!("HTTP/1.1 204 N\r\nx: {}\r\n\r\n", "y".repeat(size - 16 - 7));
        assert_eq!((of_size(HEAD).len(), whole(&of_size(HEAD))), (HEAD, Ok(204)));
        assert_eq!(whole(&of_size(HEAD + 1)), Err(TOO_LARGE.detail));
        let begun = format!("HTTP/1.1 200 {}", "y".repeat(HEAD));
        assert_eq!(whole(&begun), Err(TOO_LARGE.detail));
        let trailers = |rest: &str| {
            whole(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{rest}"))
        };
        assert_eq!(trailers(&format!("{}\r\n", "a: b\r\n".repeat(FIELDS))), Ok(200));
        assert!(trailers(&"a: b\r\n".repeat(FIELDS + 1)).is_err());
        assert!(trailers(&format!("a: {0}\r\nb: {0}\r\n", "y".repeat(HEAD / 2))).is_err());
        assert!(trailers(&"y".repeat(HEAD + 2)).is_err());
    }

    #[test]
    fn limits_may_be_smaller_and_larger_than_usual() {
        let of = |count: usize, length: usize, limits: HeaderLimits| {
            let text = format!(
                "HTTP/1.1 204 N\r\nx: {}\r\n{}\r\n",
                "y".repeat(length),
                "a: b\r\n".repeat(count - 1)
            );
            head(&mut BytesMut::from(text.as_bytes()), false, limits)
                .map(|begun| begun.expect("a whole one").parts.headers.len())
        };
        let large = HeaderLimits { size: 1 << 20, count: 1_000 };
        assert_eq!((of(1_000, 900_000, large), of(1_001, 1, large)), (Ok(1_000), Err(TOO_MANY)));
        assert_eq!(of(1, 1 << 20, large), Err(TOO_LARGE));
        let small = HeaderLimits { size: 1_024, count: 3 };
        assert_eq!(
            (of(3, 900, small), of(4, 1, small), of(1, 1_024, small)),
            (Ok(3), Err(TOO_MANY), Err(TOO_LARGE))
        );
    }

    #[test]
    fn fields_of_http2_count_as_they_would_in_http1() {
        let fields: HeaderMap = [("x-a", "12345"), ("b", "")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        let fields = HeaderList::from(&fields);
        let check = |size, count| check_size(&fields, HeaderLimits { size, count });
        let size = "x-a: 12345\r\nb: \r\n".len();
        assert_eq!(
            (check(size, 2), check(size - 1, 2), check(size, 1)),
            (Ok(()), Err(TOO_LARGE), Err(TOO_MANY))
        );
    }
}
