//! Admin listener for the operator, on this machine only: reports health and accepts commands. It
//! is a loopback port, or a unix socket for processes of this user.
//!
//! | request | response |
//! |---|---|
//! | `GET /health/live` | 200 while the process responds |
//! | `GET /health/ready` | 200 while it accepts connections, 503 once it stops |
//! | `POST /reload` | 200 when the configuration was reloaded, 422 with its problems, 503 when that is not possible |
//!
//! Guarantees: commands are protected from CSRF and DNS rebinding: `POST /reload` with `Origin` or
//! `Sec-Fetch-Site`, or whose `Host` is neither an IP literal nor `localhost`, gets 403. A slow or
//! silent connection is closed.

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

/// Limit on connections.
const VISITORS: usize = 16;
/// Limit on those that wait for a reload: health is reported even while a hung disk blocks every
/// reload.
const RELOADS: usize = 8;
/// Time-out for the head of a request and for an idle connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time-out for a whole connection.
const VISIT: Duration = Duration::from_secs(60);

/// Outcome of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The new configuration is served.
    Done,
    /// It serves, and is the same as before.
    Unchanged,
    /// The configuration is invalid, with its problems.
    Invalid(String),
    /// The reload failed for another reason.
    Failed(String),
}

/// Future response.
pub type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// Actions of the admin listener.
pub struct AdminHandlers {
    /// Returns true while connections are accepted.
    pub is_ready: Box<dyn Fn() -> bool>,
    /// Reloads the configuration.
    pub reload: Box<dyn Fn() -> Pending<Reloaded>>,
}

/// State shared by the connections of the admin listener.
struct AdminConnections {
    doors: AdminHandlers,
    reloads: Semaphore,
}

/// Socket of the admin listener.
pub enum AdminSocket {
    /// Loopback port.
    Port(TcpListener),
    /// Unix socket, and the check whether the peer of a connection is allowed.
    Socket(UnixListener, fn(&UnixStream) -> io::Result<bool>),
}

impl AdminSocket {
    /// Accepts the next allowed connection. Refused ones are logged through a throttle, as any user
    /// of the machine can cause them.
    async fn accept(&self, refused: &LogThrottle, since: Instant) -> io::Result<Box<dyn Io>> {
        let told = |error: Option<io::Error>| {
            if let Some(left_out) = refused.look(since.elapsed()) {
                let error = error.map(tracing::field::display);
                tracing::warn!(
                    error,
                    left_out,
                    "control socket: connection from a process of another user refused"
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

/// Serves connections for as long as it is polled. Must be polled where `spawn_local` may be
/// called.
pub async fn serve(entrance: AdminSocket, doors: AdminHandlers) {
    let hall = Rc::new(AdminConnections { doors, reloads: Semaphore::new(RELOADS) });
    let room = Arc::new(Semaphore::new(VISITORS));
    let (refused, since) = (LogThrottle::default(), Instant::now());
    loop {
        // Before the accept: further connections wait in the backlog, where they cost no memory.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match entrance.accept(&refused, since).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin listener: accept failed; trying again");
                // Without a pause an error that stays, such as too few descriptors, would spin.
                tokio::time::sleep(REQUEST_TIMEOUT / 10).await;
                continue;
            }
        };
        let hall = Rc::clone(&hall);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| handle(&hall, request));
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .max_buf_size(16 * 1024);
            let visit = builder.serve_connection(TokioIo::new(stream), service);
            // The time-outs of the library do not cover a client that takes its response slowly.
            match tokio::time::timeout(VISIT, visit).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "admin listener: a connection failed"),
                Err(_) => tracing::debug!("admin listener: a connection timed out"),
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
        // Not ready as soon as the stop begins, so a load balancer sends no more connections.
        (&Method::GET | &Method::HEAD, "/health/ready") if (hall.doors.is_ready)() => {
            text_response(StatusCode::OK, "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/health/ready") => {
            text_response(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
        (&Method::POST, "/reload") if comes_from_a_page(&request) => {
            let text = "refused: the request comes from a web page, or its `Host` is a name other \
                than `localhost`\n";
            text_response(StatusCode::FORBIDDEN, text)
        }
        (&Method::POST, "/reload") => match hall.reload().await {
            Reloaded::Done => text_response(StatusCode::OK, "configuration reloaded\n"),
            Reloaded::Unchanged => {
                text_response(StatusCode::OK, "configuration reloaded; nothing changed\n")
            }
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
            "not found; endpoints: /health/live, /health/ready, /reload\n",
        ),
    })
}

impl AdminConnections {
    async fn reload(&self) -> Reloaded {
        // Refused, not queued: waiting requests would take the places of health checks.
        match self.reloads.try_acquire() {
            Ok(_place) => (self.doors.reload)().await,
            Err(_) => Reloaded::Failed(format!(
                "{RELOADS} requests for a reload wait already; retry later"
            )),
        }
    }
}

/// Returns true if the request may come from a web page: browsers send `Origin` or
/// `Sec-Fetch-Site`, and a name in `Host` may have been rebound to this machine.
fn comes_from_a_page(request: &Request<Incoming>) -> bool {
    let fields = request.headers();
    let host = fields.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    fields.contains_key(header::ORIGIN)
        || fields.contains_key("sec-fetch-site")
        || !is_this_machine(host)
}

/// Returns true if `Host` is an IP literal, or `localhost`, which no resolver is asked for (RFC
/// 6761, section 6.3).
fn is_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.parse::<u16>().is_ok() { name } else { host });
    let by_address =
        host.parse::<std::net::SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok();
    // A page can point a name of its own at this machine, but not an address.
    by_address || name.eq_ignore_ascii_case("localhost")
}

fn not_allowed(methods: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = text_response(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

fn text_response(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A cache in between must not report an old health.
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
            // A previous process left its name behind.
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
            // Closed with the request unread, the connection is reset.
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
                "{question} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: \
                close\r\n\r\n"
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
            assert!(
                said.starts_with("HTTP/1.1 503 ") && said.contains("8 requests for a reload wait"),
                "{said}"
            );
            said.clear();
            ask("GET /health/ready").await.read_to_string(&mut said).await.expect("text");
            assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }
}
