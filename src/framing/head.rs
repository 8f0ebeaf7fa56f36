//! A request's head: its first line, and of its fields those that say how long the body is (RFC 9112, sections 3 and 6).

use super::{
    Flaw,
    line::{self, trim},
};

/// The most digits of a length.
const LENGTH_DIGITS: usize = 18;

/// What a head has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    version: Version,
    length: Option<u64>,
    chunked: bool,
}

/// The versions whose framing this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Head {
    /// Reads a request line: method, target and version, one space between them.
    ///
    /// # Errors
    /// For everything else: other white space, other versions, a target without a slash or that is no text, a fragment.
    pub fn begin(line: &[u8]) -> Result<Self, Flaw> {
        let (method, rest) = line.split_at(line::token(line));
        let [b' ', rest @ ..] = rest else { return Err(Flaw::malformed("the method is not a token and a space")) };
        if method.is_empty() {
            return Err(Flaw::malformed("no method"));
        }
        let end = rest.iter().position(|byte| *byte <= b' ' || *byte == b'#').unwrap_or(rest.len());
        let (target, rest) = rest.split_at(end);
        if !is_target(target) {
            return Err(Flaw::malformed("the target is neither a path nor an absolute address"));
        }
        if target.contains(&0x7f) || str::from_utf8(target).is_err() {
            return Err(Flaw::malformed("the target is not text in UTF-8"));
        }
        let version = match rest {
            b" HTTP/1.1" => Version::Http11,
            b" HTTP/1.0" => Version::Http10,
            [b'#', ..] => return Err(Flaw::malformed("the target has a fragment")),
            _ => return Err(Flaw::malformed("the request line does not end with HTTP/1.1 or HTTP/1.0")),
        };
        Ok(Self { version, ..Self::default() })
    }

    /// The head of an answer, of which the first line says this version.
    #[must_use]
    pub fn answer(version: Version) -> Self {
        Self { version, ..Self::default() }
    }

    /// Reads a field.
    ///
    /// # Errors
    /// When it says the body's length in a way that could be read otherwise.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Flaw> {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    /// Whether the body comes in chunks.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// How long the body is, if that is said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if self.length.is_some() {
            return Err(Flaw::malformed("more than one Content-Length"));
        }
        let digits = Some(value).filter(|value| (1..=LENGTH_DIGITS).contains(&value.len()));
        let add = |sum: u64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'));
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
        if self.chunked { self.framed_once() } else { Err(Flaw::malformed("Transfer-Encoding is not `chunked`")) }
    }

    fn framed_once(&self) -> Result<(), Flaw> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Flaw::malformed("both Content-Length and Transfer-Encoding")),
            _ => Ok(()),
        }
    }
}

/// Whether this is a target in origin, asterisk or absolute form. An authority alone is one of CONNECT, which is not served.
fn is_target(target: &[u8]) -> bool {
    match target {
        [b'/', ..] | b"*" => true,
        _ => [&b"http://"[..], b"https://"]
            .iter()
            .any(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))),
    }
}
