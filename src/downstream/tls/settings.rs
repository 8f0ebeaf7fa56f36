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
    /// Certificates of clients, if any are asked for.
    pub client_auth: Option<ClientAuthSettings>,
}

/// Requirement of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Clients must show one.
    #[default]
    Required,
    /// Clients may show one.
    Optional,
    /// Clients are not asked.
    None,
}

/// Settings of client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthSettings {
    /// File of the authorities that sign them.
    pub ca: PathBuf,
    /// File of the lists of revoked ones, if any.
    pub crl: Option<PathBuf>,
    /// Requirement for names that have none of their own, and for clients without a name.
    pub usual: ClientAuth,
    /// Requirements by server name in lower case, or by `*.` and a name.
    pub names: Vec<(String, ClientAuth)>,
}

impl ClientAuthSettings {
    /// Settings with which every client must show a certificate of these authorities.
    #[must_use]
    pub fn required(ca: PathBuf) -> Self {
        Self { ca, crl: None, usual: ClientAuth::Required, names: Vec::new() }
    }
}
