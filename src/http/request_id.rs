//! Request ids: 128 bits that cannot be guessed from outside, as 32 hex digits, or what a trusted
//! proxy sent.

use std::{cell::Cell, hash::Hasher};

use http::HeaderValue;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::limit::Seed;

/// Id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made by weir. The digits are written only where they are needed.
    Own([u8; 16]),
    /// Received from a trusted proxy.
    Received(HeaderValue),
}

/// Digits of an id.
pub type Digits = [u8; 32];

impl RequestId {
    /// Text of the id, for which it may need a place for its digits.
    #[must_use]
    pub fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a [u8] {
        match self {
            Self::Own(bytes) => {
                for (digits, byte) in digits.chunks_exact_mut(2).zip(bytes) {
                    digits.copy_from_slice(&HEX[usize::from(*byte)]);
                }
                digits
            }
            Self::Received(value) => value.as_bytes(),
        }
    }

    /// The id as a field value.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        match self {
            // Digits are a value.
            Self::Own(_) => HeaderValue::from_bytes(self.text(&mut Digits::default()))
                .unwrap_or(HeaderValue::from_static("0")),
            Self::Received(value) => value.clone(),
        }
    }
}

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
    pub fn next(&self) -> RequestId {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        // A keyed hash of a counter: one id does not reveal the next, and none costs a random
        // number.
        let mut hasher = SipHasher13::new_with_keys(self.seed.0[0], self.seed.0[1]);
        hasher.write_u64(count);
        RequestId::Own(hasher.finish128().as_bytes())
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
        let [one, two] = [ids.next(), ids.next()].map(|id| id.value());
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.as_bytes().iter().all(u8::is_ascii_hexdigit), "{one:?}");
    }
}
