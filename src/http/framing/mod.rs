//! Request framing: the end of one request and the start of the next, found in the raw bytes before
//! any other parser reads them.
//!
//! Guarantees: accepted bytes can be framed in one way only (RFC 9112, sections 2 to 7): every
//! later parser finds the same heads and the same bodies. Nothing is repaired. No byte is examined
//! twice, and only lines that arrive in pieces are copied.

use memchr::memchr;

use self::head::Head;
use crate::http::error::Kind;

pub mod chunked;
pub mod client_frames;
pub mod field_list;
pub mod flaw;
pub mod frames;
pub mod head;
pub mod hpack;
pub mod huffman;
pub mod line;
pub mod request;
pub mod response;

pub use flaw::Flaw;

/// Longest request line, in bytes.
pub const REQUEST_LINE: usize = 8 * 1024;

/// Limits on the head of a message, and on its trailers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Bytes of all lines.
    pub size: usize,
    /// Number of field lines.
    pub count: usize,
}

/// Input rejected by the framer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Number of accepted bytes before it. They never complete the refused message.
    pub fine: usize,
    /// Flaw of the other bytes.
    pub flaw: Flaw,
    /// Part of a request that they belong to.
    pub part: Phase,
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The last request is complete, and nothing of another one was received.
    Between,
    /// Within a request head.
    Head,
    /// Within a request body.
    Body,
}

/// Element that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Request line, possibly after an empty line.
    RequestLine { after_empty: bool },
    /// Fields of a request head.
    Fields,
    /// Body with this many bytes to come.
    Body(u64),
    /// Line before a chunk.
    ChunkSize,
    /// Chunk with this many bytes to come.
    Chunk(u64),
    /// CRLF after a chunk.
    ChunkEnd,
    /// Trailers.
    Trailers,
    /// None: the connection carried something that was refused.
    Refused,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Framer {
    limits: HeaderLimits,
    at: At,
    head: Head,
    /// Bytes and lines of the current head or trailers.
    bytes: usize,
    fields: usize,
    /// Incomplete line.
    partial: Vec<u8>,
    heads: u64,
    /// Start of the current head in the last bytes; none if it started before them.
    begins: Option<usize>,
    refused: Option<Flaw>,
}

impl Framer {
    /// Creates a framer for a new connection.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        let (at, head) = (At::RequestLine { after_empty: false }, Head::default());
        Self {
            limits,
            at,
            head,
            bytes: 0,
            fields: 0,
            partial: Vec::new(),
            heads: 0,
            begins: None,
            refused: None,
        }
    }

    /// Examines received bytes.
    ///
    /// # Errors
    /// When these or earlier bytes are refused.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let (mut position, mut begin) = (0, 0);
        self.begins = (self.part() != Phase::Head).then_some(0);
        while position < bytes.len() {
            let rest = &bytes[position..];
            let taken = match self.at {
                At::Body(left) => {
                    let taken = within(left, rest);
                    self.at = self.body(left - taken as u64);
                    Ok(taken)
                }
                At::Chunk(left) => {
                    let taken = within(left, rest);
                    let left = left - taken as u64;
                    self.at = if left == 0 { At::ChunkEnd } else { At::Chunk(left) };
                    Ok(taken)
                }
                At::Fields if self.partial.is_empty() => self.take_fields(rest),
                At::Refused => Err(self.refused.unwrap_or(NOTHING_MORE)),
                _ => self.take_line(rest),
            };
            match taken {
                Ok(taken) => position += taken,
                Err(flaw) => {
                    let refused = Refused { fine: begin, flaw, part: self.part() };
                    self.at = At::Refused;
                    self.refused = Some(flaw);
                    return Err(refused);
                }
            }
            // A head is refused as a whole.
            if self.at != At::Fields {
                begin = position;
                if self.part() != Phase::Head {
                    self.begins = Some(position);
                }
            }
        }
        Ok(())
    }

    /// Phase that the next byte belongs to.
    #[must_use]
    pub fn part(&self) -> Phase {
        match self.at {
            At::RequestLine { .. } if self.partial.is_empty() => Phase::Between,
            At::RequestLine { .. } | At::Fields | At::Refused => Phase::Head,
            _ => Phase::Body,
        }
    }

    /// Start, in the bytes that were taken last, of the head that is current or was refused; none
    /// if it started before them.
    #[must_use]
    pub fn begins(&self) -> Option<usize> {
        self.begins
    }

    /// Number of complete heads.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Takes complete lines of a head, one after the other: nearly every byte of a head takes this
    /// path.
    fn take_fields(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        let mut taken = 0;
        while let Some(length) = line::end(&bytes[taken..])? {
            let line = &bytes[taken..taken + length];
            taken += length + 2;
            if line.is_empty() {
                self.at = self.end_of_head();
                return Ok(taken);
            }
            self.count(line)?;
            self.field(line)?;
        }
        let rest = &bytes[taken..];
        self.fits(without_cr(rest))?;
        self.partial.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let (name, value) = line::field(line)?;
        self.head.field(name, value)
    }

    fn end_of_head(&mut self) -> At {
        self.heads += 1;
        if self.head.is_chunked() {
            At::ChunkSize
        } else {
            self.body(self.head.length().unwrap_or(0))
        }
    }

    /// Takes the rest of a line, or all bytes if the line continues; returns their number.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        if self.partial.is_empty() {
            return match line::end(bytes)? {
                Some(length) => {
                    self.fits(length)?;
                    self.line(&bytes[..length])?;
                    Ok(length + 2)
                }
                None => {
                    self.fits(without_cr(bytes))?;
                    self.partial.extend_from_slice(bytes);
                    Ok(bytes.len())
                }
            };
        }
        let newline = memchr(b'\n', bytes);
        let taken = newline.map_or(bytes.len(), |at| at + 1);
        self.partial.extend_from_slice(&bytes[..taken]);
        if newline.is_none() {
            return self.fits(without_cr(&self.partial)).map(|()| taken);
        }
        let whole = std::mem::take(&mut self.partial);
        let length = line::end(&whole)?.ok_or(Flaw::malformed("a line ends without CR"))?;
        self.fits(length)?;
        self.line(&whole[..length])?;
        Ok(taken)
    }

    /// Checks that a line of at least this length is short enough.
    fn fits(&self, length: usize) -> Result<(), Flaw> {
        let (most, flaw) = match self.at {
            At::RequestLine { .. } => (REQUEST_LINE.min(self.limits.size), TARGET_TOO_LONG),
            At::ChunkSize => {
                (chunked::SIZE_LINE, Flaw::malformed("a chunk's extensions are too long"))
            }
            At::ChunkEnd => (0, NO_CHUNK_END),
            _ => (self.limits.size.saturating_sub(self.bytes + 2), HEAD_TOO_LARGE),
        };
        if length > most { Err(flaw) } else { Ok(()) }
    }

    /// Handles one complete line, without its CRLF.
    fn line(&mut self, line: &[u8]) -> Result<(), Flaw> {
        self.at = match self.at {
            At::RequestLine { after_empty: false } if line.is_empty() => {
                At::RequestLine { after_empty: true }
            }
            At::RequestLine { .. } => {
                self.head = Head::begin(line)?;
                self.bytes = line.len() + 2;
                self.fields = 0;
                At::Fields
            }
            At::Fields if line.is_empty() => self.end_of_head(),
            At::Fields => {
                self.count(line)?;
                self.field(line)?;
                At::Fields
            }
            At::ChunkSize => match chunked::size(line)? {
                0 => {
                    self.bytes = 0;
                    self.fields = 0;
                    At::Trailers
                }
                size => At::Chunk(size),
            },
            At::ChunkEnd if line.is_empty() => At::ChunkSize,
            At::ChunkEnd => return Err(NO_CHUNK_END),
            At::Trailers if line.is_empty() => At::RequestLine { after_empty: false },
            At::Trailers => {
                self.count(line)?;
                chunked::trailer(line)?;
                At::Trailers
            }
            at @ (At::Body(_) | At::Chunk(_) | At::Refused) => at,
        };
        Ok(())
    }

    fn body(&self, left: u64) -> At {
        if left == 0 { At::RequestLine { after_empty: false } } else { At::Body(left) }
    }

    fn count(&mut self, line: &[u8]) -> Result<(), Flaw> {
        self.bytes += line.len() + 2;
        self.fields += 1;
        if self.fields > self.limits.count || self.bytes > self.limits.size {
            Err(HEAD_TOO_LARGE)
        } else {
            Ok(())
        }
    }
}

const TARGET_TOO_LONG: Flaw =
    Flaw { kind: Kind::TargetTooLong, detail: "the request line is too long" };
const HEAD_TOO_LARGE: Flaw =
    Flaw { kind: Kind::HeadersTooLarge, detail: "the request's fields are too large or too many" };
const NOTHING_MORE: Flaw = Flaw::malformed("the connection failed earlier");
const NO_CHUNK_END: Flaw = Flaw::malformed("a chunk is longer than its size");

/// Length of a line whose LF is still to come.
fn without_cr(bytes: &[u8]) -> usize {
    bytes.strip_suffix(b"\r").unwrap_or(bytes).len()
}

/// Number of the bytes that belong to `left`.
fn within(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use crate::http::framing::*;

    const LIMITS: HeaderLimits = HeaderLimits { size: 300, count: 5 };

    /// Number of accepted heads, and the reason if it ends there; the same however the bytes are
    /// cut into pieces.
    fn framed(bytes: &[u8]) -> (u64, Option<&'static str>) {
        let in_pieces = |size: usize| {
            let mut framer = Framer::new(LIMITS);
            let flaw = bytes
                .chunks(size)
                .find_map(|piece| framer.take(piece).err())
                .map(|refused| refused.flaw.detail);
            (framer.heads(), flaw)
        };
        let whole = in_pieces(bytes.len());
        for size in 1..20 {
            assert_eq!(
                in_pieces(size),
                whole,
                "in pieces of {size}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
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
    fn framing_accepted_bytes_never_complete_a_refused_head() {
        let first = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nok";
        for second in ["GET /#x HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\na b\r\n\r\n"] {
            let refused = Framer::new(LIMITS)
                .take(format!("{first}{second}").as_bytes())
                .expect_err("a flaw");
            assert_eq!((refused.fine, refused.part == Phase::Body), (first.len(), false));
        }
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok";
        let refused =
            Framer::new(LIMITS).take(format!("{chunked}ay\r\n").as_bytes()).expect_err("a flaw");
        assert_eq!((refused.fine, refused.part), (chunked.len(), Phase::Body));
    }

    #[test]
    fn nothing_follows_what_was_refused() {
        let mut framer = Framer::new(LIMITS);
        let refused = framer.take(b"GET\n").expect_err("a flaw");
        assert_eq!(framer.take(NEXT.as_bytes()).expect_err("still refused").flaw, refused.flaw);
        assert_eq!(framer.heads(), 0);
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
}
