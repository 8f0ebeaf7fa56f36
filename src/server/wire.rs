//! A client's connection as hyper sees it, plus what hyper does not tell: whether the client is still there, and since when it
//! has kept us waiting.
//!
//! Guarantees: bytes are handed on in the order they came; what is read ahead to notice a leaving client is at most
//! [`READ_AHEAD`] bytes; the watchdog never reads a clock, it counts its own ticks.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{framing::Flaw, stream::Io};

/// How much is read ahead while a request is parked.
pub const READ_AHEAD: usize = 16 * 1024;

/// What a connection is waiting for its client to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// Nothing: it is our turn.
    Nothing,
    /// The first byte of the next request.
    Request,
    /// The rest of a request's head.
    Head,
    /// The next piece of a body.
    Body,
    /// Room to write to.
    Room,
    /// Nothing more, for it closed its side: it either takes the answer under way or has left.
    Farewell,
}

/// One client's connection.
pub struct Wire {
    io: RefCell<Box<dyn Io>>,
    ahead: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    awaiting: Cell<Awaiting>,
    stalled: Cell<bool>,
    activity: Cell<u64>,
    begun: Cell<bool>,
    upload: Cell<Upload>,
    answers: Cell<u64>,
    flaw: Cell<Option<Flaw>>,
    orders: Cell<Orders>,
    waker: RefCell<Option<Waker>>,
}

/// What a connection was told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Its client took too long: end it.
    pub cut: bool,
    /// The process stops: the answer under way is the last.
    pub drain: bool,
}

/// How far the body of the request under way has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// Which request of this connection it belongs to.
    pub number: u64,
    /// How many bytes of it came.
    pub bytes: u64,
}

impl Wire {
    /// Wraps a fresh connection: it owes us a request head.
    #[must_use]
    pub fn new(io: Box<dyn Io>) -> Rc<Self> {
        Rc::new(Self {
            io: RefCell::new(io),
            ahead: RefCell::new(Vec::new()),
            ended: Cell::new(false),
            awaiting: Cell::new(Awaiting::Head),
            stalled: Cell::new(false),
            activity: Cell::new(0),
            begun: Cell::new(false),
            upload: Cell::default(),
            answers: Cell::new(0),
            flaw: Cell::new(None),
            orders: Cell::default(),
            waker: RefCell::default(),
        })
    }

    /// Says what the client is to do next.
    pub fn expect(&self, awaiting: Awaiting) {
        self.awaiting.set(awaiting);
        self.touch();
    }

    /// What the client keeps us waiting for, and a number that changes whenever it did something about it.
    #[must_use]
    pub fn pending(&self) -> (Awaiting, u64) {
        let awaiting = match self.awaiting.get() {
            _ if self.stalled.get() => Awaiting::Room,
            Awaiting::Nothing if self.ended.get() => Awaiting::Farewell,
            awaiting => awaiting,
        };
        (awaiting, self.activity.get())
    }

    /// Completes when the client has left: it closed, reset, or only closed its sending side.
    ///
    /// A client that has more than [`READ_AHEAD`] bytes under way is noticed once these are read.
    pub async fn departed(&self) {
        poll_fn(|context| self.poll_departed(context)).await;
    }

    fn poll_departed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut ahead = self.ahead.borrow_mut();
        loop {
            if self.ended.get() {
                return Poll::Ready(());
            }
            if ahead.len() >= READ_AHEAD {
                return Poll::Pending;
            }
            let mut chunk = [0; 2048];
            let mut buffer = ReadBuf::new(&mut chunk);
            match ready!(Pin::new(&mut **self.io.borrow_mut()).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => ahead.extend_from_slice(buffer.filled()),
                Ok(()) | Err(_) => self.ended.set(true),
            }
        }
    }

    /// Tells the connection to end.
    pub fn cut(&self) {
        self.order(Orders { cut: true, ..self.orders.get() });
    }

    /// Tells the connection that the answer under way is the last.
    pub fn drain(&self) {
        self.order(Orders { drain: true, ..self.orders.get() });
    }

    /// What the connection was told so far; the task of `context` is woken by the next order.
    pub fn orders(&self, context: &mut Context<'_>) -> Orders {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        self.orders.get()
    }

    fn order(&self, orders: Orders) {
        self.orders.set(orders);
        self.wake();
    }

    /// Wakes the task that asked for orders.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// A request begins, and with it an upload.
    pub fn begin_upload(&self) {
        self.upload.set(Upload { number: self.upload.get().number + 1, bytes: 0 });
    }

    /// Bytes of the upload came.
    pub fn uploaded(&self, bytes: u64) {
        let upload = self.upload.get();
        self.upload.set(Upload { bytes: upload.bytes + bytes, ..upload });
    }

    /// The upload under way, or the last one.
    #[must_use]
    pub fn upload(&self) -> Upload {
        self.upload.get()
    }

    /// An answer is over, though not all of it may be written yet: the client owes the next request.
    pub fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
        self.expect(Awaiting::Request);
    }

    /// How many answers are over.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Nothing more is read: what comes next is no request.
    pub fn refuse(&self, flaw: Flaw) {
        self.flaw.set(Some(flaw));
    }

    /// Why nothing more is read, if that is so.
    #[must_use]
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw.get()
    }

    /// Whether the client has ever sent a byte.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    fn touch(&self) {
        self.activity.set(self.activity.get().wrapping_add(1));
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut ahead = self.ahead.borrow_mut();
        if !ahead.is_empty() {
            let taken = ahead.len().min(buffer.remaining());
            buffer.put_slice(&ahead[..taken]);
            ahead.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        if self.ended.get() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut **self.io.borrow_mut()).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.ended.set(true);
        } else {
            self.received();
        }
        Poll::Ready(Ok(()))
    }

    /// The client sent something: the first byte of a request starts its head's time, a body's next piece its next wait.
    fn received(&self) {
        self.begun.set(true);
        match self.awaiting.get() {
            Awaiting::Request => self.expect(Awaiting::Head),
            Awaiting::Body => self.expect(Awaiting::Nothing),
            // A head has one deadline, however many pieces it comes in.
            Awaiting::Head | Awaiting::Nothing | Awaiting::Room | Awaiting::Farewell => {}
        }
    }

    /// Notes whether the client takes what we write.
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() != self.stalled.get() || outcome.is_ready() {
            self.stalled.set(outcome.is_pending());
            if self.awaiting.get() != Awaiting::Head {
                self.touch();
            }
        }
        outcome
    }
}

/// The end of a [`Wire`] that is given to hyper.
pub struct WireEnd(pub Rc<Wire>);

impl AsyncRead for WireEnd {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buffer)
    }
}

impl AsyncWrite for WireEnd {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_the_end_is_kept() {
        let (mut client, server) = duplex(64);
        let wire = Wire::new(Box::new(server));
        client.write_all(b"early").await.expect("room in the pipe");
        drop(client);
        wire.departed().await;
        let mut read = String::new();
        WireEnd(Rc::clone(&wire)).read_to_string(&mut read).await.expect("an open wire");
        assert_eq!(read, "early");
    }

    #[tokio::test]
    async fn a_client_that_stays_is_not_taken_for_gone_and_what_is_read_ahead_is_bounded() {
        let (mut client, server) = duplex(1 << 20);
        let wire = Wire::new(Box::new(server));
        client.write_all(&vec![7; READ_AHEAD * 4]).await.expect("room in the pipe");
        let here = poll_fn(|context| Poll::Ready(wire.poll_departed(context).is_pending())).await;
        assert!(here);
        assert!(wire.ahead.borrow().len() < READ_AHEAD + 2048);
    }
}
