//! Names of the header fields that weir itself reads or writes.
//!
//! A name is recognized once, where its line is read. After that a comparison is one of small
//! numbers, and the set of all known names of a message fits in one word.

macro_rules! known_names {
    ($($name:ident $text:literal,)*) => {
        /// Field name that weir knows. All others are compared as text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum KnownName {
            $(#[doc = concat!("`", $text, "`.")] $name,)*
        }

        impl KnownName {
            /// Every name.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Name in lower case, as weir writes it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                const TEXTS: &[&str] = &[$($text),*];
                TEXTS[self as usize]
            }

            /// Beginning of its line: the name, a colon and a space.
            #[must_use]
            pub const fn line_start(self) -> &'static str {
                const STARTS: &[&str] = &[$(concat!($text, ": ")),*];
                STARTS[self as usize]
            }
        }
    };
}

known_names! {
    Accept "accept",
    AcceptEncoding "accept-encoding",
    AcceptRanges "accept-ranges",
    Allow "allow",
    Authorization "authorization",
    CacheControl "cache-control",
    Connection "connection",
    ContentDigest "content-digest",
    ContentEncoding "content-encoding",
    ContentLength "content-length",
    ContentMd5 "content-md5",
    ContentRange "content-range",
    ContentType "content-type",
    Cookie "cookie",
    Date "date",
    Digest "digest",
    Etag "etag",
    Expect "expect",
    Forwarded "forwarded",
    GrpcMessage "grpc-message",
    GrpcStatus "grpc-status",
    Host "host",
    Http2Settings "http2-settings",
    IfNoneMatch "if-none-match",
    KeepAlive "keep-alive",
    Location "location",
    MaxForwards "max-forwards",
    Proxy "proxy",
    ProxyAuthenticate "proxy-authenticate",
    ProxyAuthorization "proxy-authorization",
    ProxyConnection "proxy-connection",
    ProxyStatus "proxy-status",
    Ratelimit "ratelimit",
    RatelimitPolicy "ratelimit-policy",
    Referer "referer",
    ReprDigest "repr-digest",
    RetryAfter "retry-after",
    Te "te",
    Trailer "trailer",
    TransferEncoding "transfer-encoding",
    Upgrade "upgrade",
    UserAgent "user-agent",
    Vary "vary",
    Via "via",
    WwwAuthenticate "www-authenticate",
    XForwardedFor "x-forwarded-for",
    XForwardedHost "x-forwarded-host",
    XForwardedProto "x-forwarded-proto",
    XRealIp "x-real-ip",
    XRequestId "x-request-id",
}

/// Length of the longest name.
const LONGEST: usize = {
    let (mut longest, mut index) = (0, 0);
    while index < KnownName::ALL.len() {
        let length = KnownName::ALL[index].text().len();
        if length > longest {
            longest = length;
        }
        index += 1;
    }
    longest
};

/// Length of a word of a name.
const WORD: usize = 8;

/// Name in words that are compared together: its first bytes, those behind them, and its last ones.
type Words = [u64; 3];

/// Names by length with their words, and the place of the first one that is at least this long.
static BY_LENGTH: ([(KnownName, Words); KnownName::ALL.len()], [usize; LONGEST + 2]) = {
    let mut names = [(KnownName::Te, [0; 3]); KnownName::ALL.len()];
    let mut starts = [0; LONGEST + 2];
    let (mut length, mut count) = (0, 0);
    while length <= LONGEST {
        starts[length] = count;
        let mut index = 0;
        while index < names.len() {
            let known = KnownName::ALL[index];
            if known.text().len() == length {
                names[count] = (known, words(known.text().as_bytes()));
                count += 1;
            }
            index += 1;
        }
        length += 1;
    }
    starts[LONGEST + 1] = count;
    (names, starts)
};

/// Words of a name, which is not longer than the longest known one. Words of a longer name overlap.
#[inline]
const fn words(name: &[u8]) -> Words {
    const { assert!(LONGEST <= 3 * WORD) };
    let length = name.len();
    let Some((first, rest)) = name.split_first_chunk::<WORD>() else {
        // The bytes of a short name are in two parts, of which the second may overlap the first.
        let (half, byte) = match name {
            [a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as u64, 4),
            [a, b, ..] => (u16::from_le_bytes([*a, *b]) as u64, 2),
            [a] => (*a as u64, 1),
            [] => (0, 0),
        };
        let last = match byte {
            4 => {
                let at = length - 4;
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]) as u64
            }
            2 => u16::from_le_bytes([name[length - 2], name[length - 1]]) as u64,
            _ => 0,
        };
        return [(half | last << 32) | LOWER, 0, 0];
    };
    let second = match rest.first_chunk::<WORD>() {
        Some(second) => u64::from_le_bytes(*second) | LOWER,
        None => 0,
    };
    let last = match name.last_chunk::<WORD>() {
        Some(last) => u64::from_le_bytes(*last) | LOWER,
        None => 0,
    };
    [u64::from_le_bytes(*first) | LOWER, second, last]
}

/// Bit that turns a letter into lower case. It does not change digits and the hyphen, and turns no
/// other byte of a token into one of these.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// Set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownNames(u64);

// A set is one word.
const _: () = assert!(KnownName::ALL.len() <= u64::BITS as usize);

impl KnownName {
    /// Recognizes a name, which is a token, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let (names, starts) = &BY_LENGTH;
        let (start, end) = (*starts.get(name.len())?, *starts.get(name.len() + 1)?);
        let wanted = words(name);
        names[start..end].iter().find(|(_, words)| *words == wanted).map(|(known, _)| *known)
    }

    /// Returns true for a field of one connection only (RFC 9110, section 7.6.1).
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        KnownNames::HOP_BY_HOP.contains(self)
    }
}

impl KnownNames {
    /// Fields of one connection only (RFC 9110, section 7.6.1).
    pub const HOP_BY_HOP: Self = Self::of(&[
        KnownName::Connection,
        KnownName::Http2Settings,
        KnownName::KeepAlive,
        KnownName::ProxyConnection,
        KnownName::Te,
        KnownName::Trailer,
        KnownName::TransferEncoding,
        KnownName::Upgrade,
    ]);

    /// Set of these names.
    #[must_use]
    pub const fn of(names: &[KnownName]) -> Self {
        let (mut set, mut index) = (0, 0);
        while index < names.len() {
            set |= 1 << names[index] as u8;
            index += 1;
        }
        Self(set)
    }

    /// Adds a name.
    pub fn insert(&mut self, name: KnownName) {
        self.0 |= 1 << name as u8;
    }

    /// Removes a name.
    pub fn remove(&mut self, name: KnownName) {
        self.0 &= !(1 << name as u8);
    }

    /// Returns true if it has this name.
    #[must_use]
    pub const fn contains(self, name: KnownName) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// Returns true if the two sets share a name.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use crate::http::{framing::line, known_name::*};

    #[test]
    fn known_name_is_recognized_in_any_case_and_nothing_else_is() {
        for name in KnownName::ALL {
            let text = name.text();
            assert_eq!(text, text.to_ascii_lowercase());
            assert_eq!(KnownName::of(text.as_bytes()), Some(*name));
            assert_eq!(KnownName::of(text.to_ascii_uppercase().as_bytes()), Some(*name));
            assert_eq!(
                KnownName::of(text.replace('-', "_").as_bytes()).is_some(),
                !text.contains('-')
            );
            assert_eq!(KnownName::of(&text.as_bytes()[1..]), None, "{text}");
            assert_eq!(KnownName::of(format!("{text}x").as_bytes()), None, "{text}");
        }
        for text in [&b""[..], b"x", &[b'a'; 300]] {
            assert_eq!(KnownName::of(text), None);
        }
    }

    #[test]
    fn known_name_with_one_other_byte_is_another_name() {
        let token = |byte: &u8| line::token(&[*byte]) == 1;
        for name in KnownName::ALL {
            for at in 0..name.text().len() {
                let mut text = name.text().as_bytes().to_vec();
                for byte in (0..=255).filter(token) {
                    text[at] = byte;
                    let known = KnownName::ALL
                        .iter()
                        .find(|known| text.eq_ignore_ascii_case(known.text().as_bytes()));
                    assert_eq!(KnownName::of(&text), known.copied(), "{}", text.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn set_of_names_has_those_that_were_added_and_not_removed() {
        let mut names = KnownNames::default();
        for name in KnownName::ALL {
            assert!(!names.contains(*name));
            names.insert(*name);
            assert!(names.contains(*name) && names.intersects(KnownNames::of(&[*name])));
            assert_eq!(name.is_hop_by_hop(), KnownNames::HOP_BY_HOP.contains(*name));
        }
        for name in KnownName::ALL {
            names.remove(*name);
            assert!(!names.contains(*name));
        }
        assert_eq!(names, KnownNames::default());
    }
}
