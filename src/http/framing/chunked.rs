//! Lines of a chunked body (RFC 9112, section 7.1).

use super::{flaw::Flaw, line};

/// Longest line before a chunk: size and extensions.
pub const SIZE_LINE: usize = 1024;
/// Limit on the digits of a size.
const SIZE_DIGITS: usize = 15;

/// End of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Last chunk of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// End of a chunk, and the last chunk behind it.
pub const END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// Parses the size of the next chunk.
///
/// # Errors
/// For anything but hexadecimal digits, and extensions after a semicolon right behind them.
pub fn size(line: &[u8]) -> Result<u64, Flaw> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    // White space before the semicolon is not allowed in requests, as its readers differ.
    if !matches!(rest, [] | [b';', ..]) {
        return Err(Flaw::malformed("a chunk's size is not a hexadecimal number"));
    }
    number(digits)
}

/// Parses the size of the next chunk of a response: leading zeros and trailing white space are
/// allowed, as a recipient must parse them (RFC 9110, section 5.6.3; RFC 9112, section 7.1.1).
/// Requests are parsed more strictly, because servers behind weir disagree about them.
///
/// # Errors
/// For anything but hexadecimal digits, white space, and extensions after a semicolon.
pub fn padded_size(line: &[u8]) -> Result<u64, Flaw> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(digits);
    if !matches!(rest.trim_ascii_start(), [] | [b';', ..]) {
        return Err(Flaw::malformed("a chunk's size is not a hexadecimal number"));
    }
    // Leading zeros are not digits of the number, so they do not count against the limit of digits.
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    number(&digits[zeros.min(digits.len().saturating_sub(1))..])
}

fn number(digits: &[u8]) -> Result<u64, Flaw> {
    // 15 digits are below 2^60: sums with such a size cannot overflow.
    let text = str::from_utf8(digits).ok().filter(|digits| digits.len() <= SIZE_DIGITS);
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Flaw::malformed("a chunk's size is not a hexadecimal number that fits"))
}

/// Checks a trailer line.
///
/// # Errors
/// When it is not a field, or one that must be known before the body.
pub fn trailer(line: &[u8]) -> Result<(), Flaw> {
    let (name, _) = line::field(line)?;
    // A server that merges trailers into the fields could frame the message by them.
    let framing =
        [&b"content-length"[..], b"transfer-encoding", b"host", b"trailer", b"connection"];
    if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        return Err(Flaw::malformed("a framing field in the trailers"));
    }
    Ok(())
}
