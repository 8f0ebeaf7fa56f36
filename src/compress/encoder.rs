//! Encoder: the codecs behind one interface.
//!
//! Guarantee: between two steps it holds at most [`CODER_BYTES`], and it never writes more than it
//! is given room for. Within a step brotli takes a few MiB more; a worker runs one step at a time.

use brotli::enc::{
    StandardAlloc,
    encode::{
        BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
        BrotliEncoderStateStruct as BrotliState,
    },
};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective as Directive};

use super::negotiate::Coding;
use crate::http::error::{Error, Kind};

/// Limit on the memory of one encoder, in bytes: the largest of them, rounded up
/// (`tests/memory.rs` measures it).
pub const CODER_BYTES: usize = 2 * 1024 * 1024;
/// Least room for a step: a flush marker must not be cut again and again.
pub const LEAST_ROOM: usize = 64;

/// Level of zstd, and the logarithms of its window and tables: RFC 9659 allows a window of 2^23.
const ZSTD: [CParameter; 4] = [
    CParameter::CompressionLevel(3),
    CParameter::WindowLog(18),
    CParameter::HashLog(16),
    CParameter::ChainLog(15),
];
/// Quality of brotli and the logarithm of its window.
const BROTLI: (u32, u32) = (4, 17);
/// Level of gzip and the logarithm of its window.
const GZIP: (u32, u8) = (5, 15);

/// Operation of an encoder step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// Encode more input.
    Continue,
    /// Emit everything encoded so far, so that it can be decoded; until that is done no other
    /// operation is allowed.
    Flush,
    /// Emit everything and end the stream.
    Finish,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of input taken.
    pub read: usize,
    /// Bytes of output written.
    pub written: usize,
    /// True when a flush or a finish is complete.
    pub done: bool,
}

/// Encoder for one body.
pub struct Coder(Codec);

enum Codec {
    Zstd(CCtx<'static>),
    Brotli(Box<BrotliState<StandardAlloc>>),
    Gzip(Compress),
}

impl Coder {
    /// Creates an encoder for a body, of this length if it is known: a short one needs less memory.
    ///
    /// # Errors
    /// [`Kind::ProxyInternalError`] when there is no memory.
    pub fn new(coding: Coding, length: Option<u64>) -> Result<Self, Error> {
        Ok(Self(match coding {
            Coding::Zstd => Codec::Zstd(zstd(length)?),
            Coding::Brotli => Codec::Brotli(Box::new(brotli(length))),
            Coding::Gzip => Codec::Gzip(Compress::new_gzip(Compression::new(GZIP.0), GZIP.1)),
        }))
    }

    /// Encodes part of `input` into `room`, which has at least [`LEAST_ROOM`] bytes.
    ///
    /// # Errors
    /// [`Kind::ProxyInternalError`] when the codec fails.
    pub fn step(&mut self, order: FlushMode, input: &[u8], room: &mut [u8]) -> Result<Step, Error> {
        match &mut self.0 {
            Codec::Zstd(context) => zstd_step(context, order, input, room),
            Codec::Brotli(state) => brotli_step(state, order, input, room),
            Codec::Gzip(compress) => gzip_step(compress, order, input, room),
        }
    }
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused(Kind::ProxyInternalError, "cannot compress the response", cause)
}

fn zstd(length: Option<u64>) -> Result<CCtx<'static>, Error> {
    let named = |code| failed(zstd_safe::get_error_name(code));
    let mut context = CCtx::try_create().ok_or_else(|| failed("no memory"))?;
    for parameter in ZSTD {
        context.set_parameter(parameter).map_err(named)?;
    }
    // zstd chooses smaller tables for a short body.
    context.set_pledged_src_size(length).map_err(named)?;
    Ok(context)
}

fn zstd_step(
    context: &mut CCtx<'_>,
    order: FlushMode,
    input: &[u8],
    room: &mut [u8],
) -> Result<Step, Error> {
    let directive = match order {
        FlushMode::Continue => Directive::ZSTD_e_continue,
        FlushMode::Flush => Directive::ZSTD_e_flush,
        FlushMode::Finish => Directive::ZSTD_e_end,
    };
    let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(room));
    let left = context.compress_stream2(&mut to, &mut from, directive);
    let left = left.map_err(|code| failed(zstd_safe::get_error_name(code)))?;
    Ok(Step { read: from.pos(), written: to.pos(), done: left == 0 })
}

fn brotli(length: Option<u64>) -> BrotliState<StandardAlloc> {
    let (quality, window) = BROTLI;
    // A window larger than the body only takes memory.
    let needed = length.map_or(window, |length| length.next_power_of_two().ilog2());
    let mut state = BrotliState::new(StandardAlloc::default());
    state.set_parameter(Parameter::BROTLI_PARAM_QUALITY, quality);
    // Brotli has no smaller window than 2^10 (RFC 7932, section 9.1).
    state.set_parameter(Parameter::BROTLI_PARAM_LGWIN, needed.clamp(10, window));
    // From one MiB on brotli would use a table of 4 MiB.
    state.set_parameter(Parameter::BROTLI_PARAM_SIZE_HINT, 1 << 19);
    state
}

fn brotli_step(
    state: &mut BrotliState<StandardAlloc>,
    order: FlushMode,
    input: &[u8],
    room: &mut [u8],
) -> Result<Step, Error> {
    let operation = match order {
        FlushMode::Continue => Operation::BROTLI_OPERATION_PROCESS,
        FlushMode::Flush => Operation::BROTLI_OPERATION_FLUSH,
        FlushMode::Finish => Operation::BROTLI_OPERATION_FINISH,
    };
    let (mut left, mut read) = (input.len(), 0);
    let (mut space, mut written) = (room.len(), 0);
    let fine = state.compress_stream(
        operation,
        &mut left,
        input,
        &mut read,
        &mut space,
        room,
        &mut written,
        &mut None,
        &mut |_, _, _, _| (),
    );
    if !fine {
        return Err(failed("brotli reported an error"));
    }
    let done = match order {
        FlushMode::Finish => state.is_finished(),
        // Brotli reports no end of a flush: it is complete when nothing is left on either side.
        FlushMode::Continue | FlushMode::Flush => left == 0 && !state.has_more_output(),
    };
    Ok(Step { read, written, done })
}

fn gzip_step(
    compress: &mut Compress,
    order: FlushMode,
    input: &[u8],
    room: &mut [u8],
) -> Result<Step, Error> {
    let flush = match order {
        FlushMode::Continue => FlushCompress::None,
        // Ends with an empty stored block (RFC 1951, section 3.2.4), so the client can decode
        // everything so far.
        FlushMode::Flush => FlushCompress::Sync,
        FlushMode::Finish => FlushCompress::Finish,
    };
    let (read, written) = (compress.total_in(), compress.total_out());
    let status = compress.compress(input, room, flush).map_err(failed)?;
    // Both are at most as long as the slices.
    let (read, written) =
        ((compress.total_in() - read) as usize, (compress.total_out() - written) as usize);
    let done = match order {
        FlushMode::Finish => status == Status::StreamEnd,
        // The flush is complete when there was room for more (zlib.h, deflate).
        FlushMode::Continue | FlushMode::Flush => read == input.len() && written < room.len(),
    };
    Ok(Step { read, written, done })
}
