//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other, and a longer one follows on the
//! last shorter one, with zeros behind it. So the symbols in the order of their codes, and the
//! number of codes of each length, are the whole table.

/// Symbols in the order of their codes. The one behind them, EOS, is never sent.
static SYMBOLS: &[u8; 256] =
    b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ!\"()?'+|#>\0$@[]~^}<`{\
\\\xc3\xd0\x80\x82\x83\xa2\xb8\xc2\xe0\xe2\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6\
\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9\
\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef\
\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed\xc7\xcf\xea\xeb\
\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff\
\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe\
\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9\
\x0a\x0d\x16";

/// Number of codes of each length in bits.
const COUNTS: [u16; LONGEST + 1] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
const LONGEST: usize = 30;
/// Length of codes that one lookup decodes: those of nearly all bytes in fields.
const SHORT: usize = 8;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// First number of [`LONGEST`] bits that begins with a longer code than these.
    end: u32,
    /// First of the codes.
    first: u32,
    /// Index of its symbol.
    index: u16,
}

static CODES: [Codes; LONGEST + 1] = {
    let mut codes = [Codes { end: 0, first: 0, index: 0 }; LONGEST + 1];
    let (mut length, mut next, mut index) = (1, 0, 0);
    while length <= LONGEST {
        // Canonical: the first code of a length is the one behind the last shorter code, one
        // bit longer.
        next <<= 1;
        // `end` is aligned to the left, so codes of all lengths compare as numbers.
        codes[length] =
            Codes { end: (next + COUNTS[length] as u32) << (LONGEST - length), first: next, index };
        next += COUNTS[length] as u32;
        index += COUNTS[length];
        length += 1;
    }
    codes
};

/// Symbol at the beginning of eight bits, and the length of its code; 0 where that is more than
/// eight.
static SHORTS: [(u8, u8); 1 << SHORT] = {
    let mut shorts = [(0, 0); 1 << SHORT];
    let (mut length, mut index, mut at) = (1, 0, 0);
    while length <= SHORT {
        let mut left = COUNTS[length];
        while left > 0 {
            // A code of 5 bits fills all 8 entries that begin with it, so one lookup decodes it.
            let mut same = 1 << (SHORT - length);
            while same > 0 {
                shorts[at] = (SYMBOLS[index], length as u8);
                at += 1;
                same -= 1;
            }
            index += 1;
            left -= 1;
        }
        length += 1;
    }
    shorts
};

/// Appends the decoded string to `decoded`. Returns false for a string with EOS in it, or with a
/// padding other than up to seven ones (RFC 7541, section 5.2).
#[must_use]
pub fn decode(string: &[u8], decoded: &mut Vec<u8>) -> bool {
    let before = decoded.len();
    // No code is shorter than five bits.
    decoded.resize(before + string.len() * 8 / 5, 0);
    let (mut rest, mut bits) = (string, Bits::default());
    let mut symbols = decoded[before..].iter_mut();
    while bits.fill(&mut rest) {
        // A code is no longer than what is there.
        while bits.count as usize >= LONGEST {
            // EOS within a string is an error (RFC 7541, section 5.2).
            let Some((symbol, length)) = bits.next() else { return false };
            bits.skip(length);
            write(&mut symbols, symbol);
        }
    }
    // The bits behind the counted ones are read again.
    bits.bits &= !(u64::MAX >> bits.count);
    let mut rest = rest.iter();
    loop {
        bits.fill_up(&mut rest);
        let Some((symbol, length)) = bits.next() else { return false };
        if length > bits.count {
            break;
        }
        bits.skip(length);
        write(&mut symbols, symbol);
    }
    let left = symbols.len();
    decoded.truncate(decoded.len() - left);
    bits.is_padding()
}

fn write(symbols: &mut std::slice::IterMut<'_, u8>, symbol: u8) {
    // There is room for every symbol: `string.len() * 8 / 5` are never fewer.
    if let Some(place) = symbols.next() {
        *place = symbol;
    }
}

/// Bits that were read and not decoded, from the highest on, and their number.
#[derive(Default)]
struct Bits {
    bits: u64,
    count: u32,
}

impl Bits {
    /// Reads as many whole bytes as there is room for, if at least eight are left. The bits of the
    /// next byte that fit in are not counted; they are the same when they are read again.
    fn fill(&mut self, rest: &mut &[u8]) -> bool {
        let Some(eight) = rest.first_chunk() else { return false };
        self.bits |= u64::from_be_bytes(*eight) >> self.count;
        // At most 63 bits are counted, so a shift by the count is always defined.
        let bytes = (u64::BITS - 1 - self.count) / 8;
        *rest = &rest[bytes as usize..];
        self.count += bytes * 8;
        true
    }

    /// Reads byte by byte, so that only zeros are behind the last one.
    fn fill_up(&mut self, rest: &mut std::slice::Iter<'_, u8>) {
        while self.count <= u64::BITS - 8
            && let Some(byte) = rest.next()
        {
            self.bits |= u64::from(*byte) << (u64::BITS - 8 - self.count);
            self.count += 8;
        }
    }

    /// Returns the next symbol and the length of its code; none for EOS.
    fn next(&self) -> Option<(u8, u32)> {
        match SHORTS[(self.bits >> (u64::BITS - SHORT as u32)) as usize] {
            (_, 0) => long(self.bits),
            (symbol, length) => Some((symbol, length.into())),
        }
    }

    fn skip(&mut self, length: u32) {
        self.bits <<= length;
        self.count -= length;
    }

    /// Returns true for up to seven ones: the beginning of EOS.
    fn is_padding(&self) -> bool {
        self.count < 8 && self.bits.count_ones() == self.count
    }
}

/// Returns the symbol of a code of more than eight bits, and its length; none for EOS.
fn long(bits: u64) -> Option<(u8, u32)> {
    let ahead = (bits >> (u64::BITS - LONGEST as u32)) as u32;
    // The ends grow with the length, so the first that is larger than the bits is that of
    // their code.
    let length = (SHORT + 1..=LONGEST).find(|length| ahead < CODES[*length].end)?;
    let Codes { first, index, .. } = CODES[length];
    let nth = (ahead >> (LONGEST - length)) - first;
    let symbol = SYMBOLS.get(usize::from(index) + nth as usize)?;
    Some((*symbol, length as u32))
}

#[cfg(test)]
mod tests {
    use crate::http::framing::huffman::*;

    fn decoded(string: &[u8]) -> Option<Vec<u8>> {
        let mut decoded = Vec::new();
        decode(string, &mut decoded).then_some(decoded)
    }

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn strings_of_the_standard_are_decoded() {
        for (string, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (b"", ""),
        ] {
            assert_eq!(decoded(string).as_deref(), Some(text.as_bytes()));
        }
    }

    /// Codes of each symbol by itself, one behind the other and with every padding.
    #[test]
    fn every_code_is_decoded_wherever_it_stands() {
        let code = |position: usize| {
            let length = (5..=LONGEST).rev().find(|length| {
                usize::from(CODES[*length].index) <= position && COUNTS[*length] > 0
            });
            let length = length.expect("a length");
            (CODES[length].first as usize + position - usize::from(CODES[length].index), length)
        };
        for before in 0..8 {
            for (position, symbol) in SYMBOLS.iter().enumerate() {
                let (bits, length) = code(position);
                // As many `0` as fit, which is five zeros each.
                let all = before * 5 + length;
                let padding = all.next_multiple_of(8) - all;
                let string = ((bits as u128 + 1) << padding) - 1;
                let bytes = string.to_be_bytes();
                let expected = [&vec![b'0'; before][..], &[*symbol]].concat();
                assert_eq!(decoded(&bytes[16 - all.div_ceil(8)..]), Some(expected));
            }
        }
    }

    /// Encodes a string by the table.
    fn coded(text: &[u8]) -> Vec<u8> {
        let (mut string, mut bits, mut count) = (Vec::new(), 0_u64, 0);
        for symbol in text {
            let position = SYMBOLS.iter().position(|other| other == symbol).expect("a symbol");
            let has = |length: &usize| {
                COUNTS[*length] > 0 && usize::from(CODES[*length].index) <= position
            };
            let length = (1..=LONGEST).rev().find(has).expect("a length");
            let nth = position - usize::from(CODES[length].index);
            bits = (bits << length) | (u64::from(CODES[length].first) + nth as u64);
            count += length;
            while count >= 8 {
                count -= 8;
                string.push((bits >> count) as u8);
            }
        }
        if count > 0 {
            string.push((bits << (8 - count)) as u8 | (0xff >> count));
        }
        string
    }

    #[test]
    fn long_strings_of_all_symbols_are_decoded() {
        for step in [1, 3, 7, 101, 255] {
            for length in [1, 7, 8, 9, 30, 255, 1_000] {
                let text: Vec<u8> = (0..length).map(|place: usize| (place * step) as u8).collect();
                assert_eq!(decoded(&coded(&text)), Some(text), "{length} in steps of {step}");
            }
        }
        // Earlier output stays, and the end is found behind many codes too.
        let mut behind = b"before".to_vec();
        assert!(decode(&coded(b"www.example.com/a/long/path"), &mut behind));
        assert_eq!(behind, b"beforewww.example.com/a/long/path");
        let broken = [coded(&[b'0'; 64]), vec![0xff; 4]].concat();
        assert_eq!(decoded(&broken), None);
    }

    #[test]
    fn hpack_invalid_string_is_an_error() {
        // A truncated string, seven ones too many, a padding of zeros, and a code that ends in the
        // middle.
        for string in
            [&[0xff; 4][..], &[0xff], &[0x07, 0xff], &[0x00], &[0x06], &[0xfe], &[0xff, 0xc0]]
        {
            assert_eq!(decoded(string), None, "{string:x?}");
        }
        assert_eq!(decoded(&[0x07]).as_deref(), Some(&b"0"[..]));
    }
}
