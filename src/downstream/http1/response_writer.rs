//! Writer of one response: its head and body, and the interim responses before it.
//!
//! Guarantees: exactly one framing. A body that is shorter or longer than announced is an error.
//! Small pieces are written together, large ones without a copy. At most 16 KiB and one piece wait
//! to be written.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::{
    downstream::client_conn::{ClientConn, ClientConnIo},
    http::{
        framing::{
            chunked::{CHUNK_END, END_AND_LAST, LAST_CHUNK},
            request::{write_end, write_size},
            response_head::{ResponseForm, ResponseFraming, announced_trailers, write_head},
        },
        message::ResponseParts,
    },
    runtime::write_buffer::WriteBuffer,
};

/// Size that most response heads fit in.
const HEAD: usize = 1024;
/// Copied bytes above which nothing more is taken before they are written.
const MOST: usize = 16 * 1024;

/// Writer of one response.
pub struct ResponseWriter {
    io: ClientConnIo,
    out: WriteBuffer,
    framing: ResponseFraming,
    /// Trailers that may be sent.
    trailers: Vec<HeaderName>,
    /// True once all of the response was taken.
    ended: bool,
    /// Bytes of head and body so far.
    size: usize,
    flushed: bool,
}

/// Reason why a response cannot be written as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// The body goes on.
    #[error("the body is longer than its Content-Length")]
    Longer,
    /// The body ended early.
    #[error("the body is shorter than its Content-Length")]
    Shorter,
}

impl ResponseWriter {
    /// Creates a writer for the next response on a connection.
    #[must_use]
    pub fn new(conn: &Rc<ClientConn>) -> Self {
        Self {
            io: ClientConnIo(Rc::clone(conn)),
            out: WriteBuffer::default(),
            framing: ResponseFraming::Nothing,
            trailers: Vec::new(),
            ended: false,
            size: 0,
            flushed: true,
        }
    }

    /// Adds `100 Continue`.
    pub fn push_continue(&mut self) {
        self.out.text().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flushed = false;
    }

    /// Adds the interim responses that came on the connection.
    pub fn push_interim(&mut self) {
        let ClientConnIo(conn) = &self.io;
        self.flushed &= !conn.interim().write(self.out.text());
    }

    /// Adds the head, and returns true if the connection persists after the response.
    pub fn begin(&mut self, form: &ResponseForm, head: &ResponseParts, body: &impl Body) -> bool {
        let size = body.size_hint();
        self.framing = ResponseFraming::of(form, head, &size);
        if self.framing == ResponseFraming::Chunked && form.wants_trailers {
            self.trailers = announced_trailers(&head.headers);
        }
        self.ended = self.framing == ResponseFraming::Nothing || body.is_end_stream();
        self.flushed = false;
        let text = self.out.text();
        text.reserve(HEAD);
        let persists = write_head(text, form, head, self.framing, &size);
        self.size = self.out.copied();
        persists
    }

    /// Bytes of head and body that were added.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns true once all of the response was taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns true if the next piece may be added before anything is written.
    #[must_use]
    pub fn takes_more(&self) -> bool {
        !self.ended && !self.out.has_piece() && self.out.copied() < MOST
    }

    /// Adds a piece of the body.
    ///
    /// # Errors
    /// When the body is longer than announced.
    pub fn push(&mut self, data: Bytes) -> Result<(), LengthError> {
        if data.is_empty() {
            return Ok(());
        }
        self.flushed = false;
        self.size = self.size.saturating_add(data.len());
        let end: &'static [u8] = match &mut self.framing {
            ResponseFraming::Chunked => {
                write_size(self.out.text(), data.len());
                CHUNK_END
            }
            ResponseFraming::Close => b"",
            ResponseFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(LengthError::Longer)?;
                b""
            }
            ResponseFraming::Nothing => return Err(LengthError::Longer),
        };
        self.out.push(data, end);
        Ok(())
    }

    /// Ends the body, with trailers of which those are sent that the head announced.
    ///
    /// # Errors
    /// When the body is shorter than announced.
    pub fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), LengthError> {
        match self.framing {
            ResponseFraming::Length(1..) => return Err(LengthError::Shorter),
            ResponseFraming::Chunked => match trailers.and_then(|trailers| self.sent(trailers)) {
                Some(trailers) => write_end(self.out.text(), &trailers),
                None => self.out.push_end(END_AND_LAST, LAST_CHUNK),
            },
            ResponseFraming::Length(0) | ResponseFraming::Close | ResponseFraming::Nothing => {}
        }
        self.ended = true;
        self.flushed = false;
        Ok(())
    }

    fn sent(&self, mut trailers: HeaderMap) -> Option<HeaderMap> {
        let names: Vec<_> = trailers.keys().cloned().collect();
        for name in names.iter().filter(|name| !self.trailers.contains(name)) {
            trailers.remove(name);
        }
        Some(trailers).filter(|trailers| !trailers.is_empty())
    }

    /// Ready once everything that was added is written.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_write(&mut self.io, context)
    }

    /// Ready once everything that was added is on its way to the client.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flushed {
            ready!(self.poll_write(context))?;
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Response;
    use http_body_util::{Empty, Full};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use crate::downstream::http1::response_writer::*;

    const FORM: ResponseForm =
        ResponseForm { to_head: false, reads_chunks: true, wants_trailers: true, persists: true };

    fn writer() -> (ResponseWriter, DuplexStream) {
        let (client, server) = duplex(1 << 20);
        (ResponseWriter::new(&ClientConn::new(Box::new(server))), client)
    }

    /// Body of unknown length.
    fn stream() -> impl Body {
        http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, std::convert::Infallible>,
        >())
    }

    /// Bytes that the client gets behind the head.
    async fn received(mut writer: ResponseWriter, mut client: DuplexStream) -> String {
        poll_fn(|context| writer.poll_flush(context)).await.expect("an open pipe");
        drop(writer);
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("text");
        text.split_once("\r\n\r\n").expect("a head").1.to_owned()
    }

    #[tokio::test]
    async fn chunks_large_and_small_are_written_in_order() {
        let (mut writer, client) = writer();
        let head = Response::builder().header("trailer", "x-sum").body(()).expect("a head");
        assert!(writer.begin(&FORM, &head.into_parts().0.into(), &stream()));
        let large = "y".repeat(70_000);
        for piece in ["small", "", &large, "behind"] {
            while !writer.takes_more() {
                poll_fn(|context| writer.poll_write(context)).await.expect("an open pipe");
            }
            writer.push(Bytes::copy_from_slice(piece.as_bytes())).expect("no length");
        }
        let trailers = [("x-sum", "1"), ("x-other", "2")].map(|(name, value)| {
            (HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        writer.end(Some(trailers.into_iter().collect())).expect("no length");
        assert_eq!(
            received(writer, client).await,
            format!("5\r\nsmall\r\n11170\r\n{large}\r\n6\r\nbehind\r\n0\r\nx-sum: 1\r\n\r\n")
        );
    }

    #[tokio::test]
    async fn last_chunk_stands_behind_a_large_piece() {
        let (mut writer, client) = writer();
        writer.begin(&FORM, &ResponseParts::default(), &stream());
        let large = "y".repeat(5_000);
        writer.push(Bytes::from(large.clone())).expect("no length");
        assert!(!writer.takes_more());
        writer.end(None).expect("no length");
        assert_eq!(received(writer, client).await, format!("1388\r\n{large}\r\n0\r\n\r\n"));
    }

    #[tokio::test]
    async fn body_that_is_not_as_long_as_announced_is_an_error() {
        let begun = |length: usize| {
            let (mut writer, client) = writer();
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            writer.begin(&FORM, &ResponseParts::default(), &body);
            (writer, client)
        };
        let data = Bytes::from_static(b"xxx");
        let (mut short, _client) = begun(4);
        short.push(data.clone()).expect("within its length");
        assert_eq!(short.end(None), Err(LengthError::Shorter));
        let (mut long, _client) = begun(2);
        assert_eq!(long.push(data), Err(LengthError::Longer));
    }

    #[tokio::test]
    async fn continue_precedes_the_response_and_empty_body_ends_it() {
        let (mut writer, client) = writer();
        writer.push_continue();
        writer.begin(&FORM, &ResponseParts::default(), &Empty::<Bytes>::new());
        assert!(writer.has_ended() && !writer.takes_more());
        assert_eq!(received(writer, client).await, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}
