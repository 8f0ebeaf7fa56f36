//! Request body as it arrives, over either protocol.
//!
//! Guarantees: a body that its client aborts is an error, never an end. A broken body says whether
//! its client is gone or at fault. A client that waits for `100 Continue` gets it when its body is
//! needed, and not before.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::{
    http1::body::{BodyError, ConnectionBody},
    http2::response::Reply,
};
use crate::http::error::{Error, Kind};

/// Body of a request.
pub enum IncomingBody {
    /// No body.
    Nothing,
    /// Read from a connection.
    Connection(ConnectionBody),
    /// Carried by a stream of a connection.
    Stream(StreamBody),
}

/// Body on a stream.
pub struct StreamBody {
    /// Taken when the body is dropped.
    stream: Option<RecvStream>,
    /// Bytes to come, if the request has a length.
    left: Option<u64>,
    data_ended: bool,
    /// Sender of `100 Continue`, if the client waits for it.
    invites: Option<Rc<Reply>>,
    /// Receiver of the stream when the body is dropped.
    leftover: Option<oneshot::Sender<RecvStream>>,
}

impl StreamBody {
    /// Wraps the data of a stream, with its length if the request has one. `invites` is asked to
    /// send `100 Continue`, and `leftover` gets the stream back when the body is dropped.
    #[must_use]
    pub fn new(
        stream: RecvStream,
        length: Option<u64>,
        invites: Option<Rc<Reply>>,
        leftover: Option<oneshot::Sender<RecvStream>>,
    ) -> Self {
        Self { stream: Some(stream), left: length, data_ended: false, invites, leftover }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        // The body is wanted once it is polled for the first time. Before that a client that waits
        // for `100 Continue` sends nothing.
        if let Some(reply) = self.invites.take() {
            reply.send_continue();
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if !self.data_ended {
            if let Some(data) = ready!(stream.poll_data(context)) {
                let data = data?;
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                // The data was taken, so the client may send as much again.
                stream.flow_control().release_capacity(data.len())?;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_ended = true;
        }
        let trailers = ready!(stream.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let (Some(stream), Some(leftover)) = (self.stream.take(), self.leftover.take()) {
            // Without a receiver the stream is dropped, and with it the rest of the request.
            let _unsent = leftover.send(stream);
        }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Nothing => Poll::Ready(None),
            Self::Connection(body) => body.poll_frame(context).map_err(|cause| {
                let gone = matches!(&cause, BodyError::Connection(cause) if is_end(cause));
                broke(gone, cause)
            }),
            Self::Stream(body) => body.poll_frame(context).map_err(|cause| {
                // A stream that the client reset means that it is gone. An error that the library
                // found is a fault of the request.
                let gone = cause.is_io() || cause.is_remote();
                broke(gone, cause)
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Connection(body) => body.is_end_stream(),
            Self::Stream(body) => body.stream.as_ref().is_none_or(RecvStream::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Connection(body) => body.size_hint(),
            // The library compares the data with the length, so the rest is exact.
            Self::Stream(StreamBody { left: Some(left), .. }) => SizeHint::with_exact(*left),
            Self::Stream(_) if self.is_end_stream() => SizeHint::with_exact(0),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

fn broke(gone: bool, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    let kind = if gone { Kind::ClientGone } else { Kind::HttpRequestError };
    Error::caused(kind, "the request's body failed", cause)
}

/// Returns true if a body broke because its client sends nothing more.
fn is_end(cause: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    gone.contains(&cause.kind())
}
