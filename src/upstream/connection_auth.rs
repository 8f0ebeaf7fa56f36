//! Credentials that authenticate a connection rather than a request, as NTLM and Negotiate do
//! (RFC 4559): the server attributes everything on such a connection to one user.
//!
//! HTTP/2 streams have no connection of their own: after a response to one the connection to the
//! endpoint is closed.

use crate::http::{
    forwarded::Fields,
    header_list::HeaderList,
    known_name::{KnownName, KnownNames},
};

const CREDENTIALS: [KnownName; 2] = [KnownName::Authorization, KnownName::ProxyAuthorization];
const CHALLENGES: [KnownName; 2] = [KnownName::WwwAuthenticate, KnownName::ProxyAuthenticate];

/// Returns true if a request has credentials that authenticate its connection.
#[must_use]
pub fn has_credentials(fields: &Fields<'_>) -> bool {
    // Credentials cross unchanged, so they are found without a copy of all fields.
    has(fields.unchanged(), CREDENTIALS, binds)
}

/// Returns true if a response asks for such credentials.
#[must_use]
pub fn challenges(fields: &HeaderList) -> bool {
    has(fields, CHALLENGES, offers)
}

fn has(fields: &HeaderList, names: [KnownName; 2], is_it: fn(&[u8]) -> bool) -> bool {
    fields.contains_any(KnownNames::of(&names))
        && names.iter().flat_map(|name| fields.get_all(*name)).any(is_it)
}

/// Returns true if one of a list of challenges (RFC 9110, section 11.6.1) has such a scheme. Its
/// elements are schemes and parameters, and only parameters have quotation marks.
fn offers(list: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let mut elements = list.split(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    elements.any(binds)
}

/// Returns true if a challenge or credentials begin with a scheme that authenticates a connection.
fn binds(element: &[u8]) -> bool {
    let mut words =
        element.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    words.next().is_some_and(|scheme| {
        [&b"ntlm"[..], b"negotiate"].iter().any(|binding| scheme.eq_ignore_ascii_case(binding))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use crate::upstream::connection_auth::*;

    #[test]
    fn challenge_is_found_among_others() {
        for (list, expected) in [
            ("NTLM", true),
            ("negotiate YIIJ", true),
            ("Basic realm=\"a\", NTLM", true),
            ("Basic realm=\"a\\\"b, c\",nTlM", true),
            (" , Negotiate , Basic realm=a", true),
            ("Basic realm=\"a, NTLM\"", false),
            ("Basic realm=\"a\\\", NTLM\"", false),
            ("Bearer scope=NTLM, error=negotiate", false),
            ("Negotiated, XNTLM", false),
            ("", false),
        ] {
            let mut fields = HeaderList::default();
            for challenge in ["Basic realm=x", list] {
                fields.append(&header::WWW_AUTHENTICATE, &HeaderValue::from_static(challenge));
            }
            assert_eq!(challenges(&fields), expected, "{list}");
        }
    }
}
