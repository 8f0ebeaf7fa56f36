//! Byte streams of any kind, and what the client's side tells the others about a request under way.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    task::coop,
    time::Instant,
};
use tokio_rustls::{client, server};

/// Any two-way byte stream: a socket, or a pipe in memory.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Whether the other end is known to send nothing more, although what it sent before was not
    /// read yet.
    ///
    /// A socket knows it once the kernel has seen the end, which it does not as long as more stands
    /// before it than the receive buffer holds. A pipe never knows.
    fn is_read_closed(&self) -> bool {
        false
    }

    /// Reads what comes as it is on the wire, below any encryption: for bytes that nobody is to
    /// understand.
    fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self).poll_read(context, buffer)
    }
}

impl Io for TcpStream {
    fn is_read_closed(&self) -> bool {
        // Nothing is consumed, and nobody is woken for it: what the kernel has told so far is
        // looked at.
        let ready =
            pin!(self.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

impl Io for UnixStream {}
impl Io for DuplexStream {}

impl<T: Io> Io for server::TlsStream<T> {
    fn is_read_closed(&self) -> bool {
        self.get_ref().0.is_read_closed()
    }

    fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_read_raw(context, buffer)
    }
}

impl<T: Io> Io for client::TlsStream<T> {
    fn is_read_closed(&self) -> bool {
        self.get_ref().0.is_read_closed()
    }

    fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_read_raw(context, buffer)
    }
}

impl<T: Io + ?Sized> Io for Box<T> {
    fn is_read_closed(&self) -> bool {
        (**self).is_read_closed()
    }

    fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        (**self).poll_read_raw(context, buffer)
    }
}

/// After how much silence the kernel asks whether the other end is there, how long after each
/// other, and how often before it gives up.
pub const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Has the kernel ask a silent other end whether it is still there, [`ALIVE`]: one that is gone
/// without a word is found within 30 s.
///
/// # Errors
/// When the kernel says no.
pub fn set_keepalive(socket: &SockRef<'_>) -> io::Result<()> {
    let (silence, pause, times) = ALIVE;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(silence).with_interval(pause).with_retries(times),
    )
}

/// Takes so many steps of the task's turn, or all that are left: its next read or write then waits
/// for the next turn. tokio lets a task take 128 before the others, and the news of the kernel,
/// have theirs; a read by itself is one step, however much it brings.
pub fn take_steps(steps: usize, context: &mut Context<'_>) {
    for _ in 0..steps {
        if pin!(coop::consume_budget()).poll(context).is_pending() {
            return;
        }
    }
}

/// A connection that speaks HTTP no longer.
pub struct Switched {
    /// The connection.
    pub io: Box<dyn Io>,
    /// What came on it already in the new protocol.
    pub early: Bytes,
}

/// A body that may be kept whole, for a request that is sent again.
pub trait Repeat: Sized {
    /// The same body from its beginning; nothing where it is not kept.
    fn again(&self) -> Option<Self>;
}

/// What the side that reads a request body tells the side that waits for the answer.
#[derive(Default)]
pub struct Progress {
    /// When the last piece was handed on, the client ended its request, or an interim answer came.
    pub moved: Cell<Option<Instant>>,
    /// The client owes the next piece: the upstream is not to blame for silence.
    pub awaiting_client: Cell<bool>,
    /// Who is told of interim answers, where the client's protocol can.
    pub interim: Option<Rc<dyn Interim>>,
}

impl Progress {
    /// The request or its answer has moved on.
    pub fn moves(&self) {
        self.moved.set(Some(Instant::now()));
    }

    /// Time since it last did, if it ever did.
    #[must_use]
    pub fn still(&self) -> Option<Duration> {
        self.moved.get().map(|moved| moved.elapsed())
    }
}

/// A client that takes interim answers (RFC 9110, section 15.2) before the final one.
pub trait Interim {
    /// Passes one on. One that comes too late to be told is dropped.
    fn send_interim(&self, interim: Response<()>);
}

/// A request under way, as its record sees it.
pub trait RequestObserver {
    /// Bytes of its body that were received.
    fn received(&self) -> u64;
    /// Its answer is over: the connection is ready for the next request.
    fn ended(&self);
    /// Reason why weir ended it before its response was complete, if it did.
    fn cut(&self) -> Option<CutReason>;
}

/// Reason why weir ended a request, a stream or a connection of a client that is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutReason {
    /// No next request came in time.
    #[error("no request came in time")]
    Idle,
    /// A request's head took longer than `timeouts.header`.
    #[error("the request's head took too long")]
    Head,
    /// The next piece of a request's body took longer than `timeouts.body`.
    #[error("the next piece of the request's body did not come in time")]
    Body,
    /// A request's body came slower than the least rate.
    #[error("the request's body came too slowly")]
    SlowBody,
    /// A request's body broke the rules of its protocol.
    #[error("the request's body is malformed")]
    Malformed,
    /// Nothing of a response was taken for `timeouts.write`.
    #[error("the client took nothing of its response in time")]
    Write,
    /// The client closed its sending side, and then took nothing of its response.
    #[error("the client closed its side and took nothing more of its response")]
    HalfClosed,
    /// The client did not answer a PING.
    #[error("the client did not answer a PING in time")]
    Silent,
    /// Too many frames that bring nothing.
    #[error("too many frames that bring nothing")]
    IdleFrames,
    /// Too many requests were begun and broken off, or were malformed.
    #[error("too many requests were broken off or malformed")]
    BrokenOff,
    /// An error of HTTP/2, by its number (RFC 9113, section 7).
    #[error("an error of HTTP/2: {}", h2::Reason::from(*.0).description())]
    Protocol(u32),
}

impl CutReason {
    /// Whether the client misused its connection.
    #[must_use]
    pub fn is_abuse(self) -> bool {
        matches!(self, Self::IdleFrames | Self::BrokenOff | Self::Protocol(_))
    }
}
