//! The end of a connection that is given to hyper's HTTP/2: a client that keeps it busy with frames that bring nothing is let go.
//!
//! Guarantee: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and unknown frames are an allowance: [`FRAMES`] at once, and more as
//! time passes ([`A_SECOND`]) and as answers are taken (one for each [`BYTES`] written). No clock is read until it is used up.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::wire::{Wire, WireEnd};
use crate::framing::frames::Frames;

/// How many such frames a client may send at once.
pub const FRAMES: u64 = 2_000;
/// How many more each second.
pub const A_SECOND: u64 = 40;
/// How many bytes of answers allow one more: whoever takes much has much room to grant.
pub const BYTES: u64 = 32;

/// The most that is allowed, counted in bytes.
const MOST: u64 = FRAMES * BYTES;

/// A [`WireEnd`] whose frames are counted.
pub struct CalmEnd {
    end: WireEnd,
    frames: Frames,
    /// What is left, counted in bytes.
    left: u64,
    since: Instant,
}

impl CalmEnd {
    /// The end of a connection on which nothing was read.
    #[must_use]
    pub fn new(wire: &Rc<Wire>) -> Self {
        Self { end: WireEnd(Rc::clone(wire)), frames: Frames::default(), left: MOST, since: Instant::now() }
    }

    /// Takes so many frames off what is left.
    fn spend(&mut self, frames: u32) -> io::Result<()> {
        let cost = u64::from(frames) * BYTES;
        if cost > self.left {
            let now = Instant::now();
            let passed = u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
            self.allow(passed.saturating_mul(A_SECOND * BYTES) / 1000);
            self.since = now;
        }
        let refuse = || io::Error::new(io::ErrorKind::InvalidData, "too many frames that bring nothing");
        self.left = self.left.checked_sub(cost).ok_or_else(refuse)?;
        Ok(())
    }

    fn allow(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes).min(MOST);
    }

    fn wrote(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = outcome {
            self.allow(count as u64);
        }
        outcome
    }
}

impl AsyncRead for CalmEnd {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.end).poll_read(context, buffer))?;
        let idle = self.frames.take(&buffer.filled()[before..]);
        Poll::Ready(if idle > 0 { self.spend(idle) } else { Ok(()) })
    }
}

impl AsyncWrite for CalmEnd {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write(context, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write_vectored(context, pieces);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.end.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}
