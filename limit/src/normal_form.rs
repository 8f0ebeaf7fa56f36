//! Normal form of a path, a host and a method. Routes and keys are decided on it; the received
//! bytes are forwarded.
//!
//! Guarantees: two spellings of a path that a server may serve alike (RFC 3986, section 6.2.2) have
//! one normal form. The normal form of a normal form is itself. A text that is already in its
//! normal form is neither copied nor allocated.
//!
//! A path in its normal form is ASCII: a byte that is not printable ASCII, and `%`, `?` and `#`,
//! are written as `%XX`. So `/caf%c3%a9`, `/caf%C3%A9` and the same in raw UTF-8 are one path, and
//! `/100%` is `/100%25`.

use std::{borrow::Cow, net::Ipv6Addr};

use http::Method;

/// Error of a path that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.detail())]
pub enum PathError {
    /// A `..` climbs above the root.
    AboveRoot,
    /// `%00`, which ends a string for some servers.
    Nul,
    /// A raw `\`. It is not a path character (RFC 3986, section 3.3), and URL parsers of browsers
    /// and Node take it for a slash.
    Backslash,
    /// A long path with too many possible readings to check each.
    TooManyReadings,
}

impl PathError {
    /// Error text for the operator.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::AboveRoot => "the path climbs above the root",
            Self::Nul => "the path has a NUL",
            Self::Backslash => "the path has a backslash",
            Self::TooManyReadings => "the path can be read in too many ways",
        }
    }
}

/// Steps in which a server may differ from the normal form, one bit each.
type Differences = u8;

/// Parameters stay in their segments.
const PARAMETERS: Differences = 1;
/// Dot segments are not resolved.
const DOTS: Differences = 1 << 1;
/// Empty segments stay, and `..` removes one (RFC 3986, section 5.2.4).
const SLASHES: Differences = 1 << 2;
/// `%2F` is a byte of its segment.
const OCTETS: Differences = 1 << 3;
/// `%5C` is a slash.
const BACKSLASHES: Differences = 1 << 4;
/// A leading `//` begins an authority, which is cut off.
const AUTHORITY: Differences = 1 << 5;
/// Only the octets of dots are decoded.
const ENCODED: Differences = 1 << 6;
const EVERY: Differences = (1 << 7) - 1;

/// Limit on the bytes read to check all readings of a path. It allows three differences in the
/// longest target, and all differences in 512 bytes.
const MAX_READ: usize = 64 * 1024;

/// Returns the normal form of a path: percent-octets decoded once (also `%2F`; an invalid `%`
/// stays), each segment cut at its `;`, `//` merged, `.` and `..` resolved. A path that does not
/// begin with `/` is returned unchanged. A borrowed form has no [`other_readings`].
///
/// ```
/// use weir_limit::normal_form::path;
///
/// for spelling in ["/login", "//login", "/%6cogin", "/x/../login", "/login;a=b"] {
///     assert_eq!(path(spelling)?, "/login");
/// }
/// assert!(path("/../etc").is_err());
/// # Ok::<(), weir_limit::normal_form::PathError>(())
/// ```
///
/// # Errors
/// When the path climbs above the root, or has a NUL or a backslash.
pub fn path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    // Most paths are in their normal form as received: one pass over the bytes, and no copy.
    if is_normal(raw.as_bytes()) || !raw.starts_with('/') {
        return Ok(Cow::Borrowed(raw));
    }
    if raw.contains('\\') {
        return Err(PathError::Backslash);
    }
    let form = form(raw, 0, true)?;
    // `/.well-known` and `/caf%C3%A9` take the slow path and turn out to be normal.
    Ok(if form == raw && !form.contains("%5C") { Cow::Borrowed(raw) } else { Cow::Owned(form) })
}

/// Readings of a path, which has a normal form, by servers that differ from it: the path as
/// received, then each combination of steps that can matter, both as that server reads it and in
/// the normal form of what that server may pass on.
///
/// # Errors
/// When a long path has too many of them.
pub fn other_readings(raw: &str) -> Result<impl Iterator<Item = Cow<'_, str>>, PathError> {
    let possible = possible_differences(raw);
    // Each combination reads the whole path. Without a bound a long path of `;` and `..` would cost
    // its sender little and the worker much.
    if (1 << possible.count_ones()) * raw.len() > MAX_READ {
        return Err(PathError::TooManyReadings);
    }
    // `ENCODED` keeps every octet encoded, so it already includes `OCTETS`.
    let is_new = |differences: Differences| differences & (OCTETS | ENCODED) != OCTETS | ENCODED;
    let combinations =
        (1..=EVERY).filter(move |differences| differences & !possible == 0 && is_new(*differences));
    let both = combinations.filter_map(|differences| reading(raw, differences)).flat_map(|first| {
        let second = form(&first, 0, false).ok().filter(|second| *second != first);
        std::iter::once(first).chain(second)
    });
    Ok(std::iter::once(Cow::Borrowed(raw)).chain(both.map(Cow::Owned)))
}

/// Steps that can change the reading of this path.
fn possible_differences(raw: &str) -> Differences {
    let (mut possible, mut before) = (0, 0);
    // On the decoded bytes: `%2e%2e` and `%3b` divide servers as much as `..` and `;` do.
    for byte in decoded(raw.as_bytes(), |byte| byte) {
        // For some readers a segment also begins after a backslash.
        let begins = matches!(before, b'/' | b'\\');
        possible |= match byte {
            // A segment of nothing but parameters is empty without them.
            b';' if begins => PARAMETERS | SLASHES,
            b';' => PARAMETERS,
            b'.' if begins => DOTS,
            b'/' if begins => SLASHES,
            // A raw backslash was refused before, so this byte was sent as `%5C`.
            b'\\' if begins => BACKSLASHES | SLASHES,
            b'\\' => BACKSLASHES,
            _ => 0,
        };
        before = byte;
    }
    if raw.contains("%2F") || raw.contains("%2f") {
        possible |= OCTETS;
    }
    if raw.starts_with("//") {
        possible |= AUTHORITY;
    }
    // `ENCODED` alone is the path as received.
    if possible != 0 && raw.contains('%') { possible | ENCODED } else { possible }
}

/// Path as a server with these differences reads it.
fn reading(raw: &str, differences: Differences) -> Option<String> {
    let form = form(&prepared(raw, differences), differences, false).ok()?;
    Some(if differences & ENCODED == 0 { form } else { form.replace("%01", "%") })
}

/// Applies the differences that are visible before octets are decoded. `%2F` as a byte of a segment
/// becomes NUL, which no path contains, and [`encoded`] writes it as `%2F` again. The `%` of an
/// octet that stays encoded becomes `\x01`, which no target contains.
fn prepared(raw: &str, differences: Differences) -> Cow<'_, str> {
    let mut path = Cow::Borrowed(raw);
    // First, while only raw slashes are slashes: an encoded one does not end an authority.
    if differences & AUTHORITY != 0 {
        let authority = raw.trim_start_matches('/');
        path = Cow::Borrowed(authority.find('/').map_or("/", |end| &authority[end..]));
    }
    if differences & OCTETS != 0 {
        path = Cow::Owned(path.replace("%2F", "%00").replace("%2f", "%00"));
    }
    if differences & BACKSLASHES != 0 {
        path = Cow::Owned(path.replace("%5C", "/").replace("%5c", "/"));
    }
    // Last, because it replaces every `%`, and the steps before look for octets.
    if differences & ENCODED != 0 {
        path = Cow::Owned(path.replace("%2E", ".").replace("%2e", ".").replace('%', "\x01"));
    }
    path
}

/// Returns the normal form of a host without its port: lower case, an IPv6 address in its one
/// spelling, and one trailing dot dropped, which only marks the name as complete (RFC 3986, section
/// 3.2.2). None for a name with an empty label.
///
/// ```
/// use weir_limit::normal_form::host;
///
/// assert_eq!(host("Example.COM.").as_deref(), Some("example.com"));
/// assert_eq!(host("[2001:DB8:0::1]").as_deref(), Some("[2001:db8::1]"));
/// assert_eq!(host("a..b"), None);
/// ```
#[must_use]
pub fn host(raw: &str) -> Option<String> {
    if let Some(rest) = raw.strip_prefix('[') {
        let address = rest.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|address| format!("[{address}]"));
    }
    let name = raw.strip_suffix('.').unwrap_or(raw);
    let complete =
        !name.is_empty() && !name.starts_with('.') && !name.ends_with('.') && !name.contains("..");
    complete.then(|| name.to_ascii_lowercase())
}

/// Returns the normal form of a method: upper case. Methods are case-sensitive (RFC 9110, section
/// 9.1), but some servers take `post` for POST.
#[must_use]
pub fn method(raw: &Method) -> Cow<'_, Method> {
    if !raw.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(raw);
    }
    Method::from_bytes(raw.as_str().to_ascii_uppercase().as_bytes())
        .map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Bytes that a normal form contains unencoded.
static PLAIN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        let letter = byte as u8;
        table[byte] =
            letter.is_ascii_graphic() && !matches!(letter, b'%' | b';' | b'?' | b'#' | b'\\');
        byte += 1;
    }
    table
};

/// Returns true if a look at each byte and the one before it finds nothing to change.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|byte| {
        let plain = PLAIN[usize::from(*byte)] && !(before == b'/' && matches!(*byte, b'/' | b'.'));
        before = *byte;
        plain
    })
}

/// Returns the form of a path with these differences. If `strict` is false, `..` at the root stays
/// at the root, as in URL parsers (RFC 3986, section 5.2.4).
fn form(path: &str, differences: Differences, strict: bool) -> Result<String, PathError> {
    let takes = |step: Differences| differences & step == 0;
    let mut form = Vec::with_capacity(path.len() + 1);
    form.push(b'/');
    let (mut begin, mut cut) = (1, false);
    // The end of the path closes the last segment as a slash would, without adding one.
    for byte in decoded(path.as_bytes(), |byte| byte).skip(1).map(Some).chain([None]) {
        match byte {
            // Not strict means a reading, in which a NUL stands for an encoded slash.
            Some(0) if strict => return Err(PathError::Nul),
            Some(b'/') | None => {
                // A resolved dot segment leaves the form behind a slash: a second one would begin
                // an empty segment.
                let resolved = takes(DOTS) && resolve(&mut form, begin, strict)?;
                if byte.is_some() && !resolved && (!takes(SLASHES) || !form.ends_with(b"/")) {
                    form.push(b'/');
                }
                (begin, cut) = (form.len(), false);
            }
            Some(b';') if takes(PARAMETERS) => cut = true,
            Some(byte) if !cut => form.push(byte),
            Some(_) => {}
        }
    }
    Ok(encoded(&form))
}

/// Resolves the last segment, which begins at `begin`, right behind a slash. Returns false if it is
/// not a dot segment.
fn resolve(form: &mut Vec<u8>, begin: usize, strict: bool) -> Result<bool, PathError> {
    match &form[begin..] {
        b"." => form.truncate(begin),
        // The slash before this segment is left out of the search, or it would be found as the
        // parent's.
        b".." => match form[..begin - 1].iter().rposition(|byte| *byte == b'/') {
            Some(parent) => form.truncate(parent + 1),
            None if strict => return Err(PathError::AboveRoot),
            None => form.truncate(begin),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// Bytes of a text with its percent-octets decoded once, and all other bytes mapped by `plain`.
pub(super) fn decoded(
    text: &[u8],
    plain: impl Fn(u8) -> u8 + Clone,
) -> impl Iterator<Item = u8> + Clone {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = text;
    std::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        if let (b'%', [high, low, behind @ ..]) = (first, behind)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = behind;
            return Some(high << 4 | low);
        }
        Some(plain(*first))
    })
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if PLAIN[usize::from(*byte)] {
            text.push(char::from(*byte));
        } else {
            let byte = if *byte == 0 { b'/' } else { *byte };
            let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_path_have_one_form() {
        for (raw, normal) in [
            ("/", "/"),
            ("/login", "/login"),
            ("/%6cogin", "/login"),
            ("/%6Cogin", "/login"),
            ("//login", "/login"),
            ("///x////login", "/x/login"),
            ("/./login", "/login"),
            ("/x/../login", "/login"),
            ("/x/%2e%2E/login", "/login"),
            ("/x%2f..%2Flogin", "/login"),
            ("/login;x=1", "/login"),
            ("/login%3bx", "/login"),
            ("/;x/login;y", "/login"),
            ("/a/..;/login", "/login"),
            ("/a/.;x/b", "/a/b"),
            ("/login/", "/login/"),
            ("/login/.", "/login/"),
            ("/login/x/..", "/login/"),
            ("/login/;x", "/login/"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/100%", "/100%25"),
            ("/100%25", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/%2541", "/%2541"),
            ("/a%01b%7f", "/a%01b%7F"),
            ("/a%3Fb%23c", "/a%3Fb%23c"),
            ("/a%20b", "/a%20b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/%ff", "/%FF"),
            ("/a%5c..%5Cb", "/a%5C..%5Cb"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn path_above_root_or_with_nul_or_backslash_has_no_form() {
        for raw in
            ["/..", "/../a", "/a/../..", "/a/../../b", "//..", "/%2e%2e", "/..;/a", "/.;x/..;y"]
        {
            assert_eq!(path(raw), Err(PathError::AboveRoot), "{raw}");
        }
        for raw in ["/%00", "/a%00b", "/a;%00", "/a/%00/.."] {
            assert_eq!(path(raw), Err(PathError::Nul), "{raw}");
        }
        for raw in ["/a\\..\\b", "/\\", "/%61\\", "//a/..\\b"] {
            assert_eq!(path(raw), Err(PathError::Backslash), "{raw}");
        }
    }

    #[test]
    fn normal_path_is_not_copied() {
        for raw in
            ["/", "/api/v1/users", "/a.b/c..d/~x@y:z!$&'()*+,=", "/.well-known/x", "/caf%C3%A9"]
        {
            assert!(matches!(path(raw), Ok(Cow::Borrowed(same)) if same == raw), "{raw}");
        }
    }

    #[test]
    fn other_readings_differ_by_a_step_or_more() {
        for (raw, readings) in [
            ("/%61", &["/%61"][..]),
            ("//%61", &["//%61", "/", "//a", "/a"]),
            ("/%61/..;/b", &["/%61/..;/b", "/a/..%3B/b", "/a/../b", "/b"]),
            ("/a//../b", &["/a//../b", "/a/../b", "/a/b"]),
            ("/a//%2e%2e/b", &["/a//%2e%2e/b", "/a//../b", "/a/b"]),
            ("//x/a/b", &["/a/b"]),
            ("///x/a/b", &["/a/b"]),
            ("//x/../a", &["/a"]),
            ("/a/x%2fy/../../b", &["/b"]),
            ("/a/x%2fy/..%2f../b", &["/a/x%2Fy/..%2F../b"]),
            ("/a/x%2fy/../..%2fb", &["/a/..%2Fb", "/b"]),
            ("/a%5c..%5cb", &["/a/../b", "/b"]),
            ("/%5cx/a", &["/x/a", "//x/a"]),
            ("/a/;/../b", &["/a/b", "/a/%3B/../b"]),
            ("/a/../%61/b", &["/%61/b"]),
            ("/x/%2e%2e/%61%2fb", &["/%61%2fb", "/a%2Fb", "/a/b"]),
        ] {
            let found: Vec<_> = other_readings(raw).expect("few").map(Cow::into_owned).collect();
            assert!(
                readings.iter().all(|reading| found.iter().any(|it| it == reading)),
                "{raw}: {found:?}"
            );
        }
        assert_eq!(other_readings("/%61%c3").expect("one").collect::<Vec<_>>(), ["/%61%c3"]);
    }

    #[test]
    fn other_readings_of_a_long_path_are_bounded() {
        let long = "x".repeat(8 * 1024 - 20);
        assert!(other_readings(&format!("/%61/..//b{long}")).is_ok());
        assert!(other_readings(&format!("//a%2f../b;x/%5c{long}")).is_err());
        assert_eq!(
            other_readings("//a%2f../b;x/%5c").expect("a short path").next().as_deref(),
            Some("//a%2f../b;x/%5c")
        );
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (raw, normal) in [
            ("a.test", Some("a.test")),
            ("A.Test.", Some("a.test")),
            ("[::1]", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]", Some("[::1]")),
            ("[2001:DB8::A]", Some("[2001:db8::a]")),
            (".a", None),
            (".a.test.", None),
            (".", None),
            ("", None),
            ("a..", None),
            ("a..b", None),
            ("[::1", None),
        ] {
            assert_eq!(host(raw).as_deref(), normal, "{raw}");
        }
    }

    #[test]
    fn methods_are_in_upper_case() {
        for raw in [Method::GET, Method::PATCH, Method::from_bytes(b"M-SEARCH").expect("a method")]
        {
            assert!(matches!(method(&raw), Cow::Borrowed(_)));
        }
        assert_eq!(*method(&Method::from_bytes(b"pOst").expect("a method")), Method::POST);
    }

    fn spelled() -> impl Strategy<Value = String> {
        "(/|//|\\.|\\.\\.|;|;x|%|%2[eEfF5]|%3[bB]|%00|%6c|%c3|%C3%A9|%5[cC]|[a-c]|\u{e9}|/\\.\\./|/\\./){0,12}"
            .prop_map(|text| format!("/{text}"))
    }

    proptest! {
        #[test]
        fn normal_form_of_normal_form_is_itself(raw in spelled()) {
            if let Ok(once) = path(&raw) {
                prop_assert_eq!(path(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(is_normal(once.as_bytes()) || once.contains(['%', '.']));
                let dots = [&*once, "/"].concat();
                prop_assert!(!once.contains("//") && !once.contains(';') && !dots.contains("/../") && !dots.contains("/./"));
            }
        }

        #[test]
        fn percent_encoding_changes_no_form(raw in spelled()) {
            let form = path(&raw).map(Cow::into_owned);
            // Each byte that is not part of an octet already, but the slash the path begins with.
            let all: String = decoded(raw.as_bytes(), |byte| byte).skip(1).map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(path(&format!("/{all}")).map(Cow::into_owned), form);
        }

        #[test]
        fn hosts_have_a_form_that_is_its_own(raw in "[a-cA-C.]{0,6}|\\[[0-9a-f:]{0,12}\\]") {
            if let Some(once) = host(&raw) {
                prop_assert_eq!(host(&once), Some(once));
            }
        }
    }
}
