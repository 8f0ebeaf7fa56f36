//! Head of a request: its first line, and the fields that determine the length of the body (RFC
//! 9112, sections 3 and 6).

use std::borrow::Cow;

use http::Uri;

use super::{flaw::Flaw, line};
use crate::http::{
    fields::{ConnectionOptions, LENGTH_DIGITS},
    known_name::KnownName,
};

/// Facts of a head so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    version: Version,
    length: Option<u64>,
    chunked: bool,
}

/// HTTP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Head {
    /// Parses a request line: method, target and version, one space between them.
    ///
    /// # Errors
    /// For everything else: other white space or versions, a target without a slash or that is not
    /// UTF-8, a fragment, or bytes that a target cannot contain. The `http` crate accepts every
    /// target that passes, so a bad one is refused here, where its line is known.
    pub fn begin(line: &[u8]) -> Result<Self, Flaw> {
        let (method, rest) = line.split_at(line::token(line));
        let [b' ', rest @ ..] = rest else {
            return Err(Flaw::malformed("the method is not a token and a space"));
        };
        if method.is_empty() {
            return Err(Flaw::malformed("no method"));
        }
        let (target, rest) = rest.split_at(end_of_target(rest));
        if !is_target(target) {
            return Err(Flaw::malformed("the target is neither a path nor an absolute address"));
        }
        let Ok(text) = str::from_utf8(target) else { return Err(NO_TEXT) };
        if !target.starts_with(b"/") && text.parse::<Uri>().is_err() {
            return Err(Flaw::malformed("the target is not an absolute address"));
        }
        let version = match rest {
            b" HTTP/1.1" => Version::Http11,
            b" HTTP/1.0" => Version::Http10,
            [byte, ..] if let Some(flaw) = stray(*byte) => return Err(flaw),
            _ => {
                return Err(Flaw::malformed(
                    "the request line does not end with HTTP/1.1 or HTTP/1.0",
                ));
            }
        };
        Ok(Self { version, ..Self::default() })
    }

    /// Creates the head of a response with this version.
    #[must_use]
    pub fn of_response(version: Version) -> Self {
        Self { version, ..Self::default() }
    }

    /// Takes a field into account: its name, if weir knows it, and its value without white space
    /// around it.
    ///
    /// # Errors
    /// When it gives the length of the body in an ambiguous way.
    pub fn field(&mut self, name: Option<KnownName>, value: &[u8]) -> Result<(), Flaw> {
        match name {
            Some(KnownName::ContentLength) => self.content_length(value),
            Some(KnownName::TransferEncoding) => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    /// HTTP version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns true if the body is chunked.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Length of the body, if given.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if self.length.is_some() {
            return Err(Flaw::malformed("more than one Content-Length"));
        }
        let digits = Some(value).filter(|value| (1..=LENGTH_DIGITS).contains(&value.len()));
        let add =
            |sum: u64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'));
        self.length = digits.and_then(|digits| digits.iter().try_fold(0, add));
        match self.length {
            None => Err(Flaw::malformed("Content-Length is not a number")),
            Some(_) => self.framed_once(),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if self.chunked {
            return Err(Flaw::malformed("more than one Transfer-Encoding"));
        }
        if self.version == Version::Http10 {
            return Err(Flaw::malformed("Transfer-Encoding in HTTP/1.0"));
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked {
            self.framed_once()
        } else {
            Err(Flaw::malformed("Transfer-Encoding is not `chunked`"))
        }
    }

    fn framed_once(&self) -> Result<(), Flaw> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Flaw::malformed("both Content-Length and Transfer-Encoding")),
            _ => Ok(()),
        }
    }
}

/// Returns true if a connection persists after a message with these options (RFC 9112, section 9.3).
#[must_use]
pub fn persists(version: Version, options: ConnectionOptions) -> bool {
    !options.close && (version == Version::Http11 || options.keep_alive)
}

/// Request line of a head that was refused or never completed, as far as it can be parsed. For
/// logs; no decision depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSoFar<'a> {
    /// Method of the request.
    pub method: &'a str,
    /// Target; invalid UTF-8 is replaced.
    pub target: Cow<'a, str>,
    /// Version, if the line has a supported one.
    pub version: Version,
}

impl<'a> LineSoFar<'a> {
    /// Parses the first bytes of a head: a token, one space, and bytes without a space; none for
    /// other bytes.
    #[must_use]
    pub fn read(head: &'a [u8]) -> Option<Self> {
        let line = head.split(u8::is_ascii_control).next()?;
        let (method, rest) = line.split_at(line::token(line));
        let (b' ', rest) = rest.split_first()? else { return None };
        let mut words = rest.split(|byte| *byte == b' ');
        let target = words.next().filter(|target| !target.is_empty())?;
        let method =
            str::from_utf8(method).ok().filter(|method| (1..=METHOD).contains(&method.len()))?;
        let version =
            if words.next() == Some(b"HTTP/1.0") { Version::Http10 } else { Version::Http11 };
        Some(Self { method, target: String::from_utf8_lossy(target), version })
    }
}

/// Longest method that is logged of a refused head.
const METHOD: usize = 32;

/// Refuses a `:path` of HTTP/2 that would be refused in a request line.
///
/// # Errors
/// For a fragment, bytes that a target cannot contain, and invalid UTF-8.
pub fn check_path(path: &[u8]) -> Result<(), Flaw> {
    match path.get(end_of_target(path)) {
        Some(byte) => {
            Err(stray(*byte)
                .unwrap_or(Flaw::malformed("the target has white space or a control byte")))
        }
        None if str::from_utf8(path).is_err() => Err(NO_TEXT),
        None => Ok(()),
    }
}

const NO_TEXT: Flaw = Flaw::malformed("the target is not text in UTF-8");

/// Flaw of a byte that ends a target, if it is more than the end.
fn stray(byte: u8) -> Option<Flaw> {
    match byte {
        b'#' => Some(Flaw::malformed("the target has a fragment")),
        0x7f => Some(NO_TEXT),
        b'"' | b'<' | b'>' | b'`' => {
            Some(Flaw::malformed("the target has a byte that is sent in percent-encoding"))
        }
        _ => None,
    }
}

/// End of a target: the first byte that a target cannot contain. A grave accent may occur in a
/// query only, and a quotation mark in a path only, which is how browsers send them.
fn end_of_target(line: &[u8]) -> usize {
    // Each byte is examined once: a long target may consist of quotation marks.
    let (mut from, mut in_query) = (0, false);
    while let Some(length) = line[from..].iter().position(|byte| NO_TARGET[usize::from(*byte)]) {
        let at = from + length;
        in_query |= line[from..at].contains(&b'?');
        match line[at] {
            b'`' if in_query => {}
            b'"' if !in_query => {}
            _ => return at,
        }
        from = at + 1;
    }
    line.len()
}

/// Bytes that a target cannot contain, or not everywhere.
static NO_TARGET: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        table[byte] = byte <= 0x20 || matches!(byte as u8, b'"' | b'#' | b'<' | b'>' | b'`' | 0x7f);
        byte += 1;
    }
    table
};

/// Returns true for a target in origin, asterisk or absolute form. An authority alone belongs to
/// CONNECT, which is not supported.
fn is_target(target: &[u8]) -> bool {
    match target {
        [b'/', ..] | b"*" => true,
        _ => [&b"http://"[..], b"https://"].iter().any(|scheme| {
            target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::uri::PathAndQuery;

    use crate::http::framing::head::*;

    #[test]
    fn every_target_that_passes_is_one_the_http_crate_reads() {
        for before in ["/", "/?", "/a?b=", "/a/"] {
            for byte in 0x21..0x7f_u8 {
                let target = [before.as_bytes(), &[byte, b'x']].concat();
                let line = [b"GET ", &target[..], b" HTTP/1.1"].concat();
                let read = PathAndQuery::try_from(&target[..])
                    .is_ok_and(|read| read.as_str().len() == target.len());
                assert_eq!(Head::begin(&line).is_ok(), read, "{}", line.escape_ascii());
            }
        }
        for target in ["http://", "http:///x", "http://[::1/", "HTTP://a/<", "https://a b/"] {
            assert!(Head::begin(format!("GET {target} HTTP/1.1").as_bytes()).is_err(), "{target}");
        }
        assert!(Head::begin(b"GET HTTP://a.test:80/x?`y HTTP/1.1").is_ok());
    }

    #[test]
    fn target_of_quotes_is_read_once() {
        let begun = Instant::now();
        for (before, quote) in [("/", '"'), ("/?", '`')] {
            let target = before.to_owned() + &quote.to_string().repeat(1 << 20);
            assert!(Head::begin(format!("GET {target} HTTP/1.1").as_bytes()).is_ok());
            assert_eq!(check_path(target.as_bytes()), Ok(()));
        }
        // Looking back from each quotation mark would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn line_so_far_is_what_can_be_told_of_a_request_line() {
        let read = |head: &'static [u8]| {
            LineSoFar::read(head)
                .map(|line| format!("{} {} {:?}", line.method, line.target, line.version))
        };
        for (head, told) in [
            (&b"GET /a HTTP/1.1\r\nhost: a\r\n"[..], Some("GET /a Http11")),
            (b"GET /a HTTP/1.0\r\n\r\n", Some("GET /a Http10")),
            (b"GET /a", Some("GET /a Http11")),
            (b"GET /a#b HTTP/2.0\n", Some("GET /a#b Http11")),
            (b"CONNECT a:443 HTTP/1.1\r\n", Some("CONNECT a:443 Http11")),
            (b"GET /\xff HTTP/1.1\r\n", Some("GET /\u{fffd} Http11")),
            (b"GET /a\0b HTTP/1.1\r\n", Some("GET /a Http11")),
            (b"GET  /a HTTP/1.1\r\n", None),
            (b"GET", None),
            (b"\x16\x03\x01\x02", None),
            (b" /a HTTP/1.1", None),
            (b"A23456789012345678901234567890123 /a HTTP/1.1", None),
            (b"", None),
        ] {
            assert_eq!(read(head).as_deref(), told, "{}", head.escape_ascii());
        }
    }
}
