//! An answer's body on its way to the client.
//!
//! Guarantees: its connection goes back to the pool only after its last byte; a cut answer is an error, never an end; a silence
//! longer than the upstream's `idle` time-out ends it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use super::pool::Lease;
use crate::{
    alarm::Deadline,
    error::{Error, Kind},
    stream::Switched,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

/// An answer's body and the connection it comes on.
pub struct UpstreamBody<B> {
    incoming: Incoming,
    lease: Option<Lease<B>>,
    /// Armed only while a piece is awaited.
    silence: Deadline,
}

impl<B> UpstreamBody<B> {
    /// Follows `incoming`, which comes on `lease`.
    #[must_use]
    pub fn new(incoming: Incoming, lease: Lease<B>, silence: Deadline) -> Self {
        let mut body = Self { incoming, lease: Some(lease), silence };
        body.release_at_end();
        body
    }

    /// Follows an answer that switches protocols: its connection is never used for another request.
    #[must_use]
    pub fn switching(incoming: Incoming, lease: Lease<B>, silence: Deadline) -> Self {
        Self { incoming, lease: Some(lease), silence }
    }

    /// Where the connection will be once it speaks HTTP no longer, and how long a silence there may be.
    pub fn switch(&mut self) -> Option<(oneshot::Receiver<Switched>, Deadline)> {
        let far = self.lease.take()?.switch()?;
        Some((far, self.silence.again()))
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        std::task::ready!(self.silence.poll(context));
        self.lease = None;
        Poll::Ready(Some(Err(Error::new(Kind::ConnectionReadTimeout, "the endpoint fell silent within its answer"))))
    }
}

impl<B> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        let Poll::Ready(piece) = polled else { return self.poll_silence(context) };
        self.silence.reset();
        match piece {
            Some(Ok(frame)) => {
                self.release_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(cause)) => {
                self.lease = None;
                let error = Error::caused(Kind::HttpResponseIncomplete, "the endpoint's answer was cut short", cause);
                Poll::Ready(Some(Err(error)))
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
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
