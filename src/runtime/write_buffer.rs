//! Bytes on their way to a connection: small ones copied together, and one large piece that is
//! written beside them without a copy.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Longest piece that is copied behind earlier bytes.
const COPIED: usize = 4 * 1024;

/// Output that was not written yet.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    text: Vec<u8>,
    written: usize,
    piece: Bytes,
    /// Bytes behind the piece.
    end: &'static [u8],
}

impl WriteBuffer {
    /// Returns true if everything was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Returns true if a large piece waits, behind which nothing can be added but an end.
    #[must_use]
    pub fn has_piece(&self) -> bool {
        !self.end.is_empty() || !self.piece.is_empty()
    }

    /// Number of copied bytes.
    #[must_use]
    pub fn copied(&self) -> usize {
        self.text.len() - self.written
    }

    /// Copied bytes, to append to. Legal only while no large piece waits.
    pub fn text(&mut self) -> &mut Vec<u8> {
        debug_assert!(!self.has_piece());
        &mut self.text
    }

    /// Adds a piece, and the bytes behind it. Legal only while no large piece waits.
    pub fn push(&mut self, piece: Bytes, end: &'static [u8]) {
        // A short piece is copied: it leaves in one buffer with its neighbours, and its read buffer
        // is freed.
        if piece.len() > COPIED {
            self.piece = piece;
            self.end = end;
        } else {
            self.text().extend_from_slice(&piece);
            self.text.extend_from_slice(end);
        }
    }

    /// Adds the last bytes: `behind` instead of the end of a large piece that waits, or else
    /// `alone`.
    pub fn push_end(&mut self, behind: &'static [u8], alone: &'static [u8]) {
        if self.has_piece() {
            // Callers end a body right behind its last piece, before any write: the end of it is
            // still whole.
            self.end = behind;
        } else {
            self.text.extend_from_slice(alone);
        }
    }

    /// Frees the room for copied bytes if it is larger than this. Legal only on an empty buffer.
    pub fn shrink(&mut self, most: usize) {
        if self.text.capacity() > most {
            self.text = Vec::new();
        }
    }

    /// Number of bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.copied() + self.piece.len() + self.end.len()
    }

    /// Ready when everything was written.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin + ?Sized),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let text = &self.text[self.written..];
            // For one slice the plain call is enough.
            let count = match (text, &*self.piece, self.end) {
                (alone, [], []) | ([], alone, []) | ([], [], alone) => {
                    ready!(Pin::new(&mut *io).poll_write(context, alone))?
                }
                (text, piece, end) => {
                    let slices = [IoSlice::new(text), IoSlice::new(piece), IoSlice::new(end)];
                    ready!(Pin::new(&mut *io).poll_write_vectored(context, &slices))?
                }
            };
            // A stream that accepts nothing would keep this loop running for ever.
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let of_text = count.min(self.text.len() - self.written);
        self.written += of_text;
        // Cleared only when all of it is written: moving the rest forward would copy it each time.
        if self.written == self.text.len() {
            self.text.clear();
            self.written = 0;
        }
        let of_piece = (count - of_text).min(self.piece.len());
        self.piece.advance(of_piece);
        self.end = &self.end[count - of_text - of_piece..];
    }
}
