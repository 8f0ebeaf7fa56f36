//! Response body that passes through an encoder.
//!
//! Guarantees: a frame has at most [`FRAME`] bytes, and at most [`TURN`] bytes are encoded before
//! other tasks get a turn. When the upstream pauses, everything taken so far is flushed, so slow
//! streams flow. A body that breaks stays broken and never ends as if it were complete. Trailers
//! follow it. A body without an encoder passes unchanged.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    encoder::{Coder, FlushMode, LEAST_ROOM, Step},
    permits::EncoderPermit,
    validators::restate_trailers,
};
use crate::http::error::{Error, Kind};

/// Largest frame of an encoded body, in bytes.
pub const FRAME: usize = 16 * 1024;
/// Bytes encoded in one turn.
pub const TURN: usize = 64 * 1024;

/// Step without progress, which would repeat forever.
const STALLED: Step = Step { read: 0, written: 0, done: false };

/// Body that may have an encoder.
pub struct Coded<B> {
    inner: B,
    work: Option<Box<Work>>,
}

/// Encoder and its buffers.
struct Work {
    coder: Coder,
    _seat: EncoderPermit,
    stage: Stage,
    /// Input that was received and not encoded yet.
    input: Bytes,
    /// Output that was encoded and not sent yet: the first `filled` bytes.
    room: Box<[u8]>,
    filled: usize,
    /// True if input was encoded since the last flush.
    unflushed: bool,
    /// True if the upstream had one more turn to send data before a flush.
    waited: bool,
    /// Error that ended the input and was not reported yet.
    cut: Option<Error>,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Flushing,
    Finishing,
    Ended,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl<B> Coded<B> {
    /// Wraps a body that is sent unchanged.
    #[must_use]
    pub fn plain(inner: B) -> Self {
        Self { inner, work: None }
    }

    /// Wraps a body that is encoded.
    #[must_use]
    pub fn by(coder: Coder, permit: EncoderPermit, inner: B) -> Self {
        let work = Work {
            coder,
            _seat: permit,
            stage: Stage::Reading,
            input: Bytes::new(),
            room: vec![0; FRAME].into(),
            filled: 0,
            unflushed: false,
            waited: false,
            cut: None,
            trailers: None,
        };
        Self { inner, work: Some(Box::new(work)) }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Coded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        match &mut this.work {
            None => Pin::new(&mut this.inner).poll_frame(context),
            Some(work) => work.poll(&mut this.inner, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.work {
            None => self.inner.is_end_stream(),
            // Output may still come until the encoder has written its end, even if the input
            // has ended.
            Some(work) => work.stage == Stage::Ended && work.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // The length of the output is not known before its end.
        self.work.as_ref().map_or_else(|| self.inner.size_hint(), |_| SizeHint::default())
    }
}

impl Work {
    fn poll<B: Body<Data = Bytes, Error = Error> + Unpin>(
        &mut self,
        inner: &mut B,
        context: &mut Context<'_>,
    ) -> Polled {
        let mut turn = TURN;
        loop {
            match self.stage {
                Stage::Reading if self.cut.is_some() => return self.break_off(context),
                Stage::Reading if self.input.is_empty() => {
                    // Asked before the poll: a body that has ended must not be polled, and needs no
                    // further turn.
                    if inner.is_end_stream() {
                        self.stage = Stage::Finishing;
                        continue;
                    }
                    match Pin::new(&mut *inner).poll_frame(context) {
                        Poll::Ready(Some(Ok(frame))) => self.take(frame),
                        Poll::Ready(Some(Err(error))) => {
                            self.cut = Some(error);
                            // The error waits for one turn too, so that the flushed data
                            // leaves first.
                            self.waited = false;
                            self.stage =
                                if self.unflushed { Stage::Flushing } else { Stage::Reading };
                        }
                        Poll::Ready(None) => self.stage = Stage::Finishing,
                        Poll::Pending if self.unflushed && self.waited => {
                            self.stage = Stage::Flushing;
                        }
                        Poll::Pending => return self.wait(context),
                    }
                }
                // Between two steps, so no step is interrupted and the rest of the input is kept.
                Stage::Reading if turn == 0 => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Stage::Ended => {
                    return Poll::Ready(
                        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
                    );
                }
                Stage::Reading | Stage::Flushing | Stage::Finishing => match self.step(&mut turn) {
                    Ok(None) => {}
                    // A frame goes out immediately: no more than `FRAME` bytes are kept here.
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Err(error) => return self.broke(error),
                },
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => {
                self.unflushed |= !data.is_empty();
                self.waited = false;
                self.input = data;
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                // Digests of the original bytes may also come as trailers.
                self.trailers.iter_mut().for_each(restate_trailers);
            }
        }
    }

    /// No data arrived. Usually the next piece is near and only its reader has to run; a flush for
    /// each piece would cost much of the gain. So all other tasks get one turn first.
    fn wait(&mut self, context: &Context<'_>) -> Polled {
        // With nothing to flush only further data can help, and its arrival wakes this task.
        if self.unflushed {
            self.waited = true;
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Data received before a cut is sent first, after all other tasks got a turn.
    fn break_off(&mut self, context: &Context<'_>) -> Polled {
        if !std::mem::replace(&mut self.waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.cut.take().map_or(Poll::Pending, |error| self.broke(error))
    }

    fn broke(&mut self, error: Error) -> Polled {
        self.stage = Stage::Ended;
        // Trailers would say that the body is complete.
        self.trailers = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Runs one step of the encoder and returns a frame if one is ready.
    fn step(&mut self, turn: &mut usize) -> Result<Option<Frame<Bytes>>, Error> {
        // With less room a flush marker could be split without an end, and never be complete.
        if self.room.len() - self.filled < LEAST_ROOM {
            return Ok(self.give_out());
        }
        let order = match self.stage {
            Stage::Flushing => FlushMode::Flush,
            Stage::Finishing => FlushMode::Finish,
            Stage::Reading | Stage::Ended => FlushMode::Continue,
        };
        let most = self.input.len().min(*turn);
        let step = self.coder.step(order, &self.input[..most], &mut self.room[self.filled..])?;
        // Guards against a codec that neither takes input nor writes: this loop would not end.
        if step == STALLED {
            return Err(Error::new(Kind::ProxyInternalError, "the compressor makes no progress"));
        }
        self.input.advance(step.read);
        self.filled += step.written;
        *turn -= step.read;
        match order {
            FlushMode::Continue => return Ok(None),
            FlushMode::Flush if step.done => {
                self.stage = Stage::Reading;
                self.unflushed = false;
            }
            FlushMode::Finish if step.done => self.stage = Stage::Ended,
            FlushMode::Flush | FlushMode::Finish => return Ok(None),
        }
        Ok(self.give_out())
    }

    fn give_out(&mut self) -> Option<Frame<Bytes>> {
        let filled = std::mem::take(&mut self.filled);
        // Copied to its true size: the room is reused, and a short frame keeps no 16 KiB alive.
        (filled > 0).then(|| Frame::data(Bytes::copy_from_slice(&self.room[..filled])))
    }
}
