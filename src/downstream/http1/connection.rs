//! HTTP/1.1 connection of a client, from its first byte to its last.
//!
//! Guarantees: a client that takes too long is cut. When the process stops, the response in
//! progress is the last. A connection that ends with unread bytes lingers, so that the last
//! response reaches its client. An idle connection keeps no buffers. A busy one works in turns,
//! between which all others get theirs.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;

use super::{framed_io::FramedIo, lingering_close::Bounds};
use crate::{
    downstream::{
        client_conn::{ClientConn, ClientConnIo, ConnEvent},
        fair_queue::{FairQueue, Queued},
        relay::relay,
        settings::HeaderLimits,
    },
    http::error::{Error, Kind},
    runtime::io::CutReason,
};

/// Buffer limit of a connection.
const BUFFER: usize = 128 * 1024;

/// Bytes by which hyper's head limit exceeds weir's: an empty line and the last CRLF.
const MARGIN: usize = 4;

/// Settings of a connection.
pub struct ConnectionSettings<'a> {
    /// Limits of a head.
    pub limits: HeaderLimits,
    /// Limit on its requests.
    pub max_requests: u64,
    /// Bounds on its lingering close.
    pub closing: Bounds<'a>,
}

/// Serves a connection until it ends or has carried all its requests. `blame` is called with a
/// request that was never complete, as soon as that is known, and responds to it.
pub async fn serve<S, F, B, E>(
    conn: Rc<ClientConn>,
    fair_queue: &Rc<FairQueue>,
    granted: ConnectionSettings<'_>,
    service: S,
    blame: impl FnOnce(&Error) -> Vec<u8>,
) where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ConnectionSettings { limits, max_requests, closing } = granted;
    let mut builder = http1::Builder::new();
    let head = limits.size + MARGIN;
    builder.max_buf_size(BUFFER.max(head)).max_header_size(head).max_headers(limits.count);
    let begun = Cell::new(0_u64);
    // Requests that started are counted: more heads may be read ahead.
    let counted = |request| {
        begun.set(begun.get() + 1);
        let last = begun.get() >= max_requests;
        if last {
            conn.state().drain();
        }
        let answer = service(request);
        async move { answer.await.map(|answer| if last { as_last(answer) } else { answer }) }
    };
    let (mut end, mut queued) = (FramedIo::new(&conn, limits), Queued::new(fair_queue));
    let mut own = ClientConnIo(Rc::clone(&conn));
    let (ended, parts) = loop {
        // Boxed, so that an idle connection does not reserve the memory.
        let serving = builder.serve_connection(TokioIo::new(end), service_fn(&counted));
        let mut connection = Box::new(serving);
        match drive(&conn, &mut queued, &mut connection).await {
            Driven::Cut => {
                // The client is not waiting for a response.
                let _answer = unfinished_head(&conn).map(|error| blame(&error));
                return;
            }
            Driven::Ended(ended) => break (ended, connection.into_parts()),
            Driven::Rests => end = connection.into_parts().io.into_inner(),
        }
        match conn.next_request().await {
            ConnEvent::Request => {}
            ConnEvent::Cut => return,
            ConnEvent::End => return closing.close(&mut own, &mut queued, &[], false).await,
        }
    };
    // Nothing of hyper's is kept from here on: a connection may linger for long.
    let (end, early) = (parts.io.into_inner(), !parts.read_buf.is_empty());
    drop(parts.read_buf);
    let (holds_back, owes) = (end.holds_back(), early || end.is_owed());
    drop(end);
    match ended {
        _ if let Some(flaw) = conn.flaw() => {
            let answer = blame(&Error::from(flaw));
            closing.close(&mut own, &mut queued, &answer, true).await;
        }
        Ok(()) => {
            // Bytes of the new protocol before it was accepted are an error.
            if let Some(tunnel) = conn.take_tunnel().filter(|_| !early && !holds_back) {
                relay(tunnel, &conn).await;
            }
            closing.close(&mut own, &mut queued, &[], owes).await;
        }
        Err(cause) if cause.is_parse() => {
            // hyper has responded already.
            let _answer = blame(&malformed(cause));
            closing.close(&mut own, &mut queued, &[], true).await;
        }
        Err(cause) => tracing::debug!(%cause, "a connection ended"),
    }
}

/// Marks the last response of a connection: hyper may take another request before it sees an order.
/// A protocol switch ends the connection anyway.
fn as_last<B>(mut answer: Response<B>) -> Response<B> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// End of hyper's part in a connection.
enum Driven {
    /// The client took too long.
    Cut,
    /// The connection ended.
    Ended(hyper::Result<()>),
    /// No request is in progress, and none arrives.
    Rests,
}

/// Lets hyper serve a connection, and passes orders on to it.
async fn drive<S, B>(
    conn: &ClientConn,
    queued: &mut Queued,
    connection: &mut http1::Connection<TokioIo<FramedIo>, S>,
) -> Driven
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut draining, mut fresh) = (false, true);
    poll_fn(|context| {
        let orders = conn.state().orders(context);
        if orders.cut.is_some() {
            return Poll::Ready(Driven::Cut);
        }
        if orders.rest {
            conn.state().rested();
            if conn.is_resting() && !orders.drain {
                return Poll::Ready(Driven::Rests);
            }
        }
        // A request that arrives with the drain is served: hyper must know it before the graceful
        // shutdown.
        if std::mem::take(&mut fresh)
            && orders.drain
            && let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context)
        {
            return Poll::Ready(Driven::Ended(ended));
        }
        // Set before hyper writes, so that the last response says `close`.
        if orders.drain && !draining {
            draining = true;
            Pin::new(&mut *connection).graceful_shutdown();
        }
        queued.turn(context, |context| Pin::new(&mut *connection).poll(context).map(Driven::Ended))
    })
    .await
}

fn malformed(cause: hyper::Error) -> Error {
    let (kind, detail) = if cause.is_parse_too_large() {
        (Kind::HeadersTooLarge, "the request's head is too large")
    } else {
        (Kind::HttpRequestError, "the request's head is malformed")
    };
    Error::caused(kind, detail, cause)
}

/// Error for a client that was cut while a request was expected: only a head that was started and
/// never completed is logged.
#[must_use]
pub fn unfinished_head(conn: &ClientConn) -> Option<Error> {
    conn.state()
        .ended_by()
        .filter(|cut| *cut == CutReason::Head && conn.has_begun())
        .map(Error::from)
}
