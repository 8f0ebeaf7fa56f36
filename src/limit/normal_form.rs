//! The normal form of a path, a host and a method: routes and keys are decided on it, and the bytes that came are forwarded.
//!
//! Guarantees: two spellings of a path that a server may serve alike (RFC 3986, section 6.2.2) have one normal form; the normal
//! form of a normal form is itself; what is in its normal form already is neither copied nor allocated.
//!
//! A path in its normal form is ASCII: a byte that is no printable ASCII, and `%`, `?` and `#`, are written as `%XX`. So `/caf%c3%a9`,
//! `/caf%C3%A9` and the same in raw UTF-8 are one path, and `/100%` is `/100%25`.

use std::{borrow::Cow, net::Ipv6Addr};

use http::Method;

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.detail())]
pub enum PathError {
    /// A `..` has nothing left to take away.
    AboveRoot,
    /// `%00`, which ends a text for some servers.
    Nul,
}

impl PathError {
    /// The error in the words of an operator.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::AboveRoot => "the path climbs above the root",
            Self::Nul => "the path has a NUL",
        }
    }
}

/// The steps that are left out by some servers.
#[derive(Clone, Copy)]
struct Steps {
    /// From `;` to the end of a segment is cut.
    parameters: bool,
    /// `.` and `..` are resolved.
    dots: bool,
}

const ALL: Steps = Steps { parameters: true, dots: true };

/// The normal form of a path: its percent-octets decoded once (also `%2F`; an invalid `%` stays), each segment cut at its `;`, `//`
/// merged, `.` and `..` resolved. What does not begin with `/` is returned as it is.
///
/// # Errors
/// When the path climbs above the root, or has a NUL.
pub fn path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if is_normal(raw.as_bytes()) || !raw.starts_with('/') {
        return Ok(Cow::Borrowed(raw));
    }
    let form = form(raw, ALL)?;
    // `/.well-known` and `/caf%C3%A9` are looked at closely and found to be normal.
    Ok(if form == raw { Cow::Borrowed(raw) } else { Cow::Owned(form) })
}

/// How servers that leave steps out read a path whose normal form is `normal`: as received, and with its parameters or its dot
/// segments as they are. Who reads one of these sees another path than the normal form.
pub fn other_readings<'a>(raw: &'a str, normal: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let reading = |parameters, dots| form(raw, Steps { parameters, dots });
    let less = match reading(false, false) {
        // Only octets and slashes were spelled: there are no parameters and no dot segments to leave.
        Ok(octets) if octets == normal => [None, None, None],
        // One that climbs above the root is refused by who reads it so.
        octets => [octets, reading(true, false), reading(false, true)].map(Result::ok),
    };
    std::iter::once(Cow::Borrowed(raw)).chain(less.into_iter().flatten().map(Cow::Owned))
}

/// The normal form of a host without its port: lower case, an IPv6 address in its one spelling, and one dot at the end dropped, which
/// says only that the name is complete (RFC 3986, section 3.2.2). None for a name with an empty label: it is no name.
#[must_use]
pub fn host(raw: &str) -> Option<String> {
    if let Some(rest) = raw.strip_prefix('[') {
        let address = rest.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|address| format!("[{address}]"));
    }
    let name = raw.strip_suffix('.').unwrap_or(raw);
    let complete = !name.is_empty() && !name.ends_with('.') && !name.contains("..");
    complete.then(|| name.to_ascii_lowercase())
}

/// The normal form of a method: upper case. Methods are told by case (RFC 9110, section 9.1), but some servers take `post` for POST.
#[must_use]
pub fn method(raw: &Method) -> Cow<'_, Method> {
    if !raw.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(raw);
    }
    Method::from_bytes(raw.as_str().to_ascii_uppercase().as_bytes()).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// The bytes a normal form has as they are.
static PLAIN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_graphic() && !matches!(letter, b'%' | b';' | b'?' | b'#');
        byte += 1;
    }
    table
};

/// Whether a look at each byte and the one before it finds nothing to do.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|byte| {
        let plain = PLAIN[usize::from(*byte)] && !(before == b'/' && matches!(*byte, b'/' | b'.'));
        before = *byte;
        plain
    })
}

fn form(path: &str, steps: Steps) -> Result<String, PathError> {
    let mut form = Vec::with_capacity(path.len() + 1);
    form.push(b'/');
    let (mut begin, mut cut) = (1, false);
    for byte in decoded(path.as_bytes(), |byte| byte).map(Some).chain([None]) {
        match byte {
            Some(0) => return Err(PathError::Nul),
            Some(b'/') | None => {
                if steps.dots {
                    resolve(&mut form, begin)?;
                }
                if byte.is_some() && !form.ends_with(b"/") {
                    form.push(b'/');
                }
                (begin, cut) = (form.len(), false);
            }
            Some(b';') if steps.parameters => cut = true,
            Some(byte) if !cut => form.push(byte),
            Some(_) => {}
        }
    }
    Ok(encoded(&form))
}

/// Resolves the last segment, which begins at `begin`, right behind a slash.
fn resolve(form: &mut Vec<u8>, begin: usize) -> Result<(), PathError> {
    match &form[begin..] {
        b"." => form.truncate(begin),
        b".." => {
            let parent = form[..begin - 1].iter().rposition(|byte| *byte == b'/').ok_or(PathError::AboveRoot)?;
            form.truncate(parent + 1);
        }
        _ => {}
    }
    Ok(())
}

/// The bytes of a text with its percent-octets decoded once, and the others as `plain` makes them.
pub(super) fn decoded(text: &[u8], plain: impl Fn(u8) -> u8 + Clone) -> impl Iterator<Item = u8> + Clone {
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
            ("/a\\..\\b", "/a\\..\\b"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn a_path_above_the_root_or_with_a_nul_has_no_form() {
        for raw in ["/..", "/../a", "/a/../..", "/a/../../b", "//..", "/%2e%2e", "/..;/a", "/.;x/..;y"] {
            assert_eq!(path(raw), Err(PathError::AboveRoot), "{raw}");
        }
        for raw in ["/%00", "/a%00b", "/a;%00", "/a/%00/.."] {
            assert_eq!(path(raw), Err(PathError::Nul), "{raw}");
        }
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for raw in ["/", "/api/v1/users", "/a.b/c..d/~x@y:z!$&'()*+,=", "/.well-known/x", "/caf%C3%A9"] {
            assert!(matches!(path(raw), Ok(Cow::Borrowed(same)) if same == raw), "{raw}");
        }
    }

    #[test]
    fn other_readings_leave_steps_out() {
        let of = |raw, normal| other_readings(raw, normal).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(of("/%61/..;/b", "/b"), ["/%61/..;/b", "/a/..%3B/b", "/a/../b", "/a/..%3B/b"]);
        assert_eq!(of("/x/..;/../b", "/b"), ["/x/..;/../b", "/x/..%3B/../b", "/x/../../b", "/x/b"]);
        assert_eq!(of("/a;/../..;x/b", ""), ["/a;/../..;x/b", "/a%3B/../..%3Bx/b", "/a/../../b", "/..%3Bx/b"]);
        assert_eq!(of("//%61", "/a"), ["//%61"]);
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (raw, normal) in [
            ("a.test", Some("a.test")),
            ("A.Test.", Some("a.test")),
            ("[::1]", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]", Some("[::1]")),
            ("[2001:DB8::A]", Some("[2001:db8::a]")),
            (".a", Some(".a")),
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
        for raw in [Method::GET, Method::PATCH, Method::from_bytes(b"M-SEARCH").expect("a method")] {
            assert!(matches!(method(&raw), Cow::Borrowed(_)));
        }
        assert_eq!(*method(&Method::from_bytes(b"pOst").expect("a method")), Method::POST);
    }

    fn spelled() -> impl Strategy<Value = String> {
        "(/|//|\\.|\\.\\.|;|;x|%|%2[eEfF5]|%3[bB]|%00|%6c|%c3|%C3%A9|[a-c]|\u{e9}|/\\.\\./|/\\./){0,12}"
            .prop_map(|text| format!("/{text}"))
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(raw in spelled()) {
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
