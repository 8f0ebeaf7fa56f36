//! Serving of a connection whose protocol is known.

use std::{net::SocketAddr, pin::pin, rc::Rc};

use http::Version;

use super::{Worker, unfinished_head::UnfinishedHead};
use crate::{
    downstream::{
        client_conn::{ClientConn, ClientConnIo, ClientProtocol},
        client_state::ClientState,
        connection_limits::ConnectionPermit,
        fair_queue::Queued,
        http1::{self, connection::ConnectionSettings, lingering_close::Bounds},
        http2,
        listener::ListenerPolicy,
        request_body::IncomingBody,
        request_channel::RequestChannel,
    },
    http::{
        error::{Error, Kind},
        framing::{Flaw, field_list::Unfit},
        message::RequestParts,
    },
    process::panic_guard::guarded,
    proxy::{
        peer::{Peer, Transport},
        reply,
    },
    runtime::io::{CutReason, Io},
};

impl Worker {
    /// Serves a connection under this policy and permit.
    pub(super) fn serve(
        self: &Rc<Self>,
        io: Box<dyn Io>,
        peer: SocketAddr,
        transport: Transport,
        door: &ListenerPolicy,
        place: &ConnectionPermit,
    ) -> impl Future<Output = ()> {
        let conn = ClientConn::new(io);
        self.watchdog.watch_connection(conn.state());
        // The stop may be ordered already while the watchdog has not passed it on yet.
        if self.drain.closes_idle() {
            conn.state().drain();
        }
        // Not an `async fn`, which would have its arguments in memory twice.
        async move {
            let http2 = match &transport {
                // ALPN has decided. A preface on a TLS connection without it is not HTTP/2.
                Transport::Tls(secured) => secured.http2,
                // Whatever it sends is refused, so that it need not be known.
                Transport::PlainToTls => false,
                Transport::Plain { .. } if !door.http2 => false,
                Transport::Plain { .. } => match self.hear(&conn).await {
                    ClientProtocol::Http1 => false,
                    ClientProtocol::Http2 => true,
                    ClientProtocol::Nothing => return,
                },
            };
            let closing = Bounds { lingering: &self.lingering, place, drain: &self.drain };
            if !http2 {
                let peer = Peer::new(peer, transport, &self.latest_host);
                return self.serve_http1(&conn, &peer, door.max_requests, closing).await;
            }
            self.serve_http2(&conn, peer, transport, door.max_requests).await;
            // After a fault of the client nothing more is read for it.
            if ends_softly(conn.state()) {
                // The client grants room while it reads the last response.
                let mut io = ClientConnIo(Rc::clone(&conn));
                let mut queued = Queued::new(&self.fair_queue);
                Box::pin(closing.close(&mut io, &mut queued, &[], true)).await;
            }
        }
    }

    /// Serves an HTTP/1.1 connection.
    async fn serve_http1(
        &self,
        conn: &Rc<ClientConn>,
        peer: &Peer,
        max_requests: u64,
        closing: Bounds<'_>,
    ) {
        let channel = RequestChannel::connection(conn);
        let channel = &channel;
        let is_refused = matches!(peer.transport, Transport::PlainToTls);
        let service = |head: Box<RequestParts>, body: IncomingBody| {
            let serving = self.serving();
            // Its next response is the last, so a new process gets the client's next connection.
            if self.leaving.get() {
                channel.state.drain();
            }
            async move {
                let flaw = is_refused.then_some(Flaw::PLAIN_TO_TLS);
                let unfit = flaw.map(|flaw| Unfit { flaw, target: None });
                let work = pin!(serving.proxy.serve(channel, peer, head, body, unfit));
                guarded(channel, work).await
            }
        };
        // Limits on heads are those of the time of the connection, because its reader is
        // built once.
        let granted = ConnectionSettings { limits: self.serving().limits, max_requests, closing };
        let head = UnfinishedHead::new(self, conn, peer.address, Version::HTTP_11);
        let blame = |error: &Error| {
            // A head that cannot be read was sent to the wrong port too, which explains more.
            let is_other = is_refused && error.kind() == Kind::HttpRequestError;
            let other = is_other.then(|| Error::from(Flaw::PLAIN_TO_TLS));
            let error = other.as_ref().unwrap_or(error);
            let response = reply::raw_response(error);
            // A connection that was cut gets no response.
            head.fail(error, if conn.state().is_cut() { 0 } else { response.body_length });
            response.bytes
        };
        http1::connection::serve(Rc::clone(conn), &self.fair_queue, granted, service, blame).await;
    }

    /// Serves an HTTP/2 connection.
    async fn serve_http2(
        self: &Rc<Self>,
        conn: &Rc<ClientConn>,
        address: SocketAddr,
        transport: Transport,
        max_requests: u64,
    ) {
        // Shared by all streams: they have one peer and one handshake.
        let peer = Rc::new(Peer::new(address, transport, &self.latest_host));
        let (worker, state) = (Rc::clone(self), Rc::clone(conn.state()));
        let answer = move |line: RequestChannel, head, body, unfit| {
            let (serving, peer) = (worker.serving(), Rc::clone(&peer));
            if worker.leaving.get() {
                state.drain();
            }
            async move {
                let work = pin!(serving.proxy.serve(&line, &peer, head, body, unfit));
                guarded(&line, work).await
            }
        };
        let limits = self.serving().limits;
        let head = UnfinishedHead::new(self, conn, address.ip(), Version::HTTP_2);
        // Boxed, so that HTTP/1.1 connections do not reserve the memory.
        Box::pin(http2::connection::serve(
            Rc::clone(conn),
            &self.watchdog,
            &self.fair_queue,
            limits,
            max_requests,
            answer,
        ))
        .await;
        // A head that was cut has no stream, and no other place writes its line.
        if let Some(error) = http1::connection::unfinished_head(conn) {
            head.fail(&error, 0);
        }
        self.log_abuse(conn.state(), address);
    }

    /// Logs a connection that was closed for abuse.
    fn log_abuse(&self, state: &ClientState, peer: SocketAddr) {
        if let Some(reason) = state.ended_by().filter(|reason| reason.is_abuse())
            && let Some(left_out) = self.unruly.look(self.serving().proxy.clock.now())
        {
            tracing::info!(%reason, %peer, left_out, "HTTP/2 connection closed for abuse");
        }
    }
}

/// Returns true if an HTTP/2 connection ended without a fault of its client.
fn ends_softly(state: &ClientState) -> bool {
    matches!(state.ended_by(), None | Some(CutReason::Idle))
}
