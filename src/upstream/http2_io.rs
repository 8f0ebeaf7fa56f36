//! I/O of an HTTP/2 connection to an endpoint, below hyper, which reads signals from its frames:
//! hyper reports a GOAWAY only by failing the next request, and settings only once there is one. It
//! also holds back the head of a request for one turn of its task, in which hyper adds the body
//! data that is there already.
//!
//! Guarantees: a connection is known to be going away from the head of its first GOAWAY on (RFC
//! 9113, section 6.8). The number of streams is that of its latest SETTINGS (section 6.5.2).

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::connect::BoxedIo;
use crate::http::framing::frames::{ACK, GOAWAY, HEAD, SETTINGS};

/// Length of a setting: number and value.
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// Limit on the bytes that are held back.
const HELD: usize = 16 * 1024;

/// Streams on a connection to an address that has never announced a limit.
const STREAMS: usize = 100;

/// Signals of one connection.
#[derive(Debug)]
pub struct Http2Signals {
    /// True if the endpoint accepts no new stream.
    pub going: Cell<bool>,
    /// Time of the last received data.
    pub heard: Cell<Instant>,
    /// Streams that the endpoint allows; until it announces the number, that of the previous
    /// connection.
    pub allowed: Cell<usize>,
    /// True once it has announced the number.
    settled: Cell<bool>,
    /// True if a request with a body is written next: its head waits for one turn.
    body_follows: Cell<bool>,
}

impl Default for Http2Signals {
    fn default() -> Self {
        Self::new(STREAMS)
    }
}

impl Http2Signals {
    fn new(allowed: usize) -> Self {
        Self {
            going: Cell::new(false),
            heard: Cell::new(Instant::now()),
            allowed: Cell::new(allowed),
            settled: Cell::new(false),
            body_follows: Cell::new(false),
        }
    }

    /// Signals for the next connection to the same address. An endpoint may allow no streams for a
    /// while, but a new connection would never be used if that was assumed before it has announced
    /// it.
    #[must_use]
    pub fn after(&self) -> Self {
        Self::new(self.allowed.get().max(1))
    }

    /// Announces that a request with a body is passed to hyper next.
    pub fn expect_body(&self) {
        self.body_follows.set(true);
    }

    /// Records received data.
    pub fn hear(&self) {
        self.heard.set(Instant::now());
    }
}

/// Connection whose received frames are watched.
pub struct Watched {
    stream: BoxedIo,
    signs: Rc<Http2Signals>,
    frames: FrameHeads,
    /// Output that waits for what follows.
    held: BytesMut,
    /// True if it has waited for one turn.
    has_waited: bool,
}

impl Watched {
    /// Wraps a new connection.
    #[must_use]
    pub fn new(stream: BoxedIo, signs: &Rc<Http2Signals>) -> Self {
        Self {
            stream,
            signs: Rc::clone(signs),
            frames: FrameHeads::default(),
            held: BytesMut::new(),
            has_waited: false,
        }
    }

    /// Holds these bytes back if they are to wait, or earlier ones do, and there is room.
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        // Once something is held, what follows is held too, or it would overtake.
        let waits = self.signs.body_follows.get() || !self.held.is_empty();
        // More than a head and a little data is written directly: it fills segments by itself.
        if !waits || self.held.len() + length > HELD {
            return None;
        }
        pieces.iter().for_each(|piece| self.held.extend_from_slice(piece));
        Some(length)
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            // Without this a peer that takes nothing would make this loop spin.
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// Follows frames, however the bytes are cut into pieces.
#[derive(Debug, Default)]
struct FrameHeads {
    /// Bytes to come of the current frame.
    left: usize,
    head: [u8; HEAD],
    filled: usize,
    /// Part of a setting received so far, if the current frame is SETTINGS.
    setting: Option<(usize, [u8; SETTING])>,
}

impl FrameHeads {
    fn take(&mut self, bytes: &[u8], signs: &Http2Signals) {
        let mut position = 0;
        while position < bytes.len() {
            let skipped = self.left.min(bytes.len() - position);
            // The payload is read in pieces, because a read may end within a setting.
            self.take_settings(&bytes[position..position + skipped], signs);
            self.left -= skipped;
            position += skipped;
            let of_head = (HEAD - self.filled).min(bytes.len() - position);
            self.head[self.filled..self.filled + of_head]
                .copy_from_slice(&bytes[position..position + of_head]);
            self.filled += of_head;
            position += of_head;
            if self.filled == HEAD {
                self.filled = 0;
                self.begin(signs);
            }
        }
    }

    /// Handles the head of a frame.
    fn begin(&mut self, signs: &Http2Signals) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
        // An acknowledgement has no content, and says nothing about limits.
        self.setting = (kind == SETTINGS && flags & ACK == 0).then_some((0, [0; SETTING]));
        if self.setting.is_some() && !signs.settled.replace(true) {
            // Without that setting there is no limit.
            signs.allowed.set(usize::MAX);
        }
        if kind == GOAWAY {
            signs.going.set(true);
        }
    }

    fn take_settings(&mut self, bytes: &[u8], signs: &Http2Signals) {
        let Some((filled, setting)) = &mut self.setting else { return };
        for byte in bytes {
            setting[*filled] = *byte;
            *filled = (*filled + 1) % SETTING;
            let [high, low, value @ ..] = *setting;
            if *filled == 0 && u16::from_be_bytes([high, low]) == MAX_CONCURRENT_STREAMS {
                // The latest value counts, also within one frame (RFC 9113, section 6.5.3).
                signs.allowed.set(usize::try_from(u32::from_be_bytes(value)).unwrap_or(usize::MAX));
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        // An empty read is the end of the connection, not a sign of life.
        if !read.is_empty() {
            this.signs.hear();
            this.frames.take(read, &this.signs);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(taken) = this.hold(pieces) {
            return Poll::Ready(Ok(taken));
        }
        // Bytes that do not fit are written together with the held ones.
        while !this.held.is_empty() {
            let all: Vec<_> =
                std::iter::once(IoSlice::new(&this.held)).chain(pieces.iter().copied()).collect();
            let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, &all))?;
            // Only what exceeds the held bytes is reported: those were reported when they
            // were taken.
            let of_held = count.min(this.held.len());
            this.held.advance(of_held);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if count > of_held {
                return Poll::Ready(Ok(count - of_held));
            }
        }
        Pin::new(&mut this.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Taken back with the flush: the next request with a body announces itself again.
        let waits = self.signs.body_follows.replace(false) && !self.held.is_empty();
        // Only once, however many requests arrive meanwhile.
        if waits && !std::mem::replace(&mut self.has_waited, true) {
            // In the next turn hyper takes the body data that is there, and flushes only then.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_held(context))?;
        self.has_waited = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A shutdown must not lose what was reported as written.
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use crate::upstream::http2_io::*;

    /// Sends pieces of many lengths, some held back and some not, through a pipe of this size.
    async fn through(pipe: usize) {
        let (near, mut far) = duplex(pipe);
        let signs = Rc::new(Http2Signals::default());
        let mut watched = Watched::new(Box::new(near), &signs);
        let lengths = [9, 47, 14, 16_000, 400, 16_384, 1, 40_000, 3];
        let expected: Vec<u8> = lengths
            .iter()
            .enumerate()
            .flat_map(|(index, length)| vec![index as u8; *length])
            .collect();
        let write = async {
            for (index, length) in lengths.iter().enumerate() {
                if index % 3 != 2 {
                    signs.expect_body();
                }
                watched.write_all(&vec![index as u8; *length]).await.expect("an open pipe");
                if index % 2 == 1 {
                    watched.flush().await.expect("an open pipe");
                }
            }
            watched.shutdown().await.expect("an open pipe");
        };
        let read = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("an open pipe");
            all
        };
        let ((), all) = tokio::join!(write, read);
        assert!(all == expected, "{} of {} bytes", all.len(), expected.len());
    }

    #[tokio::test]
    async fn http2_io_held_bytes_go_out_in_order() {
        for pipe in [1, 7, 1_000, 20_000, 1 << 20] {
            through(pipe).await;
        }
    }

    #[tokio::test]
    async fn head_of_a_request_waits_for_one_turn_and_no_longer() {
        let (near, mut far) = duplex(1 << 16);
        let signs = Rc::new(Http2Signals::default());
        let mut watched = Watched::new(Box::new(near), &signs);
        for _ in 0..3 {
            signs.expect_body();
            watched.write_all(b"head").await.expect("an open pipe");
            let mut flushes = 0;
            poll_fn(|context| {
                flushes += 1;
                // Another one arrives in each turn.
                signs.expect_body();
                Pin::new(&mut watched).poll_flush(context)
            })
            .await
            .expect("an open pipe");
            assert_eq!(flushes, 2);
            let mut head = [0; 4];
            far.read_exact(&mut head).await.expect("an open pipe");
            assert_eq!(&head, b"head");
        }
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn goaway_is_found_however_the_bytes_are_cut() {
        // Bytes that look like a GOAWAY within a payload are ignored.
        let disguised = frame(0, &frame(GOAWAY, &[0; 8]));
        let before =
            [frame(SETTINGS, b""), disguised.clone(), frame(6, &[7; 8]), frame(1, &[7; 300])]
                .concat();
        let bytes = [before.clone(), frame(GOAWAY, &[0; 8]), disguised].concat();
        for size in 1..=bytes.len() {
            let (mut heads, signs) = (FrameHeads::default(), Http2Signals::default());
            let found = bytes.chunks(size).position(|piece| {
                heads.take(piece, &signs);
                signs.going.get()
            });
            assert_eq!(found, Some((before.len() + HEAD - 1) / size), "in pieces of {size}");
        }
    }

    #[test]
    fn allowed_streams_are_what_the_latest_settings_say() {
        let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let first =
            frame(SETTINGS, &[setting(4, 65_535), setting(3, 7), setting(5, 16_384)].concat());
        let none_said = frame(SETTINGS, &setting(4, 65_535));
        let acknowledged = [&[0, 0, 6, SETTINGS, ACK, 0, 0, 0, 0][..], &setting(3, 1)].concat();
        for size in 1..=first.len() {
            let said = |frames: &[&[u8]]| {
                let (mut heads, signs) = (FrameHeads::default(), Http2Signals::default());
                frames.concat().chunks(size).for_each(|piece| heads.take(piece, &signs));
                signs
            };
            assert_eq!(said(&[]).allowed.get(), STREAMS);
            assert_eq!(said(&[&first]).allowed.get(), 7);
            assert_eq!(said(&[&none_said]).allowed.get(), usize::MAX);
            assert_eq!(said(&[&first, &none_said, &acknowledged]).allowed.get(), 7);
            let closed = said(&[&first, &frame(SETTINGS, &setting(3, 0))]);
            assert_eq!((closed.allowed.get(), closed.after().allowed.get()), (0, 1));
        }
    }
}
