//! What only one request has, and all of its response is made of.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

static MADE: AtomicU64 = AtomicU64::new(0);
/// Odd, so that no two marks are equal; large, so that they look nothing alike.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A request's mark: 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    pub fn new() -> Self {
        Self(MADE.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD))
    }

    /// How many there are.
    pub fn made() -> u64 {
        MADE.load(Ordering::Relaxed)
    }

    /// Where a request asks for a response of some kind.
    pub fn path(self, kind: &str) -> String {
        format!("/{kind}/{self}")
    }

    /// The body of its response.
    pub fn body(self, length: usize) -> Vec<u8> {
        self.to_string().into_bytes().into_iter().cycle().take(length).collect()
    }

    /// Whether these bytes, as far as they came, are its own.
    pub fn owns(self, body: &[u8]) -> bool {
        body == self.body(body.len())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for Mark {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
