//! HPACK decoder for header blocks of HTTP/2 (RFC 7541).
//!
//! Guarantees: the content of a field is never a coding error. A malformed field is decoded,
//! indexed and returned like any other, so the table stays right and only its request is malformed.
//! The table holds at most [`TABLE`] bytes as the RFC counts them. Each of its fields is a copy,
//! which keeps no received buffer alive. Nothing else is kept from one block to the next.

use std::{collections::VecDeque, sync::LazyLock};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{huffman, line};

/// Largest table, which is the default of `SETTINGS_HEADER_TABLE_SIZE`: no other is offered.
pub const TABLE: usize = 4_096;
/// Overhead of a field in the table (RFC 7541, section 4.1).
const BESIDE: usize = 32;
/// Limit on the bytes of an integer: no number above 2^28 is useful.
const INTEGER: u32 = 5;

/// Error of a block that cannot be decoded. The connection has to end, because its table is no
/// longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// The block ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// An integer of more than five bytes.
    #[error("a header block has too large an integer")]
    Integer,
    /// A field is in neither table.
    #[error("a header block has an index outside its tables")]
    Index,
    /// A table size above the limit, or a change of it behind a field.
    #[error("a header block has a table size update that is not allowed")]
    TableSize,
    /// A string is not valid Huffman code.
    #[error("a header block has a malformed string")]
    Huffman,
}

/// Name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// Name of an ordinary field, in lower case.
    Field(HeaderName),
    /// Name that a request field must not have.
    Malformed(Bytes),
}

impl FieldName {
    fn of(text: &[u8]) -> Self {
        match text {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            // `HeaderName` accepts a quotation mark, which no parser of HTTP/1.1 does.
            _ if line::token(text) < text.len() => Self::Malformed(Bytes::copy_from_slice(text)),
            _ => HeaderName::from_lowercase(text)
                .map_or_else(|_| Self::Malformed(Bytes::copy_from_slice(text)), Self::Field),
        }
    }

    /// Number of bytes of the name.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Method | Self::Scheme => 7,
            Self::Authority => 10,
            Self::Path => 5,
            Self::Field(name) => name.as_str().len(),
            Self::Malformed(text) => text.len(),
        }
    }

    /// Returns true for the empty name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// Well-formed value of an ordinary field.
    Text(HeaderValue),
    /// Malformed value, or the value of a pseudo-header or of a field with a malformed name.
    Raw(Bytes),
}

impl FieldValue {
    /// Bytes of the value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(value) => value.as_bytes(),
            Self::Raw(bytes) => bytes,
        }
    }
}

/// Field of a header block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// Name of the field.
    pub name: FieldName,
    /// Value of the field.
    pub value: FieldValue,
}

impl HeaderField {
    fn new(name: FieldName, value: &[u8]) -> Self {
        let raw = || FieldValue::Raw(Bytes::copy_from_slice(value));
        let value = match &name {
            FieldName::Field(_) => {
                // A malformed value stays raw: it must be indexed all the same, or the tables
                // would differ.
                HeaderValue::from_bytes(value).map_or_else(|_| raw(), FieldValue::Text)
            }
            _ => raw(),
        };
        Self { name, value }
    }

    fn size(&self) -> usize {
        self.name.len() + self.value.as_bytes().len() + BESIDE
    }
}

/// Decoder of the header blocks of one connection, which needs all of them, in order.
#[derive(Debug)]
pub struct Decoder {
    /// Fields, the latest first.
    table: VecDeque<HeaderField>,
    size: usize,
    most: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, most: TABLE }
    }
}

impl Decoder {
    /// Decodes a whole block, field by field.
    ///
    /// # Errors
    /// [`CodingError`]: no other block of the connection can be decoded then.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(&HeaderField),
    ) -> Result<(), CodingError> {
        let (mut rest, mut begun, mut scratch) = (block, false, Vec::new());
        while let Some(first) = rest.first() {
            match first {
                0x80.. => {
                    // An index of zero is an error (RFC 7541, section 6.1), as `field` finds.
                    let index = integer(&mut rest, 7)?;
                    take(self.field(index)?);
                }
                0x40.. => {
                    let field = self.literal(&mut rest, 6, &mut scratch)?;
                    // Before the insertion, which may drop it again if it is larger than the table.
                    take(&field);
                    self.insert(field);
                }
                0x20.. => {
                    let most = integer(&mut rest, 5)?;
                    // A change of size is allowed only at the beginning of a block (section 4.2).
                    if begun || most > TABLE {
                        return Err(CodingError::TableSize);
                    }
                    self.most = most;
                    // A smaller table evicts now. Otherwise later indexes would lead to fields that
                    // the client dropped.
                    self.make_room(0);
                    continue;
                }
                0x10.. => {
                    let mut field = self.literal(&mut rest, 4, &mut scratch)?;
                    if let FieldValue::Text(value) = &mut field.value {
                        // It must be sent on in the same way (RFC 7541, section 7.1.3).
                        value.set_sensitive(true);
                    }
                    take(&field);
                }
                // Without indexing, so the table stays as it is (section 6.2.2).
                _ => take(&self.literal(&mut rest, 4, &mut scratch)?),
            }
            begun = true;
        }
        Ok(())
    }

    fn literal(
        &self,
        rest: &mut &[u8],
        prefix: u32,
        scratch: &mut Vec<u8>,
    ) -> Result<HeaderField, CodingError> {
        let name = match integer(rest, prefix)? {
            0 => FieldName::of(string(rest, scratch)?),
            // The name by index, which the insertion may evict later: so it is a copy of its own.
            index => self.field(index)?.name.clone(),
        };
        Ok(HeaderField::new(name, string(rest, scratch)?))
    }

    /// Field at an index of both tables (RFC 7541, section 2.3.3).
    fn field(&self, index: usize) -> Result<&HeaderField, CodingError> {
        let index = index.checked_sub(1).ok_or(CodingError::Index)?;
        match STATIC.get(index) {
            Some(field) => Ok(field),
            // Dynamic indexes begin behind the static table.
            None => self.table.get(index - STATIC.len()).ok_or(CodingError::Index),
        }
    }

    /// Inserts a field. One that is larger than the table empties it and is not kept (RFC 7541,
    /// section 4.4).
    fn insert(&mut self, field: HeaderField) {
        let size = field.size();
        // Room is made also for a field that is then not kept (section 4.4).
        self.make_room(size);
        if size <= self.most {
            self.size += size;
            self.table.push_front(field);
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.most
            && let Some(last) = self.table.pop_back()
        {
            self.size -= last.size();
        }
    }
}

/// Reads an integer that begins in the last bits of a byte (RFC 7541, section 5.1).
fn integer(bytes: &mut &[u8], prefix: u32) -> Result<usize, CodingError> {
    let mut next =
        || bytes.split_off_first().copied().map(usize::from).ok_or(CodingError::Truncated);
    // All ones in the prefix mean that the number goes on in the next bytes. Example: 1337 with a
    // prefix of 5 bits is 31, 154, 10: 31 + (154 - 128) + 10 * 128.
    let most = (1 << prefix) - 1;
    let mut number = next()? & most;
    if number < most {
        return Ok(number);
    }
    // Bounded, because zeros behind a number are allowed and could follow without an end.
    for place in 0..INTEGER - 1 {
        let byte = next()?;
        number += (byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(CodingError::Integer)
}

/// Reads a string (RFC 7541, section 5.2).
fn string<'b: 's, 's>(
    bytes: &mut &'b [u8],
    scratch: &'s mut Vec<u8>,
) -> Result<&'s [u8], CodingError> {
    let coded = bytes.first().is_some_and(|first| *first >= 0x80);
    let length = integer(bytes, 7)?;
    // The length is checked against the block before anything is allocated.
    let text = bytes.split_off(..length).ok_or(CodingError::Truncated)?;
    if !coded {
        return Ok(text);
    }
    // One buffer for all strings of a block.
    scratch.clear();
    if huffman::decode(text, scratch) { Ok(scratch) } else { Err(CodingError::Huffman) }
}

/// RFC 7541, appendix A.
static STATIC: LazyLock<[HeaderField; 61]> = LazyLock::new(|| {
    const TEXTS: [(&str, &str); 61] = [
        (":authority", ""),
        (":method", "GET"),
        (":method", "POST"),
        (":path", "/"),
        (":path", "/index.html"),
        (":scheme", "http"),
        (":scheme", "https"),
        (":status", "200"),
        (":status", "204"),
        (":status", "206"),
        (":status", "304"),
        (":status", "400"),
        (":status", "404"),
        (":status", "500"),
        ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"),
        ("accept-language", ""),
        ("accept-ranges", ""),
        ("accept", ""),
        ("access-control-allow-origin", ""),
        ("age", ""),
        ("allow", ""),
        ("authorization", ""),
        ("cache-control", ""),
        ("content-disposition", ""),
        ("content-encoding", ""),
        ("content-language", ""),
        ("content-length", ""),
        ("content-location", ""),
        ("content-range", ""),
        ("content-type", ""),
        ("cookie", ""),
        ("date", ""),
        ("etag", ""),
        ("expect", ""),
        ("expires", ""),
        ("from", ""),
        ("host", ""),
        ("if-match", ""),
        ("if-modified-since", ""),
        ("if-none-match", ""),
        ("if-range", ""),
        ("if-unmodified-since", ""),
        ("last-modified", ""),
        ("link", ""),
        ("location", ""),
        ("max-forwards", ""),
        ("proxy-authenticate", ""),
        ("proxy-authorization", ""),
        ("range", ""),
        ("referer", ""),
        ("refresh", ""),
        ("retry-after", ""),
        ("server", ""),
        ("set-cookie", ""),
        ("strict-transport-security", ""),
        ("transfer-encoding", ""),
        ("user-agent", ""),
        ("vary", ""),
        ("via", ""),
        ("www-authenticate", ""),
    ];
    TEXTS.map(|(name, value)| HeaderField::new(FieldName::of(name.as_bytes()), value.as_bytes()))
});

#[cfg(test)]
mod tests {
    use crate::http::framing::hpack::*;

    fn name(name: &FieldName) -> String {
        match name {
            FieldName::Method => ":method".to_owned(),
            FieldName::Scheme => ":scheme".to_owned(),
            FieldName::Authority => ":authority".to_owned(),
            FieldName::Path => ":path".to_owned(),
            FieldName::Field(name) => name.to_string(),
            FieldName::Malformed(text) => format!("?{}", text.escape_ascii()),
        }
    }

    /// Fields of a block, a line each; `?` follows a value that is not valid in HTTP.
    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, CodingError> {
        let mut fields = Vec::new();
        decoder.decode(block, |field| {
            let doubt =
                if matches!((&field.name, &field.value), (FieldName::Field(_), FieldValue::Raw(_)))
                {
                    "?"
                } else {
                    ""
                };
            fields.push(format!(
                "{}: {}{doubt}",
                name(&field.name),
                field.value.as_bytes().escape_ascii()
            ));
        })?;
        Ok(fields)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |two: &[u8]| {
            u8::from_str_radix(str::from_utf8(two).expect("ASCII"), 16).expect("a byte")
        };
        digits.chunks(2).map(byte).collect()
    }

    /// Blocks of one connection, and the size of the table behind each.
    fn run(blocks: &[(&str, &[&str], usize)]) {
        let mut decoder = Decoder::default();
        for (block, fields, size) in blocks {
            assert_eq!(decode(&mut decoder, &hex(block)).expect("a block"), *fields);
            assert_eq!(decoder.size, *size, "{block}");
        }
    }

    /// RFC 7541, appendix C.1.
    #[test]
    fn integers_of_the_standard_are_read() {
        for (bytes, prefix, number) in
            [(&[0x0a][..], 5, 10), (&[0x1f, 0x9a, 0x0a], 5, 1337), (&[0x2a], 8, 42)]
        {
            assert_eq!(integer(&mut &bytes[..], prefix), Ok(number));
        }
        assert_eq!(integer(&mut &[0x7f, 0x80, 0x80, 0x80, 0x01][..], 7), Ok(127 + (1 << 21)));
        assert_eq!(
            integer(&mut &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x00][..], 7),
            Err(CodingError::Integer)
        );
        assert_eq!(integer(&mut &[0x7f, 0xff][..], 7), Err(CodingError::Truncated));
    }

    /// RFC 7541, appendix C.2.
    #[test]
    fn representations_of_the_standard_are_decoded() {
        run(&[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key: custom-header"],
            55,
        )]);
        run(&[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
        run(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
        run(&[("82", &[":method: GET"], 0)]);
        let mut sensitive = Vec::new();
        let never = hex("1008 7061 7373 776f 7264 0673 6563 7265 74 0001 6101 62");
        Decoder::default().decode(&never, |field| sensitive.push(field.clone())).expect("a block");
        let is_sensitive = |field: &HeaderField| matches!(&field.value, FieldValue::Text(value) if value.is_sensitive());
        assert_eq!(sensitive.iter().map(is_sensitive).collect::<Vec<_>>(), [true, false]);
    }

    const REQUESTS: [&[&str]; 3] = [
        &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
        &[
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
            "cache-control: no-cache",
        ],
        &[
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ],
    ];

    /// RFC 7541, appendix C.3.
    #[test]
    fn requests_of_the_standard_are_decoded() {
        run(&[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0], 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1], 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUESTS[2],
                164,
            ),
        ]);
    }

    /// RFC 7541, appendix C.4.
    #[test]
    fn requests_of_the_standard_are_decoded_in_huffman_code() {
        run(&[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0], 57),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1], 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2], 164),
        ]);
    }

    /// RFC 7541, appendix C.5: a table of 256 bytes, from which fields are evicted.
    #[test]
    fn responses_of_the_standard_are_decoded_as_fields_are_evicted() {
        let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
                     546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
        let (private, date) = ("cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT");
        let location = "location: https://www.example.com";
        run(&[
            (&format!("3fe1 01 {first}"), &["?:status: 302", private, date, location], 222),
            ("4803 3330 37c1 c0bf", &["?:status: 307", private, date, location], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
                 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
                 2076 6572 7369 6f6e 3d31",
                &[
                    "?:status: 200",
                    private,
                    "date: Mon, 21 Oct 2013 20:13:22 GMT",
                    location,
                    "content-encoding: gzip",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ],
                215,
            ),
        ]);
    }

    #[test]
    fn hpack_field_content_is_no_error_and_is_indexed() {
        run(&[
            ("4003 782d 6103 6101 62", &["x-a: a\\x01b?"], 38),
            ("be", &["x-a: a\\x01b?"], 38),
            // Its name with another value, and a name with a capital, a space, nothing, and one of
            // no pseudo-header.
            ("7e 0178", &["x-a: x"], 74),
            ("4004 582d 5570 0131", &["?X-Up: 1"], 111),
            ("7e 0178", &["?X-Up: x"], 148),
            (
                "0003 6120 6201 31 0000 0131 0004 3a66 6f6f 0131",
                &["?a b: 1", "?: 1", "?:foo: 1"],
                148,
            ),
            ("0403 2f70 e9", &[":path: /p\\xe9"], 148),
            ("0003 7822 7901 31", &["?x\\\"y: 1"], 148),
        ]);
    }

    /// RFC 9110, section 5.6.2; RFC 9113, section 8.2.
    #[test]
    fn field_names_are_tokens_in_lower_case() {
        let token = b"!#$%&'*+-.0123456789^_`abcdefghijklmnopqrstuvwxyz|~";
        for byte in 0..=255 {
            let long = [b'x'; 100];
            for (before, behind) in
                [(&b""[..], &b""[..]), (b"", b"x"), (b"x", b""), (b"x", b"y"), (&long, &long)]
            {
                let name = [before, &[byte], behind].concat();
                let is_field = matches!(FieldName::of(&name), FieldName::Field(field) if field.as_str().as_bytes() == name);
                assert_eq!(is_field, token.contains(&byte), "{}", name.escape_ascii());
            }
        }
    }

    #[test]
    fn coding_errors_are_told_apart() {
        for (block, fault) in [
            ("80", CodingError::Index),
            ("be", CodingError::Index),
            ("7e 0178", CodingError::Index),
            ("ff ffff ffff 0f", CodingError::Integer),
            ("3fe2 1f", CodingError::TableSize),
            ("82 20", CodingError::TableSize),
            ("0081 ff00", CodingError::Huffman),
            ("ff", CodingError::Truncated),
            ("40", CodingError::Truncated),
            ("4001", CodingError::Truncated),
            ("4001 78", CodingError::Truncated),
            ("4001 7802 31", CodingError::Truncated),
        ] {
            assert_eq!(decode(&mut Decoder::default(), &hex(block)), Err(fault), "{block}");
        }
        assert_eq!(
            decode(&mut Decoder::default(), &hex("3fe1 1f 20 82")),
            Ok(vec![":method: GET".to_owned()])
        );
    }

    #[test]
    fn table_never_exceeds_capacity() {
        let mut decoder = Decoder::default();
        for number in 0..2_000_usize {
            let value = vec![b'v'; number % 300];
            let mut block = vec![0x40, 1, b'n'];
            match value.len() {
                length @ 0..127 => block.push(u8::try_from(length).expect("a byte")),
                length => block.extend([
                    0x7f,
                    u8::try_from((length - 127) % 128).expect("a byte") | 0x80,
                    u8::try_from((length - 127) / 128).expect("a byte"),
                ]),
            }
            block.extend(&value);
            decode(&mut decoder, &block).expect("a block");
            assert!(
                decoder.size <= TABLE
                    && decoder.size == decoder.table.iter().map(HeaderField::size).sum::<usize>()
            );
        }
        // A field that is too large for the table empties it.
        let large = [&[0x40, 1, b'n', 0x7f, 0x81, 0x1f][..], &[b'v'; 4_096]].concat();
        assert_eq!(large.len(), 6 + 127 + 1 + 31 * 128);
        decode(&mut decoder, &large).expect("a block");
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    }
}
