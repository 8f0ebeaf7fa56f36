//! Request ids: 128 bits that cannot be guessed from outside, as 32 hex digits.

use std::{cell::Cell, hash::Hasher};

use http::HeaderValue;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::limit::Seed;

/// Generator of the ids of one worker.
#[derive(Debug)]
pub struct RequestIds {
    seed: Seed,
    count: Cell<u64>,
}

impl RequestIds {
    /// Ids under a random seed of their own.
    #[must_use]
    pub fn new() -> Self {
        Self { seed: Seed::random(), count: Cell::new(0) }
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> HeaderValue {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        // A keyed hash of a counter: one id does not reveal the next, and none costs a random
        // number.
        let mut hasher = SipHasher13::new_with_keys(self.seed.0[0], self.seed.0[1]);
        hasher.write_u64(count);
        let mut text = [0; 32];
        for (digits, byte) in text.chunks_exact_mut(2).zip(hasher.finish128().as_bytes()) {
            digits.copy_from_slice(&HEX[usize::from(byte)]);
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Hex digits of every byte.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let (mut hex, mut byte) = ([[0; 2]; 256], 0);
    while byte < 256 {
        hex[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    hex
};

#[cfg(test)]
mod tests {
    use crate::http::request_id::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let ids = RequestIds::new();
        let (one, two) = (ids.next(), ids.next());
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.as_bytes().iter().all(u8::is_ascii_hexdigit), "{one:?}");
    }
}
