//! An answer's body on its way to the client.
//!
//! Guarantees: its connection goes back to the pool only after its last byte; a cut answer is an error, never an end; a silence
//! longer than the upstream's `idle` time-out ends it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::pool::Lease;
use crate::error::{Error, Kind};

/// An answer's body and the connection it comes on.
pub struct UpstreamBody<B> {
    incoming: Incoming,
    lease: Option<Lease<B>>,
    idle_timeout: Duration,
    /// Armed only while a piece is awaited: an answer that is there already never costs a timer.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B> UpstreamBody<B> {
    /// Follows `incoming`, which comes on `lease`.
    #[must_use]
    pub fn new(incoming: Incoming, lease: Lease<B>, idle_timeout: Duration) -> Self {
        let mut body = Self { incoming, lease: Some(lease), idle_timeout, silence: None };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let timeout = self.idle_timeout;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        std::task::ready!(silence.as_mut().poll(context));
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
        let idle_timeout = self.idle_timeout;
        if let Some(silence) = &mut self.silence {
            silence.as_mut().reset(Instant::now() + idle_timeout);
        }
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
