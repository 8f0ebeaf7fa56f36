//! Header fields that describe the exact bytes of a body, and hold no longer once it is encoded.

use http::{HeaderMap, HeaderName, HeaderValue, header::ETAG};

/// Fields that describe the exact bytes. RFC 9530 defines the digests; those of a representation
/// include its coding.
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Removes from headers or trailers what described the bytes before they were encoded.
pub(super) fn restate(fields: &mut HeaderMap) {
    for digest in &DIGESTS {
        fields.remove(digest);
    }
    let Some(tag) = fields.get(ETAG) else { return };
    match weak(tag) {
        Some(weak) => drop(fields.insert(ETAG, weak)),
        None if tag.as_bytes().starts_with(b"W/") => {}
        None => drop(fields.remove(ETAG)),
    }
}

/// Weak form of a strong tag: the encoded bytes mean the same but differ.
pub(super) fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let strong = tag.as_bytes().starts_with(b"\"");
    strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()).flatten()
}
