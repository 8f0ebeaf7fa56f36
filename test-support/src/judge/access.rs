//! Judges of who may pass: files of users, and credentials of a request.

use http::{HeaderValue, header};
use weir::{
    access::users::Users,
    http::{basic_credentials::BasicCredentials, header_list::HeaderList},
};

/// A file of users: each line that is neither blank nor a comment is a user with the hash that
/// stands there, or the file is refused with a line that it has.
pub fn users(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = || {
        let trimmed = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim());
        trimmed.filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let users = match Users::parse(&text) {
        Ok(users) => users,
        Err(error) => {
            let line = text.lines().nth(error.line - 1).expect("a line of the file");
            let secret = line.split_once(':').map_or("", |(_, secret)| secret);
            let name = line.split(':').next().unwrap_or_default();
            let is_shown = secret.len() > 40 && error.to_string().contains(secret);
            assert!(!is_shown || name.contains(secret), "{error}");
            return;
        }
    };
    assert_eq!(users.is_empty(), lines().next().is_none(), "{text}");
    for line in lines() {
        let (name, rest) = line.split_once(':').expect("a user");
        let candidate = users.candidate(name).filter(|it| it.is_known).expect("the user");
        assert_eq!(candidate.hash.as_bytes(), rest.split(':').next().unwrap_or(rest).as_bytes());
        let other = users.candidate(&format!("{name}\n")).expect("a hash to compute");
        assert!(!other.is_known, "{text}");
    }
}

/// The value of `Authorization`: what is read of it is what was sent, and in one way only.
pub fn credentials(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderList::default();
    headers.append(&header::AUTHORIZATION, &value);
    let Ok(credentials) = BasicCredentials::of(&headers) else { return };
    let (user, password) = (credentials.user(), credentials.password());
    let pair = format!("{user}:{password}");
    assert!(!user.contains(':') && !pair.contains(char::is_control), "{pair:?}");
    let sent = bytes.trim_ascii();
    assert!(sent[..6].eq_ignore_ascii_case(b"basic "), "{pair:?}");
    assert_eq!(sent[6..].trim_ascii(), encoded(pair.as_bytes()), "{pair:?}");
    headers.append(&header::AUTHORIZATION, &value);
    assert!(BasicCredentials::of(&headers).is_err(), "twice");
}

/// Base 64, written by hand.
fn encoded(bytes: &[u8]) -> Vec<u8> {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for piece in bytes.chunks(3) {
        let bits = piece.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - piece.len()));
        for digit in 0..4 {
            let is_there = digit <= piece.len();
            text.push(if is_there { SIGNS[bits >> (18 - 6 * digit) & 63] } else { b'=' });
        }
    }
    text
}
