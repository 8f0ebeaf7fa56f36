//! Connection pool of one worker for an address; connections are never shared with another thread.
//!
//! Guarantees: an HTTP/1.1 connection carries one request at a time, the most recently used first.
//! At most `max_idle` are kept, none longer than `idle`, and none once the address is gone. A
//! connection whose response was not read completely is closed, not reused. One that a client
//! authenticated, or was asked to, carries requests of no other client: for each connection of a
//! client at most one is kept, until either of the two ends (`tests/edge/connection_auth.rs`).

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower::BoxError;

use super::{
    address::Address,
    balance::Share,
    connect::{self, Connector},
    connection_auth,
    endpoints::EndpointGroup,
    health::FULL_WARMTH,
    http1::Http1Conn,
    http2::{Http2Pool, Http2Stream},
    proxy_header::Introduction,
    settings::Protocol,
    silent_close::CloseHistory,
};
use crate::{
    http::{error::Error, framing::HeaderLimits, header_list::HeaderList},
    runtime::io::Switched,
};

/// Connections to one address.
pub struct Pool<B> {
    address: Arc<Address>,
    share: Share,
    /// Value of the cookie that leads to the address, if the upstream has one.
    sticky_id: Option<Box<str>>,
    connector: Connector,
    /// Connector for one client each, in its place.
    introduction: Option<Rc<Introduction>>,
    max_idle: Cell<usize>,
    idle_time: std::time::Duration,
    /// Idle connections, each with the end of its time.
    idle: RefCell<Vec<(Instant, Box<Http1Conn<B>>)>>,
    /// History of the kept ones.
    habit: CloseHistory,
    /// True if the endpoint has asked for credentials that authenticate a connection.
    has_challenged: Cell<bool>,
    /// Connections of HTTP/2, if the upstream uses it.
    http2_conns: Option<Http2Pool<B>>,
    limits: HeaderLimits,
}

/// Permit of a request at an address, from the choice of that address to the end of the response.
pub struct EndpointPermit<B> {
    pool: Rc<Pool<B>>,
}

/// Connection or stream for one request.
pub struct Lease<B> {
    permit: EndpointPermit<B>,
    /// Connection or stream.
    pub way: Way<B>,
    reused: bool,
    keeping: AfterResponse<B>,
}

/// Destination of an HTTP/1.1 connection after its response.
enum AfterResponse<B> {
    /// Back to the pool.
    Pool,
    /// To the client that may have authenticated it.
    Private(Rc<Private<B>>, IpAddr),
    /// None: it is closed.
    Nowhere,
}

/// Connection or stream to an endpoint.
pub enum Way<B> {
    /// Connection of its own. Dropping it closes it; [`Lease::release`] gives it back.
    Own(Box<Http1Conn<B>>),
    /// Stream of a shared connection.
    Stream(Http2Stream<B>),
}

impl<B> Pool<B> {
    /// Creates an empty pool for one address.
    #[must_use]
    pub fn new(
        address: Arc<Address>,
        group: &EndpointGroup,
        connector: Connector,
        introduction: Option<Rc<Introduction>>,
    ) -> Self {
        let (settings, weight) = (group.settings(), address.endpoint().weight);
        // In thousandths where it may grow by them.
        let scale = if settings.slow_start.is_some() { FULL_WARMTH } else { 1 };
        let share = Share::new(address.remote(), weight * scale);
        Self {
            share,
            sticky_id: group.sticky().map(|sticky| sticky.id(address.remote())),
            address,
            connector: connect::within(settings.connect_timeout, connector),
            introduction,
            max_idle: Cell::new(settings.keepalive_max_idle),
            idle_time: settings.keepalive_idle,
            idle: RefCell::default(),
            habit: CloseHistory::default(),
            has_challenged: Cell::new(false),
            http2_conns: (settings.protocol == Protocol::Http2).then(|| Http2Pool::new(settings)),
            limits: settings.response_limits,
        }
    }

    /// Address that it connects to.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Balancing state of the address.
    #[must_use]
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Value of the cookie that leads to the address, if the upstream has one.
    #[must_use]
    pub fn sticky_id(&self) -> Option<&str> {
        self.sticky_id.as_deref()
    }

    /// Adapts the share of the address to the time since it became available.
    pub fn grow(&self, slow_start: std::time::Duration, now: Instant) {
        let warmth = self.address.health().warmth(slow_start, now);
        self.share.grow_to(self.address.endpoint().weight * warmth);
    }

    /// Returns true if it may get one more request.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.address.capacity().is_none_or(|(capacity, max)| capacity.has_room(max))
    }

    /// Takes a permit for one more request; none if it has no room.
    #[must_use]
    pub fn permit(self: &Rc<Self>) -> Option<EndpointPermit<B>> {
        if self.address.capacity().is_some_and(|(capacity, max)| !capacity.enter(max)) {
            return None;
        }
        self.share.under_way.set(self.share.under_way.get() + 1);
        Some(EndpointPermit { pool: Rc::clone(self) })
    }

    /// Closes connections that were idle for too long, or that the endpoint closed.
    pub fn sweep(&self) {
        let now = Instant::now();
        // A kept connection is judged once, when it leaves the pool: here, in `take` or after
        // a request.
        let stays = |(until, connection): &mut (Instant, Box<Http1Conn<B>>)| {
            let (is_young, is_free) = (now < *until, connection.is_free());
            match (is_free, is_young) {
                (true, true) => {}
                (true, false) => self.habit.was_open(),
                (false, _) => self.habit.was_closed(),
            }
            is_young && is_free
        };
        self.idle.borrow_mut().retain_mut(stays);
        self.http2_conns.iter().for_each(|http2_conns| http2_conns.sweep(now, self.idle_time));
    }

    /// Retires the pool of a removed address: idle connections are closed, those in use as soon as
    /// they are idle.
    pub fn retire(&self) {
        // Connections in use see the zero in `release` and are closed there.
        self.max_idle.set(0);
        self.idle.borrow_mut().clear();
        self.http2_conns.iter().for_each(Http2Pool::retire);
    }
}

impl<B> EndpointPermit<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.pool.address
    }

    /// Takes an idle connection that is still open.
    ///
    /// A request that cannot be sent again gets none of an address that closes connections
    /// silently.
    ///
    /// # Errors
    /// The permit, when there is no such connection.
    pub fn take(self, now: Instant, is_repeatable: bool) -> Result<Lease<B>, Self> {
        if let Some(http2_conns) = &self.pool.http2_conns {
            // No `is_repeatable` here: an endpoint of HTTP/2 announces the end of a connection
            // (GOAWAY), so the close history is not about it.
            let taken = http2_conns.take();
            return match taken {
                Some(stream) => Ok(self.lease(stream.has_served(), Way::Stream(stream))),
                None => Err(self),
            };
        }
        // Asked again for each connection: one that is found closed may make the address count
        // as closing.
        while is_repeatable || !self.pool.habit.is_to_close() {
            // The latest first. The others stay idle and time out, so the pool shrinks to what the
            // load needs.
            let idle = self.pool.idle.borrow_mut().pop();
            let Some((until, mut connection)) = idle else { break };
            // Looks at the socket: a FIN, or a 408 that no request asked for, means that it is
            // not free.
            if !connection.is_free() {
                self.pool.habit.was_closed();
            } else if now < until {
                return Ok(self.lease(true, Way::Own(connection)));
            // It was found open after the whole idle time, which speaks for the address.
            } else {
                self.pool.habit.was_open();
            }
        }
        Err(self)
    }

    /// Takes the connection that was kept for the client; none if it was closed meanwhile.
    #[must_use]
    pub fn resume(self, mut connection: Box<Http1Conn<B>>) -> Option<Lease<B>> {
        connection.is_free().then(|| self.lease(true, Way::Own(connection)))
    }

    fn lease(self, reused: bool, way: Way<B>) -> Lease<B> {
        Lease { permit: self, way, reused, keeping: AfterResponse::Pool }
    }

    /// Opens a new connection.
    ///
    /// # Errors
    /// The reason why it could not be opened.
    pub async fn open(self, caller: &Caller<'_, B>) -> Result<Lease<B>, Error> {
        let connecting = || match &self.pool.introduction {
            None => connect::connect(&self.pool.connector, &self.pool.address),
            Some(one) => connect::connect(&one.of(caller.socket()), &self.pool.address),
        };
        if let Some(http2_conns) = &self.pool.http2_conns {
            let stream = http2_conns.open(connecting).await?;
            return Ok(self.lease(stream.has_served(), Way::Stream(stream)));
        }
        // The connector has the connect time-out and TLS as layers, so none is added here.
        let connection = Http1Conn::new(connecting().await?, self.pool.limits);
        let is_introduced = self.pool.introduction.is_some();
        let mut lease = self.lease(false, Way::Own(connection));
        if is_introduced {
            // Its header names this client, so that no other may use it.
            lease.bind(caller);
        }
        Ok(lease)
    }
}

impl<B> Drop for EndpointPermit<B> {
    fn drop(&mut self) {
        let under_way = &self.pool.share.under_way;
        under_way.set(under_way.get() - 1);
        if let Some((capacity, _)) = self.pool.address.capacity() {
            capacity.leave();
        }
    }
}

impl<B> Lease<B> {
    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> &Arc<Address> {
        &self.permit.pool.address
    }

    /// Limits on the head and trailers of a response.
    #[must_use]
    pub fn limits(&self) -> HeaderLimits {
        self.permit.pool.limits
    }

    /// Returns true if the response is complete, as far as the connection knows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(&self.way, Way::Own(connection) if connection.has_ended())
    }

    /// Returns true if the request was sent completely, as far as the connection knows.
    #[must_use]
    pub fn has_sent(&self) -> bool
    where
        B: Body<Data = Bytes> + Unpin,
    {
        match &self.way {
            Way::Own(connection) => connection.has_sent(),
            Way::Stream(stream) => stream.has_sent(),
        }
    }

    /// Bytes of the response still to come, as far as the connection knows.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match &self.way {
            Way::Own(connection) => connection.size_hint(),
            Way::Stream(_) => SizeHint::default(),
        }
    }

    /// Returns the connection after a protocol switch; none if it is shared.
    #[must_use]
    pub fn switch(self) -> Option<Switched>
    where
        B: 'static,
    {
        let Way::Own(connection) = self.way else { return None };
        // A tunnel is as much in progress as a request is.
        Some(Switched { counted: Some(Box::new(self.permit)), ..connection.switch() })
    }

    /// Returns true if it has carried a request before; for a shared connection, if it has carried
    /// any response.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Binds it to the client, which may have authenticated it: no other client may use it. Streams
    /// share a connection, so any client could close it for all with such credentials: they count
    /// only if the endpoint has ever asked for them.
    pub fn bind(&mut self, caller: &Caller<'_, B>) {
        match (&self.way, caller.private) {
            // Otherwise a client could send such credentials with each request and close the
            // connection under all others.
            (Way::Stream(stream), _) if self.permit.pool.has_challenged.get() => {
                stream.take_out_of_use();
            }
            (Way::Stream(_), _) => {}
            (Way::Own(_), Some(private)) => {
                self.keeping = AfterResponse::Private(Rc::clone(private), caller.address);
            }
            // A stream of a client has no slot that could keep it for that client alone.
            (Way::Own(_), None) => self.keeping = AfterResponse::Nowhere,
        }
    }

    /// Records the start of a response with these fields.
    pub fn has_response(&mut self, fields: &HeaderList, caller: &Caller<'_, B>) {
        let challenges = connection_auth::challenges(fields);
        if let Way::Stream(stream) = &self.way {
            stream.has_response();
        // It carried another request, so the close history counts it as open. A fresh one
        // proves nothing.
        } else if self.reused {
            self.permit.pool.habit.was_open();
        }
        if challenges {
            self.permit.pool.has_challenged.set(true);
            self.bind(caller);
        }
    }

    /// Records that the endpoint closed it before a response.
    pub fn was_closed(&self) {
        if self.reused {
            self.permit.pool.habit.was_closed();
        }
    }

    /// Records a time-out after this silence.
    pub fn timed_out(&self, silence: std::time::Duration) {
        if let Way::Stream(stream) = &self.way {
            stream.timed_out(silence);
        }
    }

    /// Gives it back; a connection that is not free is closed.
    pub fn release(self) {
        let pool = &self.permit.pool;
        let Way::Own(mut connection) = self.way else { return };
        // Checked before `is_free`, which costs a system call.
        if pool.max_idle.get() == 0 || !connection.may_carry_another() {
            return;
        }
        // Closed right behind the response without an announcement: this is what the history
        // looks for.
        if !connection.is_free() {
            return pool.habit.was_closed();
        }
        connection.rest();
        match self.keeping {
            // `max_idle` counts kept connections only. Any number may be in use, and the surplus
            // closes here.
            AfterResponse::Pool if pool.idle.borrow().len() < pool.max_idle.get() => {
                let until = Instant::now() + pool.idle_time;
                pool.idle.borrow_mut().push((until, connection));
            }
            AfterResponse::Private(private, client) => {
                private.keep(client, Rc::clone(pool), connection);
            }
            AfterResponse::Pool | AfterResponse::Nowhere => {}
        }
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Next piece of a response body on an HTTP/1.1 connection.
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.way {
            Way::Own(connection) => connection.poll_frame(context).map_err(Into::into),
            Way::Stream(_) => Poll::Ready(None),
        }
    }
}

/// Sender of a request, as an upstream sees it.
pub struct Caller<'a, B> {
    /// Client address.
    pub address: IpAddr,
    /// Port of the client; 0 if a proxy in front has named the client.
    pub port: u16,
    /// True if it is connected over TLS.
    pub is_secure: bool,
    /// Value of the sticky cookie that it sent, if the upstream has one.
    pub sticky: Option<&'a [u8]>,
    /// Slot for the private connection of its connection; none for a stream.
    pub private: Option<&'a Rc<Private<B>>>,
}

/// Slot for the endpoint connection that belongs to a connection of a client.
pub struct Private<B>(RefCell<Option<Bound<B>>>);

struct Bound<B> {
    /// A proxy in front may carry many clients on one connection.
    client: IpAddr,
    pool: Rc<Pool<B>>,
    connection: Box<Http1Conn<B>>,
}

impl<B> Default for Private<B> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<B> fmt::Debug for Private<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Private").field("is_kept", &self.0.borrow().is_some()).finish()
    }
}

impl<B> Private<B> {
    /// Keeps a connection for the next request of this client, instead of any other.
    pub fn keep(&self, client: IpAddr, pool: Rc<Pool<B>>, connection: Box<Http1Conn<B>>) {
        *self.0.borrow_mut() = Some(Bound { client, pool, connection });
    }
}

impl<B> Caller<'_, B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Address and port of the client.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Takes the kept connection, if it leads to one of these addresses and was not closed
    /// meanwhile.
    pub fn take(&self, pools: &[Rc<Pool<B>>]) -> Option<Lease<B>> {
        let leads_there = |bound: &mut Bound<B>| {
            bound.client == self.address && pools.iter().any(|pool| Rc::ptr_eq(pool, &bound.pool))
        };
        // Taken before it is checked: a slot with a closed connection is of no use.
        let bound = self.private?.0.borrow_mut().take_if(leads_there)?;
        let mut lease = bound.pool.permit()?.resume(bound.connection)?;
        // A lease starts as if its connection were shared. Without this it would return to
        // the pool.
        lease.bind(self);
        Some(lease)
    }
}
