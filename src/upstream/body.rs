//! Response body on its way to the client.
//!
//! Guarantees: its connection returns to the pool only after the last byte. A response that is cut
//! short is an error, never an end. A silence longer than the `idle` time-out of the upstream ends
//! it. Data received before a cut is sent first, if the client takes it. A stream with a complete
//! response is not reset, even if its endpoint ends it later, unless an upload is still in
//! progress.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::BoxError;

use super::{http1::ResponseError, pool::Lease};
use crate::{
    http::{
        error::{Error, Kind},
        fields::keep_crossing_trailers,
        framing::{HeaderLimits, response::check_trailers},
    },
    runtime::{coarse_timer::Deadline, io::Switched},
};

/// Bytes drained behind a complete response.
const BEHIND: usize = 64 * 1024;

/// Response body with its connection.
pub struct UpstreamBody<B> {
    /// Body of a stream; an HTTP/1.1 connection has its own.
    incoming: Option<Incoming>,
    /// Connection, until the body ends.
    lease: Option<Lease<B>>,
    /// Deadline that is armed only while a piece is expected.
    silence: Deadline,
    /// Error that ended the body and was not reported yet.
    cut: Option<BoxError>,
    early: bool,
    /// True if the client takes nothing behind the announced length.
    ends_with_length: bool,
}

impl<B> UpstreamBody<B> {
    /// Follows the response on `lease`. It is boxed, because it passes through many hands.
    #[must_use]
    pub fn new(incoming: Option<Incoming>, lease: Lease<B>, silence: Deadline) -> Box<Self>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        // Asked now: later the rest of the upload may have been sent.
        let early = !lease.has_sent();
        let mut body = Self::of(incoming, lease, silence);
        body.early = early;
        // Without a body the connection is free before the client has taken the head.
        body.release_at_end();
        body
    }

    /// Follows a response that switches protocols: its connection is not reused.
    #[must_use]
    pub fn switching(lease: Lease<B>, silence: Deadline) -> Box<Self> {
        Self::of(None, lease, silence)
    }

    fn of(incoming: Option<Incoming>, lease: Lease<B>, silence: Deadline) -> Box<Self> {
        let (cut, lease) = (None, Some(lease));
        let body = Self { incoming, lease, silence, cut, early: false, ends_with_length: false };
        Box::write(Box::new_uninit(), body)
    }

    /// Returns the switched connection, and the longest silence on it.
    pub fn switch(&mut self) -> Option<(Switched, Deadline)>
    where
        B: 'static,
    {
        let far = self.lease.take()?.switch()?;
        Some((far, self.silence.again()))
    }

    /// Returns true if the response arrived before its request was sent completely; the rest may
    /// never be sent.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early
    }

    fn has_ended(&self) -> bool {
        match (&self.incoming, &self.lease) {
            (Some(incoming), _) => incoming.is_end_stream(),
            (None, Some(lease)) => lease.has_ended(),
            // A cut that was not reported yet is no end: the error has to be polled.
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

    /// Ends the body: it has no content, whatever its fields say, or no more.
    pub fn end(&mut self)
    where
        B: Body<Data = Bytes> + Unpin + 'static,
    {
        // Only HTTP/2 has a rest to end: on HTTP/1.1 the decoder knows from the head that there is
        // no body.
        let Some(incoming) = self.incoming.take() else { return };
        // With an upload in progress the lease is dropped instead, which ends the upload too.
        if let Some(lease) = self.lease.take().filter(Lease::has_sent) {
            tokio::task::spawn_local(settle(incoming, lease, self.silence.again()));
        }
    }

    /// Ends the body with the announced length, as for an HTTP/1.1 client, which gets no trailers
    /// there.
    pub fn end_with_length(&mut self)
    where
        B: Body<Data = Bytes> + Unpin + 'static,
    {
        self.ends_with_length = true;
        self.end_if_whole();
    }

    fn end_if_whole(&mut self)
    where
        B: Body<Data = Bytes> + Unpin + 'static,
    {
        // hyper counts down the announced length, so zero means that all of it arrived.
        let is_whole = |incoming: &Incoming| incoming.size_hint().exact() == Some(0);
        if self.ends_with_length && self.incoming.as_ref().is_some_and(is_whole) {
            self.end();
        }
    }

    /// Drops the connection, and reports the error one poll later, so that earlier data is flushed
    /// first.
    fn poll_cut(
        &mut self,
        cause: BoxError,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.incoming = None;
        self.lease = None;
        self.cut = Some(cause);
        // Pending without a waker would never be polled again, so it wakes itself.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_silence(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        ready!(self.silence.poll(context));
        if let Some(lease) = self.lease.take() {
            // The connection of a stream may be dead, and then takes no new streams.
            lease.timed_out(self.silence.length());
        }
        Poll::Ready(Some(Err(Error::new(
            Kind::ConnectionReadTimeout,
            "the endpoint stopped sending during its response",
        ))))
    }
}

/// Waits for the end of a stream whose response is complete. Many endpoints end it with a frame of
/// its own, a little later (RFC 9113, section 8.1). A reset before that would count as an aborted
/// request, and they close connections with many of these.
async fn settle<B>(mut incoming: Incoming, lease: Lease<B>, mut silence: Deadline) {
    let mut left = BEHIND;
    poll_fn(|context| {
        while let Poll::Ready(piece) = Pin::new(&mut incoming).poll_frame(context) {
            let Some(Ok(frame)) = piece else { return Poll::Ready(()) };
            // An endpoint that sends more behind the end is reset, or it could send for ever.
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return Poll::Ready(());
            };
            left = rest;
            silence.reset();
        }
        silence.poll(context)
    })
    .await;
    lease.release();
}

/// Error that ended a response body: usually of the endpoint, but of the client if its upload
/// broke.
fn read_error(cause: BoxError) -> Error {
    let cut = |cause: BoxError| {
        Error::caused(Kind::HttpResponseIncomplete, "the endpoint cut its response short", cause)
    };
    match cause.downcast::<ResponseError>().map(|lost| *lost) {
        Ok(ResponseError::Upload(upload)) => {
            upload.downcast::<Error>().map_or_else(cut, |error| *error)
        }
        Ok(lost) => cut(lost.into()),
        Err(cause) => cut(cause),
    }
}

/// Removes fields that must not be trailers.
fn crossing(mut frame: Frame<Bytes>, limits: HeaderLimits) -> Result<Frame<Bytes>, BoxError> {
    if let Some(trailers) = frame.trailers_mut() {
        check_trailers(trailers, limits)?;
        keep_crossing_trailers(trailers);
    }
    Ok(frame)
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
            (Some(incoming), Some(lease)) => {
                let piece = ready!(Pin::new(incoming).poll_frame(context));
                // The limit that hyper has is higher than that of the settings.
                Poll::Ready(piece.map(|frame| crossing(frame?, lease.limits())))
            }
            (None, Some(lease)) => lease.poll_frame(context),
            (_, None) => Poll::Ready(None),
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(cause) = self.cut.take() {
            return Poll::Ready(Some(Err(read_error(cause))));
        }
        let Poll::Ready(piece) = self.poll_piece(context) else {
            return self.poll_silence(context);
        };
        // Disarmed until the next piece is waited for: a client that takes none does not use it up.
        self.silence.reset();
        match piece {
            Some(Ok(frame)) => {
                self.release_at_end();
                self.end_if_whole();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(cause)) => self.poll_cut(cause, context),
            // hyper takes RST_STREAM(NO_ERROR) for an end, but before END_STREAM every reset is a
            // cut (RFC 9113, section 8.1).
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
