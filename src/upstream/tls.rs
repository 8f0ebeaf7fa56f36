//! TLS to endpoints: who is believed to be one, and what is spoken then.
//!
//! Guarantees: an endpoint shows a certificate for its name that somebody trusted has signed, there
//! is no way around that; not one byte it sends before the handshake is taken for an answer.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio_rustls::TlsConnector;
use tower::{BoxError, ServiceExt};

use super::{
    connect::{BoxedIo, Connector},
    endpoints::Address,
};
use crate::runtime::pem::{self, PemError};

/// HTTP/2 as ALPN calls it.
const HTTP2: &[u8] = b"h2";

/// TLS to the endpoints of an upstream, as used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureSettings {
    /// Who signs the endpoints' certificates; the public authorities, where nobody is named.
    pub ca: Option<PathBuf>,
    /// The name the certificates are for, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// Why TLS to endpoints cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// The file of those who sign.
    #[error(transparent)]
    Ca(#[from] PemError),
    /// One in it cannot sign.
    #[error("`{0}` cannot be trusted to sign certificates: {1}")]
    Anchor(String, #[source] rustls::Error),
    /// No name.
    #[error("`{0}` is no name a certificate can be for, hint: a host name or an IP address")]
    Name(String, #[source] InvalidDnsNameError),
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// The endpoint speaks TLS, but not the protocol the upstream is said to.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint did not agree on HTTP/2")]
pub struct NoHttp2;

fn client(roots: RootCertStore, http2: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
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
    /// Reads what the settings name.
    ///
    /// # Errors
    /// When the file of authorities cannot be used, or the name is none.
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
        Ok(Self { config: client(roots, http2)?, name: name.transpose()?, http2 })
    }

    /// The same connections, with TLS on them.
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
            Some(name) => name,
            None => ServerName::try_from(address.endpoint().host.clone())?,
        };
        let stream = connector.oneshot(address).await?;
        let stream = Box::pin(TlsConnector::from(self.config).connect(name, stream)).await?;
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::other(NoHttp2).into());
        }
        Ok(Box::new(stream))
    }
}
