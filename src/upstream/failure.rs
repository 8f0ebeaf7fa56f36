//! Request that failed on its connection: side at fault, and what may be sent again.
//!
//! A stream of HTTP/2 that fails before its response says how far the request came (RFC 9113,
//! sections 5.4, 6.8 and 8.7):
//!
//! | the stream failed because | processed? | is sent again |
//! |---|---|---|
//! | its connection ended before anything of it was sent | no | always |
//! | GOAWAY, whatever its reason, and the stream is above the last one | no | always |
//! | the endpoint reset it with REFUSED_STREAM | no | always |
//! | the connection ended | perhaps | if it is idempotent, has no body or one that is kept, and the connection had served before |
//! | the endpoint reset it with another reason | perhaps | never |
//! | the bytes received are not HTTP/2 | perhaps | never |
//! | the request cannot be expressed in HTTP/2 | no | never |
//!
//! After the head of a response nothing is sent again.

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body;
use hyper::client::conn::TrySendError;
use tower::BoxError;

use super::{
    http1::{Http1Conn, ResponseError},
    http2::Http2Stream,
    replay::{Recorded, Recording, Replay},
};
use crate::http::error::{Error, Kind};

/// Request that failed on its connection.
pub struct Loss<B> {
    /// Error to report.
    pub error: Error,
    /// Part that may be sent again.
    pub again: Resend<B>,
    /// True if the endpoint is not at fault.
    pub excused: bool,
    /// True if the connection was not shared, and ended without a byte of a response.
    pub was_closed: bool,
}

/// Part of a failed request that may be sent again.
pub enum Resend<B> {
    /// Nothing: the request may have been processed.
    Never,
    /// The whole request, if it has no body or one that is kept.
    Repeated,
    /// The whole request, but after a pause, as the connection was a fresh one.
    AfterPause,
    /// The whole request: nothing was sent.
    Unsent(Replay<B>),
    /// The whole request: the endpoint reported that it was not processed, and accepts nothing more
    /// on that connection.
    Unprocessed(Replay<B>),
    /// The whole request: the endpoint reported that it was not processed, and may refuse the next
    /// one too.
    Refused(Replay<B>),
}

impl<B> Loss<B>
where
    B: Body<Data = Bytes> + Unpin + Default,
    B::Error: Into<BoxError>,
{
    /// Failure on an HTTP/1.1 connection.
    pub fn of_exchange(
        cause: ResponseError,
        connection: &mut Http1Conn<B>,
        reused: bool,
        method: &Method,
    ) -> Self {
        let silent = !connection.has_heard();
        let broke = matches!(cause, ResponseError::Upload(_));
        let answered = matches!(cause, ResponseError::Malformed(_));
        let again = if broke {
            Resend::Never
        } else if !connection.has_begun() {
            Resend::Unsent(connection.take_back())
        } else if !silent || !method.is_idempotent() {
            Resend::Never
        } else if reused {
            Resend::Repeated
        } else {
            Resend::AfterPause
        };
        // A kept connection may be closed at any time, and a broken upload is the client's fault. A
        // response, even a refused one, is no failure of the address: clients may choose its
        // content.
        let excused = (reused && silent) || broke || answered;
        let was_closed = silent && !broke && !answered;
        Self { error: cause.unanswered(), again, excused, was_closed }
    }
}

/// Progress of a request on a stream that failed before its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing of it was sent.
    Unsent,
    /// GOAWAY: it is above the last stream.
    Unprocessed,
    /// REFUSED_STREAM.
    Refused,
    /// The connection ended.
    Closed,
    /// The endpoint reset the stream.
    Reset,
    /// The bytes received are not HTTP/2.
    Malformed,
    /// The request cannot be expressed in HTTP/2.
    Inexpressible,
}

impl Fate {
    fn of(cause: &hyper::Error, was_given_back: bool) -> Self {
        // hyper drops a request that waited for a stream of a connection that is going away:
        // nothing of it was sent.
        if was_given_back || cause.is_user() {
            return Self::Unsent;
        }
        let source = std::error::Error::source(cause);
        let Some(h2) = source.and_then(|source| source.downcast_ref::<h2::Error>()) else {
            return Self::Closed;
        };
        match h2.reason() {
            _ if h2.is_io() => Self::Closed,
            None => Self::Inexpressible,
            Some(_) if !h2.is_remote() => Self::Malformed,
            Some(_) if h2.is_go_away() => Self::Unprocessed,
            Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
            Some(_) => Self::Reset,
        }
    }

    fn error(self, cause: hyper::Error, is_kept: bool) -> Error {
        let (kind, detail) = match self {
            Self::Unsent | Self::Unprocessed | Self::Refused if !is_kept => (
                Kind::ConnectionTerminated,
                "the endpoint did not process the request; its body is too long to retry",
            ),
            Self::Unsent | Self::Closed => (
                Kind::ConnectionTerminated,
                "the endpoint closed the connection before its response",
            ),
            Self::Unprocessed => {
                (Kind::ConnectionTerminated, "the endpoint did not process the request: GOAWAY")
            }
            Self::Refused => (
                Kind::ConnectionTerminated,
                "the endpoint did not process the request: REFUSED_STREAM",
            ),
            Self::Reset => {
                (Kind::ConnectionTerminated, "the endpoint reset the stream before its response")
            }
            Self::Malformed => (
                Kind::HttpProtocolError,
                "the endpoint's response is not HTTP/2, or far larger than `response_limits.size`",
            ),
            Self::Inexpressible => {
                (Kind::HttpRequestError, "the request cannot be expressed in HTTP/2")
            }
        };
        Error::caused(kind, detail, cause)
    }
}

impl<B> Loss<B> {
    /// Failure on a stream of a shared connection.
    pub fn of_stream(
        mut lost: TrySendError<Request<Recorded<B>>>,
        recording: Recording<B>,
        (stream, reused): (&Http2Stream<B>, bool),
        method: &Method,
    ) -> Self {
        let was_given_back = lost.take_message().is_some();
        let cause = lost.into_error();
        let fate = Fate::of(&cause, was_given_back);
        let whole = match fate {
            Fate::Unsent | Fate::Unprocessed | Fate::Refused => recording.rewind(),
            _ => None,
        };
        let error = fate.error(cause, whole.is_some());
        let again = match (fate, whole) {
            // A connection that had served before was closed as idle, or is going away.
            (Fate::Unsent, Some(body)) if reused || stream.is_going_away() => {
                Resend::Unprocessed(body)
            }
            (Fate::Unsent, Some(body)) => Resend::Unsent(body),
            (Fate::Unprocessed, Some(body)) => Resend::Unprocessed(body),
            (Fate::Refused, Some(body)) => Resend::Refused(body),
            (Fate::Closed, _) if reused && method.is_idempotent() => Resend::Repeated,
            _ => Resend::Never,
        };
        let excused = reused || !matches!(fate, Fate::Unsent | Fate::Closed | Fate::Reset);
        Self { error, again, excused, was_closed: false }
    }
}
