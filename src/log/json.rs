//! Writer of JSON objects for log lines: every line is written for each request, so keys are
//! constants and numbers are written digit by digit.
//!
//! Guarantee: the output is what `serde_json` writes for the same values, of durations up to 35
//! years (`json_values_are_those_of_serde_json`).

use std::{
    cell::RefCell,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use crate::runtime::decimal::{write_address, write_number};

/// Longest text from a client that is logged, in bytes.
pub const FIELD: usize = 1024;

/// Object that is being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a key, which has no character that JSON escapes, and returns the place of its value.
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Writes a text.
    pub fn text(&mut self, key: &'static str, text: &str) {
        write_text(self.key(key), text);
    }

    /// Writes a text from a client, up to [`FIELD`] bytes.
    pub fn field(&mut self, key: &'static str, text: &str) {
        // A cut within a character would not be UTF-8.
        self.text(key, &text[..text.floor_char_boundary(FIELD)]);
    }

    /// Writes bytes from a client, up to [`FIELD`] of them; what is no UTF-8 becomes U+FFFD.
    pub fn bytes(&mut self, key: &'static str, bytes: &[u8]) {
        self.text(key, &String::from_utf8_lossy(&bytes[..bytes.len().min(FIELD)]));
    }

    /// Writes a text that has no character that JSON escapes.
    pub fn word(&mut self, key: &'static str, word: &str) {
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }

    /// Writes a text, or `null`.
    pub fn text_or_null(&mut self, key: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.null(key),
        }
    }

    /// Writes `null`.
    pub fn null(&mut self, key: &'static str) {
        self.key(key).extend_from_slice(b"null");
    }

    /// Writes an integer.
    pub fn number(&mut self, key: &'static str, number: u64) {
        write_number(self.key(key), number);
    }

    /// Writes a number of thousandths, without trailing zeros but for one.
    pub fn thousandths(&mut self, key: &'static str, thousandths: u64) {
        write_thousandths(self.key(key), thousandths);
    }

    /// Writes a duration in milliseconds, with whole microseconds as decimals.
    pub fn millis(&mut self, key: &'static str, duration: Duration) {
        self.thousandths(key, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes a duration in milliseconds, or `null`.
    pub fn millis_or_null(&mut self, key: &'static str, duration: Option<Duration>) {
        match duration {
            Some(duration) => self.millis(key, duration),
            None => self.null(key),
        }
    }

    /// Writes an address.
    pub fn address(&mut self, key: &'static str, address: IpAddr) {
        let out = self.key(key);
        out.push(b'"');
        write_address(out, address);
        out.push(b'"');
    }

    /// Writes wall-clock time as [`timestamp`].
    pub fn time(&mut self, key: &'static str, at: SystemTime) {
        let out = self.key(key);
        out.push(b'"');
        write_time(out, at);
        out.push(b'"');
    }

    /// Writes a flag that is set.
    pub fn flag(&mut self, key: &'static str) {
        self.key(key).extend_from_slice(b"true");
    }

    /// Begins an object as a value.
    pub fn object(&mut self, key: &'static str) -> Object<'_> {
        Object::begin(self.key(key))
    }
}

/// Writes a string with its quotation marks.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes a string without quotation marks.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        // Bytes of multibyte characters are above 0x7f and pass unchanged, so bytes are
        // enough here.
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(control >> 4)]);
                out.push(DIGITS[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
}

fn write_thousandths(out: &mut Vec<u8>, thousandths: u64) {
    write_number(out, thousandths / 1_000);
    let decimals = thousandths % 1_000;
    let decimals = [decimals / 100, decimals / 10 % 10, decimals % 10].map(|digit| digit as u8);
    // `serde_json` writes `1.0` for one, so one decimal always stays.
    let count = decimals.iter().rposition(|digit| *digit != 0).unwrap_or(0) + 1;
    out.push(b'.');
    out.extend(decimals[..count].iter().map(|digit| b'0' + digit));
}

thread_local! {
    /// Last second that was formatted, and its text.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

fn write_time(out: &mut Vec<u8>, at: SystemTime) {
    // A clock before 1970 gives the epoch: a wrong time is better than no line.
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        // Lines of one second share the text of all but its milliseconds.
        if *second != since.as_secs() {
            *second = since.as_secs();
            *text = Timestamp::try_from(at)
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .strftime("%Y-%m-%dT%H:%M:%S")
                .to_string();
        }
        out.extend_from_slice(text.as_bytes());
    });
    let millis = since.subsec_millis();
    let digits = [b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z'];
    out.extend_from_slice(&digits);
}

fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

/// Formats wall-clock time for logs: RFC 3339, UTC, whole milliseconds.
#[must_use]
pub fn timestamp(at: SystemTime) -> String {
    let mut text = Vec::with_capacity("2023-11-14T22:13:20.123Z".len());
    write_time(&mut text, at);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::log::json::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    proptest! {
        #[test]
        fn json_values_are_those_of_serde_json(
            text in any::<String>(),
            control in proptest::collection::vec(0_u8..0x80, 0..20),
            number in any::<u64>(),
            micros in 0_u64..1 << 50,
            address in any::<IpAddr>(),
        ) {
            let control = String::from_utf8(control).expect("ASCII");
            for text in [text, control] {
                let expected = serde_json::to_string(&text).expect("a text");
                prop_assert_eq!(written(|out| write_text(out, &text)), expected);
            }
            prop_assert_eq!(written(|out| write_number(out, number)), number.to_string());
            let float = micros as f64 / 1_000.0;
            let expected = serde_json::to_string(&float).expect("a number");
            prop_assert_eq!(written(|out| write_thousandths(out, micros)), expected);
            prop_assert_eq!(written(|out| write_address(out, address)), address.to_string());
        }

        #[test]
        fn timestamp_is_rfc_3339_in_any_order(times in proptest::collection::vec(0_u64..253_402_300_799_000, 1..20)) {
            for millis in times {
                let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
                let expected = Timestamp::try_from(at).expect("a year before 10000");
                prop_assert_eq!(timestamp(at), expected.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
            }
        }
    }
}
