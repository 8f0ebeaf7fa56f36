//! Request body on its way to the upstream.
//!
//! Guarantees: it is read only as fast as the upstream takes it, except for what its route collects
//! first. It never exceeds `max_body` of the route. An error of the client is distinguished from
//! one of the upstream. A body that is not read is drained or its connection closed; it is never
//! parsed as the next request.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::{
    client_state::{ClientState, WaitingFor},
    collected_body::{BodyMemory, Collected},
    request_body::IncomingBody,
    request_channel::RequestChannel,
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::{keep_crossing_trailers, remove_claim, withhold_trailers},
    },
    runtime::io::{CutReason, Progress, Repeat, RequestObserver, take_steps},
};

/// Bytes of an unread body that are drained to keep its connection.
pub const DRAIN_BYTES: u64 = 64 * 1024;
/// Time limit for draining.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Steps of a turn for a piece of a collected body ([`take_steps`]): four pieces are a turn.
const STEPS: usize = 32;

/// Request body that may be forwarded once, or again if all of it was collected. The default is an
/// empty one.
#[derive(Default)]
pub struct RequestBody {
    /// Collected part, if the route collects.
    collected: Option<Box<Collected>>,
    /// Part still to come, if any.
    incoming: Option<IncomingBody>,
    upload: Option<Rc<UploadState>>,
    left: u64,
    /// Trailers that are not passed on, beside those that never are.
    withheld: Option<Box<WithheldTrailers>>,
}

/// Trailers that are not passed on.
#[derive(Clone, Default)]
struct WithheldTrailers {
    /// Name that only a trusted proxy may send, and in a head.
    claim: Option<Rc<HeaderName>>,
    /// Names that nothing but weir may set.
    names: Rc<[HeaderName]>,
}

/// State of an upload that another task reads.
pub struct UploadState {
    state: Rc<ClientState>,
    /// Progress of the upload.
    pub progress: Progress,
    /// Kind of error, if the upload broke.
    pub fault: Cell<Option<Kind>>,
    answered: Cell<bool>,
    /// Number of the upload on its connection.
    number: u64,
}

impl RequestBody {
    /// Wraps the body received on a channel.
    #[must_use]
    pub fn new(incoming: IncomingBody, line: &RequestChannel) -> (Self, Rc<UploadState>) {
        let state = &line.state;
        state.begin_upload();
        let interim = match (&line.reply, &line.conn) {
            (Some(reply), _) => Some(Rc::clone(reply) as _),
            (None, Some(conn)) => Some(Rc::clone(conn.interim()) as _),
            (None, None) => None,
        };
        let upload = UploadState {
            state: Rc::clone(state),
            progress: Progress { interim, ..Progress::default() },
            fault: Cell::default(),
            answered: Cell::default(),
            number: state.upload().number,
        };
        let upload = Rc::new(upload);
        // A request without a body has nothing to come, and so may be sent again.
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        let body = Self {
            collected: None,
            incoming,
            upload: Some(Rc::clone(&upload)),
            left: u64::MAX,
            withheld: None,
        };
        (body, upload)
    }

    /// Limits the body to `most` bytes.
    ///
    /// # Errors
    /// [`Kind::BodyTooLarge`] when the announced length is larger.
    pub fn limit(&mut self, most: Option<u64>) -> Result<(), Error> {
        self.left = most.unwrap_or(u64::MAX);
        // A client that waits for `100 Continue` never sends such a body: it was not asked for.
        if self.size_hint().lower() > self.left {
            return Err(Error::new(
                Kind::BodyTooLarge,
                "the body is larger than the route's `max_body`",
            ));
        }
        Ok(())
    }

    /// Removes trailers of this name, which only a trusted proxy may send, and in a head.
    pub fn remove_claim(&mut self, claim: &Rc<HeaderName>) {
        self.withheld.get_or_insert_default().claim = Some(Rc::clone(claim));
    }

    /// Withholds trailers with these names from the upstream: nothing but weir may set such fields.
    pub fn withhold(&mut self, names: &Rc<[HeaderName]>) {
        let withheld = &mut self.withheld.get_or_insert_default().names;
        // Several parts of weir may set fields of their own.
        *withheld = if withheld.is_empty() {
            Rc::clone(names)
        } else {
            withheld.iter().chain(names.iter()).cloned().collect()
        };
    }

    /// Collects a body of unknown length if it has at most this many bytes. A larger one, or one
    /// for which the worker has no room, is streamed behind the collected part.
    ///
    /// # Errors
    /// When it breaks, or exceeds its limit.
    pub async fn collect(&mut self, most: usize, memory: &BodyMemory) -> Result<(), Error> {
        // A body whose length is known is sent with it anyway, so it is streamed.
        if most == 0 || self.size_hint().exact().is_some() {
            return Ok(());
        }
        let (mut block, mut trailers) = (memory.block(most), None);
        while let Some(frame) =
            poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await.transpose()?
        {
            match frame.into_data() {
                Ok(piece) if block.add(&piece) => {}
                Ok(piece) => {
                    // The piece that did not fit is the next one of the body, so it goes behind the
                    // collected part.
                    self.collected = Some(Box::new(Collected::new([block.freeze(), piece], None)));
                    return Ok(());
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        self.incoming = None;
        self.collected = Some(Box::new(Collected::new([block.freeze()], trailers)));
        Ok(())
    }

    /// Returns true if the rest may be drained after an early response; if not, the connection has
    /// to close.
    #[must_use]
    pub fn is_drainable(&self) -> bool {
        self.size_hint().upper().is_some_and(|left| left <= DRAIN_BYTES)
    }

    /// Drains the rest, within [`DRAIN_BYTES`] and a second; a body dropped earlier closes its
    /// connection.
    pub async fn drain(mut self) {
        let read_away = async {
            // Errors end the loop too: the body stays incomplete, which closes the connection.
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await
            {
            }
        };
        if tokio::time::timeout(DRAIN_TIME, read_away).await.is_err() {
            tracing::debug!(
                "the unread rest of a request's body came too slowly; closing the \
                connection"
            );
        }
    }
}

impl UploadState {
    fn broke(&self, kind: Kind, detail: &'static str) -> Error {
        self.fault.set(Some(kind));
        Error::new(kind, detail)
    }

    fn handed_on(&self, bytes: usize) {
        self.state.uploaded(bytes as u64);
        self.progress.moves();
    }

    fn waits(&self, waits: bool) {
        // Only changes are passed on. The counter of the client state must not move with every
        // poll, or the body time-out would never pass.
        let changed = self.progress.awaiting_client.replace(waits) != waits;
        if changed && !waits {
            self.progress.moves();
        }
        // The body may be polled after the next request has started. That one has the state then.
        if changed && self.is_current() {
            // After the response the client still has to send the rest.
            let owes = waits || self.answered.get();
            self.state.expect(if owes { WaitingFor::Body } else { WaitingFor::Nothing });
        }
    }

    /// Records that the body is complete; after an early response the next request is expected.
    fn is_whole(&self) {
        if self.answered.get() && self.is_current() {
            self.state.expect(WaitingFor::Request);
        }
    }

    /// Returns true if no other request has started on the connection since.
    fn is_current(&self) -> bool {
        self.state.upload().number == self.number
    }
}

impl Drop for RequestBody {
    /// The rest is no longer expected.
    fn drop(&mut self) {
        if let Some(upload) = &self.upload
            && upload.progress.awaiting_client.replace(false)
            && upload.is_current()
        {
            let owes =
                if upload.answered.get() { WaitingFor::Request } else { WaitingFor::Nothing };
            upload.state.expect(owes);
        }
    }
}

impl RequestObserver for UploadState {
    fn received(&self) -> u64 {
        self.state.upload().bytes
    }

    fn ended(&self) {
        self.state.answered();
        self.answered.set(true);
        // An early response ends before its request.
        if self.progress.awaiting_client.get() {
            self.state.expect(WaitingFor::Body);
        }
    }

    fn cut(&self) -> Option<CutReason> {
        let is_malformed = self.fault.get() == Some(Kind::HttpRequestError);
        self.state.ended_by().or(is_malformed.then_some(CutReason::Malformed))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(frame) = this.collected.as_mut().and_then(|collected| collected.take()) {
            take_steps(STEPS, context);
            // The piece is passed on only now, so the response time of the endpoint starts again.
            this.upload.iter().for_each(|upload| upload.progress.moves());
            return Poll::Ready(Some(Ok(frame)));
        }
        let (Some(incoming), Some(upload)) = (&mut this.incoming, &this.upload) else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *incoming).poll_frame(context);
        upload.waits(polled.is_pending());
        let mut frame = match std::task::ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                upload.fault.set(Some(error.kind()));
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                upload.is_whole();
                return Poll::Ready(None);
            }
        };
        if incoming.is_end_stream() {
            upload.is_whole();
        }
        if let Some(trailers) = frame.trailers_mut() {
            keep_crossing_trailers(trailers);
            if let Some(withheld) = &this.withheld {
                withheld.claim.iter().for_each(|claim| remove_claim(trailers, claim));
                withhold_trailers(trailers, &withheld.names);
            }
        }
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        upload.handed_on(bytes);
        // A chunked body announces no length, so the limit is also checked piece by piece.
        let Some(left) = this.left.checked_sub(bytes as u64) else {
            let error =
                upload.broke(Kind::BodyTooLarge, "the body is larger than the route's `max_body`");
            return Poll::Ready(Some(Err(error)));
        };
        this.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let nothing_left = self.collected.as_ref().is_none_or(|collected| collected.is_empty());
        nothing_left && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let Some(collected) = &self.collected else { return rest };
        let mut hint = SizeHint::new();
        hint.set_lower(collected.length() + rest.lower());
        // Trailers need chunked framing, so a body with trailers has no exact length.
        if let Some(upper) = rest.upper().filter(|_| !collected.has_trailers()) {
            hint.set_upper(collected.length().saturating_add(upper));
        }
        hint
    }
}

impl Repeat for RequestBody {
    fn again(&self) -> Option<Self> {
        // A part that was streamed was not kept, so only a body collected to its end can
        // be repeated.
        let whole = self.incoming.is_none();
        whole.then(|| Self {
            collected: self.collected.clone(),
            incoming: None,
            upload: self.upload.clone(),
            left: 0,
            // Nothing more is received, so nothing is to be removed.
            withheld: None,
        })
    }
}
