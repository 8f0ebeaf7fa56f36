//! Private connections of one client: a server that authenticates connections, as NTLM and
//! Negotiate do (RFC 4559), attributes everything on one to its user.
//!
//! Guarantees: a connection that carried such credentials, or a challenge for them, carries
//! requests of no other client. For each connection of a client at most one is kept, until either
//! of the two ends.
//!
//! HTTP/2 streams have no connection of their own: after a response to one the connection to the
//! endpoint is closed.

use std::{cell::RefCell, fmt, net::IpAddr, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body;
use tower::BoxError;

use super::{
    http1::Http1Conn,
    pool::{Lease, Pool},
};
use crate::http::forwarded::Fields;

/// Sender of a request, as an upstream sees it.
pub struct Caller<'a, B> {
    /// Client address.
    pub address: IpAddr,
    /// Slot for the private connection of its connection; none for a stream.
    pub private: Option<&'a Rc<Private<B>>>,
}

/// Slot for the endpoint connection that belongs to a connection of a client.
pub struct Private<B>(RefCell<Option<Bound<B>>>);

struct Bound<B> {
    /// A proxy in front may carry many clients on one connection.
    client: IpAddr,
    pool: Rc<Pool<B>>,
    connection: Box<Http1Conn<B>>,
}

impl<B> Default for Private<B> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<B> fmt::Debug for Private<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Private").field("is_kept", &self.0.borrow().is_some()).finish()
    }
}

impl<B> Private<B> {
    /// Keeps a connection for the next request of this client, instead of any other.
    pub fn keep(&self, client: IpAddr, pool: Rc<Pool<B>>, connection: Box<Http1Conn<B>>) {
        *self.0.borrow_mut() = Some(Bound { client, pool, connection });
    }
}

impl<B> Caller<'_, B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Takes the kept connection, if it leads to one of these addresses and was not closed
    /// meanwhile.
    pub fn take(&self, pools: &[Rc<Pool<B>>]) -> Option<Lease<B>> {
        let leads_there = |bound: &mut Bound<B>| {
            bound.client == self.address && pools.iter().any(|pool| Rc::ptr_eq(pool, &bound.pool))
        };
        let bound = self.private?.0.borrow_mut().take_if(leads_there)?;
        let mut lease = bound.pool.permit().resume(bound.connection)?;
        lease.bind(self);
        Some(lease)
    }
}

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
    use crate::upstream::private_conn::*;

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
