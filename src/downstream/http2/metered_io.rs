//! The end of a connection that is given to the HTTP/2 library: a client is read in turns of little
//! work, and one that keeps it busy with frames that bring nothing is cut.
//!
//! Guarantees: what the library gets of a request is a stand-in for its head, which is kept here
//! until the library yields the stream, and no longer: it may refuse it. In one turn a client's
//! frames are read until they come to [`A_TURN`] of work. PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
//! empty DATA, ends of requests that have ended and unknown frames are an allowance: [`FRAMES`] at
//! once, [`A_SECOND`] more each second, and [`EARNED`] more for each DATA or HEADERS frame that is
//! sent, so that a client may respond to all it gets.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    allowance::{Allowance, ONE},
    connection::STREAMS,
};
use crate::{
    downstream::client_conn::{ClientConn, ClientConnIo},
    http::framing::{
        HeaderLimits,
        client_frames::{ClientFrames, ConnectionError, Consumed},
        field_list::Received,
        frames::{self, FrameHead, FrameHeads},
    },
    runtime::io::CutReason,
};

/// How many frames a client has read in one turn: the others have theirs before the next.
pub const A_TURN: u32 = 8;
/// How many frames that bring nothing a client may send at once.
pub const FRAMES: u64 = 2_000;
/// How many more each second.
pub const A_SECOND: u64 = 40;
/// How many more for each DATA or HEADERS frame that is sent: room for it on the stream and on the
/// connection, a PING by which the client measures its link, and as much again for frames it has
/// cut in two.
pub const EARNED: u64 = 10;
/// How many bytes of DATA allow one more: a client may grant room for a large frame piece by piece.
pub const BYTES: u64 = 32;
/// A DATA frame shorter than this that a window cut off earns by its bytes alone: by granting a
/// byte at a time a client would make as many of these as it likes.
pub const SLIVER: usize = 128;

/// Bytes of the buffer for stand-ins that are kept between turns.
const STAND_INS: usize = 256;

/// What the one who polls a connection, and its end, tell each other.
#[derive(Debug)]
pub struct Meter {
    /// What is left of this turn.
    left: Cell<u32>,
    heard: Cell<Instant>,
    /// Number of slivers that are to be sent ([`SLIVER`]).
    slivers: Cell<u32>,
    /// Requests whose stand-ins the library got, in the order of their streams.
    requests: RefCell<VecDeque<(u32, Received)>>,
    /// The library asked for more bytes than there are, so it has dealt with every stand-in.
    caught_up: Cell<bool>,
    fault: Cell<Option<ConnectionError>>,
}

/// Bound on the requests that are kept for the library. It has not dealt with at most those of a
/// turn, and keeps at most [`STREAMS`] open of the others, so the oldest beyond twice as many were
/// refused.
const REQUESTS: usize = 2 * STREAMS as usize;

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: Cell::new(A_TURN),
            heard: Cell::new(Instant::now()),
            slivers: Cell::new(0),
            requests: RefCell::default(),
            caught_up: Cell::new(false),
            fault: Cell::default(),
        }
    }
}

impl Meter {
    /// Another turn begins.
    pub fn begin_turn(&self) {
        self.left.set(A_TURN);
    }

    /// When the client last gave a sign of life: sent what brings something, or granted room.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.heard.get()
    }

    /// Takes the request of a stream that the library yields. The library yields streams in order,
    /// so it has refused those before.
    #[must_use]
    pub fn take_request(&self, stream: u32) -> Option<Received> {
        let mut requests = self.requests.borrow_mut();
        while let Some((id, request)) = requests.pop_front_if(|(id, _)| *id <= stream) {
            if id == stream {
                return Some(request);
            }
        }
        None
    }

    /// Forgets the requests that the library has dealt with. It yields no more streams for now, so
    /// it has refused these.
    pub fn forget_refused(&self) {
        if self.caught_up.get() {
            self.requests.take();
        }
    }

    /// Takes the reason why nothing more is read, once.
    #[must_use]
    pub fn take_fault(&self) -> Option<ConnectionError> {
        self.fault.take()
    }

    fn keep(&self, stream: u32, request: Received) {
        let mut requests = self.requests.borrow_mut();
        if requests.len() == REQUESTS {
            requests.pop_front();
        }
        requests.push_back((stream, request));
    }

    /// Notes that a window left room for `length` bytes of what there is to send.
    pub fn cuts_off(&self, length: usize) {
        if length < SLIVER {
            self.slivers.set(self.slivers.get().saturating_add(1));
        }
    }

    /// Allowance that a sent frame earns, in thousandths.
    fn earned(&self, frame: FrameHead) -> u64 {
        match frame.kind {
            frames::DATA => {
                let by_bytes = frame.length as u64 * ONE / BYTES;
                let slivers = self.slivers.get();
                if slivers > 0 && frame.length < SLIVER {
                    self.slivers.set(slivers - 1);
                    return by_bytes;
                }
                EARNED * ONE + by_bytes
            }
            frames::HEADERS => EARNED * ONE,
            // One is to be acknowledged.
            frames::PING | frames::SETTINGS if frame.flags & frames::ACK == 0 => ONE,
            _ => 0,
        }
    }
}

/// A [`ClientConnIo`] whose frames are counted.
pub struct MeteredIo {
    end: ClientConnIo,
    meter: Rc<Meter>,
    frames: ClientFrames,
    /// Bytes that were read and not looked at yet.
    held: BytesMut,
    /// Bytes to hand on.
    onward: Vec<u8>,
    /// The frames that are sent.
    sent: FrameHeads,
    allowance: Allowance,
}

impl MeteredIo {
    /// The end of a connection on which nothing was read.
    #[must_use]
    pub fn new(conn: &Rc<ClientConn>, meter: &Rc<Meter>, limits: HeaderLimits) -> Self {
        Self {
            end: ClientConnIo(Rc::clone(conn)),
            meter: Rc::clone(meter),
            frames: ClientFrames::new(limits),
            held: BytesMut::new(),
            onward: Vec::new(),
            sent: FrameHeads::default(),
            allowance: Allowance::new(FRAMES, A_SECOND, meter.heard()),
        }
    }

    /// Takes so many frames off the allowance.
    fn spend(&mut self, frames: u32) -> io::Result<()> {
        if self.allowance.spend(u64::from(frames)) {
            return Ok(());
        }
        self.end.0.turn().record_cut(CutReason::IdleFrames);
        Err(io::Error::new(io::ErrorKind::InvalidData, CutReason::IdleFrames))
    }

    /// Looks at the frames of which so many bytes were written.
    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>, pieces: &[io::IoSlice<'_>]) {
        let Poll::Ready(Ok(mut count)) = *outcome else { return };
        for piece in pieces {
            let (written, _) = piece.split_at(count.min(piece.len()));
            count -= written.len();
            let mut rest = written;
            while let Some(frame) = self.sent.next(&mut rest) {
                self.allowance.earn(self.meter.earned(frame));
            }
        }
    }

    /// Of what was just read, behind `before`, only what is handed on as it came stays there.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let (read, most) = (&buffer.filled()[before..], self.meter.left.get());
        let passed = self.frames.pass(read, most);
        let rest = &read[passed.bytes..];
        let begin = |stream, request| self.meter.keep(stream, request);
        let taken =
            self.frames.take(rest, most.saturating_sub(passed.work), &mut self.onward, begin);
        self.held.extend_from_slice(&rest[taken.bytes..]);
        buffer.set_filled(before + passed.bytes);
        self.account(passed)?;
        self.account(taken)
    }

    /// Looks at what is held, as far as it belongs to this turn.
    fn go_on(&mut self) -> io::Result<()> {
        let begin = |stream, request| self.meter.keep(stream, request);
        let taken = self.frames.take(&self.held, self.meter.left.get(), &mut self.onward, begin);
        self.held.advance(taken.bytes);
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        self.account(taken)
    }

    /// Hands on as much as there is room for.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let fits = self.onward.len().min(buffer.remaining());
        buffer.put_slice(&self.onward[..fits]);
        self.onward.drain(..fits);
        if self.onward.is_empty() && self.onward.capacity() > STAND_INS {
            self.onward = Vec::new();
        }
    }

    fn account(&mut self, taken: Consumed) -> io::Result<()> {
        self.meter.left.set(self.meter.left.get().saturating_sub(taken.work));
        if taken.lively {
            self.meter.heard.set(Instant::now());
        }
        // What is held waits for its turn, and not for the client.
        let owed = self.frames.is_within_head() && self.held.is_empty();
        self.end.0.note_head(owed.then(|| self.frames.head_number()));
        if let Some(fault) = self.frames.fault() {
            self.meter.fault.set(Some(fault));
        }
        if taken.idle > 0 { self.spend(taken.idle) } else { Ok(()) }
    }

    fn poll_frames(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            self.hand_on(buffer);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            // `streams` ends the connection.
            if self.frames.fault().is_some() {
                return Poll::Pending;
            }
            if self.meter.left.get() == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.held.is_empty() {
                ready!(Pin::new(&mut self.end).poll_read(context, buffer))?;
                if buffer.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
                self.look_at(buffer, before)?;
            } else {
                self.go_on()?;
            }
        }
    }
}

impl AsyncRead for MeteredIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_frames(context, buffer);
        self.meter.caught_up.set(polled.is_pending());
        polled
    }
}

impl AsyncWrite for MeteredIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write(context, bytes);
        self.wrote(&outcome, &[io::IoSlice::new(bytes)]);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.end).poll_write_vectored(context, pieces);
        self.wrote(&outcome, pieces);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.end.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use crate::{downstream::http2::metered_io::*, http::framing::field_list::RequestSoFar};

    const LIMITS: HeaderLimits = HeaderLimits { size: 32 * 1024, count: 100 };

    /// What one turn reads, piece after piece.
    async fn turn(end: &mut MeteredIo, meter: &Meter) -> io::Result<Vec<u8>> {
        tokio::task::yield_now().await;
        meter.begin_turn();
        let mut read = Vec::new();
        poll_fn(|context| {
            let mut chunk = [0; 64];
            let mut buffer = ReadBuf::new(&mut chunk);
            while let Poll::Ready(outcome) = Pin::new(&mut *end).poll_read(context, &mut buffer) {
                outcome?;
                read.extend_from_slice(buffer.filled());
                buffer.clear();
            }
            Poll::Ready(Ok(()))
        })
        .await
        .map(|()| read)
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_read_a_turn_at_a_time_and_every_byte_of_them() {
        let (mut client, server) = duplex(1 << 20);
        let (conn, meter) = (ClientConn::new(Box::new(server)), Rc::new(Meter::default()));
        let mut end = MeteredIo::new(&conn, &meter, LIMITS);
        let begun = meter.heard();
        let data = (0..100_u8).flat_map(|number| [0, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, number]);
        let sent: Vec<u8> =
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain(data).collect();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        client.write_all(&sent).await.expect("room in the pipe");
        let (mut read, mut turns) = (Vec::new(), 0);
        while read.len() < sent.len() {
            let piece = turn(&mut end, &meter).await.expect("an open pipe");
            assert!(piece.len() <= 24 + A_TURN as usize * 13, "{} bytes in a turn", piece.len());
            read.extend(piece);
            turns += 1;
        }
        assert!(read == sent && turns >= 100 / A_TURN, "{turns}");
        assert!(meter.heard() > begun && end.held.capacity() == 0);
    }

    fn request() -> Received {
        RequestSoFar::new(LIMITS).finish(true)
    }

    #[test]
    fn requests_of_refused_streams_are_forgotten() {
        let meter = Meter::default();
        for stream in (1..2_001).step_by(2) {
            meter.keep(stream, request());
            assert!(meter.requests.borrow().len() <= REQUESTS);
        }
        // Those before the one that is yielded were refused; it is taken once.
        assert!(meter.take_request(1_801).is_some() && meter.take_request(1_801).is_none());
        assert!(meter.take_request(1_000).is_none());
        assert_eq!(meter.requests.borrow().front().map(|(stream, _)| *stream), Some(1_803));
        meter.forget_refused();
        assert!(meter.take_request(1_803).is_some(), "the library has not dealt with it");
        meter.caught_up.set(true);
        meter.forget_refused();
        assert!(meter.take_request(1_805).is_none() && meter.requests.borrow().is_empty());
    }

    #[test]
    fn frames_that_are_sent_earn_what_responds_to_them() {
        let meter = Meter::default();
        let earned =
            |kind, flags, length| meter.earned(FrameHead { kind, flags, stream: 1, length });
        assert_eq!(earned(frames::DATA, 0, 1), EARNED * ONE + ONE / BYTES);
        assert_eq!(earned(frames::DATA, 1, 16_384), (EARNED + 512) * ONE);
        assert_eq!(
            [earned(frames::HEADERS, 4, 9_000), earned(frames::CONTINUATION, 4, 9_000)],
            [EARNED * ONE, 0]
        );
        assert_eq!([earned(frames::PING, 0, 8), earned(frames::PING, frames::ACK, 8)], [ONE, 0]);
        assert_eq!(
            [earned(frames::SETTINGS, 0, 6), earned(frames::SETTINGS, frames::ACK, 0)],
            [ONE, 0]
        );
        assert_eq!(
            [
                earned(frames::RST_STREAM, 0, 4),
                earned(frames::WINDOW_UPDATE, 0, 4),
                earned(7, 0, 8)
            ],
            [0; 3]
        );
        meter.cuts_off(SLIVER - 1);
        meter.cuts_off(SLIVER);
        // The first earns nothing but by its bytes; whole ones before it earn what they always do.
        assert_eq!(earned(frames::DATA, 0, SLIVER), EARNED * ONE + 4 * ONE);
        assert_eq!(
            [earned(frames::DATA, 0, 32), earned(frames::DATA, 0, 32)],
            [ONE, (EARNED + 1) * ONE]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_nothing_is_an_allowance() {
        let (mut client, server) = duplex(1 << 20);
        let (conn, meter) = (ClientConn::new(Box::new(server)), Rc::new(Meter::default()));
        let mut end = MeteredIo::new(&conn, &meter, LIMITS);
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("room in the pipe");
        client.write_all(&ping.repeat(2_500)).await.expect("room in the pipe");
        let mut frames = 0;
        while turn(&mut end, &meter).await.is_ok() {
            frames += u64::from(A_TURN);
        }
        assert!(
            (FRAMES - u64::from(A_TURN)..=FRAMES + u64::from(A_TURN)).contains(&frames),
            "{frames}"
        );
    }
}
