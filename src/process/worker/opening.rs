//! Start of a connection: its permit, the PROXY header, the TLS handshake, and its protocol.

use std::{fmt::Display, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use super::{LAST_CALL, Worker};
use crate::{
    downstream::{
        client_conn::{ClientConn, ClientProtocol},
        connection_limits::ConnectionPermit,
        drain::Idle,
        listener::ListenerPolicy,
        proxy_protocol::{self, ProxiedPeer},
        tls::{self, Accepted, Tls},
    },
    proxy::peer::Transport,
    runtime::io::Io,
};

/// Time that a client has to start a request when it connects while the process stops.
const LATE: Duration = Duration::from_millis(300);

impl Worker {
    /// Serves one connection; must be called where `spawn_local` may be.
    pub fn take(self: &Rc<Self>, io: Box<dyn Io>, peer: SocketAddr, door: Arc<ListenerPolicy>) {
        // Before a task is spawned or a byte is read: a refused connection costs little.
        let mut place = match door.occupancy.enter() {
            Ok(place) => place,
            Err(full) => return self.refuse(peer, &full),
        };
        // A trusted proxy carries many clients, so the limit of one client does not apply to it.
        if !self.serving().proxy.trust.is_trusted(peer.ip())
            && let Err(full) = place.belong_to(peer.ip())
        {
            return self.refuse(peer, &full);
        }
        self.connections.spawn_local(Rc::clone(self).open(io, peer, door, place));
    }

    /// Logs a connection that is closed before any response.
    pub(super) fn refuse(&self, peer: SocketAddr, reason: &dyn Display) {
        if let Some(left_out) = self.refused.look(self.serving().proxy.clock.now()) {
            tracing::warn!(%reason, %peer, left_out, "connection refused");
        }
    }

    /// Reads the PROXY header and does the TLS handshake where the policy requires them, and
    /// serves.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` has its arguments in memory twice")]
    fn open(
        self: Rc<Self>,
        mut io: Box<dyn Io>,
        mut peer: SocketAddr,
        door: Arc<ListenerPolicy>,
        mut place: ConnectionPermit,
    ) -> impl Future<Output = ()> {
        async move {
            if door.proxy_protocol {
                // Boxed, like the handshake: an idle connection does not reserve the memory.
                let introduced = self.introduce(io, peer, &mut place);
                match Box::pin(self.unless_stopping(introduced)).await {
                    Some(Ok(introduced)) => (io, peer) = introduced,
                    Some(Err(error)) => return self.refuse(peer, &error),
                    None => return,
                }
            }
            let (io, transport) = match &door.tls {
                None => {
                    let challenges =
                        door.http01.as_deref().and_then(|path| self.serving().challenges(path));
                    (io, Transport::Plain { redirect: door.redirect, challenges })
                }
                Some(tls) => {
                    let shaken =
                        Box::pin(self.unless_stopping(self.shake_hands(tls, io, peer))).await;
                    let Some(shaken) = shaken.flatten() else { return };
                    shaken
                }
            };
            self.serve(io, peer, transport, &door, &place).await;
        }
    }

    /// Returns the output of `work` with a client that cannot have sent a request yet. When the
    /// process stops meanwhile, it is waited for only a short time.
    async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopping = async {
            match self.drain.clone().begun().await {
                (_, Idle::Close) => tokio::time::sleep(LATE).await,
                (deadline, Idle::Await) => tokio::time::sleep_until(deadline - LAST_CALL).await,
            }
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = stopping => None,
        }
    }

    /// Reads the PROXY header of a trusted proxy.
    async fn introduce(
        &self,
        io: Box<dyn Io>,
        peer: SocketAddr,
        place: &mut ConnectionPermit,
    ) -> io::Result<(Box<dyn Io>, SocketAddr)> {
        // A header of anyone else could claim any address, and so evade every limit by client.
        if !self.serving().proxy.trust.is_trusted(peer.ip()) {
            return Err(io::Error::other(
                "a PROXY header is accepted only from `client_ip.trusted_proxies`",
            ));
        }
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let read =
            // A peer that sends no header, or one byte at a time, holds its permit only that long.
            self.alarm.within(self.watchdog.granted().header, proxy_protocol::read(io)).await;
        match read.unwrap_or_else(late)? {
            (ProxiedPeer::Proxy, io) => Ok((io, peer)),
            (ProxiedPeer::Behind(client), io) => {
                // Only now the client is known, so only now its limit can be checked.
                place.belong_to(client.ip()).map_err(io::Error::other)?;
                Ok((io, client))
            }
        }
    }

    async fn shake_hands(
        &self,
        tls: &Tls,
        io: Box<dyn Io>,
        peer: SocketAddr,
    ) -> Option<(Box<dyn Io>, Transport)> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        // Bounded apart from `header`, whose time begins only behind the handshake.
        match self.alarm.within(tls::HANDSHAKE, tls.accept(io)).await.unwrap_or_else(|| Err(late()))
        {
            Ok(Accepted::Tls(io, secured)) => Some((io, Transport::Tls(Box::new(secured)))),
            Ok(Accepted::Plain(io)) => Some((io, Transport::PlainToTls)),
            Err(error) => {
                if let Some(left_out) =
                    self.handshakes_failed.look(self.serving().proxy.clock.now())
                {
                    tracing::info!(%error, %peer, left_out, "TLS handshake failed");
                }
                None
            }
        }
    }

    /// Detects the protocol of a client. One that was still in the backlog when the process stopped
    /// is waited for, but only a short time.
    pub(super) async fn hear(&self, conn: &ClientConn) -> ClientProtocol {
        if !conn.state().is_draining() {
            return conn.detect_protocol().await;
        }
        match self.alarm.within(LATE, conn.detect_protocol()).await {
            Some(spoken) => spoken,
            None if conn.has_begun() => ClientProtocol::Http1,
            None => ClientProtocol::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, task::LocalSet};

    use crate::{
        downstream::drain::DrainOrder,
        process::{
            listeners::{self, ListenerMap},
            share,
            worker::opening::*,
        },
    };

    /// Every idle connection has such a task.
    #[tokio::test]
    async fn connection_task_takes_little_memory() {
        let text = "listeners: [ '127.0.0.1:0' ]\naccess_log: { to: none }\n\
                    routes: [ { path: /, upstream: 'http://127.0.0.1:9' } ]\n";
        let config = crate::config::parse("test", text, &[]).expect("a configuration").config;
        let doors = listeners::fit(&ListenerMap::new(), &config.listeners)
            .expect("settings that can be used")
            .apply();
        let door = Arc::clone(doors.values().next().expect("a listener"));
        let (_order, drain) = DrainOrder::new();
        let shared = share(config, doors, None, drain).expect("upstreams without TLS");
        let measured = async {
            let worker = Worker::build(&shared).expect("a worker");
            let place = door.occupancy.enter().expect("room");
            let peer = SocketAddr::from(([192, 0, 2, 1], 1));
            let size = size_of_val(&worker.open(Box::new(duplex(1).0), peer, door, place));
            assert!(size <= 960, "{size}");
        };
        LocalSet::new().run_until(measured).await;
    }
}
