//! Apache's MD5 hash of passwords (`$apr1$`), the default of its `htpasswd`.
//!
//! It is MD5-crypt of FreeBSD with another word at its beginning. Its thousand rounds cost less than
//! a millisecond, so a stolen file is soon guessed: bcrypt is what `htpasswd -B` writes.

use md5::{Digest, Md5};

/// Word at the beginning of a hash.
pub const PREFIX: &str = "$apr1$";
/// Longest salt.
const SALT: usize = 8;
/// Letters of a hash.
const LETTERS: usize = 22;
/// Signs for six bits each.
const SIGNS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of the digest in the order they are written, three for four signs.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// Splits a text into its salt and hash; none if it is no such hash.
#[must_use]
pub fn parts(text: &str) -> Option<(&str, &str)> {
    let (salt, hash) = text.strip_prefix(PREFIX)?.split_once('$')?;
    let is_salt = (1..=SALT).contains(&salt.len());
    let is_hash = hash.len() == LETTERS && hash.bytes().all(|sign| SIGNS.contains(&sign));
    (is_salt && is_hash).then_some((salt, hash))
}

/// Letters of the hash of a password.
#[must_use]
pub fn hash(password: &[u8], salt: &[u8]) -> [u8; LETTERS] {
    encoded(&digest(password, salt))
}

fn digest(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password);
    let inner = <[u8; 16]>::from(inner.finalize());
    let mut outer = Md5::new().chain_update(password).chain_update(PREFIX).chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        outer.update(&inner[..left.min(inner.len())]);
        left = left.saturating_sub(inner.len());
    }
    // A bit of the length adds a zero byte or the first letter: the original meant to add a byte of
    // the digest, and has always added this.
    let mut bits = password.len();
    while bits > 0 {
        match password.first().filter(|_| bits & 1 == 0) {
            Some(first) => outer.update([*first]),
            None => outer.update([0]),
        }
        bits >>= 1;
    }
    let mut digest = <[u8; 16]>::from(outer.finalize());
    for round in 0..1_000 {
        let is_odd = round & 1 == 1;
        let mut next = Md5::new();
        next.update(if is_odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if is_odd { &digest[..] } else { password });
        digest = next.finalize().into();
    }
    digest
}

/// Writes three bytes as four signs, the lowest six bits first, and the last byte as two.
fn encoded(digest: &[u8; 16]) -> [u8; LETTERS] {
    let mut letters = [0; LETTERS];
    let mut put = letters.iter_mut();
    let mut write = |bits: u32, count: usize| {
        for (index, letter) in put.by_ref().take(count).enumerate() {
            *letter = SIGNS[(bits >> (6 * index) & 63) as usize];
        }
    };
    for [high, middle, low] in ORDER.map(|places| places.map(|place| u32::from(digest[place]))) {
        write(high << 16 | middle << 8 | low, 4);
    }
    write(u32::from(digest[11]), 2);
    letters
}

#[cfg(test)]
mod tests {
    use crate::access::apr1::*;

    /// Written by `openssl passwd -apr1`.
    #[test]
    fn apr1_is_that_of_openssl() {
        for (password, expected) in VECTORS {
            let (salt, letters) = parts(expected).expect("a hash");
            let hash = hash(password.as_bytes(), salt.as_bytes());
            assert_eq!(String::from_utf8_lossy(&hash), letters, "{password}");
        }
    }

    #[test]
    fn apr1_other_texts_are_no_hashes() {
        for text in [
            "",
            "$apr1$",
            "$apr1$salt",
            "$apr1$$0123456789012345678901",
            "$apr1$123456789$0123456789012345678901",
            "$apr1$salt$012345678901234567890",
            "$apr1$salt$012345678901234567890!",
            "$1$salt$0123456789012345678901",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    const VECTORS: [(&str, &str); 6] = [
        ("", "$apr1$a$lsAcX0kKaMIVmrCtUuk5b0"),
        ("secret", "$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/"),
        ("x", "$apr1$12345678$zbBEMgfXu4mAHPrplrtNt."),
        (
            "a long sentence of mine, with 63 letters in it, that ends here",
            "$apr1$abcd$KZ5hj9l7f40osOqqa9FlV/",
        ),
        ("grün", "$apr1$zz/.AB$8NOJr5Ecq8hGhQWBk1buT/"),
        ("0123456789abcdef", "$apr1$s$99/wCzDQ8ebx8gmkheR350"),
    ];
}
