//! A request that was lost on its connection: whom to blame, and what of it may be sent again.

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body;
use hyper::client::conn::TrySendError;
use tower::BoxError;

use super::exchange::{Connection, Lost};
use crate::error::{Error, Kind};

/// A request that was lost on its connection.
pub struct Loss<B> {
    /// What to tell.
    pub error: Error,
    /// What may be sent again.
    pub again: Again<B>,
    /// The endpoint is not to blame.
    pub excused: bool,
}

/// What may be sent again of a request that was lost.
pub enum Again<B> {
    /// Nothing: it may have been acted on.
    Never,
    /// The whole of it, as long as it has no body.
    WithoutBody,
    /// The same, but not at once: the connection was a fresh one.
    AfterPause,
    /// The whole of it: nothing was sent.
    With(B),
}

impl<B> Loss<B>
where
    B: Body<Data = Bytes> + Unpin + Default,
    B::Error: Into<BoxError>,
{
    /// Lost on a connection of its own.
    pub fn of_exchange(cause: Lost, connection: &mut Connection<B>, reused: bool, method: &Method) -> Self {
        let silent = !connection.has_heard();
        let broke = matches!(cause, Lost::Upload(_));
        let answered = matches!(cause, Lost::Malformed(_));
        let again = if broke {
            Again::Never
        } else if !connection.has_begun() {
            Again::With(connection.take_back().unwrap_or_default())
        } else if !silent || !method.is_idempotent() {
            Again::Never
        } else if reused {
            Again::WithoutBody
        } else {
            Again::AfterPause
        };
        // A kept connection may be closed at any time, and a body that breaks is the client's. A response is no failure of the address,
        // not even one that is refused: clients may choose what is in it.
        let excused = (reused && silent) || broke || answered;
        Self { error: cause.unanswered(), again, excused }
    }

    /// Lost on a stream of a connection that others use too.
    pub fn of_stream(mut lost: TrySendError<Request<B>>, reused: bool, method: &Method) -> Self {
        let unsent = lost.take_message();
        let cause = lost.into_error();
        let again = match unsent {
            Some(request) => Again::With(request.into_body()),
            None if was_refused(&cause, method) || (reused && was_closed(&cause, method)) => Again::WithoutBody,
            None => Again::Never,
        };
        let excused = reused || cause.is_user() || was_ours(&cause);
        let (kind, detail) = if was_ours(&cause) {
            (Kind::HttpProtocolError, "the endpoint's answer is no HTTP/2")
        } else {
            (Kind::ConnectionTerminated, "the endpoint closed the connection before its answer")
        };
        Self { error: Error::caused(kind, detail, cause), again, excused }
    }
}

/// What HTTP/2 says of a lost stream.
fn h2_of(cause: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(cause).and_then(|source| source.downcast_ref())
}

/// Whether it was our side that would not go on: what came cannot be taken for an answer.
fn was_ours(cause: &hyper::Error) -> bool {
    h2_of(cause).is_some_and(|h2| h2.reason().is_some() && !h2.is_remote())
}

/// Whether an endpoint says that it did nothing about a request (RFC 9113, section 8.7), or it does not matter if it did.
fn was_refused(cause: &hyper::Error, method: &Method) -> bool {
    h2_of(cause).is_some_and(|h2| {
        h2.reason() == Some(h2::Reason::REFUSED_STREAM) || (h2.is_go_away() && h2.is_remote() && method.is_idempotent())
    })
}

/// Whether it was lost with the connection, not by a word about this stream, and does not matter if it was done.
fn was_closed(cause: &hyper::Error, method: &Method) -> bool {
    method.is_idempotent() && h2_of(cause).is_none_or(h2::Error::is_io)
}
