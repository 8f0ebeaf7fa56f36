//! The operator's door: a listener of its own, on this machine only, that says how the proxy is and
//! takes orders. It is a port of loopback, or a unix socket for processes of this user.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health/live` | 200 while the process answers |
//! | `GET /health/ready` | 200 while it takes connections, 503 once it stops |
//! | `POST /reload` | 200 when the configuration was loaded again, 422 with its problems, 503 when that is not possible |
//!
//! Guarantees: no web page can give an order, also not one that has its name resolved to this
//! machine: an order must not say from where it comes (`Origin`, `Sec-Fetch-Site`) and must name
//! its host by address or as `localhost`; a slow or silent visitor is cut off.

use std::{convert::Infallible, io, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
    time::Instant,
};

use crate::{log::throttle::LogThrottle, runtime::io::Io};

/// The most visitors at a time.
const VISITORS: usize = 16;
/// The most of them that wait for a reload: health is answered also while a disk keeps every reload
/// waiting.
const RELOADS: usize = 8;
/// How long a request's head and an idle connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a whole visit may take.
const VISIT: Duration = Duration::from_secs(60);

/// What came of an order to load the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It serves.
    Done,
    /// It serves, and is the same as before.
    Unchanged,
    /// It is wrong; this is what is wrong.
    Invalid(String),
    /// Something else is in the way.
    Failed(String),
}

/// An answer that is still to come.
pub type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the door leads to.
pub struct AdminHandlers {
    /// Whether connections are taken.
    pub is_ready: Box<dyn Fn() -> bool>,
    /// Loads the configuration again.
    pub reload: Box<dyn Fn() -> Pending<Reloaded>>,
}

/// The doors, and who waits at them.
struct AdminConnections {
    doors: AdminHandlers,
    reloads: Semaphore,
}

/// Where visitors come from.
pub enum AdminSocket {
    /// A port of this machine.
    Port(TcpListener),
    /// A unix socket, and whether the other end of a connection may visit.
    Socket(UnixListener, fn(&UnixStream) -> io::Result<bool>),
}

impl AdminSocket {
    /// The next visitor. Those who are refused are told of now and then: anybody on the machine may
    /// try.
    async fn accept(&self, refused: &LogThrottle, since: Instant) -> io::Result<Box<dyn Io>> {
        let told = |error: Option<io::Error>| {
            if let Some(left_out) = refused.look(since.elapsed()) {
                let error = error.map(tracing::field::display);
                tracing::warn!(
                    error,
                    left_out,
                    "a process of another user is refused at the control socket"
                );
            }
        };
        match self {
            Self::Port(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Socket(listener, may_visit) => loop {
                let (stream, _) = listener.accept().await?;
                match may_visit(&stream) {
                    Ok(true) => return Ok(Box::new(stream)),
                    Ok(false) => told(None),
                    Err(error) => told(Some(error)),
                }
            },
        }
    }
}

/// Answers visitors for as long as it is polled. Must be polled where `spawn_local` may be called.
pub async fn serve(entrance: AdminSocket, doors: AdminHandlers) {
    let hall = Rc::new(AdminConnections { doors, reloads: Semaphore::new(RELOADS) });
    let room = Arc::new(Semaphore::new(VISITORS));
    let (refused, since) = (LogThrottle::default(), Instant::now());
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match entrance.accept(&refused, since).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept for now");
                tokio::time::sleep(PATIENCE / 10).await;
                continue;
            }
        };
        let hall = Rc::clone(&hall);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| handle(&hall, request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
            let visit = builder.serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(VISIT, visit).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a visit to the admin listener ended"),
                Err(_) => tracing::debug!("a visit to the admin listener took too long"),
            }
            drop(permit);
        });
    }
}

async fn handle(
    hall: &AdminConnections,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method(), request.uri().path());
    Ok(match (method, path) {
        (&Method::GET | &Method::HEAD, "/health/live") => text_response(StatusCode::OK, "live\n"),
        (&Method::GET | &Method::HEAD, "/health/ready") if (hall.doors.is_ready)() => {
            text_response(StatusCode::OK, "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/health/ready") => {
            text_response(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
        (&Method::POST, "/reload") if comes_from_a_page(&request) => {
            let text = "refused: the order comes from a web page, or its `Host` is a name other than `localhost`\n";
            text_response(StatusCode::FORBIDDEN, text)
        }
        (&Method::POST, "/reload") => match hall.reload().await {
            Reloaded::Done => text_response(StatusCode::OK, "the configuration was loaded again\n"),
            Reloaded::Unchanged => text_response(
                StatusCode::OK,
                "the configuration was loaded again; nothing changed\n",
            ),
            Reloaded::Invalid(problems) => {
                text_response(StatusCode::UNPROCESSABLE_ENTITY, problems + "\n")
            }
            Reloaded::Failed(reason) => {
                text_response(StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
            }
        },
        (_, "/reload") => not_allowed(HeaderValue::from_static("POST")),
        (_, "/health/live" | "/health/ready") => not_allowed(HeaderValue::from_static("GET, HEAD")),
        _ => text_response(
            StatusCode::NOT_FOUND,
            "here are /health/live, /health/ready and /reload\n",
        ),
    })
}

impl AdminConnections {
    async fn reload(&self) -> Reloaded {
        match self.reloads.try_acquire() {
            Ok(_place) => (self.doors.reload)().await,
            Err(_) => Reloaded::Failed(format!(
                "{RELOADS} others wait for a reload already; try again when they are done"
            )),
        }
    }
}

/// Browsers say where a request comes from; a name in `Host` may be one that a page had resolved to
/// this machine.
fn comes_from_a_page(request: &Request<Incoming>) -> bool {
    let fields = request.headers();
    let host = fields.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    fields.contains_key(header::ORIGIN)
        || fields.contains_key("sec-fetch-site")
        || !is_this_machine(host)
}

/// Whether a `Host` is an address, or the name that no resolver is asked for (RFC 6761, section
/// 6.3).
fn is_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.parse::<u16>().is_ok() { name } else { host });
    let by_address =
        host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok();
    by_address || name.eq_ignore_ascii_case("localhost")
}

fn not_allowed(methods: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

fn text_response(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::process::admin::*;

    #[test]
    fn host_is_an_address_or_localhost() {
        for host in
            ["127.0.0.1:9900", "127.0.0.1", "[::1]:9900", "::1", "localhost", "LocalHost:9900"]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "rebound.test",
            "rebound.test:9900",
            "localhost.test",
            "localhost:x",
            "a.localhost",
            "localhost:1:2",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[tokio::test]
    async fn socket_is_closed_to_whom_may_not_visit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let said = async |may_visit: fn(&UnixStream) -> io::Result<bool>| {
            // The one before is gone, its name is not.
            let _ = std::fs::remove_file(&path);
            let entrance =
                AdminSocket::Socket(UnixListener::bind(&path).expect("a socket"), may_visit);
            let reload = || Box::pin(async { Reloaded::Done }) as Pending<Reloaded>;
            let doors = AdminHandlers { is_ready: Box::new(|| true), reload: Box::new(reload) };
            let door = tokio::task::spawn_local(serve(entrance, doors));
            let mut visitor = UnixStream::connect(&path).await.expect("a socket");
            let question =
                b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            visitor.write_all(question).await.expect("a socket");
            let mut said = Vec::new();
            // Closed with the question unread, it is reset.
            let _ = visitor.read_to_end(&mut said).await;
            door.abort();
            String::from_utf8_lossy(&said).into_owned()
        };
        let all = async {
            assert!(said(|_| Ok(true)).await.starts_with("HTTP/1.1 200"));
            assert_eq!(said(|_| Ok(false)).await, "");
            assert_eq!(said(|_| Err(io::ErrorKind::Other.into())).await, "");
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }

    #[tokio::test]
    async fn health_is_answered_while_every_reload_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let entrance =
            AdminSocket::Socket(UnixListener::bind(&path).expect("a socket"), |_| Ok(true));
        let (begun, beginning) = tokio::sync::watch::channel(0);
        let reload = move || {
            begun.send_modify(|count| *count += 1);
            Box::pin(std::future::pending()) as Pending<Reloaded>
        };
        let doors = AdminHandlers { is_ready: Box::new(|| true), reload: Box::new(reload) };
        let ask = async |question: &str| {
            let mut visitor = UnixStream::connect(&path).await.expect("a socket");
            let head = format!(
                "{question} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            visitor.write_all(head.as_bytes()).await.expect("a socket");
            visitor
        };
        let all = async {
            let _door = tokio::task::spawn_local(serve(entrance, doors));
            let mut visitors = Vec::new();
            for _ in 0..RELOADS {
                visitors.push(ask("POST /reload").await);
            }
            beginning.clone().wait_for(|count| *count == RELOADS).await.expect("a door");
            let mut said = String::new();
            ask("POST /reload").await.read_to_string(&mut said).await.expect("text");
            assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("8 others wait"), "{said}");
            said.clear();
            ask("GET /health/ready").await.read_to_string(&mut said).await.expect("text");
            assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }
}
