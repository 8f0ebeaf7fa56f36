//! Resolved TLS settings of a listener.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// Private key, in PEM.
    pub key: PathBuf,
}

/// Version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates, at least one; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// Minimum TLS version; clients that offer only older versions fail the handshake.
    pub min_version: MinVersion,
    /// True if HTTP/2 is offered.
    pub http2: bool,
    /// CA file for client certificates: clients must present one that these signed.
    pub client_ca: Option<PathBuf>,
}
