//! HTTP/2 connection of a client: many concurrent requests, each a stream of its own.
//!
//! Guarantees: at most [`STREAMS`] requests are in progress, parked ones included. A client that
//! does not take a response loses that stream. A client that is silent, only keeps weir busy, or
//! resets one request after another ([`BROKEN_OFF`]) loses its connection. When the process stops,
//! no new stream is accepted (GOAWAY). All streams of a connection are one task, which does little
//! in one turn: a client that sends many requests waits for itself, and its neighbours
//! do not.
//!
//! One turn reads at most `FRAMES_A_TURN` frames and then lets the scheduler run a few streams.
//! While streams have work, up to `ALONE` further turns run streams only, without reading, so that
//! their output leaves in few large writes. A turn that had more to do than it was allowed joins
//! the [`FairQueue`].

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::Request;
use http_body::Body;
use tokio::time::Instant;
use tower::BoxError;

use super::{
    STREAM_WINDOW,
    allowance::{Allowance, ONE},
    metered_io::{Meter, MeteredIo, STREAMS},
    ping::PingTimer,
    response::{Reply, SendError},
    scheduler::{STREAMS_A_TURN, StreamScheduler},
    unread::UnreadBody,
};
use crate::{
    downstream::{
        client_conn::ClientConn,
        client_state::{ClientState, WaitingFor},
        fair_queue::{FairQueue, TurnWaker},
        request_body::{IncomingBody, StreamBody},
        request_channel::RequestChannel,
        watchdog::Watchdog,
    },
    http::{
        fields::awaits_continue,
        framing::{
            HeaderLimits,
            field_list::{Received, Unfit},
        },
        message::{RequestParts, Response},
    },
    runtime::io::CutReason,
};

/// Consecutive turns for streams only, before their output is written.
const ALONE: usize = STREAMS as usize / STREAMS_A_TURN;
/// Requests that a client may reset in a burst ...
pub const BROKEN_OFF: u32 = 200;
/// ... more per second, besides one for each request that it lets complete ...
pub const BROKEN_OFF_A_SECOND: u32 = 60;
/// ... and duration of a request whose reset is not counted: at most [`STREAMS`] are in progress,
/// so a second has no more of these than it could have responses. A client with deadlines resets
/// many such requests.
pub const LASTING: Duration = Duration::from_millis(100);
/// Time that streams are accepted after GOAWAY from a client that has not acknowledged the PING
/// behind it, as it may not have seen it.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Receive window of the connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response kept for a stream without window.
const SEND_BUFFER: usize = 64 * 1024;

type Connection = server::Connection<MeteredIo, Bytes>;

/// Streams of one connection.
struct Streams {
    conn: Rc<ClientConn>,
    watchdog: Rc<Watchdog>,
    open: Cell<u32>,
    /// Streams that may still come.
    left: Cell<u64>,
    /// Allowance for resets.
    patience: RefCell<Allowance>,
    /// True once it was used up.
    exhausted: Cell<bool>,
    /// States of ended streams, for reuse.
    free: RefCell<Vec<Rc<ClientState>>>,
    /// Event expected on the connection, and since when the current head is expected.
    owes: Cell<(WaitingFor, Option<Instant>)>,
}

/// One stream; dropping it returns its state for reuse.
struct Stream {
    streams: Rc<Streams>,
    state: Rc<ClientState>,
}

/// Connection being served.
struct Served<S> {
    connection: Connection,
    streams: Rc<Streams>,
    scheduler: StreamScheduler,
    ping_timer: PingTimer,
    meter: Rc<Meter>,
    answer: S,
    /// Consecutive turns for streams only, so far.
    alone: usize,
    /// Time at which GOAWAY was sent.
    draining: Option<Instant>,
}

/// Serves a connection until it ends or has carried `max_requests`. `answer` is called with each
/// request and its flaw, if any.
pub async fn serve<S, F, B, E>(
    conn: Rc<ClientConn>,
    watchdog: &Rc<Watchdog>,
    fair_queue: &Rc<FairQueue>,
    limits: HeaderLimits,
    max_requests: u64,
    answer: S,
) where
    S: Fn(RequestChannel, Box<RequestParts>, IncomingBody, Option<Unfit>) -> F,
    F: Future<Output = Result<Response<B>, E>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let streams = Streams::of(&conn, watchdog, max_requests);
    let (meter, turn_waker) = (Rc::new(Meter::default()), TurnWaker::new(fair_queue));
    let ended = async {
        let end = MeteredIo::new(&conn, &meter, limits);
        // A client that is cut before its preface ends gets no GOAWAY: there is no connection of
        // the library yet that could send one.
        let Some(connection) = shake_hands(&conn, end, limits).await else { return Ok(()) };
        let mut connection = connection?;
        let (scheduler, ping_timer) =
            (StreamScheduler::default(), PingTimer::new(connection.ping_pong(), &meter));
        let mut served = Served {
            connection,
            streams,
            scheduler,
            ping_timer,
            meter,
            answer,
            alone: 0,
            draining: None,
        };
        poll_fn(|context| turn_waker.turn(context, |context| served.turn(&turn_waker, context)))
            .await
    };
    if let Err(cause) = ended.await {
        tracing::debug!(%cause, "an HTTP/2 connection ended");
    }
}

/// Exchanges the connection preface, unless the client takes too long.
async fn shake_hands(
    conn: &ClientConn,
    end: MeteredIo,
    limits: HeaderLimits,
) -> Option<Result<Connection, h2::Error>> {
    let mut builder = server::Builder::new();
    // The library reads only trailers, not heads, but it announces the limit to clients.
    let list = u32::try_from(limits.size).unwrap_or(u32::MAX);
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(list)
        .max_send_buffer_size(SEND_BUFFER);
    // Frames in flight to streams that were already reset are discarded; the default of the library
    // is 50 such streams.
    builder.max_concurrent_reset_streams(STREAMS as usize);
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let mut handshake = pin!(builder.handshake(end));
    poll_fn(|context| match conn.state().poll_cut(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => handshake.as_mut().poll(context).map(Some),
    })
    .await
}

impl<S, F, B, E> Served<S>
where
    S: Fn(RequestChannel, Box<RequestParts>, IncomingBody, Option<Unfit>) -> F,
    F: Future<Output = Result<Response<B>, E>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    /// Runs one turn, from one wake to the next. Ready when the connection has ended.
    fn turn(
        &mut self,
        turn_waker: &TurnWaker,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        // Checked before anything is read, so a connection that was cut starts no further request.
        let orders = self.streams.conn.state().orders(context);
        if orders.cut.is_some() {
            return Poll::Ready(Ok(()));
        }
        if orders.drain && self.draining.is_none() {
            self.draining = Some(Instant::now());
            // The library first sends GOAWAY with the largest stream id, and the real one after a
            // round trip. Requests in flight are still served (RFC 9113, section 6.8).
            self.connection.graceful_shutdown();
        }
        // Polled in every turn, because the timer wakes the task only if it was polled with
        // its waker.
        if let Some(reason) = self.streams.objection(self.ping_timer.poll(context)) {
            self.connection.abrupt_shutdown(reason);
        }
        self.meter.begin_turn();
        // While there is work, the streams get some turns for themselves, so that much is sent in
        // one write.
        let reads = self.alone == 0;
        if reads && self.take_or_blame(context)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.scheduler.go_on(context);
        // The modulo ends such a series after `ALONE` turns. Without it, streams that are always
        // ready would keep the connection from reading WINDOW_UPDATE and RST_STREAM.
        self.alone = if self.scheduler.is_behind() { (self.alone + 1) % ALONE } else { 0 };
        // No work is left, so the wake comes from what the streams sent, which has to be written.
        let sent = self.alone == 0 && (turn_waker.take_woken() || !reads);
        if sent && self.take_or_blame(context)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // A drain that was ordered in this turn, by the last allowed request, still has to send its
        // GOAWAY. `take_woken` may have taken its wake.
        let ordered = self.streams.conn.state().is_draining() && self.draining.is_none();
        if ordered || self.scheduler.is_behind() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Calls [`Served::take`]. A fault of the client is recorded before its requests end with the
    /// connection.
    fn take_or_blame(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.take(context).map_err(|cause| {
            // Only an error that the library found itself is the client's fault. An error of the
            // socket, or a GOAWAY of the client, is not.
            if let Some(reason) =
                cause.reason().filter(|_| cause.is_library() && cause.is_go_away())
            {
                self.streams.conn.state().record_cut(CutReason::Protocol(reason.into()));
            }
            cause
        })
    }

    /// Reads and writes, and accepts new requests. Ready when the connection has ended.
    fn take(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            while let Poll::Ready(came) = self.connection.poll_accept(context)? {
                let Some((request, sender)) = came else { return Poll::Ready(Ok(())) };
                self.begin(request, sender);
            }
            self.meter.forget_refused();
            self.streams.owe();
            // Everything before the fault was processed. The library has not seen the faulty bytes
            // and would wait for more, so the end is ordered here. The next poll writes GOAWAY.
            let Some(fault) = self.meter.take_fault() else { return Poll::Pending };
            tracing::debug!(%fault, "HTTP/2 protocol error by the client; closing the connection");
            self.streams.conn.state().record_cut(CutReason::Protocol(fault.code()));
            self.connection.abrupt_shutdown(fault.code().into());
        }
    }

    /// Starts a stream: adds all work of its request.
    fn begin(&mut self, stand_in: Request<RecvStream>, mut sender: SendResponse<Bytes>) {
        let Some(Received { head, length, unfit }) =
            self.meter.take_request(sender.stream_id().as_u32())
        else {
            // No work was done for it.
            return sender.send_reset(Reason::REFUSED_STREAM);
        };
        if self.draining.is_some_and(|since| since.elapsed() > UNDER_WAY) {
            // The client ignores GOAWAY.
            self.streams.wastes();
            return sender.send_reset(Reason::REFUSED_STREAM);
        }
        let (stream, began) = (self.streams.open(), Instant::now());
        let reply = Rc::new(Reply::new(sender, &head.method, &self.meter));
        let invites = awaits_continue(&head.headers).then(|| Rc::clone(&reply));
        let incoming = stand_in.into_body();
        // A request that is complete leaves nothing behind.
        let (leftover, unread) = (!incoming.is_end_stream()).then(UnreadBody::new).unzip();
        let body = IncomingBody::Stream(StreamBody::new(incoming, length, invites, leftover));
        let malformed = unfit.is_some();
        let answering = Box::pin((self.answer)(
            RequestChannel::stream(&stream.state, Some(&reply)),
            head,
            body,
            unfit,
        ));
        // The work owns `stream`, so its state returns also when the work panics or is dropped.
        self.scheduler.add(async move {
            let carried = reply.carry(&stream.state, answering).await;
            stream.streams.note(&carried, began, malformed);
            // Without a response the stream was reset already.
            if let Some(unread) = unread.filter(|_| carried.is_ok()) {
                unread.discard(&stream.state).await;
            }
        });
    }
}

impl Streams {
    fn of(conn: &Rc<ClientConn>, watchdog: &Rc<Watchdog>, most: u64) -> Rc<Self> {
        // The SETTINGS frame of the preface.
        conn.state().expect(WaitingFor::Head);
        Rc::new(Self {
            conn: Rc::clone(conn),
            watchdog: Rc::clone(watchdog),
            open: Cell::new(0),
            left: Cell::new(most),
            patience: RefCell::new(Allowance::new(
                BROKEN_OFF.into(),
                BROKEN_OFF_A_SECOND.into(),
                Instant::now(),
            )),
            exhausted: Cell::new(false),
            free: RefCell::default(),
            owes: Cell::new((WaitingFor::Head, conn.head_since())),
        })
    }

    /// Sets the event expected from the client: an incomplete head first, as nothing else of the
    /// connection is read before it.
    fn owe(&self) {
        let since = self.conn.head_since();
        let owes = match self.open.get() {
            _ if since.is_some() => WaitingFor::Head,
            0 => WaitingFor::Stream,
            _ => WaitingFor::Nothing,
        };
        // Another head has its own time.
        if self.owes.replace((owes, since)) != (owes, since) {
            self.conn.state().expect(owes);
        }
    }

    /// Reason to end the connection immediately, if any.
    fn objection(&self, gone: Poll<()>) -> Option<Reason> {
        if gone.is_ready() {
            self.conn.state().record_cut(CutReason::Silent);
            return Some(Reason::NO_ERROR);
        }
        // Reported once.
        if !self.exhausted.take() {
            return None;
        }
        self.conn.state().record_cut(CutReason::BrokenOff);
        Some(Reason::ENHANCE_YOUR_CALM)
    }

    /// Records the outcome of a request: resets and malformed requests are wasted work.
    fn note(&self, carried: &Result<(), SendError>, began: Instant, malformed: bool) {
        match carried {
            // A malformed request gets its 400, but earns nothing. Otherwise a client could send
            // any number.
            Ok(()) if malformed => self.wastes(),
            Ok(()) => self.patience.borrow_mut().earn(ONE),
            // The endpoint or weir broke the response, so the client is not charged.
            Err(SendError::Unanswered(_)) => {}
            // Slow requests are free: a client with deadlines resets many when an endpoint stalls.
            Err(SendError::Cut | SendError::Ended(_)) if began.elapsed() >= LASTING => {}
            Err(SendError::Cut | SendError::Ended(_)) => self.wastes(),
        }
        if let Err(cause) = carried {
            tracing::debug!(%cause, "the stream ended before its response");
        }
    }

    /// Counts wasted work.
    fn wastes(&self) {
        self.exhausted.set(!self.patience.borrow_mut().spend(1));
    }

    /// Opens a stream with a state of its own.
    fn open(self: &Rc<Self>) -> Stream {
        self.open.set(self.open.get() + 1);
        self.owe();
        // Streams that the client sent before it saw GOAWAY may still come: no underflow.
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            // Ordered now, so GOAWAY is sent while the last request is in progress, not after it.
            self.conn.state().drain();
        }
        let state = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let state = ClientState::of_stream(self.conn.state());
            self.watchdog.watch_stream(&state);
            state
        });
        Stream { streams: Rc::clone(self), state }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() - 1);
        streams.owe();
        if streams.open.get() == 0 {
            // An idle connection keeps little.
            streams.free.borrow_mut().truncate(1);
        }
        // A state with an order to end is not reused.
        if !self.state.is_cut() {
            self.state.stall(false);
            self.state.expect(WaitingFor::Nothing);
            streams.free.borrow_mut().push(Rc::clone(&self.state));
        }
    }
}
