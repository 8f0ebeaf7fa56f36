//! SQL cut into the few tokens that decide where a statement ends. Every byte belongs to exactly
//! one token.

use std::ops::Range;

/// Kind of a piece of SQL, as far as splitting cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// White space or a comment.
    Blank,
    /// A key word or a bare name.
    Word,
    /// A quoted text or name, or a dollar-quoted body.
    Quoted,
    /// `(`
    Opening,
    /// `)`
    Closing,
    /// `;`
    Semicolon,
    /// Anything else, one character.
    Other,
}

/// Walks over SQL token by token. All that it looks for is ASCII, so it never stops inside a
/// character.
pub(super) struct Scanner<'s> {
    bytes: &'s [u8],
    at: usize,
}

impl<'s> Scanner<'s> {
    pub(super) fn new(sql: &'s str) -> Self {
        Self { bytes: sql.as_bytes(), at: 0 }
    }

    fn token(&self, first: u8) -> (Token, usize) {
        let rest = &self.bytes[self.at..];
        match first {
            // The byte-order mark that some editors put first.
            0xEF if rest.starts_with(b"\xEF\xBB\xBF") => (Token::Blank, 3),
            _ if first.is_ascii_whitespace() || first == 0x0b => (Token::Blank, 1),
            b'-' if rest.starts_with(b"--") => (Token::Blank, line_comment(rest)),
            b'/' if rest.starts_with(b"/*") => (Token::Blank, block_comment(rest)),
            b'\'' | b'"' => (Token::Quoted, quoted(rest, first)),
            b'$' => dollar_quoted(rest).map_or((Token::Other, 1), |length| (Token::Quoted, length)),
            // Before words: only here a backslash escapes a quote, so `E'\''` is one text.
            b'e' | b'E' if rest.get(1) == Some(&b'\'') => (Token::Quoted, 1 + escaped(&rest[1..])),
            _ if starts_word(first) => (Token::Word, word(rest)),
            b'(' => (Token::Opening, 1),
            b')' => (Token::Closing, 1),
            b';' => (Token::Semicolon, 1),
            _ => (Token::Other, 1),
        }
    }
}

impl Iterator for Scanner<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (token, length) = self.token(*self.bytes.get(self.at)?);
        let start = self.at;
        self.at = start + length;
        Some((token, start..self.at))
    }
}

/// Digits too, so that `1e'` is no escape text; a wrong word does no harm, the database reads the
/// statement itself.
fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word(rest: &[u8]) -> usize {
    // A `$` inside a word belongs to it: `a$b$` begins no quoted body.
    rest.iter().position(|byte| !starts_word(*byte) && *byte != b'$').unwrap_or(rest.len())
}

fn line_comment(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut at = 0;
    let mut depth = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    rest.len()
}

/// A doubled quote ends one token and begins the next, which comes to the same.
fn quoted(rest: &[u8], quote: u8) -> usize {
    rest.iter().skip(1).position(|byte| *byte == quote).map_or(rest.len(), |at| at + 2)
}

/// `E'...'`, from its quote on: a backslash takes the next byte with it, a doubled quote is one
/// quote.
fn escaped(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match &rest[at..] {
            [b'\\', ..] | [b'\'', b'\'', ..] => at += 2,
            [b'\'', ..] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `$tag$ ... $tag$`, or nothing when this dollar begins no tag (`$1`).
fn dollar_quoted(rest: &[u8]) -> Option<usize> {
    let length = rest.iter().skip(1).position(|byte| !starts_word(*byte))? + 2;
    let tag = rest.get(..length)?;
    // `$1` is a parameter, not a tag.
    if tag[length - 1] != b'$' || tag[1].is_ascii_digit() {
        return None;
    }
    let close = rest[length..].windows(length).position(|window| window == tag);
    Some(close.map_or(rest.len(), |at| at + 2 * length))
}
