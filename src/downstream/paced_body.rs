//! Response body of a limited rate, as nginx's `limit_rate`.
//!
//! Guarantee: `t` after the first byte was asked for, at most `after + rate * t` bytes were given on,
//! and no fewer once they are there, but for `TURN` of the rate.

use std::{
    num::NonZeroU64,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::client_state::ClientState;

/// Time whose bytes are given on together: one wake-up for each byte would cost more than the bytes.
const TURN: Duration = Duration::from_millis(50);

/// Rate of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRate {
    /// Bytes a second.
    pub rate: NonZeroU64,
    /// Bytes before the rate counts.
    pub after: u64,
}

/// Body whose bytes are given on at a rate.
pub struct PacedBody<B> {
    inner: B,
    pace: Pace,
}

/// State of a body with a rate.
struct Pace {
    rate: ResponseRate,
    /// State of the client, which is not late while its response waits here.
    client: Rc<ClientState>,
    /// Instant at which the first byte was asked for.
    began: Option<Instant>,
    /// Bytes given on.
    sent: u64,
    /// Bytes that wait for their time.
    rest: Bytes,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> PacedBody<B> {
    /// Wraps a body for a client.
    pub fn new(inner: B, rate: ResponseRate, client: &Rc<ClientState>) -> Self {
        Self { inner, pace: Pace::new(rate, client) }
    }
}

impl Pace {
    fn new(rate: ResponseRate, client: &Rc<ClientState>) -> Self {
        let client = Rc::clone(client);
        Self { rate, client, began: None, sent: 0, rest: Bytes::new(), timer: None }
    }

    /// Bytes that may have been given on after this time.
    fn granted(&self, elapsed: Duration) -> u64 {
        let earned = u128::from(self.rate.rate.get()) * elapsed.as_millis() / 1_000;
        self.rate.after.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX))
    }

    /// Time after which so many bytes are granted, in whole milliseconds and never too early.
    fn time_of(&self, bytes: u64) -> Duration {
        let earned = u128::from(bytes.saturating_sub(self.rate.after)) * 1_000;
        let millis = earned.div_ceil(u128::from(self.rate.rate.get()));
        // A body of so many centuries ends with its connection.
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX).min(1 << 40))
    }

    /// Bytes of one [`TURN`].
    fn turn(&self) -> u64 {
        (self.rate.rate.get() / (1_000 / TURN.as_millis() as u64)).max(1)
    }

    /// Number of waiting bytes that may be given on, once there are enough of them.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        loop {
            let now = Instant::now();
            let began = *self.began.get_or_insert(now);
            // Computed from the beginning each time: a late timer loses nothing, and errors do not
            // add up.
            let waiting = self.rest.len() as u64;
            let room = self.granted(now - began).saturating_sub(self.sent);
            // The last bytes are fewer than a turn, and wait for themselves only.
            let wanted = waiting.min(self.turn());
            if room >= wanted {
                let taken = room.min(waiting);
                self.sent += taken;
                self.client.pause(false);
                // At most the length of the bytes.
                return Poll::Ready(taken as usize);
            }
            let due = began + self.time_of(self.sent + wanted);
            // One timer for the whole body: the next turn moves it.
            match &mut self.timer {
                None => self.timer = Some(Box::pin(sleep_until(due))),
                Some(timer) => timer.as_mut().reset(due),
            }
            self.client.pause(true);
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(context));
            }
        }
    }

    /// Next frame, a piece of the one before where that was too long.
    fn poll_frame<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        inner: &mut B,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                // An empty piece would wait for nothing.
                Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => self.rest = data,
                // Behind the last byte, whose time has come.
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let room = ready!(self.poll_room(context));
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(room)))))
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        // The next response of the connection may have no rate.
        self.client.pause(false);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { inner, pace } = &mut *self;
        pace.poll_frame(inner, context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.pace.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.inner.size_hint();
        let waiting = self.pace.rest.len() as u64;
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower().saturating_add(waiting));
        if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(waiting)) {
            whole.set_upper(upper);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use crate::downstream::{client_state::WaitingFor, paced_body::*};

    fn paced<B>(body: B, rate: u64, after: u64) -> PacedBody<B> {
        let rate = ResponseRate { rate: NonZeroU64::new(rate).expect("a rate"), after };
        PacedBody::new(body, rate, &ClientState::new(WaitingFor::Body))
    }

    /// Bytes with the millisecond at which they came.
    async fn times<B: Body<Data = Bytes> + Unpin>(mut body: PacedBody<B>) -> Vec<(usize, u128)>
    where
        B::Error: std::fmt::Debug,
    {
        let began = Instant::now();
        let mut times = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("a frame").into_data().expect("data");
            times.push((data.len(), began.elapsed().as_millis()));
        }
        times
    }

    fn full(length: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn pace_gives_turns_of_fifty_milliseconds() {
        let times = times(paced(full(200), 1_000, 0)).await;
        assert_eq!(times, [(50, 50), (50, 100), (50, 150), (50, 200)]);
    }

    #[tokio::test(start_paused = true)]
    async fn pace_begins_behind_the_first_bytes() {
        let times = times(paced(full(1_120), 1_000, 1_000)).await;
        assert_eq!(times, [(1_000, 0), (50, 50), (50, 100), (20, 120)]);
    }

    #[tokio::test(start_paused = true)]
    async fn pace_is_exact_for_any_rate_in_the_end() {
        for (length, per_second, after, end) in [
            (1_u64, 1, 0, 1_000),
            (10, 3, 0, 3_334),
            (1_000_000, 333_333, 0, 3_001),
            (1_000_000, 1 << 40, 0, 1),
            (1_000_000, 1_000, 1_000_000, 0),
            (1_001, 7, 1_000, 143),
        ] {
            let times = times(paced(full(length as usize), per_second, after)).await;
            assert_eq!(times.iter().map(|(size, _)| *size as u64).sum::<u64>(), length);
            assert_eq!(times.last().map(|(_, time)| *time), Some(end), "{length} at {per_second}");
            let mut sent = 0;
            for (size, time) in times {
                sent += u128::from(size as u64);
                let most = u128::from(after) + u128::from(per_second) * time / 1_000;
                assert!(sent <= most, "{sent} after {time} ms at {per_second}");
            }
        }
    }

    /// Bytes that came late may be given on as fast as the rate over the whole time allows.
    #[tokio::test(start_paused = true)]
    async fn pace_makes_up_for_a_late_body() {
        let pieces = futures_util::stream::unfold(0, |number| async move {
            if number == 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let frame =
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[0; 500])));
            (number < 4).then_some((frame, number + 1))
        });
        let body = StreamBody::new(Box::pin(pieces));
        let times = times(paced(body, 1_000, 0)).await;
        assert_eq!(times[9], (50, 500));
        assert_eq!(times[10..12], [(500, 1_500), (500, 1_500)]);
        assert_eq!(times.last(), Some(&(50, 2_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn pace_keeps_the_length_and_the_trailers() {
        let mut body = paced(full(100), 1_000, 0);
        assert_eq!(body.size_hint().exact(), Some(100));
        let _first = body.frame().await;
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(50), false));
        let _last = body.frame().await;
        assert!(body.is_end_stream());
        let trailers = http::HeaderMap::new();
        let frames = [Frame::data(Bytes::from_static(b"a")), Frame::trailers(trailers)];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        let mut body = paced(StreamBody::new(futures_util::stream::iter(frames)), 1_000, 0);
        assert!(body.frame().await.expect("data").expect("data").is_data());
        assert!(body.frame().await.expect("trailers").expect("trailers").is_trailers());
    }

    #[tokio::test(start_paused = true)]
    async fn client_is_not_late_while_its_response_waits() {
        let client = ClientState::new(WaitingFor::Body);
        let rate = ResponseRate { rate: NonZeroU64::MIN, after: 0 };
        let mut body = PacedBody::new(full(3), rate, &client);
        let mut frame = Box::pin(body.frame());
        assert!(futures_util::poll!(&mut frame).is_pending());
        assert_eq!(client.pending().0, WaitingFor::Nothing);
        let _first = frame.await;
        assert_eq!(client.pending().0, WaitingFor::Body);
        assert!(futures_util::poll!(body.frame()).is_pending());
        drop(body);
        assert_eq!(client.pending().0, WaitingFor::Body);
    }
}
