//! One client's HTTP/2 connection: many requests at a time, each a stream that is waited for by itself.
//!
//! Guarantees: at most [`STREAMS`] requests are under way, parked ones included; a client that does not take an answer loses that
//! stream, one that does nothing at all, only keeps us busy, or breaks off [`BROKEN_OFF`] requests, its connection; when the process is to stop, no new stream is taken
//! (GOAWAY). All of a connection's streams are one task, which does little in one turn ([`A_TURN`]): a client that
//! asks for much waits for itself, and its neighbours do not.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{Request, Response};
use http_body::Body;
use tower::BoxError;

use super::{
    calm::{CalmEnd, Meter},
    inbound::{Inbound, StreamBody},
    lane::{Bell, Lane},
    pulse::Pulse,
    stream::{Reply, Unsent},
    turn::{Awaiting, Line, Turn},
    watchdog::Watchdog,
    wire::Wire,
};
use crate::header::{awaits_continue, length_of};

/// How many requests of one connection are under way at most.
pub const STREAMS: u32 = 100;
/// The largest list of fields, in bytes as RFC 9113, section 6.5.2 counts them.
pub const HEADER_LIST: u32 = 16 * 1024;
/// How many streams of a connection are looked at in one turn.
pub const A_TURN: usize = 3;
/// How many more requests a client may break off than it lets be answered.
pub const BROKEN_OFF: u32 = 200;
/// How much a client may send ahead, on a stream and on the connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How much of an answer is kept for a stream that has no room for it.
const SEND_BUFFER: usize = 64 * 1024;

type Connection = server::Connection<CalmEnd, Bytes>;

/// The streams of one connection.
struct Streams {
    wire: Rc<Wire>,
    watchdog: Rc<Watchdog>,
    open: Cell<u32>,
    /// How many more may come.
    left: Cell<u64>,
    /// How many more may be broken off.
    patience: Cell<u32>,
    /// Turns of streams that ended, to be used again.
    free: RefCell<Vec<Rc<Turn>>>,
}

/// One stream; dropping it gives its turn back.
struct Stream {
    streams: Rc<Streams>,
    turn: Rc<Turn>,
}

/// The work for one stream, which goes on while the connection's turn lasts.
struct Portioned<F> {
    work: Pin<Box<F>>,
    begun: bool,
    /// How many streams may still be looked at.
    left: Rc<Cell<usize>>,
}

/// Serves a connection until it ends, or has carried `most` requests.
pub async fn serve<S, F, B, E>(wire: Rc<Wire>, (watchdog, lane): (&Rc<Watchdog>, &Rc<Lane>), most: u64, answer: S)
where
    S: Fn(Line, Request<Inbound>) -> F,
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    let (streams, meter, bell) = (Streams::of(&wire, watchdog, most), Rc::new(Meter::default()), Bell::new(lane));
    let (portion, mut came, mut work) = (Rc::new(Cell::new(0)), VecDeque::new(), FuturesUnordered::new());
    let ended = async {
        let Some(connection) = shake_hands(&wire, CalmEnd::new(&wire, &meter)).await else { return Ok::<_, h2::Error>(()) };
        let mut connection = connection?;
        let (mut pulse, mut draining) = (Pulse::new(connection.ping_pong(), &meter), false);
        let mut turn = |context: &mut Context<'_>| {
            let orders = wire.turn().orders(context);
            if orders.cut {
                return Poll::Ready(Ok(()));
            }
            if orders.drain && !std::mem::replace(&mut draining, true) {
                connection.graceful_shutdown();
            }
            if pulse.poll(context).is_ready() {
                connection.abrupt_shutdown(Reason::NO_ERROR);
            }
            if streams.patience.get() == 0 {
                streams.patience.set(BROKEN_OFF);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            meter.begin_turn();
            portion.set(A_TURN);
            for look in 0..2 {
                // What streams sent has to go out.
                if look > 0 && !bell.has_rung() {
                    break;
                }
                while let Poll::Ready(next) = connection.poll_accept(context)? {
                    let Some((request, sender)) = next else { return Poll::Ready(Ok(())) };
                    let stream = Box::pin(streams.begin(request, sender, &answer));
                    came.push_back(Portioned { work: stream, begun: false, left: Rc::clone(&portion) });
                }
                work.extend(came.drain(..came.len().min(portion.get())));
                while let Poll::Ready(Some(())) = Pin::new(&mut work).poll_next(context) {}
            }
            if !came.is_empty() {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        };
        poll_fn(|context| bell.turn(context, &mut turn)).await
    };
    if let Err(cause) = ended.await {
        tracing::debug!(%cause, "an HTTP/2 connection ended");
    }
}

/// Exchanges the first frames, unless the client takes too long.
async fn shake_hands(wire: &Wire, end: CalmEnd) -> Option<Result<Connection, h2::Error>> {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS).max_header_list_size(HEADER_LIST).max_send_buffer_size(SEND_BUFFER);
    builder.initial_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let mut handshake = pin!(builder.handshake(end));
    poll_fn(|context| match wire.turn().poll_cut(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => handshake.as_mut().poll(context).map(Some),
    })
    .await
}

impl Streams {
    fn of(wire: &Rc<Wire>, watchdog: &Rc<Watchdog>, most: u64) -> Rc<Self> {
        wire.turn().expect(Awaiting::Stream);
        Rc::new(Self {
            wire: Rc::clone(wire),
            watchdog: Rc::clone(watchdog),
            open: Cell::new(0),
            left: Cell::new(most),
            patience: Cell::new(BROKEN_OFF),
            free: RefCell::default(),
        })
    }

    /// A request came: the work it takes, to its end.
    fn begin<S, F, B, E>(
        self: &Rc<Self>,
        request: Request<RecvStream>,
        sender: SendResponse<Bytes>,
        answer: &S,
    ) -> impl Future<Output = ()> + use<S, F, B, E>
    where
        S: Fn(Line, Request<Inbound>) -> F,
        F: Future<Output = Result<Response<B>, E>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let (stream, reply) = (self.open(), Rc::new(Reply::new(sender)));
        let (head, body) = request.into_parts();
        let invites = awaits_continue(&head.headers).then(|| Rc::clone(&reply));
        let body = Inbound::Stream(StreamBody::new(body, length_of(&head.headers), invites));
        let answering = answer(Line::stream(&stream.turn, Some(&reply)), Request::from_parts(head, body));
        async move {
            let carried = reply.carry(&stream.turn, answering).await;
            stream.streams.note(&carried);
        }
    }

    /// What became of a request: whoever breaks off one after the other makes us work for nothing.
    fn note(&self, carried: &Result<(), Unsent>) {
        let patience = self.patience.get();
        self.patience.set(match carried {
            Ok(()) => BROKEN_OFF.min(patience + 1),
            Err(Unsent::Unanswered(_)) => patience,
            Err(Unsent::Cut | Unsent::Ended(_)) => patience.saturating_sub(1),
        });
        if let Err(cause) = carried {
            tracing::debug!(%cause, "a stream ended before its answer");
        }
    }

    /// A stream, which has a turn of its own.
    fn open(self: &Rc<Self>) -> Stream {
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
        Stream { streams: Rc::clone(self), turn }
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

impl<F: Future> Future for Portioned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let left = self.left.get();
        // No more are begun in a turn than fit into it, and these in the order they came.
        if std::mem::replace(&mut self.begun, true) && left == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left.set(left.saturating_sub(1));
        self.work.as_mut().poll(context)
    }
}
