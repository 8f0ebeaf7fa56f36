//! Hashes of passwords that a file of users may have: bcrypt, argon2 and Apache's MD5.
//!
//! Guarantees: a hash that was read can be verified, within [`MAX_BCRYPT_COST`] or
//! [`MAX_ARGON2_KIB`] and [`MAX_ARGON2_WORK_KIB`]. Digests are compared in constant time.

use std::str::FromStr;

use argon2::{
    Argon2, Params, Version,
    password_hash::{PasswordVerifier, phc},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::apr1;

/// Least cost of bcrypt that is one.
const LEAST_BCRYPT_COST: u32 = 4;
/// Greatest cost of bcrypt: each step doubles the time, and this one takes seconds.
pub const MAX_BCRYPT_COST: u32 = 15;
/// Greatest memory of argon2, in KiB.
pub const MAX_ARGON2_KIB: u32 = 256 * 1024;
/// Greatest memory of argon2 times its passes, in KiB: about a second of work.
pub const MAX_ARGON2_WORK_KIB: u64 = 1024 * 1024;

/// Hash of a password as written.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    kind: HashKind,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashKind {
    Bcrypt,
    Argon2,
    Apr1,
}

/// Reason why a text is not a hash that is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text is no hash, or one of the old crypt(3).
    #[error("the password is plain text or a hash of crypt(3)")]
    Plain,
    /// The hash has no salt, or is of another program.
    #[error("`{{SHA}}` and the like have no salt, or are fast to guess")]
    Braces,
    /// Another hash of crypt(3).
    #[error("this hash of crypt(3) is not supported")]
    Crypt,
    /// The hash is cut short or misspelt.
    #[error("the hash is not complete")]
    Malformed,
    /// The hash takes too long.
    #[error("the hash takes too much time or memory")]
    TooCostly,
}

impl std::fmt::Debug for PasswordHash {
    /// Hides the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

impl FromStr for PasswordHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let kind = match text.split('$').nth(1) {
            _ if text.starts_with('{') => return Err(HashError::Braces),
            _ if !text.starts_with('$') => return Err(HashError::Plain),
            Some("2a" | "2b" | "2y") => bcrypt_kind(text)?,
            Some("argon2i" | "argon2id") => argon2_kind(text)?,
            Some("apr1") => {
                apr1::parts(text).map(|_| HashKind::Apr1).ok_or(HashError::Malformed)?
            }
            _ => return Err(HashError::Crypt),
        };
        Ok(Self { kind, text: text.into() })
    }
}

fn bcrypt_kind(text: &str) -> Result<HashKind, HashError> {
    let parts = bcrypt::HashParts::from_str(text).map_err(|_| HashError::Malformed)?;
    match parts.get_cost() {
        ..LEAST_BCRYPT_COST => Err(HashError::Malformed),
        LEAST_BCRYPT_COST..=MAX_BCRYPT_COST => Ok(HashKind::Bcrypt),
        _ => Err(HashError::TooCostly),
    }
}

fn argon2_kind(text: &str) -> Result<HashKind, HashError> {
    let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    let is_known = hash.version.is_none_or(|version| Version::try_from(version).is_ok());
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    match is_whole && is_known {
        false => Err(HashError::Malformed),
        true if params.m_cost() > MAX_ARGON2_KIB || work > MAX_ARGON2_WORK_KIB => {
            Err(HashError::TooCostly)
        }
        true => Ok(HashKind::Argon2),
    }
}

impl PasswordHash {
    /// Text of the hash, under which a verified password is remembered.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Returns true if this is the password. It takes milliseconds to seconds.
    #[must_use]
    pub fn verifies(&self, password: &[u8]) -> bool {
        match self.kind {
            HashKind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            HashKind::Argon2 => Argon2::default().verify_password(password, &*self.text).is_ok(),
            HashKind::Apr1 => apr1::parts(&self.text).is_some_and(|(salt, hash)| {
                let computed = apr1::hash(password, salt.as_bytes());
                verify_slices_are_equal(&computed, hash.as_bytes()).is_ok()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::access::password_hash::*;

    /// Hashes of `open sesame`: the first two by Python's bcrypt, then argon2's and OpenSSL's.
    const HASHES: [&str; 5] = [
        "$2b$04$IY4KiLH3vx8WvOSKOrJmZOZ8DSyIZrDk2LcY794Nhnb0K1nzBgA0C",
        "$2y$04$IY4KiLH3vx8WvOSKOrJmZOZ8DSyIZrDk2LcY794Nhnb0K1nzBgA0C",
        "$argon2id$v=19$m=64,t=2,p=1$eD/rzfhf8tUluuZ1yQEjFw$JAogCBbbm+ApYk2tbCO+Y7+IPdLX/h1tQWi/5r07k+Q",
        "$argon2i$v=19$m=64,t=2,p=2$n0/k0xsd6Rs3iuEoBcOJhw$zdtpKVLqATFD5SfK4AP5bdYC/O9gmPCagN9hmx8pqao",
        "$apr1$sesame$129wu5Kt446MjMqRMXT2e1",
    ];

    #[test]
    fn password_hash_verifies_its_password_only() {
        for text in HASHES {
            let hash: PasswordHash = text.parse().expect("a hash");
            assert!(hash.verifies(b"open sesame"), "{text}");
            for other in [&b"open sesamf"[..], b"", b"open sesame ", b"open"] {
                assert!(!hash.verifies(other), "{text}");
            }
        }
    }

    #[test]
    fn password_hash_of_another_kind_is_refused() {
        let argon2 = "c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng";
        for (text, error) in [
            ("secret", HashError::Plain),
            ("", HashError::Plain),
            ("rOp.gCcT9EpEA", HashError::Plain),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", HashError::Braces),
            ("{SSHA}x", HashError::Braces),
            ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", HashError::Crypt),
            ("$6$salt$x", HashError::Crypt),
            ("$y$j9T$x", HashError::Crypt),
            ("$2x$04$abcdefghijklmnopqrstuuMB8qvZ6fqCvbhiuzKqC6b4xAWrUwa5O", HashError::Crypt),
            ("$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng", HashError::Crypt),
            ("$2b$04$short", HashError::Malformed),
            ("$2b$16$abcdefghijklmnopqrstuuMB8qvZ6fqCvbhiuzKqC6b4xAWrUwa5O", HashError::TooCostly),
            ("$2b$31$abcdefghijklmnopqrstuuMB8qvZ6fqCvbhiuzKqC6b4xAWrUwa5O", HashError::TooCostly),
            ("$2b$03$abcdefghijklmnopqrstuuMB8qvZ6fqCvbhiuzKqC6b4xAWrUwa5O", HashError::Malformed),
            ("$apr1$salt$short", HashError::Malformed),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", HashError::Malformed),
            (&format!("$argon2id$v=19$m=262145,t=1,p=1${argon2}"), HashError::TooCostly),
            (&format!("$argon2id$v=19$m=262144,t=5,p=1${argon2}"), HashError::TooCostly),
            (&format!("$argon2id$v=19$m=8,t=4294967295,p=1${argon2}"), HashError::TooCostly),
            (&format!("$argon2id$v=17$m=8,t=0,p=1${argon2}"), HashError::Malformed),
        ] {
            assert_eq!(text.parse::<PasswordHash>(), Err(error), "{text}");
        }
    }
}
