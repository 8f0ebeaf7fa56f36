//! Credentials that authenticate a connection rather than a request, as NTLM and Negotiate do
//! (RFC 4559): the server attributes everything on such a connection to one user.
//!
//! HTTP/2 streams have no connection of their own: after a response to one the connection to the
//! endpoint is closed.

use http::{HeaderMap, HeaderValue, header};

use crate::http::forwarded::Fields;

/// Returns true if a request has credentials that authenticate its connection.
#[must_use]
pub fn has_credentials(fields: &Fields<'_>) -> bool {
    let fields = fields.unchanged();
    let credentials =
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION].map(|name| fields.get_all(name));
    credentials.iter().flatten().any(|value| binds(value.as_bytes()))
}

/// Returns true if a response asks for such credentials.
#[must_use]
pub fn challenges(fields: &HeaderMap) -> bool {
    let challenges =
        [header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE].map(|name| fields.get_all(name));
    challenges.iter().flatten().any(offers)
}

/// Returns true if one of a list of challenges (RFC 9110, section 11.6.1) has such a scheme. Its
/// elements are schemes and parameters, and only parameters have quotation marks.
fn offers(list: &HeaderValue) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let mut elements = list.as_bytes().split(|byte| {
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
            let mut fields = HeaderMap::new();
            fields.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
            fields.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(list));
            assert_eq!(challenges(&fields), expected, "{list}");
        }
    }
}
