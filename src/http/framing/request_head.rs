//! Head of a request, read strictly as it arrives (RFC 9112, sections 2 to 6).
//!
//! Guarantees: an accepted head can be framed in one way only, and nothing is repaired. It is the
//! same head however its bytes were cut into pieces. No line is searched twice for its end.

use bytes::Bytes;
use http::{Method, Uri, Version};

use super::{
    Flaw, HEAD_TOO_LARGE, HeaderLimits, REQUEST_LINE, TARGET_TOO_LONG,
    body::{BodyDecoder, Sender},
    head::{self, Head, persists},
    line::{self, LineEnds},
};
use crate::http::{fields::ConnectionOptions, header_list::LinesSoFar, message::RequestParts};

/// Complete head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields. Boxed, because it passes through many hands.
    pub parts: Box<RequestParts>,
    /// Framing of the body.
    pub body: BodyDecoder,
    /// True if another request may follow on the connection.
    pub persists: bool,
    /// True if the client announced that none follows.
    pub closes: bool,
}

/// Reader of the heads of one connection.
#[derive(Debug)]
pub struct HeadReader {
    limits: HeaderLimits,
    /// Facts of the current head, once its first line is complete.
    head: Option<Head>,
    /// Start of the head: behind an empty line, if there is one.
    start: usize,
    /// Start of the line that is not complete.
    position: usize,
    /// End of the bytes of that line that were searched: they have no control byte but tabs.
    searched: usize,
    /// Length of the first line, without CRLF.
    first: usize,
    /// Fields of the complete lines.
    lines: LinesSoFar,
    /// Bytes of the complete lines.
    size: usize,
}

impl HeadReader {
    /// Creates a reader for a new connection.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            head: None,
            start: 0,
            position: 0,
            searched: 0,
            first: 0,
            lines: LinesSoFar::default(),
            size: 0,
        }
    }

    /// Reads on in the bytes that were received since the end of the last head. Once the head is
    /// complete it is returned with its length, and the next call expects another one behind it.
    ///
    /// # Errors
    /// When it is not a head that can be framed in one way, or exceeds the limits.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Flaw> {
        let mut lines = LineEnds::from(bytes, self.searched.max(self.position));
        while let Some(length) = self.next_line(&mut lines, bytes)? {
            let line = &bytes[self.position..self.position + length];
            match &mut self.head {
                None if line.is_empty() && self.start == 0 => {
                    self.start = 2;
                    self.position = 2;
                    continue;
                }
                None => {
                    self.head = Some(Head::begin(line)?);
                    self.first = length;
                    self.size = length + 2;
                }
                Some(_) if line.is_empty() => return self.finish(bytes).map(Some),
                Some(head) => {
                    self.size += length + 2;
                    if self.lines.len() >= self.limits.count || self.size > self.limits.size {
                        return Err(HEAD_TOO_LARGE);
                    }
                    let (name, value) = line::field(line)?;
                    let (known, value) = self.lines.push(self.position - self.start, name, value);
                    head.field(known, value)?;
                }
            }
            self.position += length + 2;
        }
        Ok(None)
    }

    /// Returns true if these bytes, which were read, hold nothing of a head: at most an empty line.
    #[must_use]
    pub fn is_between(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.start
    }

    /// Length of the next line, if it is complete.
    fn next_line(&mut self, lines: &mut LineEnds<'_>, bytes: &[u8]) -> Result<Option<usize>, Flaw> {
        let Some(end) = lines.next_end()? else {
            let rest = &bytes[self.position..];
            // A CR at the end is looked at again, with the byte behind it.
            let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
            self.searched = self.position + rest.len();
            return self.fits(rest.len()).map(|()| None);
        };
        let length = end - self.position;
        self.fits(length).map(|()| Some(length))
    }

    /// Checks that a line of at least this length is short enough.
    fn fits(&self, length: usize) -> Result<(), Flaw> {
        let (most, flaw) = match self.head {
            None => (REQUEST_LINE.min(self.limits.size), TARGET_TOO_LONG),
            Some(_) => (self.limits.size.saturating_sub(self.size + 2), HEAD_TOO_LARGE),
        };
        if length > most { Err(flaw) } else { Ok(()) }
    }

    fn finish(&mut self, bytes: &[u8]) -> Result<(RequestHead, usize), Flaw> {
        let (head, end) = (&bytes[self.start..self.position], self.position + 2);
        let line = &head[..self.first];
        let framing = self.head.take().unwrap_or_default();
        let method = line::token(line);
        let target = &line[method + 1..self.first - " HTTP/1.1".len()];
        let method = Method::from_bytes(&line[..method])
            .map_err(|_| Flaw::malformed("the method is not a token"))?;
        let uri = Uri::from_maybe_shared(Bytes::copy_from_slice(target))
            .map_err(|_| Flaw::malformed("the target is neither a path nor an absolute address"))?;
        let version = match framing.version() {
            head::Version::Http10 => Version::HTTP_10,
            head::Version::Http11 => Version::HTTP_11,
        };
        let body = if framing.is_chunked() {
            BodyDecoder::chunked(Sender::Request, self.limits)
        } else {
            BodyDecoder::length(framing.length().unwrap_or(0))
        };
        let headers = std::mem::take(&mut self.lines).finish(head);
        let options = ConnectionOptions::of(&headers);
        let persists = persists(framing.version(), options);
        *self = Self::new(self.limits);
        let parts = RequestParts { method, uri, version, headers };
        let parts = Box::write(Box::new_uninit(), parts);
        Ok((RequestHead { parts, body, persists, closes: options.close }, end))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};

    use crate::http::framing::{body::Piece, chunked, request_head::*};

    const LIMITS: HeaderLimits = HeaderLimits { size: 300, count: 5 };

    /// Number of accepted heads, and the reason if it ends there; the same however the bytes are
    /// cut into pieces.
    fn framed(bytes: &[u8]) -> (u64, Option<&'static str>) {
        let whole = framed_in_pieces(bytes, bytes.len());
        for size in 1..20 {
            assert_eq!(
                framed_in_pieces(bytes, size),
                whole,
                "in pieces of {size}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    fn framed_in_pieces(bytes: &[u8], size: usize) -> (u64, Option<&'static str>) {
        let (mut reader, mut body, mut heads) = (HeadReader::new(LIMITS), None, 0);
        let mut received = BytesMut::new();
        for piece in bytes.chunks(size) {
            received.extend_from_slice(piece);
            match take(&mut reader, &mut body, &mut received) {
                Ok(complete) => heads += complete,
                Err((complete, flaw)) => return (heads + complete, Some(flaw.detail)),
            }
        }
        (heads, None)
    }

    /// Takes all complete messages; returns their number.
    fn take(
        reader: &mut HeadReader,
        body: &mut Option<BodyDecoder>,
        received: &mut BytesMut,
    ) -> Result<u64, (u64, Flaw)> {
        let mut heads = 0;
        loop {
            if let Some(decoder) = body {
                match decoder.take(received).map_err(|flaw| (heads, flaw))? {
                    Piece::Data(_) => continue,
                    Piece::More => return Ok(heads),
                    Piece::Trailers(_) | Piece::End => *body = None,
                }
            }
            let Some((head, length)) = reader.read(received).map_err(|flaw| (heads, flaw))? else {
                return Ok(heads);
            };
            heads += 1;
            received.advance(length);
            *body = Some(head.body);
        }
    }

    fn post(fields: &str, rest: &str) -> (u64, Option<&'static str>) {
        framed(format!("POST / HTTP/1.1\r\n{fields}\r\n{rest}").as_bytes())
    }

    const NEXT: &str = "GET / HTTP/1.0\r\n\r\n";

    #[test]
    fn framing_content_length_ends_body_and_next_request_begins() {
        assert_eq!(post("", NEXT), (2, None));
        assert_eq!(post("content-length: 0\r\n", NEXT), (2, None));
        assert_eq!(post("Content-Length:  20\t \r\n", NEXT), (1, None));
        assert_eq!(post("content-length: 007\r\n", &format!("GET / H\r\n{NEXT}")), (2, None));
        assert_eq!(post("content-length: 3\r\n", NEXT).0, 1);
    }

    #[test]
    fn chunked_body_ends_after_trailers() {
        let chunked = |rest: &str| post("Transfer-Encoding: CHUNKED\r\n", rest);
        assert_eq!(chunked(&format!("0\r\n\r\n{NEXT}")), (2, None));
        assert_eq!(
            chunked(&format!("00A;a=\"b\";c\r\n0\r\n\r\nGET /\r\n0\r\nx: y\r\n\r\n{NEXT}")),
            (2, None)
        );
        assert_eq!(chunked("fffffffffffffff\r\n"), (1, None));
    }

    #[test]
    fn one_empty_line_may_stand_before_a_request() {
        assert_eq!(framed(format!("\r\n{NEXT}\r\n{NEXT}").as_bytes()), (2, None));
        assert!(framed(format!("\r\n\r\n{NEXT}").as_bytes()).1.is_some());
    }

    #[test]
    fn every_bound_is_kept_to_the_byte() {
        let head = |length: usize| post(&format!("x: {}\r\n", "y".repeat(length - 17 - 5)), "");
        assert_eq!(head(300), (1, None));
        assert_eq!(head(301), (0, Some(HEAD_TOO_LARGE.detail)));
        assert_eq!(post(&"a: b\r\n".repeat(5), ""), (1, None));
        assert_eq!(post(&"a: b\r\n".repeat(6), ""), (0, Some(HEAD_TOO_LARGE.detail)));
        let line = |length: usize| {
            framed(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 14)).as_bytes())
        };
        assert_eq!(line(300).1, None);
        assert_eq!(line(301).1, Some(TARGET_TOO_LONG.detail));
        let chunk = |length: usize| {
            post("transfer-encoding: chunked\r\n", &format!("1;{}\r\n", "x".repeat(length - 2)))
        };
        assert_eq!(chunk(chunked::SIZE_LINE).1, None);
        assert!(chunk(chunked::SIZE_LINE + 1).1.is_some());
    }

    #[test]
    fn head_has_the_fields_in_order_and_values_without_space_around() {
        let text = b"\r\nPOST /a?b=c HTTP/1.0\r\nHost: a\r\nX:\t y z \r\nx:\r\nConnection: \
            keep-alive\r\n\r\nnext";
        let mut reader = HeadReader::new(LIMITS);
        let (head, length) = reader.read(text).expect("a head").expect("a whole one");
        assert_eq!(&text[length..], b"next");
        assert_eq!((head.parts.method.as_str(), head.parts.version), ("POST", Version::HTTP_10));
        assert_eq!(head.parts.uri, "/a?b=c");
        let fields: Vec<_> =
            head.parts.headers.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(
            fields,
            [
                (&b"Host"[..], &b"a"[..]),
                (b"X", b"y z"),
                (b"x", b""),
                (b"Connection", b"keep-alive"),
            ]
        );
        assert!(head.persists && head.body.has_ended());
    }

    #[test]
    fn empty_line_is_no_beginning_of_a_head() {
        let mut reader = HeadReader::new(LIMITS);
        for (bytes, is_between) in
            [(&b""[..], true), (b"\r", false), (b"\r\n", true), (b"\r\nG", false)]
        {
            assert!(reader.read(bytes).expect("nothing wrong").is_none());
            assert_eq!(reader.is_between(bytes), is_between, "{}", bytes.escape_ascii());
        }
    }
}
