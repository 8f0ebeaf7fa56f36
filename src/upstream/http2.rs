//! HTTP/2 connections of one worker to an address: requests share them, each on a stream of its
//! own.
//!
//! Guarantees: there is one connection, and another only when the endpoint allows no more streams
//! on it. Requests that arrive while one is opened share its outcome, and none waits longer than
//! one connect may take. No stream starts on a connection that is going away. A connection without
//! streams is closed after the idle time, and immediately beyond the number kept. Requests are
//! framed by HTTP/2 alone.
//!
//! No PING is sent: gRPC servers close a connection for a second one without data in a few minutes.
//! An endpoint that vanished is detected by TCP while idle, and otherwise by the time-out of a
//! request during which nothing was received.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, Version, header, uri::Authority};
use http_body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{sync::watch, time::Instant};

use super::{
    connect::BoxedIo as Connected,
    http2_io::{Http2Signals, Watched},
    replay::{Recorded, Uploading},
    settings::UpstreamSettings,
    upload::Tasks,
};
use crate::http::{
    error::{Error, Kind},
    forwarded::Outbound,
    framing::HeaderLimits,
};

/// Receive window of a stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Connections to one address.
pub struct Http2Pool<B> {
    open: Open<B>,
    /// Outcome of the connection being opened; not kept longer, because it would keep the
    /// connection open.
    opening: Rc<RefCell<Option<Opening<B>>>>,
    /// Limit on connections without streams.
    max_idle: usize,
    limits: HeaderLimits,
    /// Signals of the latest connection: the next one may start as many streams as that allowed,
    /// until it announces its own number.
    latest: RefCell<Rc<Http2Signals>>,
}

/// Connections that accept requests.
type Open<B> = Rc<RefCell<Vec<Rc<Http2Conn<B>>>>>;

/// Outcome of an opening, once there is one.
type Opening<B> = watch::Receiver<Option<Result<Rc<Http2Conn<B>>, Error>>>;

/// One connection.
struct Http2Conn<B> {
    sender: SendRequest<Recorded<B>>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// True once it has carried a response.
    served: Cell<bool>,
    signs: Rc<Http2Signals>,
    tasks: Tasks,
    /// Connections it belongs to, and the number of them kept without a stream.
    siblings: Weak<RefCell<Vec<Rc<Self>>>>,
    max_idle: usize,
}

/// Stream of a request on a connection.
pub struct Http2Stream<B> {
    http2_conn: Rc<Http2Conn<B>>,
    /// Body of the request, once the response has started.
    upload: Option<Uploading<B>>,
}

impl<B> Http2Pool<B> {
    /// Creates a pool without connections.
    #[must_use]
    pub fn new(settings: &UpstreamSettings) -> Self {
        let (max_idle, limits) = (settings.keepalive_max_idle, settings.response_limits);
        Self {
            open: Rc::default(),
            opening: Rc::default(),
            max_idle,
            limits,
            latest: RefCell::default(),
        }
    }

    /// Takes a stream on an open connection, if there is room.
    pub fn take(&self) -> Option<Http2Stream<B>> {
        let mut open = self.open.borrow_mut();
        // Streams on a connection hold it themselves, so a retired one ends with its last stream.
        open.retain(|http2_conn| http2_conn.takes_streams());
        // The first with room, not the emptiest: surplus connections get no streams and are closed.
        open.iter().find(|http2_conn| http2_conn.has_room()).map(Http2Stream::on)
    }

    /// Closes connections that had no stream for too long.
    pub fn sweep(&self, now: Instant, idle_time: Duration) {
        let stays = |http2_conn: &Rc<Http2Conn<B>>| {
            let idle = now.duration_since(http2_conn.idle_since.get());
            let kept = http2_conn.streams.get() > 0 || (self.max_idle > 0 && idle < idle_time);
            kept && http2_conn.takes_streams()
        };
        self.open.borrow_mut().retain(stays);
    }

    /// Closes every connection as soon as it has no stream.
    pub fn retire(&self) {
        self.open.borrow_mut().clear();
    }
}

impl<B> Http2Pool<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// Takes a stream on a connection that is being opened, or on one that is opened for it.
    ///
    /// # Errors
    /// The reason why it could not be opened, the same for all that waited for it.
    pub async fn open<F>(&self, connect: impl Fn() -> F) -> Result<Http2Stream<B>, Error>
    where
        F: Future<Output = Result<Connected, Error>> + 'static,
    {
        loop {
            // While this request waited, a stream of another connection may have ended.
            if let Some(stream) = self.take() {
                return Ok(stream);
            }
            // A task that panicked leaves no outcome.
            let under_way =
                self.opening.borrow().clone().filter(|opening| opening.has_changed().is_ok());
            let joins = under_way.is_some();
            let mut opening = under_way.unwrap_or_else(|| self.begin(connect()));
            let abandoned =
                |cause| Error::caused(Kind::ProxyInternalError, "the opening was abandoned", cause);
            let outcome = opening.wait_for(Option::is_some).await.map_err(abandoned)?.clone();
            // The request that started it gets a stream, so every turn of this loop is the last for
            // one of them. Those that joined may find the connection full, and open another one.
            if let Some(http2_conn) = outcome.transpose()?
                && (!joins || (http2_conn.takes_streams() && http2_conn.has_room()))
            {
                return Ok(Http2Stream::on(&http2_conn));
            }
        }
    }

    /// Starts opening one. It continues when the request that started it is dropped, as others may
    /// wait for it.
    fn begin(
        &self,
        connecting: impl Future<Output = Result<Connected, Error>> + 'static,
    ) -> Opening<B> {
        let (outcome, opening) = watch::channel(None);
        let under_way = Rc::clone(&self.opening);
        let (open, max_idle, limits) = (Rc::clone(&self.open), self.max_idle, self.limits);
        // Before the first SETTINGS the limit is unknown. A guess above it would get
        // streams refused.
        let signs = Rc::new(Http2Signals::after(&self.latest.borrow()));
        *self.latest.borrow_mut() = Rc::clone(&signs);
        tokio::task::spawn_local(async move {
            let http2_conn = match connecting.await {
                Ok(connected) => {
                    Http2Conn::begin(connected, signs, &open, max_idle, limits).await.map(Rc::new)
                }
                Err(error) => Err(error),
            };
            // Before the outcome is sent: a request that comes now finds the connection by `take`.
            open.borrow_mut().extend(http2_conn.iter().cloned());
            outcome.send_replace(Some(http2_conn));
            // A kept outcome would hold the connection, which could then never be closed as idle.
            under_way.borrow_mut().take();
        });
        *self.opening.borrow_mut() = Some(opening.clone());
        opening
    }
}

impl<B> Http2Conn<B> {
    fn takes_streams(&self) -> bool {
        !self.signs.going.get() && !self.sender.is_closed()
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.signs.allowed.get()
    }

    /// Closes it, now that it has no stream, if more are idle than are kept.
    fn rest(self: &Rc<Self>) {
        self.idle_since.set(Instant::now());
        let Some(siblings) = self.siblings.upgrade() else { return };
        let mut siblings = siblings.borrow_mut();
        // Its own count is already zero, so it is one of the idle ones.
        let idle = siblings.iter().filter(|http2_conn| http2_conn.streams.get() == 0).count();
        if idle > self.max_idle || !self.takes_streams() {
            siblings.retain(|http2_conn| !Rc::ptr_eq(http2_conn, self));
        }
    }
}

impl<B> Http2Conn<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    async fn begin(
        connected: Connected,
        signs: Rc<Http2Signals>,
        siblings: &Open<B>,
        max_idle: usize,
        limits: HeaderLimits,
    ) -> Result<Self, Error> {
        // The signals are older than the connection. The time of the connect is no silence of it.
        signs.hear();
        let tasks = Tasks::default();
        let (sender, driver) = builder(tasks.clone(), limits)
            // Until its SETTINGS arrive hyper would assume a limit of its own.
            .initial_max_send_streams(signs.allowed.get())
            .handshake(TokioIo::new(Watched::new(connected, &signs)))
            .await
            .map_err(|cause| {
                Error::caused(Kind::ConnectionTerminated, "the connection ended immediately", cause)
            })?;
        // The driver serves all streams, so it must not end with the request that opened
        // the connection.
        tokio::task::spawn_local(async move {
            if let Err(cause) = driver.await {
                tracing::debug!(%cause, "an HTTP/2 connection to an upstream ended");
            }
        });
        Ok(Self {
            sender,
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            served: Cell::new(false),
            signs,
            tasks,
            // The list holds its connections. A strong reference back would keep all of them
            // for ever.
            siblings: Rc::downgrade(siblings),
            max_idle,
        })
    }
}

/// Builder of connections, with an executor for their tasks.
///
/// HTTP/2 counts 32 bytes more for each field (RFC 9113, section 6.5.2), and beyond the limit of
/// the library there is no response that could say why. So the library gets twice the limits, and
/// [`check_size`](crate::http::framing::response::check_size) enforces them.
pub fn builder<E: Clone>(executor: E, limits: HeaderLimits) -> http2::Builder<E> {
    let list = 2 * (limits.size + 32 * limits.count);
    let mut builder = http2::Builder::new(executor);
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
    builder
}

impl<B> Http2Stream<B> {
    fn on(http2_conn: &Rc<Http2Conn<B>>) -> Self {
        http2_conn.streams.set(http2_conn.streams.get() + 1);
        Self { http2_conn: Rc::clone(http2_conn), upload: None }
    }

    /// Sender of the request.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Recorded<B>> {
        self.http2_conn.sender.clone()
    }

    /// Upload tasks of its connection.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.http2_conn.tasks
    }

    /// Announces a request with a body.
    pub fn expect_body(&self) {
        self.http2_conn.signs.expect_body();
    }

    /// Records a response.
    pub fn has_response(&self) {
        self.http2_conn.served.set(true);
    }

    /// Records that the response has started: its end also ends the request body.
    pub fn follow(&mut self, upload: Uploading<B>) {
        self.upload = Some(upload);
    }

    /// Returns true if its connection has carried a response to any request.
    #[must_use]
    pub fn has_served(&self) -> bool {
        self.http2_conn.served.get()
    }

    /// Returns true if the whole request was read for the stream.
    #[must_use]
    pub fn has_sent(&self) -> bool
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.upload.as_ref().is_none_or(Uploading::is_over)
    }

    /// Starts no other stream on its connection.
    pub fn take_out_of_use(&self) {
        self.http2_conn.signs.going.set(true);
    }

    /// Returns true if the endpoint accepts no new stream on its connection.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.http2_conn.signs.going.get()
    }

    /// Records a time-out on this stream. If its connection was silent too, it may be dead: TCP
    /// retransmits for a quarter of an hour. New streams start on another one.
    pub fn timed_out(&self, silence: Duration) {
        let signs = &self.http2_conn.signs;
        // Other streams that receive data prove that the connection lives, and only this one
        // is slow.
        if signs.heard.get().elapsed() >= silence {
            signs.going.set(true);
        }
    }
}

impl<B> Drop for Http2Stream<B> {
    fn drop(&mut self) {
        self.http2_conn.streams.set(self.http2_conn.streams.get() - 1);
        if self.http2_conn.streams.get() == 0 {
            self.http2_conn.rest();
        }
    }
}

/// Translates a request to HTTP/2 (RFC 9113, section 8.3.1).
///
/// # Errors
/// [`Kind::HttpRequestError`] when its host and path do not form a target.
pub fn translate<B>(
    outbound: &Outbound<'_>,
    body: B,
    scheme: &'static str,
) -> Result<Request<B>, Error> {
    let malformed = |cause: http::Error| {
        Error::caused(Kind::HttpRequestError, "the request cannot be expressed in HTTP/2", cause)
    };
    let mut headers = outbound.fields.to_map();
    // They are fields of one connection and make a request malformed here (RFC 9113,
    // section 8.2.2).
    for name in [header::CONNECTION, header::UPGRADE] {
        headers.remove(name);
    }
    // `:authority` replaces it. With both, an endpoint could see two hosts (section 8.3.1).
    let host = headers.remove(header::HOST).unwrap_or(HeaderValue::from_static(""));
    let authority =
        Authority::try_from(host.as_bytes()).map_err(|cause| malformed(cause.into()))?;
    let target = outbound.target.clone();
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(malformed)?;
    let mut request = Request::new(body);
    *request.method_mut() = outbound.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
