//! What an HTTP/2 client sends, told from the very bytes as far as it must be known whether it brings anything (RFC 9113, section 4.1).

/// What a client sends first.
const PREFACE: usize = 24;
/// A frame's head: its length, kind, flags and stream.
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Follows the frames of one connection.
#[derive(Debug)]
pub struct Frames {
    /// Bytes to come that say nothing about frames.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], filled: 0 }
    }
}

impl Frames {
    /// How many of the frames that begin in these bytes ask for work and bring nothing: neither a request, nor a piece of one, nor
    /// the end of one.
    pub fn take(&mut self, mut bytes: &[u8]) -> u32 {
        let mut idle = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                self.filled = 0;
                idle += u32::from(self.is_idle());
            }
        }
        idle
    }

    /// Whether the frame of the head that is complete brings nothing; what it is long is skipped.
    fn is_idle(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        match kind {
            DATA => length == 0 && flags & END_STREAM == 0,
            HEADERS | RST_STREAM | CONTINUATION => false,
            _ => true,
        }
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
            assert_eq!(bytes.chunks(size).map(|piece| frames.take(piece)).sum::<u32>(), 12, "in pieces of {size}");
        }
    }
}
