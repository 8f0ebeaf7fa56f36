//! HTTP/2 frames and their heads (RFC 9113, section 4.1).

/// Length of a frame head: length, kind, flags and stream.
pub const HEAD: usize = 9;

/// Carries a piece of a body (RFC 9113, section 6.1).
pub const DATA: u8 = 0;
/// Begins a header block.
pub const HEADERS: u8 = 1;
/// Ends a stream immediately.
pub const RST_STREAM: u8 = 3;
/// Announces the limits of its sender.
pub const SETTINGS: u8 = 4;
/// Asks for an acknowledgement.
pub const PING: u8 = 6;
/// Announces the last stream of a connection that ends.
pub const GOAWAY: u8 = 7;
/// Grants room for DATA.
pub const WINDOW_UPDATE: u8 = 8;
/// Continues a header block.
pub const CONTINUATION: u8 = 9;

/// Flag of the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// Flag of an acknowledging SETTINGS or PING.
pub const ACK: u8 = 1;

/// Flag of the last frame of a header block.
pub const END_HEADERS: u8 = 4;
/// Flag of a frame that begins with the length of its padding.
pub const PADDED: u8 = 8;
/// Flag of HEADERS with a priority.
pub const PRIORITY: u8 = 32;

/// Frame head (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Frame type.
    pub kind: u8,
    /// Frame flags.
    pub flags: u8,
    /// Stream id, without the reserved bit.
    pub stream: u32,
    /// Length of the payload.
    pub length: usize,
}

impl FrameHead {
    /// Parses a frame head.
    #[must_use]
    pub fn read([high, middle, low, kind, flags, stream @ ..]: [u8; HEAD]) -> Self {
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        // The reserved bit must be ignored (RFC 9113, section 4.1).
        Self { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), length }
    }

    /// Encodes it; a length has three bytes.
    #[must_use]
    pub fn write(self) -> [u8; HEAD] {
        let [.., high, middle, low] = self.length.to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [high, middle, low, self.kind, self.flags, a, b, c, d]
    }
}

/// Follows frames from head to head, however they arrive in pieces.
#[derive(Debug, Default)]
pub struct FrameHeads {
    /// Bytes to come before the next head.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl FrameHeads {
    /// Takes bytes up to the end of the next head, or all of them if it is incomplete.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        // Payloads are skipped, so a piece that ends within one costs no copy.
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let rest = &bytes[skipped..];
        // A head may be cut at any byte, so it is collected over several calls.
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

#[cfg(test)]
mod tests {
    use crate::http::framing::frames::*;

    #[test]
    fn heads_are_found_however_they_come_in_pieces() {
        let heads = [(DATA, 1, 0), (HEADERS, 4, 300), (PING, 0, 8), (77, 9, 16_384)];
        let heads = heads.map(|(kind, flags, length)| FrameHead { kind, flags, stream: 7, length });
        let bytes: Vec<u8> = heads
            .iter()
            .flat_map(|head| [&head.write()[..], &vec![0xff; head.length]].concat())
            .collect();
        for size in [1, 2, 8, 9, 10, 100, bytes.len()] {
            let (mut follower, mut found) = (FrameHeads::default(), Vec::new());
            for mut piece in bytes.chunks(size) {
                while let Some(head) = follower.next(&mut piece) {
                    found.push(head);
                }
            }
            assert_eq!(found, heads, "in pieces of {size}");
        }
    }
}
