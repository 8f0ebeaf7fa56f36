//! Responses that send a client elsewhere: to TLS, or to a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;

use super::{peer::Transport, reply};
use crate::{
    files::challenge::{self, ChallengeDirectory},
    http::{
        error::{Error, Kind},
        message::Response,
        target::Target,
    },
};

/// Response of a listener itself.
pub enum Elsewhere<'a> {
    /// Whole response.
    Response(Response<Full<Bytes>>),
    /// File of an ACME client, which is served in place of the redirect.
    Challenge {
        /// Directory of the file.
        directory: &'a ChallengeDirectory,
        /// Token, by which it is named.
        token: &'a str,
    },
}

impl Elsewhere<'_> {
    /// Response, for which a file may have to be read.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub async fn response(self, now: Duration) -> Result<Response<Full<Bytes>>, Error> {
        match self {
            Self::Response(response) => Ok(response),
            Self::Challenge { directory, token } => {
                directory.read(token, now).await.map(reply::challenge)
            }
        }
    }
}

/// Returns the response of a listener that only redirects.
///
/// # Errors
/// When there is no host to redirect to, or the host belongs to another certificate than the
/// connection (421, RFC 9110, section 15.5.20).
pub fn elsewhere<'a>(
    target: &'a Target,
    method: &Method,
    transport: &'a Transport,
) -> Result<Option<Elsewhere<'a>>, Error> {
    match transport {
        Transport::Plain { redirect: None, .. } => Ok(None),
        Transport::Plain { redirect: Some(port), challenges } => {
            // Before the host is looked at: a challenge is for any host that leads here.
            if let Some(directory) = challenges
                && matches!(*method, Method::GET | Method::HEAD)
                && let Some(token) = challenge::token(target.path_and_query.path())
            {
                return Ok(Some(Elsewhere::Challenge { directory, token }));
            }
            if target.host.is_empty() {
                return Err(Error::new(Kind::HttpRequestError, "no Host to redirect to"));
            }
            let redirect = reply::redirect(&target.host, *port, &target.path_and_query)?;
            Ok(Some(Elsewhere::Response(redirect)))
        }
        Transport::Tls(secured) if secured.misdirects(&target.host) => Err(Error::new(
            Kind::MisdirectedRequest,
            "the host belongs to another certificate than the connection",
        )),
        // Those of `PlainToTls` are refused before they come here.
        Transport::Tls(_) | Transport::PlainToTls => Ok(None),
    }
}
