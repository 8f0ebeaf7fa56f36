//! I/O of a connection for the HTTP/2 library: frames are read in small turns, and a client that
//! sends too many frames without use is cut.
//!
//! The library gets a stand-in for the head of each request. The request itself is kept here until
//! the library yields the stream, or refuses it, and no longer.
//!
//! In one turn the frames of a client are read up to [`FRAMES_A_TURN`] of work. PING, SETTINGS,
//! PRIORITY, WINDOW_UPDATE, empty DATA, ends of finished requests and unknown frames use an
//! allowance. It starts with [`FRAMES`], grows by [`A_SECOND`] each second, and by [`EARNED`] for
//! each DATA or HEADERS frame that is sent. So a well-behaved client can respond to everything it
//! gets. Example: a response of 2 bytes is one HEADERS and one DATA frame and earns 20; the client
//! sends two WINDOW_UPDATEs and perhaps a PING acknowledgement for it, so its allowance never
//! shrinks.
//!
//! A client could farm this by granting the window one byte at a time: each tiny DATA frame would
//! earn [`EARNED`] for one WINDOW_UPDATE. So a DATA frame below [`SLIVER`] bytes that was cut short
//! by a window earns only by its bytes, [`BYTES`] for one frame.

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

use super::allowance::{Allowance, ONE};
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

/// Limit on requests in progress on a connection.
pub const STREAMS: u32 = 100;
/// Frames of a client read in one turn, before others get theirs.
pub const FRAMES_A_TURN: u32 = 8;
/// Frames without use that a client may send in a burst.
pub const FRAMES: u64 = 2_000;
/// Further ones per second.
pub const A_SECOND: u64 = 40;
/// Further ones for each DATA or HEADERS frame that is sent: window updates for stream and
/// connection, a PING by which the client measures its link, and as much again for frames that it
/// splits in two.
pub const EARNED: u64 = 10;
/// Bytes of DATA that allow one more: a client may open the window for a large frame piece by
/// piece.
pub const BYTES: u64 = 32;
/// A shorter DATA frame that was cut by a window earns by its bytes alone, because a client that
/// opens the window byte by byte could cause any number of them.
pub const SLIVER: usize = 128;

/// Bytes of the stand-in buffer that are kept between turns.
const STAND_INS: usize = 256;

/// State shared by the connection task and its I/O wrapper.
#[derive(Debug)]
pub struct Meter {
    /// Work left in this turn.
    left: Cell<u32>,
    heard: Cell<Instant>,
    /// Number of pending slivers ([`SLIVER`]).
    slivers: Cell<u32>,
    /// Requests whose stand-ins the library got, in the order of their streams.
    requests: RefCell<VecDeque<(u32, Received)>>,
    /// True if the library asked for more bytes than there are, so it has processed every stand-in.
    caught_up: Cell<bool>,
    fault: Cell<Option<ConnectionError>>,
}

/// Limit on kept requests. The library has not processed at most those of a turn, and keeps at most
/// [`STREAMS`] of the others open, so the oldest beyond twice as many were refused.
const REQUESTS: usize = 2 * STREAMS as usize;

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: Cell::new(FRAMES_A_TURN),
            heard: Cell::new(Instant::now()),
            slivers: Cell::new(0),
            requests: RefCell::default(),
            caught_up: Cell::new(false),
            fault: Cell::default(),
        }
    }
}

impl Meter {
    /// Starts another turn.
    pub fn begin_turn(&self) {
        self.left.set(FRAMES_A_TURN);
    }

    /// Time of the last sign of life: a useful frame, or room granted.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.heard.get()
    }

    /// Takes the request of a stream that the library yields. The library yields streams in order,
    /// so it has refused those before.
    #[must_use]
    pub fn take_request(&self, stream: u32) -> Option<Received> {
        // Streams below the yielded one cannot come later, so their requests are dropped. Ids only
        // grow (RFC 9113, section 5.1.1).
        let mut requests = self.requests.borrow_mut();
        while let Some((id, request)) = requests.pop_front_if(|(id, _)| *id <= stream) {
            if id == stream {
                return Some(request);
            }
        }
        None
    }

    /// Drops the requests that the library has processed. It yields no more streams for now, so it
    /// has refused these.
    pub fn forget_refused(&self) {
        // Only when the library has read everything: a stand-in that it has not processed may still
        // become a stream.
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
        // Refused requests stay until the next yield, so a client that exceeds its streams could
        // fill memory with them. The oldest of a full list was refused.
        if requests.len() == REQUESTS {
            requests.pop_front();
        }
        requests.push_back((stream, request));
    }

    /// Records that a window left room for only `length` bytes of the pending data.
    pub fn cuts_off(&self, length: usize) {
        if length < SLIVER {
            self.slivers.set(self.slivers.get().saturating_add(1));
        }
    }

    /// Allowance that a sent frame earns, in thousandths.
    fn earned(&self, frame: FrameHead) -> u64 {
        match frame.kind {
            frames::DATA => {
                // A client that grants its window in pieces of `n` bytes spends one frame, 1000
                // thousandths, on each WINDOW_UPDATE, and the DATA for it earns `n * 1000 / 32`. At
                // 32 bytes that pays for itself; below it the client loses. With one byte at a time
                // it gains 31 and spends 1000, so its 2000 frames last for some 2060 grants.
                let by_bytes = frame.length as u64 * ONE / BYTES;
                // Pieces of several streams may be pending at a time, and frames do not say which
                // of them they are. So slivers are counted, and the count is used up by the short
                // frames that are written: as many short frames earn little as were cut short.
                let slivers = self.slivers.get();
                if slivers > 0 && frame.length < SLIVER {
                    self.slivers.set(slivers - 1);
                    return by_bytes;
                }
                EARNED * ONE + by_bytes
            }
            frames::HEADERS => EARNED * ONE,
            // The client has to acknowledge it.
            frames::PING | frames::SETTINGS if frame.flags & frames::ACK == 0 => ONE,
            _ => 0,
        }
    }
}

/// [`ClientConnIo`] that counts frames.
pub struct MeteredIo {
    end: ClientConnIo,
    meter: Rc<Meter>,
    frames: ClientFrames,
    /// Bytes that were read and not examined yet.
    held: BytesMut,
    /// Bytes to pass on.
    onward: Vec<u8>,
    /// Heads of the frames that are sent.
    sent: FrameHeads,
    allowance: Allowance,
}

impl MeteredIo {
    /// Wraps a connection from which nothing was read.
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

    /// Subtracts this many frames from the allowance.
    fn spend(&mut self, frames: u32) -> io::Result<()> {
        if self.allowance.spend(u64::from(frames)) {
            return Ok(());
        }
        // Only recorded: the error ends the connection, and the access lines of its streams get
        // the reason.
        self.end.0.state().record_cut(CutReason::IdleFrames);
        Err(io::Error::new(io::ErrorKind::InvalidData, CutReason::IdleFrames))
    }

    /// Examines the frames of which this many bytes were written.
    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>, pieces: &[io::IoSlice<'_>]) {
        // Bytes that were not written do not earn: a client that takes nothing earns nothing.
        let Poll::Ready(Ok(mut count)) = *outcome else { return };
        for piece in pieces {
            let (written, _) = piece.split_at(count.min(piece.len()));
            count -= written.len();
            let mut rest = written;
            // The end of a write may lie within a frame. `sent` keeps the position for the
            // next one.
            while let Some(frame) = self.sent.next(&mut rest) {
                self.allowance.earn(self.meter.earned(frame));
            }
        }
    }

    /// Examines what was just read, behind `before`; only bytes that are passed on unchanged stay
    /// there.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let (read, most) = (&buffer.filled()[before..], self.meter.left.get());
        let passed = self.frames.pass(read, most);
        let rest = &read[passed.bytes..];
        let begin = |stream, request| self.meter.keep(stream, request);
        let taken =
            self.frames.take(rest, most.saturating_sub(passed.work), &mut self.onward, begin);
        self.held.extend_from_slice(&rest[taken.bytes..]);
        // Bytes that pass unchanged stay where they were read. The first frame that is exchanged
        // for a stand-in, or that belongs to the next turn, ends them: what follows is copied, to
        // keep the order.
        buffer.set_filled(before + passed.bytes);
        self.account(passed)?;
        self.account(taken)
    }

    /// Examines held bytes, as far as they belong to this turn.
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

    /// Passes on as much as there is room for.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let fits = self.onward.len().min(buffer.remaining());
        buffer.put_slice(&self.onward[..fits]);
        self.onward.drain(..fits);
        if self.onward.is_empty() && self.onward.capacity() > STAND_INS {
            self.onward = Vec::new();
        }
    }

    fn account(&mut self, taken: Consumed) -> io::Result<()> {
        // The last frame of a turn may need more work than was left: its fields count too.
        self.meter.left.set(self.meter.left.get().saturating_sub(taken.work));
        if taken.lively {
            self.meter.heard.set(Instant::now());
        }
        // Held bytes wait for their turn, not for the client.
        let owed = self.frames.is_within_head() && self.held.is_empty();
        self.end.0.note_head(owed.then(|| self.frames.head_number()));
        // A fault is no I/O error: the library would end without GOAWAY, and without processing
        // what came before the fault.
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
            // Bytes from an earlier turn come first, because the socket has only later ones.
            self.hand_on(buffer);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            // The connection task ends the connection.
            if self.frames.fault().is_some() {
                return Poll::Pending;
            }
            // The turn is over. The waker is a `TurnWaker`, so the task joins the fair queue and
            // is not polled again before the others.
            if self.meter.left.get() == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.held.is_empty() {
                ready!(Pin::new(&mut self.end).poll_read(context, buffer))?;
                // The end of the connection. It is passed on even within a frame, so the library
                // ends its streams.
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
        // Pending means that every stand-in so far was passed on, and the library has asked for
        // more.
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

    /// Bytes read in one turn, piece after piece.
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
            assert!(
                piece.len() <= 24 + FRAMES_A_TURN as usize * 13,
                "{} bytes in a turn",
                piece.len()
            );
            read.extend(piece);
            turns += 1;
        }
        assert!(read == sent && turns >= 100 / FRAMES_A_TURN, "{turns}");
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
        // Requests before the yielded one were refused; each is taken once.
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
        // The first earns only by its bytes; whole ones before it earn the usual number.
        assert_eq!(earned(frames::DATA, 0, SLIVER), EARNED * ONE + 4 * ONE);
        assert_eq!(
            [earned(frames::DATA, 0, 32), earned(frames::DATA, 0, 32)],
            [ONE, (EARNED + 1) * ONE]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_without_use_have_an_allowance() {
        let (mut client, server) = duplex(1 << 20);
        let (conn, meter) = (ClientConn::new(Box::new(server)), Rc::new(Meter::default()));
        let mut end = MeteredIo::new(&conn, &meter, LIMITS);
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("room in the pipe");
        client.write_all(&ping.repeat(2_500)).await.expect("room in the pipe");
        let mut frames = 0;
        while turn(&mut end, &meter).await.is_ok() {
            frames += u64::from(FRAMES_A_TURN);
        }
        assert!(
            (FRAMES - u64::from(FRAMES_A_TURN)..=FRAMES + u64::from(FRAMES_A_TURN))
                .contains(&frames),
            "{frames}"
        );
    }
}
