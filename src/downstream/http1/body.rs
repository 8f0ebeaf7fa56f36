//! Body of an HTTP/1.1 request, decoded as its reader takes it.
//!
//! Guarantees: no byte behind the body is taken from its connection. A client that waits for
//! `100 Continue` gets it when the body is first needed, unless its response has begun. A body that
//! is cut short or malformed is an error, never an end.

use std::{
    cell::Cell,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;

use crate::{
    downstream::client_conn::{ClientConn, ClientConnIo},
    http::framing::{
        Flaw,
        body::{BodyDecoder, Piece},
    },
};

/// State of a body, shared by its reader and its connection.
#[derive(Debug, Default)]
pub struct BodyState {
    ended: Cell<bool>,
    dropped: Cell<bool>,
    /// True while the connection waits for the rest.
    awaited: Cell<bool>,
    interim: Cell<Continue>,
}

/// Progress of `100 Continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Continue {
    /// The client does not wait for it, has it, or gets a final response instead.
    #[default]
    None,
    /// The client waits for it until the body is needed.
    Awaited,
    /// The connection is to send it.
    Due,
}

impl BodyState {
    /// Creates the state of a body that is still to come. `awaits_continue` is true if the client
    /// waits for `100 Continue`.
    #[must_use]
    pub fn new(awaits_continue: bool) -> Rc<Self> {
        let interim = if awaits_continue { Continue::Awaited } else { Continue::None };
        Rc::new(Self { interim: Cell::new(interim), ..Self::default() })
    }

    /// Returns true if all of the body was received.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Ready when nothing more of the body will be read. The connection is woken by its state.
    pub fn poll_over(&self) -> Poll<()> {
        let over = self.ended.get() || self.dropped.get();
        self.awaited.set(!over);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns true, once, when `100 Continue` is to be sent.
    #[must_use]
    pub fn take_continue(&self) -> bool {
        let is_due = self.interim.get() == Continue::Due;
        if is_due {
            self.interim.set(Continue::None);
        }
        is_due
    }

    /// Records that the final response has begun: no interim one may follow.
    pub fn respond(&self) {
        self.interim.set(Continue::None);
    }
}

/// Reason why a body broke.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its framing is invalid.
    #[error("{0}")]
    Malformed(Flaw),
    /// The connection ended or failed within it.
    #[error("the connection ended")]
    Connection(#[source] io::Error),
}

/// Reader of a request body.
pub struct ConnectionBody {
    conn: Rc<ClientConn>,
    decoder: BodyDecoder,
    state: Rc<BodyState>,
    /// Received bytes that were not decoded yet.
    received: BytesMut,
}

impl ConnectionBody {
    /// Creates the reader of a body that has not ended.
    #[must_use]
    pub fn new(conn: &Rc<ClientConn>, decoder: BodyDecoder, state: &Rc<BodyState>) -> Self {
        let (conn, state) = (Rc::clone(conn), Rc::clone(state));
        Self { conn, decoder, state, received: BytesMut::new() }
    }

    /// Returns true if nothing more follows.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        self.state.has_ended()
    }

    /// Number of bytes to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Next piece of the body.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let piece = self.decoder.take(&mut self.received).map_err(BodyError::Malformed)?;
            if self.decoder.has_ended() {
                self.end();
            }
            match piece {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Piece::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Piece::End => return Poll::Ready(None),
                Piece::More => {}
            }
            if ready!(self.poll_receive(context)).map_err(BodyError::Connection)? == 0 {
                let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Poll::Ready(Some(Err(BodyError::Connection(end))));
            }
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.state.interim.get() == Continue::Awaited {
            self.state.interim.set(Continue::Due);
            // The connection writes it.
            self.conn.state().wake();
        }
        // A read that does not fill the buffer says that the socket is empty, which saves another.
        self.received.reserve(self.decoder.read_size() + 1);
        let mut io = ClientConnIo(Rc::clone(&self.conn));
        pin!(io.read_buf(&mut self.received)).poll(context)
    }

    /// Gives the bytes behind the body back to the connection.
    fn end(&mut self) {
        if self.state.ended.replace(true) {
            return;
        }
        if !self.received.is_empty() {
            self.conn.put_back(&self.received);
        }
        self.received = BytesMut::new();
        self.wake();
    }

    fn wake(&self) {
        if self.state.awaited.take() {
            self.conn.state().wake();
        }
    }
}

impl Drop for ConnectionBody {
    fn drop(&mut self) {
        self.state.dropped.set(true);
        self.wake();
    }
}
