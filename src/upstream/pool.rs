//! One worker's connections to an address: kept open between requests, never shared with another thread.
//!
//! Guarantees: a connection of HTTP/1.1 is handed out to one request at a time, most recently used first; at most `max_idle` are kept, none
//! longer than `idle`, and none once the address is gone; a connection whose answer was not read to its end is closed, never
//! reused.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, Parts, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
    time::Instant,
};

use super::{
    balance::Share,
    connect::{self, Connector},
    group::Address,
    settings::{Protocol, UpstreamSettings},
    shared::{self, Stream, Trunks},
};
use crate::{
    error::{Error, Kind},
    stream::Switched,
};

/// The most that is buffered of one connection.
const BUFFER: usize = 128 * 1024;
/// The largest head of an answer.
const HEAD: usize = 32 * 1024;
/// The most that may come before an answer's head is complete: interim answers, that head, and what was read beyond it.
const BEFORE_HEAD: u64 = 2 * BUFFER as u64;

/// The connections to one address.
pub struct Pool<B> {
    address: Arc<Address>,
    share: Share,
    connector: Connector,
    max_idle: Cell<usize>,
    idle_time: std::time::Duration,
    idle: RefCell<Vec<(Instant, Connection<B>)>>,
    /// HTTP/2's, where that is spoken.
    trunks: Option<Trunks<B>>,
    scheme: &'static str,
}

struct Connection<B> {
    sender: SendRequest<B>,
    meter: Rc<Meter>,
    switched: oneshot::Receiver<Switched>,
}

/// A request's place at an address, counted from the choice of that address until its answer has ended.
pub struct Seat<B> {
    pool: Rc<Pool<B>>,
}

/// What one request goes out on.
pub struct Lease<B> {
    seat: Seat<B>,
    way: Way<B>,
    reused: bool,
}

enum Way<B> {
    /// A connection for itself. Dropping it closes it; [`Lease::release`] gives it back.
    Own(Connection<B>),
    /// A stream of a connection that others use too.
    Stream(Stream<B>),
}

impl<B> Pool<B> {
    /// An empty pool for one address.
    #[must_use]
    pub fn new(address: Arc<Address>, settings: &UpstreamSettings, connector: Connector) -> Self {
        Self {
            share: Share::new(address.socket(), address.endpoint().weight),
            address,
            connector: connect::within(settings.connect_timeout, connector),
            max_idle: Cell::new(settings.keepalive_max_idle),
            idle_time: settings.keepalive_idle,
            idle: RefCell::default(),
            trunks: (settings.protocol == Protocol::Http2).then(Trunks::default),
            scheme: if settings.secure.is_some() { "https" } else { "http" },
        }
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Its part in the sharing of requests.
    #[must_use]
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// A place for one more request.
    #[must_use]
    pub fn seat(self: &Rc<Self>) -> Seat<B> {
        self.share.under_way.set(self.share.under_way.get() + 1);
        Seat { pool: Rc::clone(self) }
    }

    /// Closes what was idle for too long.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|(since, _)| now.duration_since(*since) < self.idle_time);
        self.trunks.iter().for_each(|trunks| trunks.sweep(now, self.idle_time));
    }

    /// The address is gone: idle connections are closed, and those in use as soon as they are idle.
    pub fn retire(&self) {
        self.max_idle.set(0);
        self.idle.borrow_mut().clear();
        self.trunks.iter().for_each(Trunks::retire);
    }
}

impl<B> Seat<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// The address.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.pool.address
    }

    /// An idle connection that is still good; if there is none, the place is still taken.
    ///
    /// # Errors
    /// The place, when there is no such connection.
    pub fn take(self, now: Instant) -> Result<Lease<B>, Self> {
        if let Some(trunks) = &self.pool.trunks {
            let taken = trunks.take();
            return match taken {
                Some(stream) => Ok(Lease { way: Way::Stream(stream), seat: self, reused: true }),
                None => Err(self),
            };
        }
        loop {
            let idle = self.pool.idle.borrow_mut().pop();
            let Some((since, connection)) = idle else { return Err(self) };
            if now.duration_since(since) < self.pool.idle_time && connection.sender.is_ready() {
                return Ok(Lease { seat: self, way: Way::Own(connection), reused: true });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Whatever kept it from being opened.
    pub async fn open(self) -> Result<Lease<B>, Error> {
        let connecting = connect::connect(&self.pool.connector, &self.pool.address);
        if let Some(trunks) = &self.pool.trunks {
            let stream = trunks.open(connecting).await?;
            return Ok(Lease { way: Way::Stream(stream), seat: self, reused: false });
        }
        let stream = connecting.await?;
        let meter = Rc::new(Meter::default());
        let metered = Metered { stream, meter: Rc::clone(&meter) };
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_header_size(HEAD)
            .handshake(TokioIo::new(metered))
            .await
            .map_err(|cause| Error::caused(Kind::ConnectionTerminated, "the connection ended at once", cause))?;
        let (hand_over, switched) = oneshot::channel();
        tokio::task::spawn_local(async move {
            match driver.without_shutdown().await {
                Ok(parts) => end(parts, hand_over).await,
                Err(cause) => tracing::debug!(%cause, "a connection to an upstream ended"),
            }
        });
        Ok(Lease { seat: self, way: Way::Own(Connection { sender, meter, switched }), reused: false })
    }
}

impl<B> Drop for Seat<B> {
    fn drop(&mut self) {
        let under_way = &self.pool.share.under_way;
        under_way.set(under_way.get() - 1);
    }
}

impl<B> Lease<B> {
    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.seat.pool.address
    }

    /// Whether others use the connection too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.way, Way::Stream(_))
    }

    /// Bytes received on this connection so far: whether a lost request was answered at all. Of a shared one nothing is known.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.meter().map_or(0, |meter| meter.received.get())
    }

    /// Keeps the head of the request that is sent next.
    pub fn keep_head(&self) {
        if let Some(meter) = self.meter() {
            meter.sent.borrow_mut().clear();
            meter.keeps.set(true);
        }
    }

    /// The head that was kept, as it was written; empty when nothing was.
    #[must_use]
    pub fn kept_head(&self) -> Vec<u8> {
        self.meter().map(|meter| meter.sent.take()).unwrap_or_default()
    }

    /// A request is about to be sent; bytes received so far. From now on an answer's head must come before too many bytes of
    /// interim answers do.
    #[must_use]
    pub fn await_head(&self) -> u64 {
        let received = self.received();
        self.allow(received + BEFORE_HEAD);
        received
    }

    /// The head of the answer has come; its body may be as long as it likes.
    pub fn has_head(&self) {
        self.allow(u64::MAX);
    }

    fn allow(&self, bytes: u64) {
        if let Some(meter) = self.meter() {
            meter.allowed.set(bytes);
        }
    }

    fn meter(&self) -> Option<&Meter> {
        match &self.way {
            Way::Own(connection) => Some(&connection.meter),
            Way::Stream(_) => None,
        }
    }

    /// Where the connection will be once it speaks HTTP no longer; nowhere, when others use it too.
    #[must_use]
    pub fn switch(self) -> Option<oneshot::Receiver<Switched>> {
        match self.way {
            Way::Own(connection) => Some(connection.switched),
            Way::Stream(_) => None,
        }
    }

    /// Whether it has carried a request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives it back: legal only when its answer was read to the end.
    pub fn release(self) {
        let pool = &self.seat.pool;
        let Way::Own(connection) = self.way else { return };
        let mut idle = pool.idle.borrow_mut();
        if idle.len() < pool.max_idle.get() && !connection.sender.is_closed() {
            idle.push((Instant::now(), connection));
        }
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Sends a request on it, written as the connection speaks.
    ///
    /// # Errors
    /// What hyper says, with the request if nothing of it was sent.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        match &mut self.way {
            Way::Own(connection) => connection.sender.try_send_request(request).await,
            Way::Stream(stream) => stream.sender().try_send_request(request).await,
        }
    }

    /// Writes a request as the connection speaks.
    ///
    /// # Errors
    /// When it cannot be said so.
    pub fn translate(&self, request: &mut Request<B>) -> Result<(), Error> {
        if self.is_shared() { shared::translate(request, self.seat.pool.scheme) } else { Ok(()) }
    }
}

/// HTTP has ended on a connection: it is handed over to whoever agreed on another protocol, and otherwise closed.
async fn end(parts: Parts<TokioIo<Metered>>, hand_over: oneshot::Sender<Switched>) {
    let switched = Switched { io: Box::new(parts.io.into_inner()), early: parts.read_buf };
    if let Err(mut left) = hand_over.send(switched)
        && let Err(cause) = left.io.shutdown().await
    {
        tracing::debug!(%cause, "a connection to an upstream could not be closed softly");
    }
}

/// What is known of the bytes on a connection.
#[derive(Default)]
struct Meter {
    received: Cell<u64>,
    /// How much may have been received; more is an error.
    allowed: Cell<u64>,
    /// The head of the request under way, as it was written.
    sent: RefCell<Vec<u8>>,
    keeps: Cell<bool>,
}

impl Meter {
    /// The first thing written of a request is its whole head.
    fn sends(&self, bytes: &[u8]) {
        if self.keeps.replace(false) {
            self.sent.borrow_mut().extend_from_slice(bytes);
        }
    }
}

/// A connection to an endpoint, metered.
struct Metered {
    stream: connect::Stream,
    meter: Rc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let count = buffer.filled().len() - before;
        let received = self.meter.received.get() + count as u64;
        self.meter.received.set(received);
        if received > self.meter.allowed.get() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.sends(bytes);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.meter.sends(pieces.first().map_or(&[], |piece| piece));
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
