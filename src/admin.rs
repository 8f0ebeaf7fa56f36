//! The operator's door: a listener of its own, on this machine only, that says how the proxy is and takes orders.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health/live` | 200 while the process answers |
//! | `GET /health/ready` | 200 while it takes connections, 503 once it stops |
//! | `POST /reload` | 200 when the configuration was loaded again, 422 with its problems, 503 when that is not possible |
//!
//! Guarantees: no web page can give an order, also not one that has its name resolved to this machine: an order must not say from
//! where it comes (`Origin`, `Sec-Fetch-Site`) and must name its host by address; a slow or silent visitor is cut off.

use std::{convert::Infallible, io, net::TcpListener as StdListener, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

/// The most visitors at a time.
const VISITORS: usize = 16;
/// How long a request's head and an idle connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a whole visit may take.
const VISIT: Duration = Duration::from_secs(60);

/// What came of an order to load the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It serves.
    Done,
    /// It is wrong; this is what is wrong.
    Invalid(String),
    /// Something else is in the way.
    Failed(String),
}

/// An answer that is still to come.
pub type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the door leads to.
pub struct Doors {
    /// Whether connections are taken.
    pub is_ready: Box<dyn Fn() -> bool>,
    /// Loads the configuration again.
    pub reload: Box<dyn Fn() -> Pending<Reloaded>>,
}

/// Answers visitors for as long as it is polled. Must be polled where `spawn_local` may be called.
///
/// # Errors
/// When the socket is none to listen on.
pub async fn serve(listener: StdListener, doors: Doors) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (doors, room) = (Rc::new(doors), Arc::new(Semaphore::new(VISITORS)));
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept for now");
                tokio::time::sleep(PATIENCE / 10).await;
                continue;
            }
        };
        let doors = Rc::clone(&doors);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(&doors, request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
            let visit = builder.serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(VISIT, visit).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a visit to the admin listener ended"),
                Err(_) => tracing::debug!("a visit to the admin listener took too long"),
            }
            drop(seat);
        });
    }
}

async fn answer(doors: &Doors, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method(), request.uri().path());
    Ok(match (method, path) {
        (&Method::GET | &Method::HEAD, "/health/live") => say(StatusCode::OK, "live\n"),
        (&Method::GET | &Method::HEAD, "/health/ready") if (doors.is_ready)() => say(StatusCode::OK, "ready\n"),
        (&Method::GET | &Method::HEAD, "/health/ready") => say(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        (&Method::POST, "/reload") if comes_from_a_page(&request) => {
            say(StatusCode::FORBIDDEN, "an order must come from a program on this machine, not from a web page\n")
        }
        (&Method::POST, "/reload") => match (doors.reload)().await {
            Reloaded::Done => say(StatusCode::OK, "the configuration was loaded again\n"),
            Reloaded::Invalid(problems) => say(StatusCode::UNPROCESSABLE_ENTITY, problems + "\n"),
            Reloaded::Failed(reason) => say(StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
        },
        (_, "/reload" | "/health/live" | "/health/ready") => say(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n"),
        _ => say(StatusCode::NOT_FOUND, "here are /health/live, /health/ready and /reload\n"),
    })
}

/// Browsers say where a request comes from; a name in `Host` may be one that a page had resolved to this machine.
fn comes_from_a_page(request: &Request<Incoming>) -> bool {
    let fields = request.headers();
    let host = fields.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let by_address = host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok();
    fields.contains_key(header::ORIGIN) || fields.contains_key("sec-fetch-site") || !by_address
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
