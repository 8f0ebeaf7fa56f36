//! Name of a file below the root, from the path of a request.
//!
//! Guarantee: a name has no empty segment but the last one, no segment that begins with a dot, and
//! no byte that could end the name or divide a segment (`names_stay_below_the_root`).

use percent_encoding::percent_decode_str;

/// Folder of RFC 8615, the only one with a dot that is served.
const WELL_KNOWN: &[u8] = b".well-known";

/// Returns the name of the file for a path in its normal form, without the leading slash; none if
/// no file with this name is ever served. The name of a directory ends with a slash, and that of
/// the root is empty.
#[must_use]
pub fn of(path: &str) -> Option<Vec<u8>> {
    let path = path.strip_prefix('/')?;
    let mut name = Vec::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            name.push(b'/');
        }
        let start = name.len();
        name.extend(percent_decode_str(segment));
        if !is_served(&name[start..], index) {
            return None;
        }
    }
    // The normal form has no `//`, so only the last segment can be empty.
    Some(name).filter(|name| !name.starts_with(b"/") && !name.windows(2).any(|two| two == b"//"))
}

/// Returns true if a text is the name of a file that can be served, as it is on the disk.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut segments = text.split('/').enumerate();
    segments.all(|(index, segment)| !segment.is_empty() && is_served(segment.as_bytes(), index))
}

/// Returns true if a segment may be a part of a name. Files with a dot are for the server and not
/// for its clients: `.git`, `.env`, `.htpasswd`.
fn is_served(segment: &[u8], index: usize) -> bool {
    let is_hidden = segment.starts_with(b".") && (index > 0 || segment != WELL_KNOWN);
    !is_hidden && !segment.iter().any(|byte| matches!(byte, 0 | b'/' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        files::name::{is_name, of},
        limit::normal_form,
    };

    fn name(path: &str) -> Option<String> {
        of(path).map(|name| name.escape_ascii().to_string())
    }

    #[test]
    fn name_is_the_path_decoded_once() {
        for (path, expected) in [
            ("/", ""),
            ("/a", "a"),
            ("/a/", "a/"),
            ("/a/b.txt", "a/b.txt"),
            ("/caf%C3%A9", r"caf\xc3\xa9"),
            ("/%FF", r"\xff"),
            ("/a%20b", "a b"),
            ("/100%25", "100%"),
            ("/%252e%252e", "%2e%2e"),
            ("/%252Fetc", "%2Fetc"),
            ("/.well-known/acme-challenge/x", ".well-known/acme-challenge/x"),
            ("/a..b", "a..b"),
        ] {
            assert_eq!(name(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn hidden_and_dividing_segments_have_no_name() {
        for path in [
            "",
            "*",
            "a",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/.git",
            "/.git/config",
            "/a/.env",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/.well-knownx",
            "/%2Egit",
            "/a%00",
            "/a%5Cb",
            "/a%2Fb",
            "/...",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn name_on_the_disk_has_no_empty_and_no_hidden_segment() {
        for yes in ["a", "a/b.html", "caf\u{e9}", "a b", "100%"] {
            assert!(is_name(yes), "{yes}");
        }
        for no in ["", "/a", "a/", "a//b", "..", "a/../b", ".env", "a\\b", "a\0"] {
            assert!(!is_name(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn names_stay_below_the_root(path in "/([./\\\\a;%]|%2[eEfF5]|%5[cC]|%00|\\.\\.|é){0,12}") {
            let Ok(normal) = normal_form::path(&path) else { return Ok(()) };
            let Some(name) = of(&normal) else { return Ok(()) };
            let segments: Vec<_> = name.split(|byte| *byte == b'/').collect();
            for (index, segment) in segments.iter().enumerate() {
                let last = index + 1 == segments.len();
                prop_assert!(!segment.is_empty() || last, "{path}");
                prop_assert!(!segment.starts_with(b".") || *segment == b".well-known", "{path}");
                prop_assert!(!segment.contains(&0) && !segment.contains(&b'\\'), "{path}");
            }
        }
    }
}
