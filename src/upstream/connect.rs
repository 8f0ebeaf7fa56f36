//! Connecting to an endpoint, as tower services: time-outs and test pipes are layers and
//! substitutes.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    timeout::{TimeoutLayer, error::Elapsed},
    util::BoxCloneService,
};

use super::{address::Address, remote::Remote};
use crate::{
    http::error::{Error, Kind},
    runtime::io::{Io, set_keepalive},
};

/// Open connection of any kind.
pub type BoxedIo = Box<dyn Io + Send>;

/// Service that opens connections.
pub type Connector = BoxCloneService<Arc<Address>, BoxedIo, BoxError>;

/// The endpoint speaks TLS, but not the configured protocol.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint did not agree on HTTP/2")]
pub struct NoHttp2;

/// Pause before the next try to connect to a Unix socket that takes no more connections now.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Connector for sockets of TCP and of Unix.
#[must_use]
pub fn sockets() -> Connector {
    tower::service_fn(|address: Arc<Address>| async move {
        match address.remote() {
            Remote::Tcp(address) => Ok(tcp(*address).await?),
            Remote::Unix(path) => Ok(unix(path).await?),
        }
    })
    .boxed_clone()
}

async fn tcp(address: SocketAddr) -> io::Result<BoxedIo> {
    let stream = TcpStream::connect(address).await?;
    let socket = SockRef::from(&stream);
    // A piece that waits for the acknowledgement of the one before would delay small requests.
    socket.set_tcp_nodelay(true)?;
    set_keepalive(&socket)?;
    Ok(Box::new(stream))
}

async fn unix(path: &Path) -> io::Result<BoxedIo> {
    // A Unix socket has neither keep-alive nor delays to set: the kernel knows when the other end
    // is gone.
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(Box::new(stream)),
            // The kernel does not tell when there is room in the backlog (`connect(2)`), where one
            // of TCP would wait. The connect time-out ends this.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(FULL_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Adds a time-out to a connector.
#[must_use]
pub fn within(timeout: Duration, connector: Connector) -> Connector {
    ServiceBuilder::new().layer(TimeoutLayer::new(timeout)).service(connector).boxed_clone()
}

/// Opens one connection.
///
/// # Errors
/// The kind says at which step it failed; the cause is kept.
pub fn connect(
    connector: &Connector,
    address: &Arc<Address>,
) -> impl Future<Output = Result<BoxedIo, Error>> + Send + use<> {
    // Not awaited here, so the future borrows nothing: HTTP/2 spawns it as a task.
    let opening = connector.clone().oneshot(Arc::clone(address));
    async move {
        opening.await.map_err(|cause| {
            let (kind, detail) = reason(&cause);
            Error::caused(kind, detail, cause)
        })
    }
}

fn reason(cause: &BoxError) -> (Kind, &'static str) {
    if cause.is::<Elapsed>() {
        return (Kind::ConnectionTimeout, "the endpoint did not accept the connection in time");
    }
    let cause = cause.downcast_ref::<io::Error>();
    // tokio-rustls wraps the errors of rustls, and this file those of ALPN, in an I/O error.
    if let Some(inner) = cause.and_then(io::Error::get_ref) {
        match inner.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                return (Kind::TlsCertificateError, "upstream certificate is not trusted");
            }
            Some(rustls::Error::AlertReceived(_)) => {
                return (
                    Kind::TlsAlertReceived,
                    "the endpoint ended the TLS handshake with an alert",
                );
            }
            Some(_) => {
                return (Kind::TlsProtocolError, "TLS protocol error by the endpoint");
            }
            None if inner.is::<NoHttp2>() => {
                return (Kind::TlsProtocolError, "the endpoint did not agree on HTTP/2");
            }
            None => {}
        }
    }
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => (
            Kind::ConnectionTerminated,
            "the endpoint closed the connection during the TLS handshake",
        ),
        Some(io::ErrorKind::ConnectionRefused) => {
            (Kind::ConnectionRefused, "the endpoint refused the connection")
        }
        Some(io::ErrorKind::NotFound) => {
            (Kind::ConnectionRefused, "there is no socket at the path of the endpoint")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            (Kind::ConnectionRefused, "weir may not connect to the socket of the endpoint")
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            (Kind::DestinationIpUnroutable, "no route to upstream")
        }
        // The time-out of the kernel, if that of the settings is longer.
        Some(io::ErrorKind::TimedOut) => {
            (Kind::ConnectionTimeout, "the endpoint did not accept the connection in time")
        }
        Some(io::ErrorKind::ConnectionReset) => {
            (Kind::ConnectionTerminated, "the endpoint reset the connection")
        }
        _ => (Kind::ProxyInternalError, "cannot open a connection"),
    }
}
