//! Request body that can be sent again: the part that was taken is put back in front of the rest.
//!
//! Guarantees: a body that is sent again is identical. For one that is sent on a stream at most
//! [`KEPT`] bytes are kept, and none once its response has started. A body that was taken back is
//! not read by its former stream. The end of a response ends its upload.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use super::upload::{Tasks, UploadStop};

/// Bytes of a body that are kept until its response starts.
pub const KEPT: usize = 64 * 1024;
/// Limit on the kept pieces: many small ones take more memory than their bytes.
const PIECES: usize = 256;
/// Longest piece that is copied: uncopied it would keep its whole read buffer alive.
const COPIED: usize = 4 * 1024;

/// Piece of a body that was taken.
#[derive(Clone, Debug)]
pub enum TakenPiece {
    /// Bytes of it.
    Data(Bytes),
    /// Trailers, which end the body.
    Trailers(HeaderMap),
}

impl TakenPiece {
    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(fields) => {
                fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
            }
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(fields) => Frame::trailers(fields),
        }
    }

    /// Content of a frame, if it has any.
    #[must_use]
    pub fn of(frame: &Frame<Bytes>) -> Option<Self> {
        match (frame.data_ref(), frame.trailers_ref()) {
            // An empty piece changes nothing, but would take one of the `PIECES`.
            (Some(data), _) if data.is_empty() => None,
            (Some(data), _) => Some(Self::Data(data.clone())),
            (None, fields) => fields.cloned().map(Self::Trailers),
        }
    }
}

/// Body with the taken part put back in front.
#[derive(Debug)]
pub struct Replay<B> {
    taken: VecDeque<TakenPiece>,
    rest: B,
    /// True if the rest has ended and is not polled again.
    ended: bool,
}

impl<B> Replay<B> {
    /// Wraps a body of which nothing was taken.
    #[must_use]
    pub fn new(rest: B) -> Self {
        Self { taken: VecDeque::new(), rest, ended: false }
    }

    /// Puts a taken piece back in front.
    pub fn put_back(&mut self, piece: TakenPiece) {
        self.taken.push_front(piece);
    }
}

impl<B: Default> Default for Replay<B> {
    fn default() -> Self {
        Self { taken: VecDeque::new(), rest: B::default(), ended: true }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(piece) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(piece.into_frame())));
        }
        // The rest must not be polled after its end, but a body that was taken back may be.
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(context));
        self.ended = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && (self.ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // Trailers are no part of the length of a body.
        let data = |piece: &TakenPiece| {
            if let TakenPiece::Data(data) = piece { data.len() as u64 } else { 0 }
        };
        let taken: u64 = self.taken.iter().map(data).sum();
        let rest = if self.ended { SizeHint::with_exact(0) } else { self.rest.size_hint() };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(taken));
        }
        hint.set_lower(rest.lower().saturating_add(taken));
        hint
    }
}

/// Body with its kept part.
#[derive(Debug)]
struct BodyRecording<B> {
    /// None once it was taken back.
    body: Option<Replay<B>>,
    /// None once it will not be sent again.
    kept: Option<Vec<TakenPiece>>,
    /// Size of the kept part, in bytes.
    size: usize,
    /// Whole body, if it is kept elsewhere.
    whole: Option<B>,
    /// Stops the task that sends it, once it was polled.
    stop: Option<Rc<UploadStop>>,
}

impl<B> BodyRecording<B> {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let (Some(kept), Some(mut piece)) = (&mut self.kept, TakenPiece::of(frame)) else { return };
        self.size += piece.length();
        // A piece of one byte takes a slot of the list and an allocation, up to some 200 bytes.
        if self.size > KEPT || kept.len() == PIECES {
            // Without its beginning the rest is of no use.
            self.kept = None;
            return;
        }
        if let TakenPiece::Data(data) = &mut piece
            && data.len() <= COPIED
        {
            *data = Bytes::copy_from_slice(data);
        }
        kept.push(piece);
    }
}

/// Body sent on a stream, for the code that may send it again.
#[derive(Debug)]
pub struct Recording<B>(Rc<RefCell<BodyRecording<B>>>);

/// Body sent on a stream, for the stream that reads it.
#[derive(Debug)]
pub struct Recorded<B> {
    tape: Rc<RefCell<BodyRecording<B>>>,
    tasks: Tasks,
}

/// Body whose response has started. Dropping it ends the upload, whether its task waits for the
/// client or for the endpoint.
#[derive(Debug)]
pub struct Uploading<B>(Rc<RefCell<BodyRecording<B>>>);

/// The stream that reads a body is no longer the one it is sent on.
#[derive(Debug, thiserror::Error)]
#[error("the request was withdrawn")]
struct TakenBack;

impl<B> Recording<B> {
    /// Keeps what is taken of a body from now on.
    #[must_use]
    pub fn new(body: Replay<B>) -> Self {
        let (body, kept) = (Some(body), Some(Vec::new()));
        Self(Rc::new(RefCell::new(BodyRecording { body, kept, size: 0, whole: None, stop: None })))
    }

    /// Uses a copy of the whole body kept elsewhere, however long it is.
    #[must_use]
    pub fn or(self, whole: Option<B>) -> Self {
        let mut tape = self.0.borrow_mut();
        if whole.is_some() {
            // The copy of the route's buffer is used, so a second one would only take memory.
            tape.kept = None;
            tape.whole = whole;
        }
        drop(tape);
        self
    }

    /// Body for a stream of the connection with these tasks.
    #[must_use]
    pub fn recorded(&self, tasks: &Tasks) -> Recorded<B> {
        Recorded { tape: Rc::clone(&self.0), tasks: tasks.clone() }
    }

    /// Records that the response has started: the body is not sent again, and nothing of it is
    /// kept.
    #[must_use]
    pub fn end(self) -> Uploading<B> {
        let mut tape = self.0.borrow_mut();
        tape.kept = None;
        tape.whole = None;
        drop(tape);
        Uploading(self.0)
    }

    /// Takes the whole body back; none when more was taken of it than is kept.
    #[must_use]
    pub fn rewind(self) -> Option<Replay<B>> {
        let mut tape = self.0.borrow_mut();
        // Taken in any case: the failed stream may still be polled, and must read nothing more.
        let mut body = tape.body.take()?;
        if let Some(whole) = tape.whole.take() {
            return Some(Replay::new(whole));
        }
        // Each piece goes to the front, so the last one that was taken goes first.
        for piece in tape.kept.take()?.into_iter().rev() {
            body.put_back(piece);
        }
        Some(body)
    }
}

impl<B> Uploading<B> {
    /// Returns true if the stream has read all of it.
    #[must_use]
    pub fn is_over(&self) -> bool
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.0.borrow().body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl<B> Drop for Uploading<B> {
    fn drop(&mut self) {
        let mut tape = self.0.borrow_mut();
        let (body, stop) = (tape.body.take(), tape.stop.take());
        // Dropping the body and waking the task run code that may borrow the tape again.
        drop(tape);
        drop(body);
        if let Some(stop) = stop {
            stop.order();
        }
    }
}

impl<B> Body for Recorded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut tape = self.tape.borrow_mut();
        // hyper spawns the rest of an upload right after its first poll, without saying whose it
        // is: the task belongs to the body that was polled last (`upload.rs`).
        self.tasks.polls(tape.stop.get_or_insert_default());
        // An error and not an end: an end would complete the request on the stream that failed.
        let Some(body) = &mut tape.body else { return Poll::Ready(Some(Err(TakenBack.into()))) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            tape.keep(frame);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.tape.borrow().body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.tape.borrow().body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Empty, Full};

    use crate::upstream::replay::*;

    /// Body of these frames.
    struct Pieces(VecDeque<Frame<Bytes>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    /// Body of this many pieces of this length, and trailers.
    fn body(pieces: usize, length: usize) -> Replay<Pieces> {
        let whole = Bytes::from(vec![b'x'; length]);
        let trailers =
            [(http::header::ETAG, http::HeaderValue::from_static("7"))].into_iter().collect();
        let data = (0..pieces).map(|_| Frame::data(whole.clone()));
        Replay::new(Pieces(data.chain([Frame::trailers(trailers)]).collect()))
    }

    async fn take(recorded: &mut Recorded<Pieces>, pieces: usize) {
        for _ in 0..pieces {
            recorded.frame().await.expect("a piece").expect("no error");
        }
    }

    #[tokio::test]
    async fn replay_puts_taken_part_in_front_of_the_rest() {
        for taken in 0..=4 {
            let recording = Recording::new(body(3, 5_000));
            let mut recorded = recording.recorded(&Tasks::default());
            take(&mut recorded, taken).await;
            let again = recording.rewind().expect("all of it is kept");
            let failed = recorded.frame().await.expect("an end").expect_err("it was taken back");
            assert!(failed.is::<TakenBack>() && recorded.is_end_stream());
            assert!(!again.is_end_stream());
            let collected = again.collect().await.expect("a body");
            assert_eq!(collected.trailers().expect("trailers").len(), 1);
            assert_eq!(collected.to_bytes().len(), 15_000, "{taken}");
        }
    }

    #[tokio::test]
    async fn it_can_be_taken_back_again_and_again() {
        let mut again = body(3, 5);
        for _ in 0..3 {
            let recording = Recording::new(again);
            take(&mut recording.recorded(&Tasks::default()), 4).await;
            again = recording.rewind().expect("all of it is kept");
        }
        assert_eq!(again.collect().await.expect("a body").to_bytes().len(), 15);
    }

    #[tokio::test]
    async fn kept_is_bounded_and_small_pieces_count_for_more() {
        for (length, most) in [(KEPT, 1), (KEPT / 2, 2), (KEPT / PIECES, PIECES), (1, PIECES)] {
            for (pieces, fits) in [(most, true), (most + 1, false)] {
                let recording = Recording::new(body(pieces, length));
                take(&mut recording.recorded(&Tasks::default()), pieces).await;
                assert_eq!(recording.rewind().is_some(), fits, "{pieces} pieces of {length}");
            }
        }
    }

    #[tokio::test]
    async fn whole_that_is_kept_elsewhere_is_taken_back_however_long_it_is() {
        let recording = Recording::new(body(3, KEPT)).or(Some(body(3, KEPT).rest));
        let mut recorded = recording.recorded(&Tasks::default());
        take(&mut recorded, 3).await;
        assert!(recorded.tape.borrow().kept.is_none(), "it is kept once");
        let again = recording.rewind().expect("the whole of it");
        assert!(recorded.frame().await.expect("an end").is_err());
        assert_eq!(again.collect().await.expect("a body").to_bytes().len(), 3 * KEPT);
    }

    #[tokio::test]
    async fn nothing_is_kept_once_the_response_has_begun() {
        let recording = Recording::new(body(2, 10_000));
        let mut recorded = recording.recorded(&Tasks::default());
        take(&mut recorded, 1).await;
        let _uploading = recording.end();
        take(&mut recorded, 2).await;
        assert!(recorded.tape.borrow().kept.is_none());
    }

    #[test]
    fn size_is_that_of_the_whole() {
        let mut replay = Replay::new(Full::new(Bytes::from_static(b"rest")));
        replay.put_back(TakenPiece::Data(Bytes::from_static(b"taken ")));
        assert_eq!((replay.size_hint().exact(), replay.is_end_stream()), (Some(10), false));
        let empty = Replay::<Empty<Bytes>>::default();
        assert_eq!((empty.size_hint().exact(), empty.is_end_stream()), (Some(0), true));
    }
}
