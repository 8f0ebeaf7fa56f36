//! HTTP/1.1 connection of a client, from its first byte to its last.
//!
//! One request at a time: read its head, have it handled, write its response, take the next. A
//! request that is sent early waits in the buffer of the connection.
//!
//! Guarantees: a client that takes too long is cut. When the process stops, the response in
//! progress is the last. A connection that ends with unread bytes lingers, so that the last
//! response reaches its client. An idle connection keeps no buffers. A busy one works in turns,
//! between which all others get theirs. A head that is refused gets its response after those of all
//! requests before it, and nothing behind it is read.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};

use super::{
    body::{BodyState, ConnectionBody},
    lingering_close::Bounds,
    response_writer::{LengthError, ResponseWriter},
};
use crate::{
    downstream::{
        client_conn::{ClientConn, ClientConnIo},
        fair_queue::{FairQueue, Queued},
        relay::relay,
        request_body::IncomingBody,
        settings::HeaderLimits,
    },
    http::{
        error::Error,
        fields::awaits_continue,
        framing::{
            Flaw,
            body::BodyDecoder,
            request_head::{HeadReader, RequestHead},
            response_head::ResponseForm,
        },
        message::{RequestParts, Response},
    },
    runtime::io::CutReason,
};

/// Longest response behind which a connection closes without lingering. The kernel sends as much
/// without waiting for the client (RFC 6928), so a byte that comes later resets nothing unsent.
const AT_ONCE: usize = 12 * 1024;

/// Settings of a connection.
pub struct ConnectionSettings<'a> {
    /// Limits of a head.
    pub limits: HeaderLimits,
    /// Limit on its requests.
    pub max_requests: u64,
    /// Bounds on its lingering close.
    pub closing: Bounds<'a>,
}

/// End of the requests of a connection.
enum Ended {
    /// The client took too long.
    Cut,
    /// It closes. The client may be within a request if `owes` is true.
    Closing { owes: bool },
    /// The client said `close`, all of its request was read, and the response was short.
    Finished,
    /// A head was refused.
    Refused(Flaw),
    /// It changed to another protocol, and the client sent nothing before that.
    Switched,
    /// The client is gone, or gets no response.
    Gone,
}

/// Serves a connection until it ends or has carried all its requests. `blame` is called with a
/// request that was never complete, as soon as that is known, and responds to it.
pub fn serve<S, F, B, E>(
    conn: Rc<ClientConn>,
    fair_queue: &Rc<FairQueue>,
    granted: ConnectionSettings<'_>,
    service: S,
    blame: impl FnOnce(&Error) -> Vec<u8>,
) -> impl Future<Output = ()>
where
    S: Fn(Box<RequestParts>, IncomingBody) -> F,
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
    E: std::fmt::Display,
{
    let ConnectionSettings { limits, max_requests, closing } = granted;
    let mut queued = Queued::new(fair_queue);
    // Not an `async fn`, which would have its arguments in memory twice.
    async move {
        let ended = {
            let connection = Connection { conn: &conn, service: &service, max_requests };
            let mut serving = pin!(connection.serve(limits));
            poll_fn(|context| {
                if conn.state().orders(context).cut.is_some() {
                    return Poll::Ready(Ended::Cut);
                }
                queued.turn(context, |context| serving.as_mut().poll(context))
            })
            .await
        };
        let mut io = ClientConnIo(Rc::clone(&conn));
        // Boxed, so that an idle connection does not reserve the memory.
        match ended {
            // The client is not waiting for a response.
            Ended::Cut => drop(unfinished_head(&conn).map(|error| blame(&error))),
            Ended::Gone => {}
            Ended::Finished => Box::pin(closing.finish(&mut io, &mut queued)).await,
            Ended::Closing { owes } => {
                Box::pin(closing.close(&mut io, &mut queued, &[], owes)).await;
            }
            Ended::Refused(flaw) => {
                let response = blame(&Error::from(flaw));
                Box::pin(closing.close(&mut io, &mut queued, &response, true)).await;
            }
            Ended::Switched => {
                if let Some(tunnel) = conn.take_tunnel() {
                    Box::pin(relay(tunnel, &conn)).await;
                }
                Box::pin(closing.close(&mut io, &mut queued, &[], false)).await;
            }
        }
    }
}

/// End of a connection whose client is gone, or gets no response.
#[cold]
fn gone(cause: &str) -> Ended {
    tracing::debug!(%cause, "a connection ended");
    Ended::Gone
}

/// Text of an error that ends a connection, which few do.
#[cold]
fn described(cause: &impl std::fmt::Display) -> String {
    cause.to_string()
}

/// Connection whose requests are handled by `service`.
struct Connection<'a, S> {
    conn: &'a Rc<ClientConn>,
    service: &'a S,
    max_requests: u64,
}

impl<S, F, B, E> Connection<'_, S>
where
    S: Fn(Box<RequestParts>, IncomingBody) -> F,
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
    E: std::fmt::Display,
{
    async fn serve(&self, limits: HeaderLimits) -> Ended {
        let (mut reader, mut begun) = (HeadReader::new(limits), 0);
        loop {
            let head = match poll_fn(|context| self.poll_head(&mut reader, begun, context)).await {
                Ok(head) => head,
                Err(ended) => return ended,
            };
            begun += 1;
            if begun >= self.max_requests {
                self.conn.state().drain();
            }
            // Boxed, so that an idle connection does not reserve the memory. It is made where it
            // stays, because copying it costs more than all else that is copied for a request.
            let exchange = Box::write(Box::new_uninit(), self.exchange(head));
            if let Some(ended) = Box::into_pin(exchange).await {
                return ended;
            }
        }
    }

    /// Head of the next request, or the end of the connection.
    fn poll_head(
        &self,
        reader: &mut HeadReader,
        begun: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<RequestHead, Ended>> {
        let conn = self.conn;
        let mut is_between = true;
        if conn.has_ahead() {
            conn.state().received();
        }
        let parsed = conn.poll_parse(context, |bytes| match reader.read(bytes) {
            Ok(Some((head, length))) => Some((Ok(head), length)),
            Ok(None) => {
                is_between = reader.is_between(bytes);
                None
            }
            // The bytes are kept for the log.
            Err(flaw) => Some((Err(flaw), 0)),
        });
        let ended = match parsed {
            Poll::Ready(Ok(Some(Ok(head)))) => {
                conn.note_head(None);
                return Poll::Ready(Ok(head));
            }
            Poll::Ready(Ok(Some(Err(flaw)))) => Ended::Refused(flaw),
            Poll::Ready(Ok(None)) if is_between => Ended::Closing { owes: false },
            Poll::Ready(Ok(None) | Err(_)) => Ended::Gone,
            Poll::Pending => {
                conn.note_head((!is_between || begun == 0).then_some(begun));
                // The first request is waited for, as its client cannot know of the drain.
                if !(is_between && begun > 0 && conn.state().is_draining()) {
                    return Poll::Pending;
                }
                Ended::Closing { owes: false }
            }
        };
        Poll::Ready(Err(ended))
    }

    /// Has one request handled, and writes its response. None if another request may follow. What is
    /// made here stays here: each move of a response costs as much as reading a field.
    async fn exchange(&self, head: RequestHead) -> Option<Ended> {
        let conn = self.conn;
        let mut form = ResponseForm::of(&head.parts, head.persists);
        let client_closes = head.closes;
        let (body, upload) = self.incoming(head.body, form, &head.parts);
        let mut writer = ResponseWriter::new(conn);
        // One that does not know chunks speaks HTTP/1.0, which has no interim responses.
        conn.interim().begin(form.reads_chunks);
        let handled = {
            // Pinned where it is made, because a future that is moved is kept twice.
            let mut handling = pin!((self.service)(head.parts, body));
            poll_fn(|context| {
                let handled = handling.as_mut().poll(context);
                // Also with the response itself, which comes behind them.
                writer.push_interim();
                if let Poll::Ready(handled) = handled {
                    return Poll::Ready(handled.map_err(|cause| described(&cause)));
                }
                if upload.as_ref().is_some_and(|upload| upload.take_continue()) {
                    writer.push_continue();
                }
                poll_client(conn, upload.as_deref(), &mut writer, context)
                    .map(|cause| Err(described(&cause)))
            })
            .await
        };
        let Response { head, body } = match handled {
            Ok(response) => response,
            Err(cause) => return Some(gone(&cause)),
        };
        conn.interim().end();
        form.persists &= self.may_persist(upload.as_deref());
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let persists = writer.begin(&form, &head, &body);
        drop(head);
        let mut body = pin!(Some(body));
        let written = poll_fn(|context| {
            self.poll_respond(&mut body, upload.as_deref(), &mut writer, context)
        });
        if let Err(cause) = written.await {
            return Some(gone(&cause));
        }
        if let Some(upload) = upload.as_ref().filter(|_| persists && !switches) {
            poll_fn(|_| upload.poll_over()).await;
        }
        if switches {
            let early = conn.has_ahead();
            return Some(if early { Ended::Closing { owes: true } } else { Ended::Switched });
        }
        let is_whole = upload.is_none_or(|upload| upload.has_ended());
        let owes = !is_whole || conn.has_ahead();
        if !owes && client_closes && writer.size() <= AT_ONCE {
            return Some(Ended::Finished);
        }
        (!persists || !is_whole).then_some(Ended::Closing { owes })
    }

    /// Body of a request, and its state if there is one.
    fn incoming(
        &self,
        body: BodyDecoder,
        form: ResponseForm,
        parts: &RequestParts,
    ) -> (IncomingBody, Option<Rc<BodyState>>) {
        if body.has_ended() {
            return (IncomingBody::Nothing, None);
        }
        let state = BodyState::new(form.reads_chunks && awaits_continue(&parts.headers));
        let body = ConnectionBody::new(self.conn, body, &state);
        (IncomingBody::Connection(body), Some(state))
    }

    /// Returns true if the connection may carry another request behind the response that begins.
    fn may_persist(&self, upload: Option<&BodyState>) -> bool {
        if let Some(upload) = upload {
            upload.respond();
        }
        // Without a reader the rest of a body would be taken for the next request.
        let is_read = upload.is_none_or(|it| it.has_ended() || it.poll_over().is_pending());
        is_read && !self.conn.state().is_draining()
    }

    /// Takes the body of a response and writes it, until all of it is on its way.
    fn poll_respond(
        &self,
        body: &mut Pin<&mut Option<B>>,
        upload: Option<&BodyState>,
        writer: &mut ResponseWriter,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), String>> {
        loop {
            if writer.has_ended() {
                // The record of the response is complete before its client has all of it.
                body.set(None);
                return writer.poll_flush(context).map_err(|cause| described(&cause));
            }
            if !writer.takes_more() {
                ready!(writer.poll_write(context)).map_err(|cause| described(&cause))?;
                continue;
            }
            let Some(mut taken) = body.as_mut().as_pin_mut() else {
                return Poll::Ready(Ok(()));
            };
            let Poll::Ready(frame) = taken.as_mut().poll_frame(context) else {
                return poll_client(self.conn, upload, writer, context)
                    .map(|cause| Err(described(&cause)));
            };
            let frame = frame.transpose().map_err(|cause| described(&cause))?;
            take_frame(writer, frame, taken.is_end_stream()).map_err(|cause| described(&cause))?;
        }
    }
}

fn take_frame(
    writer: &mut ResponseWriter,
    frame: Option<Frame<Bytes>>,
    is_last: bool,
) -> Result<(), LengthError> {
    match frame.map(Frame::into_data) {
        None => writer.end(None),
        Some(Ok(data)) => {
            writer.push(data)?;
            if is_last { writer.end(None) } else { Ok(()) }
        }
        Some(Err(frame)) => writer.end(frame.into_trailers().ok()),
    }
}

/// Sends what was added to the response so far, or before it, and notices a client that has left.
/// The body of a request notices that itself.
fn poll_client(
    conn: &ClientConn,
    upload: Option<&BodyState>,
    writer: &mut ResponseWriter,
    context: &mut Context<'_>,
) -> Poll<io::Error> {
    if let Poll::Ready(Err(cause)) = writer.poll_flush(context) {
        return Poll::Ready(cause);
    }
    // The reader of a body notices it itself, and wakes the connection at the end of the body.
    if upload.is_some_and(|upload| upload.poll_over().is_pending()) {
        return Poll::Pending;
    }
    conn.poll_failure(context)
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, task::Waker};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use crate::{downstream::http1::connection::*, runtime::io::Io};

    /// Connection that sends what is written only when it is flushed, as TLS may.
    #[derive(Default)]
    struct Held {
        written: Vec<u8>,
        sent: Rc<RefCell<Vec<u8>>>,
    }

    impl Io for Held {}

    impl AsyncRead for Held {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Held {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let written = std::mem::take(&mut self.written);
            self.sent.borrow_mut().extend(written);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(context)
        }
    }

    #[tokio::test]
    async fn continue_is_flushed_while_the_body_is_awaited() {
        let held = Held::default();
        let sent = Rc::clone(&held.sent);
        let conn = ClientConn::new(Box::new(held));
        let mut writer = ResponseWriter::new(&conn);
        writer.push_continue();
        let mut context = Context::from_waker(Waker::noop());
        assert!(poll_client(&conn, None, &mut writer, &mut context).is_pending());
        assert_eq!(*sent.borrow(), b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}
