//! Decoder of a message body: by length, in chunks, or up to the end of the connection (RFC 9112,
//! sections 6 and 7).
//!
//! Guarantees: no byte behind the body is taken. A body in chunks ends with its last chunk and
//! trailers, which never exceed the limits. Requests are decoded more strictly than responses,
//! because servers behind weir disagree about lenient spellings.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::{Flaw, HEAD_TOO_LARGE, HeaderLimits, NO_CHUNK_END, chunked, line};

/// Longest piece of a body that is copied: uncopied it would keep its whole read buffer alive until
/// its receiver has taken it.
const COPIED: usize = 4 * 1024;

/// Limit on all chunk extensions of a request, which have no reader.
const EXTENSIONS: usize = 16 * 1024;

pub(super) const TRAILERS: Flaw =
    Flaw::of_response("the response's trailers are larger than `response_limits`");
const NO_VALUE: Flaw = Flaw::of_response("a field's value has a control byte");
const NO_NAME: Flaw = Flaw::of_response("a field's name is not a token right before a colon");

/// Size of a read if little is expected ...
pub const READ: usize = 8 * 1024;
/// ... and if much is.
pub const READ_MOST: usize = 64 * 1024;

/// Sender of a body, which decides how strictly its chunks are parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// Client.
    Request,
    /// Endpoint.
    #[default]
    Response,
}

/// Body with the part still to come. The default has ended.
#[derive(Debug, Default)]
pub struct BodyDecoder {
    at: At,
    sender: Sender,
    /// Boxed, as few bodies have chunks and a body is moved often.
    chunks: Option<Box<Chunks>>,
}

/// Elements of a body in chunks beside its data so far, and the limits on them.
#[derive(Debug, Default)]
struct Chunks {
    /// Bytes of all chunk extensions so far.
    extensions: usize,
    /// Lines and bytes of the trailers so far.
    fields: usize,
    bytes: usize,
    trailers: HeaderMap,
    limits: HeaderLimits,
}

/// Element that the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// None of this body.
    #[default]
    End,
    /// Body with this many bytes to come.
    Length(u64),
    /// Body that ends with its connection.
    Close,
    /// Line before a chunk.
    Size,
    /// Chunk with this many bytes to come.
    Chunk(u64),
    /// CRLF after a chunk.
    ChunkEnd,
    /// Trailers.
    Trailers,
}

/// Next piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// Trailers, which end the body.
    Trailers(HeaderMap),
    /// End of the body.
    End,
    /// None yet: more must be received.
    More,
}

impl BodyDecoder {
    /// Body of this many bytes.
    #[must_use]
    pub fn length(length: u64) -> Self {
        let at = if length == 0 { At::End } else { At::Length(length) };
        Self { at, ..Self::default() }
    }

    /// Body in chunks, with limits on its trailers.
    #[must_use]
    pub fn chunked(sender: Sender, limits: HeaderLimits) -> Self {
        let chunks = Some(Box::new(Chunks { limits, ..Chunks::default() }));
        Self { at: At::Size, sender, chunks }
    }

    /// Body that ends with its connection.
    #[must_use]
    pub fn until_close() -> Self {
        Self { at: At::Close, ..Self::default() }
    }

    /// Returns true if only the end of the connection ends the body.
    #[must_use]
    pub fn ends_with_close(&self) -> bool {
        self.at == At::Close
    }

    /// Returns true if the body has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.at == At::End
    }

    /// Number of bytes to come, if known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.at {
            At::End => Some(0),
            At::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Number of bytes to come before the next framing element.
    fn run(&self) -> u64 {
        match self.at {
            At::Length(left) | At::Chunk(left) => left,
            At::Close => u64::MAX,
            At::End | At::Size | At::ChunkEnd | At::Trailers => 0,
        }
    }

    /// Size of the next read: as much as is known to follow, within [`READ`] and [`READ_MOST`].
    #[must_use]
    pub fn read_size(&self) -> usize {
        usize::try_from(self.run()).unwrap_or(READ_MOST).clamp(READ, READ_MOST)
    }

    /// Returns true if closing the connection ends the body.
    #[must_use]
    pub fn close(&mut self) -> bool {
        if self.at == At::Close {
            self.at = At::End;
        }
        self.has_ended()
    }

    /// Takes the next piece from the front of the received bytes.
    ///
    /// # Errors
    /// When the framing is invalid.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Piece, Flaw> {
        loop {
            match self.at {
                At::End => return Ok(Piece::End),
                At::Length(_) | At::Chunk(_) | At::Close => {
                    let piece =
                        if bytes.is_empty() { Piece::More } else { Piece::Data(self.data(bytes)) };
                    return Ok(piece);
                }
                At::Size | At::ChunkEnd | At::Trailers => {
                    if !self.line(bytes)? {
                        return Ok(Piece::More);
                    }
                }
            }
            if self.at == At::End
                && let Some(chunks) =
                    self.chunks.take().filter(|chunks| !chunks.trailers.is_empty())
            {
                return Ok(Piece::Trailers(chunks.trailers));
            }
        }
    }

    fn data(&mut self, bytes: &mut BytesMut) -> Bytes {
        let run = usize::try_from(self.run()).unwrap_or(usize::MAX);
        let length = run.min(bytes.len());
        let data = if length > COPIED {
            bytes.split_to(length).freeze()
        } else {
            let copy = Bytes::copy_from_slice(&bytes[..length]);
            bytes.advance(length);
            copy
        };
        let taken = data.len() as u64;
        self.at = match self.at {
            At::Length(left) if left == taken => At::End,
            At::Length(left) => At::Length(left - taken),
            At::Chunk(left) if left == taken => At::ChunkEnd,
            At::Chunk(left) => At::Chunk(left - taken),
            at => at,
        };
        data
    }

    /// Parses one line of the framing; returns false if it is incomplete.
    fn line(&mut self, bytes: &mut BytesMut) -> Result<bool, Flaw> {
        let most = match self.at {
            At::Trailers => self.chunks().limits.size,
            At::ChunkEnd => 0,
            _ => chunked::SIZE_LINE,
        };
        let newline = memchr(b'\n', &bytes[..bytes.len().min(most + 2)]);
        let Some(length) = (match newline {
            Some(newline) => line::end(&bytes[..=newline])?,
            None if bytes.len() > most + 1 => return Err(self.too_long()),
            None => None,
        }) else {
            return Ok(false);
        };
        let line = &bytes[..length];
        self.at = match self.at {
            At::Size => match self.size(line)? {
                0 => At::Trailers,
                size => At::Chunk(size),
            },
            At::ChunkEnd if line.is_empty() => At::Size,
            At::ChunkEnd => return Err(self.too_long()),
            _ if line.is_empty() => At::End,
            at => {
                self.trailer(line)?;
                at
            }
        };
        bytes.advance(length + 2);
        Ok(true)
    }

    fn size(&mut self, line: &[u8]) -> Result<u64, Flaw> {
        match self.sender {
            Sender::Request => {
                let extension = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
                let extensions = &mut self.chunks().extensions;
                *extensions += line.len() - extension;
                if *extensions > EXTENSIONS {
                    return Err(self.too_long());
                }
                chunked::size(line)
            }
            Sender::Response => chunked::padded_size(line),
        }
    }

    fn too_long(&self) -> Flaw {
        match (self.at, self.sender) {
            (At::Trailers, Sender::Request) => HEAD_TOO_LARGE,
            (At::Trailers, Sender::Response) => TRAILERS,
            (At::ChunkEnd, Sender::Request) => NO_CHUNK_END,
            (At::ChunkEnd, Sender::Response) => {
                Flaw::of_response("a chunk is longer than its size")
            }
            (_, Sender::Request) => Flaw::malformed("a chunk's extensions are too long"),
            (_, Sender::Response) => Flaw::of_response("a line of the body's framing is too long"),
        }
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let (sender, too_long) = (self.sender, self.too_long());
        let chunks = self.chunks();
        (chunks.fields, chunks.bytes) = (chunks.fields + 1, chunks.bytes + line.len() + 2);
        if chunks.fields > chunks.limits.count || chunks.bytes > chunks.limits.size {
            return Err(too_long);
        }
        if sender == Sender::Request {
            chunked::trailer(line)?;
        }
        let (name, value) = field(line)?;
        let name = HeaderName::from_bytes(name).map_err(|_| NO_NAME)?;
        let value = HeaderValue::from_bytes(line::trim(value)).map_err(|_| NO_VALUE)?;
        chunks.trailers.try_append(name, value).map(drop).map_err(|_| too_long)
    }

    fn chunks(&mut self) -> &mut Chunks {
        self.chunks.get_or_insert_default()
    }
}

/// Splits a field line of a response into name, and value with the white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    match line.split_at(line::token(line)) {
        (name, [b':', value @ ..]) if (1..=line::NAME).contains(&name.len()) => Ok((name, value)),
        _ if memchr(b':', line).is_none() => Err(Flaw::of_response("a field without a colon")),
        _ => Err(NO_NAME),
    }
}
