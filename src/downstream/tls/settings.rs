//! Resolved TLS settings of a listener.

use std::path::PathBuf;

/// Files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// Private key, in PEM.
    pub key: PathBuf,
}

/// Minimum TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldestVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates, at least one; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// Minimum TLS version; clients that offer only older versions fail the handshake.
    pub oldest: OldestVersion,
    /// CA file for client certificates: clients must present one that these signed.
    pub client_ca: Option<PathBuf>,
}
