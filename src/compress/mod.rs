//! Response compression: zstd, brotli or gzip (RFC 9110, sections 8.4 and 12.5.3).
//!
//! Guarantees: a response is encoded only where that is safe: never a partial one, never one that
//! is encoded already or must not be transformed, never an event stream. An encoded response says
//! so, varies by `Accept-Encoding`, has a weak `ETag`, and keeps no field that describes the
//! original bytes. The memory of an encoder is bounded ([`encoder::CODER_BYTES`]), and so is their
//! number ([`permits::MAX_CODERS`]): beyond that responses are sent unencoded.

use http::{Method, StatusCode};
use http_body::Body;

use self::{
    body::Coded,
    negotiate::{Coding, choose},
    permits::EncoderPermits,
    validators::{restate_headers, weak},
};
use crate::http::{
    fields::{length_of, tokens},
    header_list::HeaderList,
    known_name::KnownName,
    message::{Response, ResponseParts},
};

pub mod body;
pub mod encoder;
pub mod media;
pub mod negotiate;
pub mod permits;
mod validators;

/// Shortest response that is worth encoding, in bytes.
pub const WORTHWHILE: u64 = 1024;

/// Encoding preference of a request.
#[derive(Debug)]
pub struct EncodingPreference {
    coding: Option<Coding>,
    /// True if the response has a head only.
    head: bool,
    /// `If-None-Match`: the responses that the client has.
    held: Vec<Box<[u8]>>,
}

impl EncodingPreference {
    /// Preference of a request among `offered`; none if nothing is offered.
    #[must_use]
    pub fn of(offered: &[Coding], method: &Method, headers: &HeaderList) -> Option<Self> {
        if offered.is_empty() {
            return None;
        }
        let coding = choose(offered, headers).filter(|_| !is_to_stay(headers));
        let held = headers.get_all(KnownName::IfNoneMatch).map(Box::from).collect();
        Some(Self { coding, head: *method == Method::HEAD, held })
    }
}

/// Encodes a response if it may be encoded and the client prefers that.
pub fn code<B: Body>(
    response: Response<B>,
    preference: Option<&EncodingPreference>,
    permits: &EncoderPermits,
) -> Response<Coded<B>> {
    let Some(preference) = preference else { return response.map(Coded::plain) };
    let Response { mut head, body } = response;
    // The field first: a response to HEAD has a length but no body.
    let length = length_of(&head.headers).or_else(|| body.size_hint().exact());
    if !may_vary(
        &head,
        // For HEAD the body says zero, which is not the length that a GET would have.
        length.filter(|_| !preference.head || head.headers.contains(KnownName::ContentLength)),
    ) {
        return Response { head, body: Coded::plain(body) };
    }
    // Also when it is sent unencoded: a cache must not give this form to other clients (RFC 9110,
    // section 12.5.5).
    add_vary(&mut head.headers);
    if head.status == StatusCode::NOT_MODIFIED {
        match_held(&mut head.headers, &preference.held);
    }
    let whole = ![StatusCode::NOT_MODIFIED, StatusCode::PARTIAL_CONTENT].contains(&head.status);
    let Some(coding) = preference.coding.filter(|_| whole) else {
        return Response { head, body: Coded::plain(body) };
    };
    if preference.head {
        describe(&mut head.headers, coding);
        return Response { head, body: Coded::plain(body) };
    }
    let permit =
        // An empty body would become longer by its coding.
        if body.is_end_stream() { None } else { permits.take(coding, body.size_hint().exact()) };
    // The coding is described only now: without an encoder the body stays as it is.
    let Some((coder, permit)) = permit else {
        return Response { head, body: Coded::plain(body) };
    };
    describe(&mut head.headers, coding);
    Response { head, body: Coded::by(coder, permit, body) }
}

/// Returns true if other clients may get this response in another coding.
fn may_vary(head: &ResponseParts, length: Option<u64>) -> bool {
    let (status, headers) = (head.status, &head.headers);
    if headers.contains(KnownName::ContentEncoding) || is_to_stay(headers) {
        return false;
    }
    let media = headers.get(KnownName::ContentType);
    match status {
        // A 304 may leave out fields of the response it stands for.
        StatusCode::NOT_MODIFIED => media.is_none_or(media::is_compressible),
        StatusCode::PARTIAL_CONTENT => media.is_some_and(media::is_compressible),
        _ => {
            has_content(status)
                // A range counts bytes of the form it was taken from, so it must not change.
                && !headers.contains(KnownName::ContentRange)
                && media.is_some_and(media::is_compressible)
                // A length that is not known may be long, as of a stream.
                && length.is_none_or(|length| length >= WORTHWHILE)
        }
    }
}

/// Returns true if a response of this status is a whole representation: of the resource, or of an
/// error.
fn has_content(status: StatusCode) -> bool {
    let empty = status == StatusCode::NO_CONTENT || status == StatusCode::RESET_CONTENT;
    (status.is_success() && !empty) || status.is_client_error() || status.is_server_error()
}

/// Returns true if a message says `no-transform` (RFC 9111, sections 5.2.1.6 and 5.2.2.6).
fn is_to_stay(headers: &HeaderList) -> bool {
    let mut directives = headers.get_all(KnownName::CacheControl).flat_map(tokens);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Adds `Accept-Encoding` to `Vary`, in one line with its other members.
fn add_vary(headers: &mut HeaderList) {
    let lines = || headers.get_all(KnownName::Vary);
    let said = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    if lines().flat_map(tokens).any(said) {
        return;
    }
    let mut names: Vec<&[u8]> = lines().filter(|line| !line.is_empty()).collect();
    names.push(b"accept-encoding");
    let vary = names.join(&b", "[..]);
    headers.set_valid(KnownName::Vary, &vary);
}

/// Turns a head into that of the encoded response.
fn describe(headers: &mut HeaderList, coding: Coding) {
    headers.set_static(KnownName::ContentEncoding, coding.name());
    headers.remove(KnownName::ContentLength);
    // Ranges of an encoded response cannot be requested: each request encodes it again.
    headers.remove(KnownName::AcceptRanges);
    restate_headers(headers);
}

/// A client that has the encoded response knows it by the weak tag, so a 304 must name that one
/// (RFC 9111, section 4.3.4).
fn match_held(headers: &mut HeaderList, held: &[Box<[u8]>]) {
    let Some(weak) = headers.get(KnownName::Etag).and_then(weak) else { return };
    // Within the text of a list: a tag with its quotation marks is found only as a whole.
    if held.iter().any(|tags| memchr::memmem::find(tags, &weak).is_some()) {
        headers.set_valid(KnownName::Etag, &weak);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_ENCODING, VARY},
    };
    use http_body_util::Full;

    use crate::compress::*;

    const FULL: &[(&str, &str)] = &[("content-type", "text/html"), ("content-length", "5000")];

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                name.parse::<http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            );
        }
        headers
    }

    /// Head of a response to a client that accepts gzip.
    fn answer(
        method: &Method,
        asked: &[(&str, &str)],
        status: u16,
        answered: &[(&str, &str)],
    ) -> HeaderMap {
        let mut request = fields(asked);
        request.insert("accept-encoding", HeaderValue::from_static("gzip"));
        let request = HeaderList::from(&request);
        let preference = EncodingPreference::of(&[Coding::Gzip], method, &request);
        let status = StatusCode::from_u16(status).expect("a status");
        let headers = HeaderList::from(&fields(answered));
        let head = ResponseParts { headers, ..ResponseParts::of(status) };
        let response = Response { head, body: Full::new(Bytes::from(vec![b'x'; 5000])) };
        code(response, preference.as_ref(), &EncoderPermits::default()).head.headers.to_map()
    }

    fn is_coded(status: u16, more: &[(&str, &str)]) -> (bool, bool) {
        let headers = answer(&Method::GET, &[], status, &[FULL, more].concat());
        (headers.contains_key(CONTENT_ENCODING), headers.contains_key(VARY))
    }

    #[test]
    fn compression_encodes_complete_error_responses() {
        for status in [200, 201, 203, 400, 403, 404, 422, 500, 503] {
            assert_eq!(is_coded(status, &[]), (true, true), "{status}");
        }
        for status in [204, 205, 300, 301, 302, 307, 308] {
            assert_eq!(is_coded(status, &[]), (false, false), "{status}");
        }
        assert_eq!([is_coded(206, &[]), is_coded(304, &[])], [(false, true); 2]);
    }

    #[test]
    fn compression_respects_no_transform() {
        for field in [
            ("content-encoding", "br"),
            ("content-range", "bytes 0-4999/9000"),
            ("cache-control", "public, No-Transform"),
        ] {
            let said = [FULL, &[field]].concat();
            assert_eq!(answer(&Method::GET, &[], 200, &said), fields(&said));
        }
        let asked = [("cache-control", "no-transform")];
        let headers = answer(&Method::GET, &asked, 200, FULL);
        assert!(!headers.contains_key(CONTENT_ENCODING) && headers.contains_key(VARY));
        for (kind, length) in
            [("image/png", "5000"), ("text/event-stream", "5000"), ("text/html", "1023")]
        {
            let headers = answer(
                &Method::GET,
                &[],
                200,
                &[("content-type", kind), ("content-length", length)],
            );
            assert_eq!(
                (headers.get(CONTENT_ENCODING), headers.get(VARY)),
                (None, None),
                "{kind} {length}"
            );
        }
    }

    #[test]
    fn nothing_is_said_of_the_bytes_as_they_were() {
        let said = [
            ("etag", "\"a,b\""),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "x"),
        ];
        let headers = answer(&Method::GET, &[], 200, &[FULL, &said].concat());
        let left = fields(&[
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("vary", "accept-encoding"),
            ("etag", "W/\"a,b\""),
        ]);
        assert_eq!(headers, left);
        assert_eq!(answer(&Method::HEAD, &[], 200, &[FULL, &said].concat()), left);
        assert_eq!(
            answer(&Method::GET, &[], 200, &[FULL, &[("etag", "W/\"a\"")]].concat())["etag"],
            "W/\"a\""
        );
        assert!(
            !answer(&Method::GET, &[], 200, &[FULL, &[("etag", "a")]].concat())
                .contains_key("etag")
        );
    }

    #[test]
    fn etag_of_encoded_response_matches_on_304() {
        let tagged = [("etag", "\"a\"")];
        for (held, told) in [
            ("\"a\"", "\"a\""),
            ("\"b\", W/\"a\"", "W/\"a\""),
            ("W/\"b\"", "\"a\""),
            ("*", "\"a\""),
        ] {
            assert_eq!(
                answer(&Method::GET, &[("if-none-match", held)], 304, &tagged)["etag"],
                told,
                "{held}"
            );
        }
    }

    #[test]
    fn vary_is_one_line_without_repetition() {
        for (lines, expected) in [
            (&[][..], &["accept-encoding"][..]),
            (&["origin"], &["origin, accept-encoding"]),
            (&["origin", "accept"], &["origin, accept, accept-encoding"]),
            (&["Accept-Encoding, origin"], &["Accept-Encoding, origin"]),
            (&["*"], &["*"]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            let mut headers = HeaderList::from(&fields(&lines));
            add_vary(&mut headers);
            assert_eq!(
                headers.to_map().get_all(VARY).iter().collect::<Vec<_>>(),
                expected,
                "{lines:?}"
            );
        }
    }
}
