//! Header fields that describe the exact bytes of a body, and hold no longer once it is encoded.

use http::{HeaderMap, HeaderName, HeaderValue, header::ETAG};

use crate::http::{header_list::HeaderList, known_name::KnownName};

/// Fields that describe the exact bytes. RFC 9530 defines the digests; those of a representation
/// include its coding.
const DIGESTS: [KnownName; 4] =
    [KnownName::ContentDigest, KnownName::ReprDigest, KnownName::Digest, KnownName::ContentMd5];

/// Removes from headers what described the bytes before they were encoded.
pub(super) fn restate_headers(headers: &mut HeaderList) {
    DIGESTS.iter().for_each(|digest| headers.remove(*digest));
    let Some(tag) = headers.get(KnownName::Etag) else { return };
    match weak(tag) {
        Some(weak) => headers.set_valid(KnownName::Etag, &weak),
        None if tag.starts_with(b"W/") => {}
        None => headers.remove(KnownName::Etag),
    }
}

/// Removes the same from trailers.
pub(super) fn restate_trailers(trailers: &mut HeaderMap) {
    for digest in DIGESTS {
        trailers.remove(HeaderName::from_static(digest.text()));
    }
    let Some(tag) = trailers.get(ETAG).map(HeaderValue::as_bytes) else { return };
    match weak(tag).and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        Some(weak) => drop(trailers.insert(ETAG, weak)),
        None if tag.starts_with(b"W/") => {}
        // Neither weak nor strong: a malformed tag must not stand for other bytes.
        None => drop(trailers.remove(ETAG)),
    }
}

/// Weak form of a strong tag: the encoded bytes mean the same but differ.
pub(super) fn weak(tag: &[u8]) -> Option<Vec<u8>> {
    tag.starts_with(b"\"").then(|| [b"W/", tag].concat())
}
