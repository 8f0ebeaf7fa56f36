//! Opening a connection to an endpoint: tower services, so that time-outs and test pipes are layers and stand-ins.

use std::{io, time::Duration};

use tokio::net::TcpStream;
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    timeout::{TimeoutLayer, error::Elapsed},
    util::BoxCloneService,
};

use super::settings::Endpoint;
use crate::{
    error::{Error, Kind},
    stream::Io,
};

/// An open connection, of whatever kind.
pub type Stream = Box<dyn Io + Send>;

/// Something that opens connections.
pub type Connector = BoxCloneService<Endpoint, Stream, BoxError>;

/// Opens TCP connections: every address of a name is tried in turn.
#[must_use]
pub fn tcp() -> Connector {
    tower::service_fn(|endpoint: Endpoint| async move {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream) as Stream)
    })
    .boxed_clone()
}

/// The same, within a time.
#[must_use]
pub fn within(timeout: Duration, connector: Connector) -> Connector {
    ServiceBuilder::new().layer(TimeoutLayer::new(timeout)).service(connector).boxed_clone()
}

/// Opens one connection.
///
/// # Errors
/// The kind says how far it came; the cause is kept.
pub async fn connect(connector: &Connector, endpoint: &Endpoint) -> Result<Stream, Error> {
    connector.clone().oneshot(endpoint.clone()).await.map_err(|cause| {
        let (kind, detail) = reason(&cause);
        Error::caused(kind, detail, cause)
    })
}

fn reason(cause: &BoxError) -> (Kind, &'static str) {
    if cause.is::<Elapsed>() {
        return (Kind::ConnectionTimeout, "the endpoint did not take the connection in time");
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => (Kind::ConnectionRefused, "the endpoint refused the connection"),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            (Kind::DestinationIpUnroutable, "there is no way to the endpoint")
        }
        Some(io::ErrorKind::TimedOut) => (Kind::ConnectionTimeout, "the endpoint did not take the connection in time"),
        Some(io::ErrorKind::ConnectionReset) => (Kind::ConnectionTerminated, "the endpoint reset the connection"),
        _ => (Kind::DnsError, "the endpoint's name did not resolve"),
    }
}
