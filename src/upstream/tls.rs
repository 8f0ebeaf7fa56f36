//! TLS to endpoints: verification of their certificates, and the protocol.
//!
//! Guarantees: an endpoint must present a certificate for its name that a trusted authority signed,
//! or one with a fingerprint of the settings. This check cannot be turned off. Bytes sent before the handshake are never taken for a
//! response.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::VerifierBuilderError,
    crypto::aws_lc_rs,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio_rustls::TlsConnector;
use tower::{BoxError, ServiceExt};

use super::{
    address::Address,
    connect::{BoxedIo, Connector, NoHttp2},
    pinned_certificate::PinnedVerifier,
    settings::SecureSettings,
    sticky::NoStickyKey,
};
use crate::runtime::{
    hint::Hinted,
    pem::{self, PemError},
};

/// ALPN name of HTTP/2.
const HTTP2: &[u8] = b"h2";

/// Reason why TLS to endpoints cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// Error of the CA file.
    #[error(transparent)]
    Ca(#[from] PemError),
    /// A certificate in it cannot sign others.
    #[error("`{0}` cannot be used as a certificate authority: {1}")]
    Anchor(String, #[source] rustls::Error),
    /// The server name is invalid.
    #[error("`{0}` is not a server name")]
    Name(String, #[source] InvalidDnsNameError),
    /// Error of the file of the client certificate.
    #[error(transparent)]
    Certificate(PemError),
    /// Error of the file of its key.
    #[error(transparent)]
    Key(PemError),
    /// The key cannot be used, or belongs to another certificate.
    #[error("the key `{0}` cannot be used with the certificate: {1}")]
    Pair(String, #[source] rustls::Error),
    /// The authorities cannot be used.
    #[error("certificates cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// There is no key for sticky cookies.
    #[error(transparent)]
    Sticky(#[from] NoStickyKey),
    /// Error of the TLS library.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl Hinted for SecureError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Ca(error) | Self::Certificate(error) | Self::Key(error) => error.hint(),
            Self::Name(..) => Some("write a host name or an IP address".to_owned()),
            Self::Pair(..) => Some("use the key that was made for this certificate".to_owned()),
            Self::Anchor(..) | Self::Library(_) | Self::Verifier(_) | Self::Sticky(_) => None,
        }
    }
}

impl SecureError {
    /// Key of the configuration that is at fault.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ca(_)
            | Self::Anchor(..)
            | Self::Library(_)
            | Self::Verifier(_)
            | Self::Sticky(_) => "ca",
            Self::Name(..) => "server_name",
            Self::Certificate(_) => "cert",
            Self::Key(_) | Self::Pair(..) => "key",
        }
    }
}

fn client(
    settings: &SecureSettings,
    roots: RootCertStore,
    http2: bool,
) -> Result<Arc<ClientConfig>, SecureError> {
    // Named here, because the process installs no default provider.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = if settings.fingerprints.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = PinnedVerifier::new(settings, roots, &provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = pem::certificates(&pair.cert).map_err(SecureError::Certificate)?;
            let key = pem::private_key(&pair.key).map_err(SecureError::Key)?;
            let wrong = |cause| SecureError::Pair(pair.key.display().to_string(), cause);
            builder.with_client_auth_cert(chain, key).map_err(wrong)?
        }
    };
    // Only the configured protocol: an endpoint must not choose another one.
    config.alpn_protocols = vec![if http2 { HTTP2.to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

/// TLS to the endpoints of an upstream.
#[derive(Clone, Debug)]
pub struct Secure {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    http2: bool,
}

impl Secure {
    /// Reads the files of the settings.
    ///
    /// # Errors
    /// When the CA file cannot be used, or the server name is invalid.
    pub fn load(settings: &SecureSettings, http2: bool) -> Result<Self, SecureError> {
        let mut roots = RootCertStore::empty();
        match &settings.ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                for certificate in pem::certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|cause| SecureError::Anchor(path.display().to_string(), cause))?;
                }
            }
        }
        let name = settings.server_name.clone().map(|name| {
            ServerName::try_from(name.clone()).map_err(|cause| SecureError::Name(name, cause))
        });
        Ok(Self { config: client(settings, roots, http2)?, name: name.transpose()?, http2 })
    }

    /// Adds TLS to a connector.
    #[must_use]
    pub fn over(&self, connector: &Connector) -> Connector {
        let (secure, connector) = (self.clone(), connector.clone());
        let connect =
            move |address: Arc<Address>| secure.clone().connect(connector.clone(), address);
        tower::service_fn(connect).boxed_clone()
    }

    async fn connect(
        self,
        connector: Connector,
        address: Arc<Address>,
    ) -> Result<BoxedIo, BoxError> {
        let name = match self.name {
            // The name of the settings is for endpoints that are addressed by something else than
            // their name.
            Some(name) => name,
            None => ServerName::try_from(address.endpoint().host.clone())?,
        };
        let stream = connector.oneshot(address).await?;
        let stream = Box::pin(TlsConnector::from(self.config).connect(name, stream)).await?;
        // An endpoint without ALPN completes the handshake too, and may speak only HTTP/1.1.
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::other(NoHttp2).into());
        }
        Ok(Box::new(stream))
    }
}
