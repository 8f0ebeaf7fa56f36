//! Request bodies of unknown length that are collected before they are forwarded (`request.buffer`
//! of a route), so that they are sent with their length and may be sent again.
//!
//! Guarantees: a body takes at most the memory its route allows, and all bodies of a worker at most
//! [`PER_WORKER`], until their last byte was passed on. A body that does not fit is collected no
//! further and is streamed. `tests/edge/buffer.rs` holds them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// Limit on the memory for collected bodies of a worker.
pub const PER_WORKER: usize = 64 * 1024 * 1024;
/// Largest piece of a collected body that is passed on in one turn.
pub const PIECE: usize = 64 * 1024;
/// Least memory of a body once a byte was received.
const LEAST_SHARE: usize = 4 * 1024;

/// Memory for collected bodies of one worker.
#[derive(Clone, Debug, Default)]
pub struct BodyMemory {
    /// Shared with bytes that were passed on, which another library may hold.
    used: Arc<AtomicUsize>,
}

/// Body while it is collected.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    most: usize,
    share: Share,
}

/// Memory of one body, given back on drop.
#[derive(Debug)]
struct Share {
    used: Arc<AtomicUsize>,
    size: usize,
}

/// Collected part of a body that was not passed on yet.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Collected bytes, and the piece behind them that did not fit.
    pieces: VecDeque<Bytes>,
    /// Trailers, if the body is complete.
    trailers: Option<HeaderMap>,
}

impl Collected {
    /// Creates a body of these pieces and trailers.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = Bytes>, trailers: Option<HeaderMap>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { pieces, trailers: trailers.filter(|trailers| !trailers.is_empty()) }
    }

    /// Takes the next piece, or the trailers after the last one.
    pub fn take(&mut self) -> Option<Frame<Bytes>> {
        let Some(first) = self.pieces.front_mut() else {
            return self.trailers.take().map(Frame::trailers);
        };
        // One large piece would keep the worker busy with one write. Splitting shares the memory.
        let piece = first.split_to(first.len().min(PIECE));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        Some(Frame::data(piece))
    }

    /// Number of bytes that are left.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Returns true if there are trailers, which only a chunked body can carry.
    #[must_use]
    pub fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// Returns true if nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }
}

impl BodyMemory {
    /// Creates room for a body of at most this many bytes; no memory is taken yet.
    #[must_use]
    pub fn block(&self, most: usize) -> Block {
        Block { bytes: Vec::new(), most, share: Share { used: Arc::clone(&self.used), size: 0 } }
    }
}

impl Block {
    /// Adds a piece; returns false, with nothing added, if it does not fit.
    #[must_use]
    pub fn add(&mut self, piece: &[u8]) -> bool {
        let length = self.bytes.len() + piece.len();
        // Nothing is added, so the caller still has the piece and streams it behind the block.
        if length > self.most {
            return false;
        }
        if length > self.share.size {
            // The buffer doubles each time, so on average each byte is copied at most once. One
            // piece may be larger than that, so it grows at least to `length`.
            let size = (self.share.size * 2).max(length).max(LEAST_SHARE).min(self.most);
            if !self.share.grow(size) {
                return false;
            }
            // Exact, because the share accounts for the size of the buffer, not for its content.
            self.bytes.reserve_exact(size - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        true
    }

    /// Returns the collected part; its memory is given back when the last piece is dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        // The owner is dropped with the last clone of the bytes, wherever they are held. The share
        // returns then, not when the body ends.
        if self.bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Share {
    fn grow(&mut self, size: usize) -> bool {
        let more = size - self.size;
        let fits = self.used.load(Relaxed) + more <= PER_WORKER;
        if fits {
            // Only one worker adds, other threads only subtract, so the limit that was checked
            // still holds.
            self.used.fetch_add(more, Relaxed);
            self.size = size;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::downstream::collected_body::*;

    fn used(memory: &BodyMemory) -> usize {
        memory.used.load(Relaxed)
    }

    #[test]
    fn block_takes_what_its_route_grants_and_not_a_byte_more() {
        for pieces in [1, 3, 1_000, 10_000] {
            let memory = BodyMemory::default();
            let mut block = memory.block(10_000);
            for _ in 0..10_000 / pieces {
                assert!(block.add(&vec![7; pieces]));
            }
            assert!(!block.add(&[7; 2]));
            assert!(used(&memory) <= 10_000 && block.bytes.capacity() <= 10_000, "{pieces}");
            assert_eq!(block.freeze().len(), 10_000 / pieces * pieces);
            assert_eq!(used(&memory), 0);
        }
    }

    #[test]
    fn memory_of_a_worker_is_bounded_and_given_back_with_the_last_part() {
        let memory = BodyMemory::default();
        let whole = vec![7; PER_WORKER / 4];
        let mut blocks: Vec<_> = (0..5).map(|_| memory.block(PER_WORKER)).collect();
        let taken: Vec<_> = blocks.iter_mut().map(|block| block.add(&whole)).collect();
        assert_eq!((taken, used(&memory)), (vec![true, true, true, true, false], PER_WORKER));
        let mut first = blocks.remove(0).freeze();
        let part = first.split_to(10);
        drop(first);
        assert!(!blocks[3].add(&[7]));
        drop(part);
        assert!(blocks[3].add(&[7]));
        assert_eq!(used(&memory), PER_WORKER / 4 * 3 + LEAST_SHARE);
        drop(blocks);
        assert_eq!(used(&memory), 0);
    }

    #[test]
    fn collected_is_handed_over_in_pieces_and_its_trailers_last() {
        let trailers: HeaderMap =
            [(http::header::ETAG, http::HeaderValue::from_static("7"))].into_iter().collect();
        let pieces =
            [Bytes::from(vec![7; 2 * PIECE + 1]), Bytes::new(), Bytes::from_static(b"next")];
        let mut collected = Collected::new(pieces, Some(trailers));
        let (length, again) = (collected.length(), collected.clone());
        let frames: Vec<_> = std::iter::from_fn(|| collected.take()).collect();
        let lengths: Vec<_> = frames.iter().map(|frame| frame.data_ref().map(Bytes::len)).collect();
        assert_eq!(lengths, [Some(PIECE), Some(PIECE), Some(1), Some(4), None]);
        assert!(collected.is_empty() && !again.is_empty() && again.has_trailers());
        assert_eq!((length, again.length(), collected.length()), (2 * PIECE as u64 + 5, length, 0));
    }

    #[test]
    fn empty_body_takes_nothing() {
        let memory = BodyMemory::default();
        let mut block = memory.block(10);
        assert!(block.add(&[]) && used(&memory) == 0);
        assert!(block.freeze().is_empty());
    }
}
