//! Limit on responses that are encoded at the same time.

use std::{cell::Cell, rc::Rc};

use super::{encoder::Coder, negotiate::Coding};

/// Responses that a worker encodes at the same time; further ones are sent unencoded.
pub const MAX_CODERS: usize = 256;

/// Encoder permits of a worker.
#[derive(Clone, Debug, Default)]
pub struct EncoderPermits {
    taken: Rc<Cell<usize>>,
}

/// Permit for one encoder, given back on drop.
#[derive(Debug)]
#[must_use]
pub struct EncoderPermit(Rc<Cell<usize>>);

impl EncoderPermits {
    /// Takes a permit and creates an encoder for a body, of this length if it is known. None when
    /// all permits are taken.
    pub fn take(&self, coding: Coding, length: Option<u64>) -> Option<(Coder, EncoderPermit)> {
        if self.taken.get() >= MAX_CODERS {
            tracing::debug!(
                most = MAX_CODERS,
                "all compressors are in use; sending response uncompressed"
            );
            return None;
        }
        let coder = Coder::new(coding, length);
        let coder = coder.inspect_err(|error| {
            let coding = coding.name();
            tracing::warn!(coding, %error, "cannot create compressor; sending response uncompressed");
        });
        // A response is sent unencoded rather than refused when memory is short.
        let coder = coder.ok()?;
        self.taken.set(self.taken.get() + 1);
        Some((coder, EncoderPermit(Rc::clone(&self.taken))))
    }
}

impl Drop for EncoderPermit {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use crate::compress::permits::*;

    #[test]
    fn there_are_no_more_than_there_may_be_and_each_comes_back() {
        let permits = EncoderPermits::default();
        let mut taken: Vec<_> = (0..MAX_CODERS)
            .map(|_| permits.take(Coding::Gzip, Some(2000)).expect("a coder"))
            .collect();
        assert!(permits.take(Coding::Gzip, None).is_none());
        taken.pop();
        assert!(permits.take(Coding::Gzip, None).is_some());
        drop(taken);
        assert_eq!(permits.taken.get(), 0);
    }
}
