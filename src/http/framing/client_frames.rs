//! Frames of an HTTP/2 client on their way to the `h2` crate, which manages the streams. Header
//! blocks are taken out and decoded here, and the crate gets a stand-in for each.
//!
//! Guarantees: the output is whole requests by stream, and a sequence of frames in which each
//! request is the same three bytes. So no field is a connection error, and no table is needed
//! behind it. A block is collected within limits that are checked before anything is kept. Frames
//! of a wrong length, and blocks that cannot be decoded, are reported with the right error code
//! (RFC 9113, sections 4.2, 4.3 and 6). Everything else is passed on unchanged.

use super::{
    HeaderLimits,
    field_list::{Received, RequestSoFar, TrailersSoFar},
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, GOAWAY, HEAD, HEADERS, PADDED,
        PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    },
    hpack::{self, Decoder},
};

/// Length of the connection preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Largest accepted frame: no other is offered (RFC 9113, section 4.2).
pub const LARGEST: usize = 16 * 1024;
/// Bytes of fields that count as much work as a frame.
const FIELDS: usize = 64;
/// Multiple of [`HeaderLimits::size`] that a block may have, coded and decoded: up to here its
/// request is refused, beyond it the connection ends.
const BEYOND: usize = 4;
/// CONTINUATION frames that a block may have beside those its size needs.
const CONTINUATIONS: usize = 16;
/// Requests that may be reset, or end with trailers, by frames that do not count as idle: no more
/// streams are open at a time.
const ENDS: u32 = 100;
/// Stand-in for the header block of a request: `GET`, `http` and `/` of the static table (RFC 7541,
/// appendix A). A request without these is malformed, so there is no shorter one.
const STAND_IN: [u8; 3] = [0x82, 0x86, 0x84];
/// Literal `content-length` without indexing, by its index in the static table. The `h2` crate
/// compares the body with it.
const CONTENT_LENGTH: [u8; 2] = [0x0f, 0x0d];

const PRIORITY_FRAME: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = u32::MAX >> 1;

/// Connection error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A frame where its kind is not allowed.
    #[error("a frame of a kind that is not allowed here")]
    Protocol,
    /// A window above the maximum.
    #[error("a flow-control window is above its maximum")]
    FlowControl,
    /// A frame of a wrong length.
    #[error("a frame has a wrong length")]
    FrameSize,
    /// A header block that cannot be decoded.
    #[error("{0}")]
    Compression(#[from] hpack::CodingError),
    /// A header block beyond all limits.
    #[error("a header block is far above the size limit")]
    Calm,
}

impl ConnectionError {
    /// Error code (RFC 9113, section 7).
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::FlowControl => 3,
            Self::FrameSize => 6,
            Self::Compression(_) => 9,
            Self::Calm => 11,
        }
    }
}

/// Result of examining a piece of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Number of bytes examined.
    pub bytes: usize,
    /// Work they require, in frames: a frame with many fields counts as several.
    pub work: u32,
    /// Number of frames in them without use: neither a request, nor a piece or the end of one. Each
    /// request has one RST_STREAM and one block of trailers.
    pub idle: u32,
    /// True if the connection is in use: useful frames, or room granted for responses.
    pub lively: bool,
}

/// Position of the next byte.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In bytes that are passed on unchanged, with the number still to come.
    Pass(usize),
    /// In the head of a frame.
    Head,
    /// In the payload of a frame that is examined as a whole, with the number of bytes still to
    /// come.
    Gather(FrameHead, usize),
}

/// Incomplete header block.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
    continuations: usize,
}

/// Destination of frames and requests.
struct Outlet<'a, F> {
    frames: &'a mut Vec<u8>,
    begin: F,
}

/// Follows the frames of one client.
#[derive(Debug)]
pub struct ClientFrames {
    limits: HeaderLimits,
    at: At,
    head: [u8; HEAD],
    filled: usize,
    /// Payload of the current frame, if it arrives in pieces.
    gathered: Vec<u8>,
    block: Option<Block>,
    decoder: Decoder,
    /// Last stream that was opened.
    last: u32,
    /// Number of recent requests that may still be reset ...
    resets: u32,
    /// ... and of those that may still end with trailers.
    trailers: u32,
    /// Number of heads that were started, each with its whole block.
    heads: u64,
    /// True if the current frame is a sign of life.
    lively: bool,
    /// True once the first SETTINGS frame of the client was received.
    greeted: bool,
    fault: Option<ConnectionError>,
}

impl ClientFrames {
    /// Follows a connection from its first byte.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            at: At::Pass(PREFACE),
            head: [0; HEAD],
            filled: 0,
            gathered: Vec::new(),
            block: None,
            decoder: Decoder::default(),
            last: 0,
            resets: 0,
            trailers: 0,
            heads: 0,
            lively: false,
            greeted: false,
            fault: None,
        }
    }

    /// Reason why nothing more is accepted, if any.
    #[must_use]
    pub fn fault(&self) -> Option<ConnectionError> {
        self.fault
    }

    /// Returns true while the rest of a frame head, of a header block or of a SETTINGS frame, or
    /// the first one, is expected.
    #[must_use]
    pub fn is_within_head(&self) -> bool {
        !self.greeted
            || self.filled > 0
            || self.block.is_some()
            || matches!(self.at, At::Gather(..))
    }

    /// Number of the current or last head: each head has its own, however its bytes arrive.
    #[must_use]
    pub fn head_number(&self) -> u64 {
        self.heads
    }

    /// Examines bytes as long as they are passed on unchanged and require less than `most` work,
    /// and returns their number. So large bodies are not copied. All bytes behind these are for
    /// [`ClientFrames::take`].
    pub fn pass(&mut self, bytes: &[u8], most: u32) -> Consumed {
        let mut taken = Consumed::default();
        // A head that arrived in part is completed by `take`, which has its beginning.
        while self.fault.is_none() && self.filled == 0 && taken.work < most {
            let rest = &bytes[taken.bytes..];
            match self.at {
                At::Pass(left) => {
                    let passed = self.pass_on(left, rest, &mut taken);
                    taken.bytes += passed;
                    if passed < left {
                        break;
                    }
                }
                At::Head => {
                    // An incomplete head is left to `take`, which copies it.
                    let Some(head) = rest.first_chunk().map(|head| FrameHead::read(*head)) else {
                        break;
                    };
                    // Within a block every other frame is an error, which `take` finds in order.
                    if is_gathered(head.kind) || self.block.is_some() {
                        break;
                    }
                    self.heads += 1;
                    self.begin(head, &mut taken);
                    // The faulty head is not passed on: the library must not see it.
                    if self.fault.is_some() {
                        break;
                    }
                    taken.bytes += HEAD;
                }
                At::Gather(..) => break,
            }
        }
        taken
    }

    /// Examines bytes until all are done, or until the frames that begin there require `most` work.
    /// It then stops behind the head of the last frame. Writes to `onward` what is passed on, and
    /// calls `begin` with each request and its stream.
    pub fn take(
        &mut self,
        bytes: &[u8],
        most: u32,
        onward: &mut Vec<u8>,
        begin: impl FnMut(u32, Received),
    ) -> Consumed {
        let (mut taken, mut rest, mut outlet) =
            (Consumed::default(), bytes, Outlet { frames: onward, begin });
        // A frame without a payload is complete with its head, and nothing may come behind it.
        while self.fault.is_none() && (taken.work < most || matches!(self.at, At::Gather(_, 0))) {
            match self.at {
                At::Pass(left) => {
                    let (passed, behind) = rest.split_at(self.pass_on(left, rest, &mut taken));
                    outlet.frames.extend_from_slice(passed);
                    rest = behind;
                    if passed.len() < left {
                        break;
                    }
                }
                At::Head => {
                    let (of_head, behind) = rest.split_at((HEAD - self.filled).min(rest.len()));
                    // A block continues with its frames, and so does the preface of the client.
                    if self.greeted
                        && self.filled == 0
                        && !of_head.is_empty()
                        && self.block.is_none()
                    {
                        self.heads += 1;
                    }
                    self.head[self.filled..self.filled + of_head.len()].copy_from_slice(of_head);
                    self.filled += of_head.len();
                    rest = behind;
                    if self.filled < HEAD {
                        break;
                    }
                    self.filled = 0;
                    let head = FrameHead::read(self.head);
                    self.begin(head, &mut taken);
                    if matches!(self.at, At::Pass(_)) {
                        outlet.frames.extend_from_slice(&self.head);
                    }
                }
                At::Gather(head, left) => {
                    let (piece, behind) = rest.split_at(left.min(rest.len()));
                    rest = behind;
                    taken.lively |= self.lively && !piece.is_empty();
                    // A payload that arrived whole is used where it is, without a copy.
                    if piece.len() == left && self.gathered.is_empty() {
                        self.end(head, piece, &mut outlet);
                        continue;
                    }
                    self.gathered.extend_from_slice(piece);
                    if piece.len() < left {
                        self.at = At::Gather(head, left - piece.len());
                        break;
                    }
                    // Taken, not cleared: an idle connection keeps no buffer.
                    let payload = std::mem::take(&mut self.gathered);
                    self.end(head, &payload, &mut outlet);
                }
            }
        }
        taken.bytes = bytes.len() - rest.len();
        taken
    }

    /// Returns the number of these bytes that are passed on unchanged, of `left`.
    fn pass_on(&mut self, left: usize, bytes: &[u8], taken: &mut Consumed) -> usize {
        let passed = left.min(bytes.len());
        taken.lively |= self.lively && passed > 0;
        self.at = if passed == left { At::Head } else { At::Pass(left - passed) };
        passed
    }

    /// Starts a frame whose head is complete.
    fn begin(&mut self, head: FrameHead, taken: &mut Consumed) {
        // By the head alone, so a payload that is not allowed is never collected.
        if let Err(fault) = self.check(head) {
            self.fault = Some(fault);
            return;
        }
        let FrameHead { kind, flags, stream, length } = head;
        taken.work += 1;
        let idle = match kind {
            DATA => length == 0 && flags & END_STREAM == 0,
            // A block on an older stream is trailers. Each request may have one, further ones are
            // idle work.
            HEADERS if stream <= self.last => !spend(&mut self.trailers),
            HEADERS | CONTINUATION => false,
            // One reset for each recent request is normal. A rapid reset is counted where its
            // request ends.
            RST_STREAM => !spend(&mut self.resets),
            _ => true,
        };
        if matches!(kind, HEADERS | CONTINUATION) {
            // A block is decoded field by field, so its work grows with its length, not with its
            // frames.
            taken.work += u32::try_from(length / FIELDS).unwrap_or(u32::MAX);
        }
        taken.idle += u32::from(idle);
        // Idle, but a sign of life: a client that only takes a download sends nothing else.
        self.lively = !idle || kind == WINDOW_UPDATE;
        taken.lively |= self.lively;
        self.at = if is_gathered(kind) { At::Gather(head, length) } else { At::Pass(length) };
    }

    /// Checks the place and the length of a frame.
    fn check(&mut self, head: FrameHead) -> Result<(), ConnectionError> {
        let FrameHead { kind, flags, stream, length } = head;
        let goes_on = |block: &Block| kind == CONTINUATION && stream == block.stream;
        // Within a block only its continuation is allowed, and a continuation only there (RFC 9113,
        // section 6.10).
        if self.block.as_ref().map_or(kind == CONTINUATION, |block| !goes_on(block))
            || kind == PUSH_PROMISE
        {
            return Err(ConnectionError::Protocol);
        }
        let fits = match kind {
            SETTINGS if flags & ACK != 0 => length == 0,
            // The library checks this too, but this file reads whole settings and needs the
            // length first.
            SETTINGS => length.is_multiple_of(6),
            PING => length == 8,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            PRIORITY_FRAME => length == 5,
            GOAWAY => length >= 8,
            _ => true,
        };
        if !fits || length > LARGEST {
            return Err(ConnectionError::FrameSize);
        }
        let most = self.most();
        if let Some(block) = &mut self.block {
            block.continuations += 1;
            // Before the bytes are kept. Counted apart from their number: empty frames have no
            // bytes and would be free.
            if block.bytes.len() + length > most
                || block.continuations > CONTINUATIONS + most / LARGEST
            {
                return Err(ConnectionError::Calm);
            }
        }
        Ok(())
    }

    /// Limit on the bytes of a block, coded and decoded.
    fn most(&self) -> usize {
        (self.limits.size * BEYOND).max(LARGEST)
    }

    /// Ends a frame that is examined as a whole.
    fn end(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        outlet: &mut Outlet<'_, impl FnMut(u32, Received)>,
    ) {
        self.at = At::Head;
        let ended = match head.kind {
            SETTINGS => self.settings(head, payload, outlet.frames),
            HEADERS => self.headers(head, payload, outlet),
            _ => self.continuation(head, payload, outlet),
        };
        self.fault = ended.err();
    }

    fn settings(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        onward: &mut Vec<u8>,
    ) -> Result<(), ConnectionError> {
        let window = |setting: &[u8; 6]| {
            let [id @ .., a, b, c, d] = *setting;
            u16::from_be_bytes(id) == INITIAL_WINDOW_SIZE
                && u32::from_be_bytes([a, b, c, d]) > LARGEST_WINDOW
        };
        // The library would end the connection with another code than section 6.5.2 asks for.
        if payload.as_chunks().0.iter().any(window) {
            return Err(ConnectionError::FlowControl);
        }
        // Until then the first SETTINGS frame is owed like a head, with the time of one.
        self.greeted = true;
        write_frame(onward, head, payload);
        Ok(())
    }

    fn headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        outlet: &mut Outlet<'_, impl FnMut(u32, Received)>,
    ) -> Result<(), ConnectionError> {
        let (fragment, ends) = (fragment(head, payload)?, head.flags & END_STREAM != 0);
        if head.flags & END_HEADERS != 0 {
            return self.block(head.stream, ends, fragment, outlet);
        }
        self.block =
            Some(Block { stream: head.stream, ends, bytes: fragment.to_vec(), continuations: 0 });
        Ok(())
    }

    fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        outlet: &mut Outlet<'_, impl FnMut(u32, Received)>,
    ) -> Result<(), ConnectionError> {
        let Some(mut block) = self.block.take() else { return Err(ConnectionError::Protocol) };
        // Bounded by `check`, which knows the sum before this frame is read.
        block.bytes.extend_from_slice(payload);
        if head.flags & END_HEADERS != 0 {
            return self.block(block.stream, block.ends, &block.bytes, outlet);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Ends a header block: of a request on a new stream, of trailers on any other.
    fn block(
        &mut self,
        stream: u32,
        ends: bool,
        block: &[u8],
        outlet: &mut Outlet<'_, impl FnMut(u32, Received)>,
    ) -> Result<(), ConnectionError> {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        if stream <= self.last {
            let mut trailers = TrailersSoFar::new(self.limits);
            self.decoder.decode(block, |field| trailers.take(field))?;
            // The decoded size counts too: one byte of a block may stand for a field of 4 KiB in
            // the table.
            if trailers.size() > self.most() {
                return Err(ConnectionError::Calm);
            }
            write_block(outlet.frames, stream, flags, &trailers.finish());
            return Ok(());
        }
        // Set before the block is decoded, so a refused request still uses up its stream.
        self.last = stream;
        // At most `ENDS`: a client that behaved for long must not save up any number of resets.
        for ends in [&mut self.resets, &mut self.trailers] {
            *ends = (*ends + 1).min(ENDS);
        }
        let mut request = RequestSoFar::new(self.limits);
        // Decoded even if the request is refused, because the table must follow every block.
        self.decoder.decode(block, |field| request.take(field))?;
        if request.size() > self.most() {
            return Err(ConnectionError::Calm);
        }
        let request = request.finish(ends);
        // A refused request gets its response, even if its body is not as long as it says.
        match request.length.filter(|_| request.unfit.is_none()) {
            None => write_block(outlet.frames, stream, flags, &STAND_IN),
            Some(length) => write_block(outlet.frames, stream, flags, &stand_in_with(length)),
        }
        (outlet.begin)(stream, request);
        Ok(())
    }
}

/// Stand-in for a request with a `content-length`.
fn stand_in_with(length: u64) -> Vec<u8> {
    let digits = length.to_string();
    // A length has at most 20 digits.
    [&STAND_IN[..], &CONTENT_LENGTH, &[digits.len() as u8], digits.as_bytes()].concat()
}

/// Decrements `left`; returns false if it is zero.
fn spend(left: &mut u32) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

fn is_gathered(kind: u8) -> bool {
    matches!(kind, HEADERS | CONTINUATION | SETTINGS)
}

/// Field block fragment of a HEADERS frame, without padding and priority (RFC 9113, section 6.2).
fn fragment(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    let (mut rest, mut padding) = (payload, 0);
    if head.flags & PADDED != 0 {
        // The length of the padding stands before the priority (section 6.2).
        padding = usize::from(*rest.split_off_first().ok_or(ConnectionError::FrameSize)?);
    }
    if head.flags & PRIORITY != 0 {
        rest = rest.get(5..).ok_or(ConnectionError::FrameSize)?;
    }
    // Padding that is longer than the rest is an error of the whole connection (section 6.2).
    let length = rest.len().checked_sub(padding).ok_or(ConnectionError::Protocol)?;
    Ok(&rest[..length])
}

fn write_frame(onward: &mut Vec<u8>, head: FrameHead, payload: &[u8]) {
    onward.extend_from_slice(&FrameHead { length: payload.len(), ..head }.write());
    onward.extend_from_slice(payload);
}

/// Writes a whole block in as many frames as it needs.
fn write_block(onward: &mut Vec<u8>, stream: u32, flags: u8, block: &[u8]) {
    let (mut kind, mut rest) = (HEADERS, block);
    loop {
        // Trailers may have become longer than one frame, because they are written
        // without compression.
        let (piece, behind) = rest.split_at(rest.len().min(LARGEST));
        // The first frame ends the stream, the last one the block.
        let of_stream = if kind == HEADERS { flags & END_STREAM } else { 0 };
        let of_block = if behind.is_empty() { END_HEADERS } else { 0 };
        write_frame(
            onward,
            FrameHead { kind, flags: of_stream | of_block, stream, length: 0 },
            piece,
        );
        if behind.is_empty() {
            return;
        }
        (kind, rest) = (CONTINUATION, behind);
    }
}

#[cfg(test)]
mod tests {
    use crate::http::framing::client_frames::*;

    const LIMITS: HeaderLimits = HeaderLimits { size: 1_024, count: 10 };
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// GET, http, `/` and the authority `a`.
    const GET: &[u8] = b"\x82\x86\x84\x01\x01a";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        on(1, kind, flags, payload)
    }

    fn on(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&FrameHead { kind, flags, stream, length: payload.len() }.write()[..], payload].concat()
    }

    /// Outcome of bytes.
    #[derive(Debug, Default, PartialEq)]
    struct Came {
        onward: Vec<u8>,
        requests: Vec<(u32, String, Option<&'static str>)>,
        idle: u32,
        work: u32,
        fault: Option<ConnectionError>,
    }

    fn came(bytes: &[u8], size: usize, most: u32) -> Came {
        let (mut frames, mut held, mut came) =
            (ClientFrames::new(LIMITS), Vec::new(), Came::default());
        for piece in bytes.chunks(size) {
            let mut fresh = piece;
            while held.is_empty() && !fresh.is_empty() {
                let taken = frames.pass(fresh, most);
                came.onward.extend(&fresh[..taken.bytes]);
                came.idle += taken.idle;
                came.work += taken.work;
                fresh = &fresh[taken.bytes..];
                if taken.work < most {
                    break;
                }
            }
            held.extend(fresh);
            while !held.is_empty() && frames.fault().is_none() {
                let mut onward = Vec::new();
                let taken = frames.take(&held, most, &mut onward, |stream, request| {
                    let Received { head, unfit, .. } = request;
                    came.requests.push((
                        stream,
                        format!("{} {} {:?}", head.method, head.uri, head.headers),
                        unfit.map(|unfit| unfit.flaw.detail),
                    ));
                });
                assert!(taken.work < most.saturating_add(17), "{taken:?}");
                came.onward.extend(onward);
                came.idle += taken.idle;
                came.work += taken.work;
                held.drain(..taken.bytes);
            }
        }
        came.fault = frames.fault();
        came
    }

    #[test]
    fn only_what_brings_nothing_is_counted_however_it_comes_in_pieces() {
        let brings = [frame(1, 4, GET), frame(0, 0, b"x"), frame(0, 1, b""), frame(3, 0, &[0; 4])];
        let idle = [
            frame(0, 0, b""),
            frame(2, 0, &[0; 5]),
            frame(4, 0, b""),
            frame(6, 0, &[0; 8]),
            frame(8, 0, &[0; 4]),
            frame(77, 9, &[0; 300]),
        ];
        let bytes =
            [HELLO, &brings.concat(), &idle.concat(), &brings.concat(), &idle.concat()].concat();
        let whole = came(&bytes, bytes.len(), u32::MAX);
        // The second reset is of a request that was reset before.
        assert_eq!((whole.idle, whole.fault), (13, None));
        for size in 1..bytes.len() {
            for most in [1, 3, u32::MAX] {
                assert_eq!(
                    came(&bytes, size, most),
                    whole,
                    "in pieces of {size}, {most} at a time"
                );
            }
        }
    }

    #[test]
    fn ends_beyond_the_requests_that_came_are_idle() {
        let request = |number: u32| on(2 * number + 1, HEADERS, END_HEADERS, GET);
        for end in [frame(RST_STREAM, 0, &[0; 4]), frame(HEADERS, END_HEADERS | END_STREAM, b"")] {
            for (requests, ends, idle) in
                [(1, 1, 0), (1, 5, 4), (ENDS, ENDS, 0), (3 * ENDS, 3 * ENDS, 2 * ENDS)]
            {
                let begun: Vec<u8> = (0..requests).flat_map(request).collect();
                let bytes = [HELLO, &begun, &end.repeat(ends as usize)].concat();
                assert_eq!(
                    came(&bytes, bytes.len(), u32::MAX).idle,
                    idle,
                    "{requests} and {ends} of {end:x?}"
                );
            }
            let one_by_one: Vec<u8> =
                (0..1_000).flat_map(|number| [request(number), end.clone()].concat()).collect();
            assert_eq!(came(&[HELLO, &one_by_one].concat(), 100, 8).idle, 0);
        }
    }

    #[test]
    fn http2_slow_body_or_window_is_alive_and_ping_is_not() {
        let mut frames = ClientFrames::new(LIMITS);
        let mut lively =
            |bytes: &[u8]| frames.take(bytes, u32::MAX, &mut Vec::new(), |_, _| {}).lively;
        assert!(!lively(HELLO) && !lively(&frame(6, 0, &[0; 8])) && !lively(&frame(2, 0, &[0; 5])));
        for kind in [DATA, HEADERS] {
            let brings = frame(kind, 0, &[7; 100]);
            assert!(lively(&brings[..9]) && lively(&brings[9..50]), "{kind}");
            if kind == DATA {
                assert!(
                    lively(&brings[50..])
                        && !lively(&frame(6, 1, &[0; 8]))
                        && lively(&frame(8, 0, &[0, 0, 0, 1]))
                );
            }
        }
    }

    #[test]
    fn work_is_taken_in_portions_and_many_fields_are_much() {
        let large = [GET, &[0, 1, b'x', 0x7f, 0x81, 6], &[b'y'; 896]].concat();
        let bytes = [
            HELLO,
            &frame(6, 0, &[0; 8]).repeat(10),
            &frame(1, 4, &large),
            &frame(0, 0, &[0; 9000]),
        ]
        .concat();
        for most in 1..20 {
            assert_eq!(came(&bytes, bytes.len(), most).work, 10 + 1 + 14 + 1);
        }
    }

    /// A request that is known by its stream alone is passed on, with the length of its body.
    #[test]
    fn heads_are_taken_out_and_stood_in_for() {
        let length = [GET, b"\x0f\x0d\x0210"].concat();
        let continued = [
            on(5, HEADERS, END_STREAM, &GET[..2]),
            on(5, CONTINUATION, 0, b""),
            on(5, CONTINUATION, END_HEADERS, &GET[2..]),
        ];
        let padded = [&[2, 0, 0, 0, 0, 9], GET, &[0; 2]].concat();
        let bytes = [
            HELLO,
            &on(1, HEADERS, END_HEADERS | END_STREAM, GET),
            &on(3, HEADERS, END_HEADERS, &length),
            &continued.concat(),
            &on(3, DATA, END_STREAM, b"0123456789"),
            &on(7, HEADERS, END_HEADERS | PADDED | PRIORITY, &padded),
            &on(
                9,
                HEADERS,
                END_HEADERS | END_STREAM,
                &[GET, b"\x00\x01x\x01\x00\x0f\x0d\x011"].concat(),
            ),
        ]
        .concat();
        let expected = [
            HELLO,
            &on(1, HEADERS, END_HEADERS | END_STREAM, &STAND_IN),
            &on(3, HEADERS, END_HEADERS, &[&STAND_IN[..], b"\x0f\x0d\x0210"].concat()),
            &on(5, HEADERS, END_HEADERS | END_STREAM, &STAND_IN),
            &on(3, DATA, END_STREAM, b"0123456789"),
            &on(7, HEADERS, END_HEADERS, &STAND_IN),
            &on(9, HEADERS, END_HEADERS | END_STREAM, &STAND_IN),
        ]
        .concat();
        let came = came(&bytes, 11, 2);
        assert_eq!((came.onward, came.fault), (expected, None));
        let get = |stream, fields: &str| (stream, format!("GET http://a/ {fields}"), None);
        let unfit = Some("a field's value has a byte that is not allowed");
        assert_eq!(
            came.requests,
            [
                get(1, "{}"),
                get(3, "{\"content-length\": \"10\"}"),
                get(5, "{}"),
                get(7, "{}"),
                (9, "GET http://a/ {\"content-length\": \"1\"}".to_owned(), unfit),
            ]
        );
    }

    #[test]
    fn trailers_are_coded_without_a_table_and_malformed_ones_so_that_they_are_refused() {
        let trailers = |block: &[u8]| {
            let bytes = [
                HELLO,
                &on(1, HEADERS, END_HEADERS, GET),
                &on(1, HEADERS, END_HEADERS | END_STREAM, block),
                &on(1, HEADERS, END_HEADERS, b"\xbe"),
            ]
            .concat();
            let came = came(&bytes, 7, u32::MAX);
            let before = HELLO.len() + 9 + STAND_IN.len();
            (came.onward[before..].to_vec(), came.fault)
        };
        let coded = |block: &[u8]| on(1, HEADERS, END_HEADERS | END_STREAM, block);
        let again = on(1, HEADERS, END_HEADERS, b"\x00\x03x-t\x017");
        assert_eq!(
            trailers(b"\x40\x03x-t\x017"),
            ([coded(b"\x00\x03x-t\x017"), again].concat(), None)
        );
        let refused = coded(b"\x00\x0aconnection\x05close");
        for block in [
            &b"\x40\x03x-t\x01\x00"[..],
            b"\x40\x03X-t\x011",
            &[&b"\x40\x03x-t"[..], &[0x7f, 0x81, 0x07], &[b'y'; 1_024]].concat(),
        ] {
            assert_eq!(trailers(block).0[..refused.len()], refused, "{block:x?}");
        }
        assert_eq!(
            trailers(b"\xbe").1,
            Some(ConnectionError::Compression(hpack::CodingError::Index))
        );
    }

    /// A block has at most its limit, or its connection ends before the rest of it is kept.
    #[test]
    fn blocks_are_gathered_within_their_bounds() {
        let mut limited = ClientFrames::new(LIMITS);
        assert_eq!(limited.most(), LARGEST);
        limited.limits.size = 32 * 1024;
        let most = limited.most();
        for (length, fault) in [(most, None), (most + 1, Some(ConnectionError::Calm))] {
            let mut frames = ClientFrames::new(HeaderLimits { size: 32 * 1024, count: 100 });
            let block = vec![0x82; length];
            let (first, rest) = block.split_at(LARGEST);
            let mut sent = [HELLO, &frame(HEADERS, 0, first)].concat();
            sent.extend(rest.chunks(LARGEST).flat_map(|piece| frame(CONTINUATION, 0, piece)));
            frames.take(&sent, u32::MAX, &mut Vec::new(), |_, _| {});
            assert_eq!(frames.fault(), fault, "{length}");
            assert!(frames.block.is_none_or(|block| block.bytes.len() <= most));
        }
        let mut endless = [HELLO, &frame(HEADERS, 0, GET)].concat();
        endless.extend(frame(CONTINUATION, 0, b"").repeat(CONTINUATIONS + 1));
        assert_eq!(came(&endless, 100, 8).fault, None);
        endless.extend(frame(CONTINUATION, 0, b""));
        assert_eq!(came(&endless, 100, 8).fault, Some(ConnectionError::Calm));
    }

    /// Nothing may come behind it, and nothing would examine it then.
    #[test]
    fn frame_without_a_payload_is_whole_however_little_work_is_taken() {
        let head = frame(HEADERS, END_STREAM, GET);
        let continued = [&head[..], &frame(CONTINUATION, END_HEADERS, b"")].concat();
        for last in [
            frame(SETTINGS, ACK, b""),
            frame(SETTINGS, 0, b""),
            frame(HEADERS, END_HEADERS, b""),
            continued,
        ] {
            let bytes = [HELLO, &frame(SETTINGS, 0, b""), &frame(PING, 0, &[0; 8]), &last].concat();
            for most in 1..=5 {
                let (mut frames, mut rest, mut onward) =
                    (ClientFrames::new(LIMITS), &bytes[..], Vec::new());
                while !rest.is_empty() {
                    let taken = frames.take(rest, most, &mut onward, |_, _| {});
                    rest = &rest[taken.bytes..];
                }
                assert!(!frames.is_within_head(), "{last:x?}, {most} at a time");
            }
        }
    }

    #[test]
    fn part_of_a_head_is_owed_until_it_is_whole() {
        let mut frames = ClientFrames::new(LIMITS);
        let mut owed = |bytes: &[u8]| {
            let taken = frames.take(bytes, u32::MAX, &mut Vec::new(), |_, _| {});
            assert_eq!((taken.bytes, frames.fault()), (bytes.len(), None));
            frames.is_within_head()
        };
        let settings = frame(SETTINGS, 0, &[0; 6]);
        assert!(owed(HELLO) && owed(&settings[..14]) && !owed(&settings[14..]));
        let request = frame(HEADERS, END_HEADERS, GET);
        assert!(
            owed(&request[..1])
                && owed(&request[1..9])
                && owed(&request[9..14])
                && !owed(&request[14..])
        );
        let data = frame(DATA, 0, b"body");
        assert!(owed(&data[..8]) && !owed(&data[8..11]) && !owed(&data[11..]));
        assert!(
            owed(&on(3, HEADERS, 0, &GET[..1]))
                && owed(&on(3, CONTINUATION, 0, b""))
                && !owed(&on(3, CONTINUATION, 4, &GET[1..]))
        );
    }
}
