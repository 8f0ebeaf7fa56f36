//! Header fields that describe the exact bytes of a body, and hold no longer once it is encoded.

use http::HeaderMap;

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
        // Neither weak nor strong: a malformed tag must not stand for other bytes.
        None => headers.remove(KnownName::Etag),
    }
}

/// Removes the same from trailers.
pub(super) fn restate_trailers(trailers: &mut HeaderMap) {
    let mut list = HeaderList::from(&*trailers);
    restate_headers(&mut list);
    *trailers = list.to_map();
}

/// Weak form of a strong tag: the encoded bytes mean the same but differ.
pub(super) fn weak(tag: &[u8]) -> Option<Vec<u8>> {
    tag.starts_with(b"\"").then(|| [b"W/", tag].concat())
}
