//! Response on an HTTP/2 stream, sent as fast as its client takes it.
//!
//! Guarantees (RFC 9113, section 8.1): interim responses come before the final one and never
//! instead of it. A piece of a body is taken only when there is room for the previous one, so
//! nothing piles up. A response that breaks is a reset stream, never a complete one. A reset by the
//! client ends the work for the stream.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body;
use tower::BoxError;

use super::metered_io::Meter;
use crate::{
    downstream::client_state::ClientState,
    http::message::{Response, ResponseParts},
    runtime::io::Interim,
};

/// Error codes of a stream whose client violates HTTP/2 (RFC 9113, section 7).
const ERRORS: [Reason; 4] = [
    Reason::PROTOCOL_ERROR,
    Reason::FLOW_CONTROL_ERROR,
    Reason::STREAM_CLOSED,
    Reason::FRAME_SIZE_ERROR,
];
/// Window requested at a time.
const SEND_ROOM: usize = 64 * 1024;

/// Sender of the response of a stream.
pub struct Reply {
    sender: RefCell<SendResponse<Bytes>>,
    /// True for HEAD.
    to_head: bool,
    /// True once the final response has started.
    answered: Cell<bool>,
    meter: Rc<Meter>,
}

/// Reason why a response was not sent completely.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its client took too long.
    #[error("the client took too long")]
    Cut,
    /// The client reset the stream, or the connection ended.
    #[error("the stream ended")]
    Ended(#[source] h2::Error),
    /// There is no response.
    #[error("there is no response")]
    Unanswered(#[source] BoxError),
}

impl SendError {
    /// Returns true if the stream was reset with an error code, which may be the client's fault.
    fn is_clients_error(&self) -> bool {
        let Self::Ended(cause) = self else { return false };
        cause.reason().is_some_and(|reason| ERRORS.contains(&reason))
    }
}

impl From<h2::Error> for SendError {
    fn from(cause: h2::Error) -> Self {
        Self::Ended(cause)
    }
}

impl Interim for Reply {
    fn send_interim(&self, interim: http::Response<()>) {
        // An interim response after the final one is malformed (RFC 9113, section 8.1).
        if self.answered.get() {
            return;
        }
        if let Err(cause) = self.sender.borrow_mut().send_informational(interim) {
            tracing::debug!(%cause, "the interim response came too late; not sent");
        }
    }
}

impl Reply {
    /// Creates the sender for a new stream.
    #[must_use]
    pub fn new(sender: SendResponse<Bytes>, method: &Method, meter: &Rc<Meter>) -> Self {
        let (to_head, answered) = (method == Method::HEAD, Cell::new(false));
        Self { sender: RefCell::new(sender), to_head, answered, meter: Rc::clone(meter) }
    }

    /// Sends `100 Continue` (RFC 9110, section 15.2.1).
    pub fn send_continue(&self) {
        let mut interim = http::Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        self.send_interim(interim);
    }

    /// Waits for the response and sends it to its end.
    ///
    /// # Errors
    /// When it cannot be sent completely. The stream is reset then.
    pub async fn carry<F, B, E>(
        &self,
        state: &ClientState,
        answer: Pin<Box<F>>,
    ) -> Result<(), SendError>
    where
        F: Future<Output = Result<Response<B>, E>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let sent = self.send(state, answer).await;
        match &sent {
            Err(SendError::Unanswered(_)) => {
                // A stream without END_STREAM, but with a reset: the client cannot take a part for
                // the whole.
                self.sender.borrow_mut().send_reset(Reason::INTERNAL_ERROR);
            }
            Err(SendError::Cut) => self.sender.borrow_mut().send_reset(Reason::CANCEL),
            // The stream or its connection has ended, so there is nothing to reset.
            Ok(()) | Err(SendError::Ended(_)) => {}
        }
        sent
    }

    async fn send<F, B, E>(&self, state: &ClientState, answer: Pin<Box<F>>) -> Result<(), SendError>
    where
        F: Future<Output = Result<Response<B>, E>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let answer = self.unless_ended(state, answer).await?;
        let Response { head, body } =
            answer.map_err(|cause| SendError::Unanswered(cause.into()))?;
        // The body of a response to HEAD is not sent, and 204 and 304 have no content (RFC 9110,
        // sections 9.3.2 and 6.4.1).
        let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ended = self.to_head || bodiless || body.is_end_stream();
        // Set before the head is queued: from here on `send_interim` has to be silent.
        self.answered.set(true);
        let head = as_sent(&head, &body, bodiless);
        let stream = self.sender.borrow_mut().send_response(head, ended)?;
        if ended { Ok(()) } else { Outgoing { stream, state, meter: &self.meter }.send(body).await }
    }

    /// Returns the response if the client still waits for it. The request is dropped with the
    /// future, however long the client takes for the rest.
    async fn unless_ended<F: Future>(
        &self,
        state: &ClientState,
        mut answer: Pin<Box<F>>,
    ) -> Result<F::Output, SendError> {
        let mut begun = false;
        poll_fn(|context| {
            // Polled first, because it also registers the waker for a later cut.
            if state.poll_cut(context).is_ready() {
                return Poll::Ready(Err(SendError::Cut));
            }
            // Checked first: no work is done for a stream that was reset right away.
            let reset = self.sender.borrow_mut().poll_reset(context);
            let Poll::Ready(reset) = reset else {
                begun = true;
                return answer.as_mut().poll(context).map(Ok);
            };
            // The request body knows whether the client or its error ended the stream, and gets
            // that error before it ends.
            let why = ended(reset);
            if begun && why.is_clients_error() {
                let _told = answer.as_mut().poll(context);
            }
            Poll::Ready(Err(why))
        })
        .await
    }
}

fn ended(reset: Result<Reason, h2::Error>) -> SendError {
    SendError::Ended(reset.map_or_else(|cause| cause, h2::Error::from))
}

/// Head of a response, with the length of the body if it is known (RFC 9110, section 8.6).
fn as_sent(head: &ResponseParts, body: &impl Body, bodiless: bool) -> http::Response<()> {
    let mut response = head.to_http2();
    if let Some(length) = body.size_hint().exact().filter(|_| !bodiless && !body.is_end_stream()) {
        let fields = response.headers_mut();
        fields.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response
}

/// Response whose head was sent.
struct Outgoing<'a> {
    stream: SendStream<Bytes>,
    state: &'a ClientState,
    meter: &'a Meter,
}

impl Outgoing<'_> {
    async fn send<B>(mut self, mut body: B) -> Result<(), SendError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let sent = self.send_all(&mut body).await;
        if sent.as_ref().is_err_and(SendError::is_clients_error) {
            // The request body, which is read together with the response, knows the cause of the
            // error.
            poll_fn(|context| {
                let _told = Pin::new(&mut body).poll_frame(context);
                Poll::Ready(())
            })
            .await;
        }
        sent
    }

    async fn send_all<B>(&mut self, body: &mut B) -> Result<(), SendError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            // A reset is checked before each frame: nothing more is read from an endpoint whose
            // client has left.
            let frame = poll_fn(|context| match self.poll_ended(context) {
                Poll::Ready(why) => Poll::Ready(Err(why)),
                Poll::Pending => Pin::new(&mut *body).poll_frame(context).map(Ok),
            });
            let frame = match frame.await? {
                Some(frame) => frame.map_err(|cause| SendError::Unanswered(cause.into()))?,
                None => return Ok(self.stream.send_data(Bytes::new(), true)?),
            };
            match frame.into_data() {
                Ok(data) => {
                    // END_STREAM goes with the last piece, which saves an empty DATA frame.
                    let last = body.is_end_stream();
                    self.send_piece(data, last).await?;
                    if last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    return Ok(self
                        .stream
                        .send_trailers(frame.into_trailers().unwrap_or_default())?);
                }
            }
        }
    }

    async fn send_piece(&mut self, mut data: Bytes, last: bool) -> Result<(), SendError> {
        if data.is_empty() && last {
            self.stream.send_data(data, true)?;
            return Ok(());
        }
        while !data.is_empty() {
            // What is reserved is taken from the window of the connection. A stream that reserved a
            // whole large piece would leave nothing for its neighbours.
            self.stream.reserve_capacity(data.len().min(SEND_ROOM));
            let room = poll_fn(|context| self.poll_room(context)).await?;
            let piece = data.split_to(room.min(data.len()));
            if !data.is_empty() {
                self.meter.cuts_off(piece.len());
            }
            self.stream.send_data(piece, last && data.is_empty())?;
        }
        Ok(())
    }

    /// Room that the client grants of what was requested, once there is any.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, SendError>> {
        loop {
            if let room @ 1.. = self.stream.capacity() {
                self.state.stall(false);
                // Room ends a stall, even if the window closes again with the next frame.
                return Poll::Ready(Ok(room));
            }
            if let Poll::Ready(why) = self.poll_ended(context) {
                return Poll::Ready(Err(why));
            }
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(cause))) => return Poll::Ready(Err(cause.into())),
                Poll::Ready(None) => {
                    return Poll::Ready(Err(h2::Error::from(Reason::STREAM_CLOSED).into()));
                }
                Poll::Pending => {
                    // Starts the write time-out: from here on only the client can continue.
                    self.state.stall(true);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reason why nothing more is to be sent, if any.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<SendError> {
        if self.state.poll_cut(context).is_ready() {
            return Poll::Ready(SendError::Cut);
        }
        self.stream.poll_reset(context).map(ended)
    }
}
