//! State of a client on a connection, or on one stream of it: what weir is waiting for, and pending
//! stop orders.
//!
//! | waiting for | ends with | time-out |
//! |---|---|---|
//! | [`WaitingFor::Request`] | first byte of a head | `keepalive` |
//! | [`WaitingFor::Stream`] | a new stream, or room for data that had piled up | 60 s |
//! | [`WaitingFor::Head`] | the complete head, not its pieces | `header` |
//! | [`WaitingFor::Body`] | each piece of the body | `body` |
//! | [`WaitingFor::Room`] | room to write | `write` |
//! | [`WaitingFor::Farewell`] | the response is written, or the connection ends | 500 ms |
//! | [`WaitingFor::Nothing`], [`WaitingFor::Tunnel`] | the next state | none here |
//!
//! Guarantee: this file reads no clock. Each event increments a counter, and the watchdog counts
//! its own ticks: a state whose counter has not changed for enough ticks has timed out.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::runtime::io::CutReason;

/// Event that weir is waiting for from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// None: weir has to act next.
    Nothing,
    /// First byte of the next request.
    Request,
    /// Next stream of a connection without streams.
    Stream,
    /// Rest of a request head.
    Head,
    /// Next piece of a request body.
    Body,
    /// Room to write to.
    Room,
    /// Bytes of a tunnel, from either side, which has a time-out of its own.
    Tunnel,
    /// The end, after the client closed its sending side: it either takes the response in progress
    /// or has left.
    Farewell,
}

/// Pending orders for a connection or a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopOrders {
    /// End immediately, for this reason.
    pub cut: Option<CutReason>,
    /// The response in progress is the last, because the process stops or the connection is old.
    pub drain: bool,
}

/// Progress of the body of the current request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadProgress {
    /// Number of the request on its connection.
    pub number: u64,
    /// Bytes of the body received.
    pub bytes: u64,
}

/// State of the client of a connection or a stream.
#[derive(Debug)]
pub struct ClientState {
    awaiting: Cell<WaitingFor>,
    stalled: Cell<bool>,
    /// True while its response waits for the rate of its route.
    paused: Cell<bool>,
    closed: Cell<bool>,
    activity: Cell<u64>,
    upload: Cell<UploadProgress>,
    orders: Cell<StopOrders>,
    /// Fault of a connection that ends by itself.
    fault: Cell<Option<CutReason>>,
    /// State of the connection, for a stream.
    connection: Option<Rc<Self>>,
    waker: RefCell<Option<Waker>>,
}

impl ClientState {
    /// Creates the state of a client from which this event is expected.
    #[must_use]
    pub fn new(awaiting: WaitingFor) -> Rc<Self> {
        Self::of(awaiting, None)
    }

    /// Creates the state of a stream of a connection.
    #[must_use]
    pub fn of_stream(connection: &Rc<Self>) -> Rc<Self> {
        Self::of(WaitingFor::Nothing, Some(Rc::clone(connection)))
    }

    fn of(awaiting: WaitingFor, connection: Option<Rc<Self>>) -> Rc<Self> {
        Rc::new(Self {
            awaiting: Cell::new(awaiting),
            stalled: Cell::new(false),
            paused: Cell::new(false),
            closed: Cell::new(false),
            activity: Cell::new(0),
            upload: Cell::default(),
            orders: Cell::default(),
            fault: Cell::default(),
            connection,
            waker: RefCell::default(),
        })
    }

    /// Sets the event that is expected next.
    pub fn expect(&self, awaiting: WaitingFor) {
        self.awaiting.set(awaiting);
        self.touch();
    }

    /// Event that is expected, and a counter that changes whenever the client contributes to it.
    #[must_use]
    pub fn pending(&self) -> (WaitingFor, u64) {
        let awaiting = match self.awaiting.get() {
            // Whatever else it has to send: the write time-out is that of a client that takes
            // nothing.
            _ if self.stalled.get() => WaitingFor::Room,
            // Its upload is read together with its response, so it is not late meanwhile.
            _ if self.paused.get() => WaitingFor::Nothing,
            // A client that has closed its side may have left. In the other states weir reads, and
            // notices the end itself.
            WaitingFor::Nothing if self.closed.get() => WaitingFor::Farewell,
            awaiting => awaiting,
        };
        (awaiting, self.activity.get())
    }

    /// The watchdog compares the counter with the one it saw last, so it may wrap.
    fn touch(&self) {
        self.activity.set(self.activity.get().wrapping_add(1));
    }

    /// Records received data: the first byte of a request starts the time of its head, a piece of a
    /// body the wait for the next.
    pub fn received(&self) {
        match self.awaiting.get() {
            WaitingFor::Request => self.expect(WaitingFor::Head),
            WaitingFor::Body => self.expect(WaitingFor::Nothing),
            // A head has one deadline for all its pieces, and a gap between streams has none yet.
            WaitingFor::Head
            | WaitingFor::Stream
            | WaitingFor::Nothing
            | WaitingFor::Room
            | WaitingFor::Tunnel
            | WaitingFor::Farewell => {}
        }
    }

    /// Records whether the client has room for what weir writes.
    pub fn stall(&self, stalled: bool) {
        let was = self.stalled.replace(stalled);
        // Only the start of a stall counts. Each failed write reports it again, and would otherwise
        // restart the write time-out.
        if was && stalled {
            return;
        }
        match self.awaiting.get() {
            // A client that takes data still has to send its request ...
            WaitingFor::Head => {}
            // ... and its next stream, unless the data it takes had piled up.
            WaitingFor::Stream if !was => {}
            _ => self.touch(),
        }
    }

    /// Records whether its response waits for the rate of its route.
    pub fn pause(&self, paused: bool) {
        if self.paused.replace(paused) != paused {
            self.touch();
        }
    }

    /// Starts the upload of a request.
    pub fn begin_upload(&self) {
        self.upload.set(UploadProgress { number: self.upload.get().number + 1, bytes: 0 });
    }

    /// Counts bytes of the upload.
    pub fn uploaded(&self, bytes: u64) {
        let upload = self.upload.get();
        self.upload.set(UploadProgress { bytes: upload.bytes + bytes, ..upload });
    }

    /// Progress of the current upload, or of the last one.
    #[must_use]
    pub fn upload(&self) -> UploadProgress {
        self.upload.get()
    }

    /// Records the end of a response, though it may not be written completely: the next request is
    /// expected.
    pub fn answered(&self) {
        self.expect(WaitingFor::Request);
    }

    /// Records that the client sends nothing more.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Returns true if the client sends nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Orders an immediate end; the first reason counts.
    pub fn cut(&self, why: CutReason) {
        let orders = self.orders.get();
        // `or` keeps the first reason: what follows a cut is its consequence.
        self.order(StopOrders { cut: orders.cut.or(Some(why)), ..orders });
    }

    /// Records the reason of an end that is about to happen; the first reason counts.
    pub fn record_cut(&self, why: CutReason) {
        self.fault.set(self.fault.get().or(Some(why)));
    }

    /// Reason why weir ended it, or the connection of the stream.
    #[must_use]
    pub fn ended_by(&self) -> Option<CutReason> {
        let own = self.orders.get().cut.or(self.fault.get());
        own.or_else(|| self.connection.as_ref().and_then(|connection| connection.ended_by()))
    }

    /// Orders that the response in progress is the last.
    pub fn drain(&self) {
        // An order wakes the task, so one that changes nothing is not given.
        if self.is_draining() {
            return;
        }
        self.order(StopOrders { drain: true, ..self.orders.get() });
    }

    /// Returns true if an immediate end was ordered.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.orders.get().cut.is_some()
    }

    /// Returns true if the response in progress is the last.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.orders.get().drain
    }

    /// Orders so far; the next one wakes the task of `context`.
    pub fn orders(&self, context: &mut Context<'_>) -> StopOrders {
        let mut waker = self.waker.borrow_mut();
        // Called in every turn, mostly by the same task: its waker is not cloned each time.
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        self.orders.get()
    }

    fn order(&self, orders: StopOrders) {
        self.orders.set(orders);
        self.wake();
    }

    /// Wakes the task that waits for orders.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ready once an immediate end was ordered.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.orders(context).cut.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}
