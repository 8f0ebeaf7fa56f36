//! Lines and the bytes they consist of (RFC 9112, section 2.2; RFC 9110, section 5.6.2).
//!
//! Guarantee: a line ends with CRLF, and contains no control byte but a tab.

use super::flaw::Flaw;
use crate::http::error::Kind;

/// Finds the ends of lines, one behind the other, and looks at each byte once.
#[derive(Clone, Debug)]
pub struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Place of the first byte that was not looked at.
    behind: usize,
    /// Place of the word of which some control bytes are still to come.
    word: usize,
    /// High bit of each of those bytes.
    marks: u64,
}

/// Bytes that are looked at together.
const WORD: usize = 8;

impl<'a> LineEnds<'a> {
    /// Ends of the lines of these bytes, of which those before `from` have no control byte.
    #[must_use]
    pub fn from(bytes: &'a [u8], from: usize) -> Self {
        Self { bytes, behind: from, word: 0, marks: 0 }
    }

    /// End of the next line: the place of its CRLF. None while that is still to come.
    ///
    /// # Errors
    /// For a bare CR, a bare LF, NUL and every other control byte except the tab.
    pub fn next_end(&mut self) -> Result<Option<usize>, Flaw> {
        while let Some(at) = self.control() {
            match (self.bytes[at], self.bytes.get(at + 1)) {
                (b'\t', _) => {}
                (b'\r', Some(b'\n')) => {
                    // The LF is the next control byte.
                    self.control();
                    return Ok(Some(at));
                }
                // Perhaps its LF is still to come. A CR alone is judged only with the byte behind it.
                (b'\r', None) => return Ok(None),
                (b'\r', _) => return Err(Flaw::malformed("a bare CR")),
                (b'\n', _) => return Err(Flaw::malformed("a bare LF")),
                _ => return Err(Flaw::malformed("a control byte")),
            }
        }
        Ok(None)
    }

    /// Next control byte.
    #[inline]
    fn control(&mut self) -> Option<usize> {
        if self.marks == 0 {
            self.next_marks()?;
        }
        let byte = (self.marks.trailing_zeros() / 8) as usize;
        self.marks &= self.marks - 1;
        Some(self.word + byte)
    }

    /// Goes to the next word that has a control byte.
    fn next_marks(&mut self) -> Option<()> {
        let (words, rest) = self.bytes.get(self.behind..)?.as_chunks::<WORD>();
        for (index, word) in words.iter().enumerate() {
            let marks = control_bytes(u64::from_le_bytes(*word));
            if marks != 0 {
                self.word = self.behind + index * WORD;
                (self.behind, self.marks) = (self.word + WORD, marks);
                return Some(());
            }
        }
        // Filled up behind the end with bytes that are no control bytes.
        let mut word = [b' '; WORD];
        word[..rest.len()].copy_from_slice(rest);
        self.word = self.behind + words.len() * WORD;
        (self.behind, self.marks) = (self.bytes.len(), control_bytes(u64::from_le_bytes(word)));
        (self.marks != 0).then_some(())
    }
}

/// High bit of each control byte: below 0x20, or 0x7f. No sum carries into the next byte, so every
/// mark is right: the low 7 bits are at most 0x7f, and 0x7f + 0x7f is below 0x100.
fn control_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    const LOW: u64 = 0x7f * ONES;
    // The high bit is set if the byte is at least 0x20, or not 0x7f.
    let printable = ((word & LOW) + 0x60 * ONES) | word;
    let delete = word ^ LOW;
    let other = ((delete & LOW) + LOW) | delete;
    !(printable & other) & HIGH
}

/// Finds the end of the line at the start of `bytes`: the index of its CRLF. None while that is
/// still to come.
///
/// # Errors
/// For a bare CR, a bare LF, NUL and every other control byte except the tab.
pub fn end(bytes: &[u8]) -> Result<Option<usize>, Flaw> {
    LineEnds::from(bytes, 0).next_end()
}

/// Bytes of a token.
static TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric()
            || matches!(letter, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// Number of bytes at the start that form a token.
#[must_use]
pub fn token(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(bytes.len())
}

/// Longest field name: as much as an [`http::HeaderName`] holds, so that later parsers accept it
/// too.
pub const NAME: usize = u16::MAX as usize;

/// Splits a field line into name and value, without the white space around the value.
///
/// # Errors
/// When it has no name, one longer than [`NAME`], or no colon right behind it.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    let (name, rest) = line.split_at(token(line));
    match rest {
        _ if name.len() > NAME => {
            Err(Flaw { kind: Kind::HeadersTooLarge, detail: "a field's name is too long" })
        }
        [b':', value @ ..] if !name.is_empty() => Ok((name, value)),
        // Obsolete folding could join two lines for one parser only (RFC 9112, section 5.2).
        [b' ' | b'\t', ..] if name.is_empty() => Err(Flaw::malformed("a folded field line")),
        [b':', ..] => Err(Flaw::malformed("a field without a name")),
        [] => Err(Flaw::malformed("a field without a colon")),
        _ => Err(Flaw::malformed("a field's name is not a token right before a colon")),
    }
}

/// Returns true for white space around a value (RFC 9110, section 5.6.3).
#[must_use]
pub fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Value without the white space around it.
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let Some(begin) = value.iter().position(|byte| !is_space(byte)) else { return &[] };
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(begin, |last| last + 1);
    &value[begin..end]
}

#[cfg(test)]
mod tests {
    use crate::http::framing::line::*;

    #[test]
    fn line_ends_with_crlf_wherever_pieces_are_cut() {
        for length in 0..40 {
            let text = [&vec![b'x'; length][..], b"\r\ny\n"].concat();
            assert_eq!(end(&text), Ok(Some(length)));
            assert_eq!(end(&text[..=length]), Ok(None));
            assert_eq!(end(&text[..length]), Ok(None));
        }
    }

    #[test]
    fn every_byte_is_judged_at_every_place() {
        for place in 0..20 {
            for byte in 0..=255 {
                let mut text = [b'x'; 24];
                text[place] = byte;
                let refused = byte != b'\t' && byte.is_ascii_control();
                assert_eq!(end(&text).is_err(), refused, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn lines_are_found_one_behind_the_other_from_any_place() {
        let text = b"GET / HTTP/1.1\r\nhost: a\t\r\n\r\nPOST\r\nx: \xff\x80y\r\n";
        let ends: Vec<_> =
            (0..text.len() - 1).filter(|at| text[*at..].starts_with(b"\r\n")).collect();
        for from in 0..text.len() {
            if from > 0 && text[from - 1] == b'\r' {
                continue;
            }
            let mut lines = LineEnds::from(text, from);
            for end in ends.iter().filter(|end| **end >= from) {
                assert_eq!(lines.next_end(), Ok(Some(*end)), "from {from}");
            }
            assert_eq!(lines.next_end(), Ok(None));
        }
    }

    #[test]
    fn control_byte_search_marks_nothing_before_the_first() {
        assert_eq!(end(b"xx\tx x!\x80\xff~ \r\n"), Ok(Some(11)));
        assert_eq!(end(b"\t\t\t\t\t\t\t\t \r\n"), Ok(Some(9)));
    }

    #[test]
    fn tokens_are_those_of_the_standard() {
        let token_bytes: Vec<u8> = (0..=255).filter(|byte| token(&[*byte]) == 1).collect();
        let expected =
            b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(token_bytes, expected);
    }

    #[test]
    fn field_value_loses_only_surrounding_space() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"a\x0b"), b"a\x0b");
    }
}
