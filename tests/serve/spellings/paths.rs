//! Spellings of paths, and those of which weir and nginx make different things.

use std::collections::{BTreeMap, BTreeSet};

/// What is spelled: every route, something below one, and what no route but `/` takes.
const BASES: [&str; 11] = [
    "/login",
    "/login/below",
    "/api",
    "/api/v1",
    "/api/v1/login",
    "/a%20b",
    "/caf%C3%A9",
    "/100%25",
    "/files/a",
    "/open",
    "/open/b.c~d",
];

/// What may stand in place of a slash.
const SLASHES: [&str; 8] =
    ["//", "/./", "/%2e/", "/x/../", "/x/%2E%2e/", "/x/.%2E/", "/x//..///", "/x/y/../../"];

/// What may come before a path.
const BEFORE: [&str; 7] =
    ["http://site", "HTTP://other.test:80", "/..", "/x/../..", "/%2e%2e", "/x%2f..", "/%2e%2f"];

/// What may come behind a path, with the same route or with another.
const BEHIND: [&str; 22] = [
    "/",
    "//",
    "/.",
    "/%2e",
    "/x/..",
    "/x/../",
    "/x",
    "%2f",
    "%2Fx",
    "x",
    ".",
    "..",
    "...",
    "%20",
    "%01",
    "%7f",
    "%00",
    "%23x",
    "%3fx",
    "?x=/../login",
    "%25",
    "\\x",
];

/// The characters of a path, an octet in percent-encoding as one.
fn characters(path: &str) -> Vec<String> {
    let (mut characters, mut rest) = (Vec::new(), path);
    while let Some(first) = rest.chars().next() {
        let (character, behind) = rest.split_at(if first == '%' { 3 } else { first.len_utf8() });
        characters.push(character.to_owned());
        rest = behind;
    }
    characters
}

/// All spellings of all bases.
pub fn spellings() -> BTreeSet<String> {
    let listed = differences();
    let all = BASES.into_iter().flat_map(spellings_of);
    all.filter(|spelling| !listed.contains_key(spelling.as_str())).collect()
}

fn spellings_of(base: &str) -> Vec<String> {
    let characters = characters(base);
    let replaced = |place: usize, with: &str| {
        let mut characters = characters.clone();
        characters[place] = with.to_owned();
        characters.concat()
    };
    let mut spellings =
        vec![base.to_owned(), base.to_ascii_lowercase().replace("%c3%a9", "\u{e9}")];
    for (place, character) in characters.iter().enumerate() {
        match character.as_bytes() {
            b"/" if place == 0 => spellings.extend(SLASHES.iter().map(|slash| replaced(0, slash))),
            b"/" => spellings
                .extend(SLASHES.iter().chain(&["%2f", "%2F"]).map(|slash| replaced(place, slash))),
            [byte] => {
                spellings.extend(
                    [format!("%{byte:02x}"), format!("%{byte:02X}")]
                        .map(|octet| replaced(place, &octet)),
                );
            }
            _ => spellings.push(replaced(place, &character.to_ascii_lowercase())),
        }
    }
    let octet = |character: &String| match character.as_bytes() {
        [byte] if *byte != b'/' => format!("%{byte:02x}"),
        _ => character.clone(),
    };
    spellings.push(characters.iter().map(octet).collect());
    spellings.extend(BEFORE.iter().map(|before| format!("{before}{base}")));
    spellings.extend(BEHIND.iter().map(|behind| format!("{base}{behind}")));
    spellings
}

/// What weir takes for another route than nginx does, deliberately: the target, weir's route or
/// status, and nginx's.
pub fn differences() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    BTreeMap::from([
        // An invalid `%` stays as it is.
        ("/100%", ("/100%25", "400")),
        ("/%zz", ("/", "400")),
        ("/login%", ("/", "400")),
        ("/login/%4", ("/login", "400")),
        // From `;` to the end of a segment is cut, as servlet containers do.
        ("/login;", ("/login", "/")),
        ("/login;x=1", ("/login", "/")),
        ("/login%3Bx=1", ("/login", "/")),
        ("/%6cogin;x/below", ("/login", "/")),
        ("/;x/login", ("/login", "/")),
        ("/a/..;/login", ("/login", "/")),
        ("/.;y/login", ("/login", "/")),
        ("/api;v=2/v1/login", ("/api/v1/login", "/")),
        ("/..;/login", ("400", "/")),
        // A fragment is no part of a request.
        ("/login#x", ("400", "/login")),
        ("/#/../login", ("400", "/")),
        // Read in another way the path takes another route, which is neither the chosen one nor
        // above it.
        ("/login/..", ("400", "/")),
        ("/login/../open", ("400", "/")),
        ("/login/%2e%2e/open", ("400", "/")),
        ("/login%2f../open", ("400", "/")),
        ("/login%2f..%2fopen", ("400", "/")),
        ("/%6cogin/../open", ("400", "/")),
        ("/%6cogin/..;/open", ("400", "/login")),
        ("/login/..;/open", ("400", "/login")),
        ("/login/../api", ("400", "/api")),
        ("/api/v1/login/../x", ("400", "/api")),
        ("/files/../open", ("400", "/")),
        ("//files/../open", ("400", "/")),
        // So does it where an authority is cut off, dots are resolved before slashes are merged, or
        // `%5C` is a slash.
        ("//x/login", ("400", "/")),
        ("///x/api/v1/login", ("400", "/")),
        ("/api//../login", ("400", "/login")),
        ("/login//%2e%2e/open", ("400", "/")),
        ("/x%2fy/../login", ("400", "/")),
        ("/login%5Cx", ("400", "/")),
        ("/api/v1%5clogin", ("400", "/api")),
        ("/x%5C..%5Clogin", ("400", "/")),
        // A backslash is no byte of a path.
        ("/\\x/login", ("400", "/")),
        ("/x\\..\\login", ("400", "/")),
        ("/login\\x", ("400", "/")),
        ("/login/below\\x", ("400", "/login")),
        ("/api\\x", ("400", "/")),
        ("/api/v1\\x", ("400", "/api")),
        ("/api/v1/login\\x", ("400", "/api")),
        ("/a%20b\\x", ("400", "/")),
        ("/caf%C3%A9\\x", ("400", "/")),
        ("/100%25\\x", ("400", "/")),
        ("/files/a\\x", ("400", "/files/")),
        ("/open\\x", ("400", "/")),
        ("/open/b.c~d\\x", ("400", "/")),
    ])
}
