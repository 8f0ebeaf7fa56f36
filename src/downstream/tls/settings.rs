//! What TLS on a listener is made of, as used.

use std::path::PathBuf;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// The oldest version of TLS spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldestVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is shown to a client that names none of the others.
    pub certificates: Vec<CertificateFiles>,
    /// What older clients are refused.
    pub oldest: OldestVersion,
    /// Clients must show a certificate that one of these signed.
    pub client_ca: Option<PathBuf>,
}
