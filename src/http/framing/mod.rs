//! Framing of messages: the end of one message and the start of the next, in the bytes of a
//! connection (RFC 9112, sections 2 to 7).
//!
//! Guarantee: accepted bytes can be framed in one way only: every later parser finds the same heads
//! and the same bodies. Nothing is repaired.

use crate::http::error::Kind;

pub mod body;
pub mod chunked;
pub mod client_frames;
pub mod field_list;
pub mod flaw;
pub mod frames;
pub mod head;
pub mod hpack;
pub mod huffman;
pub mod line;
pub mod request;
pub mod request_head;
pub mod response;
pub mod response_head;

pub use flaw::Flaw;

/// Longest request line, in bytes.
pub const REQUEST_LINE: usize = 8 * 1024;

/// Limits on the head of a message, and on its trailers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Bytes of all lines.
    pub size: usize,
    /// Number of field lines.
    pub count: usize,
}

const TARGET_TOO_LONG: Flaw =
    Flaw { kind: Kind::TargetTooLong, detail: "the request line is too long" };
const HEAD_TOO_LARGE: Flaw =
    Flaw { kind: Kind::HeadersTooLarge, detail: "the request's fields are too large or too many" };
const NO_CHUNK_END: Flaw = Flaw::malformed("a chunk is longer than its size");
