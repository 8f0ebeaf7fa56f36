//! Listening sockets: of TCP one for each worker on the same address, over which the kernel
//! distributes connections; of a Unix socket and of an inherited one the same for all workers.
//!
//! Guarantees: an address in use by another process is an error, even if that process would share
//! it. When descriptors run out, clients are closed immediately and no loop spins. Connections that
//! the kernel accepted before a stop are still served, also those of clients that had sent nothing
//! (`tests/serve/deferred.rs`).
//!
//! A client is accepted with its first data, which saves a wake-up for each connection. One that
//! sends nothing is accepted a second later, so everything that holds for silent clients holds
//! [`SILENT`] later at most.

use std::{
    fs::{self, File},
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::Instant;

use super::{
    connection_limits::ConnectionLimits,
    listen_socket::{Acceptor, Connected},
    settings::{ClientProtocols, ListenerSettings},
    tls::Tls,
};
use crate::{
    log::throttle::LogThrottle,
    runtime::{io::set_keepalive, sys::defer_accept},
};

/// Requirements of a listener on its connections. There is no default: a requirement that is not
/// known cannot be met.
#[derive(Debug)]
pub struct ListenerPolicy {
    /// TLS, if required.
    pub tls: Option<Tls>,
    /// True if clients may send HTTP/2 with prior knowledge.
    pub http2: bool,
    /// Port of the `https` redirect for every request, if any.
    pub redirect: Option<u16>,
    /// Directory of the files for ACME challenges, if any.
    pub http01: Option<PathBuf>,
    /// True if connections must begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Connection limits.
    pub occupancy: Arc<ConnectionLimits>,
    /// Number of requests after which a connection is closed.
    pub max_requests: u64,
}

impl ListenerPolicy {
    /// Requirements of these settings.
    #[must_use]
    pub fn new(
        settings: &ListenerSettings,
        tls: Option<Tls>,
        occupancy: Arc<ConnectionLimits>,
    ) -> Self {
        let (proxy_protocol, max_requests) =
            (settings.proxy_protocol, settings.max_requests as u64);
        let http2 = settings.protocol == ClientProtocols::Auto;
        Self {
            tls,
            http2,
            redirect: settings.redirect,
            http01: settings.http01.clone(),
            proxy_protocol,
            occupancy,
            max_requests,
        }
    }

    /// Returns true if these settings have the same requirements.
    #[must_use]
    pub fn serves(&self, settings: &ListenerSettings) -> bool {
        self.tls.as_ref().map(Tls::settings) == settings.tls.as_ref()
            && self.http2 == (settings.protocol == ClientProtocols::Auto)
            && self.redirect == settings.redirect
            && self.http01 == settings.http01
            && self.proxy_protocol == settings.proxy_protocol
            && self.max_requests == settings.max_requests as u64
    }
}

/// Connections that the kernel keeps until they are accepted.
pub const BACKLOG: i32 = 4096;
/// Least TCP user time-out: time that sent data may be unacknowledged.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Connections accepted in one turn, before open connections get theirs.
const ACCEPTS_A_TURN: u32 = 8;
/// Longest time for which the kernel keeps a client that has connected and sends nothing. It asks
/// the client once more, after its initial retransmission time-out of a second (RFC 6298), and
/// passes it on then.
pub const SILENT: Duration = Duration::from_millis(1_100);
/// Interval at which a closing listener looks for such clients.
const LOOK: Duration = Duration::from_millis(20);
/// Pause after a failed accept; it doubles with each further one ...
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Opens `count` sockets on `address`; port 0 is chosen once for all of them.
///
/// # Errors
/// When the address is in use or may not be listened on.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    if address.port() != 0 {
        // Sockets that share a port hide a second weir; one that does not share detects it. It does
        // not listen, because closing it would reset clients that have connected meanwhile.
        exclusive(address)?;
    }
    let mut listeners: Vec<StdListener> = Vec::with_capacity(count);
    for _ in 0..count {
        // With port 0 the kernel would choose another port for each socket.
        let chosen = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        listeners.push(shared(chosen)?);
    }
    Ok(listeners)
}

/// Opens one more socket on an address that is listened on already.
///
/// # Errors
/// When the kernel refuses.
pub fn shared(address: SocketAddr) -> io::Result<StdListener> {
    let socket = reusable(address)?;
    socket.set_reuse_port(true)?;
    // The runtime requires it: a blocking accept would stop the whole worker.
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the options that accepted connections inherit, which saves system calls for each: data is
/// sent without delay, and a client that vanished is detected. A silent one is detected by
/// [`set_keepalive`], one that acknowledges nothing by the TCP user time-out (RFC 5482), `write` or
/// 30 s, whichever is longer.
///
/// With `defers` the kernel keeps clients until they send data, for [`SILENT`] at most.
///
/// # Errors
/// When the kernel refuses.
pub fn tune(listener: &StdListener, write: Duration, defers: bool) -> io::Result<()> {
    if let Err(error) = defer_accept(listener, defers.into()) {
        // It only costs time.
        tracing::debug!(%error, "clients are accepted before they send data");
    }
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(write.max(ACKNOWLEDGED)))?;
    set_keepalive(&socket)
}

fn exclusive(address: SocketAddr) -> io::Result<Socket> {
    let socket = reusable(address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Creates a socket. An IPv6 socket takes no IPv4 connections (RFC 3493, section 5.3), whatever the
/// kernel default is: another listener may have the same port for IPv4.
fn reusable(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// State of a socket after its accepting has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// Another process accepts on it.
    Shared,
    /// It is closed.
    Closed,
}

/// Accepts connections until `stop`, and then those that were waiting already.
pub async fn accept(
    listener: Acceptor,
    stop: impl Future<Output = AfterStop>,
    mut take: impl FnMut(Connected),
) {
    let (mut pause, mut spare, said, begun) =
        (FIRST_PAUSE, SpareDescriptor::default(), LogThrottle::default(), Instant::now());
    spare.restore();
    let (mut stop, mut count) = (pin!(stop), 0_u32);
    let after = loop {
        let accepted = tokio::select! {
            // `stop` is polled first, so a flood of connections cannot delay a stop.
            biased;
            after = &mut stop => break after,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connected) => {
                pause = FIRST_PAUSE;
                take(connected);
                count = count.wrapping_add(1);
                // A burst of connections would otherwise keep the event loop from those that
                // are open.
                if count.is_multiple_of(ACCEPTS_A_TURN) {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Without descriptors every accept fails, so the message is throttled.
                if let Some(left_out) = said.look(begun.elapsed()) {
                    tracing::warn!(%error, left_out, "accept failed; refusing connections");
                }
                // Accepting and closing takes a client out of the backlog. With a pause alone it
                // would wait there without any response.
                if !spare.refuse_one(&listener, &error).await {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    spare.restore();
                }
            }
        }
    };
    if after == AfterStop::Closed {
        take_silent(&listener, &mut take).await;
    }
    take_waiting(listener, take).unwrap_or_else(|error| log_lost_connection(&error));
}

fn log_lost_connection(error: &io::Error) {
    tracing::warn!(%error, "accept failed while stopping; pending connections are lost");
}

/// Takes the clients that have connected and sent nothing, which the kernel still keeps: it would
/// reset them when the listener closes.
async fn take_silent(listener: &Acceptor, take: &mut impl FnMut(Connected)) {
    // A Unix socket passes on every client immediately.
    let Acceptor::Tcp(tcp) = listener else { return };
    let Ok(address) = tcp.local_addr() else { return };
    // From now on the kernel passes on each of them with the next segment it sends.
    if defer_accept(tcp, 0).is_err() {
        return;
    }
    let end = Instant::now() + SILENT;
    while Instant::now() < end && keeps_clients(address).await {
        while let Some(connected) = waiting(listener).await {
            take(connected);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns true if the kernel keeps clients of an address that have not been accepted yet, or if
/// that is not known.
async fn keeps_clients(address: SocketAddr) -> bool {
    // The list has a line for each connection of the machine, so reading it may take a while.
    let looked = tokio::task::spawn_blocking(move || {
        let list = if address.is_ipv6() { "/proc/net/tcp6" } else { "/proc/net/tcp" };
        fs::read_to_string(list).map_or(true, |list| is_awaited(&list, address.port()))
    });
    looked.await.unwrap_or(true)
}

/// Returns true if a list of the kernel's connections (`proc(5)`) has a handshake on this port that
/// is not complete, or not passed on.
fn is_awaited(list: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    list.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_here = words.next().is_some_and(|local| local.ends_with(&port));
        // SYN_RECV.
        is_here && words.nth(1) == Some("03")
    })
}

/// Takes the connections in the backlog.
fn take_waiting(listener: Acceptor, mut take: impl FnMut(Connected)) -> io::Result<()> {
    let listener = listener.into_std()?;
    loop {
        match listener.accept_now() {
            Ok(connected) => take(connected),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Spare descriptor: when no other is left, it allows a waiting client to be accepted and closed.
#[derive(Default)]
struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    fn restore(&mut self) {
        self.0 = self.0.take().or_else(|| File::open("/dev/null").ok());
    }

    /// Refuses one connection if descriptors have run out and the spare one is there. Without a
    /// waiting connection the next accept waits.
    async fn refuse_one(&mut self, listener: &Acceptor, error: &io::Error) -> bool {
        let out_of_descriptors =
            // Closing a descriptor helps only against these two errors.
            [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        if !out_of_descriptors.contains(&error.raw_os_error()) || self.0.take().is_none() {
            return false;
        }
        // The spare descriptor was just closed, so one is free for this accept, unless another
        // worker took it.
        drop(waiting(listener).await);
        self.restore();
        true
    }
}

/// Returns a connection that waits to be accepted, if there is one.
async fn waiting(listener: &Acceptor) -> Option<Connected> {
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
    use crate::downstream::{listen_socket::ListenSocket, listener::*};

    #[test]
    fn handshake_on_a_port_is_found_in_the_list_of_the_kernel() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
                    \u{20}  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 0\n\
                    \u{20}  1: 0100007F:1F91 0100007F:E0A2 03 00000000:00000000 01:00000063 0\n\
                    \u{20}  2: 0100007F:E0A2 0100007F:1F92 03 00000000:00000000 01:00000063 0\n";
        let found = [0x1f90, 0x1f91, 0x1f92].map(|port| is_awaited(list, port));
        assert_eq!(found, [false, true, false]);
    }

    #[tokio::test]
    async fn listener_takes_backlog_at_stop() {
        let listener =
            bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("a free port").remove(0);
        let address = listener.local_addr().expect("an address");
        let listener = ListenSocket::from(listener).register().expect("a listener");
        // Not through the runtime, which therefore does not know of them.
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).expect("a listener"));
        let mut taken = Vec::new();
        let stop = std::future::ready(AfterStop::Closed);
        accept(listener, stop, |connected| taken.push(connected)).await;
        let peers: Vec<_> = taken.iter().map(|connected: &Connected| connected.peer).collect();
        assert_eq!(peers, clients.map(|client| client.local_addr().expect("an address")));
    }

    #[test]
    fn accepted_sockets_have_keepalive() {
        let listener =
            bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("a free port").remove(0);
        listener.set_nonblocking(false).expect("a socket");
        for (write, acknowledged) in [(5, 30), (300, 300)] {
            tune(&listener, Duration::from_secs(write), false).expect("a socket");
            let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
                .expect("a listener");
            let (accepted, _) = listener.accept().expect("a connection");
            let socket = SockRef::from(&accepted);
            assert!(
                socket.tcp_nodelay().expect("a socket") && socket.keepalive().expect("a socket")
            );
            assert_eq!(
                socket.tcp_user_timeout().expect("a socket"),
                Some(Duration::from_secs(acknowledged))
            );
            assert_eq!(socket.tcp_keepalive_time().expect("a socket"), Duration::from_secs(15));
            assert_eq!(socket.tcp_keepalive_interval().expect("a socket"), Duration::from_secs(5));
            assert_eq!(socket.tcp_keepalive_retries().expect("a socket"), 3);
        }
    }

    #[test]
    fn all_workers_share_one_port_and_nobody_else_may() {
        let listeners = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 2).expect("a free port");
        let address = listeners[0].local_addr().expect("an address");
        assert_eq!(listeners[1].local_addr().expect("an address"), address);
        assert_eq!(
            bind(address, 1).map(|_| ()).map_err(|error| error.kind()),
            Err(io::ErrorKind::AddrInUse)
        );
    }
}
