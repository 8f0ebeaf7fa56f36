//! Digest under a key of the process: what was verified is remembered, and not what was sent.

use aws_lc_rs::{
    hmac::{Context, HMAC_SHA256, Key},
    rand::SystemRandom,
};

/// HMAC with SHA-256 (RFC 2104).
pub type Digest = [u8; 32];

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

/// Key that lives as long as the verdicts that are kept under it, and leaves the process never.
#[derive(Debug)]
pub struct DigestKey(Key);

impl DigestKey {
    /// Creates a random key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, NoRandomness> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| NoRandomness)
    }

    /// Key that is made of a secret of any length.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Key::new(HMAC_SHA256, secret))
    }

    /// Digest of these parts: other parts, or the same text cut elsewhere, have another one.
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use crate::access::keyed_digest::*;

    #[test]
    fn digest_depends_on_key_and_on_where_parts_end() {
        let [one, other] = [(); 2].map(|()| DigestKey::random().expect("random numbers"));
        assert_eq!(one.digest(&[b"ab", b"c"]), one.digest(&[b"ab", b"c"]));
        assert_ne!(one.digest(&[b"ab", b"c"]), one.digest(&[b"a", b"bc"]));
        assert_ne!(one.digest(&[b"ab"]), one.digest(&[b"ab", b""]));
        assert_ne!(one.digest(&[b"ab"]), other.digest(&[b"ab"]));
    }
}
