//! Flaw for which a message is refused.

use crate::http::error::{Error, Kind};

/// Reason why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Flaw {
    /// Kind of error.
    pub kind: Kind,
    /// Description for the operator.
    pub detail: &'static str,
}

impl Flaw {
    /// Plain HTTP to a listener of TLS. nginx has the same words.
    pub const PLAIN_TO_TLS: Self = Self::malformed("the plain HTTP request was sent to HTTPS port");

    #[cold]
    #[inline(never)]
    pub(super) const fn malformed(detail: &'static str) -> Self {
        Self { kind: Kind::HttpRequestError, detail }
    }

    /// Flaw of a response; the caller decides on the kind of error.
    #[cold]
    #[inline(never)]
    pub(super) const fn of_response(detail: &'static str) -> Self {
        Self { kind: Kind::HttpProtocolError, detail }
    }
}

impl From<Flaw> for Error {
    #[cold]
    fn from(flaw: Flaw) -> Self {
        Self::new(flaw.kind, flaw.detail)
    }
}
