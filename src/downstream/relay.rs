//! Tunnel after a 101: bytes in both directions until both sides end, or both are silent for too
//! long (RFC 9110, section 7.8).
//!
//! Guarantees: each direction holds at most [`BUFFER`] bytes. A side that closes its sending half
//! still receives from the other. The access line is written when the tunnel ends, and a drain ends
//! it in time for that.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    client_conn::{ClientConn, ClientConnIo},
    client_state::WaitingFor,
    drain::Drain,
    tunnel::Tunnel,
};
use crate::http::error::{Error, Kind};

/// Buffer of one direction, in bytes.
pub const BUFFER: usize = 16 * 1024;
/// Time before the end of a drain at which a tunnel is closed.
const EARLY: Duration = Duration::from_millis(100);

/// Copies bytes until the tunnel ends.
pub async fn relay(tunnel: Tunnel, conn: &Rc<ClientConn>) {
    let Tunnel { mut record, far, mut silence, drain } = tunnel;
    conn.state().expect(WaitingFor::Tunnel);
    let (mut near, mut far_io) = (ClientConnIo(Rc::clone(conn)), far.io);
    let (mut up, mut down) = (Flow::beginning_with(&[]), Flow::beginning_with(&far.early));
    let mut over = pin!(nearly_over(drain));
    let ended: io::Result<()> = poll_fn(|context| {
        if conn.state().poll_cut(context).is_ready() || over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let before = (up.bytes, down.bytes);
        // Both directions are polled in every turn, because each registers its own wakers.
        let both = (
            up.poll(context, &mut near, &mut far_io)?,
            down.poll(context, &mut far_io, &mut near)?,
        );
        if before != (up.bytes, down.bytes) {
            silence.reset();
            conn.state().uploaded(up.bytes - before.0);
            record.entry.bytes_out = down.bytes;
        }
        match both {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => silence.poll(context).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    })
    .await;
    match ended {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let detail = "neither side of the tunnel sent data within the time-out";
            record.set_error(&Error::new(Kind::ConnectionReadTimeout, detail));
        }
        // Most peers end a tunnel by closing the connection.
        Err(cause) => tracing::debug!(%cause, "a tunnel ended"),
        // Of the ends without an I/O error only a cut is a fault that the access line names.
        Ok(()) => {
            if let Some(cut) = conn.state().ended_by() {
                record.set_error(&Error::from(cut));
            }
        }
    }
}

async fn nearly_over(mut drain: Drain) {
    let (deadline, _) = drain.begun().await;
    // The access line has to be written before the deadline, when the process exits.
    tokio::time::sleep_until(deadline - EARLY).await;
}

/// One direction of a tunnel.
struct Flow {
    buffer: Vec<u8>,
    pending: std::ops::Range<usize>,
    ended: bool,
    bytes: u64,
}

impl Flow {
    /// Creates a direction on which these bytes were received already.
    fn beginning_with(early: &[u8]) -> Self {
        let mut buffer = early.to_vec();
        // The endpoint may have sent more behind its 101 than a buffer holds.
        buffer.resize(early.len().max(BUFFER), 0);
        Self { buffer, pending: 0..early.len(), ended: false, bytes: 0 }
    }

    /// Ready when everything was written, the end too.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.advance(context, from, to) {
            Poll::Ready(done) => done.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn advance<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.pending.is_empty() {
                let count = ready!(
                    Pin::new(&mut *to).poll_write(context, &self.buffer[self.pending.clone()])
                )?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.start += count;
                self.bytes += count as u64;
            }
            if self.ended {
                // Passes the half-close on. The other direction continues until it ends by itself.
                return Pin::new(&mut *to).poll_shutdown(context);
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            if Pin::new(&mut *from).poll_read(context, &mut buffer)?.is_pending() {
                // A TLS stream may have accepted bytes that it has not sent. Without a flush both
                // sides could wait for each other.
                ready!(Pin::new(&mut *to).poll_flush(context))?;
                return Poll::Pending;
            }
            self.pending = 0..buffer.filled().len();
            self.ended = self.pending.is_empty();
        }
    }
}
