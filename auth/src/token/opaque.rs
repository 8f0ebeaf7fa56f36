//! Random secrets that are shown once; the database keeps only their digests.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 256 bits of the system's randomness, fit for a link.
///
/// # Errors
/// The system has no randomness.
pub fn secret() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256, enough for random secrets.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// The digest as text, fit for a key.
#[must_use]
pub fn hash_text(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(secret))
}

/// Compares two digests, in the same time whether they are equal or not.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}
