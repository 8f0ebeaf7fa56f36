//! Connection of which some bytes were read already, as if they had not been.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::runtime::io::Io;

/// Returns a connection on which these bytes are read before all others.
#[must_use]
pub fn resumed(ahead: Vec<u8>, io: Box<dyn Io>) -> Box<dyn Io> {
    // Usually all that was read is used up, and the connection needs no wrapper.
    if ahead.is_empty() { io } else { Box::new(Resumed { ahead, taken: 0, io }) }
}

/// Connection of which some bytes were read already.
struct Resumed {
    ahead: Vec<u8>,
    taken: usize,
    io: Box<dyn Io>,
}

impl Io for Resumed {
    fn is_read_closed(&self) -> bool {
        self.io.is_read_closed()
    }

    fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Bytes ahead are skipped: what is read raw is discarded anyway.
        self.io.poll_read_raw(context, buffer)
    }
}

impl AsyncRead for Resumed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.ahead.len() {
            return Pin::new(&mut this.io).poll_read(context, buffer);
        }
        let count = buffer.remaining().min(this.ahead.len() - this.taken);
        buffer.put_slice(&this.ahead[this.taken..this.taken + count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
