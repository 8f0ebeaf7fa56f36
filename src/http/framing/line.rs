//! Lines and the bytes they consist of (RFC 9112, section 2.2; RFC 9110, section 5.6.2).
//!
//! Guarantee: a line ends with CRLF, and contains no control byte but a tab.

use super::flaw::Flaw;
use crate::http::error::Kind;

/// Finds the end of the line at the start of `bytes`: the index of its CRLF. None while that is
/// still to come.
///
/// # Errors
/// For a bare CR, a bare LF, NUL and every other control byte except the tab.
pub fn end(bytes: &[u8]) -> Result<Option<usize>, Flaw> {
    let mut from = 0;
    while let Some(at) = control(bytes, from) {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\t', _) => from = at + 1,
            (b'\r', Some(b'\n')) => return Ok(Some(at)),
            // Perhaps its LF is still to come. A CR alone is judged only with the byte behind it.
            (b'\r', None) => return Ok(None),
            (b'\r', _) => return Err(Flaw::malformed("a bare CR")),
            (b'\n', _) => return Err(Flaw::malformed("a bare LF")),
            _ => return Err(Flaw::malformed("a control byte")),
        }
    }
    Ok(None)
}

/// First control byte at or after `from`, eight bytes a step.
fn control(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (eights, rest) = bytes[from..].as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        // The first byte becomes the lowest, so the trailing zeros count from it.
        let word = u64::from_le_bytes(*eight);
        // Below 0x20, or 0x7f: a borrow can only mark bytes behind the first one that is marked
        // rightly.
        let delete = word ^ (ONES * 0x7f);
        let marks = ((word.wrapping_sub(ONES * 0x20) & !word)
            | (delete.wrapping_sub(ONES) & !delete))
            & HIGH;
        if marks != 0 {
            return Some(from + index * 8 + (marks.trailing_zeros() / 8) as usize);
        }
    }
    let done = bytes.len() - rest.len();
    rest.iter().position(u8::is_ascii_control).map(|at| done + at)
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

/// Value without the white space around it.
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
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
