//! The bytes of an HTTP/2 connection to an endpoint, below hyper: what the endpoint says about the
//! connection is read from its frames, because hyper tells of a GOAWAY only by failing the next
//! request, and of settings only once there is one; and the head of a request is held back for one
//! turn of its task, in which hyper hands on what has come of the body.
//!
//! Guarantees: a connection is known to be going away from the head of its first GOAWAY on (RFC
//! 9113, section 6.8); the number of streams is the one that its latest SETTINGS allow (section
//! 6.5.2).

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

/// A frame's head: its length, kind, flags and stream (RFC 9113, section 4.1).
const HEAD: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// A setting: its number and its value.
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// The most bytes that are held back.
const HELD: usize = 16 * 1024;

/// The most streams on a connection to an address that has never said how many it allows.
const STREAMS: usize = 100;

/// What was noticed on one connection.
#[derive(Debug)]
pub struct Http2Signals {
    /// The endpoint takes no new stream.
    pub going: Cell<bool>,
    /// When anything came last.
    pub heard: Cell<Instant>,
    /// How many streams the endpoint allows; until it says so, how many it allowed on the
    /// connection before.
    pub allowed: Cell<usize>,
    /// Whether it has said so.
    settled: Cell<bool>,
    /// A request with a body is about to be written: its head waits for one turn.
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

    /// The signs of the connection that follows this one to the same address. An endpoint may allow
    /// no streams for a while, but the connection would never be used if that was believed before
    /// it has said so.
    #[must_use]
    pub fn after(&self) -> Self {
        Self::new(self.allowed.get().max(1))
    }

    /// A request with a body is handed to hyper next.
    pub fn expect_body(&self) {
        self.body_follows.set(true);
    }

    /// Something has come.
    pub fn hear(&self) {
        self.heard.set(Instant::now());
    }
}

/// A connection whose received frames are watched.
pub struct Watched {
    stream: BoxedIo,
    signs: Rc<Http2Signals>,
    frames: FrameHeads,
    /// What was taken to be written, and waits for what follows.
    held: BytesMut,
    /// It has waited.
    has_waited: bool,
}

impl Watched {
    /// A connection on which nothing has come.
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

    /// Holds these bytes back, if they are to wait or others before them do, and there is room.
    fn hold(&mut self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let waits = self.signs.body_follows.get() || !self.held.is_empty();
        if !waits || self.held.len() + length > HELD {
            return None;
        }
        pieces.iter().for_each(|piece| self.held.extend_from_slice(piece));
        Some(length)
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
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
    /// Bytes to come of the frame under way.
    left: usize,
    head: [u8; HEAD],
    filled: usize,
    /// The frame under way is SETTINGS, and this much of a setting has come.
    setting: Option<(usize, [u8; SETTING])>,
}

impl FrameHeads {
    fn take(&mut self, bytes: &[u8], signs: &Http2Signals) {
        let mut position = 0;
        while position < bytes.len() {
            let skipped = self.left.min(bytes.len() - position);
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

    /// The head of a frame has come.
    fn begin(&mut self, signs: &Http2Signals) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.setting = (kind == SETTINGS && flags & ACK == 0).then_some((0, [0; SETTING]));
        if self.setting.is_some() && !signs.settled.replace(true) {
            // Settings that do not name the number say that there is none.
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
        // What does not fit goes out with what was held, in one write.
        while !this.held.is_empty() {
            let all: Vec<_> =
                std::iter::once(IoSlice::new(&this.held)).chain(pieces.iter().copied()).collect();
            let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, &all))?;
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
        let waits = self.signs.body_follows.replace(false) && !self.held.is_empty();
        // Only once, however many requests come meanwhile.
        if waits && !std::mem::replace(&mut self.has_waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_held(context))?;
        self.has_waited = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use crate::upstream::http2_io::*;

    /// Pieces of many lengths, some held back and some not, through a pipe of this size.
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
    async fn what_is_held_back_goes_out_in_order_and_whole() {
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
                // Another one comes in each turn.
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
        // What looks like a GOAWAY within a payload is none.
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
