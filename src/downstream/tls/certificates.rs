//! Certificates of a listener, and the choice among them by server name and kind of key.
//!
//! Guarantee: a name selects the certificates that contain it, else those with a matching wildcard,
//! else the first of the list and others for the same names. Of these the client gets the one whose
//! kind of key it prefers, and of one kind the first. A certificate is used only with its own key.

use std::{collections::HashMap, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{settings::CertificateFiles, validity};
use crate::runtime::{
    hint::Hinted,
    pem::{self, PemError},
};

/// Reason why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate file cannot be read.
    #[error(transparent)]
    Certificate(PemError),
    /// The file does not contain a valid certificate.
    #[error("`{0}` contains no readable certificate: {1}")]
    NoCertificate(String, #[source] webpki::Error),
    /// The key file cannot be read.
    #[error(transparent)]
    Key(PemError),
    /// The kind or size of the key is not supported.
    #[error("the key `{0}` has an unsupported kind or size: {1}")]
    Unusable(String, #[source] rustls::Error),
    /// The key belongs to another certificate.
    #[error("the key `{key}` does not match the certificate `{cert}`: {source}")]
    Mismatch {
        /// Certificate file.
        cert: String,
        /// Key file.
        key: String,
        /// Error of the TLS library.
        source: rustls::Error,
    },
}

impl Hinted for PairError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Certificate(error) | Self::Key(error) => return error.hint(),
            Self::NoCertificate(..) => return None,
            Self::Unusable(..) => {
                "use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
            }
            Self::Mismatch { .. } => "use the key that was made for this certificate",
        };
        Some(text.to_owned())
    }
}

impl PairError {
    /// Returns true if the certificate file is at fault, not the key file.
    #[must_use]
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::NoCertificate(..))
    }
}

/// Certificate with its chain and key.
#[derive(Debug)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    /// End of its validity.
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
        // A file without a certificate is an error of `pem::certificates`, so there is a first one.
        let parsed = webpki::EndEntityCert::try_from(&chain[0])
            .map_err(|cause| PairError::NoCertificate(shown(&files.cert), cause))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let expires = validity::not_after(&chain[0]);
        let key = pem::private_key(&files.key).map_err(PairError::Key)?;
        let provider = aws_lc_rs::default_provider();
        // The key is tested by itself first, so that its error is not attributed to the
        // certificate.
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
    /// Indices of the certificates by name, one of each kind of key; `*.example.com` is stored as
    /// `.example.com`.
    by_name: HashMap<String, Vec<usize>>,
    /// Those of the first certificate and of others for the same names.
    usual: Vec<usize>,
}

impl Certificates {
    /// Indexes these certificates in order; there is at least one.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        // Clients without a server name get these too, in the kind that they prefer.
        let first: Vec<String> = pairs.first().map(|pair| pair.names.clone()).unwrap_or_default();
        let keys: Vec<_> = pairs.iter().map(|pair| Arc::clone(&pair.key)).collect();
        let (mut by_name, mut usual) = (HashMap::<String, Vec<usize>>::new(), Vec::new());
        // The first certificate of a kind keeps the name, as the guarantee says.
        let add = |set: &mut Vec<usize>, index: usize| {
            let kind = kind(&keys[index]);
            if !set.iter().any(|other| self::kind(&keys[*other]) == kind) {
                set.push(index);
            }
        };
        for (index, pair) in pairs.into_iter().enumerate() {
            if pair.names == first {
                add(&mut usual, index);
            }
            for name in pair.names {
                let name = name.strip_prefix('*').map_or(name.clone(), str::to_owned);
                add(by_name.entry(name).or_default(), index);
            }
        }
        Self { keys, by_name, usual }
    }

    /// Returns the certificates for a name in lower case, at least one.
    #[must_use]
    pub fn choose(&self, name: &str) -> &[usize] {
        // A wildcard stands for one label (RFC 9525, section 6.3), so only the first one is
        // cut off.
        let below = || name.find('.').and_then(|dot| self.by_name.get(&name[dot..]));
        self.by_name.get(name).or_else(below).unwrap_or(&self.usual)
    }

    /// Certificate of these that a client can verify, by its order of preference.
    fn fitting(&self, set: &[usize], schemes: &[SignatureScheme]) -> Option<usize> {
        // Usually there is one, and the handshake finds out whether the client knows its kind.
        if let [only] = set {
            return Some(*only);
        }
        // Asked of the key itself, which knows the schemes of its kind and size; for TLS 1.2 the
        // library has left out those that no common cipher suite can use.
        let signs = |index: &&usize, scheme| self.keys[**index].key.choose_scheme(&[scheme]);
        let first = |scheme: &SignatureScheme| {
            set.iter().find(|index| signs(index, *scheme).is_some()).copied()
        };
        schemes.iter().find_map(first).or_else(|| set.first().copied())
    }
}

/// Kind of a key: the first of these schemes that it signs with.
fn kind(key: &CertifiedKey) -> Option<SignatureScheme> {
    const KINDS: [SignatureScheme; 5] = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP521_SHA512,
        SignatureScheme::ED25519,
    ];
    key.key.choose_scheme(&KINDS).map(|signer| signer.scheme())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Without a match the first certificate is presented, and the client decides.
        let set = match hello.server_name() {
            Some(name) => self.choose(&name.to_ascii_lowercase()),
            None => &self.usual,
        };
        self.keys.get(self.fitting(set, hello.signature_schemes())?).cloned()
    }
}
