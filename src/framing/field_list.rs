//! Requests and trailers of HTTP/2, made of the fields of their header blocks (RFC 9113, sections 8.1 to 8.3).
//!
//! Guarantees: what passes is well-formed and within the limits, which are those of HTTP/1.1: the same fields are as many lines and as many
//! bytes there. Crumbs of a cookie are one line. What is not well-formed is never an error of the connection, and of fields above the
//! limits nothing is kept.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    Flaw, HEAD_TOO_LARGE, HeaderLimits, REQUEST_LINE, TARGET_TOO_LONG,
    head::{self, Head},
    hpack::{Field, Name, Value},
};

/// What a field takes beside its text, as `SETTINGS_MAX_HEADER_LIST_SIZE` counts (RFC 9113, section 6.5.2).
const BESIDE: usize = 32;
/// What a line of HTTP/1.1 takes beside a name and a value: a colon, a space and CRLF.
const LINE: usize = 4;
/// The same of a request line with a method and a target.
const FIRST_LINE: usize = " ".len() + " HTTP/1.1".len() + "\r\n".len();

/// A request, well-formed or not.
#[derive(Debug)]
pub struct Received {
    /// Its head. Where that is not well-formed it has what is, and `-` for a method that is none.
    pub head: Parts,
    /// Length of its body, where the request says it.
    pub length: Option<u64>,
    /// What is wrong with it.
    pub unfit: Option<Unfit>,
}

/// Reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong with it.
    pub flaw: Flaw,
    /// The target as it came, for the log, where it is none.
    pub target: Option<Box<str>>,
}

/// The head of a request as far as its fields have come.
pub struct RequestSoFar {
    limits: HeaderLimits,
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    fields: HeaderMap,
    framing: Head,
    /// Crumbs joined, where there is more than one.
    cookie: Vec<u8>,
    /// An ordinary field came: no pseudo-header may come any more.
    ordinary: bool,
    /// What they come to in HTTP/1.1.
    bytes: usize,
    lines: usize,
    /// What they come to as HTTP/2 counts.
    size: usize,
    flaw: Option<Flaw>,
}

impl RequestSoFar {
    /// A head of which no field has come.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            fields: HeaderMap::new(),
            framing: Head::default(),
            cookie: Vec::new(),
            ordinary: false,
            bytes: FIRST_LINE,
            lines: 0,
            size: 0,
            flaw: None,
        }
    }

    /// What the fields come to as HTTP/2 counts them, kept or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes the next field.
    pub fn take(&mut self, field: &Field) {
        self.size += size(field);
        match (&field.name, &field.value) {
            (Name::Field(name), Value::Text(value)) => self.take_ordinary(name, value),
            (Name::Field(_), Value::Raw(_)) => self.refuse("a field's value has a byte that none may have"),
            (Name::Malformed(name), _) if name.starts_with(b":") => self.refuse("a pseudo-header that no request has"),
            (Name::Malformed(_), _) => self.refuse("a field's name is not a token in lower case"),
            (name, Value::Raw(value)) => self.take_pseudo(name, value),
            // The values of pseudo-headers are never made texts.
            (_, Value::Text(_)) => {}
        }
        self.ordinary |= matches!(field.name, Name::Field(_));
    }

    fn take_pseudo(&mut self, name: &Name, value: &Bytes) {
        if self.ordinary {
            return self.refuse("a pseudo-header behind a field");
        }
        let (bytes, lines) = match name {
            Name::Authority => ("host".len() + value.len() + LINE, 1),
            Name::Method | Name::Path => (value.len(), 0),
            _ => (0, 0),
        };
        if *name == Name::Path && FIRST_LINE + value.len() > REQUEST_LINE.min(self.limits.size) {
            self.flaw = self.flaw.or(Some(TARGET_TOO_LONG));
        } else if !self.has_room(bytes, lines) {
            return;
        }
        let slot = match name {
            Name::Method => &mut self.method,
            Name::Scheme => &mut self.scheme,
            Name::Authority => &mut self.authority,
            _ => &mut self.path,
        };
        if slot.is_some() {
            return self.refuse("a pseudo-header twice");
        }
        *slot = Some(value.clone());
    }

    fn take_ordinary(&mut self, name: &HeaderName, value: &HeaderValue) {
        if let Some(flaw) = flaw_of(name, value) {
            return self.refuse(flaw);
        }
        if let Err(flaw) = self.framing.field(name.as_str().as_bytes(), value.as_bytes()) {
            self.flaw = self.flaw.or(Some(flaw));
            return;
        }
        let first = (*name == header::COOKIE).then(|| self.fields.get(name)).flatten();
        let Some(first) = first else {
            let bytes = name.as_str().len() + value.len() + LINE;
            if self.has_room(bytes, 1) && self.fields.try_append(name.clone(), value.clone()).is_err() {
                self.flaw = self.flaw.or(Some(HEAD_TOO_LARGE));
            }
            return;
        };
        if self.cookie.is_empty() {
            self.cookie.extend_from_slice(first.as_bytes());
        }
        if self.has_room("; ".len() + value.len(), 0) {
            self.cookie.extend_from_slice(b"; ");
            self.cookie.extend_from_slice(value.as_bytes());
        }
    }

    /// Whether so many more bytes and lines are within the limits.
    fn has_room(&mut self, bytes: usize, lines: usize) -> bool {
        self.bytes += bytes;
        self.lines += lines;
        let has_room = self.bytes <= self.limits.size && self.lines <= self.limits.count;
        if !has_room {
            self.flaw = self.flaw.or(Some(HEAD_TOO_LARGE));
        }
        has_room
    }

    fn refuse(&mut self, detail: &'static str) {
        self.flaw = self.flaw.or(Some(Flaw::malformed(detail)));
    }

    /// The request, of which all fields came; whether nothing follows on it.
    #[must_use]
    pub fn finish(mut self, ends: bool) -> Received {
        if let Some(cookie) = Some(&self.cookie[..]).filter(|cookie| !cookie.is_empty()) {
            // What is joined are values of fields.
            match HeaderValue::from_bytes(cookie) {
                Ok(cookie) => drop(self.fields.insert(header::COOKIE, cookie)),
                Err(_) => self.refuse("the cookies cannot be joined"),
            }
        }
        if ends && self.framing.length().is_some_and(|length| length > 0) {
            self.refuse("the request ends before its Content-Length");
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.version = Version::HTTP_2;
        head.method = self.method();
        let mut target = None;
        head.uri = match self.uri(&head.method) {
            Ok(uri) => uri,
            Err(flaw) => {
                self.flaw = self.flaw.or(Some(flaw));
                target = self.path.as_deref().map(|path| String::from_utf8_lossy(path).into());
                NO_TARGET.parse().unwrap_or_default()
            }
        };
        head.headers = self.fields;
        let unfit = self.flaw.map(|flaw| Unfit { flaw, target });
        Received { head, length: self.framing.length(), unfit }
    }

    fn method(&mut self) -> Method {
        let method = self.method.as_deref().map(Method::from_bytes);
        match method {
            Some(Ok(method)) => method,
            Some(Err(_)) => {
                self.refuse("the method is not a token");
                unknown()
            }
            None => {
                self.refuse("no `:method`");
                unknown()
            }
        }
    }

    fn uri(&mut self, method: &Method) -> Result<Uri, Flaw> {
        let mut parts = http::uri::Parts::default();
        if let Some(authority) = self.authority.take() {
            let authority = Authority::from_maybe_shared(authority);
            parts.authority = Some(authority.map_err(|_| Flaw::malformed("`:authority` is not a host and a port"))?);
        }
        // It has neither a scheme nor a path, and whoever looks for its target refuses it.
        if *method == Method::CONNECT && self.scheme.is_none() && self.path.is_none() {
            return Uri::from_parts(parts).map_err(|_| Flaw::malformed("no `:authority`"));
        }
        let scheme = self.scheme.as_deref().ok_or(Flaw::malformed("no `:scheme`"))?;
        let scheme = Scheme::try_from(scheme).map_err(|_| Flaw::malformed("`:scheme` is none"))?;
        // A URI has a scheme only with an authority.
        parts.scheme = parts.authority.is_some().then_some(scheme);
        let path = self.path.as_ref().filter(|path| !path.is_empty()).ok_or(Flaw::malformed("no `:path`"))?;
        if path.len() > REQUEST_LINE {
            return Err(TARGET_TOO_LONG);
        }
        head::check_path(path)?;
        let path = PathAndQuery::from_maybe_shared(path.clone());
        parts.path_and_query = Some(path.map_err(|_| Flaw::malformed("`:path` is no target"))?);
        Uri::from_parts(parts).map_err(|_| Flaw::malformed("`:path` is no target"))
    }
}

/// An authority without a path: whoever looks for a target finds none.
const NO_TARGET: &str = "-";

/// What a log has for a method that nobody knows.
fn unknown() -> Method {
    Method::from_bytes(b"-").unwrap_or_default()
}

fn size(field: &Field) -> usize {
    field.name.len() + field.value.as_bytes().len() + BESIDE
}

/// What is wrong with a field of HTTP/2 whose name and value are well-formed by themselves (RFC 9113, sections 8.2.1 and 8.2.2).
fn flaw_of(name: &HeaderName, value: &HeaderValue) -> Option<&'static str> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            Some("a field of HTTP/1.1 that speaks about one connection")
        }
        "te" if value != "trailers" => Some("`TE` is not `trailers`"),
        _ if is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) => {
            Some("a field's value begins or ends with white space")
        }
        _ => None,
    }
}

/// Trailers as far as they have come, coded anew: without a reference to any table.
pub struct TrailersSoFar {
    limits: HeaderLimits,
    block: Vec<u8>,
    size: usize,
    lines: usize,
    malformed: bool,
}

impl TrailersSoFar {
    /// Trailers of which no field has come.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self { limits, block: Vec::new(), size: 0, lines: 0, malformed: false }
    }

    /// What the fields come to as HTTP/2 counts them, kept or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes the next field.
    pub fn take(&mut self, field: &Field) {
        self.size += size(field);
        self.lines += 1;
        match (&field.name, &field.value) {
            (Name::Field(name), Value::Text(value))
                if self.size <= self.limits.size && self.lines <= self.limits.count && flaw_of(name, value).is_none() =>
            {
                write_literal(&mut self.block, name.as_str().as_bytes(), value.as_bytes());
            }
            _ => self.malformed = true,
        }
    }

    /// The block; where they are not well-formed or too large, one that no implementation takes: its stream ends.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.malformed {
            self.block.clear();
            write_literal(&mut self.block, b"connection", b"close");
        }
        self.block
    }
}

/// Writes a field that gets into no table (RFC 7541, section 6.2.2).
fn write_literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        write_length(block, text.len());
        block.extend_from_slice(text);
    }
}

/// Writes the length of a string as it is (RFC 7541, sections 5.1 and 5.2).
fn write_length(block: &mut Vec<u8>, length: usize) {
    const MOST: usize = 0x7f;
    let Some(mut rest) = length.checked_sub(MOST) else { return block.push(length as u8) };
    block.push(MOST as u8);
    while rest > MOST {
        block.push((rest & MOST) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}
