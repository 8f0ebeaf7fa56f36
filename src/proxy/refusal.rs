//! Refusal of a request that does not meet the conditions of its route.

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;

use super::reply;
use crate::{
    http::{
        error::{Error, Kind},
        known_name::KnownName,
        message::Response,
    },
    log::record::Record,
};

/// Reason why a request may not pass.
pub enum Refusal {
    /// The network of its client may not pass.
    Network,
    /// It has no valid credentials; the challenge names those that are asked for.
    Challenged(HeaderValue),
    /// A service has refused it in words that its client does not read: these are the same in
    /// weir's own.
    Verdict(Box<Response<Full<Bytes>>>),
    /// It could not be judged.
    Failed(Error),
}

impl From<Error> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Response to a request that may not pass. Unlike after a malformed one the connection stays: it
/// is no fault of the framing.
pub fn refused(
    challenge: Option<&HeaderValue>,
    accept: Option<&[u8]>,
    record: &mut Record,
) -> Response<Full<Bytes>> {
    let error = match challenge {
        Some(_) => Error::new(Kind::Unauthenticated, "no valid credentials"),
        None => Error::new(Kind::RequestDenied, "the client's network may not pass"),
    };
    record.fails(&error);
    let mut response = reply::failure(&error, accept);
    if let Some(challenge) = challenge {
        response.head.headers.set(KnownName::WwwAuthenticate, challenge);
    }
    response
}
