//! Log record of one request, written when its response body ends or breaks.
//!
//! Guarantee: every request that was started leaves exactly one line, however it ends: also when
//! its client leaves and the request is dropped halfway (499), when the process ends before its
//! response (503), or when weir itself fails (500). `tests/edge/watchdog.rs` and
//! `tests/serve/shutdown.rs` hold it.

use std::{
    error::Error as StdError,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use crate::{
    http::{
        error::{Error, Kind},
        framing::{self, head::LineSoFar},
        message::{RequestParts, Response},
        request_id::RequestId,
    },
    limit::{ConcurrencyPermit, KeyFault, Millis, Reservations},
    log::{
        access::AccessLogger,
        entry::{AccessEntry, Asked, ErrorStory},
    },
    runtime::{
        clock::Clock,
        io::{CutReason, RequestObserver},
    },
};

/// Request in progress.
pub struct Record {
    journal: Rc<AccessLogger>,
    began: Duration,
    /// Facts known so far.
    pub entry: AccessEntry,
    visit: Option<Rc<dyn RequestObserver>>,
    answered: bool,
    /// True if the access log has no line for it.
    is_silent: bool,
    /// None for most requests.
    held: Option<Box<Held>>,
}

/// Places and permits of a request in progress.
#[derive(Default)]
struct Held {
    /// Given back when the record is dropped, which is when the request has ended.
    permits: Vec<ConcurrencyPermit>,
    /// Places of rules that count responses, until the status is known.
    reservations: Option<Box<Reservations>>,
}

impl Record {
    /// Starts the record of a request from `peer`. Until another outcome is known it says that the
    /// client left. It is boxed, because it passes through many hands.
    #[must_use]
    pub fn begin(
        journal: &Rc<AccessLogger>,
        peer: IpAddr,
        id: RequestId,
        began: Duration,
    ) -> Box<Self> {
        // A mapped address and the IPv4 address are one client in every line.
        let peer = peer.to_canonical();
        let entry = AccessEntry {
            at: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            id,
            client: peer,
            peer,
            method: None,
            host: None,
            path: None,
            proto: Version::HTTP_11,
            status: Kind::ClientGone.status(),
            bytes_in: 0,
            bytes_out: 0,
            route: None,
            limit: None,
            dry_run: None,
            auth: None,
            upstream: None,
            error: None,
            fields: None,
        };
        let journal = Rc::clone(journal);
        let record = Self {
            journal,
            began,
            entry,
            visit: None,
            answered: false,
            is_silent: false,
            held: None,
        };
        Box::write(Box::new_uninit(), record)
    }

    /// Records the requested target, and the fields that the log shows.
    pub fn set_request(&mut self, head: &RequestParts, scheme: &'static str) {
        let RequestParts { method, uri, version, headers } = head;
        self.entry.method = Some(method.clone());
        self.entry.path = Some(match uri.path_and_query() {
            Some(path) => Asked::Path(path.clone()),
            // CONNECT has an authority as its target.
            None => Asked::Other(uri.to_string().into()),
        });
        self.entry.proto = *version;
        self.entry.fields = self.journal.fields_of(headers, scheme);
    }

    /// Records as much as could be parsed of a malformed request.
    pub fn set_request_so_far(&mut self, line: &LineSoFar<'_>) {
        self.entry.method = line.method.parse().ok();
        self.entry.path = Some(Asked::Other((*line.target).into()));
        if line.version == framing::head::Version::Http10 {
            self.entry.proto = Version::HTTP_10;
        }
    }

    /// Notifies `visit` at the end, and asks it for the bytes received.
    pub fn set_observer(&mut self, visit: Rc<dyn RequestObserver>) {
        self.visit = Some(visit);
    }

    /// Leaves the request out of the access log.
    pub fn silence(&mut self) {
        self.is_silent = true;
    }

    /// Keeps a permit until the request has ended.
    pub fn keep(&mut self, permit: ConcurrencyPermit) {
        self.held.get_or_insert_default().permits.push(permit);
    }

    /// Keeps places until the status of the response is known. They are free if there is none.
    pub fn reserve(&mut self, reservations: Box<Reservations>) {
        self.held.get_or_insert_default().reservations = Some(reservations);
    }

    /// Charges or frees the reserved places by the status of the response.
    pub fn settle(&mut self, status: StatusCode) {
        if let Some(reservations) = self.held.as_mut().and_then(|held| held.reservations.take()) {
            reservations.settle(status.as_u16(), Millis::cut(self.journal.clock().now()));
        }
    }

    /// Missing or repeated part of the key for which a rule rejected the request.
    #[must_use]
    pub fn key_fault(&self) -> Option<&KeyFault> {
        self.entry.limit.as_ref()?.fault.as_ref()
    }

    /// Records an error.
    #[cold]
    pub fn fails(&mut self, error: &Error) {
        self.set_error(error);
        self.entry.status = error.kind().status();
    }

    /// Follows a response to the end of its body.
    pub fn follow<B: Body>(mut self: Box<Self>, response: Response<B>) -> Response<LoggedBody<B>> {
        self.entry.status = response.head.status;
        self.answered = true;
        if let Some(fields) = &mut self.entry.fields {
            self.journal.add_response(&response.head.headers, fields);
        }
        response.map(|inner| {
            // Asked now, because a body without content may never be polled.
            let ended = inner.is_end_stream();
            LoggedBody { inner, record: Some(self), ended }
        })
    }

    /// Records that the connection is closed without a response, with this status in the log only.
    pub fn closes(&mut self, status: StatusCode) {
        self.entry.status = status;
        self.answered = true;
    }

    /// Records that the response switches protocols: the tunnel keeps the record until it ends.
    pub fn switches(&mut self) {
        self.entry.status = StatusCode::SWITCHING_PROTOCOLS;
        self.answered = true;
    }

    /// Cause of an end before the response was complete: weir cut the client off, the process
    /// ended, or the client left, in which case the text is `gone`.
    #[cold]
    fn end(&self, gone: &'static str, stopped: &'static str) -> Error {
        match self.visit.as_ref().and_then(|visit| visit.cut()) {
            Some(cut) => cut.into(),
            None if self.journal.is_cutting() => Error::new(Kind::ShuttingDown, stopped),
            None => Error::new(Kind::ClientGone, gone),
        }
    }

    /// Records what ended a response that had begun.
    #[cold]
    pub fn set_error(&mut self, error: &Error) {
        self.entry.error = Some(Box::new(story_of(error)));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Unwinding drops the record. No client left then, and no process ended.
        if std::thread::panicking() {
            self.fails(&Error::new(Kind::ProxyInternalError, "internal error"));
        } else if !self.answered && self.entry.error.is_none() {
            self.fails(&self.end(
                "the client left before its response",
                "the process ended before the response",
            ));
        }
        self.entry.took = self.journal.clock().now().saturating_sub(self.began);
        if let Some(limit) = self.entry.limit.as_mut().filter(|limit| limit.is_parked) {
            limit.verdict.wait = limit.verdict.wait.min(Millis::cut(self.entry.took));
        }
        // Without a log the wall clock is not read.
        if self.journal.writes() {
            // Computed from the end: a wall clock that was set meanwhile does not stretch the
            // request.
            self.entry.at = Clock::wall() - self.entry.took;
        }
        if let Some(visit) = &self.visit {
            self.entry.bytes_in = visit.received();
            // After `received`: from here on the connection is ready for the next request.
            visit.ended();
        }
        self.journal.write(&self.entry, self.is_silent);
    }
}

impl From<CutReason> for Error {
    fn from(cut: CutReason) -> Self {
        let kind = match cut {
            CutReason::Head | CutReason::Body | CutReason::SlowBody => Kind::RequestTimeout,
            CutReason::Write => Kind::WriteTimeout,
            // It is not there to take a response, so it counts as gone.
            CutReason::Idle | CutReason::HalfClosed | CutReason::Silent => Kind::ClientGone,
            CutReason::Malformed
            | CutReason::IdleFrames
            | CutReason::BrokenOff
            | CutReason::Protocol(_) => Kind::HttpRequestError,
        };
        Self::caused(kind, "weir closed the client's connection", cut)
    }
}

fn story_of(error: &Error) -> ErrorStory {
    let mut detail = error.to_string();
    let mut cause = error.source();
    // The causes of a cause say more than the kind, and a line is the only place for them.
    while let Some(error) = cause {
        let text = error.to_string();
        // rustls ends one of its texts with a URL of its manual.
        let told = text.split_once(": https://docs.rs/").map_or(text.as_str(), |(told, _)| told);
        detail = format!("{detail}: {told}");
        cause = error.source();
    }
    ErrorStory { side: error.side().as_str(), kind: error.kind().as_str(), detail }
}

/// Response body that counts its bytes for the log.
pub struct LoggedBody<B> {
    inner: B,
    record: Option<Box<Record>>,
    ended: bool,
}

impl<B> LoggedBody<B> {
    /// Wraps a body whose record is kept elsewhere.
    pub fn unlogged(inner: B) -> Self {
        Self { inner, record: None, ended: true }
    }
}

impl<B> Body for LoggedBody<B>
where
    B: Body<Data = Bytes, Error = Box<dyn StdError + Send + Sync>> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let this = &mut *self;
        let Some(record) = &mut this.record else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                record.entry.bytes_out += frame.data_ref().map_or(0, Buf::remaining) as u64;
                this.ended = this.inner.is_end_stream();
            }
            Some(Err(error)) => {
                this.ended = true;
                // Only weir's own errors say whose fault it was.
                if let Some(error) = error.downcast_ref::<Error>() {
                    record.set_error(error);
                }
            }
            None => this.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for LoggedBody<B> {
    fn drop(&mut self) {
        let bodiless = |entry: &AccessEntry| {
            entry.method == Some(Method::HEAD)
                || matches!(entry.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        };
        let is_cut = |record: &&mut Box<Record>| !self.ended && !bodiless(&record.entry);
        // The error behind a response of weir's own says more than that it was not taken.
        if let Some(record) =
            self.record.as_mut().filter(is_cut).filter(|record| record.entry.error.is_none())
        {
            record.set_error(&record.end(
                "the client left during its response",
                "the process ended during the response",
            ));
        }
    }
}
