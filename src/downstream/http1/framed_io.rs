//! I/O of a connection for hyper's HTTP/1.1: no bytes with ambiguous framing reach it.
//!
//! Guarantees: hyper never sees the end of a head that is refused. While a response is in progress,
//! neither refused bytes behind its request nor the FIN of the client are reported, so the response
//! is completed first.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    downstream::{
        client_conn::{ClientConn, ClientConnIo},
        client_state::WaitingFor,
    },
    http::framing::{Flaw, Framer, HeaderLimits, Phase},
};

/// [`ClientConnIo`] that follows the framing.
pub struct FramedIo {
    end: ClientConnIo,
    framer: Framer,
    stop: Option<Stop>,
    /// Responses written to their last byte.
    written: u64,
    /// True while something is withheld from hyper until the response in progress is written.
    withheld: bool,
}

/// Reason why nothing more is passed on.
#[derive(Clone, Copy)]
enum Stop {
    /// Refused request.
    Head(Flaw),
    /// Refused body: its reader gets the error immediately.
    Body(Flaw),
}

impl FramedIo {
    /// Wraps a connection from which nothing was read.
    #[must_use]
    pub fn new(conn: &Rc<ClientConn>, limits: HeaderLimits) -> Self {
        let (end, framer) = (ClientConnIo(Rc::clone(conn)), Framer::new(limits));
        Self { end, framer, stop: None, written: 0, withheld: false }
    }

    /// Returns true if the client sent something behind the request in progress that was not passed
    /// on.
    pub fn holds_back(&self) -> bool {
        self.stop.is_some()
    }

    /// Returns true if the client may be within a request: one that is incomplete, was refused, or
    /// was not passed on.
    pub fn is_owed(&self) -> bool {
        self.stop.is_some() || self.framer.part() != Phase::Between || self.conn().has_ahead()
    }

    /// Records whether the connection is idle in both directions: hyper holds nothing of it then.
    fn note_rest(&self) {
        let between = self.framer.part() == Phase::Between && self.stop.is_none();
        self.conn().set_resting(between && !self.is_responding());
    }

    fn conn(&self) -> &ClientConn {
        &self.end.0
    }

    fn is_responding(&self) -> bool {
        self.framer.heads() > self.written
    }

    fn withhold<T>(&mut self) -> Poll<T> {
        self.withheld = true;
        Poll::Pending
    }

    fn halt(&mut self, stop: Stop) -> Poll<io::Result<()>> {
        let flaw = match stop {
            Stop::Head(_) if self.is_responding() => return self.withhold(),
            Stop::Head(flaw) => {
                self.conn().refuse(flaw);
                flaw
            }
            Stop::Body(flaw) => flaw,
        };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flaw)))
    }

    /// Records that the buffer was written, with every response that was complete by then.
    ///
    /// A response counts as complete once hyper has taken the end of its body. In the same step
    /// hyper buffers the last bytes, and it flushes the stream only when its buffer is empty: so
    /// when a flush succeeds, all complete responses are written.
    fn flushed(&mut self) {
        let answers = self.conn().state().answers();
        if self.written == answers {
            return;
        }
        self.written = answers;
        if self.framer.part() == Phase::Head && self.stop.is_none() {
            self.conn().state().expect(WaitingFor::Head);
        }
        if std::mem::take(&mut self.withheld) {
            self.conn().state().wake();
        }
        self.note_rest();
    }
}

impl AsyncRead for FramedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(stop) = self.stop {
            return self.halt(stop);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.end).poll_read(context, buffer))?;
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() && self.is_responding() && self.framer.part() != Phase::Body {
            return self.withhold();
        }
        let taken = self.framer.take(fresh);
        let in_head = match &taken {
            Ok(()) => self.framer.part() == Phase::Head,
            Err(refused) => refused.part != Phase::Body,
        };
        if in_head {
            self.conn().keep_head(fresh, self.framer.begins());
        } else {
            self.conn().forget_head();
        }
        self.conn().note_head(in_head.then(|| self.framer.heads()));
        self.note_rest();
        let Err(refused) = taken else { return Poll::Ready(Ok(())) };
        let stop = if refused.part == Phase::Body {
            Stop::Body(refused.flaw)
        } else {
            Stop::Head(refused.flaw)
        };
        self.stop = Some(stop);
        buffer.set_filled(before + refused.fine);
        if refused.fine == 0 { self.halt(stop) } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for FramedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.end.is_write_vectored()
    }

    /// hyper calls this once everything it has buffered is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.end).poll_flush(context))?;
        self.flushed();
        Poll::Ready(Ok(()))
    }

    /// The connection is closed by its server loop, after the last response.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
