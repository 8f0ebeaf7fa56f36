//! Byte streams of any kind, and what the client's side tells the others about a request under way.

use std::{cell::Cell, io, pin::pin, rc::Rc, task::Context, time::Duration};

use bytes::Bytes;
use http::Response;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::coop,
};

/// Any two-way byte stream: a socket, or a pipe in memory.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// After how much silence the kernel asks whether the other end is there, how long after each other, and how often before it gives up.
pub const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Has the kernel ask a silent other end whether it is still there, [`ALIVE`]: one that is gone without a word is found within 30 s.
///
/// # Errors
/// When the kernel says no.
pub fn stay_in_touch(socket: &SockRef<'_>) -> io::Result<()> {
    let (silence, pause, times) = ALIVE;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(pause).with_retries(times))
}

/// Takes so many steps of the task's turn, or all that are left: its next read or write then waits for the next turn. tokio lets a task
/// take 128 before the others, and the news of the kernel, have theirs; a read by itself is one step, however much it brings.
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

/// What the side that reads a request body tells the side that waits for the answer.
#[derive(Default)]
pub struct Progress {
    /// Goes up with every piece that was handed on.
    pub pieces: Cell<u64>,
    /// The client owes the next piece: the upstream is not to blame for silence.
    pub awaiting_client: Cell<bool>,
    /// Who is told of interim answers, where the client's protocol can.
    pub interim: Option<Rc<dyn Interim>>,
}

/// A client that takes interim answers (RFC 9110, section 15.2) before the final one.
pub trait Interim {
    /// Passes one on. One that comes too late to be told is dropped.
    fn tell(&self, interim: Response<()>);
}

/// A request under way, as its record sees it.
pub trait Visit {
    /// Bytes of its body that were received.
    fn received(&self) -> u64;
    /// Its answer is over: the connection is ready for the next request.
    fn ended(&self);
}
