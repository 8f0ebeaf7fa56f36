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
                match self {
                    $(Self::$name => $text,)*
                }
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

/// Names by length, and the place of the first one that is at least this long.
static BY_LENGTH: ([KnownName; KnownName::ALL.len()], [usize; LONGEST + 2]) = {
    let mut names = [KnownName::Te; KnownName::ALL.len()];
    let mut starts = [0; LONGEST + 2];
    let (mut length, mut count) = (0, 0);
    while length <= LONGEST {
        starts[length] = count;
        let mut index = 0;
        while index < names.len() {
            if KnownName::ALL[index].text().len() == length {
                names[count] = KnownName::ALL[index];
                count += 1;
            }
            index += 1;
        }
        length += 1;
    }
    starts[LONGEST + 1] = count;
    (names, starts)
};

/// Set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownNames(u64);

// A set is one word.
const _: () = assert!(KnownName::ALL.len() <= u64::BITS as usize);

impl KnownName {
    /// Recognizes a name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let (names, starts) = &BY_LENGTH;
        let (start, end) = (*starts.get(name.len())?, *starts.get(name.len() + 1)?);
        let same = |known: &&Self| name.eq_ignore_ascii_case(known.text().as_bytes());
        names[start..end].iter().find(same).copied()
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
    use crate::http::known_name::*;

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
        for text in [&b""[..], b"x", &[b'a'; 300], b"content-lengt\xe8"] {
            assert_eq!(KnownName::of(text), None);
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
