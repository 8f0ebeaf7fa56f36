//! Verification of an endpoint by the fingerprint of its certificate.
//!
//! Guarantees: an endpoint is accepted only with the key of a certificate that has one of the
//! fingerprints. Where authorities are configured beside them, these must have signed it too.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::settings::{Fingerprint, SecureSettings};

/// Verifier that knows the certificates of endpoints.
#[derive(Debug)]
pub struct PinnedVerifier {
    fingerprints: Vec<Fingerprint>,
    /// Verifier by authority, name and time, if authorities are configured.
    chain: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedVerifier {
    /// Verifier by these settings, whose `ca` file has these authorities.
    ///
    /// # Errors
    /// When the authorities cannot be used.
    pub fn new(
        settings: &SecureSettings,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = || {
            let provider = Arc::clone(provider);
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
        };
        Ok(Self {
            fingerprints: settings.fingerprints.clone(),
            chain: settings.ca.is_some().then(chain).transpose()?,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = digest(&SHA256, end_entity);
        if !self.fingerprints.iter().any(|pinned| pinned == shown.as_ref()) {
            // It is reported as an untrusted certificate, so that the request is not held: the next
            // handshake would end the same way.
            let cause = CertificateError::ApplicationVerificationFailure;
            return Err(Error::InvalidCertificate(cause));
        }
        match &self.chain {
            None => Ok(ServerCertVerified::assertion()),
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    // The certificate is public: only this signature shows that the endpoint has its key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
