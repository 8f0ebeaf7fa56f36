//! Byte streams, and the state that the downstream side shares with the rest about a request in
//! progress.

use std::{
    any::Any,
    cell::Cell,
    future::{Future, poll_fn},
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
    io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf, Ready},
    net::{TcpStream, UnixStream},
    task::coop,
    time::Instant,
};
use tokio_rustls::{client, server};

/// Two-way byte stream: a socket, or a pipe in memory.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Returns true if the peer is known to send nothing more, even when earlier data was not read
    /// yet.
    ///
    /// A socket knows it once the kernel has seen the FIN. The kernel does not see it while more
    /// data stands before it than the receive buffer holds. A pipe never knows.
    fn is_read_closed(&self) -> bool {
        false
    }

    /// Returns true if a shutdown sends more than the end of the stream, as TLS does.
    fn says_goodbye(&self) -> bool {
        false
    }

    /// Reads bytes as they are on the wire, below any encryption: for data that is thrown away.
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
        says_closed(self.ready(Interest::READABLE))
    }
}

impl Io for UnixStream {
    fn is_read_closed(&self) -> bool {
        says_closed(self.ready(Interest::READABLE))
    }
}

/// Returns true if the kernel has reported the end of a stream. Consumes nothing and registers no
/// waker: it only looks at what the kernel has reported so far.
fn says_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let ready = pin!(ready).poll(&mut Context::from_waker(Waker::noop()));
    matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

impl Io for DuplexStream {}

impl<T: Io> Io for server::TlsStream<T> {
    fn says_goodbye(&self) -> bool {
        true
    }

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
    fn says_goodbye(&self) -> bool {
        true
    }

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
    fn says_goodbye(&self) -> bool {
        (**self).says_goodbye()
    }

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

/// TCP keep-alive: idle time before the first probe, time between probes, and number of probes.
pub const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Turns on TCP keep-alive with [`ALIVE`]: a peer that vanished is detected within 30 s.
///
/// # Errors
/// When the kernel refuses the option.
pub fn set_keepalive(socket: &SockRef<'_>) -> io::Result<()> {
    let (silence, pause, times) = ALIVE;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(silence).with_interval(pause).with_retries(times),
    )
}

thread_local! {
    /// Steps taken on this thread.
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Number of steps that were taken on this thread, which wraps around.
#[must_use]
pub fn steps_taken() -> usize {
    STEPS.get()
}

/// Takes this many steps of the task's cooperative budget, or all that are left: its next read or
/// write then waits for its next turn. tokio lets a task take 128 steps before it polls other tasks
/// and the kernel; one read is one step, however many bytes it returns.
pub fn take_steps(steps: usize, context: &mut Context<'_>) {
    STEPS.set(STEPS.get().wrapping_add(steps));
    for _ in 0..steps {
        // Once the budget is used up it stays so for this turn, so the other steps need no call.
        if pin!(coop::consume_budget()).poll(context).is_pending() {
            return;
        }
    }
}

/// Polls once and registers no waker. The budget of the task does not count: within it every socket
/// would look silent once it is spent.
pub fn poll_once<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    pin!(coop::unconstrained(poll_fn(poll))).poll(&mut Context::from_waker(Waker::noop()))
}

/// Connection that has switched away from HTTP.
pub struct Switched {
    /// The connection.
    pub io: Box<dyn Io>,
    /// Bytes received on it that already belong to the new protocol.
    pub early: Bytes,
    /// Value that counts it until the end of the tunnel, if any.
    pub counted: Option<Box<dyn Any>>,
}

/// Body that may be kept whole, for a request that is sent again.
pub trait Repeat: Sized {
    /// Returns the same body from its beginning; none if it is not kept.
    fn again(&self) -> Option<Self>;
}

/// Progress of a request, reported by the reader of its body to the code that waits for the
/// response.
#[derive(Default)]
pub struct Progress {
    /// Last time a piece was passed on, the client ended its request, or an interim response
    /// arrived.
    pub moved: Cell<Option<Instant>>,
    /// True while the client has to send the next piece: silence of the upstream is not its fault
    /// then.
    pub awaiting_client: Cell<bool>,
    /// Receiver of interim responses, if the protocol of the client allows them.
    pub interim: Option<Rc<dyn Interim>>,
}

impl Progress {
    /// Records that the request or its response has made progress.
    pub fn moves(&self) {
        self.moved.set(Some(Instant::now()));
    }

    /// Time since the last progress, if there was any.
    #[must_use]
    pub fn still(&self) -> Option<Duration> {
        self.moved.get().map(|moved| moved.elapsed())
    }
}

/// Client that accepts interim responses (RFC 9110, section 15.2) before the final one.
pub trait Interim {
    /// Forwards an interim response. One that arrives after the final response is dropped.
    fn send_interim(&self, interim: Response<()>);
}

/// Request in progress, as seen by its log record.
pub trait RequestObserver {
    /// Bytes of the request body received so far.
    fn received(&self) -> u64;
    /// Called when the response is over: the connection is ready for the next request.
    fn ended(&self);
    /// Reason why weir ended the request before its response was complete, if it did.
    fn cut(&self) -> Option<CutReason>;
}

/// Reason why weir ended a request, stream or connection whose client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutReason {
    /// No next request arrived in time.
    #[error("no request arrived in time")]
    Idle,
    /// The head of a request took longer than `timeouts.header`.
    #[error("the request's head took too long")]
    Head,
    /// The next piece of a request body took longer than `timeouts.body`.
    #[error("the next piece of the request's body did not come in time")]
    Body,
    /// A request body was slower than the minimum rate.
    #[error("the request's body came too slowly")]
    SlowBody,
    /// A request body violated its protocol.
    #[error("the request's body is malformed")]
    Malformed,
    /// The client took nothing of a response for `timeouts.write`.
    #[error("the client read nothing of its response in time")]
    Write,
    /// The client closed its sending side and then took nothing of its response.
    #[error("the client closed its side and read nothing more of its response")]
    HalfClosed,
    /// The client did not acknowledge a PING.
    #[error("the client did not acknowledge a PING in time")]
    Silent,
    /// Too many frames without effect.
    #[error("too many frames without effect")]
    IdleFrames,
    /// Too many requests were reset or malformed.
    #[error("too many requests were reset or malformed")]
    BrokenOff,
    /// HTTP/2 error, by its code (RFC 9113, section 7).
    #[error("HTTP/2 error: {}", h2::Reason::from(*.0).description())]
    Protocol(u32),
}

impl CutReason {
    /// Returns true if the client misused its connection.
    #[must_use]
    pub fn is_abuse(self) -> bool {
        matches!(self, Self::IdleFrames | Self::BrokenOff | Self::Protocol(_))
    }
}
