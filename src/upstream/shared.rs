//! One worker's HTTP/2 connections to an address: requests share them, each on a stream of its own.
//!
//! Guarantees: there is one connection, and another only when the endpoint allows no more streams on it; requests that come while one
//! is opened share its outcome, and none waits longer than one opening may take; a connection without streams is closed after the time
//! idle ones are kept; what goes out is framed by HTTP/2 alone.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, Version, header, uri::Authority};
use http_body::Body;
use hyper::{
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::watch, time::Instant};

use super::connect::Stream as Connected;
use crate::{
    error::{Error, Kind},
    header::crossing::Outbound,
};

/// The largest list of fields of an answer.
const HEADER_LIST: u32 = 32 * 1024;
/// How much an endpoint may send ahead, on a stream and on the connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How often an endpoint is asked whether it is still there while it has a request, and how long it has to answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The connections to one address.
pub struct Trunks<B> {
    open: Rc<RefCell<Vec<Rc<Trunk<B>>>>>,
    /// What comes of the one that is being opened.
    opening: RefCell<Option<Opening<B>>>,
}

/// The outcome of an opening, once there is one.
type Opening<B> = watch::Receiver<Option<Result<Rc<Trunk<B>>, Error>>>;

/// One connection.
struct Trunk<B> {
    sender: SendRequest<B>,
    streams: Cell<usize>,
    /// How many the endpoint allows.
    most: Rc<Cell<usize>>,
    idle_since: Cell<Instant>,
}

/// A request's place on a connection.
pub struct Stream<B> {
    trunk: Rc<Trunk<B>>,
}

/// Runs what hyper asks for on this thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, work: F) {
        tokio::task::spawn_local(work);
    }
}

impl<B> Default for Trunks<B> {
    fn default() -> Self {
        Self { open: Rc::default(), opening: RefCell::default() }
    }
}

impl<B> Trunks<B> {
    /// A place on a connection there is.
    pub fn take(&self) -> Option<Stream<B>> {
        let mut open = self.open.borrow_mut();
        open.retain(|trunk| !trunk.sender.is_closed());
        open.iter().find(|trunk| trunk.has_room()).map(Stream::on)
    }

    /// Closes what had no stream for too long.
    pub fn sweep(&self, now: Instant, idle_time: Duration) {
        let stays = |trunk: &Rc<Trunk<B>>| {
            let idle = trunk.streams.get() == 0 && now.duration_since(trunk.idle_since.get()) >= idle_time;
            !idle && !trunk.sender.is_closed()
        };
        self.open.borrow_mut().retain(stays);
    }

    /// Every connection is closed as soon as it has no stream.
    pub fn retire(&self) {
        self.open.borrow_mut().clear();
    }
}

impl<B> Trunks<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    /// A place on a connection that another request opens at this moment, or on one that is opened for it.
    ///
    /// # Errors
    /// Whatever kept it from being opened, the same for all that waited for it.
    pub async fn open<F>(&self, connect: impl Fn() -> F) -> Result<Stream<B>, Error>
    where
        F: Future<Output = Result<Connected, Error>> + 'static,
    {
        loop {
            if let Some(stream) = self.take() {
                return Ok(stream);
            }
            let under_way = self.opening.borrow().clone().filter(|opening| opening.borrow().is_none());
            let joins = under_way.is_some();
            let mut opening = under_way.unwrap_or_else(|| self.begin(connect()));
            let abandoned = |cause| Error::caused(Kind::ProxyInternalError, "the opening was abandoned", cause);
            let outcome = opening.wait_for(Option::is_some).await.map_err(abandoned)?.clone();
            // Whoever began it gets a place, so that every turn of this loop is somebody's last.
            if let Some(trunk) = outcome.transpose()?
                && (!joins || trunk.has_room())
            {
                return Ok(Stream::on(&trunk));
            }
        }
    }

    /// Begins to open one. It goes on when the request that began it is given up: others may wait for it.
    fn begin(&self, connecting: impl Future<Output = Result<Connected, Error>> + 'static) -> Opening<B> {
        let (outcome, opening) = watch::channel(None);
        let open = Rc::clone(&self.open);
        tokio::task::spawn_local(async move {
            let trunk = match connecting.await {
                Ok(connected) => Trunk::begin(connected).await.map(Rc::new),
                Err(error) => Err(error),
            };
            open.borrow_mut().extend(trunk.iter().cloned());
            outcome.send_replace(Some(trunk));
        });
        *self.opening.borrow_mut() = Some(opening.clone());
        opening
    }
}

impl<B> Trunk<B> {
    fn has_room(&self) -> bool {
        self.streams.get() < self.most.get()
    }
}

impl<B> Trunk<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    async fn begin(connected: Connected) -> Result<Self, Error> {
        let (sender, driver) = builder(Local)
            .handshake(TokioIo::new(connected))
            .await
            .map_err(|cause| Error::caused(Kind::ConnectionTerminated, "the connection ended at once", cause))?;
        let most = Rc::new(Cell::new(driver.current_max_send_streams()));
        let allowed = Rc::clone(&most);
        tokio::task::spawn_local(async move {
            let mut driver = pin!(driver);
            let driven = poll_fn(|context| {
                let polled = driver.as_mut().poll(context);
                allowed.set(driver.current_max_send_streams());
                polled
            });
            if let Err(cause) = driven.await {
                tracing::debug!(%cause, "an HTTP/2 connection to an upstream ended");
            }
        });
        Ok(Self { sender, streams: Cell::new(0), most, idle_since: Cell::new(Instant::now()) })
    }
}

/// How connections are opened, with an executor for their tasks.
pub fn builder<E: Clone>(executor: E) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder.timer(TokioTimer::new()).keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    builder.max_header_list_size(HEADER_LIST);
    builder
}

impl<B> Stream<B> {
    fn on(trunk: &Rc<Trunk<B>>) -> Self {
        trunk.streams.set(trunk.streams.get() + 1);
        Self { trunk: Rc::clone(trunk) }
    }

    /// Where the request goes in.
    #[must_use]
    pub fn sender(&self) -> SendRequest<B> {
        self.trunk.sender.clone()
    }
}

impl<B> Drop for Stream<B> {
    fn drop(&mut self) {
        self.trunk.streams.set(self.trunk.streams.get() - 1);
        self.trunk.idle_since.set(Instant::now());
    }
}

/// A request of HTTP/1.1 as one of HTTP/2 (RFC 9113, section 8.3.1).
///
/// # Errors
/// [`Kind::HttpRequestError`] when its host and path make no target.
pub fn translate<B>(outbound: &Outbound<'_>, body: B, scheme: &'static str) -> Result<Request<B>, Error> {
    let malformed =
        |cause: http::Error| Error::caused(Kind::HttpRequestError, "the request cannot be said in HTTP/2", cause);
    let mut headers = outbound.fields.to_map();
    for name in [header::CONNECTION, header::UPGRADE] {
        headers.remove(name);
    }
    let host = headers.remove(header::HOST).unwrap_or(HeaderValue::from_static(""));
    let authority = Authority::try_from(host.as_bytes()).map_err(|cause| malformed(cause.into()))?;
    let target = outbound.target.clone();
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().map_err(malformed)?;
    let mut request = Request::new(body);
    *request.method_mut() = outbound.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
