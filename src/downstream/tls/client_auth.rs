//! Certificates of clients: who must show one, which are valid, and what is known of the one shown.
//!
//! Guarantees: where a certificate is required, no request is served without a valid one. One that
//! is shown and not valid fails the handshake, also where none is required. With a list of revoked
//! certificates, those of authorities without a current list are not valid.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs as provider,
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_cert::{Certificate, der::Decode};

use super::{
    error::TlsError,
    settings::{ClientAuth, ClientAuthSettings},
};
use crate::runtime::pem;

/// Longest subject that is known, in bytes: a longer one would be cut to that of someone else.
const MAX_SUBJECT: usize = 1_024;

/// Requirements by server name.
#[derive(Debug)]
pub struct ClientAuthNames {
    usual: ClientAuth,
    /// By name in lower case; `*.example.com` is stored as `.example.com`.
    by_name: HashMap<String, ClientAuth>,
}

impl ClientAuthNames {
    /// Requirements of a listener; without authorities none is asked.
    #[must_use]
    pub fn new(settings: Option<&ClientAuthSettings>) -> Self {
        let Some(settings) = settings else {
            return Self { usual: ClientAuth::None, by_name: HashMap::new() };
        };
        let named = |(name, auth): &(String, ClientAuth)| {
            (name.strip_prefix('*').unwrap_or(name).to_owned(), *auth)
        };
        Self { usual: settings.usual, by_name: settings.names.iter().map(named).collect() }
    }

    /// Requirement for a server name in lower case; the usual one without a name.
    #[must_use]
    pub fn of(&self, name: Option<&str>) -> ClientAuth {
        let Some(name) = name.filter(|_| !self.by_name.is_empty()) else { return self.usual };
        // A wildcard stands for one label, as in certificates.
        let below = || name.find('.').and_then(|dot| self.by_name.get(&name[dot..]));
        self.by_name.get(name).or_else(below).copied().unwrap_or(self.usual)
    }

    /// Requirements that some name has, each once.
    pub fn all(&self) -> impl Iterator<Item = ClientAuth> {
        let is_used = |auth: &ClientAuth| {
            self.usual == *auth || self.by_name.values().any(|named| named == auth)
        };
        [ClientAuth::Required, ClientAuth::Optional, ClientAuth::None].into_iter().filter(is_used)
    }
}

/// Builds a verifier of client certificates from the files of the settings.
///
/// # Errors
/// When there is no authority, one of them cannot sign, or a list cannot be used.
pub fn verifier(
    settings: &ClientAuthSettings,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(&settings.ca)? {
        let unusable = |cause| TlsError::Anchor(settings.ca.display().to_string(), cause);
        roots.add(certificate).map_err(unusable)?;
    }
    let provider = Arc::new(provider::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(path) = &settings.crl {
        let lists = pem::revocation_lists(path).map_err(TlsError::Revoked)?;
        // A list that is out of date says nothing about the certificates revoked since.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    Ok(builder.build()?)
}

/// Verified certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Distinguished name of its subject (RFC 4514) in ASCII; empty if it has none.
    pub subject: Box<str>,
    /// SHA-256 of its DER, in hexadecimal digits.
    pub fingerprint: Box<str>,
}

impl ClientCertificate {
    /// Reads a certificate that was verified.
    #[must_use]
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let hex = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let parsed = Certificate::from_der(der).ok();
        let name = parsed.map(|parsed| parsed.tbs_certificate().subject().to_string());
        Self { subject: subject(&name.unwrap_or_default()).into(), fingerprint: hex }
    }
}

/// Name with every byte that is not visible ASCII as a pair of digits (RFC 4514, section 2.4); empty
/// if it is too long.
fn subject(name: &str) -> String {
    let mut subject = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte == b' ' || byte.is_ascii_graphic() {
            subject.push(char::from(byte));
        } else {
            subject.push_str(&format!("\\{byte:02X}"));
        }
    }
    if subject.len() > MAX_SUBJECT { String::new() } else { subject }
}

#[cfg(test)]
mod tests {
    use crate::downstream::tls::client_auth::*;

    #[test]
    fn client_auth_is_that_of_the_name_then_of_its_wildcard() {
        let settings = ClientAuthSettings {
            ca: "ca.pem".into(),
            crl: None,
            usual: ClientAuth::Optional,
            names: vec![
                ("admin.test".into(), ClientAuth::Required),
                ("*.open.test".into(), ClientAuth::None),
            ],
        };
        let names = ClientAuthNames::new(Some(&settings));
        for (name, expected) in [
            (Some("admin.test"), ClientAuth::Required),
            (Some("x.open.test"), ClientAuth::None),
            (Some("a.x.open.test"), ClientAuth::Optional),
            (Some("open.test"), ClientAuth::Optional),
            (Some("x.admin.test"), ClientAuth::Optional),
            (None, ClientAuth::Optional),
        ] {
            assert_eq!(names.of(name), expected, "{name:?}");
        }
        assert_eq!(ClientAuthNames::new(None).of(Some("admin.test")), ClientAuth::None);
    }

    #[test]
    fn subject_is_visible_ascii_and_whole_or_not_there() {
        assert_eq!(subject("CN=a,O=b c"), "CN=a,O=b c");
        assert_eq!(subject("CN=é\r\n"), "CN=\\C3\\A9\\0D\\0A");
        assert_eq!(subject(&"x".repeat(MAX_SUBJECT)).len(), MAX_SUBJECT);
        assert_eq!(subject(&"x".repeat(MAX_SUBJECT + 1)), "");
    }
}
