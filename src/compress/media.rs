//! Media types that are worth encoding.

/// Types that are text or as compressible, but neither `text/*` nor named by a suffix. Other types
/// are compressed already or not known to gain.
const LISTED: [&str; 27] = [
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/jwk-set",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-mpegurl",
    "application/x-ndjson",
    "application/vnd.apple.mpegurl",
    "application/x-sh",
    "application/x-yaml",
    "application/xml",
    "application/xml-dtd",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// Suffixes of structured syntaxes that are text (RFC 6839, RFC 9512).
const SUFFIXES: [&str; 4] = ["+json", "+xml", "+yaml", "+json-seq"];

/// Returns true if a `Content-Type` is worth encoding: `text/*` except event streams, JSON, XML,
/// and the listed types. gRPC has its own compression.
#[must_use]
pub fn is_compressible(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let Ok(essence) = str::from_utf8(essence.trim_ascii()) else { return false };
    let essence = essence.to_ascii_lowercase();
    if essence.starts_with("application/grpc") || essence == "text/event-stream" {
        return false;
    }
    essence.starts_with("text/")
        || LISTED.contains(&essence.as_str())
        || SUFFIXES.iter().any(|suffix| essence.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use crate::compress::media::*;

    #[test]
    fn text_is_and_what_is_compressed_or_a_stream_is_not() {
        for yes in [
            "text/html",
            "TEXT/CSS ; charset=utf-8",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "application/wasm",
            "application/manifest+json",
        ] {
            assert!(is_compressible(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "text",
            "text/event-stream; charset=utf-8",
            "image/png",
            "video/mp4",
            "font/woff2",
            "application/zip",
            "application/octet-stream",
            "application/grpc+json",
            "application/grpc-web-text",
            "multipart/byteranges; boundary=text/html",
            "\u{fc}",
        ] {
            assert!(!is_compressible(no.as_bytes()), "{no}");
        }
    }
}
