//! Connection of a client: its bytes, whether the client is still there, which protocol it speaks,
//! and since when it has to send a head.
//!
//! Guarantees: bytes are passed on in the order they came. At most [`READ_AHEAD`] bytes are read
//! ahead to detect a client that leaves. A client that sends a lot is read in turns, so its
//! neighbours do not wait.

use std::{
    cell::{Cell, Ref, RefCell},
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::{
    client_state::{ClientState, WaitingFor},
    http1::interim::InterimQueue,
    tunnel::Tunnel,
};
use crate::runtime::io::{Io, poll_once, take_steps};

/// Bytes read ahead while a request is parked.
pub const READ_AHEAD: usize = 16 * 1024;

/// Size of a read that only looks whether the client is still there.
const PIECE: usize = 2 * 1024;

/// Interval at which the socket of a parked client with more unread data is checked.
const LOOK: Duration = Duration::from_millis(100);

/// Connection preface of an HTTP/2 client (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes read that count as one step of the reading task ([`take_steps`]): one read may contain a
/// thousand frames.
const BYTES_A_STEP: usize = 64;
/// Bytes kept of an incomplete head for the log: a method, and as much of a target as a line shows.
const HEAD_BEGINNING: usize = 1_100;

/// Protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProtocol {
    /// HTTP/1.1, or something that is not HTTP.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// Nothing was received yet, and the process stops.
    Nothing,
}

/// Connection of one client.
pub struct ClientConn {
    io: RefCell<Box<dyn Io>>,
    /// Received bytes that were not taken yet.
    ahead: RefCell<BytesMut>,
    begun: Cell<bool>,
    /// Time since which the client has to complete a head.
    head_since: Cell<Option<Instant>>,
    /// Number of this head on the connection.
    head_number: Cell<Option<u64>>,
    state: Rc<ClientState>,
    tunnel: RefCell<Option<Tunnel>>,
    interim: Rc<InterimQueue>,
}

impl ClientConn {
    /// Wraps a new connection, on which a request head is expected.
    #[must_use]
    pub fn new(io: Box<dyn Io>) -> Rc<Self> {
        Rc::new(Self {
            io: RefCell::new(io),
            ahead: RefCell::default(),
            begun: Cell::new(false),
            head_since: Cell::new(Some(Instant::now())),
            head_number: Cell::new(Some(0)),
            state: ClientState::new(WaitingFor::Head),
            tunnel: RefCell::default(),
            interim: Rc::default(),
        })
    }

    /// Turns the connection into a tunnel once the response in progress is written.
    #[cold]
    pub fn become_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// Takes the tunnel it was to become, if any.
    pub fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Interim responses to an HTTP/1.1 client.
    #[must_use]
    pub fn interim(&self) -> &Rc<InterimQueue> {
        &self.interim
    }

    /// State of the client on this connection.
    #[must_use]
    pub fn state(&self) -> &Rc<ClientState> {
        &self.state
    }

    /// Completes when the client has left: it closed, reset, or closed its sending side.
    ///
    /// If more than [`READ_AHEAD`] bytes are unread, nothing more is read: the socket is checked
    /// instead. A FIN behind more data than the receive buffer holds is not detected.
    pub async fn departed(&self) {
        while poll_fn(|context| self.poll_full(context)).await && !self.io.borrow().is_read_closed()
        {
            sleep(LOOK).await;
        }
    }

    /// Reads ahead until the limit is reached; false if the client has left.
    fn poll_full(&self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.state.is_closed() {
                return Poll::Ready(false);
            }
            if self.ahead.borrow().len() >= READ_AHEAD {
                return Poll::Ready(true);
            }
            ready!(self.poll_read_ahead(context));
        }
    }

    /// Reads a little ahead, or records the end.
    fn poll_read_ahead(&self, context: &mut Context<'_>) -> Poll<()> {
        if ready!(self.poll_read_once(context)).is_err() {
            self.state.close();
        }
        Poll::Ready(())
    }

    fn poll_read_once(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut **self.io.borrow_mut()).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.state.close();
        }
        self.ahead.borrow_mut().extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads what arrived and passes all bytes that were not taken yet to `parse`. The result of
    /// `parse` is its output, and how many of them it takes; without one more is read.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn poll_parse<T>(
        &self,
        context: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> Poll<io::Result<Option<T>>> {
        let mut is_fresh = !self.ahead.borrow().is_empty();
        loop {
            if is_fresh {
                let parsed = parse(&self.ahead.borrow());
                if let Some((output, taken)) = parsed {
                    self.take_ahead(taken);
                    return Poll::Ready(Ok(Some(output)));
                }
            }
            if self.state.is_closed() {
                return Poll::Ready(Ok(None));
            }
            let mut piece = [MaybeUninit::uninit(); READ_AHEAD];
            let mut buffer = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut **self.io.borrow_mut()).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.state.close();
                return Poll::Ready(Ok(None));
            }
            self.begun.set(true);
            self.state.received();
            take_steps(bytes.len() / BYTES_A_STEP, context);
            // Usually nothing was kept and the bytes are one whole head: they are not copied.
            let mut ahead = self.ahead.borrow_mut();
            if ahead.is_empty()
                && let Some((output, taken)) = parse(bytes)
            {
                ahead.extend_from_slice(&bytes[taken..]);
                return Poll::Ready(Ok(Some(output)));
            }
            is_fresh = !ahead.is_empty();
            ahead.extend_from_slice(bytes);
        }
    }

    fn take_ahead(&self, taken: usize) {
        let mut ahead = self.ahead.borrow_mut();
        ahead.advance(taken);
        if ahead.is_empty() {
            // An idle connection keeps no buffer.
            *ahead = BytesMut::new();
        }
    }

    /// Puts back bytes that were read, before all others.
    pub fn put_back(&self, bytes: &[u8]) {
        let mut ahead = self.ahead.borrow_mut();
        *ahead = [bytes, &ahead].concat().as_slice().into();
    }

    /// Notices while a response is in progress that the client has left. What else it sends is read
    /// only once, and kept.
    ///
    /// # Errors
    /// When the connection fails, as after a reset.
    pub fn poll_failure(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.ahead.borrow().is_empty() && !self.state.is_closed() {
            if let Err(error) = ready!(self.poll_read_once(context)) {
                return Poll::Ready(error);
            }
        }
        Poll::Pending
    }

    /// Detects the protocol from the first bytes, which are kept.
    pub async fn detect_protocol(&self) -> ClientProtocol {
        let came_late = self.state.is_draining();
        poll_fn(|context| self.poll_preface(context, came_late)).await
    }

    fn poll_preface(&self, context: &mut Context<'_>, came_late: bool) -> Poll<ClientProtocol> {
        loop {
            let orders = self.state.orders(context);
            let known = self.ahead.borrow().len().min(PREFACE.len());
            self.begun.set(known > 0);
            if self.ahead.borrow()[..known] != PREFACE[..known]
                || self.state.is_closed()
                || orders.cut.is_some()
            {
                return Poll::Ready(ClientProtocol::Http1);
            }
            if known == PREFACE.len() {
                return Poll::Ready(ClientProtocol::Http2);
            }
            if self.poll_read_ahead(context).is_pending() {
                // A connection accepted before the drain had its time; one that came with it is
                // still waited for.
                let let_go = orders.drain && known == 0 && !came_late;
                return if let_go { Poll::Ready(ClientProtocol::Nothing) } else { Poll::Pending };
            }
        }
    }

    /// Beginning of the current head, or of the one that was refused.
    pub fn head(&self) -> Ref<'_, [u8]> {
        Ref::map(self.ahead.borrow(), |ahead| {
            let head = ahead.strip_prefix(b"\r\n").unwrap_or(ahead);
            &head[..head.len().min(HEAD_BEGINNING)]
        })
    }

    /// Time since which the client has to complete a head: the accept, or the first byte of a later
    /// head.
    #[must_use]
    pub fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// Records the number of an incomplete head, if there is one.
    pub fn note_head(&self, number: Option<u64>) {
        // The clock is read only for a head that does not arrive whole.
        if self.head_number.replace(number) != number {
            self.head_since.set(number.map(|_| Instant::now()));
        }
    }

    /// Returns true if the client has ever sent a byte.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ahead = self.ahead.borrow();
        if !ahead.is_empty() {
            let taken = ahead.len().min(buffer.remaining());
            buffer.put_slice(&ahead[..taken]);
            drop(ahead);
            self.take_ahead(taken);
            return Poll::Ready(Ok(()));
        }
        if self.state.is_closed() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut **self.io.borrow_mut()).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.state.close();
        } else {
            self.begun.set(true);
            self.state.received();
            take_steps((buffer.filled().len() - before) / BYTES_A_STEP, context);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads data that is thrown away, below any encryption.
    pub fn poll_read_raw(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.borrow_mut().poll_read_raw(context, buffer)
    }

    /// Returns true if closing the connection would lose bytes that the client has sent.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        let mut piece = [MaybeUninit::uninit(); 1];
        let mut buffer = ReadBuf::uninit(&mut piece);
        let looked = poll_once(|context| self.poll_read_raw(context, &mut buffer));
        looked.is_ready() && !buffer.filled().is_empty()
    }

    /// Returns true if closing sends more than the end of the stream.
    #[must_use]
    pub fn says_goodbye(&self) -> bool {
        self.io.borrow().says_goodbye()
    }

    /// Returns true if the client has sent data that was not passed on.
    #[must_use]
    pub fn has_ahead(&self) -> bool {
        !self.ahead.borrow().is_empty()
    }

    /// Records whether the client takes what is written.
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.stall(outcome.is_pending());
        outcome
    }
}

/// Reading and writing end of a [`ClientConn`].
pub struct ClientConnIo(pub Rc<ClientConn>);

impl AsyncRead for ClientConnIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientConnIo {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut **self.0.io.borrow_mut()).poll_write(context, bytes);
        self.0.wrote(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut **self.0.io.borrow_mut()).poll_write_vectored(context, pieces);
        self.0.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.io.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.io.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.io.borrow_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use crate::downstream::client_conn::*;

    #[tokio::test]
    async fn client_conn_read_ahead_comes_first_and_end_is_kept() {
        let (mut client, server) = duplex(64);
        let conn = ClientConn::new(Box::new(server));
        client.write_all(b"early").await.expect("room in the pipe");
        drop(client);
        conn.departed().await;
        let mut read = String::new();
        ClientConnIo(Rc::clone(&conn)).read_to_string(&mut read).await.expect("an open wire");
        assert_eq!(read, "early");
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_stays_is_not_gone_and_read_ahead_is_bounded() {
        let (mut client, server) = duplex(1 << 20);
        let conn = ClientConn::new(Box::new(server));
        client.write_all(&vec![7; READ_AHEAD * 4]).await.expect("room in the pipe");
        let left = tokio::time::timeout(Duration::from_secs(60), conn.departed()).await;
        assert!(left.is_err());
        assert!(conn.ahead.borrow().len() < READ_AHEAD + 2048);
    }

    #[tokio::test]
    async fn client_that_sends_much_is_read_in_turns() {
        let (mut client, server) = duplex(1 << 20);
        let mut end = ClientConnIo(ClientConn::new(Box::new(server)));
        client.write_all(&vec![7; 1 << 20]).await.expect("room in the pipe");
        let (mut turns, mut read) = (0, 0);
        while read < 1 << 20 {
            tokio::task::yield_now().await;
            turns += 1;
            let before = read;
            poll_fn(|context| {
                let mut chunk = [0; 4096];
                let mut buffer = ReadBuf::new(&mut chunk);
                while Pin::new(&mut end).poll_read(context, &mut buffer).is_ready() {
                    read += buffer.filled().len();
                    buffer.clear();
                }
                Poll::Ready(())
            })
            .await;
            assert!(read - before <= 128 * BYTES_A_STEP, "{} bytes in one turn", read - before);
        }
        assert!((128..=160).contains(&turns), "{turns}");
    }
}
