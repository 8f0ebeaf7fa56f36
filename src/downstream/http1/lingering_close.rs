//! Lingering close of an HTTP/1.1 connection whose client may still be sending (RFC 9112, section
//! 9.6).
//!
//! Closing with unread bytes makes the kernel send a reset, and the reset makes the kernel of the
//! client drop a response that it has not read yet. So weir closes its own sending side and
//! discards what still arrives until the client closes too.
//!
//! Guarantees: discarded bytes are not parsed, decrypted, counted or logged. A client with an
//! incomplete request has [`IDLE`] from piece to piece and [`TOTAL`] in all, within the bounds of
//! [`Lingering`]. Every other connection, and each one once the process stops, has [`SHORT`].
//! `tests/edge/lingering_close.rs` holds them.

use std::{
    cell::Cell, future::poll_fn, io, mem::MaybeUninit, pin::pin, task::Poll, time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    downstream::{
        client_conn::{ClientConn, ClientConnIo},
        connection_limits::{ClientPermit, ConnectionPermit},
        drain::Drain,
        fair_queue::Queued,
    },
    runtime::io::take_steps,
};

/// Longest time that a connection lingers, as in nginx.
pub const TOTAL: Duration = Duration::from_secs(30);
/// Longest silence of a lingering connection, as in nginx.
pub const IDLE: Duration = Duration::from_secs(5);
/// Linger time of a connection with complete requests, and of one without a permit.
pub const SHORT: Duration = Duration::from_secs(1);

/// Limit on lingering connections of a worker ...
pub const PER_WORKER: usize = 256;
/// ... and of a listener: one in this many of its `max_connections`.
pub const SHARE: usize = 8;

/// Bytes discarded in one turn ...
const BYTES_A_TURN: usize = 64 * 1024;
/// ... and in one read.
const READ_SIZE: usize = 16 * 1024;
/// All steps of a turn ([`take_steps`]).
const STEPS: usize = 128;

/// Count of lingering connections of one worker.
#[derive(Debug, Default)]
pub struct Lingering {
    open: Cell<usize>,
}

/// Permit for a lingering connection, freed on drop.
struct LingerPermit<'a> {
    lingering: &'a Lingering,
    _of_client: ClientPermit<'a>,
}

impl Lingering {
    /// Takes a permit for the connection with this connection permit, if its worker, listener and
    /// client have one left.
    fn enter<'a>(&'a self, place: &'a ConnectionPermit) -> Option<LingerPermit<'a>> {
        let open = self.open.get();
        if open >= PER_WORKER.min(place.max_connections() / SHARE) {
            return None;
        }
        let of_client = place.linger()?;
        self.open.set(open + 1);
        Some(LingerPermit { lingering: self, _of_client: of_client })
    }
}

impl Drop for LingerPermit<'_> {
    fn drop(&mut self) {
        self.lingering.open.set(self.lingering.open.get() - 1);
    }
}

/// Bounds on the time that a connection may linger.
pub struct Bounds<'a> {
    /// Lingering connections of its worker.
    pub lingering: &'a Lingering,
    /// Permit of the connection.
    pub place: &'a ConnectionPermit,
    /// Drain state.
    pub drain: &'a Drain,
}

impl Bounds<'_> {
    /// Closes after a client that sends nothing more (RFC 9112, section 9.6): without lingering,
    /// unless there are bytes all the same.
    pub async fn finish(&self, end: &mut ClientConnIo, queued: &mut Queued) {
        if end.0.has_unread() {
            return self.close(end, queued, &[], false).await;
        }
        // Closing the socket sends the FIN. TLS has an alert to send first.
        if end.0.says_goodbye()
            && let Ok(Err(cause)) = timeout(SHORT, end.shutdown()).await
        {
            tracing::debug!(%cause, "cannot close the connection gracefully");
        }
    }

    /// Sends the last bytes, closes the sending side, and discards what arrives. `owes` is true if
    /// the client may be within a request.
    pub async fn close(
        &self,
        end: &mut ClientConnIo,
        queued: &mut Queued,
        last_bytes: &[u8],
        owes: bool,
    ) {
        let closing = async {
            match timeout(IDLE, farewell(end, last_bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    return tracing::debug!(%cause, "cannot close the connection gracefully");
                }
                Err(_) => {
                    return tracing::debug!(
                        "the client did not read the last bytes in time; \
                    closing the connection"
                    );
                }
            }
            let permit = owes.then(|| self.lingering.enter(self.place)).flatten();
            let (total, idle) = if permit.is_some() { (TOTAL, IDLE) } else { (SHORT, SHORT) };
            discard(&end.0, queued, total, idle).await;
        };
        let mut drain = self.drain.clone();
        let stopping = async {
            drain.begun().await;
            sleep(SHORT).await;
        };
        tokio::select! {
            biased;
            () = closing => {}
            () = stopping => {}
        }
    }
}

async fn farewell(end: &mut ClientConnIo, last_bytes: &[u8]) -> io::Result<()> {
    end.write_all(last_bytes).await?;
    end.shutdown().await
}

/// Discards what arrives until the client closes its side, or its time is up.
async fn discard(conn: &ClientConn, queued: &mut Queued, total: Duration, idle: Duration) {
    let mut heard = Instant::now();
    let deadline = heard + total;
    let mut timer = pin!(sleep_until(deadline.min(heard + idle)));
    poll_fn(|context| {
        let polled = queued.turn(context, |context| {
            let mut left = BYTES_A_TURN;
            while left > 0 {
                let mut piece = [MaybeUninit::uninit(); READ_SIZE];
                let mut buffer = ReadBuf::uninit(&mut piece);
                match conn.poll_read_raw(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        left = left.saturating_sub(buffer.filled().len());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if left < BYTES_A_TURN {
                heard = Instant::now();
            }
            if left == 0 {
                // There may be more: all other ready tasks go first.
                take_steps(STEPS, context);
            }
            Poll::Pending
        });
        if polled.is_ready() {
            return polled;
        }
        while timer.as_mut().poll(context).is_ready() {
            // Bytes do not move the timer, which would cost something for each of them. When it
            // fires too early it is set again, and polled again, or it would wake nothing.
            let end = deadline.min(heard + idle);
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, rc::Rc, task::Context};

    use tokio::{
        io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
        task::{LocalSet, spawn_local, yield_now},
    };

    use crate::{
        downstream::{fair_queue::FairQueue, http1::lingering_close::*},
        runtime::io::Io,
    };

    /// Pipe that counts the bytes read from it.
    struct Counted(DuplexStream, Rc<Cell<usize>>);

    impl Io for Counted {}

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut self.0).poll_read(context, buffer);
            self.1.set(self.1.get() + buffer.filled().len() - before);
            polled
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    const CLIENTS: usize = 10;
    const LENGTH: usize = 1 << 20;

    #[tokio::test]
    async fn lingering_close_discards_in_turns() {
        LocalSet::new()
            .run_until(async {
                let (fair_queue, read) = (Rc::<FairQueue>::default(), Rc::<Cell<usize>>::default());
                let caller = Rc::clone(&fair_queue);
                spawn_local(async move { caller.run().await });
                for _ in 0..CLIENTS {
                    let (mut client, server) = duplex(LENGTH);
                    client.write_all(&vec![7; LENGTH]).await.expect("room in the pipe");
                    let (fair_queue, read) = (Rc::clone(&fair_queue), Rc::clone(&read));
                    spawn_local(async move {
                        let conn = ClientConn::new(Box::new(Counted(server, read)));
                        discard(&conn, &mut Queued::new(&fair_queue), TOTAL, IDLE).await;
                    });
                    drop(client);
                }
                yield_now().await;
                // The first turn of each, and the second of one.
                assert!((1..=(CLIENTS + 1) * BYTES_A_TURN).contains(&read.get()), "{}", read.get());
                let mut turns = 0;
                while read.get() < CLIENTS * LENGTH {
                    let before = read.get();
                    yield_now().await;
                    assert!(
                        read.get() - before <= BYTES_A_TURN,
                        "{} bytes in one turn",
                        read.get() - before
                    );
                    turns += 1;
                    assert!(turns < 10_000, "{} of {} bytes", read.get(), CLIENTS * LENGTH);
                }
                assert!(turns >= CLIENTS * (LENGTH / BYTES_A_TURN - 1) - 1, "{turns}");
            })
            .await;
    }
}
