//! The lines of a body that comes in chunks (RFC 9112, section 7.1).

use super::{Flaw, line};

/// The longest line before a chunk: its size and extensions.
pub const SIZE_LINE: usize = 1024;
/// The most digits of a size.
const SIZE_DIGITS: usize = 15;

/// The size of the chunk that follows.
///
/// # Errors
/// For anything but hexadecimal digits, and extensions behind a semicolon right after them.
pub fn size(line: &[u8]) -> Result<u64, Flaw> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest, [] | [b';', ..]) {
        return Err(Flaw::malformed("a chunk's size is not a hexadecimal number"));
    }
    number(digits)
}

/// Size of the chunk that follows in a response: zeros may stand before it, and white space behind
/// it, which a recipient must parse (RFC 9110, section 5.6.3; RFC 9112, section 7.1.1). Requests
/// are read more strictly, because servers behind them disagree.
///
/// # Errors
/// For anything but hexadecimal digits, white space, and extensions behind a semicolon.
pub fn padded_size(line: &[u8]) -> Result<u64, Flaw> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest.trim_ascii_start(), [] | [b';', ..]) {
        return Err(Flaw::malformed("a chunk's size is not a hexadecimal number"));
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    number(&digits[zeros.min(digits.len().saturating_sub(1))..])
}

fn number(digits: &[u8]) -> Result<u64, Flaw> {
    let text = str::from_utf8(digits).ok().filter(|digits| digits.len() <= SIZE_DIGITS);
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Flaw::malformed("a chunk's size is not a hexadecimal number that fits"))
}

/// A field behind the last chunk.
///
/// # Errors
/// When it is none, or says what must be known before the body.
pub fn trailer(line: &[u8]) -> Result<(), Flaw> {
    let (name, _) = line::field(line)?;
    let framing =
        [&b"content-length"[..], b"transfer-encoding", b"host", b"trailer", b"connection"];
    if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        return Err(Flaw::malformed("a framing field behind the body"));
    }
    Ok(())
}
