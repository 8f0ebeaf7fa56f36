//! Listening sockets: one for each worker on the same address, shared out by the kernel.
//!
//! Guarantees: an address somebody else listens on is an error, also when that somebody would share it; failing accepts never
//! spin; what the kernel has accepted before a stop is still served.

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    task::Poll,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{settings::ListenerSettings, tls::Tls};

/// What a listener asks of the connections it takes.
#[derive(Debug, Default)]
pub struct Door {
    /// TLS, if it is spoken here.
    pub tls: Option<Tls>,
    /// Every request is sent to this port over `https`.
    pub redirect: Option<u16>,
}

impl Door {
    /// Whether it is what these settings ask for.
    #[must_use]
    pub fn serves(&self, settings: &ListenerSettings) -> bool {
        self.tls.as_ref().map(Tls::settings) == settings.tls.as_ref() && self.redirect == settings.redirect
    }
}

/// Connections the kernel may keep until they are accepted.
const BACKLOG: i32 = 4096;
/// The shortest and the longest pause after an accept that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Opens `count` sockets on `address`; port 0 is chosen once for all of them.
///
/// # Errors
/// When the address is taken or may not be listened on.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    if address.port() != 0 {
        // Sockets that share a port hide a second weir from each other; one that does not share finds it.
        socket(address)?.listen(BACKLOG)?;
    }
    let mut listeners: Vec<StdListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let chosen = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        listeners.push(shared(chosen)?);
    }
    Ok(listeners)
}

/// One more socket on an address that is listened on already.
///
/// # Errors
/// When the kernel says no.
pub fn shared(address: SocketAddr) -> io::Result<StdListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts connections until `stop`, and then those that were waiting already.
pub async fn accept(listener: TcpListener, stop: impl Future<Output = ()>, mut take: impl FnMut(TcpStream, SocketAddr)) {
    let mut pause = PAUSES.0;
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSES.0;
                take(stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted for now");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    while let Some((stream, peer)) = waiting(&listener).await {
        take(stream, peer);
    }
}

/// A connection that waits to be accepted, if there is one.
async fn waiting(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_port_and_nobody_else_may() {
        let listeners = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 2).expect("a free port");
        let address = listeners[0].local_addr().expect("an address");
        assert_eq!(listeners[1].local_addr().expect("an address"), address);
        assert_eq!(bind(address, 1).map(|_| ()).map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
    }
}
