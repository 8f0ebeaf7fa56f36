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
use http::Request;
use http_body::Body;
use hyper::client::conn::TrySendError;
use tower::BoxError;

use super::{
    http1::{Http1Conn, ResponseError},
    http2::Http2Stream,
    replay::{Recorded, Recording, Replay},
    retry::Failure,
};
use crate::{
    http::{
        error::{Error, Kind},
        forwarded::Outbound,
    },
    runtime::io::Repeat,
};

/// Request as it can be repeated.
pub struct Original<'a, B> {
    /// Head of the request.
    pub outbound: &'a Outbound<'a>,
    /// Whole body for a retry, if there is none or all of it is kept.
    pub kept: Option<B>,
}

/// Failed try of a request. Boxed, so that a try that does not fail moves no more.
#[derive(Debug)]
pub struct Failed {
    /// Error to report.
    pub error: Error,
    /// Reason, if the request may be sent again.
    pub again: Option<Failure>,
}

/// Request that failed on its connection.
#[derive(Debug)]
pub struct Loss {
    /// Error to report, and whether the request may be sent again.
    pub failed: Box<Failed>,
    /// True if the endpoint is not at fault.
    pub excused: bool,
    /// True if the connection was not shared, and ended without a byte of a response.
    pub was_closed: bool,
}

impl<B: Repeat> Original<'_, B> {
    /// Returns the whole body, if it is kept.
    #[must_use]
    pub fn body(&self) -> Option<B> {
        self.kept.as_ref().and_then(B::again)
    }

    /// Returns true if the request may be sent again after part of it was sent.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.kept.is_some() && self.outbound.method.is_idempotent()
    }

    /// Puts the whole body back, if the request may be sent again after part of it was sent.
    fn repeated(&self, failure: Failure, body: &mut Replay<B>) -> Option<Failure> {
        if !self.outbound.method.is_idempotent() {
            return None;
        }
        *body = Replay::new(self.body()?);
        Some(failure)
    }
}

impl Failed {
    /// Failure after which nothing is sent again.
    #[must_use]
    #[cold]
    pub fn finally(error: Error) -> Box<Self> {
        Box::new(Self { error, again: None })
    }

    /// Response in place of which another try is granted. Its error is not reported, because that
    /// try follows.
    #[must_use]
    pub fn unwanted() -> Box<Self> {
        let error = Error::new(Kind::HttpProtocolError, "the status is in `retries.statuses`");
        Box::new(Self { error, again: Some(Failure::Unwanted) })
    }

    /// Failure before anything was sent, as there was no connection.
    #[must_use]
    #[cold]
    pub fn without_connection(error: Error) -> Box<Self> {
        // Waiting does not change a certificate, so such a request is not held.
        let failure = if is_verdict(error.kind()) { Failure::Untrusted } else { Failure::Unopened };
        Box::new(Self { error, again: Some(failure) })
    }
}

/// Returns true for a permanent failure: a TLS handshake gives the same result the next time.
fn is_verdict(kind: Kind) -> bool {
    matches!(kind, Kind::TlsCertificateError | Kind::TlsProtocolError | Kind::TlsAlertReceived)
}

impl Loss {
    /// Failure on an HTTP/1.1 connection. A request that may be sent again has its whole body in
    /// `body`.
    #[cold]
    pub fn of_exchange<B>(
        cause: ResponseError,
        connection: &mut Http1Conn<B>,
        reused: bool,
        original: &Original<'_, B>,
        body: &mut Replay<B>,
    ) -> Self
    where
        B: Body<Data = Bytes> + Repeat + Unpin + Default,
        B::Error: Into<BoxError>,
    {
        // One byte of a response shows that the endpoint has the request, and may have executed it.
        let silent = !connection.has_heard();
        let broke = matches!(cause, ResponseError::Upload(_));
        let answered = matches!(cause, ResponseError::Malformed(_));
        // The body cannot be read again from a client that failed to send it.
        let again = if broke {
            None
        // Before `silent`: nothing of the request has left, so the method does not matter.
        } else if !connection.has_begun() {
            *body = connection.take_back();
            Some(if reused { Failure::Stale } else { Failure::Untaken })
        } else if !silent {
            None
        } else {
            let failure = if reused { Failure::Closed } else { Failure::Unanswered };
            original.repeated(failure, body)
        };
        // A kept connection may be closed at any time, and a broken upload is the client's fault. A
        // response, even a refused one, is no failure of the address: clients may choose its
        // content.
        let excused = (reused && silent) || broke || answered;
        let was_closed = silent && !broke && !answered;
        let failed = Box::new(Failed { error: cause.unanswered(), again });
        Self { failed, excused, was_closed }
    }

    /// Failure on a stream of a shared connection. A request that may be sent again has its whole
    /// body in `body`.
    pub fn of_stream<B: Repeat>(
        mut lost: TrySendError<Request<Recorded<B>>>,
        recording: Recording<B>,
        stream: &Http2Stream<B>,
        reused: bool,
        original: &Original<'_, B>,
        body: &mut Replay<B>,
    ) -> Self {
        let was_given_back = lost.take_message().is_some();
        let cause = lost.into_error();
        let fate = Fate::of(&cause, was_given_back);
        let unprocessed = if reused { Failure::GoingAway } else { Failure::Unprocessed };
        let again = match fate {
            // A connection that had served before was closed as idle, or is going away.
            Fate::Unsent if reused || stream.is_going_away() => {
                rewound(unprocessed, recording, body)
            }
            Fate::Unsent => rewound(Failure::Untaken, recording, body),
            Fate::Unprocessed => rewound(unprocessed, recording, body),
            Fate::Refused => rewound(Failure::Refused, recording, body),
            Fate::Closed if reused => original.repeated(Failure::Closed, body),
            Fate::Closed | Fate::Reset | Fate::Malformed | Fate::Inexpressible => None,
        };
        let error = fate.error(cause, again.is_some());
        // As on HTTP/1.1: what an endpoint sends is a response, even if it is refused. A client may
        // provoke it.
        let excused = reused || !matches!(fate, Fate::Unsent | Fate::Closed | Fate::Reset);
        Self { failed: Box::new(Failed { error, again }), excused, was_closed: false }
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
        // hyper wraps the error of the `h2` crate, which alone knows the reason of a reset.
        let Some(h2) = source.and_then(|source| source.downcast_ref::<h2::Error>()) else {
            return Self::Closed;
        };
        match h2.reason() {
            // An I/O error has no reason either, and must not be taken for an inexpressible
            // request.
            _ if h2.is_io() => Self::Closed,
            None => Self::Inexpressible,
            // The library itself reset the stream, because what it received was wrong.
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

/// Puts the whole body back, if all that was taken of it is kept.
fn rewound<B>(failure: Failure, recording: Recording<B>, body: &mut Replay<B>) -> Option<Failure> {
    *body = recording.rewind()?;
    Some(failure)
}
