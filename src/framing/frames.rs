//! What an HTTP/2 client sends, told from the very bytes as far as it must be known whether it brings anything (RFC 9113, section 4.1).

/// What a client sends first.
const PREFACE: usize = 24;
/// A frame's head: its length, kind, flags and stream.
const HEAD: usize = 9;

/// The kinds of frames that matter here (RFC 9113, section 6).
pub const DATA: u8 = 0;
/// Begins a header block.
pub const HEADERS: u8 = 1;
/// Ends a stream at once.
pub const RST_STREAM: u8 = 3;
/// Says what its sender allows.
pub const SETTINGS: u8 = 4;
/// Asks whether the other end is there.
pub const PING: u8 = 6;
/// Grants room for DATA.
pub const WINDOW_UPDATE: u8 = 8;
/// Goes on with a header block.
pub const CONTINUATION: u8 = 9;

/// The flag of the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The flag of SETTINGS and PING that acknowledge.
pub const ACK: u8 = 1;

/// So many bytes of fields are as much work as a frame.
const FIELDS: usize = 64;

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The kind.
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream, without the reserved bit.
    pub stream: u32,
    /// Bytes of the payload.
    pub length: usize,
}

impl FrameHead {
    fn read([high, middle, low, kind, flags, stream @ ..]: [u8; HEAD]) -> Self {
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        Self { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), length }
    }
}

/// Follows frames, however they come in pieces, from head to head.
#[derive(Debug, Default)]
pub struct FrameHeads {
    /// Bytes to come before the next head.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl FrameHeads {
    /// Takes bytes up to the end of the next head, or all of them where it is not whole.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let rest = &bytes[skipped..];
        let (of_head, rest) = rest.split_at((HEAD - self.filled).min(rest.len()));
        self.head[self.filled..self.filled + of_head.len()].copy_from_slice(of_head);
        self.filled += of_head.len();
        *bytes = rest;
        if self.filled < HEAD {
            return None;
        }
        self.filled = 0;
        let head = FrameHead::read(self.head);
        self.skip = head.length;
        Some(head)
    }
}

/// Follows the frames of one connection.
#[derive(Debug)]
pub struct Frames {
    heads: FrameHeads,
    /// Whether the frame under way is a sign of life.
    lively: bool,
}

/// What a piece of a connection comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many of its bytes were looked at.
    pub bytes: usize,
    /// The work they ask for, in frames: one with many fields is as much as several.
    pub work: u32,
    /// How many of the frames that begin there ask for work and bring nothing: neither a request, nor a piece of one, nor the end of
    /// one.
    pub idle: u32,
    /// Whether they say that somebody uses the connection: bytes of frames that bring something, or that grant room for answers.
    pub lively: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { heads: FrameHeads { skip: PREFACE, ..FrameHeads::default() }, lively: false }
    }
}

impl Frames {
    /// Looks at bytes until all are seen, or the frames that begin there ask for `most` work: behind the head of the last of them.
    pub fn take(&mut self, bytes: &[u8], most: u32) -> Taken {
        let (mut taken, mut rest) = (Taken::default(), bytes);
        while !rest.is_empty() && taken.work < most {
            taken.lively |= self.lively && self.heads.skip > 0;
            if let Some(head) = self.heads.next(&mut rest) {
                self.begin(head, &mut taken);
            }
        }
        taken.bytes = bytes.len() - rest.len();
        taken
    }

    /// A frame's head is complete; what the frame is long is skipped.
    fn begin(&mut self, head: FrameHead, taken: &mut Taken) {
        let FrameHead { kind, flags, length, .. } = head;
        taken.work += 1;
        let idle = match kind {
            DATA => length == 0 && flags & END_STREAM == 0,
            HEADERS | CONTINUATION | RST_STREAM => false,
            _ => true,
        };
        if matches!(kind, HEADERS | CONTINUATION) {
            taken.work += u32::try_from(length / FIELDS).unwrap_or(u32::MAX);
        }
        taken.idle += u32::from(idle);
        self.lively = !idle || kind == WINDOW_UPDATE;
        taken.lively |= self.lively;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn only_what_brings_nothing_is_counted_however_it_comes_in_pieces() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let brings = [frame(1, 4, b"fields"), frame(9, 4, b""), frame(0, 0, b"x"), frame(0, 1, b""), frame(3, 0, &[0; 4])];
        let idle = [
            frame(0, 0, b""),
            frame(2, 0, &[0; 5]),
            frame(4, 0, b""),
            frame(6, 0, &[0; 8]),
            frame(8, 0, &[0; 4]),
            frame(77, 9, &[0; 300]),
        ];
        let bytes = [preface, brings.concat(), idle.concat(), brings.concat(), idle.concat()].concat();
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let idle = bytes.chunks(size).map(|piece| frames.take(piece, u32::MAX).idle);
            assert_eq!(idle.sum::<u32>(), 12, "in pieces of {size}");
        }
    }

    #[test]
    fn who_sends_a_body_slowly_or_grants_room_is_alive_and_who_pings_is_not() {
        let mut frames = Frames::default();
        let mut lively = |bytes: &[u8]| frames.take(bytes, u32::MAX).lively;
        assert!(
            !lively(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                && !lively(&frame(6, 0, &[0; 8]))
                && !lively(&frame(2, 0, &[0; 5]))
        );
        let data = frame(0, 0, &[7; 100]);
        assert!(lively(&data[..9]) && lively(&data[9..50]) && lively(&data[50..]));
        assert!(!lively(&frame(6, 1, &[0; 8])) && lively(&frame(8, 0, &[0, 0, 0, 1])));
    }

    #[test]
    fn work_is_taken_in_portions_and_many_fields_are_much() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let bytes = [preface, frame(6, 0, &[0; 8]).repeat(10), frame(1, 4, &[0; 1024]), frame(0, 0, &[0; 9000])].concat();
        for most in 1..20 {
            let (mut frames, mut rest, mut work) = (Frames::default(), &bytes[..], 0);
            while !rest.is_empty() {
                let taken = frames.take(rest, most);
                assert!(taken.bytes > 0 && taken.work < most + 17, "{taken:?}");
                (rest, work) = (&rest[taken.bytes..], work + taken.work);
            }
            assert_eq!(work, 10 + 17 + 1);
        }
    }
}
