//! One worker's connections to an address: kept open between requests, never shared with another thread.
//!
//! Guarantees: a connection of HTTP/1.1 is handed out to one request at a time, most recently used first; at most `max_idle` are kept, none
//! longer than `idle`, and none once the address is gone; a connection whose answer was not read to its end is closed, never
//! reused.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower::BoxError;

use super::{
    balance::Share,
    connect::{self, Connector},
    exchange::Connection,
    group::Address,
    settings::{Protocol, UpstreamSettings},
    shared::{Stream, Trunks},
};
use crate::{error::Error, framing::HeaderLimits, stream::Switched};

/// The connections to one address.
pub struct Pool<B> {
    address: Arc<Address>,
    share: Share,
    connector: Connector,
    max_idle: Cell<usize>,
    idle_time: std::time::Duration,
    idle: RefCell<Vec<(Instant, Box<Connection<B>>)>>,
    /// HTTP/2's, where that is spoken.
    trunks: Option<Trunks<B>>,
    limits: HeaderLimits,
}

/// A request's place at an address, counted from the choice of that address until its answer has ended.
pub struct Seat<B> {
    pool: Rc<Pool<B>>,
}

/// What one request goes out on.
pub struct Lease<B> {
    seat: Seat<B>,
    /// On what.
    pub way: Way<B>,
    reused: bool,
}

/// How a request gets to its endpoint.
pub enum Way<B> {
    /// A connection for itself. Dropping it closes it; [`Lease::release`] gives it back.
    Own(Box<Connection<B>>),
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
            trunks: (settings.protocol == Protocol::Http2).then(|| Trunks::new(settings)),
            limits: settings.response_limits,
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

    /// Closes what was idle for too long, or was closed by the endpoint.
    pub fn sweep(&self) {
        let now = Instant::now();
        let stays = |(since, connection): &mut (Instant, Box<Connection<B>>)| {
            now.duration_since(*since) < self.idle_time && connection.is_free()
        };
        self.idle.borrow_mut().retain_mut(stays);
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
                Some(stream) => Ok(Lease { reused: stream.has_served(), way: Way::Stream(stream), seat: self }),
                None => Err(self),
            };
        }
        loop {
            let idle = self.pool.idle.borrow_mut().pop();
            let Some((since, mut connection)) = idle else { return Err(self) };
            if now.duration_since(since) < self.pool.idle_time && connection.is_free() {
                return Ok(Lease { seat: self, way: Way::Own(connection), reused: true });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Whatever kept it from being opened.
    pub async fn open(self) -> Result<Lease<B>, Error> {
        let connecting = || connect::connect(&self.pool.connector, &self.pool.address);
        if let Some(trunks) = &self.pool.trunks {
            let stream = trunks.open(connecting).await?;
            return Ok(Lease { reused: stream.has_served(), way: Way::Stream(stream), seat: self });
        }
        let connection = Connection::new(connecting().await?, self.pool.limits);
        Ok(Lease { seat: self, way: Way::Own(connection), reused: false })
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

    /// Whether the answer has come to its end, as far as the connection knows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(&self.way, Way::Own(connection) if connection.has_ended())
    }

    /// Whether all of the request was sent, as far as the connection knows.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        match &self.way {
            Way::Own(connection) => connection.has_sent(),
            Way::Stream(_) => true,
        }
    }

    /// How much of the answer is to come, as far as the connection knows.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match &self.way {
            Way::Own(connection) => connection.size_hint(),
            Way::Stream(_) => SizeHint::default(),
        }
    }

    /// The connection, once it speaks HTTP no longer; nothing when others use it too.
    #[must_use]
    pub fn switch(self) -> Option<Switched> {
        match self.way {
            Way::Own(connection) => Some(connection.switch()),
            Way::Stream(_) => None,
        }
    }

    /// Whether it has carried a request before; of a connection that others use too, whether any was answered on it.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Nothing came of a response for so long.
    pub fn timed_out(&self, silence: std::time::Duration) {
        if let Way::Stream(stream) = &self.way {
            stream.timed_out(silence);
        }
    }

    /// Gives it back; what is not free is closed.
    pub fn release(self) {
        let pool = &self.seat.pool;
        let Way::Own(mut connection) = self.way else { return };
        let mut idle = pool.idle.borrow_mut();
        if idle.len() < pool.max_idle.get() && connection.is_free() {
            connection.rest();
            idle.push((Instant::now(), connection));
        }
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next piece of an answer's body that comes on a connection of its own.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.way {
            Way::Own(connection) => connection.poll_frame(context).map_err(Into::into),
            Way::Stream(_) => Poll::Ready(None),
        }
    }
}
