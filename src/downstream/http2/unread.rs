//! Rest of a request body that is unread when the response on its stream is complete.
//!
//! The library resets a stream whose response is complete and whose request is not (RFC 9113,
//! section 8.1). A client may find both in one read, and curl 7.88 reports a stream error then. So
//! the stream is kept and what still arrives is discarded, until the client has seen the response
//! and ends the stream itself.
//!
//! Guarantees: nothing discarded reaches an upstream. A stream is kept for at most [`UNREAD_TIME`]
//! and [`UNREAD_BYTES`] behind its response, and counts among those of its connection.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::RecvStream;
use tokio::{sync::oneshot, time::timeout};

use crate::downstream::client_state::{ClientState, WaitingFor};

/// Longest time that a stream is kept behind its response.
pub const UNREAD_TIME: Duration = Duration::from_secs(1);
/// Bytes discarded behind a response: the window of a stream, which a client may have sent before
/// it sees the response.
pub const UNREAD_BYTES: usize = super::STREAM_WINDOW as usize;

/// Rest of a request body, once the request is dropped.
pub struct UnreadBody(oneshot::Receiver<RecvStream>);

impl UnreadBody {
    /// Returns the place for the rest of a body, and its sender.
    #[must_use]
    pub fn new() -> (oneshot::Sender<RecvStream>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Discards what arrives until the client ends the stream, within the bounds. The stream is
    /// reset after that.
    pub async fn discard(self, state: &ClientState) {
        // The bounds here replace the time-outs of a body.
        state.expect(WaitingFor::Nothing);
        let mut ended = pin!(self.ended());
        let ended = poll_fn(|context| match state.poll_cut(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => ended.as_mut().poll(context),
        });
        if timeout(UNREAD_TIME, ended).await.is_err() {
            tracing::debug!("the client did not end its request; resetting the stream");
        }
    }

    async fn ended(self) {
        // A request that an endpoint still takes is dropped a little after its response. No
        // sender: the body was read to its end.
        let Ok(mut stream) = self.0.await else { return };
        let mut left = UNREAD_BYTES;
        while let Some(bytes) = poll_fn(|context| poll_discard(&mut stream, context)).await {
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    }
}

/// Length of the next piece, or nothing at the end.
fn poll_discard(stream: &mut RecvStream, context: &mut Context<'_>) -> Poll<Option<usize>> {
    let Some(Ok(data)) = ready!(stream.poll_data(context)) else {
        // Trailers end the stream too.
        return stream.poll_trailers(context).map(|_| None);
    };
    // The window belongs to the connection too, where other uploads need it.
    let released = stream.flow_control().release_capacity(data.len());
    Poll::Ready(released.ok().map(|()| data.len()))
}
