//! One client's HTTP/2 connection: many requests at a time, each a stream that is waited for by itself.
//!
//! Guarantees: at most [`STREAMS`] requests are under way, parked ones included; a client that does not take an answer loses that
//! stream, one that does nothing at all, or only keeps us busy, its connection; when the process is to stop, no new stream is taken (GOAWAY).

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    calm::CalmEnd,
    turn::{Awaiting, Line, Turn},
    watchdog::Watchdog,
    wire::Wire,
};

/// How many requests of one connection are under way at most.
pub const STREAMS: u32 = 100;
/// The largest list of fields, in bytes as RFC 9113, section 6.5.2 counts them.
pub const HEADER_LIST: u32 = 16 * 1024;
/// How much a client may send ahead, on a stream and on the connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How much of an answer is kept for a stream that has no room for it.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a client is asked whether it is still there, and how long it has to answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The streams of one connection.
struct Streams {
    wire: Rc<Wire>,
    watchdog: Rc<Watchdog>,
    open: Cell<u32>,
    /// How many more may come.
    left: Cell<u64>,
    /// Turns of streams that ended, to be used again.
    free: RefCell<Vec<Rc<Turn>>>,
    /// The stream that was taken and has no task yet.
    taken: RefCell<Option<Stream>>,
}

/// One stream; dropping it gives its turn back.
struct Stream {
    streams: Rc<Streams>,
    turn: Rc<Turn>,
}

/// Runs each stream as a task that ends when its client takes too long.
#[derive(Clone)]
struct Tasks(Rc<Streams>);

/// Serves a connection until it ends, or has carried `most` requests.
pub async fn serve<S, F, B, E>(wire: Rc<Wire>, watchdog: &Rc<Watchdog>, most: u64, answer: S)
where
    S: Fn(Line, Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, E>> + 'static,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let streams = Streams::of(&wire, watchdog, most);
    let mut builder = http2::Builder::new(Tasks(Rc::clone(&streams)));
    builder.timer(TokioTimer::new()).keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
    builder.max_concurrent_streams(STREAMS).max_header_list_size(HEADER_LIST).max_send_buf_size(SEND_BUFFER);
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let service = service_fn(move |request| {
        let turn = streams.take();
        // In a box, so that it is gone once the answer has begun, however long its client takes.
        let answering = Box::pin(answer(Line::stream(&turn), request));
        async move { answering.await.map(|response| response.map(|inner| Paced { inner, turn })) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(CalmEnd::new(&wire)), service));
    let mut draining = false;
    let ended = poll_fn(|context| {
        let orders = wire.turn().orders(context);
        if orders.cut {
            return Poll::Ready(Ok(()));
        }
        if orders.drain && !draining {
            draining = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    })
    .await;
    if let Err(cause) = ended {
        tracing::debug!(%cause, "an HTTP/2 connection ended");
    }
}

impl Streams {
    fn of(wire: &Rc<Wire>, watchdog: &Rc<Watchdog>, most: u64) -> Rc<Self> {
        wire.turn().expect(Awaiting::Stream);
        Rc::new(Self {
            wire: Rc::clone(wire),
            watchdog: Rc::clone(watchdog),
            open: Cell::new(0),
            left: Cell::new(most),
            free: RefCell::default(),
            taken: RefCell::default(),
        })
    }

    /// A request came: its stream has a turn of its own.
    fn take(self: &Rc<Self>) -> Rc<Turn> {
        if self.open.replace(self.open.get() + 1) == 0 {
            self.wire.turn().expect(Awaiting::Nothing);
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.wire.turn().drain();
        }
        let turn = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let turn = Turn::new(Awaiting::Nothing);
            self.watchdog.watch(&turn);
            turn
        });
        let stream = Stream { streams: Rc::clone(self), turn: Rc::clone(&turn) };
        self.taken.replace(Some(stream));
        turn
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        if streams.open.replace(streams.open.get() - 1) == 1 {
            streams.wire.turn().expect(Awaiting::Stream);
        }
        // A turn that was ordered to end stays ended.
        if !self.turn.is_cut() {
            self.turn.stall(false);
            self.turn.expect(Awaiting::Nothing);
            streams.free.borrow_mut().push(Rc::clone(&self.turn));
        }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    /// hyper asks for a task right after it took a request; nothing else of it is asked for, as CONNECT is not served.
    fn execute(&self, work: F) {
        let Some(stream) = self.0.taken.take() else { return };
        tokio::task::spawn_local(async move {
            let mut work = pin!(work);
            poll_fn(|context| match stream.turn.poll_cut(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => work.as_mut().poll(context),
            })
            .await;
        });
    }
}

/// An answer's body that tells whether its client takes it: hyper asks for the next piece only once there is room for the last.
struct Paced<B> {
    inner: B,
    turn: Rc<Turn>,
}

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.turn.stall(false);
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.turn.stall(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
