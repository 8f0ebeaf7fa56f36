//! Sample upstream of `weir demo`: a page that sends bursts, and a plain response to any other
//! path.
//!
//! It is a server of its own on a port of its own and knows no limits: all limiting that the page
//! shows is weir's.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

const PAGE: &str = include_str!("page.html");

/// Path of the page.
pub const PAGE_PATH: &str = "/demo";

/// Path of a response that shows who the proxy says the client is.
pub const WHO_PATH: &str = "/whoami";

/// Fields in which a proxy names a user: it drops those of a client.
const WHO: [&str; 2] = ["remote-user", "remote-roles"];

static FORWARDED: AtomicU64 = AtomicU64::new(0);

/// Starts the sample upstream on its own thread and returns its address.
///
/// # Errors
/// When no port is free or the thread cannot be started.
pub fn start() -> io::Result<SocketAddr> {
    // Bound here and not on the thread: the address is known, and a failure is an error of the
    // start.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // tokio takes over a listener only in this mode.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        if let Err(error) = LocalSet::new().block_on(&runtime, accept(listener)) {
            tracing::error!(%error, "the sample upstream ended");
        }
    };
    thread::Builder::new().name("sample".to_owned()).spawn(serve)?;
    Ok(address)
}

/// Sample upstream that is served alone, on an address of its own.
pub struct Sample {
    listener: std::net::TcpListener,
}

impl Sample {
    /// Opens the address.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Address with the chosen port.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until TERM or INT.
    ///
    /// # Errors
    /// When it cannot accept or wait for a signal.
    pub fn serve(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                ended = accept(self.listener) => ended,
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            }
        })
    }
}

async fn accept(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the sample upstream ended");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let wants_page = request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    let path = request.uri().path();
    if path == PAGE_PATH {
        return Ok(of_type("text/html; charset=utf-8", PAGE.to_owned()));
    }
    if path == WHO_PATH {
        return Ok(of_type("text/plain; charset=utf-8", who(request.headers())));
    }
    // A browser at the root gets the page. A program there gets a response that counts.
    if path == "/" && wants_page {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PAGE_PATH));
        return Ok(response);
    }
    let number = FORWARDED.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(of_type(
        "text/plain; charset=utf-8",
        format!("request {number} reached the sample upstream\n"),
    ))
}

/// Lines of the fields that name the user.
fn who(headers: &HeaderMap) -> String {
    let line = |name: &&str| {
        let value = headers.get(*name).map_or(&b"-"[..], HeaderValue::as_bytes);
        format!("{name}: {}\n", String::from_utf8_lossy(value))
    };
    WHO.iter().map(line).collect()
}

fn of_type(media: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
