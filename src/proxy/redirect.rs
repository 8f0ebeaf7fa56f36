//! Responses that send a client elsewhere: to TLS, or to a connection of its own.

use bytes::Bytes;
use http_body_util::Full;

use super::{peer::Transport, reply};
use crate::http::{
    error::{Error, Kind},
    message::Response,
    target::Target,
};

/// Returns the redirect of a listener that only redirects.
///
/// # Errors
/// When there is no host to redirect to, or the host belongs to another certificate than the
/// connection (421, RFC 9110, section 15.5.20).
pub fn elsewhere(
    target: &Target,
    transport: &Transport,
) -> Result<Option<Response<Full<Bytes>>>, Error> {
    match transport {
        Transport::Plain { redirect: None } => Ok(None),
        Transport::Plain { redirect: Some(_) } if target.host.is_empty() => {
            Err(Error::new(Kind::HttpRequestError, "no Host to redirect to"))
        }
        Transport::Plain { redirect: Some(port) } => {
            reply::redirect(&target.host, *port, &target.path_and_query).map(Some)
        }
        Transport::Tls(secured) if secured.misdirects(&target.host) => Err(Error::new(
            Kind::MisdirectedRequest,
            "the host belongs to another certificate than the connection",
        )),
        // Those of `PlainToTls` are refused before they come here.
        Transport::Tls(_) | Transport::PlainToTls => Ok(None),
    }
}
