//! Whose turn it is on a connection, or on one stream of it: what the client owes, and what was
//! ordered about it.
//!
//! Guarantee: nothing here reads a clock. What changes is counted, and the watchdog counts its own
//! ticks.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{client_conn::ClientConn, http2::response::Reply};
use crate::runtime::io::CutReason;

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// Nothing: it is our turn.
    Nothing,
    /// The first byte of the next request.
    Request,
    /// The next stream of a connection that has none.
    Stream,
    /// The rest of a request's head.
    Head,
    /// The next piece of a body.
    Body,
    /// Room to write to.
    Room,
    /// Bytes of a tunnel, from either side: it has a time of its own.
    Tunnel,
    /// Nothing more, for it closed its side: it either takes the answer under way or has left.
    Farewell,
}

/// What a connection or a stream was told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopOrders {
    /// End it, for this reason.
    pub cut: Option<CutReason>,
    /// The process stops, or the connection is old: the answer under way is the last.
    pub drain: bool,
    /// Nothing comes for a while: what is kept for the next request is let go until it comes.
    pub rest: bool,
}

/// How far the body of the request under way has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadProgress {
    /// Which of the requests it belongs to.
    pub number: u64,
    /// How many bytes of it came.
    pub bytes: u64,
}

/// What the client of a connection, or of a stream, owes.
#[derive(Debug)]
pub struct ClientState {
    awaiting: Cell<WaitingFor>,
    stalled: Cell<bool>,
    closed: Cell<bool>,
    activity: Cell<u64>,
    upload: Cell<UploadProgress>,
    answers: Cell<u64>,
    orders: Cell<StopOrders>,
    /// What is wrong with the connection, where it ends by itself.
    fault: Cell<Option<CutReason>>,
    /// The connection, of a stream.
    connection: Option<Rc<Self>>,
    waker: RefCell<Option<Waker>>,
}

impl ClientState {
    /// A turn of the client, who owes this.
    #[must_use]
    pub fn new(awaiting: WaitingFor) -> Rc<Self> {
        Self::of(awaiting, None)
    }

    /// The turn of a stream of a connection.
    #[must_use]
    pub fn of_stream(connection: &Rc<Self>) -> Rc<Self> {
        Self::of(WaitingFor::Nothing, Some(Rc::clone(connection)))
    }

    fn of(awaiting: WaitingFor, connection: Option<Rc<Self>>) -> Rc<Self> {
        Rc::new(Self {
            awaiting: Cell::new(awaiting),
            stalled: Cell::new(false),
            closed: Cell::new(false),
            activity: Cell::new(0),
            upload: Cell::default(),
            answers: Cell::new(0),
            orders: Cell::default(),
            fault: Cell::default(),
            connection,
            waker: RefCell::default(),
        })
    }

    /// Says what the client is to do next.
    pub fn expect(&self, awaiting: WaitingFor) {
        self.awaiting.set(awaiting);
        self.touch();
    }

    /// What the client keeps us waiting for, and a number that changes whenever it did something
    /// about it.
    #[must_use]
    pub fn pending(&self) -> (WaitingFor, u64) {
        let awaiting = match self.awaiting.get() {
            _ if self.stalled.get() => WaitingFor::Room,
            WaitingFor::Nothing if self.closed.get() => WaitingFor::Farewell,
            awaiting => awaiting,
        };
        (awaiting, self.activity.get())
    }

    fn touch(&self) {
        self.activity.set(self.activity.get().wrapping_add(1));
    }

    /// The client sent something: the first byte of a request starts its head's time, a body's next
    /// piece its next wait.
    pub fn received(&self) {
        match self.awaiting.get() {
            WaitingFor::Request => self.expect(WaitingFor::Head),
            WaitingFor::Body => self.expect(WaitingFor::Nothing),
            // A head has one deadline, however many pieces it comes in, and what comes between
            // streams is none yet.
            WaitingFor::Head
            | WaitingFor::Stream
            | WaitingFor::Nothing
            | WaitingFor::Room
            | WaitingFor::Tunnel
            | WaitingFor::Farewell => {}
        }
    }

    /// The client has room for what we write, or has none.
    pub fn stall(&self, stalled: bool) {
        let was = self.stalled.replace(stalled);
        if was && stalled {
            return;
        }
        match self.awaiting.get() {
            // A client that takes what we write owes its request no less ...
            WaitingFor::Head => {}
            // ... nor its next stream, but where what it takes had piled up for it.
            WaitingFor::Stream if !was => {}
            _ => self.touch(),
        }
    }

    /// A request begins, and with it an upload.
    pub fn begin_upload(&self) {
        self.upload.set(UploadProgress { number: self.upload.get().number + 1, bytes: 0 });
    }

    /// Bytes of the upload came.
    pub fn uploaded(&self, bytes: u64) {
        let upload = self.upload.get();
        self.upload.set(UploadProgress { bytes: upload.bytes + bytes, ..upload });
    }

    /// The upload under way, or the last one.
    #[must_use]
    pub fn upload(&self) -> UploadProgress {
        self.upload.get()
    }

    /// An answer is over, though not all of it may be written yet: the client owes the next
    /// request.
    pub fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
        self.expect(WaitingFor::Request);
    }

    /// How many answers are over.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// The client sends no more.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Whether the client sends no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Orders it to end; the first reason counts.
    pub fn cut(&self, why: CutReason) {
        let orders = self.orders.get();
        self.order(StopOrders { cut: orders.cut.or(Some(why)), ..orders });
    }

    /// Notes why it is about to end by itself; the first reason counts.
    pub fn record_cut(&self, why: CutReason) {
        self.fault.set(self.fault.get().or(Some(why)));
    }

    /// Reason why weir ended it, or the connection it is a stream of.
    #[must_use]
    pub fn ended_by(&self) -> Option<CutReason> {
        let own = self.orders.get().cut.or(self.fault.get());
        own.or_else(|| self.connection.as_ref().and_then(|connection| connection.ended_by()))
    }

    /// Orders that the answer under way is the last.
    pub fn drain(&self) {
        if self.is_draining() {
            return;
        }
        self.order(StopOrders { drain: true, ..self.orders.get() });
    }

    /// Orders it to let go what it does not need while nothing comes.
    pub fn rest(&self) {
        self.order(StopOrders { rest: true, ..self.orders.get() });
    }

    /// The order to rest was seen.
    pub fn rested(&self) {
        self.orders.set(StopOrders { rest: false, ..self.orders.get() });
    }

    /// Whether it was ordered to end.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.orders.get().cut.is_some()
    }

    /// Whether the answer under way is the last.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.orders.get().drain
    }

    /// What was ordered so far; the task of `context` is woken by the next order.
    pub fn orders(&self, context: &mut Context<'_>) -> StopOrders {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        self.orders.get()
    }

    fn order(&self, orders: StopOrders) {
        self.orders.set(orders);
        self.wake();
    }

    /// Wakes the task that asked for orders.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ready once it was ordered to end.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.orders(context).cut.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a request came on: a connection, or a stream of one.
#[derive(Clone)]
pub struct RequestChannel {
    /// Whose turn it is there.
    pub turn: Rc<ClientState>,
    /// The connection, where the request has it for itself.
    pub conn: Option<Rc<ClientConn>>,
    /// How a stream's client is answered.
    pub reply: Option<Rc<Reply>>,
}

impl RequestChannel {
    /// A connection.
    #[must_use]
    pub fn connection(conn: &Rc<ClientConn>) -> Self {
        Self { turn: Rc::clone(conn.turn()), conn: Some(Rc::clone(conn)), reply: None }
    }

    /// A stream of a connection.
    #[must_use]
    pub fn stream(turn: &Rc<ClientState>, reply: Option<&Rc<Reply>>) -> Self {
        Self { turn: Rc::clone(turn), conn: None, reply: reply.cloned() }
    }

    /// Completes when the client has left. A stream that is reset never gets there: everything
    /// about its request is dropped.
    pub async fn departed(&self) {
        match &self.conn {
            Some(conn) => conn.departed().await,
            None => pending().await,
        }
    }
}
