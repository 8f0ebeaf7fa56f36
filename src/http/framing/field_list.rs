//! Requests and trailers of HTTP/2 from the fields of their header blocks (RFC 9113, sections 8.1
//! to 8.3).
//!
//! Guarantees: an accepted request is well-formed and within the limits. The limits are those of
//! HTTP/1.1: the same fields count as many lines and bytes as there, and the crumbs of a cookie are
//! one line. A malformed request is never a connection error. Fields above the limits are not kept.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    Flaw, HEAD_TOO_LARGE, HeaderLimits, REQUEST_LINE, TARGET_TOO_LONG,
    head::{self, Head},
    hpack::{FieldName, FieldValue, HeaderField},
    line,
};
use crate::http::{header_list::HeaderList, known_name::KnownName, message::RequestParts};

/// Overhead of a field in `SETTINGS_MAX_HEADER_LIST_SIZE` (RFC 9113, section 6.5.2).
const BESIDE: usize = 32;
/// Overhead of a field line of HTTP/1.1: a colon, a space and CRLF.
const LINE: usize = 4;
/// Overhead of a request line of HTTP/1.1.
const FIRST_LINE: usize = " ".len() + " HTTP/1.1".len() + "\r\n".len();

/// Bytes kept of a malformed target: more than a log line shows of one.
const TARGET: usize = 1_100;

/// Request, well-formed or not.
#[derive(Debug)]
pub struct Received {
    /// Head of the request. A malformed one has its well-formed fields, and `-` for a method that
    /// is not a token.
    pub head: Box<RequestParts>,
    /// Length of its body, if the request has one.
    pub length: Option<u64>,
    /// Reason to refuse it, if it is malformed or too large.
    pub unfit: Option<Unfit>,
}

/// Reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Flaw of the request.
    pub flaw: Flaw,
    /// Beginning of the malformed target as received, for the log: as much as a line shows.
    pub target: Option<Box<str>>,
}

/// Head of a request whose fields are still being decoded.
pub struct RequestSoFar {
    limits: HeaderLimits,
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    fields: HeaderList,
    framing: Head,
    /// Joined crumbs, if there is more than one.
    cookie: Vec<u8>,
    /// True after an ordinary field: no pseudo-header may follow.
    ordinary: bool,
    /// Size and number of the fields in HTTP/1.1.
    bytes: usize,
    lines: usize,
    /// Size of the fields in HTTP/2.
    size: usize,
    flaw: Option<Flaw>,
}

impl RequestSoFar {
    /// Creates a head without fields.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            fields: HeaderList::default(),
            framing: Head::default(),
            cookie: Vec::new(),
            ordinary: false,
            bytes: FIRST_LINE,
            lines: 0,
            size: 0,
            flaw: None,
        }
    }

    /// Size of all fields in HTTP/2, kept or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds the next field.
    pub fn take(&mut self, field: &HeaderField) {
        self.size += size(field);
        match (&field.name, &field.value) {
            (FieldName::Field(name), FieldValue::Text(value)) => self.take_ordinary(name, value),
            (FieldName::Field(_), FieldValue::Raw(_)) => {
                self.refuse("a field's value has a byte that is not allowed");
            }
            (FieldName::Malformed(name), _) if name.starts_with(b":") => {
                self.refuse("an unknown pseudo-header");
            }
            (FieldName::Malformed(_), _) => {
                self.refuse("a field's name is not a token in lower case");
            }
            (name, FieldValue::Raw(value)) => self.take_pseudo(name, value),
            // The values of pseudo-headers are always raw.
            (_, FieldValue::Text(_)) => {}
        }
        self.ordinary |= matches!(field.name, FieldName::Field(_));
    }

    fn take_pseudo(&mut self, name: &FieldName, value: &Bytes) {
        if self.ordinary {
            return self.refuse("a pseudo-header after a field");
        }
        let (bytes, lines) = match name {
            FieldName::Authority => ("host".len() + value.len() + LINE, 1),
            FieldName::Method | FieldName::Path => (value.len(), 0),
            _ => (0, 0),
        };
        if *name == FieldName::Path && FIRST_LINE + value.len() > REQUEST_LINE.min(self.limits.size)
        {
            self.flaw = self.flaw.or(Some(TARGET_TOO_LONG));
        } else if !self.has_room(bytes, lines) {
            return;
        }
        let slot = match name {
            FieldName::Method => &mut self.method,
            FieldName::Scheme => &mut self.scheme,
            FieldName::Authority => &mut self.authority,
            _ => &mut self.path,
        };
        if slot.is_some() {
            return self.refuse("a repeated pseudo-header");
        }
        *slot = Some(value.clone());
    }

    fn take_ordinary(&mut self, name: &HeaderName, value: &HeaderValue) {
        if let Some(flaw) = flaw_of(name, value) {
            return self.refuse(flaw);
        }
        if let Err(flaw) = self
            .framing
            .field(KnownName::of(name.as_str().as_bytes()), line::trim(value.as_bytes()))
        {
            self.flaw = self.flaw.or(Some(flaw));
            return;
        }
        let first = (*name == header::COOKIE).then(|| self.fields.get(KnownName::Cookie)).flatten();
        let Some(first) = first else {
            let bytes = name.as_str().len() + value.len() + LINE;
            if self.has_room(bytes, 1) {
                self.fields.append(name, value);
            }
            return;
        };
        if self.cookie.is_empty() {
            self.cookie.extend_from_slice(first);
        }
        if self.has_room("; ".len() + value.len(), 0) {
            self.cookie.extend_from_slice(b"; ");
            self.cookie.extend_from_slice(value.as_bytes());
        }
    }

    /// Counts more bytes and lines; returns true while they are within the limits.
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

    /// Builds the request after its last field. `ends` is true if no body follows.
    #[must_use]
    pub fn finish(mut self, ends: bool) -> Received {
        let cookie = std::mem::take(&mut self.cookie);
        if !cookie.is_empty() {
            // The parts are field values, and so is the whole.
            if self.fields.set_text(KnownName::Cookie, &cookie).is_err() {
                self.refuse("the cookies cannot be joined");
            }
        }
        if ends && self.framing.length().is_some_and(|length| length > 0) {
            self.refuse("the request ends before its Content-Length");
        }
        let method = self.method();
        let mut target = None;
        let uri = match self.uri(&method) {
            Ok(uri) => uri,
            Err(flaw) => {
                self.flaw = self.flaw.or(Some(flaw));
                target = self
                    .path
                    .as_deref()
                    .map(|path| String::from_utf8_lossy(&path[..path.len().min(TARGET)]).into());
                NO_TARGET.parse().unwrap_or_default()
            }
        };
        let head = RequestParts { method, uri, version: Version::HTTP_2, headers: self.fields };
        let unfit = self.flaw.map(|flaw| Unfit { flaw, target });
        Received { head: Box::new(head), length: self.framing.length(), unfit }
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
            parts.authority = Some(
                authority.map_err(|_| Flaw::malformed("`:authority` is not a host and a port"))?,
            );
        }
        // CONNECT has neither a scheme nor a path (RFC 9113, section 8.5). `target::Target` refuses
        // it.
        if *method == Method::CONNECT && self.scheme.is_none() && self.path.is_none() {
            return Uri::from_parts(parts).map_err(|_| Flaw::malformed("no `:authority`"));
        }
        let scheme = self.scheme.as_deref().ok_or(Flaw::malformed("no `:scheme`"))?;
        // The `http` crate accepts an empty scheme, and one that begins with a digit (RFC 3986,
        // section 3.1).
        let scheme =
            Some(scheme).filter(|scheme| scheme.first().is_some_and(u8::is_ascii_alphabetic));
        let scheme = scheme
            .and_then(|scheme| Scheme::try_from(scheme).ok())
            .ok_or(Flaw::malformed("`:scheme` is not a scheme"))?;
        // A URI has a scheme only with an authority.
        parts.scheme = parts.authority.is_some().then_some(scheme);
        let path = self
            .path
            .as_ref()
            .filter(|path| !path.is_empty())
            .ok_or(Flaw::malformed("no `:path`"))?;
        if path.len() > REQUEST_LINE {
            return Err(TARGET_TOO_LONG);
        }
        head::check_path(path)?;
        let path = PathAndQuery::from_maybe_shared(path.clone());
        parts.path_and_query = Some(path.map_err(|_| Flaw::malformed("`:path` is not a target"))?);
        Uri::from_parts(parts).map_err(|_| Flaw::malformed("`:path` is not a target"))
    }
}

/// Path of a request without a target, so that no route matches.
const NO_TARGET: &str = "-";

/// Method of a request whose own is missing or not a token; the log writes a missing method like
/// that.
fn unknown() -> Method {
    Method::from_bytes(b"-").unwrap_or_default()
}

fn size(field: &HeaderField) -> usize {
    field.name.len() + field.value.as_bytes().len() + BESIDE
}

/// Flaw of a field that HTTP/2 requests must not have although HTTP/1.1 knows it (RFC 9113,
/// sections 8.2.1 and 8.2.2).
fn flaw_of(name: &HeaderName, value: &HeaderValue) -> Option<&'static str> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            Some("a connection-specific field of HTTP/1.1")
        }
        "te" if value != "trailers" => Some("`TE` is not `trailers`"),
        _ if is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) => {
            Some("a field's value begins or ends with white space")
        }
        _ => None,
    }
}

/// Trailers whose fields are still being decoded. They are encoded again without a reference to a
/// table, because the `h2` crate has none.
pub struct TrailersSoFar {
    limits: HeaderLimits,
    block: Vec<u8>,
    size: usize,
    lines: usize,
    malformed: bool,
}

impl TrailersSoFar {
    /// Creates trailers without fields.
    #[must_use]
    pub fn new(limits: HeaderLimits) -> Self {
        Self { limits, block: Vec::new(), size: 0, lines: 0, malformed: false }
    }

    /// Size of all fields in HTTP/2, kept or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds the next field.
    pub fn take(&mut self, field: &HeaderField) {
        self.size += size(field);
        self.lines += 1;
        match (&field.name, &field.value) {
            // Of trailers as large as the limit the `h2` crate drops the last field silently.
            (FieldName::Field(name), FieldValue::Text(value))
                if self.size < self.limits.size
                    && self.lines <= self.limits.count
                    && flaw_of(name, value).is_none() =>
            {
                write_literal(&mut self.block, name.as_str().as_bytes(), value.as_bytes());
            }
            _ => self.malformed = true,
        }
    }

    /// Returns their header block. For malformed or too large trailers it is one for which the `h2`
    /// crate resets the stream.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.malformed {
            self.block.clear();
            write_literal(&mut self.block, b"connection", b"close");
        }
        self.block
    }
}

/// Writes a literal field without indexing (RFC 7541, section 6.2.2).
fn write_literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        write_length(block, text.len());
        block.extend_from_slice(text);
    }
}

/// Writes the length of a string that is not Huffman-coded (RFC 7541, sections 5.1 and 5.2).
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
