//! What an endpoint says about its HTTP/2 connection, read from the frames: hyper tells of a GOAWAY only by failing the next request,
//! and of settings only once there is one.
//!
//! Guarantees: a connection is known to be going away from the head of its first GOAWAY on (RFC 9113, section 6.8); the number of streams is
//! the one that its latest SETTINGS allow (section 6.5.2).

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::connect::Stream;

/// A frame's head: its length, kind, flags and stream (RFC 9113, section 4.1).
const HEAD: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// A setting: its number and its value.
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// The most streams on a connection to an address that has never said how many it allows.
const STREAMS: usize = 100;

/// What was noticed on one connection.
#[derive(Debug)]
pub struct Signs {
    /// The endpoint takes no new stream.
    pub going: Cell<bool>,
    /// When anything came last.
    pub heard: Cell<Instant>,
    /// How many streams the endpoint allows; until it says so, how many it allowed on the connection before.
    pub allowed: Cell<usize>,
    /// Whether it has said so.
    settled: Cell<bool>,
}

impl Default for Signs {
    fn default() -> Self {
        Self::new(STREAMS)
    }
}

impl Signs {
    fn new(allowed: usize) -> Self {
        Self {
            going: Cell::new(false),
            heard: Cell::new(Instant::now()),
            allowed: Cell::new(allowed),
            settled: Cell::new(false),
        }
    }

    /// The signs of the connection that follows this one to the same address. An endpoint may allow no streams for a while, but the
    /// connection would never be used if that was believed before it has said so.
    #[must_use]
    pub fn after(&self) -> Self {
        Self::new(self.allowed.get().max(1))
    }

    /// Something has come.
    pub fn hear(&self) {
        self.heard.set(Instant::now());
    }
}

/// A connection whose received frames are watched.
pub struct Watched {
    stream: Stream,
    signs: Rc<Signs>,
    frames: FrameHeads,
}

impl Watched {
    /// A connection on which nothing has come.
    #[must_use]
    pub fn new(stream: Stream, signs: &Rc<Signs>) -> Self {
        Self { stream, signs: Rc::clone(signs), frames: FrameHeads::default() }
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
    fn take(&mut self, bytes: &[u8], signs: &Signs) {
        let mut position = 0;
        while position < bytes.len() {
            let skipped = self.left.min(bytes.len() - position);
            self.take_settings(&bytes[position..position + skipped], signs);
            self.left -= skipped;
            position += skipped;
            let of_head = (HEAD - self.filled).min(bytes.len() - position);
            self.head[self.filled..self.filled + of_head].copy_from_slice(&bytes[position..position + of_head]);
            self.filled += of_head;
            position += of_head;
            if self.filled == HEAD {
                self.filled = 0;
                self.begin(signs);
            }
        }
    }

    /// The head of a frame has come.
    fn begin(&mut self, signs: &Signs) {
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

    fn take_settings(&mut self, bytes: &[u8], signs: &Signs) {
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
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn goaway_is_found_however_the_bytes_are_cut() {
        // What looks like a GOAWAY within a payload is none.
        let disguised = frame(0, &frame(GOAWAY, &[0; 8]));
        let before = [frame(SETTINGS, b""), disguised.clone(), frame(6, &[7; 8]), frame(1, &[7; 300])].concat();
        let bytes = [before.clone(), frame(GOAWAY, &[0; 8]), disguised].concat();
        for size in 1..=bytes.len() {
            let (mut heads, signs) = (FrameHeads::default(), Signs::default());
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
        let first = frame(SETTINGS, &[setting(4, 65_535), setting(3, 7), setting(5, 16_384)].concat());
        let none_said = frame(SETTINGS, &setting(4, 65_535));
        let acknowledged = [&[0, 0, 6, SETTINGS, ACK, 0, 0, 0, 0][..], &setting(3, 1)].concat();
        for size in 1..=first.len() {
            let said = |frames: &[&[u8]]| {
                let (mut heads, signs) = (FrameHeads::default(), Signs::default());
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
