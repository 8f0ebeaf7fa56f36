//! Key of a zone: parts of a request, folded into one keyed 64-bit fingerprint.
//!
//! Guarantees: no bytes of a key are kept, and a key of any length costs the same memory. Without
//! the random seed of the process a client cannot choose two keys that share a bucket (SipHash-1-3,
//! Aumasson and Bernstein 2012).

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, Method, header};
use siphasher::sip::SipHasher13;

use super::{basic::BasicUser, normal_form::decoded};

/// Part of a request that the limiter sees.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Client address of the request.
    pub client: IpAddr,
    /// Host in its normal form; empty when an HTTP/1.0 request has none.
    pub host: &'a str,
    /// Path in its normal form.
    pub path: &'a str,
    /// Query as received, without the `?`.
    pub query: Option<&'a str>,
    /// Method in its normal form.
    pub method: &'a Method,
    /// Name of the chosen route.
    pub route: &'a str,
    /// Header fields as received.
    pub headers: &'a dyn Headers,
}

/// Header fields of a request, as keys and client addresses read them.
pub trait Headers: fmt::Debug {
    /// Calls `see` with each value of the fields of this name, in the order of their lines.
    fn each<'a>(&'a self, name: &HeaderName, see: &mut dyn FnMut(&'a [u8]));
}

impl Headers for HeaderMap {
    fn each<'a>(&'a self, name: &HeaderName, see: &mut dyn FnMut(&'a [u8])) {
        self.get_all(name).iter().for_each(|value| see(value.as_bytes()));
    }
}

impl<'a> Subject<'a> {
    /// Subject of a request whose host, query and route are not known, for the path `/`. A caller
    /// that knows more sets it:
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    /// use http::{HeaderMap, Method};
    /// use weir_limit::Subject;
    ///
    /// let (client, headers) = (IpAddr::V4(Ipv4Addr::LOCALHOST), HeaderMap::new());
    /// let subject = Subject { path: "/login", ..Subject::of(client, &Method::GET, &headers) };
    /// assert_eq!((subject.host, subject.path, subject.query), ("", "/login", None));
    /// ```
    #[must_use]
    pub fn of(client: IpAddr, method: &'a Method, headers: &'a dyn Headers) -> Self {
        Self { client, host: "", path: "/", query: None, method, route: "", headers }
    }

    /// Calls `see` with each value of the header of this name, without white space around it, in
    /// the order of its lines. `host` has one value, the requested host.
    pub fn each_header(&self, name: &HeaderName, see: &mut dyn FnMut(&[u8])) {
        if *name == header::HOST {
            return see(self.host.as_bytes());
        }
        self.headers.each(name, &mut |value| see(trimmed(value)));
    }

    /// Calls `see` with each value of the cookie of this name, decoded like a form value.
    pub fn each_cookie(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.headers.each(&header::COOKIE, &mut |line| {
            cookies(line, name).for_each(|value| see(&form_value(value)));
        });
    }

    /// Calls `see` with each value of the query parameter of this name, decoded like a form. A
    /// parameter without `=` is empty.
    pub fn each_parameter(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        for pair in self.query.into_iter().flat_map(|query| query.split('&')) {
            let (named, value) = pair.split_once('=').unwrap_or((pair, ""));
            if is_named(named, name) {
                see(&form_value(value.as_bytes()));
            }
        }
    }
}

/// Decoded value of a form.
fn form_value(value: &[u8]) -> Cow<'_, [u8]> {
    if is_spelled(value) { Cow::Owned(of_form(value).collect()) } else { Cow::Borrowed(value) }
}

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Client address, cut to the prefix of the zone.
    ClientIp,
    /// Header field of this name.
    Header(HeaderName),
    /// Cookie of this name, its value decoded like a form value.
    Cookie(String),
    /// Query parameter of this name, name and value decoded like a form (`%XX`, and `+` for a
    /// space).
    Query(String),
    /// Requested host, from `Host`, `:authority` or an absolute target: `header:host` means the
    /// same. Never absent: an HTTP/1.0 request without one has the empty host.
    Host,
    /// User of Basic credentials (RFC 7617), not verified.
    BasicUser,
    /// Path of the request.
    Path,
    /// Method of the request; HEAD counts as GET.
    Method,
    /// Name of the chosen route.
    Route,
    /// Nothing: all requests share one bucket.
    Global,
}

/// Error of a text that is not a part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// There is no part of this name.
    #[error("unknown key `{0}`")]
    Unknown(String),
    /// A name is missing behind `header:`, `cookie:` or `query:`.
    #[error("`{0}` has no name")]
    NoName(String),
    /// Not a field name (RFC 9110, section 5.1).
    #[error("`{0}` is not the name of a header field")]
    HeaderName(String),
    /// Not a cookie's name (RFC 6265, section 4.1.1).
    #[error("`{0}` is not the name of a cookie")]
    CookieName(String),
    /// A query parameter cannot have this name.
    #[error("`{0}` is not the name of a query parameter")]
    QueryName(String),
}

impl PartError {
    /// Returns what to write instead, if there is a usual remedy. It is no part of the message.
    ///
    /// ```
    /// use weir_limit::Part;
    ///
    /// let error = "header:".parse::<Part>().expect_err("a name is missing");
    /// assert_eq!(error.to_string(), "`header:` has no name");
    /// let hint = "write a name after the colon, like `header:x-api-key`";
    /// assert_eq!(error.hint().as_deref(), Some(hint));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unknown(text) => {
                return Some(match of_nginx(text) {
                    Some(parts) => format!("nginx's `{text}` is here: write `{parts}`"),
                    None => format!("use {}", listed(Part::FORMS)),
                });
            }
            Self::NoName(text) => {
                return Some(format!("write a name after the colon, like `{text}x-api-key`"));
            }
            Self::HeaderName(_) => return None,
            Self::CookieName(_) => "use letters, digits and !#$%&'*+-.^_`|~",
            Self::QueryName(_) => "write it as it is sent, with %20 for a space",
        };
        Some(text.to_owned())
    }
}

/// Variables of nginx, with the part that counts the same.
const NGINX: [(&str, Part); 10] = [
    ("binary_remote_addr", Part::ClientIp),
    ("remote_addr", Part::ClientIp),
    ("remote_user", Part::BasicUser),
    ("host", Part::Host),
    ("http_host", Part::Host),
    ("server_name", Part::Host),
    ("uri", Part::Path),
    ("document_uri", Part::Path),
    ("request_uri", Part::Path),
    ("request_method", Part::Method),
];

/// Parts for a key of nginx, which is one variable or several.
fn of_nginx(text: &str) -> Option<String> {
    let parts: Option<Vec<String>> = text
        .strip_prefix('$')?
        .split('$')
        .map(|variable| part_of_nginx(variable).map(|part| part.to_string()))
        .collect();
    match &parts?[..] {
        [part] => Some(part.clone()),
        parts => Some(format!("[ {} ]", parts.join(", "))),
    }
}

fn part_of_nginx(variable: &str) -> Option<Part> {
    if let Some((_, part)) = NGINX.iter().find(|(name, _)| *name == variable) {
        return Some(part.clone());
    }
    if let Some(name) = variable.strip_prefix("http_") {
        // A variable has `_` where the name of a field has `-`.
        return header_part(&name.replace('_', "-")).ok();
    }
    let cookie = || cookie_part(variable.strip_prefix("cookie_")?).ok();
    let query = || query_part(variable.strip_prefix("arg_").filter(|name| !name.is_empty())?).ok();
    cookie().or_else(query)
}

/// Words as an English list: `a, b or c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// Table of the parts: the word in a configuration, the variant, and for a part with a name its
/// parser and the noun for people. Parsing, printing, [`Part::FORMS`] and the messages are made of
/// it, and a variant without a line does not compile.
macro_rules! parts {
    ($($word:literal => $part:ident $(($name:ident: $parser:path, $noun:literal))?,)+) => {
        impl Part {
            /// Every part as a configuration writes it, in the order of the documentation.
            ///
            /// ```
            /// use weir_limit::Part;
            ///
            /// assert_eq!(Part::FORMS[..2], ["client_ip", "header:NAME"]);
            /// ```
            pub const FORMS: &'static [&'static str] =
                &[$(concat!($word $(, parts!(@suffix $name))?)),+];

            /// Word before the name.
            const fn word(&self) -> &'static str {
                match self {
                    $(Self::$part { .. } => $word,)+
                }
            }

            /// Returns the noun and the name of a part that has a name: `("header", "x-api-key")`.
            #[must_use]
            pub fn noun_and_name(&self) -> Option<(&'static str, &str)> {
                match self {
                    $(Self::$part $(($name))? => parts!(@noun $($noun, $name)?),)+
                }
            }
        }

        impl FromStr for Part {
            type Err = PartError;

            fn from_str(text: &str) -> Result<Self, PartError> {
                $(parts!(@parse text, $word, $part $(, $parser)?);)+
                Err(PartError::Unknown(text.to_owned()))
            }
        }
    };
    (@suffix $name:ident) => {
        ":NAME"
    };
    (@noun) => {
        None
    };
    (@noun $noun:literal, $name:ident) => {
        Some(($noun, $name.as_str()))
    };
    (@parse $text:ident, $word:literal, $part:ident) => {
        if $text == $word {
            return Ok(Self::$part);
        }
    };
    (@parse $text:ident, $word:literal, $part:ident, $parser:path) => {
        match $text.strip_prefix(concat!($word, ":")) {
            Some("") => return Err(PartError::NoName($text.to_owned())),
            Some(name) => return $parser(name),
            None => {}
        }
    };
}

parts! {
    "client_ip" => ClientIp,
    "header" => Header(name: header_part, "field"),
    "cookie" => Cookie(name: cookie_part, "cookie"),
    "query" => Query(name: query_part, "query parameter"),
    "basic_user" => BasicUser,
    "host" => Host,
    "path" => Path,
    "method" => Method,
    "route" => Route,
    "global" => Global,
}

fn header_part(name: &str) -> Result<Part, PartError> {
    Ok(match name.parse().map_err(|_| PartError::HeaderName(name.to_owned()))? {
        // Over HTTP/2 the host is in `:authority` and this field may be absent. The limit must hold
        // for both.
        header::HOST => Part::Host,
        name => Part::Header(name),
    })
}

/// Cookie names and field names are both tokens.
fn cookie_part(name: &str) -> Result<Part, PartError> {
    if HeaderName::from_str(name).is_err() {
        return Err(PartError::CookieName(name.to_owned()));
    }
    Ok(Part::Cookie(name.to_owned()))
}

fn query_part(name: &str) -> Result<Part, PartError> {
    // These end the name, or the whole query, wherever they stand in a target.
    if !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte)) {
        return Err(PartError::QueryName(name.to_owned()));
    }
    Ok(Part::Query(name.to_owned()))
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self.noun_and_name() {
            Some((_, name)) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

/// Meaning of a missing part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Missing {
    /// Such requests are not counted.
    Exempt,
    // As in nginx.
    /// The part counts as empty; only requests that lack all parts are not counted.
    Empty,
    /// Such requests share one bucket.
    Share,
    /// Such requests are rejected.
    Reject,
}

/// Reason why a request has no fingerprint under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkeyed {
    /// The rule does not apply.
    Exempt,
    /// A part is absent, and such requests are rejected.
    Missing,
    /// A part is there more than once with different values.
    Repeated,
}

/// Part of a key that caused a reject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// The part is absent.
    Missing(Part),
    /// The part is there more than once with different values.
    Repeated(Part),
}

impl KeyFault {
    /// Returns the part.
    #[must_use]
    pub fn part(&self) -> &Part {
        match self {
            Self::Missing(part) | Self::Repeated(part) => part,
        }
    }
}

/// Occurrence of a part in a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Value,
    Nothing,
    Several,
}

/// Secret half of every fingerprint, new for each process unless restored from a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

impl Seed {
    /// Draws a seed from the random numbers of the operating system.
    #[must_use]
    pub fn random() -> Self {
        // The standard library has random numbers only as keys of hashes. Each call has other keys,
        // so the two words differ.
        let word = || RandomState::new().build_hasher().finish();
        Self([word(), word()])
    }
}

/// Parts to count by, and the prefix lengths that tell clients apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Parts, in order.
    pub parts: Vec<Part>,
    /// Leading bits of an IPv4 address that tell clients apart.
    pub ipv4_prefix: u8,
    /// Leading bits of an IPv6 address that tell clients apart.
    pub ipv6_prefix: u8,
    /// Treatment of requests that lack a part.
    pub missing: Missing,
}

impl Key {
    /// Builds a key of these parts with the usual prefixes (/32, /64) and nginx's treatment of
    /// absent parts.
    #[must_use]
    pub fn of(parts: Vec<Part>) -> Self {
        Self { parts, ipv4_prefix: 32, ipv6_prefix: 64, missing: Missing::Empty }
    }

    /// Digest of the definition of the key. Debts counted under one key mean nothing under another,
    /// even when fingerprints are equal. The digest is stable over processes and versions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        // Texts and written numbers, not positions in an enum. Digests are stored, so a new variant
        // must not change them.
        for part in &self.parts {
            let part = part.to_string();
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        let missing = match self.missing {
            Missing::Exempt => 0,
            Missing::Empty => 1,
            Missing::Share => 2,
            Missing::Reject => 3,
        };
        hasher.write(&[self.ipv4_prefix, self.ipv6_prefix, missing]);
        hasher.finish()
    }

    /// Returns the fingerprint of a request under this key.
    ///
    /// A part that occurs several times with different values has no fingerprint: the upstream may
    /// use another value than the counted one, so a client could choose a fresh bucket for each
    /// request.
    ///
    /// # Errors
    /// [`Unkeyed::Repeated`] for such a part. [`Unkeyed::Missing`] or [`Unkeyed::Exempt`] by
    /// [`Missing`] when a part is absent, or, with [`Missing::Empty`], when all are.
    pub fn fingerprint(&self, seed: Seed, subject: &Subject<'_>) -> Result<u64, Unkeyed> {
        let mut hasher = SipHasher13::new_with_keys(seed.0[0], seed.0[1]);
        // The usual key in one piece, which hashes the same bytes in half the time.
        if let ([Part::ClientIp], IpAddr::V4(v4)) = (&self.parts[..], subject.client) {
            return Ok(hasher.hash(&self.ipv4_word(v4).to_ne_bytes()));
        }
        let mut absent = 0;
        for part in &self.parts {
            match self.write(part, subject, &mut hasher) {
                Found::Value => continue,
                Found::Several => return Err(Unkeyed::Repeated),
                Found::Nothing => absent += 1,
            }
            match self.missing {
                // No present part has this length.
                Missing::Empty | Missing::Share => hasher.write_u64(u64::MAX),
                Missing::Exempt => return Err(Unkeyed::Exempt),
                Missing::Reject => return Err(Unkeyed::Missing),
            }
        }
        // With `Empty`, requests without any part are not counted: they would all share one bucket.
        let counts = self.missing != Missing::Empty || absent < self.parts.len();
        if counts { Ok(hasher.finish()) } else { Err(Unkeyed::Exempt) }
    }

    /// Returns the part for which [`Self::fingerprint`] rejects the request.
    #[must_use]
    pub fn fault(&self, subject: &Subject<'_>) -> Option<KeyFault> {
        self.parts.iter().find_map(|part| {
            // Only the kind of the result matters here, so the hasher needs no seed.
            match self.write(part, subject, &mut SipHasher13::new()) {
                Found::Several => Some(KeyFault::Repeated(part.clone())),
                Found::Nothing if self.missing == Missing::Reject => {
                    Some(KeyFault::Missing(part.clone()))
                }
                Found::Value | Found::Nothing => None,
            }
        })
    }

    /// Hashes one part, its length first, so that two different lists of parts never hash the same
    /// bytes.
    fn write(&self, part: &Part, subject: &Subject<'_>, hasher: &mut SipHasher13) -> Found {
        let value = match part {
            Part::ClientIp => {
                self.write_address(subject.client, hasher);
                return Found::Value;
            }
            Part::Header(name) => {
                let mut values = Values::default();
                subject.headers.each(name, &mut |value| values.add(value));
                values.one()
            }
            Part::Cookie(name) => {
                let mut values = Values::default();
                subject.headers.each(&header::COOKIE, &mut |line| {
                    cookies(line, name).for_each(|value| values.add(value));
                });
                values.one()
            }
            Part::Query(name) => {
                let mut values = Values::default();
                let query = subject.query.into_iter();
                query.flat_map(|query| parameters(query, name)).for_each(|value| values.add(value));
                values.one()
            }
            Part::BasicUser => return write_basic_user(subject, hasher),
            // Never absent, so an empty host is hashed like any other.
            Part::Host => {
                hasher.write_usize(subject.host.len());
                hasher.write(subject.host.as_bytes());
                return Found::Value;
            }
            Part::Path => Ok(subject.path.as_bytes()),
            Part::Method if *subject.method == Method::HEAD => Ok(Method::GET.as_str().as_bytes()),
            Part::Method => Ok(subject.method.as_str().as_bytes()),
            Part::Route => Ok(subject.route.as_bytes()),
            // Not the empty text, which would count as an absent part.
            Part::Global => Ok(&b"*"[..]),
        };
        match (part, value) {
            (_, Err(found)) => return found,
            (_, Ok([])) => return Found::Nothing,
            (Part::Header(header::AUTHORIZATION), Ok(value)) => write_credentials(value, hasher),
            // Other values decode to themselves and are hashed in one piece.
            (Part::Cookie(_) | Part::Query(_), Ok(value)) if is_spelled(value) => {
                write_bytes(of_form(value), hasher);
            }
            (_, Ok(value)) => {
                hasher.write_usize(value.len());
                hasher.write(value);
            }
        }
        Found::Value
    }

    /// Hashes the address, its family first, so that an IPv6 address never hashes the same bytes as
    /// an IPv4 address and the part behind it.
    fn write_address(&self, client: IpAddr, hasher: &mut SipHasher13) {
        match client.to_canonical() {
            IpAddr::V4(v4) => hasher.write_u64(self.ipv4_word(v4)),
            IpAddr::V6(v6) => {
                let kept =
                    u128::MAX.checked_shl(128 - u32::from(self.ipv6_prefix.min(128))).unwrap_or(0);
                hasher.write_u64(6 << 32);
                hasher.write(&Ipv6Addr::from(u128::from(v6) & kept).octets());
            }
        }
    }

    /// Returns the family and the kept bits of an address.
    fn ipv4_word(&self, v4: Ipv4Addr) -> u64 {
        // A prefix of 0 shifts by the whole width, for which `checked_shl` returns none: no bit is
        // kept.
        let kept = u32::MAX.checked_shl(32 - u32::from(self.ipv4_prefix.min(32))).unwrap_or(0);
        4 << 32 | u64::from(u32::from(v4) & kept)
    }
}

/// Values that were found for a part.
#[derive(Default)]
struct Values<'a> {
    first: Option<&'a [u8]>,
    /// True if another value differs from the first.
    differ: bool,
}

impl<'a> Values<'a> {
    /// Adds a value without white space around it.
    fn add(&mut self, value: &'a [u8]) {
        let value = trimmed(value);
        self.differ |= *self.first.get_or_insert(value) != value;
    }

    /// Returns the value if all values are equal.
    fn one(self) -> Result<&'a [u8], Found> {
        if self.differ { Err(Found::Several) } else { self.first.ok_or(Found::Nothing) }
    }
}

/// Returns a value without white space around it, also that of Latin-1, which is no white space in
/// HTTP: servers that decode a field and strip it see one value for all its spellings.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | 0x85 | 0xa0);
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Cookies of this name in a line as servers read them (RFC 6265, sections 4.1.1 and 5.2): without
/// white space around name and value, and without quotation marks around the value.
fn cookies<'a>(line: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    line.split(|byte| *byte == b';').filter_map(move |pair| {
        let rest = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
        let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        Some(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Values, as sent, of the query parameters of this name.
fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a [u8]> {
    query.split('&').filter_map(|pair| {
        let (named, value) = pair.split_once('=')?;
        is_named(named, name).then_some(value.as_bytes())
    })
}

/// Returns true if a parameter has this name, however the two are spelled.
fn is_named(named: &str, name: &str) -> bool {
    let (one, other) = (named.as_bytes(), name.as_bytes());
    one == other || (is_spelled(one) || is_spelled(other)) && of_form(one).eq(of_form(other))
}

/// Returns true if the form text may have another spelling.
fn is_spelled(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decoded bytes of a form text.
fn of_form(text: &[u8]) -> impl Iterator<Item = u8> + Clone {
    decoded(text, |byte| if byte == b'+' { b' ' } else { byte })
}

/// Hashes the user of Basic credentials.
fn write_basic_user(subject: &Subject<'_>, hasher: &mut SipHasher13) -> Found {
    let mut values = Values::default();
    subject.headers.each(&header::AUTHORIZATION, &mut |value| values.add(value));
    let value = match values.one() {
        Ok(value) => value,
        Err(found) => return found,
    };
    match BasicUser::of(value) {
        BasicUser::OtherScheme => Found::Nothing,
        BasicUser::Named(user) if user.is_empty() => Found::Nothing,
        BasicUser::Named(user) => {
            hasher.write_usize(user.len());
            hasher.write(&user);
            Found::Value
        }
        // All of them are one user, of a length that no present part has: a client must not get a
        // bucket of its own for each way to spell a user.
        BasicUser::Malformed => {
            hasher.write_u64(u64::MAX - 1);
            Found::Value
        }
    }
}

/// Hashes credentials: the scheme in lower case, as schemes ignore case (RFC 9110, section 11.1),
/// and one space behind it.
fn write_credentials(value: &[u8], hasher: &mut SipHasher13) {
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    let scheme = scheme.iter().map(u8::to_ascii_lowercase);
    let bytes = scheme.chain([b' ']).chain(rest.trim_ascii_start().iter().copied());
    write_bytes(bytes, hasher);
}

/// Hashes bytes as if they had been sent in one piece.
fn write_bytes(bytes: impl Iterator<Item = u8> + Clone, hasher: &mut SipHasher13) {
    // Decoded twice, because the length is hashed first. A buffer would be an allocation per
    // request.
    hasher.write_usize(bytes.clone().count());
    bytes.for_each(|byte| hasher.write(&[byte]));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([1, 2]);

    fn subject<'a>(client: &str, query: Option<&'a str>, headers: &'a HeaderMap) -> Subject<'a> {
        let client = client.parse().expect("an address of the test");
        Subject { host: "a.test", query, ..Subject::of(client, &Method::GET, headers) }
    }

    fn of_client(key: &Key, client: &str) -> u64 {
        key.fingerprint(SEED, &subject(client, None, &HeaderMap::new()))
            .expect("an address is always there")
    }

    #[test]
    fn one_home_is_one_client_and_mapped_v4_is_v4() {
        let key = Key::of(vec![Part::ClientIp]);
        assert_eq!(of_client(&key, "::ffff:10.0.0.1"), of_client(&key, "10.0.0.1"));
        assert_eq!(of_client(&key, "2001:db8:0:1::1"), of_client(&key, "2001:db8:0:1:ffff::2"));
        assert_ne!(of_client(&key, "2001:db8:0:1::1"), of_client(&key, "2001:db8:0:2::1"));
        assert_ne!(of_client(&key, "10.0.0.1"), of_client(&key, "10.0.0.2"));
        let wide = Key { ipv4_prefix: 0, ipv6_prefix: 0, ..key };
        assert_eq!(of_client(&wide, "10.0.0.1"), of_client(&wide, "192.0.2.9"));
        assert_eq!(of_client(&wide, "2001:db8::"), of_client(&wide, "fe80::1"));
    }

    #[test]
    fn key_absent_part_follows_missing() {
        let mut key = Key::of(vec![Part::ClientIp, "header:x-key".parse().expect("a part")]);
        let none = HeaderMap::new();
        let of = |key: &Key, client| key.fingerprint(SEED, &subject(client, None, &none));
        assert!(of(&key, "10.0.0.1").is_ok());
        assert_eq!(of(&key, "10.0.0.1"), of(&key, "10.0.0.1"));
        assert_ne!(of(&key, "10.0.0.1"), of(&key, "10.0.0.2"));
        assert_eq!(of(&Key::of(key.parts[1..].to_vec()), "10.0.0.1"), Err(Unkeyed::Exempt));
        assert_eq!(key.fault(&subject("10.0.0.1", None, &none)), None);
        key.missing = Missing::Exempt;
        assert_eq!(key.fingerprint(SEED, &subject("10.0.0.1", None, &none)), Err(Unkeyed::Exempt));
        key.missing = Missing::Reject;
        assert_eq!(key.fingerprint(SEED, &subject("10.0.0.1", None, &none)), Err(Unkeyed::Missing));
        assert_eq!(
            key.fault(&subject("10.0.0.1", None, &none)),
            Some(KeyFault::Missing(key.parts[1].clone()))
        );
        key.missing = Missing::Share;
        let shared = key.fingerprint(SEED, &subject("10.0.0.1", None, &none));
        assert!(shared.is_ok());
        assert_eq!(shared, key.fingerprint(SEED, &subject("10.0.0.1", None, &none)));
    }

    #[test]
    fn key_hint_names_the_part_for_a_variable_of_nginx() {
        for (variable, part) in [
            ("$binary_remote_addr", "client_ip"),
            ("$remote_addr", "client_ip"),
            ("$http_x_api_key", "header:x-api-key"),
            ("$http_host", "host"),
            ("$arg_user", "query:user"),
            ("$cookie_sid", "cookie:sid"),
            ("$uri", "path"),
            ("$request_uri", "path"),
            ("$host", "host"),
            ("$server_name", "host"),
            ("$request_method", "method"),
            ("$binary_remote_addr$uri", "[ client_ip, path ]"),
        ] {
            let hint = variable.parse::<Part>().expect_err("no part").hint();
            let expected = format!("nginx's `{variable}` is here: write `{part}`");
            assert_eq!(hint, Some(expected));
        }
        for other in ["$", "$time_local", "$http_", "uri", "$uri$", "$arg_"] {
            let hint = other.parse::<Part>().expect_err("no part").hint();
            assert!(hint.is_some_and(|hint| hint.starts_with("use client_ip")), "{other}");
        }
    }

    #[test]
    fn cookies_and_parameters_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", http::HeaderValue::from_static("asid=no; sid=yes"));
        headers.append("cookie", http::HeaderValue::from_static("late=1"));
        let first = |headers: &HeaderMap, name| {
            let mut lines = headers.get_all("cookie").iter();
            lines.find_map(|line| {
                let value = cookies(line.as_bytes(), name).next()?;
                Some(String::from_utf8_lossy(value).into_owned())
            })
        };
        let found = ["sid", "late", "si"].map(|name| first(&headers, name));
        assert_eq!(found, [Some("yes".into()), Some("1".into()), None]);
        headers
            .insert("cookie", http::HeaderValue::from_static("a =1;\tb=\t2 ;c=\"3\"; d=\"; e; f="));
        let found = ["a", "b", "c", "d", "e", "f"].map(|name| first(&headers, name));
        assert_eq!(
            found,
            [
                Some("1".into()),
                Some("2".into()),
                Some("3".into()),
                Some("\"".into()),
                None,
                Some("".into())
            ]
        );
        let first = |query, name| parameters(query, name).next();
        assert_eq!(first("aid=1&id=2", "id"), Some(&b"2"[..]));
        assert_eq!(first("id", "id"), None);
        assert_eq!(first("%69d=2", "id"), Some(&b"2"[..]));
        assert_eq!(first("a+b=2", "a%20b"), Some(&b"2"[..]));
        assert_eq!(first("a%2bb=2", "a+b"), None);
    }

    #[test]
    fn part_repeated_with_other_values_has_no_fingerprint() {
        let of = |part: &str, query: Option<&str>, fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, value);
            }
            let key = Key::of(vec![Part::ClientIp, part.parse().expect("a part")]);
            let subject = subject("10.0.0.1", query, &headers);
            (key.fingerprint(SEED, &subject), key.fault(&subject).is_some())
        };
        let repeated = (Err(Unkeyed::Repeated), true);
        assert_eq!(of("header:x-key", None, &[("x-key", "a"), ("x-key", "b")]), repeated);
        assert_eq!(of("header:x-key", None, &[("x-key", ""), ("x-key", "b")]), repeated);
        assert_eq!(
            of(
                "header:authorization",
                None,
                &[("authorization", "Bearer a"), ("authorization", "Bearer b")]
            ),
            repeated
        );
        assert_eq!(of("cookie:sid", None, &[("cookie", "sid=a; sid=b")]), repeated);
        assert_eq!(of("cookie:sid", None, &[("cookie", "sid=a"), ("cookie", "sid=b")]), repeated);
        assert_eq!(of("query:id", Some("id=1&id=2"), &[]), repeated);
        assert_eq!(of("query:id", Some("%69d=1&id=2"), &[]), repeated);
        let once = of("header:x-key", None, &[("x-key", "a")]);
        assert_eq!(of("header:x-key", None, &[("x-key", "a"), ("x-key", "a")]), once);
        assert_eq!(of("query:id", Some("id=1&id=1"), &[]), of("query:id", Some("id=1"), &[]));
        assert_eq!(
            of("cookie:sid", None, &[("cookie", "sid=a; sid=a")]),
            of("cookie:sid", None, &[("cookie", "sid=a")])
        );
    }

    #[test]
    fn query_in_another_spelling_is_the_same_key() {
        let key = Key::of(vec!["query:id".parse().expect("a part")]);
        let none = HeaderMap::new();
        let of = |query| {
            key.fingerprint(SEED, &subject("10.0.0.1", Some(query), &none)).expect("a parameter")
        };
        for spelled in ["id=%61+b", "%69%64=a%20b", "id=%61%20%62"] {
            assert_eq!(of(spelled), of("id=a+b"), "{spelled}");
        }
        assert_eq!(of("id=%61b"), of("id=ab"));
        assert_ne!(of("id=a%2Bb"), of("id=a+b"));
        assert_ne!(of("id=%2561"), of("id=%61"));
    }

    #[test]
    fn cookie_or_credentials_in_another_spelling_are_the_same_key() {
        let of = |part: &str, field: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(
                field.parse().expect("a name"),
                http::HeaderValue::from_static(value),
            )]);
            let key = Key::of(vec![part.parse().expect("a part")]);
            key.fingerprint(SEED, &subject("10.0.0.1", None, &headers)).expect("it is there")
        };
        for spelled in ["sid=%73%3Aabc", "sid=s%3aabc", "sid=\"s:abc\""] {
            assert_eq!(
                of("cookie:sid", "cookie", spelled),
                of("cookie:sid", "cookie", "sid=s:abc"),
                "{spelled}"
            );
        }
        for spelled in ["bearer a.b", "BEARER  a.b", "Bearer\ta.b"] {
            let same = of("header:authorization", "authorization", "Bearer a.b");
            assert_eq!(of("header:authorization", "authorization", spelled), same, "{spelled}");
        }
        assert_ne!(
            of("header:authorization", "authorization", "Bearer A.b"),
            of("header:authorization", "authorization", "Bearer a.b")
        );
        assert_ne!(of("header:x-key", "x-key", "A b"), of("header:x-key", "x-key", "a b"));
    }

    #[test]
    fn basic_user_is_the_key_whatever_the_password_and_the_spelling() {
        let of = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("authorization", http::HeaderValue::from_static(line));
            }
            let key = Key { missing: Missing::Exempt, ..Key::of(vec![Part::BasicUser]) };
            key.fingerprint(SEED, &subject("10.0.0.1", None, &headers))
        };
        // max:secret, max:other, eva:secret.
        let max = of(&["Basic bWF4OnNlY3JldA=="]);
        assert!(max.is_ok());
        for same in ["basic  bWF4OnNlY3JldA", "BASIC bWF4Om90aGVy"] {
            assert_eq!(of(&[same]), max, "{same}");
        }
        assert_ne!(of(&["Basic ZXZhOnNlY3JldA=="]), max);
        for none in [&["Bearer bWF4OnNlY3JldA=="][..], &["Basic OnNlY3JldA=="], &[""], &[]] {
            assert_eq!(of(none), Err(Unkeyed::Exempt), "{none:?}");
        }
        let malformed = of(&["Basic bWF4 OnNlY3JldA=="]);
        assert!(malformed.is_ok() && malformed != max);
        assert_eq!(of(&["Basic !!"]), malformed);
        let twice = ["Basic bWF4OnNlY3JldA==", "Basic ZXZhOnNlY3JldA=="];
        assert_eq!(of(&twice), Err(Unkeyed::Repeated));
    }

    #[test]
    fn host_counts_also_where_none_is_named_and_head_is_a_get() {
        let none = HeaderMap::new();
        let unnamed = Subject { host: "", ..subject("10.0.0.1", None, &none) };
        for key in [
            vec![Part::Host],
            vec![Part::ClientIp, Part::Host],
            vec!["header:host".parse().expect("a part")],
        ] {
            let key = Key { missing: Missing::Exempt, ..Key::of(key) };
            assert!(key.fingerprint(SEED, &unnamed).is_ok());
        }
        let key = Key::of(vec![Part::Method]);
        let of = |method| key.fingerprint(SEED, &Subject { method, ..unnamed });
        assert_eq!(of(&Method::HEAD), of(&Method::GET));
        assert_ne!(of(&Method::POST), of(&Method::GET));
    }

    #[test]
    fn parts_never_run_into_each_other() {
        let key =
            Key::of(vec!["query:a".parse().expect("a part"), "query:b".parse().expect("a part")]);
        let none = HeaderMap::new();
        let of = |query| key.fingerprint(SEED, &subject("10.0.0.1", Some(query), &none));
        assert_ne!(of("a=xy&b=z"), of("a=x&b=yz"));
    }

    #[test]
    fn part_forms_parse_print_and_are_listed() {
        for form in Part::FORMS {
            let text = form.replace("NAME", "a-b");
            let part: Part = text.parse().expect(form);
            assert_eq!(part.to_string(), text);
            let name = part.noun_and_name().map(|(_, name)| name);
            assert_eq!(name, form.contains("NAME").then_some("a-b"), "{form}");
        }
        let listed = listed(Part::FORMS);
        assert!(listed.starts_with("client_ip, header:NAME, ") && listed.ends_with(" or global"));
    }

    #[test]
    fn key_error_names_known_parts() {
        let unknown = "ip, hint: it".parse::<Part>().expect_err("unknown");
        assert_eq!(unknown.to_string(), "unknown key `ip, hint: it`");
        assert!(unknown.hint().expect("a hint").contains("client_ip, header:NAME"));
        assert!(
            "header:".parse::<Part>().expect_err("no name").to_string().contains("has no name")
        );
        assert_eq!("header:a b".parse::<Part>(), Err(PartError::HeaderName("a b".to_owned())));
        for name in ["a b", "a=b", "a;b", "\u{e9}"] {
            assert_eq!(
                format!("cookie:{name}").parse::<Part>(),
                Err(PartError::CookieName(name.to_owned()))
            );
        }
        for name in ["a b", "a=b", "a&b", "a#b", "\u{e9}"] {
            assert_eq!(
                format!("query:{name}").parse::<Part>(),
                Err(PartError::QueryName(name.to_owned()))
            );
        }
        assert!("query:a%20b[]".parse::<Part>().is_ok());
    }
}
