//! One worker's HTTP/2 connections to an address: requests share them, each on a stream of its own.
//!
//! Guarantees: there is one connection, and another only when the endpoint allows no more streams
//! on it; requests that come while one is opened share its outcome, and none waits longer than one
//! opening may take; no stream begins on a connection that is going away; a connection without
//! streams is closed after the time idle ones are kept, and immediately beyond their number; what
//! goes out is framed by HTTP/2 alone.
//!
//! No PING is sent: gRPC servers end a connection for a second one without data in a few minutes.
//! An endpoint that is gone is found by TCP where nothing is under way, and by the time-out of a
//! request during which nothing came.

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

/// How much an endpoint may send ahead, on a stream and on the connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);

/// The connections to one address.
pub struct Http2Pool<B> {
    open: Open<B>,
    /// What comes of the one that is being opened; kept no longer, because the outcome would keep
    /// the connection open.
    opening: Rc<RefCell<Option<Opening<B>>>>,
    /// How many without a stream are kept.
    max_idle: usize,
    limits: HeaderLimits,
    /// What was noticed on the latest one: as many streams as it allowed may begin on the next
    /// before that says how many.
    latest: RefCell<Rc<Http2Signals>>,
}

/// The connections that take requests.
type Open<B> = Rc<RefCell<Vec<Rc<Http2Conn<B>>>>>;

/// The outcome of an opening, once there is one.
type Opening<B> = watch::Receiver<Option<Result<Rc<Http2Conn<B>>, Error>>>;

/// One connection.
struct Http2Conn<B> {
    sender: SendRequest<Recorded<B>>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// A response has come on it.
    served: Cell<bool>,
    signs: Rc<Http2Signals>,
    tasks: Tasks,
    /// Those it is one of, and how many of them are kept without a stream.
    siblings: Weak<RefCell<Vec<Rc<Self>>>>,
    max_idle: usize,
}

/// A request's place on a connection.
pub struct Http2Stream<B> {
    http2_conn: Rc<Http2Conn<B>>,
    /// The request's body, once the response has begun.
    upload: Option<Uploading<B>>,
}

impl<B> Http2Pool<B> {
    /// No connection yet.
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

    /// A place on a connection there is.
    pub fn take(&self) -> Option<Http2Stream<B>> {
        let mut open = self.open.borrow_mut();
        open.retain(|http2_conn| http2_conn.takes_streams());
        open.iter().find(|http2_conn| http2_conn.has_room()).map(Http2Stream::on)
    }

    /// Closes what had no stream for too long.
    pub fn sweep(&self, now: Instant, idle_time: Duration) {
        let stays = |http2_conn: &Rc<Http2Conn<B>>| {
            let idle = now.duration_since(http2_conn.idle_since.get());
            let kept = http2_conn.streams.get() > 0 || (self.max_idle > 0 && idle < idle_time);
            kept && http2_conn.takes_streams()
        };
        self.open.borrow_mut().retain(stays);
    }

    /// Every connection is closed as soon as it has no stream.
    pub fn retire(&self) {
        self.open.borrow_mut().clear();
    }
}

impl<B> Http2Pool<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// A place on a connection that another request opens at this moment, or on one that is opened
    /// for it.
    ///
    /// # Errors
    /// Whatever kept it from being opened, the same for all that waited for it.
    pub async fn open<F>(&self, connect: impl Fn() -> F) -> Result<Http2Stream<B>, Error>
    where
        F: Future<Output = Result<Connected, Error>> + 'static,
    {
        loop {
            if let Some(stream) = self.take() {
                return Ok(stream);
            }
            // One that panicked leaves no outcome.
            let under_way =
                self.opening.borrow().clone().filter(|opening| opening.has_changed().is_ok());
            let joins = under_way.is_some();
            let mut opening = under_way.unwrap_or_else(|| self.begin(connect()));
            let abandoned =
                |cause| Error::caused(Kind::ProxyInternalError, "the opening was abandoned", cause);
            let outcome = opening.wait_for(Option::is_some).await.map_err(abandoned)?.clone();
            // Whoever began it gets a place, so that every turn of this loop is somebody's last.
            if let Some(http2_conn) = outcome.transpose()?
                && (!joins || (http2_conn.takes_streams() && http2_conn.has_room()))
            {
                return Ok(Http2Stream::on(&http2_conn));
            }
        }
    }

    /// Begins to open one. It goes on when the request that began it is given up: others may wait
    /// for it.
    fn begin(
        &self,
        connecting: impl Future<Output = Result<Connected, Error>> + 'static,
    ) -> Opening<B> {
        let (outcome, opening) = watch::channel(None);
        let under_way = Rc::clone(&self.opening);
        let (open, max_idle, limits) = (Rc::clone(&self.open), self.max_idle, self.limits);
        let signs = Rc::new(Http2Signals::after(&self.latest.borrow()));
        *self.latest.borrow_mut() = Rc::clone(&signs);
        tokio::task::spawn_local(async move {
            let http2_conn = match connecting.await {
                Ok(connected) => {
                    Http2Conn::begin(connected, signs, (&open, max_idle), limits).await.map(Rc::new)
                }
                Err(error) => Err(error),
            };
            open.borrow_mut().extend(http2_conn.iter().cloned());
            outcome.send_replace(Some(http2_conn));
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
        (siblings, max_idle): (&Open<B>, usize),
        limits: HeaderLimits,
    ) -> Result<Self, Error> {
        signs.hear();
        let tasks = Tasks::default();
        let (sender, driver) = builder(tasks.clone(), limits)
            .initial_max_send_streams(signs.allowed.get())
            .handshake(TokioIo::new(Watched::new(connected, &signs)))
            .await
            .map_err(|cause| {
                Error::caused(Kind::ConnectionTerminated, "the connection ended at once", cause)
            })?;
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
            siblings: Rc::downgrade(siblings),
            max_idle,
        })
    }
}

/// How connections are opened, with an executor for their tasks.
///
/// HTTP/2 counts 32 bytes more for each field (RFC 9113, section 6.5.2), and what is beyond the
/// library's limit has no response that could say why: so it has twice the limits, and
/// [`check_size`](crate::http::framing::response::check_size) holds them.
pub fn builder<E: Clone>(executor: E, limits: HeaderLimits) -> http2::Builder<E> {
    let list = 2 * (limits.size + 32 * limits.count);
    let mut builder = http2::Builder::new(executor);
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    builder.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
    builder
}

impl<B> Http2Stream<B> {
    fn on(http2_conn: &Rc<Http2Conn<B>>) -> Self {
        http2_conn.streams.set(http2_conn.streams.get() + 1);
        Self { http2_conn: Rc::clone(http2_conn), upload: None }
    }

    /// Where the request goes in.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Recorded<B>> {
        self.http2_conn.sender.clone()
    }

    /// The tasks of its connection.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.http2_conn.tasks
    }

    /// A request with a body is about to go in.
    pub fn expect_body(&self) {
        self.http2_conn.signs.expect_body();
    }

    /// A response has come.
    pub fn has_response(&self) {
        self.http2_conn.served.set(true);
    }

    /// The response has begun: its end is the end of the request's body, too.
    pub fn follow(&mut self, upload: Uploading<B>) {
        self.upload = Some(upload);
    }

    /// Whether its connection has brought a response to any request.
    #[must_use]
    pub fn has_served(&self) -> bool {
        self.http2_conn.served.get()
    }

    /// Whether all of the request was read for the stream.
    #[must_use]
    pub fn has_sent(&self) -> bool
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.upload.as_ref().is_none_or(Uploading::is_over)
    }

    /// No other stream begins on its connection.
    pub fn take_out_of_use(&self) {
        self.http2_conn.signs.going.set(true);
    }

    /// Whether the endpoint has said that no new stream may begin on its connection.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.http2_conn.signs.going.get()
    }

    /// Nothing came on this stream for so long. Where nothing came on its connection either,
    /// nothing may come ever again: TCP keeps sending what is not acknowledged for a quarter of an
    /// hour. New streams begin on another one.
    pub fn timed_out(&self, silence: Duration) {
        let signs = &self.http2_conn.signs;
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

/// A request of HTTP/1.1 as one of HTTP/2 (RFC 9113, section 8.3.1).
///
/// # Errors
/// [`Kind::HttpRequestError`] when its host and path make no target.
pub fn translate<B>(
    outbound: &Outbound<'_>,
    body: B,
    scheme: &'static str,
) -> Result<Request<B>, Error> {
    let malformed = |cause: http::Error| {
        Error::caused(Kind::HttpRequestError, "the request cannot be said in HTTP/2", cause)
    };
    let mut headers = outbound.fields.to_map();
    for name in [header::CONNECTION, header::UPGRADE] {
        headers.remove(name);
    }
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
