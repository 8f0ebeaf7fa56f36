//! Reason why TLS of a listener cannot be set up, and the file at fault.

use rustls::server::VerifierBuilderError;

use super::certificates::PairError;
use crate::runtime::{hint::Hinted, pem::PemError};

/// Reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Error of a certificate or its key.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// Error of the file of client CAs.
    #[error(transparent)]
    ClientCa(#[from] PemError),
    /// Error of the file of revoked client certificates.
    #[error(transparent)]
    Revoked(PemError),
    /// A certificate in that file cannot sign others.
    #[error("`{0}` cannot be used to verify client certificates: {1}")]
    Anchor(String, #[source] rustls::Error),
    /// The client CAs cannot be used.
    #[error("clients cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// Error of the TLS library.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl TlsError {
    /// Returns true if the file of revoked certificates is at fault.
    #[must_use]
    pub fn is_about_revocation(&self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Verifier(VerifierBuilderError::InvalidCrl(_)))
    }
}

impl Hinted for TlsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Pair(error) => error.hint(),
            Self::ClientCa(error) | Self::Revoked(error) => error.hint(),
            Self::Anchor(..) | Self::Verifier(_) | Self::Library(_) => None,
        }
    }
}
