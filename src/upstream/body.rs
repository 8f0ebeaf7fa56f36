//! An answer's body on its way to the client.
//!
//! Guarantees: its connection goes back to the pool only after its last byte; a cut answer is an
//! error, never an end; a silence longer than the upstream's `idle` time-out ends it. What came
//! before a cut goes out first, where the client takes it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::BoxError;

use super::{http1::Lost, pool::Lease};
use crate::{
    http::{
        error::{Error, Kind},
        fields::keep_crossing_trailers,
    },
    runtime::{coarse_timer::Deadline, io::Switched},
};

/// An answer's body and the connection it comes on.
pub struct UpstreamBody<B> {
    /// A stream's; a connection of HTTP/1.1 has its own.
    incoming: Option<Incoming>,
    /// Until the body ends.
    lease: Option<Lease<B>>,
    /// Armed only while a piece is awaited.
    silence: Deadline,
    /// Why there is no more, and nobody was told yet.
    cut: Option<BoxError>,
    early: bool,
}

impl<B> UpstreamBody<B> {
    /// Follows the answer that comes on `lease`.
    #[must_use]
    pub fn new(incoming: Option<Incoming>, lease: Lease<B>, silence: Deadline) -> Self {
        let early = !lease.has_sent();
        let mut body = Self { incoming, lease: Some(lease), silence, cut: None, early };
        body.release_at_end();
        body
    }

    /// Follows an answer that switches protocols: its connection is never used for another request.
    #[must_use]
    pub fn switching(lease: Lease<B>, silence: Deadline) -> Self {
        Self { incoming: None, lease: Some(lease), silence, cut: None, early: false }
    }

    /// The connection that speaks HTTP no longer, and how long a silence there may be.
    pub fn switch(&mut self) -> Option<(Switched, Deadline)> {
        let far = self.lease.take()?.switch()?;
        Some((far, self.silence.again()))
    }

    /// Whether the answer came before all of its request was sent; the rest may be never.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early
    }

    fn has_ended(&self) -> bool {
        match (&self.incoming, &self.lease) {
            (Some(incoming), _) => incoming.is_end_stream(),
            (None, Some(lease)) => lease.has_ended(),
            (None, None) => self.cut.is_none(),
        }
    }

    fn release_at_end(&mut self) {
        if self.has_ended()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }

    /// Drops the connection, and reports the error one poll later, so that what came before it is
    /// flushed first.
    fn poll_cut(
        &mut self,
        cause: BoxError,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.incoming = None;
        self.lease = None;
        self.cut = Some(cause);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_silence(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        std::task::ready!(self.silence.poll(context));
        if let Some(lease) = self.lease.take() {
            lease.timed_out(self.silence.length());
        }
        Poll::Ready(Some(Err(Error::new(
            Kind::ConnectionReadTimeout,
            "the endpoint fell silent within its answer",
        ))))
    }
}

/// What ended an answer within: mostly its endpoint, but a client whose upload broke has only
/// itself to blame.
fn blame(cause: BoxError) -> Error {
    let cut = |cause: BoxError| {
        Error::caused(Kind::HttpResponseIncomplete, "the endpoint's answer was cut short", cause)
    };
    match cause.downcast::<Lost>().map(|lost| *lost) {
        Ok(Lost::Upload(upload)) => upload.downcast::<Error>().map_or_else(cut, |error| *error),
        Ok(lost) => cut(lost.into()),
        Err(cause) => cut(cause),
    }
}

/// A frame without fields that have no place behind a body.
fn crossing(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.trailers_mut().into_iter().for_each(keep_crossing_trailers);
    frame
}

impl<B> UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match (&mut self.incoming, &mut self.lease) {
            (Some(incoming), _) => {
                Pin::new(incoming).poll_frame(context).map_ok(crossing).map_err(Into::into)
            }
            (None, Some(lease)) => lease.poll_frame(context),
            (None, None) => Poll::Ready(None),
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(cause) = self.cut.take() {
            return Poll::Ready(Some(Err(blame(cause))));
        }
        let Poll::Ready(piece) = self.poll_piece(context) else {
            return self.poll_silence(context);
        };
        self.silence.reset();
        match piece {
            Some(Ok(frame)) => {
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(cause)) => self.poll_cut(cause, context),
            // hyper takes RST_STREAM(NO_ERROR) for an end, and before END_STREAM no reset is one
            // (RFC 9113, section 8.1).
            None if self.incoming.as_ref().is_some_and(|incoming| !incoming.is_end_stream()) => {
                self.poll_cut("the endpoint reset the stream before its end".into(), context)
            }
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.release();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, &self.lease) {
            (Some(incoming), _) => incoming.size_hint(),
            (None, lease) => {
                lease.as_ref().map_or_else(|| SizeHint::with_exact(0), Lease::size_hint)
            }
        }
    }
}
