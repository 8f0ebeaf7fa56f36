//! The certificates of a listener, and which of them a client is shown.
//!
//! Guarantee: a name goes to the first certificate that has it, else to the first with a wildcard
//! for it, else to the first of the list; the key of a certificate is its own.

use std::{collections::HashMap, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{settings::CertificateFiles, validity};
use crate::runtime::pem::{self, PemError};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate's file.
    #[error(transparent)]
    Certificate(PemError),
    /// What it holds is not a certificate.
    #[error("`{0}` holds no certificate that can be read: {1}")]
    NoCertificate(String, #[source] webpki::Error),
    /// The key's file.
    #[error(transparent)]
    Key(PemError),
    /// The key is of a kind or size that is not used.
    #[error(
        "the key `{0}` is of a kind or size that is not used: {1}, hint: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or \
         Ed25519"
    )]
    Unusable(String, #[source] rustls::Error),
    /// The key belongs to another certificate.
    #[error(
        "the key `{key}` does not fit the certificate `{cert}`: {source}, hint: the key that was made for this certificate"
    )]
    Mismatch {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What the TLS library says.
        source: rustls::Error,
    },
}

impl PairError {
    /// Whether the certificate's file is to blame, and not the key's.
    #[must_use]
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::NoCertificate(..))
    }
}

/// A certificate with its chain and its key.
#[derive(Debug)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    /// Until when it is valid.
    pub expires: Option<SystemTime>,
}

impl Pair {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn read(files: &CertificateFiles) -> Result<Self, PairError> {
        let shown = |path: &Path| path.display().to_string();
        let chain = pem::certificates(&files.cert).map_err(PairError::Certificate)?;
        let parsed = webpki::EndEntityCert::try_from(&chain[0])
            .map_err(|cause| PairError::NoCertificate(shown(&files.cert), cause))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let expires = validity::not_after(&chain[0]);
        let key = pem::private_key(&files.key).map_err(PairError::Key)?;
        let provider = aws_lc_rs::default_provider();
        // Tried by itself first, so that the certificate is not blamed for it.
        provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|cause| PairError::Unusable(shown(&files.key), cause))?;
        let key = CertifiedKey::from_der(chain, key, &provider);
        let key = key.map_err(|source| PairError::Mismatch {
            cert: shown(&files.cert),
            key: shown(&files.key),
            source,
        })?;
        Ok(Self { key: Arc::new(key), names, expires })
    }
}

/// All certificates of a listener, by name.
#[derive(Debug)]
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    /// Which certificate a name goes to; `*.example.com` stands as `.example.com`.
    by_name: HashMap<String, usize>,
}

impl Certificates {
    /// These certificates, in order; there is at least one.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        let (mut keys, mut by_name) = (Vec::new(), HashMap::new());
        for (index, pair) in pairs.into_iter().enumerate() {
            for name in pair.names {
                let name = name.strip_prefix('*').map_or(name.clone(), str::to_owned);
                by_name.entry(name).or_insert(index);
            }
            keys.push(pair.key);
        }
        Self { keys, by_name }
    }

    /// Which certificate goes with a name in lower case.
    #[must_use]
    pub fn choose(&self, name: &str) -> usize {
        let below = || name.find('.').and_then(|dot| self.by_name.get(&name[dot..]));
        self.by_name.get(name).or_else(below).copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = hello.server_name().map_or(0, |name| self.choose(&name.to_ascii_lowercase()));
        self.keys.get(index).cloned()
    }
}
